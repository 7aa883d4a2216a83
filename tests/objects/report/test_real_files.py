"""Every real structured report at hand: read as independent readers read it, or as a tree."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.report import Person
from tests.conftest import data_folder
from tests.judges import dcmqi_read_sr, need
from tests.real_files import named

#: File (under the data folder) -> number of measurement groups, and of all content items.
TABLE = {
    "d_derived/dcmjs/examples_data_structured_report.dcm": (6, 50),
    "d_derived/dcmjs/test_sample-sr.dcm": (1, 18),
    "d_derived/dcmqi/sr-example/sr.dcm": (1, 256),
    "d_derived/dicom_swift_synthetic/StructuredReports/kos_key_object_selection.dcm": (0, 2),
    "d_derived/dicom_swift_synthetic/StructuredReports/sr_tid1500_measurement_report.dcm": (1, 4),
    "d_derived/highdicom/sr_document.dcm": (1, 21),
    "d_derived/highdicom/sr_document_with_multiple_groups.dcm": (4, 40),
    "d_derived/pydicom_rt_sr/reportsi.dcm": (0, 9),
    "d_derived/pydicom_rt_sr/reportsi_with_empty_number_tags.dcm": (0, 9),
    "d_derived/pydicom_rt_sr/test-SR.dcm": (0, 29),
    "e_edge/cornerstone_ts/no-pixel-data.dcm": (0, 6),
    "e_edge/pydicom/test_files/reportsi.dcm": (0, 9),
    "e_edge/pydicom/test_files/reportsi_with_empty_number_tags.dcm": (0, 9),
    "e_edge/pydicom/test_files/test-SR.dcm": (0, 29),
}


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_the_table_is_complete(shared_data):
    def is_report(head):
        return head.modality in ("SR", "KO") or head.sop_class.startswith("1.2.840.10008.5.1.4.1.1.88")

    assert named(shared_data, is_report) == set(TABLE)


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_every_report_of_the_manifest_is_in_the_table(shared_data):
    """Of reports and key object selections; nothing that the list of the data names is passed over."""
    lines = (shared_data / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    listed = {path for path, _, _, kind, *_ in rows if kind.split("/")[0] in ("SR", "KO") or " SR Storage" in kind}
    assert listed == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_report_reads(shared_data, name):
    report = dml.read_report(shared_data / name)
    items = list(report.tree().walk())
    assert (len(report.groups), len(items)) == TABLE[name]
    assert report.problems == []
    assert len(str(report.tree()).splitlines()) == len(items)
    assert report.find(finding="SCT:27925004", site="SCT:39607008", image="1.2.3") == []
    report.to_records()


@pytest.mark.parametrize("name", TABLE)
def test_every_item_is_that_of_pydicom(shared_data, name):
    """Item by item: types, names, relationships and values, read by other code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(shared_data / name)
        compare(dml.read_sr_tree(shared_data / name), ds)


def compare(item, ds) -> None:
    assert item.value_type == ds.get("ValueType", "")
    assert item.relationship == ds.get("RelationshipType", "")
    names = ds.get("ConceptNameCodeSequence")
    assert (item.name is None) == (not names)
    if names:
        assert (item.name.value, item.name.meaning) == (names[0].CodeValue.strip(), names[0].CodeMeaning.strip())
    kind = item.value_type
    if kind == "CODE":
        assert item.value.value == ds.ConceptCodeSequence[0].CodeValue
    elif kind in ("TEXT", "UIDREF", "PNAME", "DATE", "TIME", "DATETIME"):
        keyword = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATETIME": "DateTime"}.get(
            kind, kind.title()
        )
        assert item.value == str(ds[keyword].value).rstrip(" ")
    elif kind == "NUM":
        measured = ds.get("MeasuredValueSequence")
        number = None if not measured else measured[0].get("FloatingPointValue", measured[0].get("NumericValue"))
        assert item.value.value == (None if number is None else float(number))
    elif kind in ("SCOORD", "SCOORD3D"):
        np.testing.assert_array_equal(item.value.points.ravel(), np.float64(ds.GraphicData))
        assert item.value.kind == ds.GraphicType
    elif kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        assert item.value.sop_instance_uid == ds.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    children = ds.get("ContentSequence") or []
    assert len(children) == len(item.children)
    for child, dataset in zip(item.children, children, strict=True):
        compare(child, dataset)


