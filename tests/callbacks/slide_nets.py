"""Networks whose predictions of tiles are known from the pixels."""

from __future__ import annotations

import lightning.pytorch as L
import torch


class Redness(L.LightningModule):
    """``form``: "dense" (red of every pixel as a logit of the second of two channels), "half" (the same at half the
    resolution), "classes" (label map), "values" (mean red of the tile, (B, 2)), "score" (B,)."""

    def __init__(self, form: str = "dense") -> None:
        super().__init__()
        self.form = form
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: list[tuple[str, int, int]] = []
        self.stop_after: int | None = None

    def forward(self, image):
        red = image[:, :1].float() / 255
        if self.form == "half":
            red = torch.nn.functional.avg_pool2d(red, 2)
        if self.form in ("values", "score"):
            red = red.mean((2, 3))
        if self.form == "score":
            return red[:, 0]
        if self.form == "classes":
            return (red > 0.5).long()
        return torch.cat([torch.zeros_like(red), 10 * (red - 0.5)], dim=1)

    def predict_step(self, batch, batch_idx):
        if self.stop_after is not None and batch_idx == self.stop_after:
            raise KeyboardInterrupt
        rows, columns = (v.tolist() for v in batch["position"])
        self.seen += list(zip(batch["slide"], rows, columns, strict=True))
        return self(batch["image"])

    test_step = predict_step
