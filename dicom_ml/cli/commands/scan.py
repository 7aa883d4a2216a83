"""Index an archive: patients, studies, series, instances, and what refers to what.

With --index the result is kept in a file, and the next scan reads only what is new or has changed. Nothing about
patients is shown without --phi.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HELP = "index an archive of DICOM files"
EXAMPLES = (
    "dicom-ml scan archive/",
    "dicom-ml scan archive/ --index archive.index",
    "dicom-ml scan archive/ --index archive.index --sql 'SELECT modality, SUM(files) AS files FROM series GROUP BY 1'",
    "dicom-ml scan archive/ --parquet tables/",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the archive")
    parser.add_argument("--index", type=Path, metavar="FILE", help="keep the index in this file, and update it")
    parser.add_argument("--sql", metavar="QUERY", help="show the answer to a query (SQLite) instead of the series")
    parser.add_argument("--parquet", type=Path, metavar="FOLDER", help="write the tables as Parquet files, too")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")
    parser.add_argument("--phi", action="store_true", help="show identifiers, dates and descriptions, too")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read headers; by default one a core")


def run(args: argparse.Namespace) -> int:
    from dicom_ml.reading.index import scan

    with scan(args.folder, args.index, workers=args.workers, progress=sys.stderr.isatty()) as index:
        if args.parquet:
            for path in index.to_parquet(args.parquet):
                print(f"wrote {path}", file=sys.stderr)
        rows = index.sql(args.sql) if args.sql else [_series(row, args.phi) for row in index.series()]
        problems = index.problems()
        if args.json:
            about = {"counts": index.counts(), "last_scan": index.last_scan, "rows": rows, "problems": problems}
            print(json.dumps(about, indent=2))
            return 0
        _table(rows)
        if not args.sql:
            print("\n" + ", ".join(f"{number} {name}" for name, number in index.counts().items()))
        did = index.last_scan
        print(f"{did['read']} files read, {did['unchanged']} unchanged, {did['removed']} gone", file=sys.stderr)
        for problem in problems[:5]:
            print(f"dicom-ml: warning: {problem['problem']}", file=sys.stderr)
        if len(problems) > 5:
            print(
                f"dicom-ml: warning: {len(problems) - 5} more files cannot be read (--json lists them)", file=sys.stderr
            )
    return 0


def _series(row: Any, phi: bool) -> dict[str, Any]:
    import os

    from pydicom.uid import UID

    shown = {
        "modality": row.modality or "-",
        "files": len(row.files),
        "what": UID(row.sop_class_uid).name.removesuffix(" Storage") if row.sop_class_uid else "-",
        "series": row.series_instance_uid or "none",
        "folder": os.path.dirname(row.files[0]) if row.files else "-",
    }
    if phi:
        shown |= {"patient": row.patient_id, "description": row.series_description}
    return shown


def _table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("nothing found")
        return
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [columns, *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())
