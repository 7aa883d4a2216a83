"""Findings of reports as boxes, classes and scores: on the image's own voxels, however it was moved."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pydicom
import pytest
import torch
from monai.apps.detection.transforms.dictionary import (
    AffineBoxToImageCoordinated,
    BoxToMaskd,
    ClipBoxToImaged,
    ConvertBoxToStandardModed,
    FlipBoxd,
    RandCropBoxByPosNegLabeld,
    RandFlipBoxd,
    RandRotateBox90d,
    RotateBox90d,
    StandardizeEmptyBoxd,
    ZoomBoxd,
)
from monai.data import DataLoader, MetaTensor, PersistentDataset, list_data_collate, set_track_meta
from monai.data.utils import no_collation
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Flipd,
    Lambdad,
    LoadImaged,
    Orientationd,
    RandRotate90d,
    Spacingd,
    SpatialCropd,
    SpatialPadd,
    SqueezeDimd,
)

import dicom_ml as dml
from dicom_ml.errors import CodeError, DicomMLWarning, EncodingError, GeometryError
from dicom_ml.geometry import Grid, to_monai
from dicom_ml.source import SourceSeries
from dicom_ml.transforms import (
    DicomReader,
    LoadDicomd,
    LoadReport,
    LoadReportd,
    LoadReportDict,
    WorldBoxToImage,
    WorldBoxToImaged,
)
from tests.reading._make import OBLIQUE, Series
from tests.series import write_series
from tests.transforms.reports import CYST, MALIGNANCY, NET, NODULE, group, rated, saved

START, STOP = (3, 4, 5), (7, 9, 11)


def marked(item: dict) -> dict:
    """The item with a mask of the voxels of the box, as an image of its own."""
    image = item["image"]
    array = np.zeros(image.shape[1:][::-1], np.uint8)
    array[tuple(map(slice, START, STOP))] = 1
    return item | {"mask": MetaTensor(torch.from_numpy(to_monai(array, np.eye(4))[0].copy()), meta=dict(image.meta))}


def extent(mask) -> list[int]:
    """The box that holds the voxels of a mask."""
    where = torch.nonzero(mask[0].as_tensor())
    return [*where.min(0).values.tolist(), *(where.max(0).values + 1).tolist()]


@pytest.fixture(scope="module")
def record(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("sr") / "box.sr.dcm"
    return {"image": str(case.series), "report": saved(path, case.volume, group(dml.Box(START, STOP)))}


# ---------------------------------------------------------------------- geometry
BOTH = ["image", "mask"]
MOVES = {
    "as it is": [],
    "turned": [Orientationd(BOTH, axcodes="RAS", labels=None)],
    "turned otherwise": [Orientationd(BOTH, axcodes="PIR", labels=None)],
    "flipped": [Flipd(BOTH, spatial_axis=(0, 2))],
    "rotated": [RandRotate90d(BOTH, prob=1, spatial_axes=(0, 2))],
    "cropped": [SpatialCropd(BOTH, roi_start=(2, 3, 1), roi_end=(14, 15, 10))],
    "padded": [SpatialPadd(BOTH, spatial_size=(25, 26, 27))],
    "resampled": [Spacingd(BOTH, pixdim=(0.35, 0.4, 0.5), mode="nearest")],
    "all": [
        Orientationd(BOTH, axcodes="LIP", labels=None),
        Spacingd(BOTH, pixdim=(0.35, 0.4, 0.5), mode="nearest"),
        Flipd(BOTH, spatial_axis=1),
        SpatialCropd(BOTH, roi_start=(2, 1, 3), roi_end=(300, 300, 300)),
    ],
}


@pytest.mark.parametrize("moves", MOVES)
def test_a_box_encloses_its_voxels_wherever_they_go(record, moves):
    load = LoadReportd("report", on="image")
    item = Compose([LoadDicomd("image"), marked, *MOVES[moves], load])(record)
    (box,) = item["box"].tolist()
    # nearest neighbours move a voxel's centre, not its edges: the mask may be off by less than a voxel of the old size
    off = np.abs(np.subtract(extent(item["mask"]), box))
    assert off.max() <= (1e-3 if moves not in ("resampled", "all") else 1.0)
    low, high = np.array(box[:3]), np.array(box[3:])
    centers = [np.ceil(low - 0.5 - 1e-3), np.ceil(high - 0.5 - 1e-3)]
    if moves == "resampled":  # voxels whose centres lie inside, exactly
        assert np.abs(np.concatenate(centers) - extent(item["mask"])).max() <= 1
    physical = np.prod(high - low) * abs(np.linalg.det(item["image"].affine[:3, :3].numpy()))
    assert physical == pytest.approx(4 * 5 * 6 * 2.5 * 0.8 * 0.7, rel=1e-4)


BOX_MOVES = {
    "flip": FlipBoxd(BOTH, "box", "image", spatial_axis=(0, 2)),
    "random flip": RandFlipBoxd(BOTH, "box", "image", prob=1, spatial_axis=1),
    "quarter turn": RotateBox90d(BOTH, "box", "image", k=1, spatial_axes=(0, 1)),
    "random turn": RandRotateBox90d(BOTH, "box", "image", prob=1, max_k=1, spatial_axes=(1, 2)),
    "zoom": ZoomBoxd(BOTH, "box", "image", zoom=(2, 2, 2), mode="nearest", keep_size=False),
}


@pytest.mark.parametrize("move", BOX_MOVES)
def test_monais_box_transforms_keep_the_voxels(record, move):
    """MONAI's convention is ours: corners at voxel edges, the stop not included."""
    item = Compose([LoadDicomd("image"), marked, LoadReportd("report"), BOX_MOVES[move]])(record)
    assert item["box"].dtype == torch.float32
    np.testing.assert_allclose(item["box"][0], extent(item["mask"]), atol=1e-3)


