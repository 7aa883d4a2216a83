"""From what a user names (folder, zip, list, bytes) to the candidate files that may hold images."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pydicom

from dicom_ml.encoding.unpacking import GZIP_MAGIC, ZIP_MAGIC, gunzip, opened_zip, read_member, zip_members
from dicom_ml.encoding.untrusted import reason_of
from dicom_ml.errors import FileError
from dicom_ml.stores import is_address, kind_of, local_path

__all__ = ["HEAD_BYTES", "Candidate", "ReadableSource", "encode_dataset", "expand", "fill"]

#: What :func:`dicom_ml.read_volume` takes as its source.
ReadableSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | pydicom.Dataset | Iterable[str | os.PathLike[str] | bytes | pydicom.Dataset]"
)

# Enough for the header of nearly every single-frame image, in one read.
HEAD_BYTES = 16 * 1024
_seeking = threading.Lock()


@dataclass(frozen=True)
class Candidate:
    """A file that may be DICOM: a path on disk, or bytes in memory (a zip member, a data set).

    Attributes
    ----------
    name : str
        How messages call it.
    path : str or None
        Where it lies; None when it is held in memory.
    data : bytes or None
        Its content when it is held in memory.
    """

    name: str
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)

    def head(self, size: int = HEAD_BYTES) -> tuple[bytes, int]:
        """First ``size`` bytes, and the length of the whole file."""
        if self.data is not None:
            return self.data, len(self.data)
        assert self.path is not None
        try:
            handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                return os.read(handle, size), os.fstat(handle).st_size
            finally:
                os.close(handle)
        except OSError as error:
            raise FileError(f"{self.name} cannot be read: {error.strerror}") from error

    def read(self) -> bytes:
        """Whole content."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        try:
            with open(self.path, "rb") as handle:
                return handle.read()
        except OSError as error:
            raise FileError(f"{self.name} cannot be read: {error.strerror}") from error

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` and say how many bytes there were."""
        if self.data is not None:
            part = self.data[offset : offset + len(buffer)]
            buffer[: len(part)] = part
            return len(part)
        assert self.path is not None
        try:
            handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                return fill(handle, offset, buffer)
            finally:
                os.close(handle)
        except OSError as error:
            raise FileError(f"{self.name} cannot be read: {error.strerror}") from error


def fill(handle: int, offset: int, buffer: memoryview) -> int:
    """Fill ``buffer`` from ``offset`` of an open file, from any thread, and say how many bytes there were."""
    done = 0
    while done < len(buffer):
        if hasattr(os, "preadv"):
            count = os.preadv(handle, [buffer[done:]], offset + done)
        else:  # pragma: no cover - Windows
            with _seeking:
                os.lseek(handle, offset + done, os.SEEK_SET)
                part = os.read(handle, len(buffer) - done)
            count = len(part)
            buffer[done : done + count] = part
        if not count:
            break
        done += count
    return done


def expand(source: Any) -> list[Candidate]:
    """Files that ``source`` names, in a stable order.

    Parameters
    ----------
    source : path, bytes, pydicom Dataset, or an iterable of these
        A folder is walked with its subfolders, following no links to folders; hidden files and ``DICOMDIR`` are
        left out. A zip file gives its members, read into memory; a file packed by gzip is unpacked. An address names
        a DICOMweb study or series, or a prefix of an object store.

    Returns
    -------
    list of Candidate

    Raises
    ------
    FileError
        If a path does not exist, or a zip cannot be unpacked.
    """
    if isinstance(source, (str, os.PathLike)):
        return _expand_path(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return [Candidate("<bytes>", data=bytes(source))]
    rows = getattr(source, "files", None)  # of a series in an index
    if isinstance(rows, tuple):
        return expand(list(rows))
    if isinstance(source, pydicom.Dataset):
        return [Candidate(_dataset_name(source), data=encode_dataset(source, _dataset_name(source)))]
    if not isinstance(source, Iterable):
        raise FileError(
            f"cannot read a volume from {type(source).__name__}: give a folder, a file, a zip, a list of files, "
            "bytes or pydicom data sets"
        )
    candidates: list[Candidate] = []
    for number, item in enumerate(source):
        found = expand(item)
        if isinstance(item, (bytes, bytearray, memoryview)):
            found = [Candidate(f"<bytes {number}>", data=found[0].data)]
        candidates += found
    return candidates


def _expand_path(path: str) -> list[Candidate]:
    if is_address(path):
        if kind_of(path) == "file":
            return _expand_path(local_path(path))
        from dicom_ml.reading.remote import remote_candidates

        return remote_candidates(path)
    if os.path.isdir(path):
        return list(_walk(path))
    if not os.path.exists(path):
        raise FileError(f"{path} does not exist")
    magic = b"" if path.lower().endswith(".dcm") else _first_bytes(path)
    if magic == ZIP_MAGIC:
        return _unzip(path)
    if magic[:2] == GZIP_MAGIC:
        return [Candidate(path, data=gunzip(path))]
    return [Candidate(path, path)]


def _walk(folder: str) -> Iterable[Candidate]:
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise FileError(f"the folder {folder} cannot be read: {error.strerror}") from error
    for entry in children:
        if entry.name.startswith(".") or entry.name.upper() == "DICOMDIR":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.is_file():
            yield Candidate(entry.path, entry.path)


def _first_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(4)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error


def _unzip(path: str) -> list[Candidate]:
    with opened_zip(path) as archive:
        return [
            Candidate(f"{path}:{info.filename}", data=read_member(archive, info)) for info in zip_members(archive, path)
        ]


def _dataset_name(dataset: pydicom.Dataset) -> str:
    return str(getattr(dataset, "filename", None) or "<data set>")


def encode_dataset(dataset: pydicom.Dataset, name: str) -> bytes:
    """Bytes of a data set in memory, so that every later step has one kind of input."""
    buffer = io.BytesIO()
    try:
        pydicom.dcmwrite(buffer, dataset, enforce_file_format="TransferSyntaxUID" in getattr(dataset, "file_meta", {}))
    except Exception as error:
        raise FileError(f"{name} cannot be encoded: {reason_of(error)}") from error
    return buffer.getvalue()
