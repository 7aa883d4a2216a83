"""The detector of nodules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch

import dicom_ml as dml
from recipes.common.detection import Scan, average_precision, froc
from recipes.radiology.network import make_detector
from recipes.radiology.nodules import DIAMETER, MM

__all__ = ["NoduleDetector"]


class NoduleDetector(L.LightningModule):
    """MONAI's RetinaNet, which finds boxes of nodules in scans.

    Parameters
    ----------
    detector : mapping
        Arguments of :func:`recipes.radiology.network.make_detector`.
    optimizer : {"adamw", "sgd"}
    learning_rate, weight_decay : float
    schedule : {"constant", "cosine", "step"}
        Over the epochs of the trainer; ``"step"``: a tenth after half of them.
    warmup : int
        First steps, in which the learning rate rises.
    box_weight : float
        Of the loss of boxes against that of classes.
    seed : int
        Of the draws of negative anchors.
    """

    def __init__(
        self,
        detector: Mapping[str, Any] | None = None,
        optimizer: str = "adamw",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        schedule: str = "cosine",
        warmup: int = 20,
        box_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if optimizer not in ("adamw", "sgd") or schedule not in ("constant", "cosine", "step"):
            raise ValueError("optimizer is 'adamw' or 'sgd', schedule 'constant', 'cosine' or 'step'")
        self.save_hyperparameters()
        self.detector = make_detector(**dict(detector or {}))
        self._judged: list[Scan] = []

    # ------------------------------------------------------------------ steps
    def training_step(self, batch: Sequence[Mapping[str, Any]], batch_idx: int) -> torch.Tensor:
        """Loss of a batch of patches."""
        images = [item["image"] for item in batch]
        targets = [{"box": item["box"], "label": item["label"]} for item in batch]
        place = (self.hparams["seed"] * 1_000_003 + self.global_step) * 8191 + self.global_rank
        # negative anchors are drawn by torch's own generator: from here, training that goes on is as one never stopped
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(place)
            losses = self.detector(images, targets)
        kinds, boxes = losses[self.detector.cls_key], losses[self.detector.box_reg_key]
        loss = kinds + self.hparams["box_weight"] * boxes
        for name, value in (("loss", loss), ("class_loss", kinds), ("box_loss", boxes)):
            self.log(f"train_{name}", value.detach(), on_step=False, on_epoch=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Sequence[Mapping[str, Any]], batch_idx: int) -> None:
        """Detections of whole scans, kept until all are there."""
        for item, found in zip(batch, self.found(batch), strict=True):
            truth = item["box"].cpu().numpy().reshape(-1, 6)
            self._judged.append(Scan(truth, found["box"].cpu().numpy(), found["label_scores"].cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Mean sensitivity of the FROC curve, and average precision at an overlap of 0.1."""
        scans, self._judged = self._judged, []
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, scans)
            scans = [one for part in gathered for one in part]
        for name, value in (("val_froc", froc(scans).mean), ("val_ap", average_precision(scans, 0.1))):
            self.log(name, float(np.nan_to_num(value)), batch_size=1, rank_zero_only=False)

    def predict_step(self, batch: Sequence[Mapping[str, Any]], batch_idx: int) -> list[dict[str, Any]]:
        """Boxes, labels and scores of each scan, with the diameter of each box: its longest side in a slice."""
        out = []
        for item, found in zip(batch, self.found(batch), strict=True):
            affine = torch.as_tensor(item["image"].affine).double().cpu()
            spacing = torch.linalg.vector_norm(affine[:3, :3], dim=0).numpy()
            boxes = found["box"].double().cpu().numpy().reshape(-1, 6)
            longest = ((boxes[:, 3:] - boxes[:, :3]) * spacing)[:, :2].max(axis=1)
            sizes = [(dml.Measurement(DIAMETER, float(length), MM),) for length in longest]
            out.append({**found, "measurements": sizes})
        return out

    def found(self, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, torch.Tensor]]:
        """What the detector gives for whole scans, of any size each."""
        out = []
        for item in batch:
            image = item["image"]
            image = image.as_tensor() if hasattr(image, "as_tensor") else image
            sizes = self.detector.inferer.roi_size
            larger = any(n > m for n, m in zip(image.shape[1:], sizes, strict=True))
            found = self.detector([image], use_inferer=larger)[0]
            out.append({name: value.float() if value.is_floating_point() else value for name, value in found.items()})
        return out

    # ------------------------------------------------------------------ optimizer
    def configure_optimizers(self) -> Any:
        """AdamW, or SGD with Nesterov's momentum; the rate rises at first, and falls as the schedule says."""
        rate, decay = self.hparams["learning_rate"], self.hparams["weight_decay"]
        optimizer: torch.optim.Optimizer
        if self.hparams["optimizer"] == "adamw":
            optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=decay)
        else:
            optimizer = torch.optim.SGD(self.parameters(), lr=rate, momentum=0.9, weight_decay=decay, nesterov=True)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warmup, kind = int(self.hparams["warmup"]), self.hparams["schedule"]

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / max(1, warmup))
            share = step / total
            fall = {"constant": 1.0, "cosine": 0.5 * (1 + np.cos(np.pi * min(1.0, share)))}.get(kind)
            return rise * float(fall if fall is not None else 1.0 if share < 0.5 else 0.1)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
