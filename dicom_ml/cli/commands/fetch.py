"""Copy a series or study from a server or an object store into a folder.

A fetch that was broken off goes on where it was. Volumes and slides can also be read from the address itself,
without a copy. A token for DICOMweb is taken from the environment: DICOM_ML_DICOMWEB_TOKEN, or DICOM_ML_DICOMWEB_USER
and DICOM_ML_DICOMWEB_PASSWORD; object stores have the variables of their makers (AWS_*, GOOGLE_*, AZURE_*).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "copy a series from a PACS or an object store"
EXAMPLES = (
    "dicom-ml fetch https://pacs.example/dicom-web/studies/1.2.3/series/4.5.6 series/",
    "dicom-ml fetch dicom://pacs.example:104/ARCHIVE series/ --study 1.2.3 --series 4.5.6",
    "dicom-ml fetch s3://bucket/series/ series/",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", help="what to fetch")
    parser.add_argument("folder", type=Path, help="where it goes")
    parser.add_argument("--study", default="", metavar="UID", help="Study Instance UID, for a DICOM node")
    parser.add_argument("--series", default="", metavar="UID", help="Series Instance UID, for a DICOM node")
    parser.add_argument("--own-title", default="DICOM_ML", metavar="AE", help="AE title of this side (%(default)s)")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from dicom_ml.stores.transfer import fetch

    with tqdm(desc="Fetching", unit="file", leave=False, disable=not sys.stderr.isatty()) as bar:
        done = fetch(
            args.address, args.folder, study=args.study, series=args.series, own_title=args.own_title,
            progress=bar.update,
        )  # fmt: skip
    for problem in done.problems:
        print(f"dicom-ml: warning: {problem}", file=sys.stderr)
    print(f"{len(done.files)} files in {done.folder}, {done.new} of them new")
    return 1 if done.problems else 0
