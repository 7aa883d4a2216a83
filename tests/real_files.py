"""What the real files are, read once a session for all tables that have to name every file of a kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom

_TAGS = ["Modality", "SOPClassUID", "SeriesInstanceUID"]


@dataclass(frozen=True)
class Head:
    """What pydicom says of a file that it can read; ``part10`` where it begins as a DICOM file does (PS3.10 7.1)."""

    path: Path
    part10: bool
    modality: str
    sop_class: str
    series: str


def heads(folder: Path) -> list[Head]:
    """Heads of all files below a folder that pydicom reads, by force where they have no preamble."""
    found = (_head(path, status.st_size, status.st_mtime_ns) for path, status in _files(folder))
    return [head for head in found if head is not None]


def named(folder: Path, wanted: Callable[[Head], bool], *, forced: bool = False) -> set[str]:
    """Names, from the folder on, of the files that are wanted; ``forced`` takes those without a preamble, too."""
    return {str(h.path.relative_to(folder)) for h in heads(folder) if (forced or h.part10) and wanted(h)}


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]


@cache
def _head(path: Path, size: int, changed: int) -> Head | None:
    with open(path, "rb") as file:
        part10 = file.read(132)[128:] == b"DICM"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            return Head(path, part10, *(str(ds.get(keyword) or "") for keyword in _TAGS))
    except Exception:  # broken on purpose
        return None
