"""A network of one layer that finds what is bright."""

from __future__ import annotations

import lightning.pytorch as L
import torch


class Bright(L.LightningModule):
    """Logits of background and of what is above ``level``; a series whose mean is above ``refuse`` is too much."""

    def __init__(self, level: float = 0.0, refuse: float = 1e9) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 1)
        self.refuse = refuse
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1)
            self.layer.bias[:] = torch.tensor([0.0, -level])

    def predict_step(self, batch, batch_idx):
        image = batch["image"].as_tensor()
        if float(image.mean()) > self.refuse:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied, 'Doe^John'")
        return self.layer(image)
