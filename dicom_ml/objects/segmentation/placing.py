"""Frames of a stored segmentation put where they belong on a grid: by position, whatever their order and number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation.descriptions import Segment, segment_index
from dicom_ml.objects.segmentation.reading import StoredSegmentation

__all__ = ["Target", "place_channels", "place_labels"]

Array = npt.NDArray[Any]
#: How far, in voxels of the target, pixels may lie from its lattice: within the plane, and across planes, where
#: positions that a scanner rounded to 0.1 mm can be a tenth of a thin slice away from the even stack.
_IN_PLANE, _ACROSS = 0.15, 0.25
#: Voxels from which several threads pay.
_THREADED_FROM = 1 << 23


@dataclass(frozen=True)
class Target:
    """Grid of a result, and what to do with what does not fit on it."""

    grid: Grid
    outside: str = "error"
    resample: bool = False

    def __post_init__(self) -> None:
        if self.outside not in ("error", "drop"):
            raise EncodingError(f"outside is 'error' or 'drop', found {self.outside!r}")


@dataclass(frozen=True)
class _Placement:
    """Where frames lie on the target: axes that planes, rows and columns run along, and each frame's first pixel."""

    axes: tuple[int, int, int]
    signs: tuple[int, int]
    slot: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]

    def oriented(self, out: Array) -> Array:
        """View of ``out`` (its last three axes are the target's) with axes as planes, rows and columns of frames."""
        lead = out.ndim - 3
        moved = out.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return moved[..., :: self.signs[0], :: self.signs[1]]


def _place(stored: StoredSegmentation, grid: Grid) -> _Placement | None:
    """Find where frames lie on the lattice of ``grid``; None where they do not lie on it."""
    plane_of, positions, orientations, spacings = stored.planes
    inverse = np.linalg.inv(grid.affine[:3, :3])
    rows = (orientations[:, 3:] * spacings[:, :1]) @ inverse.T
    columns = (orientations[:, :3] * spacings[:, 1:]) @ inverse.T
    row_axis, column_axis = int(np.argmax(np.abs(rows[0]))), int(np.argmax(np.abs(columns[0])))
    if row_axis == column_axis:
        return None
    row_step, column_step = np.zeros(3), np.zeros(3)
    row_step[row_axis], column_step[column_axis] = np.sign(rows[0, row_axis]), np.sign(columns[0, column_axis])
    first = grid.to_index(positions)
    whole = np.rint(first)
    stray = (
        np.abs(first - whole)
        + np.abs(rows - row_step) * (stored.rows - 1)
        + np.abs(columns - column_step) * (stored.columns - 1)
    ).max(axis=0)
    across = 3 - row_axis - column_axis
    allowed = np.full(3, _IN_PLANE)
    allowed[across] = _ACROSS
    if (stray > allowed).any():
        return None
    place = whole.astype(np.intp)[plane_of]
    signs = int(row_step[row_axis]), int(column_step[column_axis])
    row, column = place[:, row_axis], place[:, column_axis]
    if signs[0] < 0:
        row = grid.shape[row_axis] - 1 - row
    if signs[1] < 0:
        column = grid.shape[column_axis] - 1 - column
    return _Placement((across, row_axis, column_axis), signs, place[:, across], row, column)


def _placement(stored: StoredSegmentation, target: Target) -> _Placement | None:
    """As :func:`_place`; None only where resampling was allowed.

    Raises
    ------
    GeometryError
        If the object does not lie on the target's lattice.
    """
    placement = _place(stored, target.grid)
    if placement is None and not target.resample:
        _, positions, orientations, spacings = stored.planes
        raise GeometryError(
            f"{stored.name}: its planes ({stored.rows} x {stored.columns} pixels of {spacings[0, 0]:.4g} x "
            f"{spacings[0, 1]:.4g} mm, orientation {np.round(orientations[0], 3).tolist()}) do not lie on the voxels "
            f"of the grid asked for ({target.grid!r}); pass resample=True for the nearest neighbour, or take the "
            "object's own grid (on=None)"
        )
    return placement


# ---------------------------------------------------------------------- frames one by one
@dataclass(frozen=True)
class _Window:
    """The part of a frame that holds anything and lies on the target."""

    place: tuple[slice, slice]
    values: Array


def _window(
    stored: StoredSegmentation, i: int, row: int, column: int, shape: tuple[int, int]
) -> tuple[_Window | None, bool]:
    """The part of frame ``i`` that holds anything, and whether any of that lies outside of the plane."""
    values, top, left = _content(stored, i)
    if values is None:
        return None, False
    first, start = row + top, column + left
    cut = (
        max(0, -first),
        min(values.shape[0], shape[0] - first),
        max(0, -start),
        min(values.shape[1], shape[1] - start),
    )
    outside = False
    if cut != (0, values.shape[0], 0, values.shape[1]):
        inner = values[cut[0] : max(cut[0], cut[1]), cut[2] : max(cut[2], cut[3])]
        outside = np.count_nonzero(inner) != np.count_nonzero(values)
        if inner.size == 0:
            return None, outside
        values = inner
        first, start = first + cut[0], start + cut[2]
    place = (slice(first, first + values.shape[0]), slice(start, start + values.shape[1]))
    return _Window(place, values), outside


