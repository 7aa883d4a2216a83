"""One run over slides, started by test_slides_ddp; under DDP Lightning starts it again for the second process."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import lightning.pytorch as L
from torch.utils.data import DataLoader

import dicom_ml as dml
from dicom_ml.callbacks import ParametricMapWriter, SegmentationWriter
from dicom_ml.data import TileDataModule, TileDataset
from tests.callbacks.slide_nets import Redness


class Killed(Redness):
    """Dies without a word in its fourth batch."""

    def predict_step(self, batch, batch_idx):
        if batch_idx == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_step(batch, batch_idx)


class Plain(L.LightningDataModule):
    """A loader with no sampler of ours: Lightning shares its tiles out, one here, one there."""

    def __init__(self, slides, overlap) -> None:
        super().__init__()
        self.slides, self.overlap = slides, overlap

    def predict_dataloader(self):
        return DataLoader(TileDataset(self.slides, 64, overlap=self.overlap), batch_size=4)


def main(mode: str, out: Path, settings: Path) -> None:
    told = json.loads(settings.read_text())
    made_by = dml.Algorithm("TestNet", version="1")
    segment = dml.Segment("Tumour", "SCT:108369006", "SCT:49755003", algorithm=made_by)
    quantity = dml.Quantity("DCM:122157")
    callbacks = [
        SegmentationWriter(out, [segment]),
        ParametricMapWriter(out, quantity, channels=[1], activation="softmax"),
    ]
    model = (Killed if mode == "killed" else Redness)(told["form"])
    two = mode in ("two", "plain")
    trainer = L.Trainer(
        accelerator="cpu", devices=2 if two else 1, strategy="ddp" if two else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
    )  # fmt: skip
    cut = {"overlap": told["overlap"]}
    if mode == "plain":
        data = Plain(told["slides"], **cut)
    else:
        data = TileDataModule(predict=told["slides"], tile_size=64, batch_size=4, **cut)
    trainer.predict(model, datamodule=data, return_predictions=False)
    (out / f"{mode}-rank{trainer.global_rank}.json").write_text(json.dumps(model.seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