def test_masks_crops_and_clips_of_monai(record):
    standard = [ConvertBoxToStandardModed("box", mode="xyzxyz"), StandardizeEmptyBoxd("box", "image")]
    mask = BoxToMaskd("box", "drawn", "label", "image", min_fg_label=0)
    clip = ClipBoxToImaged("box", ["label", "score"], "image", remove_empty=True)
    steps = [LoadDicomd("image"), marked, LoadReportd("report", score_key="score"), *standard, clip, mask]
    item = Compose(steps)(record)
    drawn = item["drawn"][0] == 1
    assert torch.equal(drawn, item["mask"][0].as_tensor() == 1)
    assert (item["label"].tolist(), item["label"].dtype) == ([0], torch.int64)
    crop = RandCropBoxByPosNegLabeld(BOTH, "box", "label", spatial_size=(16, 8, 6), pos=1, neg=0, whole_box=False)
    (part,) = Compose([LoadDicomd("image"), marked, LoadReportd("report"), crop])(record)
    clipped = ClipBoxToImaged("box", "label", "image", remove_empty=True)(part)
    np.testing.assert_allclose(clipped["box"][0], extent(part["mask"]), atol=1e-3)


def test_boxes_of_a_cropped_image_stay_whole_until_clipped(record):
    cut = SpatialCropd("image", roi_start=(0, 0, 0), roi_end=(8, 20, 5))
    item = Compose([LoadDicomd("image"), cut, LoadReportd("report")])(record)
    assert item["box"].tolist() == [[5, 4, 3, 11, 9, 7]]
    assert ClipBoxToImaged("box", "label", "image", remove_empty=True)(item)["box"].tolist() == [[5, 4, 3, 8, 9, 5]]


@pytest.mark.parametrize("shift", [(0, 0, 0), (0.5, -0.5, 0.25)])
def test_world_boxes_follow_the_image(tmp_path, shift):
    """World boxes are true millimetres; MONAI's own change counts from the centre of the first voxel."""
    grid = Grid((10, 12, 14), np.diag([2.5, 0.8, 0.7, 1.0])[[2, 1, 0, 3]] + 0.0)
    write_series(tmp_path / "ct", grid)
    volume = dml.read_volume(tmp_path / "ct")
    report = saved(tmp_path / "r.dcm", volume, group(dml.Box(np.add(START, shift), np.add(STOP, shift))))
    turn = [Orientationd("image", axcodes="RAI", labels=None), Spacingd("image", pixdim=(1, 0.5, 1.5))]
    data = {"image": str(tmp_path / "ct"), "report": report}
    world = Compose([LoadDicomd("image"), LoadReportd("report", space="world"), *turn])(data)
    lps = volume.grid.to_lps(np.add([START, STOP], shift) - 0.5)
    ras = np.sort(lps * [-1, -1, 1], axis=0)
    np.testing.assert_allclose(world["box"][0], ras.ravel(), atol=1e-4)
    after = Compose([LoadDicomd("image"), *turn, LoadReportd("report")])(data)
    np.testing.assert_allclose(WorldBoxToImaged("box")(world)["box"], after["box"], atol=1e-4)
    np.testing.assert_allclose(WorldBoxToImage()(world["box"].numpy(), world["image"]), after["box"], atol=1e-4)
    monai = AffineBoxToImageCoordinated("box", "image")(dict(world))
    np.testing.assert_allclose(monai["box"], after["box"] - 0.5, atol=1e-4)
    centers = Compose([LoadDicomd("image"), *turn, LoadReportd("report", corners="center")])(data)
    np.testing.assert_allclose(monai["box"], centers["box"], atol=1e-4)


