"""Reports and annotations to tables and GeoJSON, and back, for `dicom-ml convert`."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicom_ml.cli.algorithms import algorithm_of
from dicom_ml.cli.slides import is_slide
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.annotations import (
    annotations_from_csv,
    annotations_from_geojson,
    annotations_to_csv,
    annotations_to_geojson,
    read_annotations,
)
from dicom_ml.objects.report import read_report
from dicom_ml.reading import read_volume
from dicom_ml.reading.slides import open_slide

__all__ = ["FEATURES", "TABLES", "from_annotations", "from_report", "to_annotations"]

FEATURES = (".geojson", ".json")
TABLES = (".csv", ".tsv")


def from_report(args: argparse.Namespace) -> Path:
    """Measurements and evaluations of a report as CSV or JSON, one a row; its regions as GeoJSON."""
    output: Path = args.output
    kind = output.suffix.lower()
    if kind not in (".csv", ".json", ".geojson"):
        raise EncodingError(
            f"a report is converted to a table or to its regions: OUTPUT ends in .csv or .json, or in .geojson, found "
            f"{output.name}"
        )
    if kind == ".geojson":
        return _regions_of(args)
    report = read_report(args.input)
    rows = report.to_records()
    if not rows:
        raise FileError(
            f"{args.input.name} holds no measurements or evaluations in groups; 'dicom-ml info' shows what it says"
        )
    text = _table(rows) if kind == ".csv" else json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    save_bytes(output, text.encode("utf-8"))
    return output


def _regions_of(args: argparse.Namespace) -> Path:
    """Regions of a report in pixels: of ``--on``, where the report alone does not say how its images lie."""
    if args.on is None:
        read_report(args.input).to_geojson(args.output)
    elif is_slide(args.on):
        with open_slide(args.on) as slide:
            read_report(args.input, source=slide).to_geojson(args.output)
    else:
        volume = read_volume(args.on, series_uid=args.series_uid)
        read_report(args.input, source=volume).to_geojson(args.output)
    return Path(args.output)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def from_annotations(args: argparse.Namespace) -> Path:
    """Bulk annotations as GeoJSON or as a table."""
    output: Path = args.output
    kind = output.suffix.lower()
    if kind not in (*FEATURES, *TABLES[:1]):
        raise EncodingError(f"annotations are converted to .geojson or .csv, found {output.name}")
    annotations = read_annotations(args.input)
    output.parent.mkdir(parents=True, exist_ok=True)
    source = None if args.source is None else _slide(args.source)
    try:
        if kind in FEATURES:
            annotations_to_geojson(annotations, output, source=source)
        else:
            annotations_to_csv(annotations, output, form=args.form, source=source)
    finally:
        if source is not None:
            source.close()
    return output


def to_annotations(args: argparse.Namespace) -> Path:
    """GeoJSON or a table as bulk annotations of a slide."""
    if args.source is None:
        raise EncodingError("annotations refer to the slide that they lie on: pass --source SLIDE")
    if args.output.suffix.lower() != ".dcm":
        raise EncodingError(
            f"outlines are converted to DICOM annotations: OUTPUT ends in .dcm, found {args.output.name}"
        )
    options: dict[str, Any] = {
        "types": _types(args.type),
        "measurements": _measurements(args.measurement),
        "algorithm": algorithm_of(args.algorithm),
        "holes": args.holes,
        "parts": args.parts,
    }
    with _slide(args.source) as slide:
        if args.input.suffix.lower() in FEATURES:
            made = annotations_from_geojson(args.input, source=slide, nuclei=args.nuclei, **options)
        else:
            made = annotations_from_csv(args.input, source=slide, graphic=args.graphic, unit=args.unit, **options)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        made.save(args.output)
    return Path(args.output)


def _slide(path: Path) -> Any:
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if not is_slide(path):
        raise EncodingError(f"annotations lie on a slide; --source {path} is none")
    return open_slide(path)


def _types(texts: Sequence[str]) -> Any:
    """A code for all classes, or a code a class; None where nothing is said."""
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, code = text.rpartition("=")
        if not equals:
            raise EncodingError(f"--type is CODE for all, or CLASS=CODE for each, such as 'Tumor=SCT:108369006', "
                                f"found {text!r}")  # fmt: skip
        found[name] = code or None
    return found or None


def _measurements(texts: Sequence[str]) -> Any:
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, rest = text.rpartition("=")
        concept, bar, unit = rest.partition(",")
        if not equals or (rest and not bar):
            raise EncodingError(
                f"--measurement is NAME=CONCEPT,UNIT, such as 'Area px^2=SCT:42798000,um2', found {text!r}"
            )
        found[name] = (concept, unit) if rest else None
    return found or None
