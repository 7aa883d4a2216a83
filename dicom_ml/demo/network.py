"""The demo's network: a small 3D U-Net that says of every 5 mm voxel whether it is outside, body or lung."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

from dicom_ml.demo.tidy import tidy

__all__ = ["AIR", "SPACING", "LungNet"]

SPACING = 5.0
"""Millimetres of the isotropic voxels that the network sees."""

AIR = -1024.0
"""HU of value 0 of the network's input."""

_WINDOWS = ((-1024.0, 600.0), (-1024.0, -600.0), (-200.0, 200.0))
"""Everything, lung against gas, and soft tissue: HU ranges, each scaled to -1..1 as a channel of its own."""

_MULTIPLE = 8
"""Three halvings: each side of the input is padded to a multiple of this."""


class LungNet(L.LightningModule):
    """Outside, body, lung.

    Parameters
    ----------
    steps : int
        Optimiser steps of the training, for the learning rate's schedule.
    channels : tuple of int
        Of the U-Net's levels.
    learning_rate : float
        At its peak.

    Notes
    -----
    Input is (B, 1, X, Y, Z) in HU above `AIR` with axes towards right, anterior and superior. ``predict_step`` gives
    four probabilities: outside, body outside the lungs, right lung, left lung.
    """

    def __init__(self, steps: int, channels: tuple[int, ...] = (16, 32, 64, 96), learning_rate: float = 6e-3) -> None:
        super().__init__()
        self.steps = steps
        self.learning_rate = learning_rate
        # Batch norm: instance norm would hide the absolute HU, which tells lung from gas.
        self.net = UNet(3, len(_WINDOWS), 3, channels, [2] * (len(channels) - 1), num_res_units=1, norm="batch")
        self.net = self.net.to(memory_format=torch.channels_last_3d)
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 3, X, Y, Z)."""
        hu = image.as_subclass(torch.Tensor) + AIR
        views = [(hu.clamp(low, high) - low) * (2.0 / (high - low)) - 1.0 for low, high in _WINDOWS]
        return self.net(torch.cat(views, dim=1).to(memory_format=torch.channels_last_3d))

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
        """Loss of a batch whose labels are those of the phantoms; both lungs count as one class."""
        labels = batch["label"].as_subclass(torch.Tensor).round().clamp(max=2)
        loss = self.loss(self(batch["image"]), labels)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(labels))
        return loss

    def predict_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
        """Tidied probabilities (B, 4, X, Y, Z) on the grid of the batch."""
        out = []
        for image in batch["image"].as_subclass(torch.Tensor):
            probability = torch.softmax(self._whole(image[None]), dim=1)[0].float().cpu().numpy()
            out.append(torch.from_numpy(tidy(probability, image[0].cpu().numpy() + AIR, SPACING)))
        return torch.stack(out)

    def _whole(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a whole volume, padded with its own edge; by windows where it is very large."""
        size = image.shape[2:]
        pad = [(-n) % _MULTIPLE for n in size]
        padded = torch.nn.functional.pad(image, (0, pad[2], 0, pad[1], 0, pad[0]), mode="replicate")
        if np.prod(padded.shape) > 160**3:
            inferer = SlidingWindowInferer((128, 128, 96), overlap=0.25, mode="gaussian")
            logits = inferer(padded, self)
        else:
            logits = self(padded)
        return logits[..., : size[0], : size[1], : size[2]]

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule."""
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps + 1, pct_start=0.15
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
