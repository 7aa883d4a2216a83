"""Which voxels a viewing plane shows, and which way they face.

Planes follow the radiological convention whatever way the voxels are stored: axial and coronal pictures have the
patient's left on the right side of the picture, sagittal pictures have the back there; the front is up in axial
pictures, the head in the others. All of it is read from the affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid

__all__ = ["PLANES", "Plane", "PlaneMap", "plane_of", "plane_positions"]

PLANES = ("axial", "coronal", "sagittal")

# For an array in LPS order (z towards the head, y towards the back, x towards the left): axis that is cut, axis that
# runs down the picture and whether against its direction, axis that runs to the right.
_LAYOUT = {"axial": (0, 1, False, 2), "coronal": (1, 0, True, 2), "sagittal": (2, 0, True, 1)}
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True)
class Plane:
    """A slice ready to be drawn.

    Attributes
    ----------
    pixels : numpy.ndarray
        (rows, columns), first row at the top of the picture.
    spacing : tuple of float
        Millimetres between rows and between columns.
    letters : tuple of str
        Direction of the top, right, bottom and left edge: of R, L, A, P, I, S; two letters for an oblique slice.
    name : str
        "axial", "coronal" or "sagittal".
    index : int
        Number of the slice, from the foot, the front or the right.
    position : float
        Millimetres of the slice's middle along the LPS axis that it is cut across.
    """

    pixels: npt.NDArray[Any]
    spacing: tuple[float, float]
    letters: tuple[str, str, str, str]
    name: str
    index: int
    position: float


class PlaneMap:
    """Where points of a volume lie on the slices that :func:`plane_of` cuts.

    Parameters
    ----------
    affine : array_like
        4x4, array index (d, h, w) to LPS millimetres.
    shape : sequence of int
        (D, H, W) of the volume.
    name : {"axial", "coronal", "sagittal"}

    Attributes
    ----------
    shape : tuple of int
        (D, H, W).
    count : int
        Number of slices.
    size : tuple of int
        Rows and columns of each.
    """

    def __init__(self, affine: npt.ArrayLike, shape: Sequence[int], name: str) -> None:
        if name not in _LAYOUT:
            raise GeometryError(f"a plane is one of {', '.join(PLANES)}, found {name!r}")
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        order, flips = Grid(self.shape, np.asarray(affine, dtype=np.float64)).orientation_change("SPL")
        cut, down, against, across = _LAYOUT[name]
        self._axes = [order[axis] for axis in (cut, down, across)]
        self._turned = [axis in flips for axis in (cut, down, across)]
        self._turned[1] ^= against
        self.count, *size = (self.shape[axis] for axis in self._axes)
        self.size = (size[0], size[1])

    def __call__(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Slice, row and column of points ``(N, 3)`` in array indices, both with corners at pixel edges."""
        given = np.asarray(points, dtype=np.float64)
        found = given[:, self._axes]
        for column, axis in enumerate(self._axes):
            if self._turned[column]:
                found[:, column] = self.shape[axis] - found[:, column]
        return np.asarray(found)

    def down_or_across(self, axis: int) -> int | None:
        """Whether an axis of the array runs down (0) or across (1) the slice; None if it is the one that is cut."""
        place = self._axes.index(axis)
        return place - 1 if place else None


def plane_of(array: npt.NDArray[Any], affine: npt.ArrayLike, name: str, index: int | None = None) -> Plane:
    """Cut a plane from a volume.

    Parameters
    ----------
    array : numpy.ndarray
        (D, H, W).
    affine : array_like
        4x4, array index (d, h, w) to LPS millimetres.
    name : {"axial", "coronal", "sagittal"}
        The plane closest to this one is cut; nothing is interpolated.
    index : int, optional
        Slice, counted from the foot (axial), front (coronal) or right (sagittal); the middle one by default. Negative
        numbers count from the other end.

    Returns
    -------
    Plane

    Raises
    ------
    GeometryError
        Unknown plane, no such slice, or an array that does not fit a (D, H, W) grid.
    """
    oriented, grid, (cut, down, against, _) = _oriented(array, affine, name)
    count = oriented.shape[cut]
    if index is None:
        index = count // 2
    if not -count <= index < count:
        raise GeometryError(f"there is no {name} slice {index}: the volume has {count}, 0 to {count - 1}")
    index %= count
    pixels = np.take(oriented, index, axis=cut)
    if against:
        pixels = pixels[::-1]
    across = ({0, 1, 2} - {cut, down}).pop()
    to_right = _letters(grid.affine[:3, across])
    to_left = _letters(-grid.affine[:3, across])
    to_end, to_start = _letters(grid.affine[:3, down]), _letters(-grid.affine[:3, down])
    top, bottom = (to_end, to_start) if against else (to_start, to_end)
    middle = [(n - 1) / 2 for n in oriented.shape]
    middle[cut] = index
    position = float(grid.to_lps(middle)[2 - cut])
    return Plane(pixels, (grid.spacing[down], grid.spacing[across]), (top, to_right, bottom, to_left), name, index,
                 position)  # fmt: skip


def plane_positions(
    labels: npt.NDArray[Any] | None, affine: npt.ArrayLike, name: str, count: int, shape: Sequence[int] | None = None
) -> list[int]:
    """Slices worth showing: spread evenly over the labelled part of a volume, or over all of it.

    Parameters
    ----------
    labels : numpy.ndarray or None
        (D, H, W), not zero where labelled.
    affine : array_like
        4x4, array index (d, h, w) to LPS millimetres.
    name : {"axial", "coronal", "sagittal"}
    count : int
        How many at most.
    shape : sequence of int, optional
        (D, H, W), needed without labels.

    Returns
    -------
    list of int
        Increasing, without repeats.
    """
    if labels is None:
        if shape is None:
            raise GeometryError("without labels, plane_positions needs the shape of the volume")
        labels = np.broadcast_to(np.uint8(0), tuple(shape))
    oriented, _, (cut, *_) = _oriented(labels, affine, name)
    used = np.flatnonzero(oriented.any(axis=tuple(a for a in range(3) if a != cut)))
    first, last = (int(used[0]), int(used[-1])) if used.size else (0, oriented.shape[cut] - 1)
    # In the middle of equal shares: the very ends of an organ show next to nothing of it.
    share = (last - first + 1) / count
    return sorted({min(last, int(first + (k + 0.5) * share)) for k in range(count)})


def _oriented(
    array: npt.NDArray[Any], affine: npt.ArrayLike, name: str
) -> tuple[npt.NDArray[Any], Grid, tuple[int, int, bool, int]]:
    """The array with axes towards head, back and left, as near as reordering brings them."""
    if name not in _LAYOUT:
        raise GeometryError(f"a plane is one of {', '.join(PLANES)}, found {name!r}")
    if array.ndim != 3:
        raise GeometryError(f"a volume has three axes (D, H, W), found an array of shape {array.shape}")
    grid = Grid((int(array.shape[0]), int(array.shape[1]), int(array.shape[2])), np.asarray(affine, dtype=np.float64))
    order, flips = grid.orientation_change("SPL")
    oriented = np.flip(array.transpose(order), flips)
    return oriented, grid.orient("SPL"), _LAYOUT[name]


def _letters(direction: npt.NDArray[np.float64]) -> str:
    """The direction in letters, the strongest first; a second one where it leans by more than 20 degrees."""
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit))
    out = ""
    for axis in order[:2]:
        if not out or abs(unit[axis]) > np.sin(np.radians(20)):
            out += _LETTERS[axis][int(unit[axis] > 0)]
    return out
