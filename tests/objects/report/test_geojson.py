"""Regions of reports as GeoJSON."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.errors import DicomMLWarning, EncodingError
from tests.objects.segmentation.scenes import axial, source_on
from tests.objects.segmentation.test_tiled import slide_source

NET = dml.Algorithm("Net", "1")


def features(report, tmp_path, **options):
    written = json.load(open(report.to_geojson(tmp_path / "r.geojson", **options), encoding="utf-8"))
    assert written["type"] == "FeatureCollection"
    found = written["features"]
    assert len({f["id"] for f in found}) == len(found) and all(str(uuid.UUID(f["id"])) == f["id"] for f in found)
    return found


def group(region, **more):
    return dml.MeasurementGroup(finding="SCT:27925004", region=region, **more)


def test_every_shape_on_a_slide(tmp_path):
    regions = [
        dml.Point((4, 7)), dml.MultiPoint([(1, 2), (3, 4)]), dml.Polyline([(1, 2), (3, 4), (5, 9)]),
        dml.Polygon([(10, 10), (10, 20), (25, 20)]), dml.Box((2, 3), (8, 9.5)), dml.Circle((20, 30), 5),
        dml.Ellipse.of((20, 30), (8, 3)), dml.Ellipse.of((20, 30), (8, 3), angle=30),
    ]  # fmt: skip
    report = dml.Report(slide_source(), [group(r) for r in regions], NET)
    found = [f["geometry"] for f in features(report, tmp_path)]
    assert [g["type"] for g in found] == ["Point", "MultiPoint", "LineString", *["Polygon"] * 5]
    assert not any("plane" in g for g in found)
    assert found[0]["coordinates"] == [7, 4]
    assert found[1]["coordinates"] == [[2, 1], [4, 3]]
    assert found[2]["coordinates"] == [[2, 1], [4, 3], [9, 5]]
    assert found[3]["coordinates"] == [[[10, 10], [20, 10], [20, 25], [10, 10]]]
    assert found[4]["coordinates"] == [[[3, 2], [9.5, 2], [9.5, 8], [3, 8], [3, 2]]]
    assert [g.get("isEllipse", False) for g in found[5:]] == [True, True, False]
    for geometry, reach in ((found[5], (5, 5)), (found[6], (3, 8))):  # x, y
        ring = np.array(geometry["coordinates"][0])
        assert np.array_equal(ring[0], ring[-1])
        np.testing.assert_allclose(np.abs(ring - (30, 20)).max(axis=0), reach, atol=0.02)
    # what QuPath would send back is read as annotations
    ann = dml.Annotations.from_geojson(tmp_path / "r.geojson", source=slide_source(), algorithm="manual")
    assert {g.graphic for g in ann.groups} == {"POINT", "POLYLINE", "POLYGON", "ELLIPSE"}


def test_what_was_found_goes_with_it(tmp_path):
    made = group(
        dml.Polygon([(1, 1), (1, 5), (5, 5)]),
        tracking_id="Nodule 1",
        site=dml.Site("SCT:39607008", "SCT:7771000"),
        measurements=[
            dml.Measurement("SCT:42798000", 8.5, "mm2"),
            dml.Measurement("DCM:112031", -300, "[hnsf'U]", derivation="SCT:373098007"),
            dml.Measurement("SCT:81827009", None, "mm"),
        ],
        evaluations=[dml.Evaluation("DCM:121106|Comment", text="irregular")],
    )
    (one,) = features(dml.Report(slide_source(), [made], NET), tmp_path)
    properties = one["properties"]
    assert (properties["objectType"], properties["name"]) == ("annotation", "Nodule 1")
    assert properties["classification"]["name"] == "Nodule"
    assert properties["measurements"] == {"Area (mm2)": 8.5, "Attenuation Coefficient Mean ([hnsf'U])": -300}
    assert properties["metadata"]["Comment"] == "irregular"
    assert properties["metadata"]["Finding Site"] == "Lung, Left"
    assert properties["metadata"]["Tracking Unique Identifier"]


def test_regions_in_a_volume(tmp_path):
    source = source_on(axial())
    regions = [
        dml.Box((2, 4, 5), (5, 9, 11)),
        dml.Polygon([(1, 1), (1, 5), (5, 5)], slice=3),
        dml.Contours([dml.Polygon([(1, 1), (1, 5), (5, 5)], slice=d) for d in (3, 4)]),
        dml.Polygon(source.grid.to_lps([(6, 0.5, 0.5), (6, 0.5, 9.5), (6, 9.5, 9.5)]), space="mm"),
    ]
    report = dml.Report(source, [group(r) for r in regions], NET)
    found = [f["geometry"] for f in features(report, tmp_path)]
    assert [g["plane"]["z"] for g in found] == [2, 3, 4, 3, 3, 4, 6]
    assert found[0]["coordinates"] == [[[5, 4], [11, 4], [11, 9], [5, 9], [5, 4]]]
    assert found[-1]["coordinates"] == [[[1, 1], [10, 1], [10, 10], [1, 1]]]


def test_a_report_that_was_read(tmp_path):
    slide = slide_source()
    dml.Report(slide, [group(dml.Polygon([(10, 10), (10, 20), (25, 20)]))], NET).save(tmp_path / "r.sr.dcm")
    ring = [[[10, 10], [20, 10], [20, 25], [10, 10]]]
    (one,) = features(dml.read_report(tmp_path / "r.sr.dcm", source=slide), tmp_path)
    np.testing.assert_allclose(one["geometry"]["coordinates"], ring, atol=0.01)
    alone = dml.read_report(tmp_path / "r.sr.dcm")
    (one,) = features(alone, tmp_path, source=slide)
    np.testing.assert_allclose(one["geometry"]["coordinates"], ring, atol=0.01)
    if alone.groups[0].region.space == "mm":
        with pytest.warns(DicomMLWarning, match="pass source="), pytest.raises(EncodingError, match="no regions"):
            alone.to_geojson(tmp_path / "r.geojson")


def test_what_cannot_be_drawn(tmp_path):
    source = source_on(axial())
    ball = dml.Ellipsoid.from_radii((4, 20, 30), (2, 5, 5))
    with pytest.warns(DicomMLWarning, match="1 regions are left out"), pytest.raises(EncodingError, match="no regions"):
        dml.Report(source, [group(ball)], NET).to_geojson(tmp_path / "r.geojson")
    with pytest.raises(EncodingError, match="no regions"):
        dml.Report(source, [], NET).to_geojson(tmp_path / "r.geojson")
    flat = group(dml.Polygon([(1, 1), (1, 5), (5, 5)], slice=3))
    with pytest.warns(DicomMLWarning, match="1 regions are left out"):
        dml.Report(source, [group(ball), flat], NET).to_geojson(tmp_path / "r.geojson")