@pytest.mark.judge
@pytest.mark.parametrize("name", [n for n, (groups, _) in TABLE.items() if groups])
def test_groups_are_those_of_highdicom(shared_data, name):
    hd = need("highdicom", "highdicom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = hd.sr.srread(str(shared_data / name)).content
            theirs = [
                g
                for kind in ("planar_roi", "volumetric_roi", "image")
                for g in getattr(content, f"get_{kind}_measurement_groups")()
            ]
            assert theirs
    except Exception as error:
        pytest.skip(f"highdicom does not read it: {type(error).__name__} {str(error)[:60]}")
    ours = {g.tracking_uid: g for g in dml.read_report(shared_data / name).groups}
    for g in theirs:
        own = ours[str(g.tracking_uid)]
        assert own.tracking_id == g.tracking_identifier
        assert own.finding == g.finding_type and own.category == g.finding_category
        assert [s.location for s in own.site] == [s.value for s in g.finding_sites]
        assert [(m.name, m.value, m.unit) for m in own.measurements] == [
            (m.name, float(m.value), m.unit) for m in g.get_measurements()
        ]
        answers = [(e.name, e.value) for e in g.get_qualitative_evaluations()]
        answers = [a for a in answers if a[0] != dml.Code("276214006", "SCT")]  # the category, which it counts as one
        assert [(e.name, e.value) for e in own.evaluations] == answers
        compare_regions(own, getattr(g, "roi", None))


def compare_regions(own: dml.MeasurementGroup, roi: Any) -> None:
    """Coordinates as highdicom gives them: column and row, or x, y, z."""
    if roi is None or not hasattr(roi, "value"):
        return
    values = np.asarray(roi.value, dtype=np.float64)
    (region,) = own.regions
    if region.space == "index":
        values = values[:, ::-1]
    if isinstance(region, dml.Contours):
        (region,) = region.pieces
    if isinstance(region, dml.Circle):
        np.testing.assert_allclose(region.center, values[0])
        assert region.radius == pytest.approx(np.linalg.norm(values[1] - values[0]))
        return
    points = region.corners if isinstance(region, dml.Box) else region.points
    if isinstance(region, dml.Box):  # which corner is first is not kept
        points, values = (np.unique(p, axis=0) for p in (points, values))
    np.testing.assert_allclose(points, values[: len(points)])
    assert len(values) - len(points) in (0, 1)  # the first point again


@pytest.mark.judge
@pytest.mark.parametrize("name", [n for n, (groups, _) in TABLE.items() if groups])
def test_values_are_those_of_dcmqi(shared_data, name, tmp_path):
    read = dcmqi_read_sr(shared_data / name, tmp_path)
    theirs = {g["TrackingUniqueIdentifier"]: g for g in read.get("Measurements") or []}
    if not theirs:
        pytest.skip("dcmqi finds no groups in it")
    ours = {g.tracking_uid: g for g in dml.read_report(shared_data / name).groups}
    assert set(theirs) == set(ours)
    for tracking_uid, group in theirs.items():
        own = ours[tracking_uid]
        assert own.tracking_id == group["TrackingIdentifier"]
        if "Finding" in group:
            assert own.finding.value == group["Finding"]["CodeValue"]
        measured = group.get("measurementItems", [])
        assert [m.name.value for m in own.measurements] == [m["quantity"]["CodeValue"] for m in measured]
        numbers = [m.value for m in own.measurements]
        assert numbers == [None if m["value"] == "" else pytest.approx(float(m["value"])) for m in measured]
        if "ReferencedSegment" in group:
            assert own.region.number == group["ReferencedSegment"]
            assert own.region.reference.sop_instance_uid == group["segmentationSOPInstanceUID"]


# ---------------------------------------------------------------------- what each maker says
def test_dcmqi(shared_data):
    report = dml.read_report(shared_data / "d_derived/dcmqi/sr-example/sr.dcm")
    (group,) = report.find(finding="SCT:86049000")  # it stands there in the old coding, SRT:M-80003
    assert group.tracking_id == "primary tumor" and group.region.number == 1
    assert group.value("DCM:126401", derivation="SCT:373098007") == 6.01529
    assert report.observers == [Person("User2")] and len(report.evidence) == 193
    segmentation = pydicom.dcmread(shared_data / "d_derived/dcmqi/sr-example/seg.dcm", stop_before_pixels=True)
    assert report.find(image=str(segmentation.SOPInstanceUID)) == [group]


def test_ohif_and_dcmjs(shared_data):
    """Regions stand below the measurements; the finding may be missing, and one number has no value."""
    groups = dml.read_report(shared_data / "d_derived/dcmjs/examples_data_structured_report.dcm").groups
    assert [type(g.regions[0]).__name__ for g in groups] == [
        "Point", "Ellipse", "Polyline", "Polyline", "Polyline", "Ellipse",
    ]  # fmt: skip
    assert groups[2].value("SRT:G-A185") == groups[2].value("SCT:103339001") == 93.9
    assert groups[0].measurements[0].value is None
    (group,) = dml.read_report(shared_data / "d_derived/dcmjs/test_sample-sr.dcm").groups
    assert [round(m.value, 4) for m in group.measurements] == [64.4505, 42.967]
    assert group.regions[0].image.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"


def test_highdicom(shared_data):
    report = dml.read_report(shared_data / "d_derived/highdicom/sr_document_with_multiple_groups.dcm")
    (nodule,) = report.find(finding="SCT:27925004", site="SCT:39607008")
    assert isinstance(nodule.region, dml.Circle) and nodule.region.center.tolist() == [55, 45]
    assert nodule.region.radius == 10
    (image,) = report.find(tracking_id="Image0001")
    assert image.region is None and len(image.images) == 1
    assert report.find(region="point")[0].region.space == "mm"


def test_any_other_report_is_a_tree(shared_data):
    root = dml.read_sr_tree(shared_data / "d_derived/pydicom_rt_sr/test-SR.dcm")
    assert "Inferred Sample Text" in str(root) and "-> item 1.3.2" in str(root)
    (waveform,) = root.find(value_type="WAVEFORM")
    assert waveform.name is None and waveform.value.channels[:2] == (5, 3)
    assert root.find(value_type="TCOORD")[0].value.kind == "SEGMENT"


@pytest.mark.parametrize("name", ["a_ct/slicer_cthead64/CTHead34.dcm", "MANIFEST.tsv"])
def test_what_is_no_report_is_refused(shared_data, name):
    with pytest.raises(dml.FileError, match=Path(name).name):
        dml.read_report(shared_data / name)
