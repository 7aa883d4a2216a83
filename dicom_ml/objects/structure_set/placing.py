"""Contours on the planes of a grid, as masks.

Each plane of contours fills the slice in which it lies. Contours of one plane are combined by exclusive or, so that an
outline within another is a hole (PS3.3 C.8.8.6.3); keyholes, whose edges lie on each other, come out as they are meant.
Contours traced along the pixels of a mask (:mod:`dicom_ml.objects.structure_set.tracing`) give that mask back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.structure_set.regions import CLOSED, Contour, RegionOfInterest
from dicom_ml.objects.structure_set.tracing import is_traced, line_pixels
from dicom_ml.rasterize import polygon_mask, polygon_spans

__all__ = ["Policies", "paint_region"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
#: How far from the middle of a slice, in slices, a contour may lie and still be that slice's.
_ACROSS = 0.25
#: How far apart contours of one plane may lie, in mm and in slices.
_PLANE_MM, _PLANE = 0.05, 0.1
#: Parts of a smaller outline in common with another: less is touching, more is lying within.
_TOUCHING, _WITHIN = 0.1, 0.9


@dataclass(frozen=True)
class Policies:
    """What to do with contours that do not fit.

    Attributes
    ----------
    outside : {"error", "drop"}
        Contours that reach outside of the grid.
    between : {"error", "nearest", "drop"}
        Contours that lie between slices, or several planes of contours in one slice.
    fill : {"own", "nearest"}
        Slices between contours that have none: empty, or as the nearest plane.
    combine : {"xor", "union"}
        Contours of one plane.
    traced : bool, optional
        Whether contours run through the outermost pixels of what they enclose; by default found out.
    """

    outside: str = "error"
    between: str = "error"
    fill: str = "own"
    combine: str = "xor"
    traced: bool | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("outside", ("error", "drop")),
            ("between", ("error", "nearest", "drop")),
            ("fill", ("own", "nearest")),
            ("combine", ("xor", "union")),
        ):
            if getattr(self, name) not in known:
                raise EncodingError(f"{name} is {' or '.join(map(repr, known))}, found {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class _Placed:
    """Contours of a region in indices of the grid: along its planes, and across them."""

    axis: int
    #: Row and column, corners at pixel edges, of all points.
    points: FloatArray
    offsets: Index
    #: Plane of each contour, and where each plane lies across.
    plane: Index
    position: FloatArray


def paint_region(region: RegionOfInterest, grid: Grid, policies: Policies, name: str) -> npt.NDArray[np.bool_]:
    """Mask ``(D, H, W)`` of one region; ``name`` is the structure set's, for messages.

    Raises
    ------
    GeometryError
        If contours do not lie in planes of the grid, or do not fit and no policy says what to do.
    EncodingError
        If none of its contours encloses an area.
    """
    name = f"{name}: region {region.number} ({region.name!r})"
    mask = np.zeros(grid.shape, dtype=bool)
    contours = _closed(region, policies, name)
    if not contours:
        return mask
    placed = _place(contours, grid, policies, name)
    traced = is_traced(placed.points, placed.offsets) if policies.traced is None else policies.traced
    _warn_unfilled(region, traced, name)
    shape = mask.shape[: placed.axis] + mask.shape[placed.axis + 1 :]
    _check_inside(placed, shape, policies, name)
    slots = _slots(placed, grid, policies, name)
    if policies.combine == "xor":
        _warn_partial_overlaps(placed, name)
    owners = placed.plane if policies.combine == "xor" else np.arange(len(placed.plane))
    spans = polygon_spans(placed.points, placed.offsets, shape, owners=owners)
    plane_of = placed.plane if policies.combine == "union" else np.arange(len(placed.position))
    slices_of: dict[int, list[int]] = {}
    for slot, plane in slots.items():
        slices_of.setdefault(plane, []).append(slot)
    planes = np.moveaxis(mask, placed.axis, 0)
    for item, row, start, stop in zip(
        plane_of[spans.item].tolist(), spans.row.tolist(), spans.start.tolist(), spans.stop.tolist(), strict=True
    ):
        for slot in slices_of.get(item, ()):
            planes[slot, row, start:stop] = True
    if traced:
        _add_lines(planes, placed, slices_of)
    return mask


def _add_lines(planes: npt.NDArray[np.bool_], placed: _Placed, slices_of: dict[int, list[int]]) -> None:
    contour, row, column = line_pixels(placed.points, placed.offsets)
    inside = (row >= 0) & (row < planes.shape[1]) & (column >= 0) & (column < planes.shape[2])
    plane = placed.plane[contour]
    for item, slots in slices_of.items():
        here = inside & (plane == item)
        for slot in slots:
            planes[slot, row[here], column[here]] = True


def _closed(region: RegionOfInterest, policies: Policies, name: str) -> list[Contour]:
    """Closed contours, of which some enclose an area."""
    chosen = [c for c in region.contours if c.geometric_type in CLOSED]
    if region.contours and not (region.is_filled or (chosen and policies.traced)):
        kinds = ", ".join(f"{count} {kind or 'of no type'}" for kind, count in region.geometric_types.items())
        raise EncodingError(f"{name}: none of its contours encloses an area ({kinds}), so there is nothing to fill")
    return chosen


def _warn_unfilled(region: RegionOfInterest, traced: bool, name: str) -> None:
    """Say what there is beside contours that are filled."""
    count = sum(c.geometric_type not in CLOSED or not (traced or c.is_filled) for c in region.contours)
    if count:
        warnings.warn(
            f"{name}: {count} of {len(region.contours)} contours are points, open lines, or closed ones of fewer than "
            "3 points; they are not filled",
            DicomMLWarning,
            stacklevel=5,
        )


def _place(contours: list[Contour], grid: Grid, policies: Policies, name: str) -> _Placed:
    lengths = np.array([len(c) for c in contours])
    offsets = np.cumsum(lengths) - lengths
    index = grid.to_index(np.concatenate([c.points for c in contours]))
    low, high = np.minimum.reduceat(index, offsets), np.maximum.reduceat(index, offsets)
    flat = (high - low).max(axis=0) <= _ACROSS
    if not flat.any():
        worst = int((high - low).min(axis=1).argmax())
        raise GeometryError(
            f"{name}: its contours do not lie in planes of the grid asked for ({grid!r}): contour {worst + 1} reaches "
            f"across {(high - low)[worst].min() + 1:.1f} of its slices. Place them on the images they were drawn on, "
            "and resample the mask"
        )
    axis = int(np.flatnonzero(flat)[0])
    position = (low[:, axis] + high[:, axis]) / 2
    plane, places = _planes(position, grid.spacing[axis])
    along = np.delete(index, axis, axis=1) + 0.5
    placed = _Placed(axis, along, offsets, plane, places)
    return _without_doubles(placed, policies, name)


def _planes(position: FloatArray, spacing: float) -> tuple[Index, FloatArray]:
    """Plane of each contour, and the position of each plane, ascending."""
    order = np.argsort(position, kind="stable")
    steps = np.diff(position[order]) > min(_PLANE_MM / spacing, _PLANE)
    plane = np.zeros(len(position), np.intp)
    plane[order] = np.concatenate([[0], np.cumsum(steps)])
    places = np.bincount(plane, position) / np.bincount(plane)
    return plane, places


def _without_doubles(placed: _Placed, policies: Policies, name: str) -> _Placed:
    """Contours that are there twice would take each other away."""
    if policies.combine == "union":
        return placed
    known: set[tuple[int, bytes]] = set()
    keep = []
    for i, ring in enumerate(np.split(placed.points, placed.offsets[1:])):
        key = (int(placed.plane[i]), ring.tobytes())
        if key not in known:
            known.add(key)
            keep.append(i)
    if len(keep) == len(placed.offsets):
        return placed
    warnings.warn(
        f"{name}: {len(placed.offsets) - len(keep)} contours are there twice; each is taken once",
        DicomMLWarning,
        stacklevel=7,
    )
    rings = np.split(placed.points, placed.offsets[1:])
    lengths = np.array([len(rings[i]) for i in keep])
    points = np.concatenate([rings[i] for i in keep])
    return _Placed(placed.axis, points, np.cumsum(lengths) - lengths, placed.plane[keep], placed.position)


def _check_inside(placed: _Placed, shape: tuple[int, ...], policies: Policies, name: str) -> None:
    """Refuse contours that could hold centres of pixels beyond the edge of the planes."""
    low, high = placed.points.min(axis=0), placed.points.max(axis=0)
    beyond = float(max(-low.min(), (high - np.array(shape)).max()))
    if beyond > 0.5 and policies.outside == "error":
        raise GeometryError(
            f"{name}: its contours reach {beyond:.1f} pixels beyond the edge of the images; they belong to other "
            "images, or pass outside='drop' to leave out what lies beyond"
        )


def _slots(placed: _Placed, grid: Grid, policies: Policies, name: str) -> dict[int, int]:
    """Which plane fills each slice."""
    depth = grid.shape[placed.axis]
    slot = np.rint(placed.position).astype(np.intp)
    inside = (slot >= 0) & (slot < depth)
    if not inside.all() and policies.outside == "error":
        raise GeometryError(
            f"{name}: {int((~inside).sum())} of {len(slot)} planes of contours lie before the first or after the last "
            "of the slices; they belong to other images, or pass outside='drop' to leave them out"
        )
    stray = np.abs(placed.position - slot)
    odd = inside & (stray > _ACROSS)
    if odd.any() and policies.between == "error":
        raise GeometryError(
            f"{name}: {int(odd.sum())} of {len(slot)} planes of contours lie between slices, up to "
            f"{stray[odd].max():.2f} of the distance of slices away from the nearest; pass between='nearest' to give "
            "each to its nearest slice, or between='drop' to leave them out"
        )
    usable = inside & ~odd if policies.between == "drop" else inside
    chosen: dict[int, int] = {}
    for plane in np.flatnonzero(usable)[np.argsort(-stray[usable], kind="stable")].tolist():
        chosen[int(slot[plane])] = plane  # the nearest of several is written last
    if len(chosen) < int(usable.sum()) and policies.between == "error":
        raise GeometryError(
            f"{name}: its {int(usable.sum())} planes of contours lie closer together than the slices, which are "
            f"{grid.spacing[placed.axis]:.3g} mm apart; pass between='nearest' to fill each slice by the nearest"
        )
    return _spread(placed, chosen, depth, policies, name)


def _spread(placed: _Placed, chosen: dict[int, int], depth: int, policies: Policies, name: str) -> dict[int, int]:
    """Fill slices between planes that are farther apart than slices, or say that they stay empty."""
    steps = np.diff(placed.position)
    if len(steps) == 0 or np.median(steps) < 1.5:
        return chosen
    if policies.fill == "own":
        if steps.min() > 1.5:
            warnings.warn(
                f"{name}: its planes of contours are {np.median(steps):.3g} slices apart, so that the slices between "
                "them stay empty; pass fill='nearest' to fill those by the nearest plane",
                DicomMLWarning,
                stacklevel=6,
            )
        return chosen
    reach = float(np.median(steps)) / 2
    usable = np.array(sorted(set(chosen.values())), dtype=np.intp)
    if not len(usable):
        return chosen
    for slot in range(depth):
        if slot not in chosen:
            away = np.abs(placed.position[usable] - slot)
            nearest = int(away.argmin())
            between = placed.position[usable].min() < slot < placed.position[usable].max()
            if between and away[nearest] <= reach + 1e-6:
                chosen[slot] = int(usable[nearest])
    return chosen


# ---------------------------------------------------------------------- overlaps
def _warn_partial_overlaps(placed: _Placed, name: str) -> None:
    """Contours that lie neither within nor beside each other: exclusive or takes away what they share."""
    planes = {int(placed.plane[i]) for i, _ in _pairs(placed)}
    if planes:
        warnings.warn(
            f"{name}: contours overlap in part on {len(planes)} planes; what they share is left out, as exclusive or "
            "has it. Pass combine='union' to keep it",
            DicomMLWarning,
            stacklevel=5,
        )


def _pairs(placed: _Placed) -> Iterator[tuple[int, int]]:
    """Contours of one plane that overlap in part, or fill the same pixels."""
    rings = np.split(placed.points, placed.offsets[1:])
    low = np.array([r.min(axis=0) for r in rings])
    high = np.array([r.max(axis=0) for r in rings])
    order = np.argsort(placed.plane, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(placed.plane[order])) + 1):
        if len(members) < 2:
            continue
        for a, i in enumerate(members[:-1].tolist()):
            rest = members[a + 1 :]
            near = ((low[rest] < high[i]) & (high[rest] > low[i])).all(axis=1)
            for j in rest[near].tolist():
                if _clash(rings[i], rings[j]):
                    yield i, j


def _clash(a: FloatArray, b: FloatArray) -> bool:
    """Whether two polygons share a part of their pixels, or have the same."""
    low = np.floor(np.minimum(a.min(axis=0), b.min(axis=0)))
    size = np.ceil(np.maximum(a.max(axis=0), b.max(axis=0))) - low
    shape = (int(size[0]), int(size[1]))
    first, second = polygon_mask(a, shape, low), polygon_mask(b, shape, low)
    smaller = min(np.count_nonzero(first), np.count_nonzero(second))
    share = np.count_nonzero(first & second) / smaller if smaller else 0.0
    return _TOUCHING < share < _WITHIN or bool(smaller and np.array_equal(first, second))
