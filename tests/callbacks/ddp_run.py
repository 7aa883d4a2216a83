"""One run under DDP, started by test_ddp as a program of its own; Lightning starts it again for the second process."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, DistributedSampler

from dicom_ml.callbacks import SegmentationWriter, ValidationWriter
from dicom_ml.data import VolumeDataModule, VolumeDataset, collate_items
from tests.callbacks.nets import Oracle


class Counting(Oracle):
    """Notes the cases of each process; the spleen of case b is left out."""

    def forward(self, batch):
        out = super().forward(batch)
        for number, name in enumerate(batch["case"]):
            if name == "b":
                out[number, 2] = -99
        return out


class Killed(Counting):
    """Dies without a word when its second batch comes."""

    def predict_step(self, batch, batch_idx):
        if batch_idx == 1 and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_step(batch, batch_idx)


class Padded(L.LightningDataModule):
    """Loaders whose sampler repeats items so that processes have equally many, or hands all items to each."""

    def __init__(self, records, repeat_all: bool) -> None:
        super().__init__()
        self.records, self.repeat_all = records, repeat_all

    def predict_dataloader(self):
        data = VolumeDataset(self.records)
        sampler = None
        if not self.repeat_all:
            sampler = DistributedSampler(data, num_replicas=2, rank=self.trainer.global_rank, shuffle=False)
        return DataLoader(data, batch_size=1, sampler=sampler, collate_fn=collate_items)


def main(mode: str, out: Path, settings: Path) -> None:
    told = json.loads(settings.read_text())
    records, segments = told["records"], told["segments"]
    callback = ValidationWriter(out, segments) if mode == "validate" else SegmentationWriter(out, segments)
    model = Killed() if mode == "killed" else Counting()
    trainer = L.Trainer(
        accelerator="cpu", devices=1 if mode == "killed" else 2, strategy="auto" if mode == "killed" else "ddp",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=mode not in ("padded", "everything"), callbacks=[callback],
    )  # fmt: skip
    metrics = {}
    if mode == "validate":
        (metrics,) = trainer.validate(model, VolumeDataModule(val=records), verbose=False)
    elif mode in ("padded", "everything"):
        trainer.predict(model, datamodule=Padded(records, mode == "everything"), return_predictions=False)
    else:
        trainer.predict(model, VolumeDataModule(predict=records), return_predictions=False)
    backend = torch.distributed.get_backend() if torch.distributed.is_initialized() else ""
    note = {"steps": [c for step in model.steps for c in step], "metrics": metrics, "backend": backend}
    (out / f"rank{trainer.global_rank}.json").write_text(json.dumps(note))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
