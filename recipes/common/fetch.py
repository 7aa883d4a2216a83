"""Bringing the series of a manifest here: from IDC's public buckets, or from a folder laid out as they are.

A series is one folder of the store, named by a UUID, and becomes one folder here, named by its Series Instance UID.
It takes that name when all is there and was checked; so what has its name is complete, and a stopped fetch goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from dicom_ml.errors import FileError, MissingPackageError
from recipes.common.manifest import Row
from recipes.common.run import Run

__all__ = ["Fetched", "IDCStore", "LocalStore", "SeriesStore", "fetch_series", "store_of"]

#: Bytes by which a series may differ from what the index says: its sizes are rounded.
_SLACK = 1000


class SeriesStore(Protocol):
    """Where series lie."""

    def get(self, row: Row, folder: Path) -> None:
        """Copy all files of a series into a folder."""


class LocalStore:
    """A folder that is laid out as a bucket is: a subfolder for each series.

    Parameters
    ----------
    root : path, optional
        It stands for the bucket in ``s3://bucket/uuid/*``: files are ``root/uuid/*``. Rows with ``file:`` URLs name
        their folder themselves.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = None if root is None else Path(root)

    def get(self, row: Row, folder: Path) -> None:
        """Copy all files of a series; on one file system they are linked, which costs no space."""
        source = self._folder(row.url)
        if not source.is_dir():
            raise FileError(f"the store has no folder for series {row.series}")
        for path in sorted(source.iterdir()):
            target = folder / path.name
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)

    def _folder(self, url: str) -> Path:
        parts = urlsplit(url.removesuffix("/*"))
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        if self.root is None:
            raise FileError(f"a local store without a root has file: URLs only, found {parts.scheme}:")
        return self.root / parts.path.strip("/")


class IDCStore:
    """The public buckets of the Imaging Data Commons, through the package ``idc-index``."""

    def __init__(self) -> None:
        try:
            from idc_index import IDCClient
        except ImportError as error:
            raise MissingPackageError("fetching from IDC needs its client: pip install idc-index") from error
        self._client = IDCClient()

    def get(self, row: Row, folder: Path) -> None:
        """Download all files of a series; those that are there are not downloaded again."""
        try:
            self._client.download_dicom_series(
                seriesInstanceUID=row.series, downloadDir=str(folder), dirTemplate=None, quiet=True, use_s5cmd_sync=True
            )
        except Exception as error:
            raise FileError(f"the client of IDC could not fetch series {row.series}: {type(error).__name__}") from error


def store_of(run: Run) -> SeriesStore:
    """Where the series come from: the folder that the settings name, the stand-in's own, or IDC."""
    named = run.setting("recipe.fetch.store", None)
    if named is not None:
        return LocalStore(named)
    return IDCStore() if run.data == "idc" else LocalStore(run.path("cohort", "store"))


@dataclass(frozen=True)
class Fetched:
    """What became of a series.

    Attributes
    ----------
    row : Row
    folder : path
    new : bool
        Whether it was fetched now.
    problem : str
        Why it is not there; empty where it is.
    """

    row: Row
    folder: Path
    new: bool = False
    problem: str = ""


def fetch_series(
    rows: Iterable[Row],
    store: SeriesStore,
    target: Path,
    *,
    workers: int = 4,
    progress: Callable[[Fetched], None] | None = None,
) -> list[Fetched]:
    """Fetch series, each whole or not at all.

    Parameters
    ----------
    rows : iterable of Row
    store : SeriesStore
    target : path
        Gets a folder for each series, named by its Series Instance UID.
    workers : int
        Series that are fetched at the same time.
    progress : callable, optional
        Told of each.

    Returns
    -------
    list of Fetched
        In the order of the rows; a series that could not be fetched, or is not what the manifest says, has a problem.
    """
    target.mkdir(parents=True, exist_ok=True)
    found = []
    wanted = list(rows)
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="fetch") as pool:
        coming = pool.map(lambda row: _fetch(row, store, target), wanted)
        for one in tqdm(coming, total=len(wanted), unit="series", desc="fetch", disable=None):
            found.append(one)
            if progress is not None:
                progress(one)
    return found


def _fetch(row: Row, store: SeriesStore, target: Path) -> Fetched:
    final = target / row.series
    if final.is_dir():
        wrong = check_series(row, final)
        if not wrong:
            return Fetched(row, final)
        shutil.rmtree(final)
    partial = target / f".{row.series}.part"
    partial.mkdir(exist_ok=True)
    try:
        store.get(row, partial)
    except (FileError, OSError) as error:
        return Fetched(row, final, problem=f"not fetched: {type(error).__name__}")
    wrong = check_series(row, partial)
    if wrong:
        # a client that goes on from what is there would never mend it
        shutil.rmtree(partial)
        return Fetched(row, final, problem=wrong)
    os.replace(partial, final)
    return Fetched(row, final, new=True)


def check_series(row: Row, folder: Path) -> str:
    """What is wrong with a series that was fetched; empty where nothing is.

    The number of files and their size have to be the manifest's, and each file has to be of this series.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if row.instances and len(files) != row.instances:
        return f"it has {len(files)} files, the manifest says {row.instances}"
    size = sum(path.stat().st_size for path in files)
    if row.size and abs(size - row.size) > _SLACK * max(1, len(files)):
        return f"it has {size} bytes, the manifest says {row.size}"
    strangers = sum(uid != row.series for uid in _series_of(files))
    return f"{strangers} of its files are of another series, or no DICOM" if strangers else ""


def _series_of(files: Iterable[Path]) -> Iterator[str]:
    import pydicom

    for path in files:
        try:
            head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            yield str(head.get("SeriesInstanceUID", ""))
        except Exception:
            yield ""
