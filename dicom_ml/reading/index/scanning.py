"""Walking an archive and bringing its index up to date."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from dicom_ml.errors import FileError
from dicom_ml.reading.index.database import Database
from dicom_ml.reading.index.entries import Entry, changed_at
from dicom_ml.reading.index.index import Index
from dicom_ml.reading.index.readers import File, read_entries

__all__ = ["scan"]

#: A change within this time of the look may be followed by another that leaves the same time stamp.
_STAMP_NS = 2_000_000_000
#: How often folders and files that change under the scan are looked at again.
_ROUNDS = 4
_MOST_WORKERS = 8
_GONE, _UNKNOWN = -1, -2
_SIDE_FILES = ("", "-journal", "-wal", "-shm")


def scan(
    folder: str | os.PathLike[str],
    index: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> Index:
    """Index an archive: its patients, studies, series and instances, and what refers to what.

    Headers are read, pixels are not. With ``index``, the next scan reads only files that are new or have changed and
    forgets those that are gone; a scan that was killed goes on where it was. A file that cannot be read is listed by
    :meth:`Index.problems`, and the rest goes on. Folders and files that change meanwhile are looked at again.

    Parameters
    ----------
    folder : path
        Walked with its subfolders. Hidden files and folders and DICOMDIR are left out, links to folders are not
        followed. Zip and gzip files that hold DICOM are not looked through: :meth:`Index.problems` names them.
    index : path, optional
        The index file (SQLite); by default it is kept in memory only.
    workers : int, optional
        Processes that read headers; by default one a core, 8 at most, and none for few files.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Index

    Raises
    ------
    FileError
        If the folder does not exist, or the index file is something else or belongs to another folder.

    Examples
    --------
    >>> index = scan("archive/", "archive.index")  # doctest: +SKIP
    >>> for row in index.series(modality="CT"):  # doctest: +SKIP
    ...     volume = read_volume(row)
    """
    root = os.path.abspath(os.fspath(folder))
    if not os.path.isdir(root):
        raise FileError(f"{root} is no folder that can be scanned")
    path = ":memory:" if index is None else os.path.abspath(os.fspath(index))
    database = Database(path, create=True)
    before = database.fact("root")
    if before is not None and before != root:
        database.close()
        raise FileError(f"{path} is the index of {before}, not of {root}; give each archive its own index file")
    if workers is None:
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    found = Index(database, root)
    with database.writable(), _bar(progress) as bar:
        database.keep("root", root)
        found.last_scan = _Scan(root, path, database, bar).run(workers)
        database.tidy()
    return found


class _Scan:
    """One pass over an archive, and further ones over what changed under it."""

    def __init__(self, root: str, index: str, database: Database, bar: Any) -> None:
        self.root, self.database, self.bar = root, database, bar
        self._own = {index + ending for ending in _SIDE_FILES}
        self._known = database.folders()
        #: Folders seen, with the time of their last change as it was when they were listed.
        self._stamps: dict[str, int] = {}
        #: Folders that could not be listed: nobody knows what has become of those below them.
        self._closed: set[str] = set()
        self.numbers = {"read": 0, "unchanged": 0, "removed": 0}

    def run(self, workers: int) -> dict[str, int]:
        todo = ["."]
        for _ in range(_ROUNDS):
            self._pass(todo, workers)
            todo = [folder for folder, stamp in self._stamps.items() if self._stamp(folder) != stamp]
            if not todo:
                break
        for folder in self._known - self._stamps.keys():
            if self._is_below_closed(folder):
                continue
            self.numbers["removed"] += self.database.forget_folder(folder)
        return self.numbers

    def _is_below_closed(self, folder: str) -> bool:
        return any(shut in (".", folder) or folder.startswith(shut + os.sep) for shut in self._closed)

    def _pass(self, folders: list[str], workers: int) -> None:
        unsteady: list[File] = []
        for entries in read_entries(self.root, self._changed(folders), workers):
            settled = time.time_ns() - _STAMP_NS
            for entry in entries:
                if entry.changed == -1 and entry.status != "gone":
                    unsteady.append((entry.folder, entry.name))
                elif entry.modified > settled:
                    entry.changed = -1  # so that the next scan reads it again
            self._put(entries)
        for entries in read_entries(self.root, unsteady, 1):
            self._put(entries)

    def _put(self, entries: list[Entry]) -> None:
        self.database.put(entries)
        self.numbers["read"] += len(entries)
        self.bar.update(len(entries))

    def _stamp(self, folder: str) -> int:
        try:
            return os.stat(os.path.join(self.root, folder)).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return _GONE
        except OSError:
            return _UNKNOWN

    def _changed(self, folders: list[str]) -> Iterator[File]:
        """Files that are new or have changed, of folders and those below them that were not seen yet."""
        stack = list(reversed(folders))
        while stack:
            folder = stack.pop()
            stamp = self._stamp(folder)
            try:
                with os.scandir(os.path.join(self.root, folder)) as entries:
                    children = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if self._stamp(folder) == _GONE:  # gone since its parent was listed
                    self._stamps.pop(folder, None)
                    continue
                problem = f"the folder {folder} cannot be read: {error.strerror}"
                self.database.put([Entry(folder, ".", status="broken", problem=problem)])
                self._stamps[folder] = stamp
                self._closed.add(folder)
                continue
            self._closed.discard(folder)
            self._stamps[folder] = stamp
            known = self.database.files_of(folder) if folder in self._known else {}
            self._known.add(folder)
            there: set[str] = set()
            below: list[str] = []
            for child in children:
                if (
                    child.name.startswith(".")
                    or child.name.upper() == "DICOMDIR"
                    or os.path.normpath(child.path) in self._own
                ):
                    continue
                if child.is_dir(follow_symlinks=False):
                    inner = os.path.normpath(os.path.join(folder, child.name))
                    if inner not in self._stamps:
                        below.append(inner)
                    continue
                try:
                    if not child.is_file():
                        continue
                    status = child.stat()
                except FileNotFoundError:
                    continue
                except OSError:
                    there.add(child.name)  # it is there, and cannot be looked at now
                    continue
                there.add(child.name)
                if known.get(child.name) == (status.st_size, changed_at(status)):
                    self.numbers["unchanged"] += 1
                else:
                    yield folder, child.name
            stack += reversed(below)
            vanished = known.keys() - there
            if vanished:
                self.database.forget(folder, vanished)
                self.numbers["removed"] += len(vanished)


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, number: int) -> None:
        pass


def _bar(progress: bool) -> Any:
    if not progress:
        return _NoBar()
    from tqdm import tqdm

    return tqdm(desc="Reading headers", unit="file", leave=False)