@pytest.mark.parametrize("tilt", ["shear", "resample"])
def test_gantry_tilt(tmp_path, tilt):
    """A box on a tilted series, in space: its corners lie where those of its voxels do."""
    series = Series(np.zeros((8, 20, 24), np.int16), orientation=OBLIQUE, slide=(0.0, 0.9))
    volume = dml.read_volume(series.write(tmp_path / "ct"), tilt=tilt)
    region = dml.Box(START, STOP)
    source = dml.read_volume(tmp_path / "ct", tilt="shear")
    report = saved(tmp_path / "r.dcm", source, group(dml.Polygon([(2, 3), (2, 11), (9, 5)], slice=4)), group(region))
    found = LoadReport()(report, on=volume)["boxes"].numpy()
    ends = np.array([START, STOP], dtype=float)
    corners = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    moved = volume.grid.to_index(source.grid.to_lps(corners - 0.5)) + 0.5
    expected = [*moved.min(0)[::-1], *moved.max(0)[::-1]]
    np.testing.assert_allclose(found[1], expected, atol=2e-2)
    if tilt == "shear":
        np.testing.assert_allclose(found[0], [3, 2, 4, 11, 9, 5], atol=1e-4)


@pytest.mark.parametrize("coordinates", ["auto", "patient"])
def test_every_kind_of_region(case, tmp_path, coordinates):
    triangle = [(1, 1), (1, 5.5), (6, 3)]
    expected = {
        dml.Box((3.4, 4.25, 5), (7.1, 9, 11.5)): [5, 4.25, 3.4, 11.5, 9, 7.1],
        dml.Box((4, 5.5), (9, 11), slice=6): [5.5, 4, 6, 11, 9, 7],
        dml.Polygon(triangle, slice=4): [1, 1, 4, 5.5, 6, 5],
        dml.Polygon([(2.2, y, x) for y, x in triangle]): [1, 1, 1.7, 5.5, 6, 2.7],
        dml.Circle((8, 8.5), 3.5, slice=2): [5, 4.5, 2, 12, 11.5, 3],
        dml.Ellipse.of((12, 8), (3, 2), 90, slice=2): [5, 10, 2, 11, 14, 3],
        dml.Ellipsoid.from_radii((5, 12, 8), (2, 3, 4)): [4, 9, 3, 12, 15, 7],
        dml.Polyline([(8, 8), (2, 8)], slice=2): [7.5, 2, 2, 8.5, 8, 3],
        dml.MultiPoint([(8, 8), (2, 3)], slice=2): [3, 2, 2, 8, 8, 3],
        dml.Contours([dml.Polygon(triangle, slice=4), dml.Circle((4, 4), 2, slice=5)]): [1, 1, 4, 6, 6, 6],
    }
    groups = [group(region) for region in expected]
    report = saved(tmp_path / "r.dcm", case.volume, *groups, coordinates=coordinates)
    found = LoadReport()(report, on=case.volume)
    np.testing.assert_allclose(found["boxes"], list(expected.values()), atol=2e-3)
    # where nothing but the measurement says where it was
    own = dml.Measurement("SCT:103339001", 5.0, "mm", region=dml.Polyline([(8, 8), (2, 3)], slice=2))
    report = saved(tmp_path / "m.dcm", case.volume, group(measurements=[own]), group())
    assert LoadReport()(report, on=case.volume)["boxes"].tolist() == [[3, 2, 2, 8, 8, 3]]


