"""The demo's network for slides: which texture each small square of tissue has."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import nn

__all__ = ["CELL", "CLASSES", "TextureNet", "augmented"]

CELL = 16
"""Pixels along each side of what gets one answer."""

CLASSES = 4
"""Glass, and the three textures."""


class TextureNet(L.LightningModule):
    """A small convolutional classifier that answers for every 16 x 16 pixels, and sees some 250 around them.

    Parameters
    ----------
    steps : int
        Optimiser steps of the training, for the learning rate's schedule.
    channels : tuple of int
        Of the four halvings.
    learning_rate : float
        At its peak.

    Notes
    -----
    Input is (B, 3, H, W) RGB from 0 to 1, at 0.001 mm a pixel. Output is logits (B, 4, H / 16, W / 16).
    """

    def __init__(self, steps: int, channels: tuple[int, ...] = (16, 32, 48, 64), learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.steps = steps
        self.learning_rate = learning_rate
        layers: list[nn.Module] = []
        before = 3
        for count in channels:
            layers += [nn.Conv2d(before, count, 3, 2, 1, bias=False), nn.BatchNorm2d(count), nn.ReLU(inplace=True)]
            before = count
        for dilation in (1, 2, 4):
            layers += [
                nn.Conv2d(before, before, 3, 1, dilation, dilation, bias=False),
                nn.BatchNorm2d(before),
                nn.ReLU(inplace=True),
            ]
        self.net = nn.Sequential(*layers, nn.Conv2d(before, CLASSES, 1)).to(memory_format=torch.channels_last)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.net((2 * image - 1).contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor:
        """Loss of a batch, whose labels are the truth of every pixel."""
        image, label = augmented(batch["image"].float() / 255, batch["label"].long()[:, 0])
        label = label[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
        loss = nn.functional.cross_entropy(self(image), label, label_smoothing=0.02)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(label))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule."""
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=self.steps + 1, pct_start=0.2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def augmented(image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned, mirrored, and stained otherwise; the whole batch is turned alike, each tile stained on its own."""
    turns = int(torch.randint(4, (1,)))
    image, label = torch.rot90(image, turns, (2, 3)), torch.rot90(label, turns, (1, 2))
    if torch.rand(1) < 0.5:
        image, label = image.flip(3), label.flip(2)
    # Optical densities, each band more or less: what another stain or another scanner would have given.
    scale = torch.exp(0.25 * torch.randn(len(image), 3, 1, 1)) * torch.exp(0.2 * torch.randn(len(image), 1, 1, 1))
    return image.clamp(min=1e-3).pow(scale), label
