"""Candidate files that lie in an object store or on a DICOMweb server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pydicom

from dicom_ml.errors import StoreError
from dicom_ml.reading.files import HEAD_BYTES, Candidate, encode_dataset
from dicom_ml.stores.addresses import kind_of, printable
from dicom_ml.stores.base import ByteStore
from dicom_ml.stores.dicomweb import open_dicomweb, parse_resource
from dicom_ml.stores.opening import open_store

__all__ = ["remote_candidates"]

_CONNECTIONS = 8


@dataclass(frozen=True)
class StoredCandidate(Candidate):
    """A file of an object store, of which only what is needed is read."""

    store: ByteStore | None = field(default=None, repr=False)
    key: str = ""
    size: int = 0

    def head(self, size: int = HEAD_BYTES) -> tuple[bytes, int]:
        """First ``size`` bytes, and the length of the whole file."""
        assert self.store is not None
        return self.store.read(self.key, 0, min(size, self.size)), self.size

    def read(self) -> bytes:
        """Whole content."""
        assert self.store is not None
        content = self.store.read(self.key)
        if len(content) != self.size:
            raise StoreError(f"{self.name} came with {len(content)} bytes of {self.size}")
        return content

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` and say how many bytes there were."""
        assert self.store is not None
        content = self.store.read(self.key, offset, min(len(buffer), max(self.size - offset, 0)))
        buffer[: len(content)] = content
        return len(content)


def remote_candidates(address: str) -> list[Candidate]:
    """Files that an address names.

    Raises
    ------
    StoreError
        If the store cannot be reached or holds nothing there.
    """
    if kind_of(address) == "dicomweb":
        return _of_dicomweb(address)
    store = open_store(address)
    found: list[Candidate] = [
        StoredCandidate(f"{printable(address).rstrip('/')}/{file.name}", None, None, store, file.name, file.size)
        for file in store.list()
        if file.name.rsplit("/", 1)[-1].upper() != "DICOMDIR"
    ]
    if not found:
        raise StoreError(f"{printable(address)} holds no file")
    return found


def _of_dicomweb(address: str) -> list[Candidate]:
    named = parse_resource(address)
    if not named.study:
        raise StoreError(f"{printable(address)} names no study; expected .../studies/UID/series/UID")
    server = open_dicomweb(named.root)
    rows = [
        row for row in server.instances(named.study, named.series) if not named.instance or row[2] == named.instance
    ]

    def one(row: tuple[str, str, str]) -> Candidate:
        dataset: pydicom.Dataset = server.instance(named.study, row[0], row[2])
        return Candidate(f"instance {row[2]}", data=encode_dataset(dataset, row[2]))

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return list(pool.map(one, rows))
