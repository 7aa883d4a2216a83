"""Detectors over real series and slides: what they find comes back to the same places, and judges accept it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")

import torch
from monai.data import Dataset
from monai.data.utils import no_collation
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged, Spacingd
from torch.utils.data import DataLoader

import dicom_ml as dml
from dicom_ml.bridge.boxes import boxes_from_source
from dicom_ml.callbacks import AnnotationWriter, ReportWriter
from dicom_ml.data import TileDataset, find_series
from dicom_ml.rasterize import polygon_mask
from dicom_ml.transforms import LoadDicomd
from tests.callbacks.finding_nets import Retina, Squares
from tests.callbacks.nets import trainer
from tests.judges import dciodvfy

MADE_BY = dml.Algorithm("Net", "1")


class Noting(Retina):
    """Keeps what the detector said, and of which image."""

    def __init__(self) -> None:
        super().__init__()
        self.said = []

    def predict_step(self, batch, batch_idx):
        found = super().predict_step(batch, batch_idx)
        self.said += [(item["image"].affine.numpy(), one) for item, one in zip(batch, found, strict=True)]
        return found


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["cip_chest64", "lungdx_A0002_8mm_B40f", "slicer_cthead64"])
def test_a_detector_on_real_series(shared_data, tmp_path, folder):
    root = shared_data / "a_ct" / folder
    records = [r for r in find_series(root, modalities=("CT",)) if 2 < len(r["image"]) < 100][:1]
    if not records:
        pytest.skip("no small CT series in the folder")
    pre = Compose([
        LoadDicomd("image"), Orientationd("image", "RAS", labels=None), Spacingd("image", (4.0, 4.0, 6.0)),
        ScaleIntensityRanged("image", -1000, 400, 0, 1, clip=True),
    ])  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = dml.read_volume(records[0]["image"])
        if volume.source.problems:
            pytest.skip("the series cannot be a source")
        writer = ReportWriter(tmp_path, {0: "SCT:27925004", 1: "SCT:4147007"}, algorithm=MADE_BY)
        model = Noting()
        trainer(tmp_path, [writer]).predict(
            model, DataLoader(Dataset(records, pre), 1, collate_fn=no_collation), return_predictions=False
        )
        (written,) = writer.written
        report = dml.read_report(written.path, source=volume)
    affine, said = model.said[0]
    got, scores, _ = report.boxes()
    order = np.argsort(-np.asarray(said["label_scores"]), kind="stable")
    np.testing.assert_allclose(scores, np.asarray(said["label_scores"])[order], atol=1e-6)
    back = boxes_from_source(got, affine, volume.grid)
    whole = boxes_from_source([[0, 0, 0, *volume.shape]], affine, volume.grid)[0]
    said_boxes = np.asarray(said["box"], dtype=float)[order]
    # the network's grid may reach beyond the series by a part of a voxel, which is cut off
    said_boxes = np.concatenate([np.maximum(said_boxes[:, :3], whole[:3]), np.minimum(said_boxes[:, 3:], whole[3:])], 1)
    oblique = not np.allclose(np.abs(volume.affine[:3, :3]).astype(bool).sum(axis=0), 1)
    if not volume.source.frame_of_reference_uid:  # on whole slices then
        depth = np.abs(got[:, [0, 3]] - np.rint(got[:, [0, 3]])).max()
        assert depth == 0
        np.testing.assert_allclose(back[:, [0, 1, 3, 4]], said_boxes[:, [0, 1, 3, 4]], atol=1e-2)
    elif not oblique:
        np.testing.assert_allclose(back, said_boxes, atol=1e-2)
    else:
        assert (back[:, :3] <= said_boxes[:, :3] + 1e-2).all() and (back[:, 3:] >= said_boxes[:, 3:] - 1e-2).all()
    assert [e for e in dciodvfy(written.path) if "Laterality" not in e] == []


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, -1])
def test_instances_on_a_real_slide(shared_data, tmp_path, level):
    folder = shared_data / "b_wsi" / "cmu1_he_pyramid_jpeg"
    if not folder.is_dir():
        pytest.skip("no such slide in the data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slide = dml.open_slide(folder)
        number = range(len(slide.levels))[level]
        data = TileDataset([slide], 256, overlap=64, level=number)
        writer = AnnotationWriter(tmp_path, {"label": "Dark", "type": "SCT:84640000"}, MADE_BY, min_area=20)
        loader = DataLoader(torch.utils.data.Subset(data, range(len(data))), 4)
        trainer(tmp_path, [writer]).predict(Squares("instances", threshold=110), loader, return_predictions=False)
    if not writer.written:
        pytest.skip("nothing dark on it")
    (group,) = dml.read_annotations(writer.written[0].path).groups
    base, chosen = slide.levels[0].shape, slide.levels[number].shape
    assert (group.points >= 0).all() and (group.points <= np.array(base)[::-1]).all()
    pixels = slide.read_region((0, 0), chosen, level=number)
    for outline in list(group)[:20]:
        points = np.asarray(outline)[:, ::-1] * np.array(chosen) / np.array(base)
        low = np.floor(points.min(0)).astype(int)
        size = np.ceil(points.max(0)).astype(int) - low
        inside = polygon_mask(points, size, low)
        part = pixels[low[0] : low[0] + size[0], low[1] : low[1] + size[1], 0]
        assert part.shape == inside.shape
        assert (part[inside] < 110).mean() > 0.7  # holes are filled
    assert dciodvfy(writer.written[0].path) == []
