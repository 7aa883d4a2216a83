"""Where the frames of an image lie in its file, and decoding many of them (PS3.5 section 8.2 and A.4)."""

from __future__ import annotations

import mmap
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dicom_ml.errors import DicomMLWarning, FileError

from .codecs import FrameInfo, decode_frame, is_encapsulated
from .codecs.base import EXPLICIT_BIG_ENDIAN, Array
from .codecs.samples import unpack_bits
from .fragments import group_fragments, read_item, scan_fragments
from .thread_pool import parallel_for

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["FrameIndex", "decode_frames", "map_frames"]

FileBuffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"
OffsetTable: TypeAlias = "bytes | memoryview | NDArray[np.integer]"

UNDEFINED_LENGTH = 0xFFFFFFFF

# Below these a pass on one thread is over before others have begun.
_LEAST_COMPRESSED = 1 << 18
_LEAST_NATIVE = 1 << 23


class FrameIndex:
    """Locates frames in a buffer without copying them; made by `from_buffer` or `from_dataset`.

    Nothing is searched for until a frame is asked for, and the offset tables are used where they are right: a
    level of 180,000 frames opens at once. Wrong tables are noticed, with a warning, and replaced by a walk
    over all fragments. An index may be used from several threads.

    Attributes
    ----------
    info
        What the header says of a frame.
    n_frames
        Number of frames that the header announces.
    encapsulated
        Whether the pixel data is a sequence of fragments.
    """

    #: Whether frames have to be fetched from another machine, so that :meth:`prefetch` pays.
    far: ClassVar[bool] = False

    def __init__(
        self,
        buffer: FileBuffer,
        offset: int,
        length: int | None,
        info: FrameInfo,
        n_frames: int,
        extended_offsets: OffsetTable | None = None,
        extended_lengths: OffsetTable | None = None,
    ) -> None:
        self.info = info
        self.n_frames = n_frames
        self.encapsulated = is_encapsulated(info.transfer_syntax_uid)
        self._view = memoryview(buffer).cast("B")
        self._lock = threading.Lock()
        size = len(self._view)
        undefined = length is None or length == UNDEFINED_LENGTH
        if n_frames < 1:
            raise FileError(f"Number of Frames is {n_frames}; expected at least 1")
        if not 0 <= offset <= size:
            raise FileError(f"pixel data begins at byte {offset} of a file of {size} bytes: it is truncated")
        if undefined and not self.encapsulated:
            raise FileError(
                f"the pixel data is a sequence of fragments, yet transfer syntax {info.transfer_syntax_uid} is "
                "not compressed: the Transfer Syntax UID is wrong; pass the right one"
            )
        self._start = offset
        self._end = size if length is None or undefined else min(offset + length, size)
        self._bounds: NDArray[np.int64] | None = None  # of items, where an offset table is believed
        self._exact: NDArray[np.int64] | None = None  # lengths without padding
        self._fragments: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None
        self._tables = (extended_offsets, extended_lengths)
        if not self.encapsulated:
            self._check_native(0 if length is None else length)

    @classmethod
    def from_buffer(
        cls,
        buffer: FileBuffer,
        offset: int,
        length: int | None,
        info: FrameInfo,
        n_frames: int = 1,
        *,
        extended_offsets: OffsetTable | None = None,
        extended_lengths: OffsetTable | None = None,
    ) -> FrameIndex:
        """Make an index over a file's bytes.

        Parameters
        ----------
        buffer
            The file: a memory map or bytes. It must outlive the index.
        offset
            Where the value of the pixel data element begins: the first frame, or for encapsulated pixel data
            the item tag of the basic offset table.
        length
            Length of the element's value; None or 0xFFFFFFFF where it is undefined.
        info
            What the header says of a frame.
        n_frames
            Number of Frames.
        extended_offsets, extended_lengths
            Values of (7FE0,0001) and (7FE0,0002): their bytes, or uint64 arrays.

        Raises
        ------
        FileError
            When native pixel data is shorter than the header says, or the element contradicts the syntax.
        """
        return cls(buffer, offset, length, info, n_frames, extended_offsets, extended_lengths)

    @classmethod
    def from_dataset(cls, dataset: Dataset, transfer_syntax_uid: str | None = None) -> FrameIndex:
        """Make an index over the pixel data of a pydicom data set."""
        info = FrameInfo.from_dataset(dataset, transfer_syntax_uid)
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            if keyword in dataset:
                value = dataset[keyword].value
                break
        else:
            raise FileError("the data set has no pixel data: it is not an image, or was read without it")
        if not isinstance(value, bytes | bytearray | memoryview):
            raise FileError("the data set's pixel data is not in memory: read the file without deferring it")
        return cls(
            value,
            0,
            None if is_encapsulated(info.transfer_syntax_uid) else len(value),
            info,
            int(dataset.get("NumberOfFrames") or 1),
            dataset.get("ExtendedOffsetTable"),
            dataset.get("ExtendedOffsetTableLengths"),
        )

    def __len__(self) -> int:
        return self.n_frames

    def __repr__(self) -> str:
        kind = "encapsulated" if self.encapsulated else "native"
        return f"<FrameIndex of {self.n_frames} {kind} frames, {self.info.transfer_syntax_uid}>"

    # Native frames

    def _check_native(self, length: int) -> None:
        info = self.info
        bits = info.frame_bits
        full = info.rows * info.columns * info.samples_per_pixel * info.bits_allocated
        if bits != full and (info.columns % 2 or length >= full // 8 * self.n_frames):
            # Announced as subsampled, stored in full: `native` decodes it by its length.
            bits = full
        self._frame_bits = bits
        needed = (bits * self.n_frames + 7) // 8
        have = self._end - self._start
        if have < needed:
            raise FileError(
                f"{self.n_frames} frames of {info.rows} x {info.columns} need {needed} bytes of pixel data, "
                f"{have} are there: the file is truncated or its header is wrong"
            )
        if length >= needed + (bits + 7) // 8 and bits >= 16:
            warnings.warn(
                f"the pixel data holds {length * 8 // bits} frames, the header announces {self.n_frames}: "
                "the others are left out",
                DicomMLWarning,
                stacklevel=4,
            )
        if info.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN and info.pixel_vr == "OW" and info.bits_allocated < 16:
            # Single bytes lie in swapped words. Frames may begin within one, so all are swapped at once.
            even = needed + needed % 2
            words = np.zeros(even, np.uint8)
            part = np.frombuffer(self._view[self._start : min(self._start + even, self._end)], np.uint8)
            words[: part.size] = part
            self._view = memoryview(words.view(np.uint16).byteswap().tobytes())
            self._start, self._end = 0, even

    def native_array(self) -> Array | None:
        """Return all native frames as one read-only array (n_frames, *info.shape) over the file's bytes.

        None where the bytes are not simply little or big endian cells: encapsulated, 1-bit, planar or
        subsampled frames. Unused bits are still in place.
        """
        info = self.info
        simple = info.samples_per_pixel == 1 or (
            info.planar_configuration == 0 and self._frame_bits == info.decoded_bytes * 8
        )
        if self.encapsulated or info.bits_allocated in (1, 24, 40) or not simple:
            return None
        order: Literal["<", ">"] = ">" if info.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else "<"
        count = self.n_frames * info.rows * info.columns * info.samples_per_pixel
        cells = np.frombuffer(self._view, info.dtype.newbyteorder(order), count, self._start)
        return cells.reshape(self.n_frames, *info.shape)

    def native_bits(self) -> tuple[memoryview, int]:
        """Return the packed bytes of all native 1-bit frames, and the bits of one frame.

        Frame ``i`` begins at bit ``i * bits``, which need not begin a byte (PS3.5 section 8.1.1).
        """
        if self.encapsulated or self.info.bits_allocated != 1:
            raise FileError("the pixel data does not hold native frames of 1 bit")
        return self._view[self._start : self._end], self._frame_bits

    # Encapsulated frames

    def _locate(self) -> None:
        """Read the offset tables; believe the first that can be right."""
        with self._lock:
            if self._bounds is not None or self._fragments is not None:
                return
            length = read_item(self._view, self._start, self._end)
            if length < 0:
                raise FileError(
                    f"no basic offset table is found at byte {self._start}: the pixel data is not encapsulated, "
                    "though its transfer syntax is compressed, or the file is truncated"
                )
            first = self._start + 8 + length
            offsets, exact = self._extended(first)
            if offsets is None and length == 4 * self.n_frames:
                table = np.frombuffer(self._view, "<u4", self.n_frames, self._start + 8)
                offsets = _increasing(table.astype(np.int64), self._end - first)
                if offsets is None and self.n_frames > 1:
                    self._distrust("basic")
            if offsets is None:
                self._scan(first)
                return
            self._exact = exact
            self._bounds = np.append(offsets + first, self._end)

    def _extended(self, first: int) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        tables: list[NDArray[np.int64] | None] = []
        for value in self._tables:
            if value is None or len(value) == 0:
                tables.append(None)
            elif isinstance(value, np.ndarray):
                tables.append(value.astype(np.int64))
            else:
                tables.append(np.frombuffer(value, "<u8", len(value) // 8).astype(np.int64))
        offsets, lengths = tables
        if offsets is None:
            return None, None
        found = _increasing(offsets, self._end - first) if offsets.size == self.n_frames else None
        if found is None:
            self._distrust("extended")
            return None, None
        if lengths is not None and lengths.size != self.n_frames:
            lengths = None
        return found, lengths

    def _distrust(self, which: str) -> None:
        warnings.warn(
            f"the {which} offset table is wrong; the frames are found by a walk over all fragments",
            DicomMLWarning,
            stacklevel=5,
        )

    def _scan(self, first: int) -> None:
        fragments = scan_fragments(self._view, first, self._end)
        if fragments.problem:
            warnings.warn(f"the pixel data is incomplete: {fragments.problem}", DicomMLWarning, stacklevel=6)
        frames = group_fragments(self._view, fragments, self.n_frames, self.info.transfer_syntax_uid)
        self._fragments = fragments.starts, fragments.lengths, frames
        self._bounds = self._exact = None

    def _by_table(self, i: int) -> memoryview | bytes | None:
        """Return the frame that an offset table points at; None where no whole items lie there."""
        bounds = self._bounds
        if bounds is None:
            return None
        at, end = int(bounds[i]), int(bounds[i + 1])
        length = read_item(self._view, at, end)
        if length < 0:
            return None
        whole = self._view[at + 8 : at + 8 + length]
        if self._exact is not None and 0 < self._exact[i] <= length:
            whole = whole[: int(self._exact[i])]
        at += 8 + length
        if i + 1 < self.n_frames and at == end:
            return whole
        parts = [whole]
        while at < end and (length := read_item(self._view, at, end)) >= 0:
            parts.append(self._view[at + 8 : at + 8 + length])
            at += 8 + length
        if at != end and i + 1 < self.n_frames:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def frame(self, i: int) -> memoryview | bytes:
        """Return the bytes of frame ``i``, counted from 0.

        Returns
        -------
        memoryview or bytes
            A view of the buffer; bytes where a frame had to be joined from several fragments. For native
            1-bit frames the bytes that hold its bits, see `bit_offset`.

        Raises
        ------
        FileError
            When the frame is not in the file.
        """
        if not 0 <= i < self.n_frames:
            raise IndexError(f"frame {i} of {self.n_frames}")
        if not self.encapsulated:
            bit = i * self._frame_bits
            return self._view[self._start + bit // 8 : self._start + (bit + self._frame_bits + 7) // 8]
        if self._bounds is None and self._fragments is None:
            self._locate()
        if self._fragments is None:
            found = self._by_table(i)
            if found is not None:
                return found
            with self._lock:
                if self._fragments is None:
                    self._distrust("extended" if self._tables[0] is not None else "basic")
                    self._scan(self._start + 8 + read_item(self._view, self._start, self._end))
        assert self._fragments is not None
        starts, lengths, frames = self._fragments
        if i + 1 >= frames.size:
            raise FileError(
                f"frame {i + 1} of {self.n_frames} is not in the file: only {frames.size - 1} are whole; "
                "the file is truncated"
            )
        parts = [
            self._view[start : start + length]
            for start, length in zip(
                starts[frames[i] : frames[i + 1]].tolist(), lengths[frames[i] : frames[i + 1]].tolist(), strict=True
            )
        ]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self, frames: Sequence[int]) -> None:
        """Get ready for frames that will be asked for; nothing to do where the bytes are at hand."""

    def bit_offset(self, i: int) -> int:
        """Return the bit of ``frame(i)`` at which a native 1-bit frame begins; 0 for all others."""
        return 0 if self.encapsulated else i * self._frame_bits % 8

    def decode(self, i: int, *, color: str = "stored", out: Array | None = None) -> Array:
        """Decode frame ``i``; parameters and errors as in `dicom_ml.encoding.codecs.decode_frame`."""
        data = self.frame(i)
        info = self.info
        if info.bits_allocated == 1 and not self.encapsulated:
            values = unpack_bits(data, self._frame_bits, self.bit_offset(i)).reshape(info.shape)
            if out is None:
                return values
            out[...] = values
            return out
        return decode_frame(data, info, frame=i, color=color, out=out)


def _increasing(offsets: NDArray[np.int64], room: int) -> NDArray[np.int64] | None:
    """Return the offsets where they can be right: from 0, increasing, within the pixel data."""
    if offsets[0] != 0 or offsets[-1] + 8 > room or np.any(np.diff(offsets) < 8):
        return None
    return offsets


def _worthwhile(index: FrameIndex, count: int) -> bool:
    size = count * index.info.decoded_bytes
    return count > 1 and size >= (_LEAST_COMPRESSED if index.encapsulated else _LEAST_NATIVE)


def map_frames(
    index: FrameIndex,
    function: Callable[[int, Array], object],
    frames: Iterable[int] | None = None,
    *,
    threads: int | None = None,
    color: str = "stored",
) -> None:
    """Decode frames and hand each to ``function(position, frame)`` on the thread that decoded it.

    ``position`` counts in ``frames``; what is done with the frame while it is in the cache costs little. The
    array may be a read-only view of the file.
    """
    wanted = range(index.n_frames) if frames is None else [int(i) for i in frames]
    if not _worthwhile(index, len(wanted)):
        threads = 1
    parallel_for(
        lambda position: function(position, index.decode(wanted[position], color=color)),
        range(len(wanted)),
        threads,
    )


def decode_frames(
    index: FrameIndex,
    frames: Iterable[int] | None = None,
    *,
    out: Array | None = None,
    threads: int | None = None,
    color: str = "stored",
) -> Array:
    """Decode frames into one array, on several threads where that pays.

    Parameters
    ----------
    index
        Where the frames are.
    frames
        Indices of the frames, from 0, in the order wanted; None takes all.
    out
        Array of (frames, *info.shape) to decode into, of ``info.dtype`` or a type that holds it.
    threads
        Most threads to use; None takes one a core, 8 at most.
    color
        ``"stored"`` or ``"rgb"``.

    Returns
    -------
    numpy.ndarray
        (frames, *info.shape), of ``info.dtype`` unless ``out`` was given.

    Raises
    ------
    FileError
        When a frame is not in the file.
    CodecError
        When a frame cannot be decoded.
    """
    wanted = range(index.n_frames) if frames is None else [int(i) for i in frames]
    shape = (len(wanted), *index.info.shape)
    for i in wanted:
        # Every frame is known to be there before memory is taken for it.
        if not isinstance(i, int) or not 0 <= i < index.n_frames:
            raise IndexError(f"frame {i} of {index.n_frames}")
    if index.encapsulated:
        for i in wanted:
            index.frame(i)
    if out is None:
        out = np.empty(shape, index.info.dtype)
    elif out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; {shape} is needed")
    target = out
    if not _worthwhile(index, len(wanted)):
        threads = 1
    parallel_for(
        lambda position: index.decode(wanted[position], color=color, out=target[position]),
        range(len(wanted)),
        threads,
    )
    return out
