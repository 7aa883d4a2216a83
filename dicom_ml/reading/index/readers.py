"""Reading many files' entries, in this process or in several."""

from __future__ import annotations

import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from dicom_ml.reading.index.entries import Entry, read_entry

__all__ = ["read_entries"]

#: Files that go to a process at a time, and that are read here before others are started.
_BATCH = 250
_FEW = 1500

File = tuple[str, str]


def read_entries(root: str, files: Iterable[File], workers: int) -> Iterator[list[Entry]]:
    """Entries of files, in batches, in any order.

    Parameters
    ----------
    root : str
    files : iterable of (folder, name)
        Taken as they are needed.
    workers : int
        Processes. With one, or few files, all is done here.
    """
    stream = iter(files)
    first = list(islice(stream, _FEW))
    if workers < 2 or len(first) < _FEW:
        for batch in _batches(chain(first, stream)):
            yield [read_entry(root, *file) for file in batch]
        return
    yield from _by_processes(root, _batches(chain(first, stream)), workers)


def _batches(files: Iterator[File]) -> Iterator[list[File]]:
    while batch := list(islice(files, _BATCH)):
        yield batch


def _by_processes(root: str, batches: Iterator[list[File]], workers: int) -> Iterator[list[Entry]]:
    todo: queue.Queue[list[File] | None] = queue.Queue()
    done: queue.Queue[list[Entry] | Exception] = queue.Queue()
    threads = [threading.Thread(target=_feed, args=(root, todo, done), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    under_way = 0
    try:
        for batch in batches:
            todo.put(batch)
            under_way += 1
            if under_way >= 2 * workers:
                yield _taken(done)
                under_way -= 1
        for _ in range(under_way):
            yield _taken(done)
    finally:
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


def _taken(done: queue.Queue[list[Entry] | Exception]) -> list[Entry]:
    entries = done.get()
    if isinstance(entries, Exception):
        raise entries
    return entries


def _feed(root: str, todo: queue.Queue[list[File] | None], done: queue.Queue[list[Entry] | Exception]) -> None:
    process: subprocess.Popen[bytes] | None = None
    try:
        while (batch := todo.get()) is not None:
            if process is None or process.poll() is not None:
                process = _start(root)
            entries = _ask(process, batch)
            if entries is None:  # the process died: find the file that it died of, one at a time
                entries = []
                for file in batch:
                    if process.poll() is not None:
                        process = _start(root)
                    entries += _ask(process, [file]) or [_fatal(*file)]
            done.put(entries)
    except Exception as error:
        done.put(error)
    finally:
        if process is not None:
            _stop(process)


def _start(root: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    pickle.dump(root, process.stdin)
    return process


# as this process finds modules, so does the other
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from dicom_ml.reading.index.worker import main; main()"


def _ask(process: subprocess.Popen[bytes], files: list[File]) -> list[Entry] | None:
    assert process.stdin is not None and process.stdout is not None
    try:
        pickle.dump(files, process.stdin)
        process.stdin.flush()
        entries: list[Entry] = pickle.load(process.stdout)
        return entries
    except (OSError, EOFError, pickle.UnpicklingError):
        process.kill()
        process.wait()
        return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.close()
    except OSError:
        pass
    process.stdout.close()
    process.wait()


def _fatal(folder: str, name: str) -> Entry:
    # no true time is kept, so that the next scan tries again
    return Entry(folder, name, changed=-2, status="broken", problem=f"{folder}/{name}: the process that read it died")