def _content(stored: StoredSegmentation, i: int) -> tuple[Array | None, int, int]:
    """What frame ``i`` holds, and the row and column at which that begins; None where it is empty."""
    index = stored.frames
    if stored.kind == "binary" and not index.encapsulated and stored.columns % 64 == 0:
        row_bytes = stored.columns // 8
        packed = np.frombuffer(index.frame(i), dtype=np.uint8).reshape(stored.rows, row_bytes)
        aligned = packed.ctypes.data % 8 == 0
        wide = packed.view(np.uint64) if aligned else packed
        rows = np.flatnonzero(wide.any(axis=1))
        if not len(rows):
            return None, 0, 0
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(np.bitwise_or.reduce(wide[top:bottom], axis=0))
        scale = 8 if aligned else 1
        left, right = int(columns[0]) * scale, (int(columns[-1]) + 1) * scale
        part = packed[top:bottom, left:right]
        return np.unpackbits(part, axis=1, bitorder="little"), top, 8 * left
    values = index.decode(i)
    if stored.kind == "labelmap":
        return values, 0, 0
    if not values.any():
        return None, 0, 0
    return values, 0, 0


def _check_unique(stored: StoredSegmentation, frames: npt.NDArray[np.intp], slot: npt.NDArray[np.intp]) -> None:
    pairs = np.stack([stored.segment_of[frames], slot[frames]], axis=1)
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    if len(frames) and counts.max() > 1:
        raise FileError(
            f"{stored.name}: {int((counts > 1).sum())} places are held by two frames of one segment, "
            "so it cannot be said which one is meant"
        )


def _run(
    stored: StoredSegmentation,
    frames: npt.NDArray[np.intp],
    placement: _Placement,
    target: Target,
    use: Callable[[int, int, _Window], int],
) -> int:
    """Hand the window of every frame to ``use``, on threads where frames of different slices do not meet.

    Returns the sum of what ``use`` returned.
    """
    depth, *plane = (target.grid.shape[a] for a in placement.axes)
    size = (plane[0], plane[1])

    results: list[tuple[int, list[int]]] = []

    def work(part: npt.NDArray[np.intp]) -> None:
        total, lost = 0, []
        for i in part.tolist():
            slot = int(placement.slot[i])
            inside = 0 <= slot < depth
            window, outside = _window(stored, i, int(placement.row[i]), int(placement.column[i]), size)
            if window is None and not outside:
                continue
            if outside or (not inside and window is not None and _holds(stored, window.values)):
                lost.append(i)
            if inside and window is not None:
                total += use(i, slot, window)
        results.append((total, lost))

    # frames of one slice stay together and in order, so threads never write the same voxels
    order = frames[np.argsort(placement.slot[frames], kind="stable")]
    bounds = np.flatnonzero(np.diff(placement.slot[order])) + 1
    parts = np.split(order, bounds)
    try:
        parallel_for(work, parts, None if len(frames) * stored.rows * stored.columns > _THREADED_FROM else 1)
    except DicomMLError as error:
        raise type(error)(f"{stored.name}: {error}") from error
    lost = [i for _, found in results for i in found]
    if lost and target.outside == "error":
        raise GeometryError(
            f"{stored.name}: {len(lost)} frames hold voxels outside of the grid asked for (first is frame "
            f"{min(lost) + 1}); the object belongs to other images, or pass outside='drop' to leave them out"
        )
    return sum(total for total, _ in results)


def _holds(stored: StoredSegmentation, values: Array) -> bool:
    return bool((values != (stored.padding or 0)).any()) if stored.kind == "labelmap" else bool(values.any())


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
    placement = _placement(stored, target)
    if placement is None:
        own = place_labels(stored, Target(stored.grid), wanted, overlap, threshold, dtype)
        return _nearest(own, stored.grid, target)
    out = np.zeros(target.grid.shape, dtype=dtype)
    planes = placement.oriented(out)
    if stored.kind == "labelmap":
        _copy_labels(stored, target, placement, planes, None if wanted is None else numbers)
        return out
    frames = np.flatnonzero(np.isin(stored.segment_of, chosen))
    _check_unique(stored, frames, placement.slot)
    least = threshold * stored.maximum if stored.kind == "fractional" else 1
    label_of = np.array([s.number or 0 for s in stored.segments], dtype=dtype)
    if overlap == "error":
        count = _run(stored, frames, placement, target, _or_labels(stored, planes, label_of, least))
        if count != np.count_nonzero(out):
            _name_overlap(stored, target, frames, placement, least)
    else:
        ordered = frames[np.argsort(stored.segment_of[frames], kind="stable")]
        ordered = ordered if overlap == "last" else ordered[::-1]
        _run(stored, ordered, placement, target, _set_labels(stored, planes, label_of, least))
    return out


