"""Defects of other writers and readers of structured reports, each shown not to be ours."""

from __future__ import annotations

import io
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.codes import Code
from dicom_ml.encoding.writer import element_bytes, item_bytes
from dicom_ml.objects.report import read_sr_tree
from dicom_ml.objects.report.items import ContentItem, Number, Reference
from tests.judges import highdicom_read_sr, need

from .scenes import DIAMETER, NET, NODULE, axial, group, oblique, regions_of_volume, slide, source_on
from .test_items import document

NAME = Code("1", "99T", "A name")


def full_report(**settings) -> dml.Report:
    groups = [group(r) for r in regions_of_volume().values()] + [group(), group(images=[1])]
    return dml.Report(source_on(oblique()), groups, NET, **settings)


def containers(ds, name):
    for item in ds.get("ContentSequence") or []:
        if item.ValueType == "CONTAINER" and item.ConceptNameCodeSequence[0].CodeValue == name:
            yield item
        yield from containers(item, name)


def elements(ds, keyword):
    return [e.value for e in ds.iterall() if e.keyword == keyword]


# ---------------------------------------------------------------------- a report that another reader cannot search
@pytest.mark.judge
def test_another_reader_can_search(tmp_path):
    regions = regions_of_volume()
    report = dml.Report(source_on(oblique()), [group(r) for r in regions.values()], NET)
    content = highdicom_read_sr(report.save(tmp_path / "a.dcm")).content
    for wanted in report.groups:
        found = []
        for kind in ("planar_roi", "volumetric_roi", "image"):
            search = getattr(content, f"get_{kind}_measurement_groups")
            found += search(tracking_uid=wanted.tracking_uid, finding_type=wanted.finding,
                            finding_site=wanted.site[0].location)  # fmt: skip
        assert len(found) == 1
    circle = need("highdicom", "highdicom").sr.GraphicTypeValues.CIRCLE
    (planar,) = content.get_planar_roi_measurement_groups(graphic_type=circle)
    assert planar.tracking_identifier == report.groups[list(regions).index("circle")].tracking_id


# ---------------------------------------------------------------------- nameless and waveform items
def test_nameless_and_waveform_items_never_stop_a_search():
    odd = [
        ContentItem("WAVEFORM", None, Reference("1.2.3", "1.2.4", (), (), (1, 2)), "CONTAINS"),
        ContentItem("TEXT", None, "nameless", "CONTAINS"),
        ContentItem("NUM", None, Number(3.0, Code("1", "UCUM", "no units")), "CONTAINS"),
        ContentItem("CONTAINER", None, None, "CONTAINS", [ContentItem("CODE", None, NAME, "CONTAINS")]),
    ]
    holder = ContentItem("CONTAINER", Code("125007", "DCM", "Measurement Group"), None, "CONTAINS", odd, "1501")
    for data in (document(*odd), document(holder)):
        report = dml.read_report(data)
        assert report.find(finding=NODULE, image="1.2.5", evaluation="99T:1", measurement=DIAMETER) == []
        assert len(report.find(image="1.2.4")) == (len(report.groups) == 2)
        assert report.tree().find(NAME) == [] and len(report.tree().find(value=3.0)) == 1
        assert len(report.to_records()) >= 2 and "nameless" in str(report.tree())


# ---------------------------------------------------------------------- template identifiers
def test_template_identifiers_are_never_missing():
    ds = full_report().dataset
    assert ds.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert ds.ContentTemplateSequence[0].MappingResource == "DCMR"
    groups = list(containers(ds, "125007"))
    assert len(groups) == 18
    kinds = [g.ContentTemplateSequence[0].TemplateIdentifier for g in groups]
    assert set(kinds) == {"1410", "1411", "1501"}
    assert next(containers(ds, "111028")).ContentTemplateSequence[0].TemplateIdentifier == "1600"


def test_reading_does_not_need_them():
    report = full_report()
    ds = report.dataset
    for item in [ds, *containers(ds, "125007"), *containers(ds, "111028")]:
        del item.ContentTemplateSequence
    buffer = io.BytesIO()
    ds.save_as(buffer)
    bare = dml.read_report(buffer.getvalue()).groups
    for mine, theirs in zip(report.groups, bare, strict=True):
        one_slice = isinstance(mine.region, dml.Box) and mine.region == dml.Box((3, 4, 5), (4, 9, 11))
        expected = dml.Box((4, 5), (9, 11), slice=3) if one_slice else mine.region  # both are one outline on one image
        assert theirs.region is None if expected is None else theirs.region.close_to(expected)


