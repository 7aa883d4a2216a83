"""A remote file that looks like a local one: ranges are fetched when they are first needed."""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections.abc import Iterable

import numpy as np

from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import StoreError
from dicom_ml.stores.base import ByteStore

__all__ = ["RemoteFile"]

_BLOCK = 1 << 16
#: Blocks that one request fetches at most; more go in several, at the same time.
_AT_ONCE = 64
_CONNECTIONS = 16


class RemoteFile:
    """A file of a store, mapped: what :meth:`need` has named is there, the rest is zeros.

    The bytes lie in a temporary file that has no name and as many blocks as were fetched.

    Parameters
    ----------
    store : ByteStore
    name : str
    size : int
        Of the whole file.

    Attributes
    ----------
    view : memoryview
        ``size`` bytes.
    """

    def __init__(self, store: ByteStore, name: str, size: int) -> None:
        self.store, self.name, self.size = store, name, size
        self._lock = threading.Lock()
        if size == 0:
            self.view = memoryview(b"")
            self._target = memoryview(bytearray())
        else:
            try:
                with tempfile.TemporaryFile(prefix="dicom-ml-") as handle:
                    handle.truncate(size)
                    mapped = mmap.mmap(handle.fileno(), size)
            except (OSError, ValueError, OverflowError) as error:
                raise StoreError(
                    f"{name} has {size} bytes, as its store says, for which there is no room here "
                    f"({getattr(error, 'strerror', None) or error}): the store errs, or the file is too large"
                ) from error
            self._target = memoryview(mapped)
            self.view = self._target.toreadonly()
        self._there = np.zeros(-(-size // _BLOCK), bool)

    def need(self, offset: int, length: int) -> memoryview:
        """Fetch a range where it is not there yet, and return it.

        Raises
        ------
        StoreError
            If it cannot be fetched, or the file is shorter than the store had said.
        """
        self.need_all([(offset, length)])
        return self.view[offset : offset + length]

    def need_all(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch several ranges, neighbours in one request, and requests at the same time."""
        wanted = np.zeros(len(self._there), bool)
        for offset, length in ranges:
            if length > 0:
                wanted[offset // _BLOCK : -(-min(offset + length, self.size) // _BLOCK)] = True
        missing = np.flatnonzero(wanted & ~self._there)
        if not missing.size:
            return
        cuts = np.flatnonzero(np.diff(missing) > 1) + 1
        runs = []
        for run in np.split(missing, cuts):
            runs += [(int(part[0]), int(part[-1]) + 1) for part in np.split(run, range(_AT_ONCE, run.size, _AT_ONCE))]
        parallel_for(lambda number: self._fetch(*runs[number]), range(len(runs)), min(_CONNECTIONS, len(runs)))

    def _fetch(self, first: int, last: int) -> None:
        start, end = first * _BLOCK, min(last * _BLOCK, self.size)
        content = self.store.read(self.name, start, end - start)
        if len(content) != end - start:
            raise StoreError(
                f"{self.name}: {end - start} bytes at {start} were asked for and {len(content)} came: the file has "
                "changed since it was listed, or the store answers only in part"
            )
        with self._lock:
            self._target[start:end] = content
            self._there[first:last] = True

    @property
    def fetched(self) -> int:
        """Bytes that were fetched so far, in whole blocks."""
        return int(self._there.sum()) * _BLOCK
