"""Check DICOM objects: against the standard, against themselves, and against the objects they were made from.

A folder is checked as a whole: every object in it, with all of them as its sources. Ends with 0 where there are no
errors, with 1 where there are, and with 2 where something could not be read at all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HELP = "check objects against the standard and their sources"
EXAMPLES = (
    "dicom-ml validate liver.seg.dcm",
    "dicom-ml validate liver.seg.dcm --sources series/",
    "dicom-ml validate study/ --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", type=Path, nargs="+", metavar="FILE", help="a file, or a folder of files")
    parser.add_argument(
        "--sources", type=Path, nargs="+", default=[], metavar="DIR", help="what the objects were made from"
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    parser.add_argument("--strict", action="store_true", help="end with 1 where there are warnings, too")
    parser.add_argument("--quiet", action="store_true", help="errors only")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.objects.iod.sources import Sources, read_sources
    from dicom_ml.objects.iod.validation import findings_of

    paths = args.paths if len(args.paths) > 1 else args.paths[0]
    found = findings_of(paths, read_sources(args.sources) if args.sources else Sources(), _progress)
    counts = {s: sum(f.severity == s for f in found) for s in ("error", "warning", "info")}
    shown = [f for f in found if f.severity == "error" or not args.quiet]
    if args.json:
        print(json.dumps({"findings": [f.to_dict() for f in shown], "counts": counts}, indent=2))
    else:
        for finding in shown:
            print(finding)
        total = ", ".join(f"{n} {s}{'s' if n != 1 and s != 'info' else ''}" for s, n in counts.items() if n)
        print(total or "conforms: nothing found")
    return int(counts["error"] > 0 or (args.strict and counts["warning"] > 0))


def _progress(things: list[Any], what: str) -> Iterable[Any]:
    if len(things) < 200:
        return things
    from tqdm import tqdm

    return tqdm(things, desc=what, unit="file", leave=False)
