"""Reports: all that a group can say comes back; reports are found, tabled, written again and told apart."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.objects.report import Device, DeviceSubject, Fetus, Person, Specimen
from dicom_ml.objects.report.items import ContentItem

from .scenes import DIAMETER, LUNG, MALIGNANCY, NET, NODULE, axial, full_measurement, group, oblique, slide, source_on

FIELDS = ("finding", "site", "region", "measurements", "evaluations", "tracking_id", "tracking_uid", "category",
          "method", "algorithm", "purpose", "time_point", "session", "real_world_value_map")  # fmt: skip


def rewritten(report: dml.Report, **reading) -> dml.Report:
    return dml.read_report(report._bytes, **reading)


def full_group() -> dml.MeasurementGroup:
    return dml.MeasurementGroup(
        finding=NODULE,
        site=[dml.Site(LUNG, "SCT:24028007", "SCT:26216008"), "SCT:10200004"],
        region=dml.Box((3, 4, 5), (7, 9, 11)),
        measurements=[full_measurement(), dml.Measurement("SCT:118565006", 1 / 3, "mm3", uncertainty=0.5)],
        evaluations=[
            dml.Evaluation(MALIGNANCY, "99LIDCQIICR:905", modifiers={"SCT:272741003": "SCT:7771000"}),
            dml.Evaluation("DCM:111005|Assessment Category", text="unclear,\nto be repeated"),
        ],
        tracking_id="Knoten Nr. 1 – groß",
        tracking_uid="1.2.3.4",
        category="SCT:49755003",
        method="DCM:122473|RECIST 1.1",
        algorithm=dml.Algorithm("Other", "2"),
        purpose="DCM:111041",
        time_point=dml.TimePoint("Baseline", "SCT:261665006|Unknown", 2, "TP1", "P1", 12.5, "DCM:126073|Start"),
        session="1",
        real_world_value_map=dml.Reference("1.2.840.10008.5.1.4.1.1.67", "1.2.9", (), (), (), "1.2.8", "1.2.7"),
    )


def test_all_that_a_group_says_comes_back():
    given = full_group()
    back = rewritten(dml.Report(source_on(oblique()), [given], NET)).groups[0]
    for name in FIELDS:
        assert getattr(back, name) == getattr(given, name), name
    assert back.value(DIAMETER, "SCT:373098007") == 7.3 and back.value(DIAMETER, "SCT:56851009") is None
    assert back.evaluation(MALIGNANCY).value == dml.Code("905", "99LIDCQIICR")
    assert back.real_world_value_map.series_instance_uid == "1.2.8"


def test_what_was_read_can_be_written_again():
    source = source_on(oblique())
    once = rewritten(dml.Report(source, [full_group(), group(images=[2, 3])], NET))
    twice = rewritten(dml.Report(source, once.groups, NET))
    for a, b in zip(once.groups, twice.groups, strict=True):
        assert [getattr(a, name) for name in FIELDS] == [getattr(b, name) for name in FIELDS]
        assert a.images == b.images


def test_measurements_with_their_own_lines():
    line, across = dml.Polyline([(1, 1), (5, 5)], slice=3), dml.Polyline([(1, 5), (5, 1)], slice=3)
    outline = dml.Contours([dml.Circle((4, 4), 2, slice=3), dml.Circle((4, 4), 1, slice=4)])
    measured = [dml.Measurement(DIAMETER, 7, "mm", region=r) for r in (line, across, outline)]
    back = rewritten(dml.Report(source_on(oblique()), [group(measurements=measured)])).groups[0]
    assert back.region is None and back.regions == [line, across, outline]
    with pytest.raises(dml.EncodingError, match="the group the body"):
        body = dml.Measurement(DIAMETER, 7, "mm", region=dml.Box((0, 0, 0), (1, 1, 1)))
        dml.Report(source_on(oblique()), [group(measurements=[body])]).dataset


@pytest.mark.parametrize(
    ("value", "qualifier"),
    [(float("nan"), "114000"), (float("inf"), "114002"), (float("-inf"), "114001"), (None, "114010")],
)
def test_missing_values_say_why(value, qualifier):
    report = dml.Report(source_on(axial()), [group(measurements=[dml.Measurement(DIAMETER, value, "mm")])])
    back = rewritten(report).groups[0].measurements[0]
    assert back.value is None and back.qualifier.value == qualifier


@pytest.mark.parametrize(
    "subject",
    [
        None,
        Fetus("A", mother="Doe^Jane", uid="1.2.3", count=2),
        Specimen("1.2.3", "S1", "C1", "SCT:119376003|Tissue specimen", "Lab"),
        DeviceSubject("Phantom", "1.2.3", "Maker", "Model", "7", "Room 1"),
    ],
)
def test_observers_and_subjects(subject):
    observers = [
        Person("Ärztin^Anna", "Hospital", "SCT:309343006|Physician", "DCM:121094|Performing", "anna"),
        Device("Scanner", "1.2.3", "Maker", "Model", "7", "Room 1", "DCM:121097|Recording"),
        Person("Doe^John"),
    ]
    back = rewritten(dml.Report(source_on(axial()), [group()], observers=observers, subject=subject))
    assert back.observers == observers and back.subject == subject


def test_who_observes_by_default():
    of_net = rewritten(dml.Report(source_on(axial()), [group()], NET)).observers
    assert [o.name for o in of_net] == ["NoduleNet"] and of_net[0].model == "NoduleNet 1.0"
    again = rewritten(dml.Report(source_on(oblique()), [], NET)).observers
    assert again[0].uid == of_net[0].uid  # the same program is the same observer everywhere
    assert rewritten(dml.Report(source_on(axial()), [group()], observers="Doe^Jane")).observers == [Person("Doe^Jane")]
    assert rewritten(dml.Report(slide(), [group()], NET)).subject == Specimen("2.25.1234", "S1", "C1")


def test_reports_without_groups_say_who_looked():
    report = rewritten(dml.Report(source_on(axial()), [], NET))
    assert report.groups == [] and report.problems == []
    assert report.tree().first("DCM:111001").value == "NoduleNet"
    whole = dml.Report(source_on(axial()), evaluations=[dml.Evaluation(MALIGNANCY, "99LIDCQIICR:901")],
                       derived=[dml.Measurement("SCT:118565006", 12, "mm3")])  # fmt: skip
    back = rewritten(whole)
    assert back.evaluations == whole.evaluations and back.derived == whole.derived
    assert [r["type"] for r in back.to_records()] == ["measurement", "evaluation"]


# ---------------------------------------------------------------------- looking into it
def test_find():
    source = source_on(oblique())
    groups = [
        group(dml.Box((3, 4, 5), (7, 9, 11)), tracking_id="one"),
        group(dml.Point((1, 1), slice=2), finding="SCT:4147007|Mass", site=["SCT:10200004", "SCT:39607008"]),
        group(images=[8], evaluations=[], category="SCT:49755003", tracking_uid="1.2.3"),
    ]
    for report in (made := dml.Report(source, groups, NET), rewritten(made)):
        a, b, c = report.groups
        assert report.find() == [a, b, c]
        assert report.find(finding=NODULE) == report.find(finding="SRT:M-03010") == [a, c]
        assert report.find(site="SRT:T-28000") == [a, b, c] and report.find(site="SCT:10200004") == [b]
        assert report.find(tracking_id="one") == [a] and report.find(tracking_uid="1.2.3") == [c]
        assert report.find(category="SCT:49755003") == [c] and report.find(evaluation=MALIGNANCY) == [a, b]
        assert report.find(measurement="SCT:118565006") == []
        assert report.find(region="box") == report.find(region=dml.Box) == [a]
        assert report.find(image=source.sop_instance_uids[2]) == [b]
        assert report.find(image=source.sop_instance_uids[8]) == [c]
        assert report.find(image=source.sop_instance_uids[4]) == [a]
        assert report.find(finding=NODULE, region="point") == []


def test_records():
    rows = rewritten(dml.Report(source_on(oblique()), [full_group(), group(measurements=[], evaluations=[])], NET))
    rows = rows.to_records()
    assert [r["type"] for r in rows] == ["measurement", "measurement", "evaluation", "evaluation", "finding"]
    assert len({tuple(r) for r in rows}) == 1  # all have the same keys, in the same order
    assert rows[0] | {"tracking_id": None} == {
        "group": 0, "tracking_id": None, "tracking_uid": "1.2.3.4", "finding": "Nodule", "finding_code": NODULE,
        "site": "Lung", "site_code": LUNG, "laterality": "Right", "region": "box", "type": "measurement",
        "name": "Diameter", "name_code": DIAMETER, "value": 7.3, "value_code": None, "unit": "mm",
        "derivation": "Mean",
    }  # fmt: skip
    assert rows[1]["value"] == 1 / 3 and rows[2]["value_code"] == "99LIDCQIICR:905"
    assert rows[3]["value"] == "unclear,\nto be repeated" and rows[4]["group"] == 1


def test_the_tree_of_a_made_report_is_that_of_its_file():
    report = dml.Report(source_on(oblique()), [full_group(), group(dml.Circle((4, 4), 2, slice=1))], NET)
    read = rewritten(report).tree()
    assert str(report.tree()).splitlines()[:8] == str(read).splitlines()[:8]

    def shapes(item: ContentItem):
        return [(i.value_type, i.name, i.relationship, i.template, len(i.children)) for i in item.walk()]

    assert shapes(report.tree()) == shapes(read)


# ---------------------------------------------------------------------- the document
def test_the_document_belongs_to_its_source():
    source = source_on(oblique())
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    report = dml.Report(source, [group()], NET, series_description="Nodules", series_number=7, created=when)
    ds = report.dataset
    assert ds.StudyInstanceUID == source.study_instance_uid == report.study_instance_uid
    assert ds.PatientID == "T1" and ds.PatientName == "Test^Segmentation" and ds.Modality == "SR"
    assert (ds.SeriesNumber, ds.SeriesDescription, ds.ContentDate) == (7, "Nodules", "20260102")
    assert ds.ManufacturerModelName == "NoduleNet" and ds.SoftwareVersions == "1.0"
    assert ds.SOPInstanceUID == report.sop_instance_uid and ds.SeriesInstanceUID == report.series_instance_uid
    assert "BodyPartExamined" not in ds and "FrameOfReferenceUID" not in ds
    assert "Report(Imaging Measurement Report, comprehensive3d, 1 groups)" in repr(rewritten(report))


def test_tracking_is_stable_and_that_of_segments():
    source = source_on(oblique())
    one, two = (dml.Report(source, [group(), group(), group(tracking_id="N")], NET) for _ in range(2))
    assert [g.tracking_uid for g in one.groups] == [g.tracking_uid for g in two.groups]
    assert len({g.tracking_uid for g in one.groups}) == 3
    assert [g.tracking_id for g in one.groups] == ["Nodule 1", "Nodule 2", "N"]
    segment = dml.Segment("N", type=NODULE, category="SCT:49755003", algorithm=NET)
    mask = np.zeros(source.grid.shape, np.uint8)
    mask[2, 3:5, 3:5] = 1
    stored = dml.Segmentation.from_array(mask, source=source, segments=[segment]).dataset.SegmentSequence[0]
    assert stored.TrackingUID == one.groups[2].tracking_uid


def test_deterministic_reports():
    source = source_on(oblique())
    when = datetime.datetime(2026, 1, 2)

    def make(**changes):
        return dml.Report(source, [group(**changes)], NET, deterministic=True, created=when)._bytes

    assert make() == make() != make(tracking_id="x")
    assert dml.Report(source, [group()]).sop_instance_uid != dml.Report(source, [group()]).sop_instance_uid


def test_saving_what_was_read_changes_nothing(tmp_path):
    report = dml.Report(source_on(oblique()), [full_group()], NET)
    report.save(tmp_path / "deep" / "a.dcm")
    dml.read_report(tmp_path / "deep" / "a.dcm").save(tmp_path / "b.dcm")
    assert (tmp_path / "deep" / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_groups_and_regions_travel_between_processes():
    back = pickle.loads(pickle.dumps(full_group()))
    assert back == full_group() and back.region.points.flags.writeable is False


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda s: dml.Report(s, document="basic"), dml.EncodingError, "enhanced, comprehensive"),
        (lambda s: dml.Report(s, coordinates="pixels"), dml.EncodingError, "coordinates is one of"),
        (lambda s: dml.Report(s, [1]), dml.EncodingError, "MeasurementGroup objects, found int"),
        (lambda s: dml.Report(s, algorithm="NoduleNet"), dml.EncodingError, "Algorithm"),
        (lambda s: dml.Report(s, observers=3), dml.EncodingError, "observer"),
        (lambda s: dml.Report(s, colour="red"), dml.EncodingError, "unknown settings"),
        (lambda s: group(region="box"), dml.EncodingError, "a region is a Box"),
        (lambda s: group(measurements=[7]), dml.EncodingError, "Measurement objects, found int"),
        (lambda s: group(dml.Point((1, 1)), images=[1]), dml.EncodingError, "either a region or images"),
        (lambda s: group(finding="nodule"), dml.CodeError, "did you mean"),
        (lambda s: dml.Measurement(DIAMETER, "seven", "mm"), dml.EncodingError, "is a number"),
        (lambda s: dml.Measurement(DIAMETER, 7, "furlongs"), dml.CodeError, "not a unit"),
        (lambda s: dml.Evaluation(MALIGNANCY), dml.EncodingError, "coded value or text"),
        (lambda s: dml.Evaluation(MALIGNANCY, "likely"), dml.CodeError, "text="),
        (lambda s: Person("^"), dml.EncodingError, "needs a name"),
        (lambda s: dml.TimePoint(offset=3), dml.EncodingError, "event="),
        (lambda s: Device(), dml.EncodingError, "needs a name, a UID"),
        (lambda s: dml.Report(s, [group(images=[dml.Reference("1.2", "1.3")])]).dataset, dml.EncodingError, "evidence"),
    ],
)
def test_refusals_teach(make, error, message):
    with pytest.raises(error, match=message):
        make(source_on(axial()))


def test_sources_with_problems_are_refused():
    with pytest.raises(dml.SeriesError, match="SOPInstanceUID is missing"):
        dml.Report(source_on(axial(), problems=("SOPInstanceUID is missing in 2 files",)), [group()])


def test_two_series_in_one_report():
    ct, pet = source_on(axial()), source_on(oblique(), name="pet", modality="PT")
    report = dml.Report(ct, [group(dml.Point((1, 1), slice=2)), group(dml.Point((3, 3), slice=4), source=pet)], NET)
    back = rewritten(report)
    assert {s for s, _ in back.evidence.values()} == {ct.series_instance_uid, pet.series_instance_uid}
    assert "PertinentOtherEvidenceSequence" in report.dataset  # the other series is of another study
    on_pet = dml.read_report(report._bytes, source=pet).groups
    assert on_pet[1].region == dml.Point((3, 3), slice=4) and on_pet[0].region.slice is None
    assert on_pet[0].region.image.sop_instance_uid == ct.sop_instance_uids[2]
