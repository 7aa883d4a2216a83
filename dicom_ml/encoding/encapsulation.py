"""Writing encapsulated pixel data: items and offset tables (PS3.5 section A.4, PS3.3 C.7.6.3.1.8)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_ml.errors import EncodingError

__all__ = [
    "SEQUENCE_DELIMITER",
    "basic_offset_table",
    "basic_offsets_fit",
    "encapsulate",
    "extended_offset_table",
    "frame_item",
    "item_header",
]

#: What ends the sequence of fragments.
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"

_ITEM = struct.Struct("<HHI")
_MOST = 0xFFFFFFFE


def item_header(length: int) -> bytes:
    """Return the tag and length of an item that holds ``length`` bytes (an even number)."""
    if length % 2 or not 0 <= length <= _MOST:
        raise EncodingError(f"an item cannot hold {length} bytes; expected an even number below 4 GiB")
    return _ITEM.pack(0xFFFE, 0xE000, length)


def frame_item(frame: bytes) -> bytes:
    """Return a frame as one item, padded with a zero byte to an even length."""
    if len(frame) % 2:
        return b"".join((item_header(len(frame) + 1), frame, b"\0"))
    return item_header(len(frame)) + frame


def _offsets(lengths: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    sizes = np.asarray(lengths, np.uint64)
    padded = sizes + (sizes & np.uint64(1))
    steps = padded + np.uint64(_ITEM.size)
    offsets = np.zeros(sizes.size, np.uint64)
    np.cumsum(steps[:-1], out=offsets[1:])
    return offsets, padded


def basic_offsets_fit(lengths: Sequence[int] | NDArray[np.integer]) -> bool:
    """Whether the offsets of frames of such lengths fit the 32 bits of a basic offset table."""
    offsets, _ = _offsets(lengths)
    # The table's own length must fit as well.
    return offsets.size == 0 or (int(offsets[-1]) <= 0xFFFFFFFF and offsets.size * 4 <= _MOST)


def basic_offset_table(lengths: Sequence[int] | NDArray[np.integer] = ()) -> bytes:
    """Return the item of a basic offset table, header included.

    Parameters
    ----------
    lengths
        Length of each frame in bytes, before padding, each frame being one fragment. None of them gives the
        empty table, which must stand before the first fragment where an extended one is used.

    Raises
    ------
    EncodingError
        When an offset needs more than 32 bits: an extended offset table does not.
    """
    if not basic_offsets_fit(lengths):
        raise EncodingError(
            "the frames reach past 4 GiB, more than a basic offset table can address: use an extended offset table"
        )
    table = _offsets(lengths)[0].astype("<u4").tobytes()
    return item_header(len(table)) + table


def extended_offset_table(
    lengths: Sequence[int] | NDArray[np.integer],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the values of Extended Offset Table (7FE0,0001) and of its Lengths (7FE0,0002).

    Parameters
    ----------
    lengths
        Length of each frame in bytes, each frame being one fragment.

    Returns
    -------
    offsets, lengths
        Little endian uint64 arrays. Offsets count from the first byte of the first fragment's item tag;
        lengths are those of the items, padding included, as other writers give them: readers add them to
        the offsets.
    """
    offsets, sizes = _offsets(lengths)
    return offsets.astype("<u8", copy=False), sizes.astype("<u8", copy=False)


def encapsulate(frames: Iterable[bytes], offset_table: bool = True) -> bytes:
    """Return a whole encapsulated pixel data value, delimiter included, for frames that fit in memory."""
    items = list(frames)
    lengths = [len(frame) for frame in items]
    table = basic_offset_table(lengths if offset_table else ())
    return b"".join((table, *map(frame_item, items), SEQUENCE_DELIMITER))
