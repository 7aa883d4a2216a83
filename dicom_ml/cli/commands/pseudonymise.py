"""Replace what identifies people, in images and in the objects made from them alike (PS3.15 Annex E).

UIDs and identifiers are replaced consistently by a secret key, so what refers to what stays true, also when inputs and
outputs are pseudonymised at different times. Dates move by a number of days that is each patient's own. Files whose
pixels show who it is (burned-in text, labels of slides) are left out and reported.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "replace what identifies people, consistently over a cohort"
EXAMPLES = ("dicom-ml pseudonymise archive/ shared/ --key project.key",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a folder, or a file")
    parser.add_argument("target", type=Path, help="where the new files go")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the secret key; made when there is none. Keep it safe"
    )


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dicom_ml.pseudonyms import Pseudonyms, pseudonymise_folder

    pseudonyms = Pseudonyms.from_file(args.key, create=True)
    with tqdm(desc="Pseudonymising", unit="file", leave=False, disable=not sys.stderr.isatty()) as bar:
        done = pseudonymise_folder(args.source, args.target, pseudonyms, progress=bar.update)
    for reason in done.left_out:
        print(f"dicom-ml: warning: left out: {reason}", file=sys.stderr)
    print(f"{len(done.files)} files in {args.target}, {len(done.left_out)} left out")
    return 1 if done.left_out else 0
