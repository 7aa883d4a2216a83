"""Frames of a stored object put where they belong on a grid: by position, whatever their order and number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import DicomMLError, EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.stored import StoredFrames
from dicom_ml.source import SourceSeries, as_source

__all__ = [
    "Content",
    "Placement",
    "Target",
    "Window",
    "check_unique",
    "find_placement",
    "nearest",
    "place_frames",
    "target_of",
]

Array = npt.NDArray[Any]
#: What a frame holds, and the row and column at which that begins; None where it holds nothing.
Content = Callable[[int], "tuple[Array | None, int, int]"]
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
class Placement:
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


def _place(stored: StoredFrames, grid: Grid) -> Placement | None:
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
    return Placement((across, row_axis, column_axis), signs, place[:, across], row, column)


def find_placement(stored: StoredFrames, target: Target) -> Placement | None:
    """Where frames lie on the target; None only where resampling was allowed.

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
class Window:
    """The part of a frame that holds anything and lies on the target."""

    place: tuple[slice, slice]
    values: Array


def _cut(values: Array, first: int, start: int, shape: tuple[int, int]) -> tuple[Window | None, bool]:
    """The part of ``values`` that lies on a plane of ``shape``, and whether any of the rest is not zero."""
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
    return Window(place, values), outside


def check_unique(
    stored: StoredFrames, frames: npt.NDArray[np.intp], slot: npt.NDArray[np.intp], identity: npt.NDArray[np.intp]
) -> None:
    """Refuse two frames of one identity (segment, quantity) at one place."""
    pairs = list(zip(identity[frames].tolist(), slot[frames].tolist(), strict=True))
    doubled = len(pairs) - len(set(pairs))
    if doubled:
        raise FileError(
            f"{stored.name}: {doubled} places are held by two frames, so it cannot be said which one is meant"
        )


def place_frames(
    stored: StoredFrames,
    frames: npt.NDArray[np.intp],
    placement: Placement,
    target: Target,
    content: Content,
    use: Callable[[int, int, Window], int],
) -> int:
    """Hand what each frame holds to ``use``, on threads, where frames of different slices do not meet.

    Parameters
    ----------
    frames : ndarray of int
        Which frames; those of one slice are taken in this order.
    content : callable
        Gives what a frame holds.
    use : callable
        Takes the frame's index, its slice on the oriented target and its window, and returns a number.

    Returns
    -------
    int
        The sum of what ``use`` returned.

    Raises
    ------
    GeometryError
        If something that is not zero lies outside of the target, unless that may be dropped.
    """
    depth, *plane = (target.grid.shape[a] for a in placement.axes)
    size = (plane[0], plane[1])
    results: list[tuple[int, list[int]]] = []

    def work(part: npt.NDArray[np.intp]) -> None:
        total, lost = 0, []
        for i in part.tolist():
            values, top, left = content(i)
            if values is None:
                continue
            slot = int(placement.slot[i])
            if not 0 <= slot < depth:
                if values.any():
                    lost.append(i)
                continue
            window, outside = _cut(values, int(placement.row[i]) + top, int(placement.column[i]) + left, size)
            if outside:
                lost.append(i)
            if window is not None:
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


# ---------------------------------------------------------------------- another lattice
def nearest(array: Array, grid: Grid, target: Target, fill: float = 0) -> Array:
    """Values of ``array`` (on ``grid``) at the voxels of the target: nearest neighbour, ``fill`` outside."""
    out = np.full(target.grid.shape, fill, dtype=array.dtype)
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


def target_of(stored: StoredFrames, on: Any, outside: str, resample: bool) -> Target:
    """Grid to put an object on: a Grid, or that of a Volume or source record of the same frame of reference.

    Raises
    ------
    GeometryError
        If the images have another frame of reference and the object does not refer to them.
    """
    if on is None:
        return Target(stored.grid, outside, resample)
    if isinstance(on, Grid):
        return Target(on, outside, resample)
    grid = getattr(on, "grid", None)
    record = on if isinstance(on, SourceSeries) else getattr(on, "source", None)
    if not isinstance(grid, Grid):
        record = as_source(on)
        grid = record.grid
    if not isinstance(grid, Grid):
        raise GeometryError("the images asked for have no grid in patient space")
    frames = stored.frame_of_reference_uid, getattr(record, "frame_of_reference_uid", "")
    if all(frames) and frames[0] != frames[1] and isinstance(record, SourceSeries):
        named = record.series_instance_uid in stored.referenced_series
        if not named and not set(stored.source_instances) & set(record.sop_instance_uids):
            raise GeometryError(
                f"{stored.name}: its frame of reference {frames[0]} is not that of the images ({frames[1]}), and it "
                "does not refer to them: positions cannot be compared. Pass on=volume.grid to take them as they are"
            )
    return Target(grid, outside, resample)
