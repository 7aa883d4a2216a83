"""An archive that changes while it is scanned, disks that cannot be read or are full, scans and readers that die."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.encoding import calls
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.reading.index import database, entries, readers, scanning
from tests.faults.registry import Changed, Scene, Set, fault, holds, without

_LONG_AGO = 1_600_000_000
_INDEX = "dicom_ml.reading.index"


def _archive(scene: Scene, count: int = 2) -> Path:
    """Folders ``case0``, ``case1``, ... of two files, and an index beside them has never seen them."""
    root = scene.folder / "archive"
    for number in range(count):
        _case(root / f"case{number}", number)
    return root


def _case(folder: Path, seed: int) -> Path:
    array = np.random.default_rng(seed).integers(-1000, 400, (2, 8, 8)).astype(np.float32)
    write_ct_series(folder / "ct", array, axial_affine(array.shape, (2.5, 0.8, 0.8), (0, 0, 0)), f"scan {seed}")
    for path in folder.rglob("*"):
        os.utime(path, (_LONG_AGO, _LONG_AGO))
    return folder


def _scan(root: Path, **options: Any) -> dml.reading.index.Index:
    try:
        return dml.scan(root, root.parent / "archive.index", workers=1, **options)
    except Exception as error:
        holds(False, f"the scan ends with {type(error).__name__}: {error}")
        raise


def _found(index: dml.reading.index.Index) -> int:
    return index.counts()["instances"]


def _file(root: Path, number: int = 0) -> Path:
    return sorted((root / f"case{number}" / "ct").iterdir())[0]


def _descriptions(index: dml.reading.index.Index) -> set[str]:
    return {row["series_description"] for row in index.sql("SELECT series_description FROM series_parts")}


def _rewrite(path: Path, description: str) -> None:
    """Another content of the same size."""
    header = pydicom.dcmread(path)
    header.SeriesDescription = description.ljust(len(header.SeriesDescription))[: len(header.SeriesDescription)]
    before = path.stat().st_size
    header.save_as(path)
    assert path.stat().st_size == before


@contextmanager
def _patched(target: Any, name: str, value: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, value)
        yield


# ---------------------------------------------------------------------- changes under the scan
@fault(
    "files come while an archive is scanned",
    without("folders that changed are listed again", Set(f"{_INDEX}.scanning", "_ROUNDS", 1), seen="4 of 6"),
)
def arriving(scene: Scene) -> None:
    root, late = _archive(scene), _case(scene.folder / "late", 7)
    real, moved = scanning.read_entries, []

    def and_meanwhile(*given: Any) -> Iterator[Any]:
        for batch in real(*given):
            if not moved:
                moved.append(shutil.move(late, root / "case0" / "late"))
            yield batch

    with _patched(scanning, "read_entries", and_meanwhile), _scan(root) as index:
        holds(_found(index) == 6, f"{_found(index)} of 6 files were found")


@fault(
    "a file is written while it is read",
    without(
        "the file is looked at before and after",
        Changed(entries.read_entry, ("(before.st_size, changed_at(before)) != (entry.size, entry.changed)", "False")),
        seen="first version",
    ),
)
def written_while_read(scene: Scene) -> None:
    root = _archive(scene)
    real, written = entries.read_header, []

    def and_write(candidate: Any) -> Any:
        header = real(candidate)
        if not written:
            written.append(candidate.path)
            _rewrite(Path(candidate.path), "version 2")
            os.utime(candidate.path, (_LONG_AGO + 60, _LONG_AGO + 60))
        return header

    with _patched(entries, "read_header", and_write), _scan(root) as index:
        holds(any(text.startswith("version 2") for text in _descriptions(index)), "the index has the first version")


@fault(
    "a file changes twice within one tick of a coarse clock",
    without(
        "what is as young as a tick is read again",
        Set(f"{_INDEX}.scanning", "_STAMP_NS", -(10**18)),
        seen="first version",
    ),
)
def within_a_tick(scene: Scene) -> None:
    root = _archive(scene)
    path = _file(root)
    coarse = lambda status: status.st_mtime_ns // 10**10  # noqa: E731
    now = path.parent.parent.stat().st_ctime
    os.utime(path, (now, now))
    with _patched(entries, "changed_at", coarse), _patched(scanning, "changed_at", coarse):
        _scan(root).close()
        _rewrite(path, "version 2")
        os.utime(path, (now, now))
        with _scan(root) as index:
            holds(any(text.startswith("version 2") for text in _descriptions(index)), "the index has the first version")


@fault(
    "a file is replaced and keeps its time and size",
    without(
        "the time that nobody can set counts, too",
        Changed(entries.changed_at, ("(status.st_mtime_ns + status.st_ctime_ns)", "status.st_mtime_ns")),
        seen="first version",
    ),
)
def same_time(scene: Scene) -> None:
    _replaced(scene, _LONG_AGO)


@fault(
    "the clock is put back before a file is replaced",
    without(
        "another time means a change, be it older",
        Changed(
            scanning._Scan._changed,
            (
                "known.get(child.name) == (status.st_size, changed_at(status))",
                "known.get(child.name, (0, -3))[1] >= status.st_mtime_ns * 2",
            ),
        ),
        seen="first version",
    ),
)
def clock_put_back(scene: Scene) -> None:
    _replaced(scene, _LONG_AGO - 86400)


def _replaced(scene: Scene, when: int) -> None:
    root = _archive(scene)
    _scan(root).close()
    _rewrite(_file(root), "version 2")
    os.utime(_file(root), (when, when))
    with _scan(root) as index:
        holds(any(text.startswith("version 2") for text in _descriptions(index)), "the index has the first version")
        holds(index.last_scan["read"] == 1, f"{index.last_scan['read']} files were read again, one had changed")


# ---------------------------------------------------------------------- what cannot be read
@fault(
    "a folder cannot be listed for a while",
    without(
        "what lies below is not taken for gone",
        Changed(scanning._Scan.run, ("if self._is_below_closed(folder):", "if False:")),
        seen="2 of 4",
    ),
    without(
        "one folder does not end the scan",
        Changed(scanning._Scan._changed, ("except OSError as error:", "except ZeroDivisionError as error:")),
        seen="the scan ends",
    ),
)
def closed_folder(scene: Scene) -> None:
    root = _archive(scene)
    _scan(root).close()
    real = os.scandir

    def closed(path: Any) -> Any:
        if os.fspath(path).endswith("case1"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    with _patched(os, "scandir", closed), _scan(root) as index:
        holds(_found(index) == 4, f"the index knows {_found(index)} of 4 files that are there")
        problems = [row["problem"] for row in index.problems()]
        holds(len(problems) == 1 and "case1 cannot be read" in problems[0], f"it is not told: {problems}")
    with _scan(root) as index:
        holds(index.problems() == [] and _found(index) == 4, "it is still told of when all is well")


@fault(
    "a file cannot be read for a while",
    without(
        "the next scan tries again",
        Changed(entries._unreadable, ('entry.status, entry.changed = "broken", -2', 'entry.status = "other"')),
        Changed(entries.read_entry, ("return _unreadable(entry, error)", "_unreadable(entry, error)")),
        seen="3 of 4",
    ),
    without(
        "one file does not end the scan",
        Changed(
            entries.read_entry,
            ("except OSError as error:", "except ZeroDivisionError as error:"),
            ("except Exception as error:", "except ArithmeticError as error:"),
        ),
        seen="the scan ends",
    ),
)
def unreadable_file(scene: Scene) -> None:
    root = _archive(scene)
    real, victim = entries.read_header, str(_file(root))

    def bad(candidate: Any) -> Any:
        if candidate.path == victim:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(candidate)

    with _patched(entries, "read_header", bad), _scan(root) as index:
        holds(_found(index) == 3, f"{_found(index)} of the 3 good files were found")
    with _scan(root) as index:
        holds(_found(index) == 4 and index.problems() == [], f"{_found(index)} of 4 files are known when all is well")


@fault(
    "a file kills the process that reads it",
    without(
        "its batch is read again, file by file",
        Changed(readers._feed, ("for file in batch for entry", "for file in batch[:0] for entry")),
        seen="of 7",
    ),
)
def deadly_file(scene: Scene) -> None:
    root = _archive(scene, 4)
    deadly = (
        "import os, sys; sys.path[:] = sys.argv[1:]\n"
        "from dicom_ml.encoding.calls import main\n"
        "from dicom_ml.reading.index import readers\n"
        "real = readers.read_entry\n"
        "def read(root, folder, name):\n"
        "    if name.endswith('0001.dcm') and 'case1' in folder: os._exit(9)\n"
        "    return real(root, folder, name)\n"
        "readers.read_entry = read\n"
        "main()\n"
    )
    with _patched(readers, "_FEW", 3), _patched(readers, "_BATCH", 4), _patched(calls, "_PROGRAM", deadly):
        with dml.scan(root, workers=2) as index:
            holds(_found(index) == 7, f"{_found(index)} of 7 good files were found")
            holds("the process that read it died" in index.problems()[0]["problem"], "it is not told")


# ---------------------------------------------------------------------- a disk that is full, and kill -9
_PIECEMEAL = Changed(database.Database.__init__, ("timeout=60", "timeout=60, isolation_level=None"))


def _scan_and_die(root: Path, deadly: int, where: str) -> None:
    """Scan in batches of one file, and die at a call of a method of the database, before its last statement."""
    readers._BATCH = 1
    real, calls = getattr(database.Database, where), []

    def step(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == deadly and where == "_part":
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*given)
        if len(calls) == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(database.Database, where, staticmethod(step) if where == "_part" else step)
    dml.scan(root, root.parent / "archive.index", workers=1)


@fault(
    "kill -9 while a file is put into the index",
    without("what belongs together is one transaction", _PIECEMEAL, seen="3 of 4"),
)
def killed_within(scene: Scene) -> None:
    root = _archive(scene)
    holds(scene.apart(_scan_and_die, root, 3, "_part").killed, "it was to be killed")
    with _scan(root) as index:
        holds(_found(index) == 4, f"the next scan finds {_found(index)} of 4 files")


@fault(
    "kill -9 in the middle of a scan",
    without(
        "every batch lasts",
        Changed(database.Database.put, ("self.connection.commit()", "pass")),
        seen="begins anew",
    ),
)
def killed_between(scene: Scene) -> None:
    root = _archive(scene)
    holds(scene.apart(_scan_and_die, root, 3, "put").killed, "it was to be killed")
    with _scan(root) as index:
        holds(_found(index) == 4, f"the next scan finds {_found(index)} of 4 files")
        holds(index.last_scan == {"read": 1, "unchanged": 3, "removed": 0}, f"it begins anew: {index.last_scan}")


def _scan_kept(root: Path) -> None:
    dml.scan(root, root.parent / "archive.index", workers=1)


@fault(
    "an index that may not be written to",
    without(
        "what the database says becomes an error that tells the file",
        Changed(database.Database.writable, ("sqlite3.Error", "ZeroDivisionError")),
        seen="it is not told",
    ),
)
def index_read_only(scene: Scene) -> None:
    """Root may write everywhere, so that the test gives up its rights where it has them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        root = _archive(Scene(Path(name), scene.removal))
        _scan(root).close()
        path = root.parent / "archive.index"
        before = path.read_bytes()
        path.chmod(0o444)
        _rewrite(_file(root), "version 2")
        root.parent.chmod(0o555)
        ended = scene.apart(_scan_kept, root, as_nobody=True)
        root.parent.chmod(0o755)
        holds(path.read_bytes() == before, "the index is another")
        holds(re.search(f"^FileError.*{path}.*cannot be written", ended.error), f"it is not told, but: {ended.error}")


