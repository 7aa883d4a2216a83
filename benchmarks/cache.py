"""Generated data sets, made once a size and kept in a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.registry import Size


def default_folder() -> Path:
    """``DICOM_ML_BENCHMARK_CACHE``, or a folder in the user's cache."""
    named = os.environ.get("DICOM_ML_BENCHMARK_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dicom_ml" / "benchmarks"


@dataclass(frozen=True)
class DataSet:
    """A named generator: ``build(folder, size, cache)`` fills the folder and returns its ``info.json``."""

    name: str
    version: int
    build: Callable[[Path, Size, Cache], dict[str, Any]]


DATASETS: dict[str, DataSet] = {}


def dataset(name: str, version: int = 1) -> Callable[[Callable[[Path, Size, Cache], dict[str, Any]]], DataSet]:
    """Register a generator. Raise ``version`` whenever what it makes changes, so that old folders are left alone."""

    def add(build: Callable[[Path, Size, Cache], dict[str, Any]]) -> DataSet:
        made = DataSet(name, version, build)
        if name in DATASETS:
            raise ValueError(f"two data sets are named {name!r}")
        DATASETS[name] = made
        return made

    return add


class Cache:
    """The folder of generated data sets; :meth:`get` makes what is not there yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, size: Size) -> Path:
        made = DATASETS[name]
        folder = self.root / str(size) / f"{name}-v{made.version}"
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            info = made.build(unfinished, size, self)
            (unfinished / "info.json").write_text(json.dumps(info))
            # Whole or not at all; when two runs make the same data, the first to finish wins.
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        print(f"made {name} {size} in {time.monotonic() - start:.1f} s", file=sys.stderr)
        return folder

    @staticmethod
    def read_through(folder: Path) -> int:
        """Read every file once, so that no run pays for the disk; return the bytes read."""
        total = 0
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    while chunk := file.read(1 << 24):
                        total += len(chunk)
        return total