def _or_labels(
    stored: StoredSegmentation, planes: Array, label_of: Array, least: float
) -> Callable[[int, int, _Window], int]:
    """Add labels by OR, which is right unless segments overlap; that shows in the count of voxels set."""
    fractional = stored.kind == "fractional"

    def use(i: int, slot: int, window: _Window) -> int:
        values = (window.values >= least).view(np.uint8) if fractional else window.values
        count = int(np.count_nonzero(values.view(bool) if values.dtype == np.uint8 else values))
        labels = values * label_of[stored.segment_of[i]]
        region = planes[slot][window.place]
        np.bitwise_or(region, labels, out=region)
        return count

    return use


def _set_labels(
    stored: StoredSegmentation, planes: Array, label_of: Array, least: float
) -> Callable[[int, int, _Window], int]:
    def use(i: int, slot: int, window: _Window) -> int:
        region = planes[slot][window.place]
        region[window.values >= least] = label_of[stored.segment_of[i]]
        return 0

    return use


def _name_overlap(
    stored: StoredSegmentation, target: Target, frames: npt.NDArray[np.intp], placement: _Placement, least: float
) -> None:
    """Raise, naming two segments that overlap."""
    owner = np.full(target.grid.shape, -1, dtype=np.int32)
    planes = placement.oriented(owner)
    found: set[tuple[int, int]] = set()

    def use(i: int, slot: int, window: _Window) -> int:
        region, inside = planes[slot][window.place], window.values >= least
        segment = int(stored.segment_of[i])
        found.update((int(o), segment) for o in np.unique(region[inside]) if o not in (-1, segment))
        region[inside] = segment
        return 0

    _run(stored, frames, placement, target, use)
    pairs = [f"{stored.segments[a].label!r} and {stored.segments[b].label!r}" for a, b in sorted(found)[:3]]
    raise EncodingError(
        f"{stored.name}: segments overlap ({'; '.join(pairs)}), which one number a voxel cannot say; "
        "pass overlap='first' or 'last', ask for fewer segments, or take channels()"
    )


def _copy_labels(
    stored: StoredSegmentation, target: Target, placement: _Placement, planes: Array, numbers: Sequence[int] | None
) -> None:
    frames = np.arange(stored.frame_count)
    _check_unique(stored, frames, placement.slot)
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

    def use(i: int, slot: int, window: _Window) -> int:
        counts = np.bincount(window.values.ravel())
        unknown.update(int(v) for v in np.flatnonzero(counts) if not known[v])
        region = planes[slot][window.place]
        region[:] = window.values if plain else table[window.values]
        return 0

    _run(stored, frames, placement, target, use)
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
    placement = _placement(stored, target)
    if placement is None:
        own = place_channels(stored, Target(stored.grid), wanted)
        return np.stack([_nearest(channel, stored.grid, target) for channel in own])
    out = np.zeros((len(chosen), *target.grid.shape), dtype=np.float32 if fractional else bool)
    planes = placement.oriented(out)
    if stored.kind == "labelmap":
        numbers = [int(stored.segments[c].number or 0) for c in chosen]
        frames = np.arange(stored.frame_count)

        def split(i: int, slot: int, window: _Window) -> int:
            for channel, number in enumerate(numbers):
                np.equal(window.values, number, out=planes[channel, slot][window.place])
            return 0

        _check_unique(stored, frames, placement.slot)
        _run(stored, frames, placement, target, split)
        return out
    channel_of = {c: i for i, c in enumerate(chosen)}
    frames = np.flatnonzero(np.isin(stored.segment_of, chosen))
    _check_unique(stored, frames, placement.slot)

    def copy(i: int, slot: int, window: _Window) -> int:
        region = planes[channel_of[int(stored.segment_of[i])], slot][window.place]
        if fractional:
            np.multiply(window.values, np.float32(1 / stored.maximum), out=region, casting="unsafe")
        else:
            region[:] = window.values
        return 0

    _run(stored, frames, placement, target, copy)
    return out


def _chosen(segments: Sequence[Segment], wanted: Sequence[Any] | None) -> list[int]:
    if wanted is None:
        return list(range(len(segments)))
    if isinstance(wanted, str | int | Segment):
        wanted = [wanted]
    return segment_index(segments, list(wanted))


# ---------------------------------------------------------------------- another lattice
def _nearest(array: Array, grid: Grid, target: Target) -> Array:
    """Values of ``array`` (on ``grid``) at the voxels of the target: nearest neighbour, zero outside."""
    out = np.zeros(target.grid.shape, dtype=array.dtype)
    across = np.linalg.inv(grid.affine) @ target.grid.affine
    _, height, width = target.grid.shape
    rows, columns = np.mgrid[:height, :width]
    base = across[:3, 1, None, None] * rows + across[:3, 2, None, None] * columns + across[:3, 3, None, None]
    limit = np.array(grid.shape)[:, None, None]
    for d in range(target.grid.shape[0]):
        index = np.rint(base + across[:3, 0, None, None] * d).astype(np.intp)
        inside = ((index >= 0) & (index < limit)).all(axis=0)
        out[d][inside] = array[tuple(index[:, inside])]
    return out
