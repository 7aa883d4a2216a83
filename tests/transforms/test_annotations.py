"""Outlines as label maps: on the voxels of volumes, and on the pixels of tiles."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Flipd, Orientationd, RandFlipd, Spacingd, SpatialCropd

import dicom_ml as dml
from dicom_ml.data import TileDataset
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import from_monai
from dicom_ml.transforms import LoadAnnotations, LoadAnnotationsd, LoadAnnotationsDict, LoadDicomd, LoadReportd
from tests.data.slides import make
from tests.reading._make import OBLIQUE, Series
from tests.transforms.reports import CYST, NET, NODULE, group, saved

TRIANGLE = np.array([(1.2, 1), (1.1, 9.5), (12.3, 3)])


def array_of(tensor) -> np.ndarray:
    return np.asarray(from_monai(tensor.numpy(), np.eye(4))[0])


def centers(grid) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in grid.shape), indexing="ij"), axis=-1)


def outlined(grid, points, d) -> np.ndarray:
    """Voxels of a slice whose centres an outline holds, by another package."""
    out = np.zeros(grid.shape, bool)
    places = centers(grid)[d, ..., 1:].reshape(-1, 2)
    out[d] = Outline(points).contains_points(places).reshape(grid.shape[1:])
    return out


def regions(grid) -> dict[str, tuple[dml.Box, np.ndarray]]:
    """Regions of every kind that bounds voxels, and the voxels, by arithmetic on all of them."""
    c = centers(grid)
    mm = grid.to_lps(c - 0.5)
    box = ((c >= (3.4, 4.25, 5)) & (c < (7.1, 9, 11.4))).all(-1)
    flat = np.zeros(grid.shape, bool)
    flat[6, 4:9, 6:11] = True
    near = lambda p: np.linalg.norm(mm - grid.to_lps(np.subtract(p, 0.5)), axis=-1)  # noqa: E731
    on = lambda d: c[..., 0] == d + 0.5  # noqa: E731
    ball = near((2.5, 8.2, 8.1))
    hole = dml.Contours(
        [dml.Polygon(TRIANGLE, slice=4), dml.Circle((4, 4), 2, slice=4), dml.Circle((4, 4), 3, slice=5)]
    )
    circle = np.hypot(c[..., 1] - 4, c[..., 2] - 4)
    return {
        "box": (dml.Box((3.4, 4.25, 5), (7.1, 9, 11.4)), box),
        "flat box": (dml.Box((4, 5.6), (9, 11), slice=6), flat),
        "polygon": (dml.Polygon(TRIANGLE, slice=4), outlined(grid, TRIANGLE, 4)),
        "between slices": (dml.Polygon([(4.2, y, x) for y, x in TRIANGLE]), outlined(grid, TRIANGLE, 4)),
        "circle": (dml.Circle((8.1, 8.5), 3.6, slice=2), on(2) & (np.hypot(c[..., 1] - 8.1, c[..., 2] - 8.5) <= 3.6)),
        "ellipse": (
            dml.Ellipse.of((12, 8), (3.1, 2.2), 0, slice=2),
            on(2) & (((c[..., 1] - 12) / 3.1) ** 2 + ((c[..., 2] - 8) / 2.2) ** 2 <= 1),
        ),
        "ellipsoid": (
            dml.Ellipsoid.from_radii((5, 12, 8), (2.1, 3.2, 4.3)),
            (((c - (5, 12, 8)) / (2.1, 3.2, 4.3)) ** 2).sum(-1) <= 1,
        ),
        "hole": (hole, on(4) & outlined(grid, TRIANGLE, 4) ^ (on(4) & (circle <= 2)) | (on(5) & (circle <= 3))),
        "point": (dml.Point((8.2, 8.1), slice=2), on(2) & (ball <= 2)),
        "point in space": (dml.Point((2.2, 8.2, 8.1)), near((2.2, 8.2, 8.1)) <= 2),
    }


KINDS = ["box", "flat box", "polygon", "between slices", "circle", "ellipse", "ellipsoid", "hole", "point",
         "point in space"]  # fmt: skip


# ---------------------------------------------------------------------- volumes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coordinates", ["auto", "patient"])
def test_voxels_whose_centres_lie_inside(case, tmp_path, kind, coordinates):
    region, expected = regions(case.grid)[kind]
    report = saved(tmp_path / "r.dcm", case.volume, group(region), coordinates=coordinates)
    found = array_of(LoadAnnotations(point_size=4)(report, case.volume))[0] == 1
    assert expected.any() and (found != expected).sum() <= 1  # a centre on the outline


def test_lines_are_as_wide_as_said(case, tmp_path):
    width = dml.Measurement("99LAB:4|Width", 4.1, "mm")
    line = dml.Polyline([(3, 4), (15, 12), (15, 14)], slice=3)
    report = saved(tmp_path / "r.dcm", case.volume, group(line, measurements=[width]))
    with pytest.raises(GeometryError, match="a polyline covers no voxels: pass point_size="):
        LoadAnnotations()(report, case.volume)
    c = centers(case.grid)
    mm = case.grid.to_lps(c - 0.5)
    ends = case.grid.to_lps(line.points_3d - 0.5)
    share = np.linspace(0, 1, 400)[:, None]
    dense = np.concatenate([a + share * (b - a) for a, b in itertools.pairwise(ends)])
    near = (
        np.array([np.linalg.norm(dense - p, axis=1).min() for p in mm[3].reshape(-1, 3)]).reshape(mm.shape[1:3]) <= 2.05
    )
    for size in (4.1, "99LAB:4|Width"):
        found = array_of(LoadAnnotations(point_size=size)(report, case.volume))[0]
        assert not found[[2, 4]].any() and (found[3].astype(bool) != near).sum() <= 1


def moves(name: str, keys: list[str]) -> list:
    modes = ["bilinear", "nearest"][: len(keys)]
    return {
        "turned": [Orientationd(keys, axcodes="PIR", labels=None)],
        "cropped": [Flipd(keys, (0, 2)), SpatialCropd(keys, roi_start=(2, 3, 1), roi_end=(14, 15, 10))],
        "resampled": [
            Orientationd(keys, axcodes="RAS", labels=None),
            Spacingd(keys, pixdim=(0.51, 0.57, 0.73), mode=modes),
        ],
    }[name]


@pytest.mark.parametrize("name", ["turned", "cropped", "resampled"])
def test_images_that_were_moved(case, tmp_path, name):
    """The label of a moved image is the moved label."""
    region, _ = regions(case.grid)["ellipsoid"]
    report = saved(tmp_path / "r.dcm", case.volume, group(region))
    data = {"image": str(case.series), "label": report}
    moved = Compose([LoadDicomd("image"), LoadAnnotationsd("label"), *moves(name, ["image", "label"])])(data)
    after = Compose([LoadDicomd("image"), *moves(name, ["image"]), LoadAnnotationsd("label")])(data)
    assert after["label"].shape == moved["label"].shape == after["image"].shape
    assert torch.allclose(after["label"].affine, after["image"].affine)
    assert after["label"].any() and torch.equal(after["label"].bool().as_tensor(), moved["label"].bool().as_tensor())


@pytest.mark.parametrize("tilt", ["shear", "resample"])
def test_gantry_tilt(tmp_path, tilt):
    series = Series(np.zeros((8, 20, 24), np.int16), orientation=OBLIQUE, slide=(0.0, 0.9))
    series.write(tmp_path / "ct")
    source = dml.read_volume(tmp_path / "ct", tilt="shear")
    report = saved(tmp_path / "r.dcm", source, group(dml.Polygon(TRIANGLE, slice=4)))
    volume = dml.read_volume(tmp_path / "ct", tilt=tilt)
    found = array_of(LoadAnnotations()(report, volume))[0]
    assert found.shape == volume.shape
    if tilt == "shear":
        assert np.array_equal(found, outlined(source.grid, TRIANGLE, 4))
        return
    # each voxel asks the one of the series that is nearest to it
    place = np.floor(source.grid.to_index(volume.grid.to_lps(centers(volume.grid) - 0.5)) + 0.5).astype(int)
    inside = ((place >= 0) & (place < source.shape)).all(-1)
    expected = np.zeros(volume.shape, bool)
    expected[inside] = outlined(source.grid, TRIANGLE, 4)[tuple(place[inside].T)]
    assert expected.any() and (found.astype(bool) != expected).mean() < 1e-3


def test_classes_channels_and_overlaps(case, tmp_path):
    groups = [group(dml.Box((2, 2, 2), (6, 10, 10))), group(dml.Box((4, 6, 6), (8, 14, 14)), CYST), group()]
    report = saved(tmp_path / "r.dcm", case.volume, *groups)
    a, b = np.zeros((2, *case.grid.shape), bool)
    a[2:6, 2:10, 2:10] = True
    b[4:8, 6:14, 6:14] = True
    last, first = (
        array_of(LoadAnnotations([NODULE, CYST], overlap=o)(report, case.volume))[0] for o in ("last", "first")
    )
    assert np.array_equal(last, np.where(b, 2, a)) and np.array_equal(first, np.where(a, 1, 2 * b))
    with pytest.raises(EncodingError, match="regions of class 2 and 1 overlap in 32 voxels"):
        LoadAnnotations([NODULE, CYST], overlap="error")(report, case.volume)
    same = LoadAnnotations({NODULE: 300, CYST: 300}, overlap="error")(report, case.volume)
    assert np.array_equal(array_of(same)[0], 300 * (a | b))
    channels = LoadAnnotations([NODULE, CYST], "channels")(report, case.volume)
    assert channels.dtype == torch.bool and np.array_equal(array_of(channels), [a, b])
    boxes = LoadAnnotations([NODULE, CYST], "boxes")(report, case.volume)
    assert boxes["boxes"].tolist() == [[2, 2, 2, 10, 10, 6], [6, 6, 4, 14, 14, 8]] and boxes["labels"].tolist() == [
        1,
        2,
    ]
    with pytest.raises(EncodingError, match="classes count from 1"):
        LoadAnnotations({NODULE: 0})


def test_segments_are_their_voxels(case, tmp_path):
    seg = dml.read_segmentation(case.seg)
    report = saved(tmp_path / "r.dcm", case.volume, *[group(dml.SegmentReference(seg, n)) for n in (1, 2)])
    data = {"image": str(case.series), "label": report, "seg": str(case.seg)}
    item = Compose([LoadDicomd("image"), LoadAnnotationsDict("label", segmentation_key="seg")])(data)
    assert np.array_equal(array_of(item["label"])[0], case.labels > 0)
    frames = [group(dml.SegmentationFrame(seg, n + 1)) for n in range(seg.frame_count)]
    every = saved(tmp_path / "f.dcm", case.volume, *frames)
    assert np.array_equal(array_of(LoadAnnotations()(every, case.volume, seg))[0], case.labels > 0)
    with pytest.raises(GeometryError, match="give that segmentation with the report; pass elsewhere='drop'"):
        LoadAnnotations()(report, case.volume)


def test_labels_travel_with_the_image(case, tmp_path):
    report = saved(tmp_path / "r.dcm", case.volume, group(dml.Box((2, 2, 2), (6, 10, 10))))
    both = ["image", "label"]
    pre = Compose(
        [
            LoadDicomd("image"),
            LoadAnnotationsd("label"),
            EnsureChannelFirstd(both),
            Orientationd(both, axcodes="RAS", labels=None),
            RandFlipd(both, prob=1, spatial_axis=0),
        ]
    )
    data = {"image": str(case.series), "label": report}
    (batch,) = list(DataLoader([pre(data), pickle.loads(pickle.dumps(pre))(data)], batch_size=2))
    assert batch["label"].shape == batch["image"].shape == (2, 1, 16, 20, 12)
    assert batch["label"].meta["dicom_source"] == batch["image"].meta["dicom_source"]
    # and mask and box tell the same of the same report
    box = Compose([LoadDicomd("image"), LoadReportd("label")])(data)["box"][0].int().tolist()
    label = LoadAnnotationsd("label")(LoadDicomd("image")(data))["label"][0].bool()
    inside = torch.zeros_like(label)
    inside[box[0] : box[3], box[1] : box[4], box[2] : box[5]] = True
    assert torch.equal(label.as_tensor(), inside.as_tensor())


def test_refusals(case, other, tmp_path):
    report = saved(tmp_path / "r.dcm", case.volume, group(dml.Polygon(TRIANGLE, slice=4)))
    with pytest.raises(GeometryError, match="none of this series"):
        LoadAnnotations()(report, other.volume)
    assert not LoadAnnotations(elsewhere="drop")(report, other.volume).any()
    leaning = saved(tmp_path / "l.dcm", case.volume, group(dml.Polygon([(1, 1, 1), (5, 1, 7), (3, 9, 4)])))
    with pytest.raises(GeometryError, match="leans against the slices"):
        LoadAnnotations()(leaning, case.volume)
    with pytest.raises(KeyError, match="under 'image'"):
        LoadAnnotationsd("label")({"label": report})
    for name in ("kind", "overlap", "elsewhere", "unmapped"):
        with pytest.raises(EncodingError, match="found 'x'"):
            LoadAnnotations([NODULE], **{name: "x"})


# ---------------------------------------------------------------------- tiles
@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    root = tmp_path_factory.mktemp("slides")
    folder = make(root, 1)[0]
    slide = dml.open_slide(folder)
    corners = np.array([[10, 10], [10, 50], [40, 50], [40, 10], [70, 5], [70, 60], [120, 60]], float)
    nuclei = dml.AnnotationGroup(
        "Nuclei", "SCT:84640000", "polygon", corners[:, ::-1].copy(), np.array([0, 4]), algorithm=NET
    )
    dml.Annotations.from_groups([nuclei], source=slide).save(root / "a.ann.dcm")
    mask = np.zeros((320, 448), int)
    mask[10:40, 10:50] = 1
    places = np.stack(np.mgrid[:320, :448], axis=-1).reshape(-1, 2) + 0.5
    mask[Outline(corners[4:]).contains_points(places).reshape(mask.shape)] = 1
    return folder, str(root / "a.ann.dcm"), mask


@pytest.mark.parametrize("monai", [False, True])
def test_tiles(annotated, monai):
    folder, path, mask = annotated
    load = LoadAnnotationsd("ann", on="image", classes=["SCT:84640000"])
    data = TileDataset([{"image": folder, "ann": path}], 64, transform=load, monai=monai)
    different = 0
    for item in data:
        row, column = item["position"]
        assert item["ann"].shape == (1, 64, 64) and isinstance(item["ann"], MetaTensor) == monai
        different += (item["ann"][0].numpy() != mask[row : row + 64, column : column + 64]).sum()
    assert different <= 1
    assert len(load._load.labels._tiles) == 1  # sorted once


def test_boxes_and_channels_of_tiles(annotated):
    folder, path, mask = annotated
    classes = ["SCT:84640000", "SCT:4421005"]
    plain = TileDataset([{"image": folder, "ann": path}], 64)
    channels = LoadAnnotations(classes, "channels")(path, plain[0])
    assert channels.shape == (2, 64, 64) and not channels[1].any()
    assert np.array_equal(channels[0], mask[:64, :64] == 1)
    item = LoadAnnotationsd("ann", classes=classes, kind="boxes")(plain[0])
    # in the order of the array's axes, rows first, as MONAI's box transforms take them
    assert item["box"].tolist() == [[10, 10, 40, 50]] and item["label"].tolist() == [1] and item["ann"] == path


def test_annotations_are_of_slides(case, annotated):
    _, path, _ = annotated
    with pytest.raises(GeometryError, match="bulk annotations are of slides"):
        LoadAnnotations()(path, case.volume)