def test_points_have_the_size_that_is_said(case, tmp_path):
    diameter = dml.Measurement("SCT:81827009", 0.7, "cm")
    report = saved(tmp_path / "r.dcm", case.volume, group(dml.Point((8, 8), slice=2), measurements=[diameter]))
    with pytest.raises(GeometryError, match="pass point_size="):
        LoadReport()(report, on=case.volume)
    half = 3.5 / np.array([0.7, 0.8, 2.5])
    expected = [*(np.array([8, 8, 2.5]) - half), *(np.array([8, 8, 2.5]) + half)]
    for size in (7, "SCT:81827009"):
        np.testing.assert_allclose(LoadReport(point_size=size)(report, case.volume)["boxes"][0], expected, atol=1e-3)
    with pytest.raises(GeometryError, match="no measurement of"):
        LoadReport(point_size="SCT:118565006")(report, case.volume)


def test_segments_are_boxes_of_their_voxels(case, tmp_path):
    seg = dml.read_segmentation(case.seg)
    groups = [group(dml.SegmentReference(seg, n), CYST if n == 2 else NODULE) for n in (1, 2)]
    report = saved(tmp_path / "r.dcm", case.volume, *groups)
    found = LoadReport([NODULE, CYST])(report, case.volume, segmentations=str(case.seg))
    for n, box in enumerate(found["boxes"].numpy(), start=1):
        where = np.argwhere(case.labels == n)
        np.testing.assert_allclose(box, [*where.min(0)[::-1], *(where.max(0)[::-1] + 1)], atol=1e-3)
    assert found["labels"].tolist() == [0, 1]
    data = {"image": str(case.series), "report": report, "seg": [str(case.seg)]}
    item = Compose([LoadDicomd("image"), LoadReportd("report", segmentation_key="seg")])(data)
    assert torch.equal(item["box"], found["boxes"])
    with pytest.raises(GeometryError, match="give that segmentation"):
        LoadReport()(report, case.volume)
    assert len(LoadReport(elsewhere="drop")(report, case.volume)["boxes"]) == 0


def test_frames_of_segmentations(case, tmp_path):
    seg = dml.read_segmentation(case.seg)
    report = saved(tmp_path / "r.dcm", case.volume, group(dml.SegmentationFrame(seg, 2)))
    (box,) = LoadReport()(report, case.volume, segmentations=seg)["boxes"].numpy()
    ds = pydicom.dcmread(case.seg)
    where = np.argwhere(ds.pixel_array[1])
    np.testing.assert_allclose(box[[0, 1, 3, 4]], [*where.min(0)[::-1], *(where.max(0)[::-1] + 1)], atol=1e-3)
    position = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient
    np.testing.assert_allclose(box[[2, 5]], case.grid.to_index([float(v) for v in position])[0] + [0, 1], atol=1e-3)


def test_flat_images_have_flat_boxes(tmp_path):
    write_series(tmp_path / "one", Grid((1, 20, 16), np.diag([2.5, 0.8, 0.7, 1.0])[[2, 1, 0, 3]] + 0.0))
    volume = dml.read_volume(tmp_path / "one")
    report = saved(tmp_path / "r.dcm", volume, group(dml.Box((2, 3), (9, 11), slice=0)))
    flat = Compose([LoadDicomd("image"), Lambdad("image", lambda x: x[..., 0])])
    item = LoadReportd("report")(flat({"image": str(tmp_path / "one"), "report": report}))
    assert item["box"].tolist() == [[3, 2, 11, 9]]
    squeezed = SqueezeDimd("image", dim=-1)(LoadDicomd("image")({"image": str(tmp_path / "one")}))
    assert LoadReport()(report, squeezed["image"])["boxes"].tolist() == [[3, 2, 11, 9]]
    with pytest.raises(GeometryError, match="nobody knows where it lies"):
        LoadReport()(report, Flipd("image", 0)(squeezed)["image"])
    plain = pydicom.dcmread(next((tmp_path / "one").iterdir()))
    del plain.ImagePositionPatient, plain.ImageOrientationPatient
    radiograph = [plain]
    flat_report = saved(tmp_path / "f.dcm", radiograph, group(dml.Ellipse.of((8, 8), (3, 2), slice=0)))
    found = LoadReport()(flat_report, on=radiograph)
    assert found["boxes"].tolist() == [[6, 5, 10, 11]]
    with pytest.raises(EncodingError, match="no place in space"):
        LoadReport(space="world")(flat_report, on=radiograph)


