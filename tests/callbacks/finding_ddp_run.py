"""Detections of series, then of a slide's tiles, started by test_findings_ddp; Lightning starts it again for the second
process."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import lightning.pytorch as L
from monai.data import Dataset
from monai.data.utils import no_collation
from torch.utils.data import DataLoader, DistributedSampler

import dicom_ml as dml
from dicom_ml.callbacks import AnnotationWriter, ReportWriter
from dicom_ml.data import TileDataset
from dicom_ml.transforms import LoadDicomd
from tests.callbacks.finding_nets import Finder, Squares

MADE_BY = dml.Algorithm("Net", "1")
CLASSES = {0: "SCT:27925004", 1: "SCT:4147007"}


class Killed(Squares):
    """Dies without a word in its third batch."""

    def predict_step(self, batch, batch_idx):
        if batch_idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_step(batch, batch_idx)


class Padded(L.LightningDataModule):
    """Every process has as many series: one comes twice."""

    def __init__(self, records) -> None:
        super().__init__()
        self.records = records

    def predict_dataloader(self):
        data, sampler = Dataset(self.records, LoadDicomd("image")), None
        if self.trainer.world_size > 1:
            sampler = DistributedSampler(data, self.trainer.world_size, self.trainer.global_rank, shuffle=False)
        return DataLoader(data, batch_size=1, sampler=sampler, collate_fn=no_collation)


def trainer(callbacks, processes, **options):
    return L.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
        **options,
    )  # fmt: skip


def main(mode: str, out: Path, told: dict) -> None:
    processes = 2 if mode == "two" else 1
    seen = {}
    if mode != "killed":
        model = Finder()
        writer = ReportWriter(out / "series", CLASSES, algorithm=MADE_BY)
        run = trainer([writer], processes, use_distributed_sampler=False)
        run.predict(model, datamodule=Padded(told["records"]), return_predictions=False)
        seen["series"] = model.steps
    squares = (Killed if mode == "killed" else Squares)(told.get("form", "boxes"))
    writers = [
        AnnotationWriter(out / "slide", {"label": "Cells", "type": "SCT:84640000"}, MADE_BY),
        ReportWriter(out / "slide", "SCT:84640000", algorithm=MADE_BY),
    ]
    loader = DataLoader(TileDataset([told["slide"]], 64, overlap=24), batch_size=3)
    trainer(writers, processes).predict(squares, loader, return_predictions=False)
    seen["slide"] = squares.seen
    rank = int(os.environ.get("LOCAL_RANK", 0))
    (out / f"{mode}-rank{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
