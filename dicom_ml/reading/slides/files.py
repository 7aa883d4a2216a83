"""Where the bytes of a slide lie, and a bounded number of them open at a time.

A slide keeps names, never handles: it pickles, crosses ``fork`` and ``spawn``, and a dataset of a thousand slides
opens no more than :data:`MOST_OPEN` files. A file's frame index is made when a frame is first asked for.
"""

from __future__ import annotations

import mmap
import os
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo, is_encapsulated
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.unpacking import ZIP_MAGIC, opened_zip, read_member, zip_members
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.reading.files import Candidate, expand
from dicom_ml.reading.headers import parse_file
from dicom_ml.stores import is_address, kind_of

if TYPE_CHECKING:
    from dicom_ml.reading.slides.headers import OpenedHeader

__all__ = ["MOST_OPEN", "PixelPlace", "SlideFile", "close_file", "frame_index", "slide_files"]

#: Files of slides that a process keeps open (mapped) at a time.
MOST_OPEN = 64

_ZIP_LOCAL_HEADER = 30


class RemotePlace(Protocol):
    """Where a file of a slide lies that is not on this machine. Hashable, and pickles."""

    def header(self) -> OpenedHeader:
        """Its header, fetched as far as it goes."""

    def head(self, size: int) -> memoryview:
        """Its first ``size`` bytes; the whole header where that is 0."""

    def whole(self) -> memoryview:
        """Its content."""

    def frames(self, place: PixelPlace) -> FrameIndex | None:
        """Its frames, fetched when they are asked for; None where only the whole content will do."""


