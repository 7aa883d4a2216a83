"""Manifests of cohorts: which series belong to an experiment, what each is for, and into which part it goes.

A manifest is a CSV with a row for each series, sorted, and beside it a JSON that says where it came from.
The same rows give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import FileError
from recipes.common.state import write_json

__all__ = ["Row", "chosen_rows", "read_manifest", "write_manifest"]


@dataclass(frozen=True, order=True)
class Row:
    """A series of a cohort.

    Attributes
    ----------
    collection : str
    patient, study, series : str
        Patient ID, Study and Series Instance UID.
    role : str
        What the series is: ``"slide"``, ``"image"``, ``"segmentation"``, ``"report"``.
    split : str
        ``"train"``, ``"val"``, ``"test"``, or ``"external"`` for test data of other collections.
    fold : int
        Of a cross-validation by patient; -1 where there is none.
    label : str
        Class, where the index tells it.
    preparation : str
        Of tissue: ``"frozen"``, ``"ffpe"``, or empty where the index does not tell.
    group : str
        What belongs together: the finding that an annotation is of.
    annotation : str
        Which of several annotations of a finding.
    instances, size : int
        Files, and bytes.
    url : str
        Where the files are: ``s3://bucket/folder/*``, or ``file:`` and a path.
    excluded : str
        Why it is left out; empty where it is not.
    """

    collection: str
    patient: str
    study: str
    series: str
    role: str
    split: str = ""
    fold: int = -1
    label: str = ""
    preparation: str = ""
    group: str = ""
    annotation: str = ""
    instances: int = 0
    size: int = 0
    url: str = ""
    excluded: str = ""

    def with_(self, **changes: Any) -> Row:
        """A copy with other values."""
        return replace(self, **changes)


_NAMES = tuple(field.name for field in fields(Row))
_NUMBERS = ("fold", "instances", "size")


def manifest_text(rows: Iterable[Row]) -> str:
    """Rows as CSV, sorted; columns that are the same all the way down are kept."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _NAMES, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows))
    return out.getvalue()


def write_manifest(path: Path, rows: Sequence[Row], about: dict[str, Any] | None = None) -> list[Path]:
    """Write a manifest, compressed where its name ends in ``.gz``.

    Parameters
    ----------
    path : path
        ``x.csv`` or ``x.csv.gz``; with ``about`` there is ``x.json`` beside it.
    rows : sequence of Row
    about : dict, optional
        Where the rows come from; counts, and the SHA-256 of the CSV, are added.

    Returns
    -------
    list of path
    """
    text = manifest_text(rows).encode("utf-8")
    data = _gzip(text) if path.name.endswith(".gz") else text
    save_bytes(path, data)
    if about is None:
        return [path]
    counts: dict[str, int] = {}
    for row in rows:
        name = "excluded" if row.excluded else "/".join(filter(None, (row.role, row.split, row.label)))
        counts[name] = counts.get(name, 0) + 1
    facts = {
        **about,
        "rows": len(rows),
        "patients": len({row.patient for row in rows}),
        "series": dict(sorted(counts.items())),
        "bytes": sum(row.size for row in rows if not row.excluded),
        "sha256_of_csv": hashlib.sha256(text).hexdigest(),
    }
    beside = path.with_name(path.name.split(".")[0] + ".json")
    write_json(beside, facts)
    return [path, beside]


def _gzip(data: bytes) -> bytes:
    """A gzip file without time, name or system: the versions of the gzip module differ in what they put there."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + packed + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def read_manifest(path: Path) -> list[Row]:
    """Rows of a manifest; the excluded ones too.

    Raises
    ------
    FileError
        If it is none, or is not what the JSON beside it speaks of.
    """
    data = path.read_bytes()
    text = gzip.decompress(data) if path.name.endswith(".gz") else data
    beside = path.with_name(path.name.split(".")[0] + ".json")
    if beside.exists():
        said = json.loads(beside.read_text(encoding="utf-8")).get("sha256_of_csv")
        if said and said != hashlib.sha256(text).hexdigest():
            raise FileError(f"{path} is not the manifest that {beside.name} describes; build it anew, or restore it")
    reader = csv.DictReader(io.StringIO(text.decode("utf-8")))
    if tuple(reader.fieldnames or ()) != _NAMES:
        raise FileError(f"{path} is no manifest: its columns are {reader.fieldnames}, expected {list(_NAMES)}")
    found: list[Row] = []
    for row in reader:
        values: dict[str, Any] = {k: int(v) if k in _NUMBERS else v for k, v in row.items()}
        found.append(Row(**values))
    return found


def chosen_rows(
    rows: Iterable[Row], *, patients: int | None = None, most_bytes: int | None = None, seed: int = 0
) -> list[Row]:
    """Rows that are not excluded, of few patients if so wished.

    Parameters
    ----------
    rows : iterable of Row
    patients : int, optional
        At most so many of each collection and split; which, is decided by a hash of the seed and the patient.
    most_bytes : int, optional
        Leave larger series out.
    seed : int
    """
    kept = [row for row in rows if not row.excluded and (most_bytes is None or row.size <= most_bytes)]
    if patients is None:
        return kept
    groups: dict[tuple[str, str], set[str]] = {}
    for row in kept:
        groups.setdefault((row.collection, row.split), set()).add(row.patient)
    wanted = set()
    for (collection, _), members in sorted(groups.items()):
        ordered = sorted(members, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
        wanted |= {(collection, name) for name in ordered[:patients]}
    return [row for row in kept if (row.collection, row.patient) in wanted]
