"""Names and files that the README takes as given: the reader's own masks, models and positions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from monai.apps.detection.transforms.dictionary import ClipBoxToImaged
from monai.transforms import AsDiscreted, Compose, EnsureChannelFirstd, Invertd, Orientationd, Spacingd
from torch.utils.data import DataLoader

import dicom_ml as dml
import dicom_ml.phantom
from dicom_ml.data import VolumeDataModule
from tests.docs.given import write_drawing, write_structure_set

__all__ = ["names"]

CODES = {"type": "SCT:10200004", "category": "SCT:123037004"}


class Model(L.LightningModule):
    """Says background everywhere."""

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        image = batch["image"]
        return torch.cat([torch.ones_like(image), torch.zeros_like(image)], dim=1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 1 - batch.mean(dim=1, keepdim=True)


def names(place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks use and do not define, in a folder that holds ``series/`` and ``slide/``."""
    volume, slide = dml.read_volume(place / "series"), dml.open_slide(place / "slide")
    made_by = dml.Algorithm("Net", "1.0")
    organ = dml.Segment("Liver", algorithm=made_by, **CODES)
    tumour = dml.Segment("Tumour", "SCT:108369006", "SCT:49755003", made_by)
    tile = np.ones((256, 256), np.float32)
    write_structure_set(place / "rtstruct.dcm", volume)
    write_drawing(place / "qupath.geojson")
    smaller_slides(monkeypatch)
    (place / "archive").mkdir()
    (place / "series").rename(place / "archive" / "series")
    (place / "series").symlink_to(place / "archive" / "series")
    rows, columns = volume.shape[1:]
    return {
        "mask": (volume.array > 200).astype(np.uint8),
        "row": 0,
        "column": 0,
        "positions": slide.tile_positions(0)[:2],
        "tumour": tumour,
        "predictions": [(position, tile) for position in slide.tile_positions(0).astype(int)],
        "adc": np.abs(volume.array) / 1e6,
        "probability": np.zeros(slide.shape, np.float32),
        "xy": np.array([[0, 0], [9, 0], [9, 9], [20, 20], [30, 20], [25, 31]], np.float32),
        "starts": [0, 3],
        "areas": [10.0, 20.0],
        **dict(zip(("z0", "y0", "x0", "z1", "y1", "x1"), (40, 60, 50, 44, 68, 58), strict=True)),
        "rgb": np.zeros((rows, columns, 3)),
        "segments": [organ],
        "model": Model(),
        "datamodule": VolumeDataModule(predict=[str(place / "series")]),
        "L": L,
        "DataLoader": DataLoader,
        "series_uid": volume.source.series_instance_uid,
        **{t.__name__: t for t in (AsDiscreted, ClipBoxToImaged, Compose, EnsureChannelFirstd, Invertd)},
        **{t.__name__: t for t in (Orientationd, Spacingd)},
    }


def smaller_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slides of phantoms that are made in a second, in place of what has their folder's name."""
    write = dicom_ml.phantom.write_slide

    def smaller(folder: str, **options: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return write(folder, size=(256, 256), **options)

    monkeypatch.setattr(dicom_ml.phantom, "write_slide", smaller)
