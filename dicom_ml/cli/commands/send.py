"""Store DICOM files on a server, by DICOMweb (STOW-RS) or by C-STORE.

Each file is sent as it is, and the answer of the server to each is told. A token for DICOMweb is taken from the
environment: DICOM_ML_DICOMWEB_TOKEN, or DICOM_ML_DICOMWEB_USER and DICOM_ML_DICOMWEB_PASSWORD.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "store files on a PACS"
EXAMPLES = (
    "dicom-ml send out/liver.seg.dcm https://pacs.example/dicom-web",
    "dicom-ml send out/ dicom://pacs.example:104/ARCHIVE",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file or a folder")
    parser.add_argument("address", help="https://host/dicom-web, or dicom://host:port/AE_TITLE")
    parser.add_argument("--own-title", default="DICOM_ML", metavar="AE", help="AE title of this side (%(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dicom_ml.encoding.folders import files_below
    from dicom_ml.errors import FileError
    from dicom_ml.stores.transfer import send

    files = [path for given in args.paths for path in map(Path, files_below(given))]
    if not files:
        raise FileError(f"{args.paths[0]} holds no file to send")
    sent = tqdm(
        send(files, args.address, own_title=args.own_title),
        total=len(files), unit="file", leave=False, disable=not sys.stderr.isatty(),
    )  # fmt: skip
    outcomes = list(sent)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if args.json:
        rows = [
            {"path": o.path, "sop_instance_uid": o.sop_instance_uid, "ok": o.ok, "detail": o.detail} for o in outcomes
        ]
        print(json.dumps({"files": rows}, indent=2))
    else:
        for outcome in outcomes:
            if outcome.detail:
                print(f"{outcome.path}: {outcome.detail}", file=sys.stderr)
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} files stored")
    return 1 if failed else 0
