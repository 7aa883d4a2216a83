"""What a row of the table is, and the registry that finds the rows.

A new row is one new file in ``benchmarks/rows`` that calls :func:`register`; no list has to be edited.
This module and the row modules are imported by the worker processes too, some of which run in the
environment of a peer: they import nothing but the standard library and numpy until a competitor is prepared.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

FLOOR = "floor"
OURS = "dicom_ml"


class WrongResult(Exception):
    """What a competitor returned or wrote is not the truth of the generator."""


@dataclass(frozen=True)
class Size:
    """The shape (slices, rows, columns) that the data of a run have."""

    slices: int
    rows: int
    columns: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``full``, ``medium``, ``quick``, ``tiny`` or ``SLICESxROWSxCOLUMNS``."""
        if text in NAMED_SIZES:
            return NAMED_SIZES[text]
        try:
            size = cls(*(int(part) for part in text.lower().split("x")))
        except (TypeError, ValueError):
            raise ValueError(
                f"size {text!r} is neither one of {', '.join(NAMED_SIZES)} nor SLICESxROWSxCOLUMNS"
            ) from None
        if size.slices < 4 or min(size.rows, size.columns) < 32 or size.columns % 8 or size.rows % 8:
            raise ValueError(f"size {text!r}: at least 4 slices and 32 x 32 pixels in multiples of 8 are needed")
        return size

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.slices, self.rows, self.columns

    @property
    def voxels(self) -> int:
        return self.slices * self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.slices}x{self.rows}x{self.columns}"


NAMED_SIZES = {
    "full": Size(300, 512, 512),
    "medium": Size(120, 256, 256),
    "quick": Size(40, 128, 128),
    "tiny": Size(16, 64, 64),
}
WARM_UP_SIZE = NAMED_SIZES["tiny"]


@dataclass(frozen=True)
class Case:
    """The data of one run: the folder of each data set, and where to write if the row writes."""

    size: Size
    folders: Mapping[str, Path]
    output: Path

    def path(self, dataset: str, *names: str) -> Path:
        return self.folders[dataset].joinpath(*names)

    def info(self, dataset: str) -> dict[str, Any]:
        return json.loads(self.path(dataset, "info.json").read_text())

    def array(self, dataset: str, name: str, *, mapped: bool = False) -> np.ndarray:
        return np.load(self.path(dataset, name), mmap_mode="r" if mapped else None)

    def to_json(self) -> dict[str, Any]:
        folders = {name: str(folder) for name, folder in self.folders.items()}
        return {"size": str(self.size), "folders": folders, "output": str(self.output)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Case:
        folders = {name: Path(folder) for name, folder in record["folders"].items()}
        return cls(Size.parse(record["size"]), folders, Path(record["output"]))


Job = Callable[[], Any]
Check = Callable[[Case, Any], None]


@dataclass(frozen=True)
class Competitor:
    """One way to do the job of a row.

    ``prepare`` loads the inputs and returns the job; only the job is timed. ``modules`` are imported before,
    ``executables`` must be found on the path or beside the interpreter; a competitor without them is reported
    as not installed. ``view`` turns the job's result into what the row's check expects, outside the timed
    region, so it must not do work that belongs to the job. ``check`` replaces the row's check (a floor writes
    no DICOM file).
    """

    name: str
    prepare: Callable[[Case], Job]
    modules: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    view: Callable[[Any], Any] | None = None
    check: Check | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One job, with the data it needs, everyone who does it, and how to tell that it was done.

    ``check`` raises :class:`WrongResult`. Where the row ``writes``, it looks at ``case.output`` in a process of
    the harness's own interpreter; otherwise it looks at the job's result in the worker. ``compare`` says which
    time the goal is about; a goal is a ratio to the floor, or ``goal_unit`` says that it is in seconds.
    """

    name: str
    title: str
    floor_text: str
    competitors: tuple[Competitor, ...]
    datasets: tuple[str, ...] = ()
    check: Check | None = None
    writes: bool = False
    compare: str = "wall"
    goal: float | None = None
    goal_text: str = ""
    goal_unit: str = "ratio"
    warm_up: bool = True
    note: str = ""
    #: Bytes of the array that a path reads or writes, which its memory is held against.
    array: Callable[[Case], int] | None = None
    #: Whether a turn takes long: it is repeated only while there is time.
    long: bool = False
    #: Whether runs are forks of a process that has imported its packages: where they take longer than the job.
    forked: bool = False
    most_runs: int | None = None
    #: Whether the row is part of the table; others are measured where they are named, or for a chart of growth.
    listed: bool = True

    def competitor(self, name: str) -> Competitor:
        return next(competitor for competitor in self.competitors if competitor.name == name)

    def limited_to(self, names: Set[str]) -> Row:
        """The same row with fewer competitors."""
        kept = tuple(competitor for competitor in self.competitors if competitor.name in names)
        return replace(self, competitors=kept)


ROWS: dict[str, Row] = {}


def register(row: Row) -> Row:
    """Add a row to the table; the table shows rows in the order of their modules' names and of this call."""
    if row.name in ROWS:
        raise ValueError(f"two rows are named {row.name!r}")
    ROWS[row.name] = row
    return row


def load_rows() -> dict[str, Row]:
    """Import every module of ``benchmarks.rows`` and return the rows they registered."""
    from benchmarks import rows

    for module in sorted(info.name for info in pkgutil.iter_modules(rows.__path__)):
        importlib.import_module(f"benchmarks.rows.{module}")
    return ROWS
