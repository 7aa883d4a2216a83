"""Streaming DICOM files: header bytes first, then frames in any order, under a temporary name until complete.

Data sets are written in explicit VR little endian, with defined lengths. Native pixel data lies at places known in
advance, so frames are written straight to where they belong and rows that hold only zeros are never written at all.
Encapsulated pixel data is appended, and its offset table, for which room was left, is filled in at the end.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dicom_ml.encoding.element_bytes import ITEM, MAX_LENGTH, element_bytes, item_bytes, sequence_bytes
from dicom_ml.encoding.halves import begin_half
from dicom_ml.encoding.plain_datasets import plain_bytes
from dicom_ml.encoding.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_ml.errors import EncodingError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "EncapsulatedFrames",
    "NativeFrames",
    "atomic_file",
    "dataset_bytes",
    "element_bytes",
    "file_head",
    "inspector",
    "item_bytes",
    "save_bytes",
    "save_dataset",
    "sequence_bytes",
]

_VECTORS = 512  # buffers of one system call; Linux allows 1024
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


# ---------------------------------------------------------------------- bytes of data sets
def dataset_bytes(dataset: Dataset, character_set: str | None = None) -> bytes:
    """A pydicom data set in explicit VR little endian, without preamble or file meta information.

    Parameters
    ----------
    dataset : Dataset
    character_set : str, optional
        Specific Character Set in force around a data set that does not state one itself.
    """
    from pydicom.charset import default_encoding
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    plain = plain_bytes(dataset, character_set)
    if plain is not None:
        return plain
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = False
    write_dataset(buffer, dataset, character_set or default_encoding)
    return buffer.getvalue()


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta information (PS3.10 7.1)."""
    elements = [
        element_bytes(0x00020001, "OB", b"\0\1"),
        element_bytes(0x00020002, "UI", sop_class_uid.encode()),
        element_bytes(0x00020003, "UI", sop_instance_uid.encode()),
        element_bytes(0x00020010, "UI", transfer_syntax_uid.encode()),
        element_bytes(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode()),
        element_bytes(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    meta = b"".join(elements)
    return bytes(128) + b"DICM" + element_bytes(0x00020000, "UL", struct.pack("<I", len(meta))) + meta


# ---------------------------------------------------------------------- files
class _WholeFile(io.FileIO):
    """An unbuffered file that writes all it is given: where a disk fills up, a raw file takes a part and is silent."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w+b")
        self.name = str(path)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        total = len(view)
        while len(view):
            written = super().write(view)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
            view = view[written:]
        return total


#: What looks at a complete file before it takes its name, and raises where it must not; see :func:`atomic_file`.
inspector: ContextVar[Callable[[Path, Path], None] | None] = ContextVar("inspector", default=None)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file that takes its name only when the block ends without an error.

    Until then it lies beside its target under a hidden temporary name; on an error it is removed, and whatever had
    the name before stays. Missing parent folders are made. An :data:`inspector` is shown where the complete file lies
    and what it is to be called, and its error is one like any other. What a process that was killed has left of the
    same target is removed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, held = begin_half(target)
    try:
        with _WholeFile(os.dup(held), temporary) as file:
            yield file
        inspect = inspector.get()
        if inspect is not None:
            inspect(temporary, target)
        if os.name == "nt":  # pragma: no cover - Windows renames no open file
            os.close(held)
            held = -1
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if held >= 0:
            os.close(held)


def save_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a file that is whole or not there; missing folders are made."""
    with atomic_file(path) as file:
        file.write(content)


def save_dataset(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a pydicom data set as a DICOM file that is whole or not there."""
    from pydicom import dcmwrite

    with atomic_file(path) as raw:
        buffered = io.BufferedWriter(raw, 1 << 20)
        dcmwrite(buffered, dataset, enforce_file_format=True)
        buffered.flush()
        buffered.detach()


def _write_all(file: BinaryIO, data: bytes | memoryview) -> int:
    """Write every byte: a raw file may take only part of a large buffer."""
    view = memoryview(data).cast("B")
    total = len(view)
    while len(view):
        written = file.write(view)
        if not written:
            raise OSError("the file system took no bytes")
        view = view[written:]
    return total


class NativeFrames:
    """Uncompressed pixel data whose frames are written in any order.

    Parameters
    ----------
    file : raw binary file
        Positioned where the pixel data element begins.
    vr : str
        ``"OB"`` or ``"OW"``.
    total_bytes : int
        Bytes of all frames together; padded to an even number with a zero.

    Raises
    ------
    EncodingError
        If native pixel data would pass 4 GiB, which its 32-bit length cannot say.
    """

    def __init__(self, file: BinaryIO, vr: str, total_bytes: int, tag: int = 0x7FE00010) -> None:
        padded = total_bytes + total_bytes % 2
        if padded > MAX_LENGTH:
            raise EncodingError(
                f"uncompressed pixel data of {total_bytes / 2**30:.1f} GiB passes the 4 GiB that one element can hold; "
                "pass compression='rle' (or 'deflate' for BINARY)"
            )
        self._file = file
        _write_all(
            file, struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode()) + b"\0\0" + struct.pack("<I", padded)
        )
        self._start = file.tell()
        self._end = self._start + padded
        file.truncate(self._end)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write ``data`` at ``offset`` bytes into the pixel data; what is never written stays zero."""
        view = memoryview(data).cast("B")
        if self._start + offset + len(view) > self._end:
            raise EncodingError("a frame reaches past the end of its pixel data")
        if hasattr(os, "pwrite"):
            while len(view):
                written = os.pwrite(self._file.fileno(), view, self._start + offset)
                offset += written
                view = view[written:]
        else:  # pragma: no cover - Windows
            self._file.seek(self._start + offset)
            _write_all(self._file, view)

    def write_run(self, offset: int, frames: Sequence[bytes | memoryview]) -> None:
        """Write frames one after the other, beginning at ``offset``: in few system calls, however small they are."""
        if not hasattr(os, "pwritev"):  # pragma: no cover - macOS, Windows
            self.write(offset, b"".join(frames))
            return
        for first in range(0, len(frames), _VECTORS):
            part = frames[first : first + _VECTORS]
            total = sum(len(frame) for frame in part)
            if self._start + offset + total > self._end:
                raise EncodingError("a frame reaches past the end of its pixel data")
            written = os.pwritev(self._file.fileno(), part, self._start + offset)
            if written != total:
                self.write(offset + written, memoryview(b"".join(part))[written:])
            offset += total

    def close(self) -> None:
        """Leave the file positioned after the pixel data."""
        self._file.seek(self._end)


class EncapsulatedFrames:
    """Compressed pixel data, one fragment a frame, appended in frame order (PS3.5 A.4).

    Parameters
    ----------
    file : raw binary file
        Positioned where the pixel data begins.
    frame_count : int
        Number of frames that will be appended.
    extended : bool
        Write an Extended Offset Table (PS3.3 C.7.6.3.1.8), needed past 4 GiB; otherwise a Basic Offset Table.
    """

    def __init__(self, file: BinaryIO, frame_count: int, extended: bool) -> None:
        self._file = file
        self._count = frame_count
        self._extended = extended
        self._offsets: list[int] = []
        self._lengths: list[int] = []
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        if extended:
            head = b""
            for element in (0x0001, 0x0002):
                head += struct.pack("<HH2s", 0x7FE0, element, b"OV") + b"\0\0"
                head += struct.pack("<I", 8 * frame_count) + bytes(8 * frame_count)
            self._table = file.tell() + 12
            table = b""
        else:
            head = b""
            self._table = file.tell() + 12 + 8
            table = bytes(4 * frame_count)
        _write_all(
            file, head + struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB") + b"\0\0\xff\xff\xff\xff" + item_bytes(table)
        )
        self._position = 0

    def append(self, frame: bytes) -> None:
        """Append the next frame's bytes; an odd frame is padded with a zero."""
        if len(self._offsets) >= self._count:
            raise EncodingError(f"more than the announced {self._count} frames were written")
        padded = len(frame) + len(frame) % 2
        if padded > MAX_LENGTH:
            raise EncodingError("one compressed frame passes 4 GiB")
        self._offsets.append(self._position)
        self._lengths.append(padded)
        self._position += 8 + padded
        self._pending += [ITEM, struct.pack("<I", padded), frame, b"\0" * (padded - len(frame))]
        self._pending_bytes += 8 + padded
        if self._pending_bytes > 1 << 22:
            self._flush()

    def _flush(self) -> None:
        _write_all(self._file, b"".join(self._pending))
        self._pending = []
        self._pending_bytes = 0

    def close(self) -> None:
        """Write the end of the pixel data and fill in the offset table."""
        if len(self._offsets) != self._count:
            raise EncodingError(f"{self._count} frames were announced, {len(self._offsets)} written")
        self._flush()
        _write_all(self._file, _SEQUENCE_END)
        end = self._file.tell()
        self._file.seek(self._table)
        if self._extended:
            _write_all(self._file, struct.pack(f"<{self._count}Q", *self._offsets))
            self._file.seek(self._table + 8 * self._count + 12)
            _write_all(self._file, struct.pack(f"<{self._count}Q", *self._lengths))
        elif self._offsets[-1] > 0xFFFFFFFF:
            raise EncodingError("the pixel data passes 4 GiB; an extended offset table is needed")
        else:
            _write_all(self._file, struct.pack(f"<{self._count}I", *self._offsets))
        self._file.seek(end)
