"""Train a model: LightningCLI's fit.

Files name classes by their path, such as dicom_ml.data.TileDataModule or dicom_ml.callbacks.SegmentationWriter, and
what they are made with; later files and options change earlier ones. All options: --print_config shows them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train a model by a file of settings"
EXAMPLES = (
    "dicom-ml train --config configs/pathology/small.yaml",
    "dicom-ml train --config settings.yaml --trainer.devices 4 --trainer.strategy ddp --trainer.precision bf16-mixed",
    "dicom-ml train --config settings.yaml --ckpt_path last.ckpt",
    "dicom-ml train --config settings.yaml --print_config",
)
#: Options that the parser does not know are LightningCLI's.
PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, action="append", metavar="FILE", help="settings; may be repeated")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.cli.training import run_lightning

    files = [part for path in args.config or () for part in ("--config", str(path))]
    return run_lightning("fit", [*files, *args.rest])
