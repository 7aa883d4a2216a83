"""Pixels of many planes into one preallocated buffer, decoded and scaled on several threads."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo, get_decoder, is_encapsulated
from dicom_ml.encoding.codecs.codestream import check_expansion
from dicom_ml.encoding.codecs.samples import fit_native
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.encoding.untrusted import reason_of
from dicom_ml.errors import CodecError, FileError
from dicom_ml.reading.files import fill
from dicom_ml.reading.headers import Header, parse_file
from dicom_ml.reading.planes import Plane
from dicom_ml.reading.values import ValueMap

__all__ = ["PlaneJob", "check_pixels", "read_planes", "same_pixels", "stored_dtype"]

#: Memory that one thread fills before it looks for other work; a huge page has 2 MiB.
_RUN_BYTES, _LONGEST_RUN = 1 << 23, 64
_DIRECT = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


@dataclass(slots=True)
class PlaneJob:
    """A plane, what its values mean, and where in the buffer it goes."""

    plane: Plane
    values: ValueMap
    slot: int


def stored_dtype(planes: Sequence[Plane]) -> np.dtype[Any]:
    """The smallest integer type that holds the stored values of all planes."""
    kinds = {plane.header.frame_info().dtype for plane in planes}
    found = np.result_type(*kinds)
    return found if found.kind in "iu" else np.dtype(np.int64)


def check_pixels(header: Header) -> FrameInfo:
    """Frame description of a file, after proof that its native pixel data is all there.

    Raises
    ------
    FileError
        If the file is truncated or its header contradicts its pixel data.
    """
    info = header.frame_info()
    if info.bits_allocated == 1:
        raise FileError(f"{header.name} holds pixels of one bit (a mask), which is no image of CT, MR or PET")
    assert header.pixels is not None
    _, offset, length = header.pixels
    if not is_encapsulated(info.transfer_syntax_uid) and length != 0xFFFFFFFF:
        needed = info.frame_bytes * header.frames
        there = min(length, header.view.size - offset) if header.in_place else length
        if there < needed:
            cause = "the file is truncated" if there < length else "its header is wrong"
            raise FileError(
                f"{header.name}: {header.frames} frame(s) of {info.rows} x {info.columns} with {info.bits_allocated} "
                f"bits need {needed} bytes of pixel data, {there} are there: {cause}"
            )
    elif header.in_place:
        try:
            check_expansion(max(header.view.size - offset, 0), info, header.frames)
        except CodecError as error:
            raise CodecError(f"{header.name}: {error}") from error
    return info


class _Reader:
    """Reads planes into slots of ``out``; one instance serves all threads."""

    def __init__(self, out: npt.NDArray[Any]) -> None:
        self.out = out
        self.local = threading.local()
        self.lock = threading.Lock()
        self.indices: dict[int, FrameIndex] = {}
        self.handles: dict[int, int] = {}
        self.maps: list[mmap.mmap] = []

    def __call__(self, job: PlaneJob) -> None:
        plane, header = job.plane, job.plane.header
        info = header.frame_info()
        target = self.out[job.slot]
        try:
            if header.in_place and info.transfer_syntax_uid in _DIRECT and info.bits_allocated in (8, 16, 32):
                cells = self._native(plane, info)
            else:
                index = self._index(header, info)
                job.values.apply(index.decode(plane.frame, out=self._cells(info)), target)
                return
        except OSError as error:
            raise FileError(f"{header.name} cannot be read: {error.strerror}") from error
        except (CodecError, FileError) as error:
            if header.name in str(error):
                raise
            raise type(error)(f"{plane.name}: {error}") from error
        padding = _padding_outside_bits(header, info)
        odd = None if padding is None else cells == padding
        # the scratch buffer is ours: bits are dropped and signs extended in place
        job.values.apply(fit_native(cells, info, cells), target)
        if odd is not None and odd.any():
            target[odd] = job.values.at(float(padding))  # type: ignore[arg-type]

    def _native(self, plane: Plane, info: FrameInfo) -> npt.NDArray[Any]:
        """Cells of an uncompressed plane, straight from the file into this thread's scratch buffer."""
        size = info.frame_bytes
        assert plane.header.pixels is not None
        view = self._scratch(size, "native")
        offset = plane.header.pixels[1] + plane.frame * size
        if self._read(plane.header, offset, view) < size:
            raise FileError(f"{plane.name}: the file is truncated in its pixel data")
        cells = np.frombuffer(view, dtype=info.dtype.newbyteorder("<"))
        return cells.reshape(info.rows, info.columns)

    def _read(self, header: Header, offset: int, view: memoryview) -> int:
        """Fill ``view``; a file of many frames is opened once."""
        path = header.candidate.path
        if path is None or header.frames == 1:
            return header.candidate.read_into(offset, view)
        with self.lock:
            handle = self.handles.get(id(header))
            if handle is None:
                handle = self.handles[id(header)] = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        return fill(handle, offset, view)

    def _scratch(self, size: int, name: str) -> memoryview:
        """This thread's buffer of a purpose, used again for each plane: fresh memory costs more than a copy."""
        scratch: bytearray | None = getattr(self.local, name, None)
        if scratch is None or len(scratch) < size:
            scratch = bytearray(size)
            setattr(self.local, name, scratch)
        return memoryview(scratch)[:size]

    def _cells(self, info: FrameInfo) -> npt.NDArray[Any] | None:
        """Where a frame is decoded to, if its codec gains by it."""
        if not is_encapsulated(info.transfer_syntax_uid) or not get_decoder(info.transfer_syntax_uid).writes_into:
            return None
        return np.frombuffer(self._scratch(info.decoded_bytes, "cells"), info.dtype).reshape(info.shape)

    def _index(self, header: Header, info: FrameInfo) -> FrameIndex:
        key = id(header)
        with self.lock:
            found = self.indices.get(key)
            if found is not None:
                return found
            if header.frames > 1:
                # made under the lock, so that threads that want other frames of the file wait for it
                found = self.indices[key] = self._make_index(header, info)
                return found
        return self._make_index(header, info)

    def _make_index(self, header: Header, info: FrameInfo) -> FrameIndex:
        assert header.pixels is not None
        _, offset, length = header.pixels
        if not header.in_place:
            value = _pixel_bytes(header)
            return FrameIndex.from_buffer(
                value, 0, None if is_encapsulated(info.transfer_syntax_uid) else len(value), info, header.frames
            )
        buffer: bytes | memoryview | mmap.mmap
        if header.candidate.data is not None:
            buffer = header.candidate.data
        elif header.frames > 1:
            assert header.candidate.path is not None
            with open(header.candidate.path, "rb") as handle:
                buffer = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            self.maps.append(buffer)
        else:
            # the index of a single frame lives no longer than this thread is at work on it
            buffer = self._scratch(header.view.size - offset, "encoded")
            if header.candidate.read_into(offset, buffer) < len(buffer):
                raise FileError(f"{header.name} became shorter while it was read")
            offset = 0
        view = header.view
        return FrameIndex.from_buffer(
            buffer,
            offset,
            None if is_encapsulated(info.transfer_syntax_uid) else length,
            info,
            header.frames,
            extended_offsets=view.raw(0x7FE00001),
            extended_lengths=view.raw(0x7FE00002),
        )

    def close(self) -> None:
        self.indices.clear()
        for handle in self.handles.values():
            os.close(handle)
        self.handles.clear()
        for one in self.maps:
            try:
                one.close()
            except BufferError:
                pass  # a traceback still holds a view; the map goes with it
        self.maps.clear()