# ---------------------------------------------------------------------- decimal strings
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_decimal_strings_are_never_too_long(values):
    measured = [dml.Measurement(DIAMETER, v, "mm", uncertainty=abs(v) / 3) for v in values]
    report = dml.Report(source_on(oblique()), [group(measurements=measured)])
    raw = [e for e in report.dataset.iterall() if e.VR == "DS"]
    assert all(len(str(v)) <= 16 for e in raw for v in ([e.value] if e.VM == 1 else e.value))
    assert [m.value for m in dml.read_report(report._bytes).groups[0].measurements] == values


def test_the_same_with_positions_of_many_digits():
    ds = full_report().dataset
    texts = [e.value.original_string for e in ds.iterall() if e.keyword == "NumericValue"]
    assert len(texts) > 50 and max(map(len, texts)) <= 16


def test_longer_ones_of_others_are_read():
    long = b"7.30000000000000004441"
    data = document(ContentItem("NUM", NAME, Number(7.25, Code("mm", "UCUM", "millimeter")), "CONTAINS"))
    ds = pydicom.dcmread(io.BytesIO(data))
    raw = bytearray(ds.ContentSequence[-1].MeasuredValueSequence[0].NumericValue.original_string.encode())
    assert raw == b"7.25"
    patched = lengthened(data, b"7.25", long)
    assert dml.read_report(patched).tree().children[-1].value.value == float(long)


