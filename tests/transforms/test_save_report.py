"""Predictions of networks to reports: boxes at the very voxels, whatever MONAI has made of the image."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")

import torch
from monai.apps.detection.transforms.dictionary import AffineBoxToImageCoordinated, AffineBoxToWorldCoordinated
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Flipd,
    Orientationd,
    ScaleIntensityd,
    Spacingd,
    SpatialCropd,
)

import dicom_ml as dml
from dicom_ml.bridge.boxes import boxes_from_source
from dicom_ml.codes import parse_code
from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from dicom_ml.transforms import DicomReader, LoadDicomd, LoadReportd, SaveReport, SaveReportd, SaveSegmentationd
from tests.judges import dciodvfy, dcmqi_read_sr, dsrdump, highdicom_read_sr
from tests.series import write_series
from tests.transforms.detector import retinanet

NODULE, MASS = "SCT:27925004", "SCT:4147007"
MADE_BY = {"name": "NoduleNet", "version": "1"}
COMMON = {"classes": {0: NODULE, 1: MASS}, "algorithm": MADE_BY, "site": "SCT:39607008"}
PRE = [
    LoadDicomd("image"),
    Orientationd("image", "PLS", labels=None),
    Spacingd("image", (1.1, 0.9, 1.7)),
    SpatialCropd("image", roi_start=(1, 2, 1), roi_end=(400, 400, 400)),
    Flipd("image", (0, 2)),
]
TRUE = np.array([[[3, 4, 5], [6, 11, 9]], [[1, 2, 2], [2, 5, 4]]], float)


@pytest.fixture
def straight(tmp_path_factory):
    """A series along the patient's axes, so that boxes stay boxes through resampling."""
    from dicom_ml.geometry import Grid

    affine = np.array([[0, 0, 0.7, -80], [0, 0.8, 0, -120], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
    folder = tmp_path_factory.mktemp("straight")
    write_series(folder, Grid((12, 20, 16), affine), name="straight")
    return folder


def only(folder, pattern="*.sr.dcm"):
    (file,) = folder.glob(pattern)
    return file


def read(file, series):
    return dml.read_report(file, source=dml.read_volume(series))


def seen(series, *moves, boxes=TRUE, **where):
    """An image after transforms, and the true boxes on it."""
    item = Compose(list(moves) or PRE)({"image": str(series)})
    found = boxes_from_source(boxes, item["image"].affine.numpy(), dml.read_volume(series).grid, **where)
    return item, torch.tensor(found)


# ---------------------------------------------------------------------- boxes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_come_back_to_their_voxels(straight, tmp_path, dtype):
    item, boxes = seen(straight)
    item["pred"] = {"box": boxes.to(dtype), "label": torch.tensor([1, 0]), "label_scores": torch.tensor([0.5, 0.75])}
    out = SaveReportd("pred", tmp_path, **COMMON)(item)
    file = only(tmp_path)
    assert out["pred_meta_dict"]["report_saved_to"] == str(file)
    report = read(file, straight)
    assert [g.finding for g in report.groups] == [parse_code(NODULE), parse_code(MASS)]
    got, scores, _ = report.boxes()
    np.testing.assert_array_equal(got.reshape(-1, 2, 3), TRUE[::-1])  # the highest score first
    assert scores.tolist() == [0.75, 0.5]
    assert report.groups[0].site[0].location == parse_code("SCT:39607008")
    assert dciodvfy(file) == [] and dsrdump(file) == []
    assert len(highdicom_read_sr(file).content.get_volumetric_roi_measurement_groups()) == 2
    assert len(dcmqi_read_sr(file, tmp_path)["Measurements"]) == 2


def test_monais_millimetres(straight, tmp_path):
    """World boxes to the image by MONAI, and back by MONAI; or from the image as its numbers are then."""
    series = dml.read_volume(straight)
    world = torch.tensor(boxes_from_source(TRUE, None, series.grid, space="world"), dtype=torch.float32)
    item = Compose([*PRE, AffineBoxToImageCoordinated("box", "image")])({"image": str(straight), "box": world})
    item |= {"labels": torch.tensor([0, 0]), "scores": torch.tensor([0.9, 0.8])}
    named = {"label_key": "labels", "score_key": "scores", **COMMON}
    SaveReportd("box", tmp_path / "image", corners="center", **named)(dict(item))
    back = AffineBoxToWorldCoordinated("box", "image")(dict(item))
    SaveReportd("box", tmp_path / "world", space="world", **named)(back)
    for folder in (tmp_path / "image", tmp_path / "world"):
        got, _, _ = read(only(folder), straight).boxes()
        np.testing.assert_allclose(got.reshape(-1, 2, 3), TRUE, atol=2e-4)


def test_a_turned_series_keeps_the_box_inside(case, tmp_path):
    """Spacingd with axes of their own turns nothing; Orientationd of an oblique series permutes only."""
    item, boxes = seen(case.series, *PRE[:2], boxes=TRUE)
    item["pred"] = {"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.5, 0.4])}
    SaveReportd("pred", tmp_path, **COMMON)(item)
    got, _, _ = read(only(tmp_path), case.series).boxes()
    np.testing.assert_array_equal(got.reshape(-1, 2, 3), TRUE)


@pytest.mark.parametrize("loader", ["ours", "reader"])
def test_a_retinanet(straight, tmp_path, loader):
    """MONAI's detector, its loaders and batches: what it says of each image is in that image's report."""
    from monai.transforms import LoadImaged

    load = [LoadDicomd("image")] if loader == "ours" else [
        LoadImaged("image", reader=DicomReader()), EnsureChannelFirstd("image", channel_dim="no_channel")
    ]  # fmt: skip
    pre = Compose([*load, *PRE[1:], ScaleIntensityd("image")])
    save = SaveReportd("pred", tmp_path, min_score=0.01, **COMMON)
    (batch,) = DataLoader(Dataset([{"image": str(straight)}], pre), batch_size=1)
    detector = retinanet()
    with torch.no_grad():
        outputs = detector(batch["image"].as_tensor())
    for item, pred in zip(decollate_batch(batch), outputs, strict=True):
        save({**item, "pred": pred})
    series = dml.read_volume(straight)
    report = read(only(tmp_path), straight)
    assert 0 < len(report.groups) <= 6
    expected = np.asarray(outputs[0]["box"])
    affine = pre({"image": str(straight)})["image"].affine.numpy()
    got, scores, _ = report.boxes()
    np.testing.assert_allclose(sorted(scores), sorted(np.asarray(outputs[0]["label_scores"])), atol=1e-6)
    there = boxes_from_source(got, affine, series.grid)
    size = boxes_from_source(np.array([[0, 0, 0, *series.grid.shape]], float), affine, series.grid)[0]
    inside = np.concatenate([np.maximum(expected[:, :3], size[:3]), np.minimum(expected[:, 3:], size[3:])], axis=1)
    np.testing.assert_allclose(there, inside, atol=1e-2)
    assert dciodvfy(only(tmp_path)) == []


def test_flat_boxes(straight, tmp_path):
    """A flat detector: on a slice that kept its axis, on one that lost it, and on slices of a volume."""
    pre = [LoadDicomd("image"), Flipd("image", 1), SpatialCropd("image", roi_start=(2, 0, 7), roi_end=(400, 400, 8))]
    detector = retinanet(dimensions=2)
    item = Compose(pre)({"image": str(straight)})
    with torch.no_grad():
        (pred,) = detector([ScaleIntensityd("image")(item)["image"].as_tensor()[..., 0]])
    SaveReportd("pred", tmp_path / "kept", **COMMON)({**item, "pred": pred})
    report = read(only(tmp_path / "kept"), straight)
    assert {g.region.slice for g in report.groups} == {7}
    (y0, x0), (y1, x1) = report.groups[0].region.points
    first = np.asarray(pred["box"][0])
    np.testing.assert_allclose([x0, x1], first[[0, 2]] + 2, atol=1e-3)
    np.testing.assert_allclose([y0, y1], 20 - first[[3, 1]], atol=1e-3)
    assert dciodvfy(only(tmp_path / "kept")) == []
    content = highdicom_read_sr(only(tmp_path / "kept")).content
    assert len(content.get_planar_roi_measurement_groups()) == len(report.groups)
    boxes = torch.tensor([[1.0, 2, 5, 6], [3.0, 3, 7, 9]])
    whole = LoadDicomd("image")({"image": str(straight)})
    given = {"boxes": boxes, "labels": torch.tensor([0, 0]), "slices": torch.tensor([3, 9])}
    SaveReportd("pred", tmp_path / "many", **COMMON)({**whole, "pred": given})
    found = [(g.region.slice, g.region.points.tolist()) for g in read(only(tmp_path / "many"), straight).groups]
    assert found == [(3, [[2, 1], [6, 5]]), (9, [[3, 3], [9, 7]])]
    with pytest.raises(GeometryError, match="several slices"):
        SaveReportd("pred", tmp_path, **COMMON)({**whole, "pred": {k: v for k, v in given.items() if k != "slices"}})


def test_an_image_without_place_in_space(straight, tmp_path):
    """A radiograph, say: flat boxes in its own pixels, columns along W."""
    ds = pydicom.dcmread(next(straight.glob("*.dcm")))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, keyword)
    source = dml.SourceSeries.from_datasets([ds])
    assert source.grid is None
    given = {"boxes": torch.tensor([[3.0, 4, 9, 7]]), "labels": torch.tensor([0]), "scores": torch.tensor([0.5])}
    SaveReportd("pred", tmp_path, **COMMON)({"dicom_source": source.to_string(), "pred": given})
    (group,) = dml.read_report(only(tmp_path), source=source).groups
    assert group.region.points.tolist() == [[4, 3], [7, 9]]
    assert dciodvfy(only(tmp_path)) == []
    with pytest.raises(GeometryError, match="no patient geometry"):
        SaveReportd("pred", tmp_path, **COMMON)(
            {"dicom_source": source.to_string(), "pred": {"boxes": torch.ones(1, 6)}}
        )


def test_the_same_prediction_is_the_same_report(straight, tmp_path):
    item, boxes = seen(straight)
    item["pred"] = {"boxes": boxes, "labels": torch.tensor([0, 0]), "scores": torch.tensor([0.9, 0.8])}
    found = []
    for folder, options in (("a", {}), ("b", {}), ("c", {"model": "other"}), ("d", {"min_score": 0.85})):
        SaveReportd("pred", tmp_path / folder, **COMMON, **options)(dict(item))
        report = read(only(tmp_path / folder), straight)
        found.append((report.sop_instance_uid, report.series_instance_uid, [g.tracking_uid for g in report.groups]))
    assert found[0] == found[1] and found[0][:2] != found[2][:2] and found[0][0] != found[3][0]
    assert found[0][2] == found[2][2] and found[3][2] == found[0][2][:1]


def test_lesions_are_followed_over_time(tmp_path):
    """A lesion of one patient keeps its tracking UID in another study; another patient's has its own."""
    uids = {}
    for name, patient in (("first", "P1"), ("second", "P1"), ("third", "P2")):
        write_series(tmp_path / name, name=name, patient=patient, study=name)
        item = LoadDicomd("image")({"image": str(tmp_path / name)})
        item["pred"] = {"boxes": torch.tensor([[1.0, 1, 1, 4, 5, 6]]), "labels": [0], "tracking_ids": ["Lesion A"]}
        SaveReportd("pred", tmp_path / f"{name}-out", **COMMON)(item)
        (group,) = dml.read_report(only(tmp_path / f"{name}-out")).groups
        assert group.tracking_id == "Lesion A"
        uids[name] = group.tracking_uid
    assert uids["first"] == uids["second"] != uids["third"]


def test_no_frame_of_reference(straight, tmp_path):
    """Without one there are no millimetres: boxes go onto the slices that they reach, and that is told."""
    from dataclasses import replace

    item, boxes = seen(straight)
    source = dml.SourceSeries.from_string(item["image"].meta["dicom_source"])
    item["image"].meta["dicom_source"] = replace(source, frame_of_reference_uid="").to_string()
    boxes[:, 2] += 0.4
    item["pred"] = {"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.5, 0.4])}
    with pytest.warns(DicomMLWarning, match="whole slices"):
        SaveReportd("pred", tmp_path, **COMMON)(item)
    got, _, _ = read(only(tmp_path), straight).boxes()
    assert (got[:, [0, 3]] == np.rint(got[:, [0, 3]])).all()
    np.testing.assert_allclose(got[:, [1, 2, 4, 5]], TRUE.reshape(-1, 6)[:, [1, 2, 4, 5]], atol=1.0)


def test_nothing_found_is_a_report(straight, tmp_path):
    item, _ = seen(straight)
    none = {"box": torch.zeros((0, 6)), "label": torch.zeros(0, dtype=int), "label_scores": torch.zeros(0)}
    SaveReportd("pred", tmp_path, **COMMON)({**item, "pred": none})
    report = read(only(tmp_path), straight)
    assert report.groups == [] and dciodvfy(only(tmp_path)) == []


def test_what_is_refused(straight, tmp_path):
    item, boxes = seen(straight)
    good = {"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.9, 0.8])}
    save = SaveReportd("pred", tmp_path, **COMMON)
    with pytest.raises(EncodingError, match=r"labels \[7\]"):
        save({**item, "pred": good | {"labels": torch.tensor([0, 7])}})
    with pytest.raises(EncodingError, match="2 boxes were found, but 1 scores"):
        save({**item, "pred": good | {"scores": torch.tensor([0.9])}})
    with pytest.raises(EncodingError, match="none of which is"):
        save({**item, "pred": {"labels": [1]}})
    with pytest.raises(EncodingError, match="probabilities"):
        save({**item, "pred": good | {"scores": torch.tensor([3.0, 0.8])}})
    with pytest.raises(EncodingError, match="boxes without labels"):
        save({**item, "pred": {"boxes": boxes}})
    with pytest.raises(EncodingError, match="which series"):
        save({"image": torch.zeros(1, 4, 4, 4), "pred": good})
    with pytest.raises(EncodingError, match="kind"):
        SaveReport(kind="boxes")
    with pytest.raises(EncodingError, match="whole numbers"):
        SaveReport(classes={"nodule": NODULE})
    with pytest.raises(EncodingError, match="several codes"):
        SaveReport(classes={NODULE: 0, MASS: 0})
    assert not list(tmp_path.iterdir())


def test_labels_of_a_report_and_back(straight, tmp_path):
    """What LoadReportd gives, SaveReportd writes: the same classes, and the same report."""
    first = dml.Report.from_detections(
        TRUE.reshape(-1, 6), [0.9, 0.8], [1, 0], classes=[NODULE, MASS], source=dml.read_volume(straight)
    )
    first.save(tmp_path / "first.sr.dcm")
    classes = {NODULE: 0, MASS: 1}
    pre = Compose([*PRE, LoadReportd("report", on="image", classes=classes)])
    item = pre({"image": str(straight), "report": str(tmp_path / "first.sr.dcm")})
    SaveReportd("box", tmp_path / "out", label_key="label", classes=classes, algorithm=MADE_BY)(item)
    again = read(only(tmp_path / "out"), straight)
    assert sorted(map(str, again.boxes()[0])) == sorted(map(str, first.boxes()[0]))
    assert {g.finding for g in again.groups} == {parse_code(NODULE), parse_code(MASS)}


# ---------------------------------------------------------------------- classes
def test_classification(case, tmp_path):
    item = LoadDicomd("image")(case.record)
    options = {"classes": ["SCT:17621005", "SCT:263654008"], "algorithm": MADE_BY}
    item["pred"] = torch.tensor([0.0, 2.0])
    SaveReportd("pred", tmp_path / "two", "classification", activation="softmax", **options)(item)
    item["pred"] = torch.tensor([0.25])
    asked = {"question": "SCT:363713009", **options}
    SaveReportd("pred", tmp_path / "one", "classification", **asked)(item)
    (group,) = dml.read_report(only(tmp_path / "two")).groups
    values = [m.value / 100 for m in group.measurements]
    assert values == pytest.approx(torch.softmax(torch.tensor([0.0, 2.0]), 0).tolist())
    assert group.finding == parse_code("SCT:263654008")
    (group,) = dml.read_report(only(tmp_path / "one")).groups
    assert [m.value for m in group.measurements] == pytest.approx([75, 25])
    assert group.evaluations[0].value == parse_code("SCT:17621005")
    for folder in ("one", "two"):
        assert dciodvfy(only(tmp_path / folder)) == []
    with pytest.raises(EncodingError, match="no probabilities"):
        SaveReportd("pred", tmp_path, "classification", **options)({**item, "pred": torch.tensor([0.0, 2.0])})
    with pytest.raises(EncodingError, match="two classes"):
        SaveReport(kind="classification", classes=[NODULE])


# ---------------------------------------------------------------------- measurements
def test_measurements(case, segments, tmp_path):
    """Of a mask that is saved with the report, and of one that was saved before; values are those of the series."""
    pre = Compose([LoadDicomd("image"), Orientationd("image", "LAS", labels=None), ScaleIntensityd("image")])
    item = pre(case.record)
    from dicom_ml.bridge.tensors import mask_tensor

    mask = mask_tensor(case.labels[None], case.volume.source, case.volume.source.to_string())
    item["pred"] = Orientationd("pred", "LAS", labels=None)({"pred": mask})["pred"]
    SaveReportd("pred", tmp_path / "with", "measurements", segments=segments)(dict(item))
    after = tmp_path / "after"
    Compose([SaveSegmentationd("pred", segments, after), SaveReportd("pred", after, "measurements")])(dict(item))
    for folder in (tmp_path / "with", tmp_path / "after"):
        report = dml.read_report(only(folder), source=case.volume)
        seg = pydicom.dcmread(only(folder, "*.seg.dcm"))
        assert seg.SOPInstanceUID in report.evidence
        assert [g.region.number for g in report.groups] == [1, 2]
        for number, group in enumerate(report.groups, start=1):
            inside = case.labels == number
            voxel = abs(np.linalg.det(case.volume.affine[:3, :3]))
            assert group.value("SCT:118565006") == pytest.approx(inside.sum() * voxel)
            hu = [m for m in group.measurements if m.derivation == parse_code("SCT:373098007")]
            assert hu[0].value == pytest.approx(case.volume.array[inside].mean(), rel=1e-5)
        assert dciodvfy(only(folder)) == []
    shapes = SaveReport(tmp_path / "shapes", "measurements", segments=segments, values=False)
    shapes(item["pred"], item["image"])
    assert item["pred"].meta["report_saved_to"] == str(only(tmp_path / "shapes"))
    (first, _) = dml.read_report(only(tmp_path / "shapes")).groups
    assert len(first.measurements) == 2
    with pytest.raises(EncodingError, match="values mean"):
        SaveReport(tmp_path, "measurements")(mask)


def test_what_a_detector_measures_is_written(straight, tmp_path):
    """Measurements stay with their box when boxes are ranked and left out."""
    item, boxes = seen(straight)
    sizes = [(dml.Measurement("SCT:81827009", size, "mm"),) for size in (4.5, 8.25)]
    item["pred"] = {"boxes": boxes, "labels": torch.tensor([0, 0]), "scores": torch.tensor([0.3, 0.8])}
    SaveReportd("pred", tmp_path / "a", **COMMON)({**item, "pred": {**item["pred"], "measurements": sizes}})
    found = [g.value("SCT:81827009") for g in read(only(tmp_path / "a"), straight).groups]
    assert found == [8.25, 4.5]
    SaveReportd("pred", tmp_path / "b", min_score=0.5, **COMMON)(
        {**item, "pred": {**item["pred"], "measurements": sizes}}
    )
    assert [g.value("SCT:81827009") for g in read(only(tmp_path / "b"), straight).groups] == [8.25]
    with pytest.raises(EncodingError, match="2 boxes were found, but 1 measurements"):
        SaveReportd("pred", tmp_path, **COMMON)({**item, "pred": {**item["pred"], "measurements": sizes[:1]}})