def _padding_outside_bits(header: Header, info: FrameInfo) -> int | None:
    """Pixel Padding Value that does not fit into the stored bits, as the cell holds it.

    Such files (12 bits stored, padded with -2000) mark padding in bits that are no part of the value; dropping
    those bits would turn padding into tissue.
    """
    if info.bits_stored == info.bits_allocated:
        return None
    padding = header.view.integer(0x00280120)
    if padding is None:
        return None
    bits = info.bits_allocated
    value = padding & ((1 << bits) - 1)
    signed = value - (1 << bits) if value >> (bits - 1) else value
    if info.signed:
        return signed if not -(1 << info.bits_stored - 1) <= signed < 1 << info.bits_stored - 1 else None
    return value if value >> info.bits_stored else None


def same_pixels(first: Header, second: Header) -> bool:
    """Whether two files hold the same encoded pixel data."""
    if first.pixels is None or second.pixels is None or first.transfer_syntax != second.transfer_syntax:
        return False
    return _pixel_bytes(first) == _pixel_bytes(second)


def _pixel_bytes(header: Header) -> bytes:
    assert header.pixels is not None
    if not header.in_place:
        dataset = parse_file(header.name, header.candidate.read())
        try:
            return bytes(dataset[header.pixel_keyword].value or b"")
        except Exception as error:
            raise FileError(f"{header.name}: its pixel data cannot be read: {reason_of(error)}") from error
    _, offset, length = header.pixels
    content = header.candidate.read()
    return content[offset:] if length == 0xFFFFFFFF else content[offset : offset + length]


def read_planes(jobs: Sequence[PlaneJob], out: npt.NDArray[Any], threads: int | None) -> None:
    """Read, decode and scale every plane into its slot of ``out``.

    Parameters
    ----------
    jobs : sequence of PlaneJob
    out : ndarray of shape (slots, rows, columns)
    threads : int or None
        Most threads to use; None takes one a core, 8 at most.

    Raises
    ------
    FileError
        If a file's pixel data is truncated.
    CodecError
        If a frame cannot be decoded.
    """
    reader = _Reader(out)

    def read(run: range) -> None:
        for number in run:
            reader(jobs[number])

    try:
        parallel_for(read, _runs(len(jobs), out[:1].nbytes), threads if out.size > 1 << 18 else 1)
    finally:
        reader.close()


def _runs(count: int, plane_bytes: int) -> list[range]:
    """Neighbouring planes that one thread reads.

    Threads that fill one huge page of fresh memory get in each other's way. Towards the end runs become shorter, so
    that all threads end together.
    """
    runs: list[range] = []
    longest = max(1, min(_RUN_BYTES // max(plane_bytes, 1), _LONGEST_RUN))
    start = 0
    while start < count:
        length = max(1, min(longest, (count - start) // 16))
        runs.append(range(start, start + length))
        start += length
    return runs
