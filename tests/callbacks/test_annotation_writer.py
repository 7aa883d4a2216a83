"""Instances, boxes and points of tiles become one object of bulk annotations: each once, where it is on the slide."""

from __future__ import annotations

import json

import lightning.pytorch as L
import numpy as np
import pydicom
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

import torch

import dicom_ml as dml
from dicom_ml.bridge.contours import polygon_areas
from dicom_ml.callbacks import AnnotationWriter, ReportWriter
from dicom_ml.codes import parse_code
from dicom_ml.data import TileDataset
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.rasterize import polygon_mask
from tests.callbacks.finding_nets import Squares
from tests.callbacks.nets import trainer
from tests.data.slides import make
from tests.judges import dciodvfy, need
from tests.reading.slides._make import pyramid

NUCLEI = {"label": "Nuclei", "type": "SCT:84640000"}
MADE_BY = dml.Algorithm("CellNet", "1")
SIZE = ("size", "99TEST", "Number of the truth")
SHAPE = (180, 230)


def nuclei(seed=1, count=60):
    """Instances that do not touch, from 5 to 14 pixels wide, all over a slide."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    labels = np.zeros(SHAPE, np.int32)
    for _ in range(2000):
        r, c = rng.uniform((0, 0), SHAPE)
        a, b = rng.uniform(2.5, 7, 2)
        turn = rng.uniform(0, np.pi)
        y, x = rows - r, columns - c
        inside = ((x * np.cos(turn) + y * np.sin(turn)) / a) ** 2 + ((y * np.cos(turn) - x * np.sin(turn)) / b) ** 2 < 1
        near = ((x**2 + y**2) < 100).any() and labels[((x**2 + y**2) < 121)].any()
        if inside.any() and not near:
            labels[inside] = labels.max() + 1
        if labels.max() == count:
            break
    return labels


class Nuclei(L.LightningModule):
    """Gives each tile the part of the truth that it sees, with numbers of its own."""

    def __init__(self, truth, form="mapping", stop_after=None):
        super().__init__()
        self.truth, self.form, self.stop_after = truth, form, stop_after
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def predict_step(self, batch, batch_idx):
        if batch_idx == self.stop_after:
            raise KeyboardInterrupt
        out = []
        for row, column in batch["tile_position"].tolist():
            self.seen.append((row, column))
            size = batch["image"].shape[2:]
            part = np.zeros(tuple(size), np.int64)
            seen = self.truth[row : row + size[0], column : column + size[1]]
            known, numbered = np.unique(seen, return_inverse=True)
            numbered = numbered.reshape(seen.shape) + (0 if known[0] == 0 else 1)
            part[: seen.shape[0], : seen.shape[1]] = numbered
            known = known[known > 0]
            out.append((part, known))
        maps = torch.tensor(np.stack([p for p, _ in out]))
        if self.form == "tensor":
            return maps[:, None]
        if self.form == "classes":
            kinds = torch.tensor(np.stack([np.where(p > 0, 1 + np.r_[0, k][p] % 2, 0) for p, k in out]))
            return {"instances": maps, "classes": kinds}
        return [
            {
                "instances": m,
                "scores": torch.tensor([0.5 + (int(i) % 50) / 100 for i in k]),
                "size": torch.tensor([float(i) for i in k]),
            }
            for m, (_, k) in zip(maps, out, strict=True)
        ]


@pytest.fixture(scope="module")
def truth():
    return nuclei()


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slide") / "s"
    attributes = {"PatientID": "S9"}
    pixels = np.full((*SHAPE, 3), 240, np.uint8)
    return pyramid(folder, pixels, spacing=(0.0005, 0.0004), series=9, attributes=attributes, tile=(64, 64))


def run(slide, folder, writer, model, batch=3, shuffle=False, **cut):
    data = TileDataset([slide], **{"tile_size": 64, "overlap": 20, **cut})
    loader = torch.utils.data.DataLoader(data, batch, shuffle=shuffle)
    trainer(folder, [writer]).predict(model, loader, return_predictions=False)
    return model


def only(folder):
    (file,) = folder.glob("*.ann.dcm")
    return file


def masks(group, shape=SHAPE):
    return [polygon_mask(np.asarray(one)[:, ::-1], shape) for one in group]


# ---------------------------------------------------------------------- outlines
@pytest.mark.parametrize("form", ["mapping", "tensor"])
def test_every_nucleus_once_and_whole(slide, truth, tmp_path, form):
    columns = {"measurements": {"size": (SIZE, "1")}} if form == "mapping" else {}
    writer = AnnotationWriter(tmp_path, NUCLEI, MADE_BY, **columns)
    run(slide, tmp_path, writer, Nuclei(truth, form), shuffle=True)
    file = only(tmp_path)
    (group,) = dml.read_annotations(file).groups
    assert (group.label, group.graphic, len(group)) == ("Nuclei", "POLYGON", truth.max())
    values = []
    for mask in masks(group):
        (value,) = np.unique(truth[mask])
        assert (mask == (truth == value)).all()
        values.append(int(value))
    assert sorted(values) == list(range(1, truth.max() + 1))
    pixels = [(truth == v).sum() for v in values]
    np.testing.assert_allclose(group.measurement("SCT:42798000"), np.array(pixels) * 0.5 * 0.4, rtol=1e-5)
    if form == "mapping":
        scores = [100 * (0.5 + (v % 50) / 100) for v in values]
        np.testing.assert_allclose(group.measurement("DCM:111012"), scores, rtol=1e-5)
        np.testing.assert_allclose(group.measurement(SIZE), values)
    assert dciodvfy(file) == []
    index = json.loads((tmp_path / "annotations.json").read_text())
    assert [e["algorithm"] for e in index["files"]] == ["CellNet"] and not index["failures"]
    assert not list(tmp_path.glob(".*"))


def test_fewer_corners(slide, truth, tmp_path):
    """Outlines within a tolerance; areas stay exact, and the settings have a file of their own."""
    for name, tolerance in (("exact", 0.0), ("rough", 0.8)):
        writer = AnnotationWriter(tmp_path / name, NUCLEI, MADE_BY, tolerance=tolerance)
        run(slide, tmp_path / name, writer, Nuclei(truth))
    exact, rough = (dml.read_annotations(only(tmp_path / n)).groups[0] for n in ("exact", "rough"))
    assert len(exact) == len(rough) and len(rough.points) < 0.5 * len(exact.points)
    np.testing.assert_array_equal(exact.measurement("SCT:42798000"), rough.measurement("SCT:42798000"))
    for a, b in zip(masks(exact), masks(rough), strict=True):
        assert (a & b).sum() / (a | b).sum() > 0.6
    assert only(tmp_path / "exact").name != only(tmp_path / "rough").name


def test_highdicom_reads_the_same(slide, truth, tmp_path):
    highdicom = need("highdicom", "highdicom")
    run(slide, tmp_path, AnnotationWriter(tmp_path, NUCLEI, MADE_BY), Nuclei(truth))
    theirs = highdicom.ann.annread(str(only(tmp_path)))
    (group,) = theirs.get_annotation_groups()
    (ours,) = dml.read_annotations(only(tmp_path)).groups
    for a, b in zip(group.get_graphic_data("2D"), ours, strict=True):
        np.testing.assert_array_equal(a, b)


def test_classes_are_groups(slide, truth, tmp_path):
    writer = AnnotationWriter(tmp_path, {1: {"label": "Odd", "type": "SCT:84640000"}, 2: "SCT:4421005"}, MADE_BY)
    run(slide, tmp_path, writer, Nuclei(truth, "classes"))
    groups = dml.read_annotations(only(tmp_path)).groups
    assert [g.label for g in groups] == ["Odd", parse_code("SCT:4421005").meaning]
    for number, group in enumerate(groups, start=1):
        found = {int(truth[m].max()) for m in masks(group)}
        assert found == {v for v in range(1, truth.max() + 1) if 1 + v % 2 == number}


def test_the_order_and_batches_play_no_part(slide, truth, tmp_path):
    found = []
    for name, batch, shuffle in (("a", 1, False), ("b", 5, True)):
        run(slide, tmp_path / name, AnnotationWriter(tmp_path / name, NUCLEI, MADE_BY), Nuclei(truth), batch, shuffle)
        ds = pydicom.dcmread(only(tmp_path / name))
        group = ds.AnnotationGroupSequence[0]
        data = group.PointCoordinatesData, group.LongPrimitivePointIndexList
        found.append((ds.SOPInstanceUID, ds.SeriesInstanceUID, group.AnnotationGroupUID, *data))
    assert found[0] == found[1]


def test_an_interrupted_run_goes_on(slide, truth, tmp_path):
    run(slide, tmp_path / "whole", AnnotationWriter(tmp_path / "whole", NUCLEI, MADE_BY), Nuclei(truth))
    first = Nuclei(truth, stop_after=2)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(slide, tmp_path / "parts", AnnotationWriter(tmp_path / "parts", NUCLEI, MADE_BY), first)
    assert not list((tmp_path / "parts").glob("*.dcm"))
    second = Nuclei(truth)
    run(slide, tmp_path / "parts", AnnotationWriter(tmp_path / "parts", NUCLEI, MADE_BY), second, batch=1)
    assert not set(first.seen) & set(second.seen)
    ours, whole = (pydicom.dcmread(only(tmp_path / name)) for name in ("parts", "whole"))
    assert ours.SOPInstanceUID == whole.SOPInstanceUID
    assert ours.AnnotationGroupSequence[0].PointCoordinatesData == whole.AnnotationGroupSequence[0].PointCoordinatesData
    third = Nuclei(truth)
    run(slide, tmp_path / "parts", AnnotationWriter(tmp_path / "parts", NUCLEI, MADE_BY), third)
    assert third.seen == []


@pytest.mark.parametrize("graphic", ["point", "rectangle"])
def test_drawn_otherwise(slide, truth, tmp_path, graphic):
    run(slide, tmp_path, AnnotationWriter(tmp_path, NUCLEI, MADE_BY, graphic=graphic), Nuclei(truth))
    (group,) = dml.read_annotations(only(tmp_path)).groups
    assert group.graphic == graphic.upper() and len(group) == truth.max()
    for one in group:
        r, c = (np.asarray(one).mean(axis=0)[::-1]).tolist()
        value = {int(v) for v in np.unique(truth[int(r) - 1 : int(r) + 2, int(c) - 1 : int(c) + 2]) if v}
        where = np.argwhere(truth == value.pop())
        box = np.array([where.min(0), where.max(0) + 1])
        np.testing.assert_allclose([r, c], box.mean(axis=0))
        if graphic == "rectangle":
            np.testing.assert_allclose([one.min(0)[::-1], one.max(0)[::-1]], box)
    assert len(group.measurement("SCT:42798000")) == truth.max()  # areas of the outlines, not of the boxes
    assert dciodvfy(only(tmp_path)) == []


def test_a_coarser_level(slide, truth, tmp_path):
    """What is found at level 1 is placed on level 0."""
    coarse = truth[::2, ::2]
    run(slide, tmp_path, AnnotationWriter(tmp_path, NUCLEI, MADE_BY), Nuclei(coarse), level=1, tile_size=48)
    (group,) = dml.read_annotations(only(tmp_path)).groups
    found = np.zeros(coarse.shape, int)
    for outline in group:  # thin ones have fallen apart at this level, and have an item for each part
        mask = polygon_mask(np.asarray(outline)[:, ::-1] / 2, coarse.shape)
        (value,) = np.unique(coarse[mask])
        assert not found[mask].any()
        found[mask] = value
    assert (found == coarse).all()
    areas = [polygon_areas(np.asarray(o)[:, ::-1], np.array([0]))[0] for o in group]
    np.testing.assert_allclose(group.measurement("SCT:42798000"), np.array(areas) * 0.2, rtol=1e-4)


# ---------------------------------------------------------------------- boxes and points
def test_boxes_beside_a_report(slide, tmp_path):
    """One run, two writers: the boxes of the annotations are those of the report."""
    folder = tmp_path / "s"
    pixels = np.full((150, 200, 3), 250, np.uint8)
    for row, column, side in ((10, 20, 8), (57, 57, 12), (120, 122, 10)):
        pixels[row : row + side, column : column + side] = 20
    pyramid(folder, pixels, spacing=(0.0005, 0.0005), series=11, attributes={"PatientID": "S"}, tile=(64, 64))
    out = tmp_path / "out"
    writers = [AnnotationWriter(out, NUCLEI, MADE_BY), ReportWriter(out, "SCT:84640000", algorithm=MADE_BY)]
    loader = torch.utils.data.DataLoader(TileDataset([folder], 64, overlap=24), 4)
    trainer(out, writers).predict(Squares(), loader, return_predictions=False)
    (group,) = dml.read_annotations(only(out)).groups
    assert group.graphic == "RECTANGLE" and len(group) == 3
    boxes = sorted(np.r_[low[::-1], high[::-1]].tolist() for low, high in group.boxes)
    assert boxes == [[10, 20, 18, 28], [57, 57, 69, 69], [120, 122, 130, 132]]
    (sr,) = out.glob("*.sr.dcm")
    report = dml.read_report(sr, source=dml.open_slide(folder))
    reported = sorted([*g.region.start, *g.region.stop] for g in report.groups)
    np.testing.assert_allclose(reported, boxes, atol=0.01)


class Points(L.LightningModule):
    """One point a tile, a little off its middle; or nothing; or nonsense."""

    def __init__(self, form="points"):
        super().__init__()
        self.form = form
        self.weight = torch.nn.Parameter(torch.ones(1))

    def predict_step(self, batch, batch_idx):
        count = len(batch["image"])
        if self.form == "none":
            return [{"points": torch.zeros(0, 2)}] * count
        if self.form == "labels":
            return [{"points": torch.tensor([[30.0, 20.0]]), "labels": torch.tensor([3])}] * count
        if self.form == "logits":
            return torch.rand(count, 2)
        if self.form == "mixed":
            both = {"points": torch.tensor([[30.0, 20.0]])}, {"boxes": torch.tensor([[3.0, 4, 9, 9]])}
            return [both[i % 2] for i in range(count)]
        return {"pred": [{"points": torch.tensor([[30.0, 20.0]]), "scores": torch.tensor([0.25])}] * count}


@pytest.mark.parametrize(("axes", "corners"), [("auto", "edge"), ("rc", "center")])
def test_points(slide, tmp_path, axes, corners):
    writer = AnnotationWriter(tmp_path, NUCLEI, MADE_BY, axes=axes, corners=corners, duplicates="keep")
    run(slide, tmp_path, writer, Points(), overlap=0)
    (group,) = dml.read_annotations(only(tmp_path)).groups
    x, y = (30, 20) if axes == "auto" else (20.5, 30.5)
    first = [(c * 64 + x, r * 64 + y) for r in range(3) for c in range(4)]
    wanted = [(a, b) for a, b in first if a < SHAPE[1] and b < SHAPE[0]]
    assert [tuple(p) for p in group.points.tolist()] == wanted
    with pytest.raises(KeyError):
        group.measurement("SCT:42798000")


def test_nothing_found_is_told(slide, tmp_path):
    with pytest.warns(DicomMLWarning, match="nothing was found"):
        run(slide, tmp_path, AnnotationWriter(tmp_path, NUCLEI, MADE_BY), Points("none"))
    index = json.loads((tmp_path / "annotations.json").read_text())
    assert index["files"] == [] == index["failures"] and len(index["empty"]) == 1
    assert not list(tmp_path.glob("*.dcm")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("form", "message"), [("labels", r"labels \[3\]"), ("logits", "instance map"), ("mixed", "graphic=")]
)
def test_what_is_refused(slide, tmp_path, form, message):
    with pytest.raises(EncodingError, match=message):
        run(slide, tmp_path, AnnotationWriter(tmp_path, NUCLEI, MADE_BY), Points(form), overlap=0)
    with pytest.raises(EncodingError, match="how they were made"):
        AnnotationWriter(tmp_path, NUCLEI)
    with pytest.raises(EncodingError, match="duplicates"):
        AnnotationWriter(tmp_path, NUCLEI, MADE_BY, duplicates="all")


def test_tiles_that_are_missing_lose_nothing(tmp_path, truth):
    """Where the neighbour was left out for want of tissue, a tile keeps what lies in the pixels they would share."""
    folder, _ = make(tmp_path, 5, SHAPE, tile=(64, 64))
    slide = dml.open_slide(folder)
    data = TileDataset([slide], 64, overlap=20, min_tissue=0.2)
    assert 0 < len(data) < len(TileDataset([slide], 64, overlap=20))
    loader = torch.utils.data.DataLoader(data, 3)
    out = tmp_path / "out"
    trainer(out, [AnnotationWriter(out, NUCLEI, MADE_BY)]).predict(Nuclei(truth), loader, return_predictions=False)
    (group,) = dml.read_annotations(only(out)).groups
    seen = np.zeros(SHAPE, bool)
    for i in range(len(data)):
        row, column = data[i]["tile_position"].tolist()
        seen[row : row + 64, column : column + 64] = True
    expected = {v for v in range(1, truth.max() + 1) if seen[truth == v].all()}
    found = [int(np.bincount(truth[m]).argmax()) for m in masks(group)]
    assert expected <= set(found) and len(found) == len(set(found))


@pytest.mark.parametrize("axes", ["xy", "rc"])
def test_labels_that_are_given_back_are_the_annotations(slide, truth, tmp_path, axes):
    """Annotations as targets of a detector that knows them by heart, in batches of items, are those annotations."""
    from dicom_ml.data import AnnotationLabels

    run(slide, tmp_path / "first", AnnotationWriter(tmp_path / "first", NUCLEI, MADE_BY), Nuclei(truth))
    first = only(tmp_path / "first")

    class Heart(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def predict_step(self, batch, batch_idx):
            return [item["label"] for item in batch]

    labels = AnnotationLabels(first, ["SCT:84640000"], kind="boxes", axes=axes, min_visible=0.01)
    data = TileDataset([slide], 64, overlap=20, labels=labels)
    loader = torch.utils.data.DataLoader(data, 3, collate_fn=list)
    out = tmp_path / "again"
    trainer(out, [AnnotationWriter(out, {1: NUCLEI}, MADE_BY, axes=axes)]).predict(
        Heart(), loader, return_predictions=False
    )
    boxes = [sorted(dml.read_annotations(file).groups[0].boxes.reshape(-1, 4).tolist()) for file in (first, only(out))]
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-3)
