"""Reading many files' entries, in this process or in several."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from dicom_ml.encoding.calls import CallProcess, ProcessEnded
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
            yield _read(root, batch)
        return
    yield from _by_processes(root, _batches(chain(first, stream)), workers)


def _read(root: str, files: list[File]) -> list[Entry]:
    return [read_entry(root, *file) for file in files]


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
    process = CallProcess()
    try:
        while (batch := todo.get()) is not None:
            try:
                entries = process.call(_read, root, batch)
            except ProcessEnded:  # find the file that it died of, one at a time
                entries = [entry for file in batch for entry in _alone(process, root, file)]
            done.put(entries)
    except Exception as error:
        done.put(error)
    finally:
        process.close()


def _alone(process: CallProcess, root: str, file: File) -> list[Entry]:
    try:
        return process.call(_read, root, [file])
    except ProcessEnded:
        return [_fatal(*file)]


def _fatal(folder: str, name: str) -> Entry:
    # no true time is kept, so that the next scan tries again
    return Entry(folder, name, changed=-2, status="broken", problem=f"{folder}/{name}: the process that read it died")