def lengthened(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with the last NumericValue replaced, all lengths around it undefined or adjusted by hand."""
    start = data.rindex(b"\x40\x00\x0a\xa3DS")
    measured = data.rindex(b"\x40\x00\x00\xa3SQ")
    unit = data[measured + 12 + 8 : start]
    content = unit + element_bytes(0x0040A30A, "DS", new)
    item = element_bytes(0x0040A300, "SQ", item_bytes(content))
    root = data.rindex(b"\x40\x00\x30\xa7SQ\0\0", 0, measured)
    last = data.rindex(b"\xfe\xff\x00\xe0", root, data.rindex(b"\x40\x00\x10\xa0CS", 0, measured))
    body = data[last + 8 : measured] + item
    return (
        data[: root + 8]
        + struct.pack("<I", last - root - 12 + 8 + len(body))
        + data[root + 12 : last]
        + item_bytes(body)
    )


# ---------------------------------------------------------------------- tracking, algorithm, evidence
@pytest.mark.parametrize("made", ["given", "detections", "classification"])
def test_tracking_is_never_missing(made):
    source = source_on(oblique())
    report = {
        "given": lambda: dml.Report(source, [dml.MeasurementGroup(), dml.MeasurementGroup()]),
        "detections": lambda: dml.Report.from_detections([[0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 2, 2]], source=source),
        "classification": lambda: dml.Report.from_classification({NODULE: 1.0}, source=source),
    }[made]()
    groups = list(containers(report.dataset, "125007"))
    uids = []
    for item in groups:
        said = {
            c.ConceptNameCodeSequence[0].CodeValue: c for c in item.ContentSequence if "ConceptNameCodeSequence" in c
        }
        assert said["112039"].TextValue and said["112039"].RelationshipType == "HAS OBS CONTEXT"
        uids.append(said["112040"].UID)
    assert len(set(uids)) == len(groups) == len(report.groups)


@pytest.mark.parametrize("groups", [[], [group()], [group(), group(images=[1])]])
def test_the_algorithm_is_always_identified(groups):
    report = dml.Report(source_on(axial()), groups, NET)
    values = {c.ConceptNameCodeSequence[0].CodeValue: c for c in walk(report.dataset) if "ConceptNameCodeSequence" in c}
    assert values["111001"].TextValue == "NoduleNet" and values["111003"].TextValue == "1.0"
    assert values["111000"].ConceptCodeSequence[0].CodeValue == "123110"
    assert values["111002"].TextValue == "threshold=0.5"
    assert values["121013"].TextValue == "NoduleNet"  # and it is the device that observed
    by_group = [[c.ConceptNameCodeSequence[0].CodeValue for c in g.ContentSequence if "ConceptNameCodeSequence" in c]
                for g in containers(report.dataset, "125007")]  # fmt: skip
    assert all("111001" in names for names in by_group)


def walk(ds):
    for item in ds.get("ContentSequence") or []:
        yield item
        yield from walk(item)


@pytest.mark.parametrize("source", [source_on(oblique()), source_on(oblique(), multiframe=True), slide()],
                         ids=["planes", "multiframe", "slide"])  # fmt: skip
@pytest.mark.parametrize("library", [True, False])
def test_evidence_lists_all_that_the_content_refers_to(source, library):
    elsewhere = dml.Reference("1.2.840.10008.5.1.4.1.1.66.4", "1.2.9", (), (), (), "1.2.8", source.study_instance_uid)
    groups = [
        group(dml.SegmentReference(elsewhere, 1)),
        group(),
        group(dml.Point((1, 1), slice=None if source.levels else 2)),
    ]
    report = dml.Report(source, groups, image_library=library)
    ds = report.dataset
    used = {str(c.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for c in walk(ds) if "ReferencedSOPSequence" in c}
    listed = [
        (str(study.StudyInstanceUID), str(series.SeriesInstanceUID), str(sop.ReferencedSOPInstanceUID))
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]
    assert used <= {sop for _, _, sop in listed} and len(set(listed)) == len(listed)
    assert (source.study_instance_uid, "1.2.8", "1.2.9") in listed
    assert {s for _, s, _ in listed} == {source.series_instance_uid, "1.2.8"}


# ---------------------------------------------------------------------- odd content of others
def test_broken_coordinates_are_told_and_skipped():
    report = full_report()
    ds = report.dataset
    for g in containers(ds, "125007"):
        for item in g.ContentSequence:
            if item.ValueType == "SCOORD" and item.GraphicType == "CIRCLE":
                item.GraphicData = [*item.GraphicData, 7.0, 8.0]
            elif item.ValueType == "SCOORD" and item.GraphicType == "ELLIPSE":
                item.GraphicData = list(item.GraphicData)[:5]
            elif item.ValueType == "SCOORD" and item.GraphicType == "POINT":
                item.GraphicType = "SPLINE"
    buffer = io.BytesIO()
    ds.save_as(buffer)
    read = dml.read_report(buffer.getvalue())
    assert len(read.groups) == len(report.groups)
    text = "; ".join(read.problems)
    assert "circle has 2 points" in text and "Ellipse has 4 points" in text and "SPLINE is not known" in text


def test_items_without_values_are_read():
    ds = full_report().dataset
    for item in walk(ds):
        for keyword in ("TextValue", "UID", "ConceptCodeSequence", "MeasuredValueSequence", "ReferencedSOPSequence",
                        "GraphicData"):  # fmt: skip
            if keyword in item:
                delattr(item, keyword)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    report = dml.read_report(buffer.getvalue())
    assert len(report.groups) == 18 and report.groups[0].measurements[0].value is None
    assert report.groups[0].finding is None and report.observers == []
    report.to_records(), str(report.tree())


@given(st.integers(0, 4000), st.integers(0, 255))
def test_damaged_files_are_refused_or_read(place, value):
    data = bytearray(dml.Report(source_on(axial((3, 4, 4))), [group(dml.Circle((2, 2), 1, slice=1))], NET)._bytes)
    data[132 + place % (len(data) - 132)] = value
    try:
        report = dml.read_report(bytes(data))
        report.to_records(), str(report.tree()), report.find(finding=NODULE)
    except dml.DicomMLError:
        pass


@pytest.mark.parametrize("size", [0, 100, 200, 1000, 2500])
def test_cut_files_are_refused(size, tmp_path):
    (tmp_path / "cut.dcm").write_bytes(full_report()._bytes[:size])
    with pytest.raises(dml.FileError, match=r"cut\.dcm"):
        dml.read_report(tmp_path / "cut.dcm")


def test_endless_nesting_is_refused():
    item = ContentItem("CONTAINER", NAME, None, "CONTAINS")
    for _ in range(150):
        item = ContentItem("CONTAINER", NAME, None, "CONTAINS", [item])
    with pytest.raises(dml.FileError, match="nested more than 100"):
        read_sr_tree(document(item))