@dataclass(frozen=True)
class SlideFile:
    """A file that may belong to a slide: on disk, a member of a zip, or bytes in memory.

    Attributes
    ----------
    name : str
        How messages call it.
    path : str or None
        The file, or the zip that holds it; None for bytes in memory.
    member : str or None
        Name within the zip.
    offset, size : int
        Place in ``path`` of a member that is stored without compression; it is mapped like any file.
        ``size`` is -1 for whole files, and for compressed members, which are unpacked into memory.
    data : bytes or None
        Content of a file in memory.
    remote : RemotePlace or None
        Where a file lies that is not on this machine.
    """

    name: str
    path: str | None = None
    member: str | None = None
    offset: int = 0
    size: int = -1
    data: bytes | None = field(default=None, repr=False, compare=False)
    key: Any = field(default=None, repr=False)
    remote: RemotePlace | None = None

    def buffer(self) -> memoryview:
        """Map, or hold, the content; it is let go with the last view of it.

        Raises
        ------
        FileError
            If the file cannot be read.
        """
        if self.data is not None:
            return memoryview(self.data)
        if self.remote is not None:
            return self.remote.whole()
        assert self.path is not None
        try:
            if self.member is not None and self.size < 0:
                with opened_zip(self.path) as archive:
                    return memoryview(read_member(archive, archive.getinfo(self.member)))
            with open(self.path, "rb") as handle:
                if os.fstat(handle.fileno()).st_size == 0:
                    return memoryview(b"")
                view = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise FileError(f"{self.name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if self.member is None:
            return view
        if self.offset + self.size > len(view):
            raise FileError(f"{self.name} reaches past the end of its zip: the zip is truncated")
        return view[self.offset : self.offset + self.size]

    def head(self, size: int) -> memoryview:
        """The first ``size`` bytes, all where that is 0."""
        if self.remote is not None:
            return self.remote.head(size)
        return self.buffer()[:size] if size else self.buffer()

    def candidate(self, content: memoryview) -> Candidate:
        """What the header reader of single files takes."""
        return Candidate(self.name, data=bytes(content))


@dataclass(frozen=True)
class PixelPlace:
    """Where a file's pixel data lies, and what the header says of a frame.

    Attributes
    ----------
    offset, length : int
        Of the element's value in the file.
    info : FrameInfo
    frames : int
    in_place : bool
        False where pydicom has to fetch the pixel data (deflated files, and others that cannot be walked).
    tables : tuple
        Offset and length of the Extended Offset Table and of its Lengths; None where absent.
    """

    offset: int
    length: int
    info: FrameInfo
    frames: int
    in_place: bool = True
    tables: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)

    def index(self, file: SlideFile) -> FrameIndex:
        """Open the file and locate its frames."""
        try:
            if file.remote is not None:
                found = file.remote.frames(self)
                if found is not None:
                    return found
            content = file.buffer()
            if not self.in_place:
                value = parse_file(file.name, bytes(content)).get("PixelData") or b""
                length = None if is_encapsulated(self.info.transfer_syntax_uid) else len(value)
                return FrameIndex.from_buffer(value, 0, length, self.info, self.frames)
            offsets, lengths = (self._table(content, place) for place in self.tables)
            return FrameIndex.from_buffer(
                content,
                self.offset,
                None if is_encapsulated(self.info.transfer_syntax_uid) else self.length,
                self.info,
                self.frames,
                extended_offsets=offsets,
                extended_lengths=lengths,
            )
        except DicomMLError as error:
            if file.name in str(error):
                raise
            raise FileError(f"{file.name}: {error}") from error

    @staticmethod
    def _table(content: memoryview, place: tuple[int, int] | None) -> npt.NDArray[np.uint64] | None:
        if place is None:
            return None
        return np.frombuffer(content, "<u8", place[1] // 8, place[0])


class _OpenFiles:
    """The frame indices used last, and with them their mapped files."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.indices: OrderedDict[Any, FrameIndex] = OrderedDict()

    def get(self, file: SlideFile, place: PixelPlace) -> FrameIndex:
        key = _identity(file)
        with self.lock:
            found = self.indices.get(key)
            if found is not None:
                self.indices.move_to_end(key)
                return found
        made = place.index(file)
        with self.lock:
            # Another thread may have been faster: all use the same one, so that frames are located once.
            found = self.indices.setdefault(key, made)
            self.indices.move_to_end(key)
            while len(self.indices) > MOST_OPEN:
                # A thread that is decoding from it keeps it alive for as long as it takes.
                self.indices.popitem(last=False)
            return found

    def drop(self, file: SlideFile) -> None:
        with self.lock:
            self.indices.pop(_identity(file), None)


def _identity(file: SlideFile) -> Any:
    if file.remote is not None:
        return file.remote
    return (file.path, file.member, file.key) if file.path is not None else file.key


_open = _OpenFiles()


def _forget_after_fork() -> None:
    # The lock, or that of an index, may have been held by a thread that the child does not have.
    global _open
    _open = _OpenFiles()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def frame_index(file: SlideFile, place: PixelPlace) -> FrameIndex:
    """The frame index of a file, opened when needed; shared by all threads of the process."""
    return _open.get(file, place)


def close_file(file: SlideFile) -> None:
    """Forget a file that may be open."""
    _open.drop(file)


def slide_files(source: Any) -> list[SlideFile]:
    """Files that ``source`` names, in a stable order, none of them read.

    Parameters
    ----------
    source : path, bytes, pydicom Dataset, or an iterable of these
        A folder is walked with its subfolders. Members of a zip that are stored uncompressed are used in place.

    Raises
    ------
    FileError
        If a path does not exist, or a zip cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if is_address(path) and kind_of(path) != "file":
            from dicom_ml.reading.slides.remote import remote_files

            return remote_files(path)
        if os.path.isfile(path) and not path.lower().endswith(".dcm") and _is_zip(path):
            return list(_members(path))
    elif isinstance(source, Iterable) and not _is_single(source):
        return [file for item in source for file in slide_files(item)]
    return [_slide_file(candidate) for candidate in expand(source)]


def _is_single(source: Any) -> bool:
    """Whether an iterable is one file: bytes, or a data set (which iterates over its elements)."""
    return isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "to_json_dict")


def _slide_file(candidate: Candidate) -> SlideFile:
    if candidate.data is not None:
        # The content is its own identity; equal bytes are the same file.
        return SlideFile(candidate.name, data=candidate.data, key=(len(candidate.data), hash(candidate.data)))
    assert candidate.path is not None
    path = os.path.abspath(candidate.path)
    return SlideFile(candidate.name, path, key=_stamp(path))


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns


def _is_zip(path: str) -> bool:
    try:
        with open(path, "rb") as handle:
            return handle.read(4) == ZIP_MAGIC
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error


def _members(path: str) -> Iterator[SlideFile]:
    path = os.path.abspath(path)
    stamp = _stamp(path)
    with opened_zip(path) as archive, open(path, "rb") as handle:
        for info in zip_members(archive, path):
            offset, size = 0, -1
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                handle.seek(info.header_offset)
                local = handle.read(_ZIP_LOCAL_HEADER)
                skipped = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
                offset, size = info.header_offset + _ZIP_LOCAL_HEADER + skipped, info.file_size
            yield SlideFile(f"{path}:{info.filename}", path, info.filename, offset, size, key=stamp)
