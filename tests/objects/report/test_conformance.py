"""Every kind of report that is written satisfies independent judges, with the values that went in."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.objects.report import DeviceSubject, Fetus, Person, Status, Verification
from tests.judges import dciodvfy, dcmqi_read_sr, dsrdump, highdicom_read_sr

from .scenes import (
    DIAMETER,
    NET,
    NODULE,
    axial,
    full_measurement,
    group,
    oblique,
    regions_of_volume,
    slide,
    source_on,
)

REGIONS = regions_of_volume()


def report_of(name: str) -> dml.Report:
    """One report of each kind.

    None has a Time Point Order, a number that other readers take for a measurement.
    """
    volume = source_on(oblique())
    regions = list(REGIONS.values())
    box = REGIONS["box between slices"]
    scenes = {
        "regions": lambda: dml.Report(volume, [group(r) for r in regions], NET),
        "regions-in-space": lambda: dml.Report(volume, [group(r) for r in regions], NET, coordinates="patient"),
        "multiframe": lambda: dml.Report(source_on(oblique(), multiframe=True), [group(r) for r in regions], NET),
        "comprehensive": lambda: dml.Report(volume, [group(box)], NET, document="comprehensive", coordinates="image"),
        "enhanced": lambda: dml.Report(volume, [group(REGIONS["circle"])], NET, document="enhanced"),
        "images": lambda: dml.Report(volume, [group(images=[3, 4]), group()], NET),
        "nothing-found": lambda: dml.Report(volume, [], NET),
        "no-library": lambda: dml.Report(volume, [group(box)], NET, image_library=False),
        "all-said": lambda: dml.Report(
            volume,
            [group(box, measurements=[full_measurement()], tracking_id="Größe", category="SCT:49755003", session="1",
                   time_point=dml.TimePoint("Baseline", "SCT:261665006|Unknown", None, "A", "B"),
                   purpose="DCM:111041", method="DCM:122473|RECIST 1.1")],
            NET,
            observers=[Person("Ärztin^Anna", "Hospital"), "Doe^Jane"],
            derived=[dml.Measurement("SCT:118565006", 12, "mm3")],
            evaluations=[dml.Evaluation("DCM:111005|Assessment Category", "SCT:17621005")],
        ),
        "verified": lambda: dml.Report(volume, [group()], NET, status=Status(
            preliminary=False, reason="all slices seen",
            verified_by=[Verification("Ärztin^Anna", "Hospital", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
                                      "99TEST:7|Anna"),
                         Verification("Doe^Jane", "Clinic", datetime(2026, 1, 3))])),
        "preliminary": lambda: dml.Report(volume, [group()], NET, status=Status(False, "more to come", True)),
        "fetus": lambda: dml.Report(volume, [group()], NET, subject=Fetus("A", "Doe^Jane", "1.2.3", 2)),
        "phantom": lambda: dml.Report(volume, [group()], NET, subject=DeviceSubject("Phantom", "1.2.3", "M", "N", "7")),
        "lines": lambda: dml.Report(volume, [group(measurements=[
            dml.Measurement(DIAMETER, 7, "mm", region=REGIONS["line"]),
            dml.Measurement(DIAMETER, 8, "mm", region=REGIONS["line in space"])])], NET),
        "many-digits": lambda: dml.Report(volume, [group(measurements=[
            dml.Measurement(DIAMETER, v, "mm") for v in (1 / 3, -1e-7 / 3, 1e20 / 3, 123456789.123456789)])], NET),
        "slide": lambda: dml.Report(slide(), [group(dml.Polygon([(1, 1), (1, 9), (9, 9)])), group()], NET),
        "slide-on-pixels": lambda: dml.Report(slide(), [group(dml.Circle((9, 9), 4))], NET, coordinates="image"),
        "classes": lambda: dml.Report.from_classification(
            {NODULE: 0.75, "SCT:17621005": 0.25}, source=slide(), algorithm=NET),
        "detections": lambda: dml.Report.from_detections(
            [[1, 2, 3, 4, 5, 6], [1.5, 2, 3, 4, 5, 6]], [0.5, 1 / 3], [NODULE] * 2, source=volume, algorithm=NET),
        "segments": lambda: segment_report(volume),
    }  # fmt: skip
    return scenes[name]()


NAMES = [
    *("regions", "regions-in-space", "multiframe", "comprehensive", "enhanced", "images", "nothing-found"),
    *(
        "no-library",
        "all-said",
        "verified",
        "preliminary",
        "fetus",
        "phantom",
        "lines",
        "many-digits",
        "slide",
        "slide-on-pixels",
        "classes",
    ),
    *("detections", "segments"),
]


def segment_report(source) -> dml.Report:
    mask = np.zeros(source.grid.shape, np.uint8)
    mask[3:6, 4:9, 5:11] = 1
    segment = dml.Segment("Nodule", type=NODULE, category="SCT:49755003", algorithm=NET)
    made = dml.Segmentation.from_array(mask, source=source, segments=[segment])
    return dml.Report(source, [group(dml.SegmentReference(made, 1)), group(dml.SegmentationFrame(made, 2))], NET)


def values_of(report: dml.Report) -> list[list[float]]:
    return [[m.value for m in g.measurements] for g in report.groups]


@pytest.fixture(params=NAMES)
def written(request, tmp_path):
    report = report_of(request.param)
    return report, report.save(tmp_path / f"{request.param}.dcm")


@pytest.mark.judge
def test_dciodvfy(written):
    assert dciodvfy(written[1]) == []


@pytest.mark.judge
def test_dsrdump(written):
    assert dsrdump(written[1]) == []


@pytest.mark.judge
def test_highdicom_reads_every_group_and_value(written):
    report, path = written
    content = highdicom_read_sr(path).content
    found = {}
    for name in ("planar_roi", "volumetric_roi", "image"):
        for g in getattr(content, f"get_{name}_measurement_groups")():
            found.setdefault(str(g.tracking_uid), (name, g))
    assert set(found) == {g.tracking_uid for g in report.groups}
    for g in report.groups:
        kind, theirs = found[g.tracking_uid]
        assert theirs.tracking_identifier == g.tracking_id and theirs.finding_type == g.finding
        assert [s.topographical_modifier for s in theirs.finding_sites] == [s.modifier for s in g.site]
        numbers = [float(m.value) for m in theirs.get_measurements()]
        assert numbers == pytest.approx([m.value for m in g.measurements], rel=1e-9)
        assert [m.unit.value for m in theirs.get_measurements()] == [m.unit.value for m in g.measurements]
        answers = [(e.name, e.value) for e in theirs.get_qualitative_evaluations()]
        assert all((e.name, e.value) in [(n, v) for n, v in answers] for e in g.evaluations)
        if kind != "image":
            assert theirs.reference_type is not None


@pytest.mark.judge
@pytest.mark.parametrize("grid", [axial(), oblique()], ids=["axial", "oblique"])
def test_highdicom_sees_regions_where_they_are(grid, tmp_path):
    """The middle of each region in millimetres, by highdicom's own reading of coordinates and images."""
    source = source_on(grid)
    chosen = {n: r for n, r in REGIONS.items() if n in ("polygon", "circle", "flat box", "tilted polygon")}
    groups = [group(r, tracking_id=name) for name, r in chosen.items()]
    path = dml.Report(source, groups, NET).save(tmp_path / "a.dcm")
    for g in highdicom_read_sr(path).content.get_planar_roi_measurement_groups():
        region = chosen[g.tracking_identifier]
        if g.roi.ValueType == "SCOORD":
            (image,) = [i for i in g.roi.ContentSequence if i.ValueType == "IMAGE"]
            d = source.sop_instance_uids.index(image.referenced_sop_instance_uid)
            corners = np.asarray(g.roi.value) - 0.5  # highdicom gives column, row as they stand
            mm = grid.to_lps(np.column_stack([np.full(len(corners), d), corners[:, ::-1]]))
        else:
            mm = np.asarray(g.roi.value)
        points = region.corners if isinstance(region, dml.Box) else region.points_3d
        if points.shape[1] == 2:
            points = np.column_stack([np.full(len(points), region.slice + 0.5), points])
        np.testing.assert_allclose(mm[: len(points)].mean(axis=0), grid.to_lps(points - 0.5).mean(axis=0), atol=1e-3)


