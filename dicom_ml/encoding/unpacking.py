"""Zip and gzip files that may be bombs: what they announce is checked before, and what comes out while it comes."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_ml.encoding.limits import MEMBERS, UNPACKED, most_unpacked
from dicom_ml.errors import FileError

__all__ = ["GZIP_MAGIC", "ZIP_MAGIC", "gunzip", "opened_zip", "read_member", "zip_members"]

#: What zipfile and the decompressors raise on archives that are damaged, encrypted, or packed by other methods.
_DAMAGED = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError, ValueError, EOFError, zlib.error,
    MemoryError,
)  # fmt: skip
#: What zip and gzip files begin with.
ZIP_MAGIC, GZIP_MAGIC = b"PK\x03\x04", b"\x1f\x8b"
_END, _END_64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_SIZE, _END_64_SIZE, _LOCATOR_SIZE = 22, 56, 20
_LONGEST_COMMENT = 65535
#: What an entry of the directory begins with, and bytes that it has with a very long name.
_ENTRY, _LONGEST_ENTRY = b"PK\x01\x02", 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_CHUNK, _LEAST_CHUNK = 1 << 22, 1 << 12


@contextmanager
def opened_zip(path: str) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory is no larger than the limit; whatever is wrong with it is one error.

    Raises
    ------
    FileError
        If it is no zip, has too many members, or, in the body, cannot be unpacked.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGED as error:
        raise FileError(f"{path} cannot be unpacked: {str(error) or type(error).__name__}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be unpacked: {error.strerror or error}") from error


def zip_members(archive: zipfile.ZipFile, path: str) -> list[zipfile.ZipInfo]:
    """Members that may be DICOM, ordered by name.

    Raises
    ------
    FileError
        If they announce more bytes than the limit, or lie over one another.
    """
    found = []
    for info in sorted(archive.infolist(), key=lambda item: item.filename):
        name = info.filename.rsplit("/", 1)[-1]
        # macOS puts resource forks into archives, under names that look like the files they belong to
        if info.is_dir() or name.startswith(".") or name.upper() == "DICOMDIR" or "__MACOSX/" in info.filename:
            continue
        found.append(info)
    # members that share their bytes are how a small archive becomes an immense one
    packed = os.path.getsize(path)
    if sum(info.compress_size for info in found) > packed:
        raise FileError(f"{path}: its members lie over one another, as those of a bomb do: it is damaged")
    total, most = sum(info.file_size for info in found), most_unpacked(packed)
    if total > most:
        raise FileError(
            f"{path} has {packed} bytes and announces {total} when unpacked, more than {most}; {UNPACKED.advice}"
        )
    return found


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Content of a member, never more of it than it announces.

    Raises
    ------
    zipfile.BadZipFile
        If it is not what it announces.
    NotImplementedError
        If it is packed in an unusual way.
    """
    if info.compress_type not in _METHODS:  # LZMA and later ones take memory as the file says
        raise NotImplementedError(f"{info.filename} is packed by method {info.compress_type}; pack it by deflate")
    parts, left = [], info.file_size
    # read in pieces: the library expands what it has read before it cuts it to size, and bounds that for deflate only
    piece = _CHUNK if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else _LEAST_CHUNK
    with archive.open(info) as handle:
        while part := handle.read(min(left, piece)) if left else b"":
            parts.append(part)
            left -= len(part)
    if left:
        raise zipfile.BadZipFile(f"{info.filename} has {info.file_size - left} bytes and announces {info.file_size}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def gunzip(path: str) -> bytes:
    """Content of a file packed by gzip.

    Raises
    ------
    FileError
        If it cannot be unpacked, or expands past the limit.
    """
    parts: list[bytes] = []
    try:
        most = most_unpacked(os.path.getsize(path))
        for keep in (False, True):  # what is too much is never held
            total = 0
            with gzip.open(path) as handle:
                while part := handle.read(_CHUNK):
                    total += len(part)
                    if total > most:
                        raise FileError(f"{path} expands to more than {most} bytes, as a bomb does; {UNPACKED.advice}")
                    if keep:
                        parts.append(part)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path} cannot be unpacked: {error}") from error
    return b"".join(parts)


def _check_directory(path: str) -> None:
    """Raise FileError where the central directory has room for more members than the limit."""
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        start = max(size - _LONGEST_COMMENT - _END_SIZE - _LOCATOR_SIZE, 0)
        handle.seek(start)
        tail = handle.read()
        at = tail.rfind(_END)
        if at < 0 or at + _END_SIZE > len(tail):
            return  # zipfile says what is wrong
        directory = int.from_bytes(tail[at + 12 : at + 16], "little")
        locator = tail[max(at - _LOCATOR_SIZE, 0) : at]
        if locator.startswith(_LOCATOR):
            handle.seek(max(start + at - _LOCATOR_SIZE - _END_64_SIZE, 0))
            end = handle.read(_END_64_SIZE)
            if end.startswith(_END_64):
                directory = int.from_bytes(end[40:48], "little")
        handle.seek(max(start + at - directory, 0))
        if directory > MEMBERS.value * _LONGEST_ENTRY or handle.read(directory).count(_ENTRY) > MEMBERS.value:
            raise FileError(f"{path} has more than {MEMBERS.value} members; {MEMBERS.advice}")