# ---------------------------------------------------------------------- classes
def test_classes(case, tmp_path):
    box = dml.Box(START, STOP)
    report = saved(tmp_path / "r.dcm", case.volume, group(box), group(box, CYST), group(box, None))
    with pytest.raises(CodeError, match=r"367643001.* none of the classes.*unmapped='drop'"):
        LoadReport([NODULE])(report, case.volume)
    with pytest.raises(CodeError, match="it has no finding"):
        LoadReport([NODULE, CYST])(report, case.volume)
    loaded = {
        "drop": LoadReport({CYST: 3}, unmapped="drop"),
        "rest": LoadReport(["SRT:M-03010"], unmapped=9),
        "none": LoadReport(),
        "function": LoadReport(_by_finding, unmapped="drop"),
    }
    labels = {name: one(report, case.volume)["labels"].tolist() for name, one in loaded.items()}
    assert labels == {"drop": [3], "rest": [0, 9, 9], "none": [0, 0, 0], "function": [5]}


def _by_finding(one) -> int | None:
    return 5 if one.finding == dml.Code("367643001", "SCT") else None


def test_answers_are_classes(case, tmp_path):
    box = dml.Box(START, STOP)
    grade = dml.Measurement("99LAB:7|Grade", 3, "1")
    text = dml.Evaluation("99LAB:8|Texture", text="solid")
    groups = [rated("99LIDCQIICR:903", box, measurements=[grade]), group(box, evaluations=[text])]
    report = saved(tmp_path / "r.dcm", case.volume, *groups)
    asked = {
        MALIGNANCY: {"99LIDCQIICR:903": 2},
        "99LAB:7": {2: 0, 3: 1},
        "99LAB:8": ["ground glass", "solid"],
    }
    labels = [
        LoadReport(classes, question=q, unmapped="drop")(report, case.volume)["labels"].tolist()
        for q, classes in asked.items()
    ]
    assert labels == [[2], [1], [1]]
    with pytest.raises(CodeError, match="no answer to"):
        LoadReport({"99LIDCQIICR:903": 2}, question=MALIGNANCY)(report, case.volume)
    with pytest.raises(EncodingError, match="need classes="):
        LoadReport(question=MALIGNANCY)


def test_scores(case, tmp_path):
    boxes = np.array([[3, 4, 5, 7, 9, 11], [1, 1, 1, 2, 3, 4]], dtype=float)
    report = dml.Report.from_detections(boxes, [0.75, 0.5], [0, 1], classes=[NODULE, CYST], source=case.volume)
    found = LoadReport([NODULE, CYST])(report, case.volume)  # as it is in memory
    assert found["boxes"].tolist() == [[5, 4, 3, 11, 9, 7], [1, 1, 1, 4, 3, 2]]
    assert found["scores"].tolist() == [0.75, 0.5] and found["labels"].tolist() == [0, 1]


def test_classes_of_whole_images(case, tmp_path):
    ratings = {"99LIDCQIICR:901": 0, "99LIDCQIICR:903": 1, "99LIDCQIICR:905": 2}
    box = dml.Box(START, STOP)
    groups = [rated("99LIDCQIICR:901", box), rated("99LIDCQIICR:905", box), group(box)]
    report = saved(tmp_path / "r.dcm", case.volume, *groups)
    whole = dml.Report(case.volume, algorithm=NET, evaluations=[dml.Evaluation(MALIGNANCY, "99LIDCQIICR:903")])
    with pytest.raises(EncodingError, match=r"several classes, \[0, 2\]"):
        LoadReport(ratings, "class", question=MALIGNANCY)(report)
    several = {"highest": 2, "lowest": 0, "first": 0, "majority": 0, "median": 0}
    for policy, expected in several.items():
        assert LoadReport(ratings, "class", question=MALIGNANCY, several=policy)(report) == expected
    assert LoadReport(ratings, "class", question=MALIGNANCY)(whole) == 1
    assert LoadReport(ratings, "class", question=MALIGNANCY, several="median")([report, whole]) == 1
    assert LoadReport(ratings, "classes", question=MALIGNANCY)(report).tolist() == [1, 0, 1]
    nothing = saved(tmp_path / "n.dcm", case.volume)
    with pytest.raises(EncodingError, match="no report has an answer"):
        LoadReport(ratings, "class", question=MALIGNANCY)(nothing)
    item = LoadReportd("report", classes=ratings, kind="class", question=MALIGNANCY, missing=7)({"report": nothing})
    assert item["label"] == 7 and "box" not in item
    assert LoadReport([NODULE, CYST], "classes")(report).tolist() == [1, 0]


