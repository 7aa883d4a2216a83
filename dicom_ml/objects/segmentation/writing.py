"""Frames of a segmentation, packed or compressed one plane at a time and written where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.objects.segmentation.header import Coding
from dicom_ml.objects.segmentation.masks import LabelMask, Mask

__all__ = ["FramePlan", "plan_frames", "write_frames"]

#: Voxels, over all frames, from which several threads pay.
_THREADED_FROM = 1 << 24


@dataclass(frozen=True)
class FramePlan:
    """Which frames the object has, in file order: by segment, then by slice.

    Attributes
    ----------
    segment_of, slice_of : ndarray of int
        Index of the segment (0 throughout for label maps) and of the slice of each frame.
    """

    segment_of: npt.NDArray[np.intp]
    slice_of: npt.NDArray[np.intp]

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.slice_of)


def plan_frames(mask: Mask, labelmap: bool, keep_empty: bool) -> FramePlan:
    """Decide the frames; when a mask holds nothing at all, one empty frame stands for it."""
    presence = mask.presence.any(axis=0, keepdims=True) if labelmap else mask.presence
    if keep_empty:
        presence = np.ones_like(presence)
    elif not presence.any():
        presence = np.zeros_like(presence)
        presence[0, 0] = True
    segment_of, slice_of = np.nonzero(presence)
    return FramePlan(segment_of, slice_of)


def write_frames(file: BinaryIO, mask: Mask, plan: FramePlan, coding: Coding, syntax: str) -> None:
    """Write the pixel data element.

    Parameters
    ----------
    file : raw binary file
        Positioned after the header.
    mask : Mask
    plan : FramePlan
    coding : Coding
    syntax : str
        Transfer syntax UID.
    """
    kind, bits, maximum = coding.kind, coding.bits, coding.maximum
    if is_encapsulated(syntax):
        _write_encapsulated(file, mask, plan, kind, bits, maximum, syntax)
    elif kind != "binary":
        size = mask.shape[1] * mask.shape[2] * bits // 8
        sink = NativeFrames(file, "OW" if bits > 8 else "OB", size * plan.count)
        for i, frame in enumerate(_frames(mask, plan, kind, bits, maximum)):
            sink.write(i * size, np.ascontiguousarray(frame).data)
        sink.close()
    else:
        pixels = mask.shape[1] * mask.shape[2]
        sink = NativeFrames(file, "OB", (pixels * plan.count + 7) // 8)
        if mask.shape[2] % 8 == 0:
            _pack_rows(sink, mask, plan)
        else:
            _pack_stream(sink, mask, plan)
        sink.close()


def _frames(mask: Mask, plan: FramePlan, kind: str, bits: int, maximum: int) -> Iterator[npt.NDArray[Any]]:
    """Frames of label maps and fractional segmentations, in file order; a frame is only good until the next one."""
    dtype = np.uint8 if bits == 8 else np.uint16
    scaled = np.empty(mask.shape[1:], dtype=np.float32)
    for s, d in zip(plan.segment_of.tolist(), plan.slice_of.tolist(), strict=True):
        if kind == "labelmap":
            yield mask.labels(d, dtype)
            continue
        plane = mask.plane(s, d)
        if plane.dtype.kind == "f":
            np.multiply(plane, maximum, out=scaled, casting="same_kind")
            scaled += 0.5
            yield scaled.astype(np.uint8)
        else:
            yield plane.astype(np.uint8) * np.uint8(maximum)


def _bits(mask: Mask, s: int, d: int) -> npt.NDArray[np.bool_]:
    plane = mask.plane(s, d)
    return plane if plane.dtype == bool else np.asarray(plane > 0)


# ---------------------------------------------------------------------- native, one bit a pixel
def _pack_rows(sink: NativeFrames, mask: Mask, plan: FramePlan) -> None:
    """Pack frames whose rows are whole bytes: only the box in use is compared, packed and written."""
    order = np.argsort(plan.slice_of, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(plan.slice_of[order])) + 1)
    voxels = plan.count * mask.shape[1] * mask.shape[2]
    parallel_for(lambda part: _pack_slice(sink, mask, plan, part), parts, None if voxels > _THREADED_FROM else 1)


def _pack_slice(sink: NativeFrames, mask: Mask, plan: FramePlan, frames: npt.NDArray[np.intp]) -> None:
    """Pack the frames of one slice."""
    height, row_bytes = mask.shape[1], mask.shape[2] // 8
    labels = mask if isinstance(mask, LabelMask) else None
    band = np.zeros((height, row_bytes), dtype=np.uint8)
    for frame in frames.tolist():
        s, d = int(plan.segment_of[frame]), int(plan.slice_of[frame])
        top, bottom, left, right = mask.box(d, s)
        if top == bottom:
            continue
        if labels is not None:
            inside = labels.array[d, top:bottom, left:right] == labels.numbers[s]
        else:
            inside = np.asarray(mask.plane(s, d)[top:bottom, left:right], dtype=bool)
        packed = np.packbits(inside, axis=None, bitorder="little").reshape(bottom - top, -1)
        wide = packed.view(np.uint64) if packed.shape[1] % 8 == 0 else packed
        used = np.flatnonzero(wide != 0)
        if not len(used):
            continue
        first, end = int(used[0]) // wide.shape[1], int(used[-1]) // wide.shape[1] + 1
        part = packed[first:end]
        if part.shape[1] != row_bytes:
            whole = band[: end - first]
            whole[:, left // 8 : left // 8 + part.shape[1]] = part
            whole[:, : left // 8] = 0
            whole[:, left // 8 + part.shape[1] :] = 0
            part = whole
        sink.write(frame * height * row_bytes + (top + first) * row_bytes, part.data)


def _pack_stream(sink: NativeFrames, mask: Mask, plan: FramePlan) -> None:
    """Pack frames as one stream of bits: neither rows nor frames begin on a byte (PS3.5 8.1.1, annex D)."""
    rest = np.empty(0, dtype=bool)
    offset = 0
    for s, d in zip(plan.segment_of.tolist(), plan.slice_of.tolist(), strict=True):
        stream = np.concatenate([rest, _bits(mask, s, d).ravel()])
        whole = len(stream) // 8 * 8
        packed = np.packbits(stream[:whole], bitorder="little")
        sink.write(offset, packed.data)
        offset += len(packed)
        rest = stream[whole:]
    if len(rest):
        sink.write(offset, np.packbits(rest, bitorder="little").data)


# ---------------------------------------------------------------------- encapsulated
def _write_encapsulated(
    file: BinaryIO, mask: Mask, plan: FramePlan, kind: str, bits: int, maximum: int, syntax: str
) -> None:
    info = FrameInfo(mask.shape[1], mask.shape[2], bits_allocated=bits, transfer_syntax_uid=syntax)
    raw = plan.count * mask.shape[1] * mask.shape[2] * bits // 8
    sink = EncapsulatedFrames(file, plan.count, extended=raw > EXTENDED_FROM)
    if kind == "binary":
        pairs = zip(plan.segment_of.tolist(), plan.slice_of.tolist(), strict=True)
        frames: Iterator[npt.NDArray[Any]] = (_bits(mask, s, d) for s, d in pairs)
    else:
        frames = (np.array(f) for f in _frames(mask, plan, kind, bits, maximum))
    for data in encode_ahead(lambda frame: encode_frame(frame, info), frames):
        sink.append(data)
    sink.close()
