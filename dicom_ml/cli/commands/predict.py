"""Predict with a trained model, and write what it says as DICOM.

With --cohort, over the series of an index of 'dicom-ml scan', a folder, or a text file that names a series a line: each
series on its own, on many processes, machines (--shard) or a cluster (--engine ray). Results of a series go to
OUTPUT/STUDY/SERIES. A run that was killed goes on with the same command; a series that cannot be predicted is told of,
left out, and tried again the next time. The status is 1 where there is any such.

Without, it is LightningCLI's predict over the data that the settings name, on the devices and nodes that they name.

Files name classes by their path, such as dicom_ml.data.TileDataModule or dicom_ml.callbacks.SegmentationWriter, and
what they are made with; later files and options change earlier ones. All options: --print_config shows them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "predict with a trained model, a cohort at a time"
EXAMPLES = (
    "dicom-ml predict --config settings.yaml --ckpt_path best.ckpt",
    "dicom-ml predict --config settings.yaml --ckpt_path best.ckpt --trainer.devices 2",
    "dicom-ml predict --cohort archive.index --config settings.yaml --ckpt_path best.ckpt --output out/ --workers 4",
    "dicom-ml predict --cohort series.txt --bundle spleen/ --config writer.yaml --output out/",
    "dicom-ml predict --cohort archive.index ... --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT",
)
#: Options that the parser does not know are LightningCLI's.
PASSES_ON = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, action="append", metavar="FILE", help="settings; may be repeated")
    parser.add_argument("--ckpt_path", metavar="FILE", help="a checkpoint of the model")
    cohort = parser.add_argument_group("over a cohort")
    cohort.add_argument("--cohort", type=Path, metavar="PATH", help="an index, a folder, or a list of series")
    cohort.add_argument("--output", type=Path, metavar="DIR", help="where results go; what is done there is kept")
    cohort.add_argument(
        "--bundle", type=Path, metavar="DIR", help="a MONAI bundle in place of a model; it is a program"
    )
    cohort.add_argument(
        "--modality", action="append", metavar="M", help="only these series, such as CT; may be repeated"
    )
    cohort.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    cohort.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="that torch may use in each; the same number gives the same bits",
    )
    cohort.add_argument(
        "--shard", metavar="I/N", help="only every N-th series from the I-th, for one of N jobs; I from 0"
    )
    cohort.add_argument("--engine", choices=("processes", "ray"), default="processes", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    configs = tuple(str(path) for path in args.config or ())
    if args.cohort is not None:
        return _predict_cohort(args, configs)
    unused = [name for name in ("output", "bundle", "modality", "shard") if getattr(args, name) is not None]
    if unused:
        from dicom_ml.errors import EncodingError

        raise EncodingError(f"--{unused[0]} goes with --cohort; without it, the settings name data and folders")
    from dicom_ml.cli.training import run_lightning

    files = [part for path in configs for part in ("--config", path)]
    checkpoint = [] if args.ckpt_path is None else ["--ckpt_path", args.ckpt_path]
    return run_lightning("predict", [*files, *checkpoint, *args.rest])


def _predict_cohort(args: argparse.Namespace, configs: tuple[str, ...]) -> int:
    from dicom_ml.cli.prediction import CohortModel
    from dicom_ml.cohorts import find_cases, predict_cohort, shard
    from dicom_ml.errors import EncodingError

    if args.output is None:
        raise EncodingError("say with --output where the results go")
    if not (configs or args.bundle):
        raise EncodingError("say with --config or --bundle what predicts")
    model = CohortModel(configs, tuple(args.rest), args.ckpt_path or "", str(args.bundle or ""), args.threads)
    identity = model.identity()
    cases = find_cases(args.cohort, args.modality)
    if args.shard is not None:
        cases = shard(cases, *_shard(args.shard))
    report = predict_cohort(
        cases, model, args.output, workers=args.workers, engine=args.engine, identity=identity, progress=True
    )
    told = f"{report.done} of {len(cases)} series done ({report.before} before), {len(report.failed)} failed"
    print(f"{told}: {args.output / 'cohort.json'}")
    if report.failed and not sys.stderr.isatty():
        print("'failed' in that file says why", file=sys.stderr)
    return 1 if report.failed else 0


def _shard(text: str) -> tuple[int, int]:
    from dicom_ml.errors import EncodingError

    rank, slash, count = text.partition("/")
    if not (slash and rank.isdigit() and count.isdigit()):
        raise EncodingError(f"--shard is I/N, such as 0/4, found {text!r}")
    return int(rank), int(count)