# ---------------------------------------------------------------------- travel
def test_detection_batches(case, record, tmp_path):
    """As MONAI's detectors are fed: items without collation, targets as they stand."""
    many = saved(tmp_path / "m.dcm", case.volume, *[group(dml.Box((i, 1, 1), (i + 2, 5, 5))) for i in range(3)])
    none = saved(tmp_path / "n.dcm", case.volume)
    data = [record, {**record, "report": many}, {**record, "report": none}]
    pre = Compose([LoadDicomd("image"), LoadReportd("report"), Orientationd("image", axcodes="RAS", labels=None)])
    loader = DataLoader(
        PersistentDataset(data, pre, tmp_path / "cache"), num_workers=2, batch_size=3, collate_fn=no_collation
    )
    (batch,) = list(loader)
    assert [tuple(item["box"].shape) for item in batch] == [(1, 6), (3, 6), (0, 6)]
    assert [item["label"].tolist() for item in batch] == [[0], [0, 0, 0], []]
    one = list_data_collate([pre(record), pre(record)])
    assert one["box"].shape == (2, 1, 6) and one["report"] == [record["report"]] * 2
    assert pickle.loads(pickle.dumps(pre))(record)["box"].tolist() == [[5, 4, 3, 11, 9, 7]]


def test_retinanet_trains_on_the_targets(case, record):
    pytest.importorskip("torchvision")
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.networks.retinanet_network import RetinaNet
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape

    anchors = AnchorGeneratorWithAnchorShape(feature_map_scales=(1,), base_anchor_shapes=[(6, 8, 10), (8, 6, 6)])
    net = RetinaNet(3, 1, 2, Features(), size_divisible=2)
    detector = RetinaNetDetector(net, anchors)
    detector.set_atss_matcher(num_candidates=4)
    item = Compose([LoadDicomd("image"), SpatialPadd("image", (32, 32, 32))])(record)
    targets = LoadReport()(record["report"], item["image"])
    losses = detector.train()(item["image"][None].as_tensor(), [targets])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses[detector.box_reg_key] > 0  # anchors were matched to the box


def test_targets_are_what_monais_detectors_check(case, record):
    from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
    from monai.apps.detection.utils.detector_utils import check_training_targets
    from monai.data.box_utils import box_iou

    target = LoadReport()(record["report"], case.volume)
    (checked,) = check_training_targets(torch.zeros(1, 1, 16, 20, 12), [target], 3, "labels", "boxes")
    anchors = torch.tensor([[5, 4, 3, 11, 9, 7], *[[i, 0, 0, i + 6, 5, 4] for i in range(10)]], dtype=torch.float32)
    _, matches = ATSSMatcher(9, box_iou)(checked["boxes"], anchors, [11], 1)
    assert matches.tolist() == [0, *[-1] * 10]


