"""Reports of what models give: boxes, classes, segments measured on a volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import dicom_ml as dml
from dicom_ml.objects.report.builders import largest_distance
from tests.series import blobs, write_series

from .scenes import LUNG, NET, NODULE, axial, oblique, slide, source_on

CERTAINTY = "DCM:111012"


def rewritten(report, **reading):
    return dml.read_report(report._bytes, **reading)


# ---------------------------------------------------------------------- detections
def test_detections():
    boxes = np.array([[1.25, 4, 5, 3, 9, 11.5], [2, 0, 0, 4, 8, 8]], np.float32)
    report = dml.Report.from_detections(
        boxes, [0.875, 0.1], [1, 0], source=source_on(oblique()), classes=["SCT:4147007|Mass", NODULE], site=LUNG,
        algorithm=NET, series_description="Nodules",
    )  # fmt: skip
    back = rewritten(report)
    assert [g.finding.value for g in back.groups] == ["27925004", "4147007"]
    assert [g.value(CERTAINTY) for g in back.groups] == [87.5, 10]
    for g, box in zip(back.groups, boxes, strict=True):
        assert g.region.close_to(dml.Box(box[:3], box[3:])) and g.site[0].location == dml.Code("39607008", "SCT")
    assert report.dataset.SeriesDescription == "Nodules"


def test_boxes_come_back_as_arrays():
    given_boxes, given_scores = [[1.25, 4, 5, 3, 9, 11.5], [2, 0, 0, 4, 8, 8]], [0.875, 1 / 3]
    report = dml.Report.from_detections(given_boxes, given_scores, [NODULE] * 2, source=source_on(oblique()))
    for made in (report, rewritten(report)):
        boxes, scores, groups = made.boxes()
        np.testing.assert_allclose(boxes, given_boxes, atol=1e-4)
        np.testing.assert_allclose(scores, given_scores, rtol=1e-12)
        assert groups == made.groups
    flat = dml.Report.from_detections([[1, 2, 3, 4]], source=source_on(axial()), slices=[6])
    assert rewritten(flat).boxes()[0].tolist() == [[6, 1, 2, 7, 3, 4]] and np.isnan(rewritten(flat).boxes()[1]).all()
    on_slide = dml.Report.from_detections([[1, 2, 3, 4]], source=slide())
    assert rewritten(on_slide, source=slide()).boxes()[0].shape == (1, 4)
    assert rewritten(dml.Report(source_on(axial()), [])).boxes()[0].shape == (0, 6)


def test_boxes_are_cut_off_at_the_edge_and_empty_ones_left_out():
    boxes = [[-2, -1.5, 3, 4, 5, 100], [20, 0, 0, 30, 5, 5], [3, 3, 3, 3, 9, 9], [0, 0, 0, np.nan, 9, 9]]
    with pytest.warns(dml.DicomMLWarning, match="3 of 4 boxes"):
        report = dml.Report.from_detections(boxes, labels=[NODULE] * 4, source=source_on(axial()))
    assert [g.region for g in rewritten(report).groups] == [dml.Box((0, 0, 3), (4, 5, 64))]


def test_scores_below_the_least_are_left_out():
    boxes = np.tile([0, 0, 0, 2, 2, 2], (3, 1))
    report = dml.Report.from_detections(boxes, [0.1, 0.5, 0.9], source=source_on(axial()), min_score=0.5)
    assert len(report.groups) == 2 and report.groups[0].finding is None


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 6)), np.zeros((0, 4))])
def test_nothing_detected(boxes):
    report = dml.Report.from_detections(boxes, np.zeros(0), [], source=source_on(axial()), algorithm=NET)
    assert rewritten(report).groups == []


def test_flat_boxes_on_slices_and_slides():
    report = dml.Report.from_detections([[1, 2, 3, 4]], source=source_on(axial()), slices=[6])
    assert rewritten(report).groups[0].region == dml.Box((1, 2), (3, 4), slice=6)
    back = rewritten(dml.Report.from_detections([[1, 2, 3, 4]], source=slide()), source=slide())
    assert back.groups[0].region.close_to(dml.Box((1, 2), (3, 4)), 0.02)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    boxes = torch.tensor([[0, 0, 0, 2, 2, 2.0]])
    report = dml.Report.from_detections(
        boxes, torch.tensor([0.5]), torch.tensor([3]), source=source_on(axial()), classes={3: NODULE}
    )
    assert report.groups[0].value(CERTAINTY) == 50


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "options", "message"),
    [
        ([[0, 1, 2]], None, None, {}, r"\(N, 6\) or \(N, 4\)"),
        ([[0, 0, 0, 1, 1, 1]], [0.5, 0.5], None, {}, "2 scores"),
        ([[0, 0, 0, 1, 1, 1]], [3.2], None, {}, "softmax"),
        ([[0, 0, 0, 1, 1, 1]], None, [1], {}, "without a meaning"),
        ([[0, 0, 0, 1, 1, 1]], None, [NODULE, NODULE], {}, "2 labels"),
        ([[0, 0, 0, 1, 1, 1]], None, None, {"tracking_ids": []}, "0 tracking_ids"),
    ],
)
def test_detections_that_do_not_fit(boxes, scores, labels, options, message):
    with pytest.raises(dml.EncodingError, match=message):
        dml.Report.from_detections(boxes, scores, labels, source=source_on(axial()), **options)


# ---------------------------------------------------------------------- classification
def test_classification_of_a_slide():
    source = slide()
    scores = {"SCT:17621005": 0.25, "SCT:86049000": 0.75}
    back = rewritten(dml.Report.from_classification(scores, source=source, algorithm=NET)).groups[0]
    assert back.finding.value == "86049000" and back.region is None and back.evaluations == ()
    assert [r.sop_instance_uid for r in back.images] == list(source.levels[0].sop_instance_uids)
    assert {m.modifiers[0][1].value: m.value for m in back.measurements} == {"17621005": 25, "86049000": 75}
    question = dml.Report.from_classification(
        np.array([0.6, 0.4]), classes=list(scores), question="DCM:111005|Assessment Category", source=source
    )
    back = rewritten(question).groups[0]
    assert back.finding is None and back.evaluation("DCM:111005").value.value == "17621005"
    for wrong, options in ((np.array([0.5]), {}), ({}, {}), (scores, {"classes": list(scores)})):
        with pytest.raises(dml.EncodingError):
            dml.Report.from_classification(wrong, source=source, **options)


def test_classification_names_few_images():
    many = rewritten(dml.Report.from_classification({NODULE: 1.0}, source=source_on(axial((30, 4, 4)))))
    assert many.groups[0].images == () and len(many.evidence) == 30
    some = dml.Report.from_classification({NODULE: 1.0}, source=source_on(axial((30, 4, 4))), images=[3, 4])
    assert len(rewritten(some).groups[0].images) == 2


# ---------------------------------------------------------------------- segments
def test_segments_measured_on_their_volume(tmp_path):
    write_series(tmp_path / "ct")
    volume = dml.read_volume(tmp_path / "ct")
    mask = blobs(volume.grid)
    segments = [
        dml.Segment(f"Blob {i}", type=NODULE, category="SCT:49755003", algorithm=NET, anatomy=LUNG) for i in (1, 2, 3)
    ]
    dml.Segmentation.from_array(mask, source=volume, segments=segments).save(tmp_path / "seg.dcm")
    seg = dml.read_segmentation(tmp_path / "seg.dcm")
    report = rewritten(dml.Report.from_measurements(seg, volume))
    assert [g.tracking_id for g in report.groups] == ["Blob 1", "Blob 2"]  # the third holds no voxel
    voxel = np.prod(volume.spacing)
    for number, g in enumerate(report.groups, start=1):
        inside = volume.array[mask == number].astype(float)
        assert g.value("SCT:118565006") == pytest.approx(voxel * len(inside))
        for derivation, value in (("SCT:373098007", inside.mean()), ("SCT:386136009", inside.std()),
                                  ("SCT:255605001", inside.min()), ("SCT:56851009", inside.max())):  # fmt: skip
            assert g.value("DCM:112031", derivation) == pytest.approx(value)
        assert g.region == dml.SegmentReference(seg, number) and report.find(segment=number) == [g]
        assert g.tracking_uid == seg.segments[number - 1].tracking_uid and g.algorithm == NET
    assert report.evidence[seg.sop_instance_uid][0] == seg.series_instance_uid
    one = dml.Report.from_measurements(seg, volume, segments=["Blob 2"])
    assert [g.tracking_id for g in one.groups] == ["Blob 2"]
    with pytest.raises(dml.EncodingError, match="segments asked for"):
        dml.Report.from_measurements(seg, volume, segments=["Blob 9"])


def test_frames_of_a_segmentation(tmp_path):
    source = source_on(oblique())
    mask = np.zeros(source.grid.shape, np.uint8)
    mask[3:6, 4:9, 5:11] = 1
    segment = dml.Segment("Nodule", type=NODULE, category="SCT:49755003", algorithm=NET)
    dml.Segmentation.from_array(mask, source=source, segments=[segment]).save(tmp_path / "seg.dcm")
    seg = dml.read_segmentation(tmp_path / "seg.dcm")
    groups = [dml.MeasurementGroup(finding=NODULE, region=dml.SegmentationFrame(seg, 2)),
              dml.MeasurementGroup(finding=NODULE, region=dml.SegmentReference(seg, "Nodule"))]  # fmt: skip
    report = dml.Report(source, groups)
    back = rewritten(report)
    assert [g.region for g in back.groups] == [g.region for g in groups]
    item = back.tree().first("DCM:121233").value
    assert item.sop_instance_uid == source.sop_instance_uids[4]  # the second frame's slice
    where = back.groups[0].region.segmentation
    with pytest.raises(dml.EncodingError, match="give the segmentation itself"):
        dml.Report(source, [dml.MeasurementGroup(region=dml.SegmentationFrame(where, 2))]).dataset
    # what was read knows enough to be written again
    again = rewritten(dml.Report(source, [back.groups[1]]))
    assert again.groups[0].region == groups[1].region and again.evidence[seg.sop_instance_uid]


@settings(max_examples=60)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)), st.integers(0, 9))
def test_largest_distance_is_that_of_all_pairs(mask, seed):
    affine = oblique(seed=seed).affine
    corners = np.argwhere(mask)
    if not len(corners):
        assert largest_distance(mask, affine) == 0
        return
    cube = np.array(list(itertools.product((0, 1), repeat=3)))
    points = (corners[:, None] + cube).reshape(-1, 3) @ affine[:3, :3].T
    expected = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    assert largest_distance(mask, affine) == pytest.approx(expected)
