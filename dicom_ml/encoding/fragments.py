"""Finding frames among the fragments of encapsulated pixel data (PS3.5 section A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_ml.errors import FileError

__all__ = ["Fragments", "group_fragments", "read_item", "scan_fragments"]

ITEM = 0xE000FFFE
DELIMITER = 0xE0DDFFFE
_HEADER = struct.Struct("<II")

_RLE = "1.2.840.10008.1.2.5"
# How a frame begins in the syntaxes that allow several fragments a frame: JPEG and JPEG-LS, JPEG 2000
# codestream, JPEG 2000 file.
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_ENDS = (b"\xff\xd9",)


@dataclass(frozen=True)
class Fragments:
    """Where the fragments of a sequence lie in the buffer, in their order."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    #: Why the sequence ended early, or empty where a delimiter (or the expected end) closed it.
    problem: str


def read_item(view: memoryview, at: int, end: int) -> int:
    """Return the length of the item whose header lies at ``at``; -1 where there is no whole item."""
    if at < 0 or at + 8 > end:
        return -1
    tag, length = _HEADER.unpack_from(view, at)
    if tag != ITEM or at + 8 + length > end:
        return -1
    return int(length)


def scan_fragments(view: memoryview, at: int, end: int) -> Fragments:
    """Walk all items from ``at`` on; what is cut off by the end of the buffer is left out."""
    starts: list[int] = []
    lengths: list[int] = []
    unpack = _HEADER.unpack_from
    problem = ""
    while at + 8 <= end:
        tag, length = unpack(view, at)
        if tag == DELIMITER:
            break
        if tag != ITEM:
            problem = f"no item begins at byte {at}, where fragment {len(starts) + 1} should"
            break
        at += 8
        if at + length > end:
            problem = f"fragment {len(starts) + 1} of {length} bytes is cut off by the end of the file"
            break
        starts.append(at)
        lengths.append(length)
        at += length
    else:
        if at != end:
            problem = "the file ends within a fragment's header"
    return Fragments(np.array(starts, np.int64), np.array(lengths, np.int64), problem)


def group_fragments(
    view: memoryview, fragments: Fragments, n_frames: int, transfer_syntax_uid: str = ""
) -> NDArray[np.int64]:
    """Return the first fragment of each frame, and after the last frame the count of fragments.

    Without a usable offset table frames are told apart by their number, or by the markers that begin and
    end their codestreams. A truncated sequence gives the frames that are there.

    Raises
    ------
    FileError
        When the fragments cannot be divided into the header's number of frames.
    """
    count = fragments.starts.size
    if count == n_frames:
        return np.arange(count + 1)
    if count < n_frames:
        if fragments.problem:
            return np.arange(count + 1)
        raise FileError(
            f"the header announces {n_frames} frames, the pixel data holds only {count} fragments: "
            "the file is damaged, or its Number of Frames is wrong"
        )
    if n_frames == 1:
        return np.array([0, count])
    if transfer_syntax_uid == _RLE:
        raise FileError(
            f"the header announces {n_frames} frames, the pixel data holds {count} fragments; RLE needs one "
            "fragment a frame: the file is damaged, or its Number of Frames is wrong"
        )
    begins = np.zeros(count, bool)
    follows = np.zeros(count, bool)
    follows[0] = True
    for i, (start, length) in enumerate(zip(fragments.starts.tolist(), fragments.lengths.tolist(), strict=True)):
        head = bytes(view[start : start + min(length, 8)])
        begins[i] = head.startswith(_STARTS) or head == _STARTS[0][:2]
        if i + 1 < count:
            # Padding may follow the end marker.
            tail = bytes(view[start + max(length - 4, 0) : start + length]).rstrip(b"\0")
            follows[i + 1] = tail.endswith(_ENDS)
    for marks in (begins & follows, begins, follows):
        if marks[0] and int(marks.sum()) == n_frames:
            return np.append(np.flatnonzero(marks), count)
    raise FileError(
        f"the header announces {n_frames} frames, the pixel data holds {count} fragments and no usable offset "
        "table, and the fragments do not tell where frames begin: rewrite the file with an offset table"
    )
