"""Take a chest CT and a slide through the whole path.

A small network is trained on generated cases and predicts lungs and body; a DICOM SEG is written, read back, compared
and shown. Another is trained on tiles of generated slides, and what it says of a slide is written and shown as a DICOM
parametric map; this part is left out where a source or a network is given. It needs neither a network connection nor a
GPU, and takes a few minutes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "chest CT and slide in, DICOM segmentation and parametric map out, in a few minutes"
EXAMPLES = (
    "dicom-ml demo",
    "dicom-ml demo --source path/to/chest-ct/ --output out/",
    "dicom-ml demo --source chest-ct/ --labels lungs.nii.gz",
    "dicom-ml demo --source another-ct/ --network out/network.pt --output another/",
    "dicom-ml demo --source stripped-of-uids/ --repair-uids",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", type=Path, metavar="SERIES", help="a chest CT: folder, zip or file (default: a phantom)"
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="reference labels of the source: SEG, NIfTI or NRRD"
    )
    parser.add_argument("--lung-values", type=int, nargs="+", metavar="N", help="values of the label map that are lung")
    parser.add_argument(
        "--output", type=Path, default=Path("dicom-ml-demo"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same result (default: %(default)s)"
    )
    parser.add_argument("--kind", choices=("labelmap", "binary"), default="labelmap", help="default: %(default)s")
    parser.add_argument("--cases", type=int, default=40, help="generated cases to train on (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=480, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--slides", type=int, metavar="N",
        help="generated slides to train on, 0 to leave the slide out (default: 28; 0 with --source or --network)",
    )  # fmt: skip
    parser.add_argument(
        "--slide-steps", type=int, default=220, metavar="N", help="training steps on slides (default: %(default)s)"
    )
    parser.add_argument(
        "--network", type=Path, metavar="FILE", help="network.pt of an earlier demo, to be used without training"
    )
    parser.add_argument(
        "--repair-uids", action="store_true", help="where the source lacks identifiers, work on a copy that gets them"
    )


def run(args: argparse.Namespace) -> int:
    # Waiting threads sleep instead of spinning: on a machine with other work to do, training is many times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from dicom_ml.demo import DemoOptions, run_demo
    from dicom_ml.errors import EncodingError

    slides = args.slides
    if slides is None:
        slides = 0 if args.source is not None or args.network is not None else DemoOptions.slides
    if args.cases < 1 or args.steps < 1 or args.slide_steps < 1 or args.seed < 0 or slides < 0:
        raise EncodingError("--cases, --steps and --slide-steps need at least 1, --seed and --slides at least 0")
    if args.labels is not None and args.source is None:
        raise EncodingError("--labels are those of a --source; the phantom brings its own")
    result = run_demo(
        DemoOptions(
            output=args.output,
            source=args.source,
            labels=args.labels,
            lung_values=tuple(args.lung_values) if args.lung_values else None,
            seed=args.seed,
            cases=args.cases,
            steps=args.steps,
            kind=args.kind,
            repair_uids=args.repair_uids,
            network=args.network,
            slides=slides,
            slide_steps=args.slide_steps,
        )
    )
    for note in result.notes:
        print(f"Note: {note}")
    for name, count in result.voxels.items():
        score = f"   Dice {result.dice[name]:.3f}" if name in result.dice else ""
        print(f"{name:<24}{count:>12,} voxels{score}")
    if "Lungs" in result.dice:
        print(f"{'Lungs':<24}{'':>12}       {'':>1}   Dice {result.dice['Lungs']:.3f}")
    checks = dict(result.checks)
    if result.slide is not None:
        for name, share in result.slide.accuracy.items():
            print(f"{'Slide: ' + name.lower():<24}{'':>12}       {'':>1}   accuracy {share:.3f}")
        checks |= result.slide.checks
    failed = [name for name, fine in checks.items() if fine is False]
    print("Read back: " + (f"FAILED: {'; '.join(failed)}" if failed else "every check passed"))
    print(f"Segmentation: {result.segmentation}")
    if result.slide is not None:
        print(f"Map of the slide: {result.slide.map}")
    print(f"Page:         {result.page.resolve()}")
    return 1 if failed else 0