@pytest.mark.judge
def test_dcmqi_reads_every_group_and_value(written, tmp_path):
    report, path = written
    if not report.groups:
        pytest.skip("it reads no empty lists of groups")
    groups = dcmqi_read_sr(path, tmp_path)["Measurements"]
    theirs = {g["TrackingUniqueIdentifier"]: g for g in groups}
    assert list(theirs) == [g.tracking_uid for g in report.groups]
    for g in report.groups:
        read = theirs[g.tracking_uid]
        assert read["Finding"]["CodeValue"] == g.finding.value
        numbers = [float(m["value"]) for m in read.get("measurementItems", [])]
        assert numbers == pytest.approx([m.value for m in g.measurements], rel=1e-9)


def test_every_item_is_in_its_template_and_named(written):
    """Template identifiers, relationships and names (PS3.16 TID 1500, 1410, 1411, 1501, 1600)."""
    tree = written[0].tree()
    assert tree.template == "1500"
    for item in tree.walk():
        assert item.name is not None or item.value_type == "IMAGE"
        assert item.relationship or item is tree
        if item.value_type == "CONTAINER" and item.name == dml.Code("125007", "DCM"):
            assert re.fullmatch("1410|1411|1501", item.template)
            kinds = {i.value_type for i in item.children}
            assert (item.template == "1411") <= (kinds & {"SCOORD", "SCOORD3D", "IMAGE"} != set())
            for needed in ("DCM:112039", "DCM:112040", "DCM:111001", "DCM:111003"):
                assert item.first(needed, deep=False) is not None
