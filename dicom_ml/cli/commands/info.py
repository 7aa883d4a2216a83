"""Say what files or folders hold: series, segmentations, any DICOM object.

A structured report is shown as a tree: what was found, where, and what was measured; of a key object selection, what
it selects.

Nothing about the patient is shown without --phi: names, numbers, dates, institutions and free text stay out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "what a file or a folder holds"
EXAMPLES = (
    "dicom-ml info series/",
    "dicom-ml info liver.seg.dcm",
    "dicom-ml info nodules.sr.dcm",
    "dicom-ml info nodules.sr.dcm --phi --all",
    "dicom-ml info archive/ --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a file or a folder")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    parser.add_argument("--all", action="store_true", help="of a report show every image, however many there are")
    parser.add_argument("--phi", action="store_true", help="show what concerns the patient, too")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.cli.inspect import inspect_path

    found = [item for path in args.paths for item in inspect_path(path, phi=args.phi, every=args.all)]
    if args.json:
        print(json.dumps({"items": found}, indent=2))
        return 0
    for number, item in enumerate(found):
        if number:
            print()
        _show(item)
    return 0


def _show(item: dict[str, object], indent: str = "") -> None:
    from dicom_ml.cli.reports import tree_line

    width = max(len(key) for key in item)
    for key, value in item.items():
        if key == "content" and isinstance(value, list):
            print(f"{indent}{key}:")
            for row in value:
                print(f"{indent}  {tree_line(row)}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{key}:")
            for entry in value:
                print(f"{indent}  - " + ", ".join(f"{k} {v}" for k, v in entry.items() if v not in (None, "", [])))
        elif isinstance(value, list):
            print(f"{indent}{key:<{width}}  {', '.join(map(str, value)) or '-'}")
        else:
            print(f"{indent}{key:<{width}}  {value}")
