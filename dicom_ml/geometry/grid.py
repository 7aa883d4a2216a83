"""A regular lattice of voxels in patient space, and how one lies on another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry.planes import ORIENTATION_TOLERANCE, FloatArray

__all__ = ["Alignment", "Grid"]

_AXIS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True)
class Alignment:
    """How the indices of one grid land on another that shares its lattice.

    ``target_index[axes[i]] = signs[i] * source_index[i] + offsets[axes[i]]`` for each source axis ``i``.
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    offsets: tuple[int, int, int]

    @property
    def same_axes(self) -> bool:
        """Whether source and target run along the same axes in the same directions."""
        return self.axes == (0, 1, 2) and self.signs == (1, 1, 1)

    def reorder(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of ``array`` (last three axes are the source grid's) with axes in the target's order and directions."""
        lead = array.ndim - 3
        order = [0, 0, 0]
        flips: list[slice] = [slice(None)] * 3
        for source_axis, target_axis in enumerate(self.axes):
            order[target_axis] = source_axis
            flips[target_axis] = slice(None, None, self.signs[source_axis])
        moved = array.transpose(*range(lead), *(lead + axis for axis in order))
        index: Any = (..., *flips)
        return cast("npt.NDArray[Any]", moved[index])

    def start(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Target index at which the first voxel of the reordered source array of source ``shape`` lies."""
        start = [0, 0, 0]
        for source_axis, target_axis in enumerate(self.axes):
            last = shape[source_axis] - 1 if self.signs[source_axis] < 0 else 0
            start[target_axis] = self.signs[source_axis] * last + self.offsets[target_axis]
        return start[0], start[1], start[2]


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxels in patient space.

    Parameters
    ----------
    shape : tuple of 3 ints
        ``(D, H, W)``: slices, rows, columns.
    affine : array_like of shape (4, 4)
        Maps an index ``(d, h, w)`` to LPS millimetres; kept as float64 and read-only.

    Raises
    ------
    GeometryError
        If the affine is not finite or singular, or the shape not positive.
    """

    shape: tuple[int, int, int]
    affine: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        shape = tuple(int(n) for n in self.shape)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"an affine is a finite 4x4 matrix, found shape {affine.shape}")
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid has three positive dimensions (D, H, W), found {shape}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("the affine is singular: two axes are parallel or a spacing is zero")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Grid, (self.shape, np.array(self.affine))

    def __repr__(self) -> str:
        spacing = ", ".join(f"{s:.4g}" for s in self.spacing)
        return f"Grid(shape={self.shape}, spacing=({spacing}) mm, axes={self.axcodes!r})"

    # ------------------------------------------------------------------ facts
    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbours along ``(d, h, w)``."""
        norms = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(norms[0]), float(norms[1]), float(norms[2])

    @property
    def origin(self) -> FloatArray:
        """LPS position of the centre of voxel (0, 0, 0)."""
        return self.affine[:3, 3]

    @cached_property
    def orientation(self) -> FloatArray:
        """Image Orientation (Patient) of the planes: six direction cosines."""
        cosines = [self.affine[:3, 2] / self.spacing[2], self.affine[:3, 1] / self.spacing[1]]
        return np.asarray(np.concatenate(cosines), dtype=np.float64)

    @cached_property
    def normal(self) -> FloatArray:
        """Unit normal of the planes: cross product of the row and column directions."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)

    @cached_property
    def axcodes(self) -> str:
        """Three letters of R, L, A, P, I, S: towards where each array axis runs, ``"SPL"`` for common axial CT."""
        axes, signs = _closest_axes(self.affine)
        return "".join(_AXIS_LETTERS[a][int(s > 0)] for a, s in zip(axes, signs, strict=True))

    @cached_property
    def is_orthogonal(self) -> bool:
        """Whether the three axes are at right angles (within 0.001): only such grids can be written as planes."""
        unit = self.affine[:3, :3] / np.asarray(self.spacing)
        return bool(np.abs(unit.T @ unit - np.eye(3)).max() <= ORIENTATION_TOLERANCE)

    def position(self, d: int) -> FloatArray:
        """Image Position (Patient) of slice ``d``: LPS centre of its first pixel, in mm."""
        return np.asarray(self.affine[:3, 3] + d * self.affine[:3, 0], dtype=np.float64)

    def positions(self) -> FloatArray:
        """Image Position (Patient) of every slice, shape ``(D, 3)``, in mm."""
        return np.asarray(self.affine[:3, 3] + np.arange(self.shape[0])[:, None] * self.affine[:3, 0])

    def to_lps(self, index: npt.ArrayLike) -> FloatArray:
        """LPS millimetres of indices ``(..., 3)``."""
        points = np.asarray(index, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, points: npt.ArrayLike) -> FloatArray:
        """Fractional indices ``(..., 3)`` of LPS points in millimetres."""
        offset = np.asarray(points, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(offset @ self._inverse[:3, :3].T)

    @cached_property
    def _inverse(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self.affine), dtype=np.float64)

    # ------------------------------------------------------------------ comparison
    def matches(self, other: Grid, tolerance: float = 0.05) -> bool:
        """Whether both grids are the same lattice: equal shapes, corners within ``tolerance`` of a voxel."""
        if self.shape != other.shape:
            return False
        corners = _corners(self.shape)
        return bool(np.abs(self.to_index(other.to_lps(corners)) - corners).max() <= tolerance)

    def align(self, target: Grid, tolerance: float = 0.05) -> Alignment | None:
        """How this grid's indices land on ``target``, when both share one lattice.

        Parameters
        ----------
        target : Grid
        tolerance : float
            Largest distance, in voxels of the target, of any corner from a lattice point.

        Returns
        -------
        Alignment or None
            None where the lattices differ: another spacing, rotation, or a shift by part of a voxel.
        """
        moved = target.to_index(self.to_lps(_corners(self.shape)))
        matrix = target._inverse[:3, :3] @ self.affine[:3, :3]
        rounded = np.rint(matrix)
        if not np.array_equal(np.abs(rounded).sum(axis=0), [1, 1, 1]):
            return None
        if not np.array_equal(np.abs(rounded).sum(axis=1), [1, 1, 1]):
            return None
        offset = np.rint(target.to_index(self.origin))
        if np.abs(_corners(self.shape) @ rounded.T + offset - moved).max() > tolerance:
            return None
        axes = [int(np.argmax(np.abs(rounded[:, i]))) for i in range(3)]
        signs = [int(rounded[axes[i], i]) for i in range(3)]
        return Alignment(
            (axes[0], axes[1], axes[2]),
            (signs[0], signs[1], signs[2]),
            (int(offset[0]), int(offset[1]), int(offset[2])),
        )

    # ------------------------------------------------------------------ derived grids
    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """The part of ``shape`` that begins at index ``start``; either may reach outside (padding)."""
        affine = np.array(self.affine)
        affine[:3, 3] = self.to_lps(start)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def pad(self, widths: Sequence[tuple[int, int]]) -> Grid:
        """This grid with ``(before, after)`` voxels more along each axis."""
        start = [-before for before, _ in widths]
        return self.crop(start, [n + a + b for n, (a, b) in zip(self.shape, widths, strict=True)])

    def flip(self, axes: Sequence[int]) -> Grid:
        """This grid with the index running backwards along ``axes``."""
        affine = np.array(self.affine)
        for axis in axes:
            affine[:3, 3] += affine[:3, axis] * (self.shape[axis] - 1)
            affine[:3, axis] *= -1
        return Grid(self.shape, affine)

    def permute(self, order: Sequence[int]) -> Grid:
        """This grid with array axis ``i`` taken from axis ``order[i]``."""
        if sorted(order) != [0, 1, 2]:
            raise GeometryError(f"an axis order is a permutation of 0, 1, 2, found {tuple(order)}")
        affine = np.array(self.affine)
        affine[:, :3] = self.affine[:, list(order)]
        return Grid((self.shape[order[0]], self.shape[order[1]], self.shape[order[2]]), affine)

    def orientation_change(self, axcodes: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """Permutation, then axes to flip, that bring this grid nearest to ``axcodes`` (as in :attr:`axcodes`)."""
        wanted = _parse_axcodes(axcodes)
        axes, signs = _closest_axes(self.affine)
        order = tuple(axes.index(axis) for axis, _ in wanted)
        flips = tuple(i for i, (_, sign) in enumerate(wanted) if signs[order[i]] != sign)
        return (order[0], order[1], order[2]), flips

    def orient(self, axcodes: str) -> Grid:
        """This lattice with its axes permuted and flipped to run nearest to ``axcodes``."""
        order, flips = self.orientation_change(axcodes)
        return self.permute(order).flip(flips)

    def resized(self, spacing: Sequence[float]) -> Grid:
        """A grid over the same extent (voxel edges, to within half a voxel) with another ``spacing`` in mm."""
        old = np.asarray(self.spacing)
        new = np.asarray(spacing, dtype=np.float64)
        if new.shape != (3,) or not np.isfinite(new).all() or (new <= 0).any():
            raise GeometryError(f"spacing is three positive numbers of mm along (d, h, w), found {spacing!r}")
        shape = np.maximum(1, np.rint(np.asarray(self.shape) * old / new)).astype(int)
        affine = np.array(self.affine)
        affine[:3, :3] = self.affine[:3, :3] / old * new
        # centre the new extent on the old one, so that what is lost or gained is shared by both ends
        middle = self.to_lps((np.asarray(self.shape) - 1) / 2)
        affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _corners(shape: Sequence[int]) -> FloatArray:
    return np.array(list(itertools.product(*((0.0, n - 1.0) for n in shape))))


def _closest_axes(affine: FloatArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each array axis, the patient axis (0 x, 1 y, 2 z) it runs along best, and the sign."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(itertools.permutations(range(3)), key=lambda p: sum(abs(unit[p[i], i]) for i in range(3)))
    return best, tuple(1 if unit[best[i], i] > 0 else -1 for i in range(3))


def _parse_axcodes(axcodes: str) -> list[tuple[int, int]]:
    letters = {
        name: (axis, sign) for axis, pair in enumerate(_AXIS_LETTERS) for name, sign in zip(pair, (-1, 1), strict=True)
    }
    try:
        wanted = [letters[c] for c in axcodes.upper()]
    except (KeyError, AttributeError):
        wanted = []
    if sorted(axis for axis, _ in wanted) != [0, 1, 2]:
        raise GeometryError(
            f"an orientation is three letters, one of R/L, one of A/P and one of I/S, such as 'SPL', found {axcodes!r}"
        )
    return wanted
