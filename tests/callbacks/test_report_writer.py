"""Detectors and classifiers over series and slides: one report a source, whatever the batches look like."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")

import torch
from monai.data import DataLoader, Dataset
from monai.data.utils import no_collation
from monai.transforms import Compose, Flipd, Orientationd, ScaleIntensityd, Spacingd, SpatialCropd

import dicom_ml as dml
from dicom_ml.callbacks import ReportWriter
from dicom_ml.codes import parse_code
from dicom_ml.data import TileDataset, VolumeDataset, collate_items
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.transforms import LoadDicomd
from tests.callbacks.finding_nets import TRUE, Classifier, Finder, Retina, Squares
from tests.callbacks.nets import trainer
from tests.data.slides import make
from tests.judges import dciodvfy, highdicom_read_sr
from tests.series import write_series

NODULE, MASS = "SCT:27925004", "SCT:4147007"
OPTIONS = {"classes": {0: NODULE, 1: MASS}, "algorithm": dml.Algorithm("NoduleNet", "1"), "site": "SCT:39607008"}
PRE = [
    LoadDicomd("image"),
    Orientationd("image", "PLS", labels=None),
    Spacingd("image", (1.1, 0.9, 1.7)),
    SpatialCropd("image", roi_start=(1, 2, 1), roi_end=(12, 12, 12)),
    Flipd("image", (0, 2)),
    ScaleIntensityd("image"),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three series along the patient's axes."""
    root = tmp_path_factory.mktemp("series")
    affine = np.array([[0, 0, 0.7, -80], [0, 0.8, 0, -120], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
    for name in "abc":
        write_series(root / name, Grid((12, 20, 16), affine), name=name, patient=f"P{name}")
    return [{"image": str(root / name), "case": name} for name in "abc"]


def run(folder, writer, model, loader):
    trainer(folder, [writer]).predict(model, loader, return_predictions=False)
    return model


def loaded(records, pre=PRE, size=2, collate=None):
    collate = {} if collate is None else {"collate_fn": collate}
    return DataLoader(Dataset(records, Compose(pre)), batch_size=size, **collate)


def reports(folder, records):
    found = {}
    for record in records:
        volume = dml.read_volume(record["image"])
        (file,) = folder.glob(f"{volume.source.series_instance_uid}_*.sr.dcm")
        found[record["case"]] = dml.read_report(file, source=volume), file
    return found


def check(folder, records):
    for report, file in reports(folder, records).values():
        got, scores, _ = report.boxes()
        np.testing.assert_array_equal(got.reshape(-1, 2, 3), TRUE[::-1])
        assert scores.tolist() == [0.75, 0.5]
        assert [g.finding for g in report.groups] == [parse_code(NODULE), parse_code(MASS)]
        assert dciodvfy(file) == []


# ---------------------------------------------------------------------- volumes
@pytest.mark.parametrize(
    ("form", "collate"), [("list", None), ("mapping", None), ("items", None), ("list", no_collation)]
)
def test_every_series_has_its_report(records, tmp_path, form, collate):
    writer = ReportWriter(tmp_path, **OPTIONS)
    run(tmp_path, writer, Finder(form), loaded(records, collate=collate))
    check(tmp_path, records)
    index = json.loads((tmp_path / "reports.json").read_text())
    assert len(index["files"]) == len(writer.written) == 3 and not index["failures"]
    assert {e["kind"] for e in index["files"]} == {"detections"}
    assert not list(tmp_path.glob(".*"))


def test_volumes_without_monai(records, tmp_path):
    """Of VolumeDataset's plain tensors (C, D, H, W) a detector's boxes run along (d, h, w)."""
    from dicom_ml.callbacks.predictions import as_mapping

    class Plain(Finder):
        def predict_step(self, batch, batch_idx):
            self.steps += list(as_mapping(batch)["case"])
            boxes = torch.tensor(TRUE.reshape(-1, 6), dtype=torch.float32)
            found = {"boxes": boxes, "labels": torch.tensor([1, 0]), "scores": torch.tensor([0.5, 0.75])}
            return [found] * len(batch["image"])

    data = VolumeDataset(records, monai=False)
    loader = torch.utils.data.DataLoader(data, 2, collate_fn=collate_items)
    run(tmp_path, ReportWriter(tmp_path, **OPTIONS), Plain(), loader)
    check(tmp_path, records)


def test_a_retinanet_in_a_module(records, tmp_path):
    """As MONAI's own recipes run it: batches of items, images of any size, boxes of the detector as they are."""
    writer = ReportWriter(tmp_path, min_score=0.005, **OPTIONS)
    run(tmp_path, writer, Retina(), loaded(records, collate=no_collation))
    for report, file in reports(tmp_path, records).values():
        assert 1 <= len(report.groups) <= 6 and dciodvfy(file) == []
        assert len(highdicom_read_sr(file).content.get_volumetric_roi_measurement_groups()) == len(report.groups)


def test_a_finished_run_is_not_computed_again(records, tmp_path):
    first, again, other = (Finder() for _ in range(3))
    run(tmp_path, ReportWriter(tmp_path, **OPTIONS), first, loaded(records[:2]))
    before = {f.name: f.stat().st_mtime_ns for f in tmp_path.glob("*.dcm")}
    run(tmp_path, ReportWriter(tmp_path, **OPTIONS), again, loaded(records, size=1))
    assert again.steps == ["c"]
    assert {f.name: f.stat().st_mtime_ns for f in tmp_path.glob("*.dcm") if f.name in before} == before
    check(tmp_path, records)
    run(tmp_path, ReportWriter(tmp_path, min_score=0.6, **OPTIONS), other, loaded(records))
    assert len(list(tmp_path.glob("*.dcm"))) == 6


def test_repeated_items_and_bad_ones(records, tmp_path):
    repeated = [records[0], records[0], records[1]]
    writer = ReportWriter(tmp_path / "a", **OPTIONS)
    run(tmp_path, writer, Finder(), loaded(repeated, size=1))
    assert len(writer.written) == 2 and len(list((tmp_path / "a").glob("*.dcm"))) == 2

    class Unknown(Finder):
        def predict_step(self, batch, batch_idx):
            found = super().predict_step(batch, batch_idx)
            for name, one in zip(batch["case"], found, strict=True):
                if name == "b":
                    one["labels"] = torch.tensor([4, 4])
            return found

    with pytest.raises(EncodingError, match=r"labels \[4\]"):
        run(tmp_path, ReportWriter(tmp_path / "b", **OPTIONS), Unknown(), loaded(records))
    with pytest.warns(DicomMLWarning, match="not written"):
        run(tmp_path, ReportWriter(tmp_path / "c", on_error="skip", **OPTIONS), Unknown(), loaded(records))
    index = json.loads((tmp_path / "c" / "reports.json").read_text())
    assert len(index["files"]) == 2 and len(index["failures"]) == 1
    with pytest.raises(EncodingError, match="no detections"):
        run(tmp_path, ReportWriter(tmp_path / "d", **OPTIONS), Classifier(), loaded(records))


def test_classes_of_volumes(records, tmp_path):
    options = {"classes": ["SCT:17621005", "SCT:263654008"], "algorithm": OPTIONS["algorithm"]}
    writer = ReportWriter(tmp_path, kind="classification", activation="softmax", **options)
    run(tmp_path, writer, Classifier(), loaded(records, [LoadDicomd("image")]))
    for name, (report, file) in reports(tmp_path, records).items():
        (record,) = [r for r in records if r["case"] == name]
        mean = dml.read_volume(record["image"]).array.astype(np.float32).mean() / 255
        expected = torch.softmax(torch.tensor([0.0, 4 * mean - 2]), 0).tolist()
        values = [m.value / 100 for m in report.groups[0].measurements]
        assert values == pytest.approx(expected, abs=1e-5) and dciodvfy(file) == []


# ---------------------------------------------------------------------- slides
SQUARES = [(10, 20, 8), (60, 57, 12), (57, 130, 14), (120, 122, 10), (100, 40, 9), (30, 180, 6)]


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A white slide with dark squares (row, column, side), some of them where tiles meet."""
    from tests.reading.slides._make import pyramid

    pixels = np.full((150, 200, 3), 250, np.uint8)
    for row, column, side in SQUARES:
        pixels[row : row + side, column : column + side] = 20
    folder = tmp_path_factory.mktemp("slide")
    pyramid(folder / "s", pixels, spacing=(0.0005, 0.0005), series=7, attributes={"PatientID": "S7"}, tile=(64, 64))
    return folder / "s"


def over_tiles(slide, folder, writer, model, batch=3, shuffle=False, **cut):
    data = TileDataset([slide], **{"tile_size": 64, "overlap": 24, **cut})
    run(folder, writer, model, torch.utils.data.DataLoader(data, batch, shuffle=shuffle))
    (file,) = folder.glob("*.sr.dcm")
    return dml.read_report(file, source=dml.open_slide(slide)), file


@pytest.mark.parametrize("form", ["boxes", "rows"])
@pytest.mark.parametrize("duplicates", ["core", "nms"])
def test_boxes_of_a_slide(slide, tmp_path, form, duplicates):
    writer = ReportWriter(tmp_path, NODULE, algorithm=OPTIONS["algorithm"], duplicates=duplicates)
    report, file = over_tiles(slide, tmp_path, writer, Squares(form), shuffle=True)
    found = sorted((g.region.start, g.region.stop) for g in report.groups)
    expected = sorted(((r, c), (r + s, c + s)) for r, c, s in SQUARES)
    assert len(found) == len(expected) or duplicates == "nms"
    for want in expected:
        assert any(np.allclose(np.ravel(got), np.ravel(want), atol=5e-3) for got in found)
    assert dciodvfy(file) == [] and not list(tmp_path.glob(".*"))
    assert len(highdicom_read_sr(file).content.get_planar_roi_measurement_groups()) == len(report.groups)


def test_boxes_at_another_spacing(slide, tmp_path):
    """Tiles of a coarser level: boxes count in pixels of the finest."""
    writer = ReportWriter(tmp_path, NODULE, algorithm=OPTIONS["algorithm"])
    report, _ = over_tiles(slide, tmp_path, writer, Squares(threshold=100), level=1, overlap=8, tile_size=32)
    even = [(r, c, s) for r, c, s in SQUARES if not (r % 2 or c % 2 or s % 2)]
    found = [np.ravel([g.region.start, g.region.stop]) for g in report.groups]
    for r, c, s in even:
        assert any(np.allclose(got, (r, c, r + s, c + s), atol=5e-3) for got in found)


@pytest.mark.parametrize("aggregate", ["mean", "max", 3])
def test_classes_of_a_slide(slide, tmp_path, aggregate):
    options = {"classes": ["SCT:17621005", "SCT:263654008"], "algorithm": OPTIONS["algorithm"]}
    writer = ReportWriter(tmp_path, kind="classification", activation="softmax", aggregate=aggregate, **options)
    report, file = over_tiles(slide, tmp_path, writer, Classifier(), overlap=0)
    data = TileDataset([slide], 64)
    means = torch.tensor([data[i]["image"].float().mean() / 255 for i in range(len(data))])
    each = torch.softmax(torch.stack([torch.zeros_like(means), 4 * means - 2], 1), 1).numpy()
    expected = {"mean": each.mean(0), "max": each.max(0)}.get(aggregate, np.sort(each, 0)[-3:].mean(0))
    values = [m.value / 100 for m in report.groups[0].measurements]
    assert values == pytest.approx(expected.tolist(), abs=1e-5)
    assert dciodvfy(file) == []


def test_a_slide_with_nothing_on_it(tmp_path):
    folder, _ = make(tmp_path, 3, (100, 120), tile=(64, 64))
    writer = ReportWriter(tmp_path / "out", NODULE, algorithm=OPTIONS["algorithm"], min_score=0.999)
    report, file = over_tiles(folder, tmp_path / "out", writer, Squares(threshold=0))
    assert report.groups == [] and dciodvfy(file) == []
    assert writer.written[0].path == file
