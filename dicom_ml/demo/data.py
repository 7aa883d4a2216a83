"""From DICOM to batches: the demo's transforms and data module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import CacheDataset
from monai.transforms import (
    Compose,
    Orientationd,
    RandAffined,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandShiftIntensityd,
    RandSpatialCropd,
    ScaleIntensityRanged,
    SelectItemsd,
    Spacingd,
    SpatialPadd,
)

from dicom_ml.data import VolumeDataModule
from dicom_ml.data.dataset import collate_items
from dicom_ml.demo.network import AIR, SPACING

__all__ = ["DemoData", "prediction_transform"]

_PATCH = (72, 72, 48)


def prediction_transform() -> Compose:
    """Any CT to the network's axes and voxels; the writer undoes it."""
    return Compose(
        [
            _from_air("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", (SPACING,) * 3, mode="bilinear", padding_mode="border"),
        ]
    )


def _from_air(key: str) -> ScaleIntensityRanged:
    """HU to HU above air, so that what lies outside the picture is 0, the couch is near 0 and nothing is below."""
    return ScaleIntensityRanged(key, AIR, 3071.0, 0.0, 3071.0 - AIR, clip=True)


def _training_transform(seed: int) -> Compose:
    both = ["image", "label"]
    transform = Compose(
        [
            SelectItemsd(both),
            _from_air("image"),
            Orientationd(both, axcodes="RAS", labels=None),
            Spacingd(both, (SPACING,) * 3, mode=("bilinear", "nearest"), padding_mode="border"),
            # A short scan goes on at its ends, as it does in prediction; beside the patient there is air.
            SpatialPadd(both, (-1, -1, round(1.4 * _PATCH[2])), mode="edge"),
            # What follows is drawn anew each time.
            RandSpatialCropd(both, [round(1.4 * n) for n in _PATCH], random_size=False),
            RandAffined(
                both,
                prob=1.0,
                rotate_range=(0.08, 0.08, 0.15),
                scale_range=((-0.25, 0.35), (-0.25, 0.35), (-0.3, 0.4)),
                translate_range=(14, 14, 10),
                spatial_size=_PATCH,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandGaussianSmoothd("image", (0.3, 0.8), (0.3, 0.8), (0.3, 0.8), prob=0.25),
            RandShiftIntensityd("image", 8.0, prob=0.7),
            RandGaussianNoised("image", prob=0.5, std=20.0),
        ]
    )
    transform.set_random_state(seed)
    return transform


class DemoData(VolumeDataModule):
    """Phantoms to train on.

    Parameters
    ----------
    cases : sequence of mapping
        Records of image and label.
    steps : int
        Batches of the one epoch: cases come again and again, each time differently cut and distorted.
    batch_size : int
    seed : int
    """

    def __init__(self, cases: Sequence[Any], steps: int, batch_size: int, seed: int) -> None:
        super().__init__(train=list(cases), dataset={"monai": True}, batch_size=batch_size)
        self.steps = steps
        self.draw_seed = seed

    def train_dataloader(self) -> Any:
        """So many batches of distorted patches; series are read and resampled once."""
        self.setup("fit")
        series = self.datasets["train"]
        cached = CacheDataset(series, _training_transform(self.draw_seed), num_workers=1, copy_cache=False)
        count = self.steps * self.batch_size
        generator = torch.Generator().manual_seed(self.draw_seed)
        sampler = torch.utils.data.RandomSampler(cached, replacement=True, num_samples=count, generator=generator)
        return torch.utils.data.DataLoader(
            cached, self.batch_size, sampler=sampler, collate_fn=collate_items, num_workers=0
        )