def _scan_in_ones(root: Path) -> None:
    readers._BATCH = 1
    dml.scan(root, root.parent / "archive.index", workers=1)


@fault(
    "disk full while the index grows",
    without(
        "a transaction is taken back whole",
        Changed(
            database.Database.__init__,
            ("timeout=60", "timeout=60, isolation_level=None"),
            ('execute("PRAGMA foreign_keys = ON")', 'execute("PRAGMA journal_mode = OFF")'),
        ),
        seen="files|cannot be|the scan ends",
    ),
)
def index_full(scene: Scene) -> None:
    root = _archive(scene, 24)
    shutil.copy(_file(root), root / "copy.dcm")
    _scan(root).close()
    size = (root.parent / "archive.index").stat().st_size
    (root.parent / "archive.index").unlink()
    ended = scene.apart(_scan_in_ones, root, limit=size - 8192)
    holds(ended.error.startswith("FileError") and "cannot be written" in ended.error, f"it is not told: {ended}")
    try:
        with dml.open_index(root.parent / "archive.index") as index:
            holds(index.sql("PRAGMA quick_check") == [{"quick_check": "ok"}], "the index cannot be used")
    except dml.FileError as error:
        holds(False, f"the index cannot be used: {error}")
    with _scan(root) as index:
        holds(_found(index) == 49, f"the next scan finds {_found(index)} of 49 files")
