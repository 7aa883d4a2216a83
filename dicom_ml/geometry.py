"""Affines, voxel grids and stacks of planes: numpy in, numpy out.

One convention holds everywhere. An array is indexed ``(d, h, w)``: slice, row, column. Its affine is a 4x4
float64 matrix that maps such an index, at voxel centres, to millimetres in the DICOM patient coordinate system
(PS3.3 C.7.6.2.1.1): x towards the patient's left, y towards posterior, z towards superior (LPS). MONAI and
NIfTI see ``(w, h, d)`` arrays and right-anterior-superior (RAS) affines; :func:`to_monai` and
:func:`from_monai` are the only places where that change is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError

__all__ = [
    "Alignment",
    "Grid",
    "PlaneStack",
    "affine_from_plane",
    "from_monai",
    "lps_to_ras",
    "monai_affine",
    "stack_planes",
    "to_monai",
    "unit_orientation",
]

FloatArray = npt.NDArray[np.float64]
T = TypeVar("T")

_AXIS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Largest departure of direction cosines from unit length and right angles that is taken as rounding.
ORIENTATION_TOLERANCE = 1e-3


def unit_orientation(orientation: Sequence[float] | FloatArray) -> FloatArray:
    """Check direction cosines and return them with unit length and at right angles.

    Parameters
    ----------
    orientation : sequence of 6 floats
        Image Orientation (Patient): direction of increasing column index, then of increasing row index.

    Returns
    -------
    ndarray of shape (6,), float64

    Raises
    ------
    GeometryError
        If the cosines are not finite, not of unit length, or not at right angles within 0.001
        (PS3.3 C.7.6.2.1.1 asks for orthogonal unit vectors).
    """
    values = np.asarray(orientation, dtype=np.float64)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise GeometryError(f"image orientation needs 6 finite direction cosines, found {values.tolist()}")
    row, col = values[:3], values[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(col))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ col))) > 10 * ORIENTATION_TOLERANCE:
        raise GeometryError(
            f"image orientation {values.tolist()} is not two unit vectors at right angles "
            f"(lengths {lengths[0]:.4f} and {lengths[1]:.4f}, scalar product {float(row @ col):.4f})"
        )
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ col))) <= 1e-9:
        return values
    row = row / lengths[0]
    col = col - (col @ row) * row
    return np.concatenate([row, col / np.linalg.norm(col)])


def affine_from_plane(
    position: Sequence[float] | FloatArray,
    orientation: Sequence[float] | FloatArray,
    pixel_spacing: Sequence[float],
    step: float | Sequence[float] | FloatArray,
) -> FloatArray:
    """Build the ``(d, h, w)`` to LPS affine of a stack of planes.

    Parameters
    ----------
    position : sequence of 3 floats
        Image Position (Patient) of the first plane: centre of its first pixel, in mm.
    orientation : sequence of 6 floats
        Image Orientation (Patient).
    pixel_spacing : sequence of 2 floats
        Pixel Spacing as DICOM has it: distance between rows, then between columns, in mm.
    step : float or sequence of 3 floats
        Distance between planes along the normal, or the whole vector from a plane to the next, in mm.

    Returns
    -------
    ndarray of shape (4, 4), float64
    """
    cosines = unit_orientation(orientation)
    affine = np.eye(4)
    if np.ndim(step) == 0:
        affine[:3, 0] = np.cross(cosines[:3], cosines[3:]) * float(step)  # type: ignore[arg-type]
    else:
        affine[:3, 0] = np.asarray(step, dtype=np.float64)
    affine[:3, 1] = cosines[3:] * float(pixel_spacing[0])
    affine[:3, 2] = cosines[:3] * float(pixel_spacing[1])
    affine[:3, 3] = np.asarray(position, dtype=np.float64)
    return affine


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


# ---------------------------------------------------------------------- conventions of MONAI and NIfTI
def lps_to_ras(affine: npt.ArrayLike) -> FloatArray:
    """Change an affine from LPS to RAS millimetres, or back: the change is its own inverse."""
    return np.asarray(_LPS_RAS @ np.asarray(affine, dtype=np.float64))


def monai_affine(affine: npt.ArrayLike) -> FloatArray:
    """RAS affine over ``(w, h, d)`` of an LPS affine over ``(d, h, w)``, or back: its own inverse."""
    return np.ascontiguousarray(lps_to_ras(affine)[:, [2, 1, 0, 3]])


def to_monai(array: T, affine: npt.ArrayLike) -> tuple[T, FloatArray]:
    """Change a volume to MONAI's convention.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (D, H, W) or (C, D, H, W)
    affine : array_like of shape (4, 4)
        Maps ``(d, h, w)`` to LPS millimetres.

    Returns
    -------
    array : same type, shape (C, W, H, D)
        A view; a volume without channels gets one.
    affine : ndarray of shape (4, 4)
        Maps ``(w, h, d)`` to RAS millimetres.
    """
    data: Any = array
    if data.ndim == 3:
        data = data[None]
    if data.ndim != 4:
        raise GeometryError(f"a volume is (D, H, W) or (C, D, H, W), found {data.ndim} dimensions")
    moved: Any = data.transpose(0, 3, 2, 1) if isinstance(data, np.ndarray) else data.permute(0, 3, 2, 1)
    return moved, monai_affine(affine)


def from_monai(array: T, affine: npt.ArrayLike) -> tuple[T, FloatArray]:
    """Change a volume back from MONAI's convention; the inverse of :func:`to_monai`.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (C, W, H, D)
    affine : array_like of shape (4, 4)
        Maps ``(w, h, d)`` to RAS millimetres.

    Returns
    -------
    array : same type, shape (C, D, H, W)
        A view.
    affine : ndarray of shape (4, 4)
        Maps ``(d, h, w)`` to LPS millimetres.
    """
    data: Any = array
    if data.ndim != 4:
        raise GeometryError(f"MONAI volumes are (C, W, H, D), found {data.ndim} dimensions")
    moved: Any = data.transpose(0, 3, 2, 1) if isinstance(data, np.ndarray) else data.permute(0, 3, 2, 1)
    return moved, monai_affine(affine)


# ---------------------------------------------------------------------- stacks of planes
@dataclass(frozen=True, eq=False)
class PlaneStack:
    """What the positions of a set of parallel planes prove.

    Attributes
    ----------
    order : ndarray of int
        Indices of the planes, sorted by position along the normal.
    offsets : ndarray of float
        Distance of each sorted plane along the normal, in mm.
    slots : ndarray of int
        Place of each sorted plane on the regular stack, from 0; a jump by more than 1 is a gap.
    step : ndarray of shape (3,)
        Vector from one place of the stack to the next, in mm. Zero for a single position.
    spacing : float
        Distance between places along the normal, in mm. Zero for a single position.
    tilt : float
        Angle in degrees between the step and the normal; not zero for gantry tilt.
    residual : float
        Largest distance of a plane's position from its place on the stack, in mm.
    tolerance : float
        What the residual is allowed to be, in mm.
    """

    order: npt.NDArray[np.intp]
    offsets: FloatArray
    slots: npt.NDArray[np.intp]
    step: FloatArray
    spacing: float
    tilt: float
    residual: float
    tolerance: float

    @property
    def count(self) -> int:
        """Places on the stack, gaps included."""
        return int(self.slots[-1]) + 1

    @property
    def regular(self) -> bool:
        """Whether every plane lies on its place within the tolerance."""
        return self.residual <= self.tolerance

    @property
    def duplicates(self) -> list[tuple[int, ...]]:
        """Groups of plane indices that share a place."""
        groups: list[tuple[int, ...]] = []
        for slot in np.unique(self.slots[1:][np.diff(self.slots) == 0]):
            groups.append(tuple(int(i) for i in self.order[self.slots == slot]))
        return groups

    @property
    def gaps(self) -> list[tuple[int, int, int]]:
        """``(plane before, plane after, places missing)`` of every hole in the stack."""
        jumps = np.diff(self.slots)
        return [(int(self.order[i]), int(self.order[i + 1]), int(jumps[i]) - 1) for i in np.flatnonzero(jumps > 1)]


def stack_planes(
    positions: npt.ArrayLike, orientation: Sequence[float] | FloatArray, tolerance: float | None = None
) -> PlaneStack:
    """Sort planes along their normal and find the regular stack that they lie on.

    Parameters
    ----------
    positions : array_like of shape (N, 3)
        Image Position (Patient) of each plane, in mm.
    orientation : sequence of 6 floats
        Their common Image Orientation (Patient).
    tolerance : float, optional
        Largest distance in mm of a plane from its place on the stack. By default 5 % of the spacing, at least
        0.06 mm (positions are often rounded to 0.1 mm), at most a quarter of the spacing.

    Returns
    -------
    PlaneStack
        What was found; it is for the caller to refuse gaps, duplicates, tilt or irregular stacks.
    """
    points = np.asarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0 or not np.isfinite(points).all():
        raise GeometryError("positions of planes are a non-empty array (N, 3) of finite numbers")
    cosines = unit_orientation(orientation)
    normal = np.cross(cosines[:3], cosines[3:])
    distance = points @ normal
    order = np.argsort(distance, kind="stable")
    offsets, points = distance[order], points[order]
    zero = np.zeros(3)

    def allowed(spacing: float) -> float:
        return min(max(0.06, 0.05 * spacing), 0.25 * spacing) if tolerance is None else tolerance

    steps = np.diff(offsets)
    apart = steps > 1e-3
    if not apart.any():
        slots = np.zeros(len(order), dtype=np.intp)
        spread = float(np.abs(points - points[0]).max())
        return PlaneStack(order, offsets, slots, zero, 0.0, 0.0, spread, 1e-2 if tolerance is None else tolerance)
    # planes closer than a fifth of the usual step share a place: copies whose positions were rounded differently
    usual = float(np.median(steps[apart]))
    steps = np.where(steps < 0.2 * usual, 0.0, steps)
    positive = steps[steps > 0]
    spacing = _spacing(positive, allowed)
    slots = np.concatenate([[0], np.cumsum(np.rint(steps / spacing))]).astype(np.intp)
    spacing, start, slots = _refine(offsets, spacing, slots)
    along = np.abs(offsets - (start + slots * spacing)).max()
    step, across = _step_vector(points, slots, normal, spacing)
    lateral = step - (step @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(lateral), spacing)))
    residual = float(max(along, across))
    if tilt < 0.05 and float(np.linalg.norm(lateral)) * slots[-1] <= max(0.01, allowed(spacing)):
        step, tilt = normal * spacing, 0.0
    return PlaneStack(order, offsets, slots, step, spacing, tilt, residual, allowed(spacing))


def _spacing(steps: FloatArray, allowed: Any) -> float:
    """The step of which all steps are multiples, within tolerance; else the median step."""
    median = float(np.median(steps))
    for candidate in (median, float(steps.min())):
        multiples = np.maximum(1, np.rint(steps / candidate))
        refined = float((steps * multiples).sum() / (multiples**2).sum())
        if np.abs(steps - multiples * refined).max() <= 2 * allowed(refined):
            return refined
    return median


def _refine(
    offsets: FloatArray, spacing: float, slots: npt.NDArray[np.intp]
) -> tuple[float, float, npt.NDArray[np.intp]]:
    """Least-squares spacing and start over all planes, so that rounded positions do not add up."""
    for _ in range(2):
        fitted, start = np.polyfit(slots, offsets, 1) if slots[-1] > 0 else (spacing, offsets[0])
        again = np.rint((offsets - start) / fitted).astype(np.intp)
        again -= again[0]
        if np.array_equal(again, slots) or (np.diff(again) < 0).any():
            return float(fitted), float(start), slots
        slots = again
    fitted, start = np.polyfit(slots, offsets, 1)
    return float(fitted), float(start), slots


def _step_vector(
    points: FloatArray, slots: npt.NDArray[np.intp], normal: FloatArray, spacing: float
) -> tuple[FloatArray, float]:
    """Mean vector from place to place, and how far planes stray sideways from that straight line."""
    if slots[-1] == 0:
        return normal * spacing, 0.0
    centred = slots - slots.mean()
    step = (centred[:, None] * (points - points.mean(axis=0))).sum(axis=0) / (centred**2).sum()
    line = points.mean(axis=0) + centred[:, None] * step
    stray = points - line
    stray -= (stray @ normal)[:, None] * normal
    return np.asarray(step), float(np.linalg.norm(stray, axis=1).max())
