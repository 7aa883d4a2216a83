"""Frames of a stored segmentation as label maps and channels on a grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.placing import (
    Content,
    Placement,
    Target,
    Window,
    check_unique,
    find_placement,
    nearest,
    place_frames,
)
from dicom_ml.objects.segmentation.descriptions import Segment, segment_index
from dicom_ml.objects.segmentation.reading import StoredSegmentation

__all__ = ["place_channels", "place_labels"]

Array = npt.NDArray[Any]


def _content(stored: StoredSegmentation) -> Content:
    """What frames hold, of bits only the box that holds anything."""
    return lambda i: _read(stored, i)


def _read(stored: StoredSegmentation, i: int) -> tuple[Array | None, int, int]:
    """What frame ``i`` holds, and the row and column at which that begins; None where it is empty."""
    index = stored.frames
    if stored.kind == "binary" and not index.encapsulated and stored.columns % 64 == 0:
        row_bytes = stored.columns // 8
        packed = np.frombuffer(index.frame(i), dtype=np.uint8).reshape(stored.rows, row_bytes)
        words = packed.view(np.uint64) if packed.ctypes.data % 8 == 0 else packed
        width = words.shape[1]
        # one look at the words in use gives rows and columns of the box
        used = np.flatnonzero(words != 0)
        if not len(used):
            return None, 0, 0
        top, bottom = int(used[0]) // width, int(used[-1]) // width + 1
        columns = used % width
        scale = row_bytes // width
        left, right = int(columns.min()) * scale, (int(columns.max()) + 1) * scale
        part = packed[top:bottom, left:right]
        return np.unpackbits(part, axis=1, bitorder="little"), top, 8 * left
    values = index.decode(i)
    if stored.kind == "labelmap" and stored.padding:
        # the background has a value of its own; what lies beyond the target's edge must count as empty
        values = np.where(values == stored.padding, values.dtype.type(0), values)
    if not values.any():
        return None, 0, 0
    return values, 0, 0


# ---------------------------------------------------------------------- label maps
def place_labels(
    stored: StoredSegmentation,
    target: Target,
    wanted: Sequence[Any] | None,
    overlap: str,
    threshold: float,
    dtype: npt.DTypeLike | None,
) -> Array:
    """Label map of a stored segmentation on a grid; see :meth:`Segmentation.label_map`."""
    if overlap not in ("error", "first", "last"):
        raise EncodingError(f"overlap is 'error', 'first' or 'last', found {overlap!r}")
    chosen = _chosen(stored.segments, wanted)
    numbers = [int(stored.segments[c].number or 0) for c in chosen]
    if dtype is None:
        dtype = np.uint8 if max(numbers, default=0) < 256 else np.uint16
    elif max(numbers, default=0) > np.iinfo(dtype).max:
        raise EncodingError(f"segment number {max(numbers)} does not fit into {np.dtype(dtype)}")
    placement = find_placement(stored, target)
    content = _content(stored)
    if placement is None:
        own = place_labels(stored, Target(stored.grid), wanted, overlap, threshold, dtype)
        return nearest(own, stored.grid, target)
    out = np.zeros(target.grid.shape, dtype=dtype)
    planes = placement.oriented(out)
    if stored.kind == "labelmap":
        _copy_labels(stored, target, placement, planes, None if wanted is None else numbers)
        return out
    frames = np.flatnonzero(np.isin(stored.segment_of, chosen))
    check_unique(stored, frames, placement.slot, stored.segment_of)
    least = threshold * stored.maximum if stored.kind == "fractional" else 1
    label_of = np.array([s.number or 0 for s in stored.segments], dtype=dtype)
    if overlap == "error":
        count = place_frames(stored, frames, placement, target, content, _or_labels(stored, planes, label_of, least))
        if count != np.count_nonzero(out):
            _name_overlap(stored, target, frames, placement, least)
    else:
        ordered = frames[np.argsort(stored.segment_of[frames], kind="stable")]
        ordered = ordered if overlap == "last" else ordered[::-1]
        place_frames(stored, ordered, placement, target, content, _set_labels(stored, planes, label_of, least))
    return out


def _or_labels(
    stored: StoredSegmentation, planes: Array, label_of: Array, least: float
) -> Callable[[int, int, Window], int]:
    """Add labels by OR, which is right unless segments overlap; that shows in the count of voxels set."""
    fractional = stored.kind == "fractional"

    def use(i: int, slot: int, window: Window) -> int:
        values = (window.values >= least).view(np.uint8) if fractional else window.values
        count = int(np.count_nonzero(values.view(bool) if values.dtype == np.uint8 else values))
        labels = values * label_of[stored.segment_of[i]]
        region = planes[slot][window.place]
        np.bitwise_or(region, labels, out=region)
        return count

    return use


def _set_labels(
    stored: StoredSegmentation, planes: Array, label_of: Array, least: float
) -> Callable[[int, int, Window], int]:
    def use(i: int, slot: int, window: Window) -> int:
        region = planes[slot][window.place]
        region[window.values >= least] = label_of[stored.segment_of[i]]
        return 0

    return use


def _name_overlap(
    stored: StoredSegmentation, target: Target, frames: npt.NDArray[np.intp], placement: Placement, least: float
) -> None:
    """Raise, naming two segments that overlap."""
    content = _content(stored)
    owner = np.full(target.grid.shape, -1, dtype=np.int32)
    planes = placement.oriented(owner)
    found: set[tuple[int, int]] = set()

    def use(i: int, slot: int, window: Window) -> int:
        region, inside = planes[slot][window.place], window.values >= least
        segment = int(stored.segment_of[i])
        found.update((int(o), segment) for o in np.unique(region[inside]) if o not in (-1, segment))
        region[inside] = segment
        return 0

    place_frames(stored, frames, placement, target, content, use)
    pairs = [f"{stored.segments[a].label!r} and {stored.segments[b].label!r}" for a, b in sorted(found)[:3]]
    raise EncodingError(
        f"{stored.name}: segments overlap ({'; '.join(pairs)}), which one number a voxel cannot say; "
        "pass overlap='first' or 'last', ask for fewer segments, or take channels()"
    )


def _copy_labels(
    stored: StoredSegmentation, target: Target, placement: Placement, planes: Array, numbers: Sequence[int] | None
) -> None:
    frames = np.arange(stored.frame_count)
    content = _content(stored)
    check_unique(stored, frames, placement.slot, stored.segment_of)
    known = np.zeros(1 << 16, dtype=bool)
    known[[s.number or 0 for s in stored.all_segments]] = True
    known[0] = True
    if stored.padding is not None:
        known[stored.padding] = True
    table = np.arange(1 << 16, dtype=planes.dtype)
    if numbers is not None:
        keep = np.isin(np.arange(1 << 16), numbers)
        table[~keep] = 0
    for segment in stored.all_segments:
        if segment not in stored.segments:
            table[segment.number or 0] = 0
    if stored.padding is not None:
        table[stored.padding] = 0
    unknown: set[int] = set()
    plain = numbers is None and np.array_equal(table[:256], np.arange(256)) and planes.dtype.itemsize == 2

    def use(i: int, slot: int, window: Window) -> int:
        counts = np.bincount(window.values.ravel())
        unknown.update(int(v) for v in np.flatnonzero(counts) if not known[v])
        region = planes[slot][window.place]
        region[:] = window.values if plain else table[window.values]
        return 0

    place_frames(stored, frames, placement, target, content, use)
    if unknown:
        warnings.warn(
            f"{stored.name}: the label map holds values that no segment describes: {sorted(unknown)[:10]}",
            DicomMLWarning,
            stacklevel=4,
        )


# ---------------------------------------------------------------------- channels
def place_channels(stored: StoredSegmentation, target: Target, wanted: Sequence[Any] | None) -> Array:
    """Stacked channels of a stored segmentation on a grid; see :meth:`Segmentation.channels`."""
    chosen = _chosen(stored.segments, wanted)
    fractional = stored.kind == "fractional"
    placement = find_placement(stored, target)
    content = _content(stored)
    if placement is None:
        own = place_channels(stored, Target(stored.grid), wanted)
        return np.stack([nearest(channel, stored.grid, target) for channel in own])
    out = np.zeros((len(chosen), *target.grid.shape), dtype=np.float32 if fractional else bool)
    planes = placement.oriented(out)
    if stored.kind == "labelmap":
        numbers = [int(stored.segments[c].number or 0) for c in chosen]
        frames = np.arange(stored.frame_count)

        def split(i: int, slot: int, window: Window) -> int:
            for channel, number in enumerate(numbers):
                np.equal(window.values, number, out=planes[channel, slot][window.place])
            return 0

        check_unique(stored, frames, placement.slot, stored.segment_of)
        place_frames(stored, frames, placement, target, content, split)
        return out
    channel_of = {c: i for i, c in enumerate(chosen)}
    frames = np.flatnonzero(np.isin(stored.segment_of, chosen))
    check_unique(stored, frames, placement.slot, stored.segment_of)

    def copy(i: int, slot: int, window: Window) -> int:
        region = planes[channel_of[int(stored.segment_of[i])], slot][window.place]
        if fractional:
            np.multiply(window.values, np.float32(1 / stored.maximum), out=region, casting="unsafe")
        else:
            region[:] = window.values
        return 0

    place_frames(stored, frames, placement, target, content, copy)
    return out


def _chosen(segments: Sequence[Segment], wanted: Sequence[Any] | None) -> list[int]:
    if wanted is None:
        return list(range(len(segments)))
    if isinstance(wanted, str | int | Segment):
        wanted = [wanted]
    return segment_index(segments, list(wanted))