class Features(torch.nn.Module):
    """The least that a detector can look through."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 8, 3, stride=2, padding=1)

    def forward(self, x):
        return {"0": self.layer(x)}


def test_images_of_monais_own_loader(record):
    """LoadImage gives no channel until it is asked for one."""
    load = [LoadImaged("image", reader=DicomReader()), LoadReportd("report")]
    assert Compose(load)(record)["box"].tolist() == [[5, 4, 3, 11, 9, 7]]
    first = Compose([load[0], EnsureChannelFirstd("image"), Orientationd("image", axcodes="PIR", labels=None), load[1]])
    assert first(record)["box"].shape == (1, 6)
    flat = Compose([load[0], EnsureChannelFirstd("image"), Lambdad("image", lambda x: x[..., 5]), load[1]])
    with pytest.raises(RuntimeError) as info:
        flat(record)
    assert "does not say which one it is" in str(info.value.__cause__)


def test_without_meta_on_the_tensor(record):
    set_track_meta(False)
    try:
        item = Compose([LoadDicomd("image"), LoadReportDict("report")])(record)
    finally:
        set_track_meta(True)
    assert item["box"].tolist() == [[5, 4, 3, 11, 9, 7]]


# ---------------------------------------------------------------------- refusals
def test_reports_of_other_images(case, other, record, tmp_path):
    with pytest.raises(GeometryError, match=r"none of this series; pass elsewhere='drop'"):
        LoadReport()(record["report"], other.volume)
    assert len(LoadReport(elsewhere="drop")(record["report"], other.volume)["boxes"]) == 0
    in_space = saved(tmp_path / "s.dcm", case.volume, group(dml.Box(START, STOP)), coordinates="patient")
    with pytest.raises(GeometryError, match="another frame of reference"):
        LoadReport()(in_space, other.volume)


def test_what_is_not_understood_is_said(case, record):
    report = dml.read_report(record["report"])
    ds = report.dataset
    outline = next(i for i in _items(ds) if i.get("ValueType") == "SCOORD")
    outline.GraphicType = "SPIRAL"
    odd = record["report"] + ".odd"
    ds.save_as(odd)
    with pytest.warns(DicomMLWarning, match="could not be understood"):
        LoadReport()(odd, case.volume)


def _items(ds):
    for item in ds.get("ContentSequence") or []:
        yield item
        yield from _items(item)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "masks"},
        {"space": "index"},
        {"corners": "x"},
        {"unmapped": "x"},
        {"elsewhere": "x"},
        {"several": "x"},
        {"missing": "x"},
    ],
)
def test_unknown_policies(options):
    with pytest.raises(EncodingError, match="found"):
        LoadReport([NODULE], **options)


def test_images_that_say_nothing(record):
    with pytest.raises(EncodingError, match="does not say which series"):
        LoadReport()(record["report"], torch.zeros(1, 4, 4, 4))
    with pytest.raises(KeyError, match="under 'image'"):
        LoadReportd("report")({"report": record["report"]})
    assert LoadReportd("report", allow_missing_keys=True)({"x": 1}) == {"x": 1}
    with pytest.raises(EncodingError, match="no report was given"):
        LoadReport()([], LoadDicomd("image")(record)["image"])


# ---------------------------------------------------------------------- real files
def test_highdicoms_reports_on_their_image(shared_data):
    folder = shared_data / "d_derived/highdicom"
    volume = dml.read_volume(folder / "ct_image.dcm")
    (box,) = LoadReport(["SRT:T-A7010"])(folder / "sr_document.dcm", volume)["boxes"].tolist()
    np.testing.assert_allclose(box, [47, 41, 0, 69, 63, 1], atol=1e-4)  # a circle of radius 11 about (58, 52)
    classes = {NODULE: 0, "SCT:15825003": 1, "SCT:51282000": 2}
    found = LoadReport(classes, point_size=10)(folder / "sr_document_with_multiple_groups.dcm", volume)
    assert found["labels"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(found["boxes"][:2], [[35, 45, 0, 55, 65, 1], [25, 45, 0, 45, 65, 1]], atol=1e-4)


def test_dcmqis_report_on_its_segment(shared_data):
    """The PET series itself is not there; its lattice is the segmentation's."""
    folder = shared_data / "d_derived/dcmqi/sr-example"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = dml.read_segmentation(folder / "seg.dcm")
        ds = pydicom.dcmread(folder / "seg.dcm")
    (box,) = LoadReport(["SCT:86049000"])(folder / "sr.dcm", _source_of(ds, seg), seg)["boxes"].tolist()
    frames = ds.pixel_array
    positions = [float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in ds.PerFrameFunctionalGroupsSequence]
    where = np.argwhere(frames.any(axis=0))
    filled = [z for z, frame in zip(positions, frames, strict=True) if frame.any()]
    depth = (max(filled) - min(filled)) / seg.grid.spacing[0] + 1
    np.testing.assert_allclose(box[:2], where.min(0)[::-1], atol=1e-3)
    np.testing.assert_allclose(box[3:5], where.max(0)[::-1] + 1, atol=1e-3)
    assert box[5] - box[2] == pytest.approx(depth, abs=1e-3)


def _source_of(ds, seg) -> SourceSeries:
    depth = seg.grid.shape[0]
    uids = tuple(f"2.25.{i + 1}" for i in range(depth))
    return SourceSeries(
        "PT", str(ds.StudyInstanceUID), "2.25.99", seg.frame_of_reference_uid, ("1.2",) * depth, uids, grid=seg.grid
    )
