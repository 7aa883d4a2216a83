"""Annotations of a slide by the million, found by place: which items lie in a window, and which pixels they cover.

All coordinates are ``(row, column)`` in pixels of level 0, with corners at pixel edges. Items are sorted into a grid of
cells once; a window then looks into its cells only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.annotations import AnnotationGroup
from dicom_ml.rasterize import ellipse_polygons, rasterize_lines, rasterize_points, rasterize_polygons

__all__ = ["OVERLAPS", "ItemSet", "SlideItems", "mask_of_items"]

Array = npt.NDArray[Any]
Index = npt.NDArray[np.intp]
OVERLAPS = ("error", "first", "last")
#: Items in a cell of the index, and pixels of level 0 along its sides: as many as one of these allows.
_PER_CELL = 32
_CELL = 256.0
#: Cells along a side, at most.
_CELLS = 2048


@dataclass(frozen=True, eq=False)
class ItemSet:
    """Items of one graphic type.

    Attributes
    ----------
    graphic : str
        As of :class:`dicom_ml.AnnotationGroup`.
    points : ndarray of shape (P, 2) or (P, 3)
        As they are stored: all points of all items.
    offsets : ndarray of int, shape (N,)
        First point of each item.
    values : ndarray of int, shape (N,)
        Class of each item.
    matrix : ndarray of shape (2, 2) or (2, 3), shift : ndarray of shape (2,)
        From points as stored to ``(row, column)`` of level 0.
    owners : ndarray of int, shape (N,), optional
        Items that are parts of one thing, such as outlines with holes, share a number.
    """

    graphic: str
    points: Array
    offsets: Index
    values: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]
    owners: Index | None = field(default=None)

    @classmethod
    def of_group(cls, group: AnnotationGroup, value: int, matrix: Array, shift: Array) -> ItemSet:
        """All items of an annotation group."""
        assert group.offsets is not None
        values = np.full(len(group), value, dtype=np.int64)
        return cls(group.graphic, group.points, group.offsets, values, matrix, shift)

    def __len__(self) -> int:
        return len(self.offsets)

    def placed(self, points: Array) -> npt.NDArray[np.float64]:
        """Points as ``(row, column)`` of level 0."""
        return np.asarray(points @ self.matrix.T + self.shift)

    def select(self, items: Index) -> tuple[npt.NDArray[np.float64], Index]:
        """Points ``(row, column)`` of some items, and the first point of each."""
        bounds = np.append(self.offsets, len(self.points))
        lengths = bounds[items + 1] - bounds[items]
        starts = np.cumsum(lengths) - lengths
        index = np.repeat(bounds[items] - starts, lengths) + np.arange(int(lengths.sum()))
        return self.placed(self.points[index]), starts

    @cached_property
    def bounds(self) -> npt.NDArray[np.float64]:
        """Lowest row and column, highest row and column, of each item; shape (N, 4)."""
        if not len(self):
            return np.zeros((0, 4))
        if self.graphic == "ELLIPSE":
            ends = self.placed(self.points).reshape(-1, 4, 2)
            half = np.hypot(ends[:, 1] - ends[:, 0], ends[:, 3] - ends[:, 2]) / 2
            middle = ends.mean(axis=1)
            return np.concatenate([middle - half, middle + half], axis=1)
        if (np.abs(self.matrix) > 1e-12).sum() == 2:  # axes stay axes: only corners have to be moved
            low = np.minimum.reduceat(self.points, self.offsets)
            high = np.maximum.reduceat(self.points, self.offsets)
        else:
            placed = self.placed(self.points)
            low, high = np.minimum.reduceat(placed, self.offsets), np.maximum.reduceat(placed, self.offsets)
            return np.concatenate([low, high], axis=1)
        a, b = self.placed(low), self.placed(high)
        return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)


class SlideItems:
    """Items of a slide, all sets one after the other.

    Parameters
    ----------
    sets : sequence of ItemSet
        Later ones are drawn over earlier ones.
    point_size : float, optional
        Pixels of level 0 that points and lines are wide; without it points are where they are, and cover nothing.
    """

    def __init__(self, sets: Sequence[ItemSet], point_size: float | None = None) -> None:
        self.sets = [one for one in sets if len(one)]
        self.point_size = point_size
        self.first = np.cumsum([0, *(len(one) for one in self.sets)])
        bounds = [one.bounds for one in self.sets]
        if point_size is not None:
            thick = np.array([-1, -1, 1, 1]) * point_size / 2
            bounds = [
                b + thick * (one.graphic in ("POINT", "POLYLINE")) for b, one in zip(bounds, self.sets, strict=True)
            ]
        self.bounds = np.concatenate(bounds) if bounds else np.zeros((0, 4))
        self.values = np.concatenate([one.values for one in self.sets]) if self.sets else np.zeros(0, np.int64)
        self._build()

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of the bounds of each item."""
        return (self.bounds[:, :2] + self.bounds[:, 2:]) / 2

    def _build(self) -> None:
        """Sort items by the cell of their centres; those larger than a cell stand apart."""
        count = len(self)
        size = self.bounds[:, 2:] - self.bounds[:, :2] if count else np.zeros((0, 2))
        extent = size.max(axis=1) if count else np.zeros(0)
        centers = self.centers
        self._origin = centers.min(axis=0) if count else np.zeros(2)
        reach = (centers.max(axis=0) - self._origin) if count else np.zeros(2)
        crowded = float(np.sqrt(reach.prod() * _PER_CELL / count)) if count else 0.0
        usual = float(np.quantile(extent, 0.95)) if count else 0.0
        self._cell = max(1e-6, usual, min(_CELL, crowded), float(reach.max()) / _CELLS)
        self._shape = np.floor(reach / self._cell).astype(np.int64) + 1
        self._large = np.flatnonzero(extent > self._cell)
        small = np.flatnonzero(extent <= self._cell)
        place = np.floor((centers[small] - self._origin) / self._cell).astype(np.int64)
        key = place[:, 0] * self._shape[1] + place[:, 1]
        order = np.argsort(key, kind="stable")
        self._order = small[order]
        self._starts = np.searchsorted(key[order], np.arange(int(self._shape.prod()) + 1))

    def touching(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Index:
        """Items whose bounds share some area with a window, or lie in it, in their order.

        Parameters
        ----------
        low, high : array_like of 2 floats
            Lowest and highest row and column of the window.
        """
        a, b = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        # no small item reaches further than half a cell from its centre
        first = np.clip(np.floor((a - self._origin) / self._cell - 0.5), 0, self._shape).astype(np.int64)
        last = np.clip(np.floor((b - self._origin) / self._cell + 0.5), -1, self._shape - 1).astype(np.int64)
        parts = [self._large]
        if (first <= last).all():
            for row in range(int(first[0]), int(last[0]) + 1):
                base = row * int(self._shape[1])
                parts.append(self._order[self._starts[base + first[1]] : self._starts[base + last[1] + 1]])
        items = np.concatenate(parts)
        bounds = self.bounds[items]
        near = ((bounds[:, :2] < b) & (bounds[:, 2:] >= a)).all(axis=1)
        found: Index = np.sort(items[near])
        return found

    def centered(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Index:
        """Items whose centres lie in a window: each item in one of several windows that tile the slide."""
        items = self.touching(low, high)
        centers = (self.bounds[items, :2] + self.bounds[items, 2:]) / 2
        inside = ((centers >= np.asarray(low)) & (centers < np.asarray(high))).all(axis=1)
        return items[inside]

    def by_set(self, items: Index) -> list[tuple[ItemSet, Index]]:
        """Sorted items as those of each set, counted within it."""
        ends = np.searchsorted(items, self.first)
        return [
            (one, items[a:b] - base)
            for one, a, b, base in zip(self.sets, ends[:-1], ends[1:], self.first[:-1], strict=True)
            if b > a
        ]


def mask_of_items(
    slide_items: SlideItems,
    items: Index,
    shape: tuple[int, int],
    origin: npt.ArrayLike,
    scale: npt.ArrayLike,
    overlap: str = "last",
) -> npt.NDArray[np.int64]:
    """The class of every pixel of a window, 0 where no item covers its centre.

    Parameters
    ----------
    slide_items : SlideItems
    items : ndarray of int
        Those to draw, sorted.
    shape : tuple of int
        Rows and columns of the window, in pixels of its own.
    origin : array_like of 2 floats
        Row and column of its corner, in pixels of level 0.
    scale : array_like of 2 floats
        Pixels of level 0 that one of its own stands for.
    overlap : {"error", "first", "last"}
        Which item keeps a pixel that several of different classes claim.

    Raises
    ------
    GeometryError
        If points or lines are to be drawn, and no size was given.
    EncodingError
        If classes overlap and that is an error.
    """
    out = np.zeros(shape, dtype=np.int64)
    for one, own in slide_items.by_set(items):
        part = _drawn(one, own, shape, np.asarray(origin), np.asarray(scale), slide_items.point_size, overlap)
        claimed = part != 0
        if overlap == "error" and (claimed & (out != 0) & (out != part)).any():
            raise _overlapping()
        keep = claimed & (out == 0) if overlap == "first" else claimed
        out[keep] = part[keep]
    return out


def _overlapping() -> EncodingError:
    return EncodingError("annotations of different classes overlap; pass overlap='first' or 'last'")


def _drawn(
    one: ItemSet, items: Index, shape: tuple[int, int], origin: Array, scale: Array, size: float | None, overlap: str
) -> npt.NDArray[np.int64]:
    points, offsets = one.select(items)
    points = (points - origin) / scale
    values = one.values[items]
    out = np.zeros(shape, dtype=np.int64)
    if one.graphic in ("POINT", "POLYLINE"):
        if size is None:
            raise GeometryError(
                f"{one.graphic.lower()}s cover no pixels: pass point_size=, the mm that they shall be wide"
            )
        wide = size / float(scale.mean())
        order = np.arange(len(items)) if overlap != "first" else np.arange(len(items))[::-1]
        if one.graphic == "POINT":
            return rasterize_points(points[order], values[order], shape, radius=wide / 2, out=out)
        if overlap == "first":
            points, offsets = _reversed(points, offsets)
        return rasterize_lines(points, offsets, values[order], shape, width=max(1.0, wide), out=out)
    if one.graphic == "ELLIPSE":
        points, offsets = ellipse_polygons(points.reshape(-1, 4, 2))
    owners = None if one.owners is None else np.unique(one.owners[items], return_inverse=True)[1].reshape(-1)
    if owners is not None:
        values = values[np.unique(owners, return_index=True)[1]]
    order = np.arange(len(values))
    if overlap == "error" and len(np.unique(values)) > 1:
        first = rasterize_polygons(points, offsets, values, shape, owners=owners, order=order[::-1], dtype=np.int64)
        last = rasterize_polygons(points, offsets, values, shape, owners=owners, out=out)
        if not np.array_equal(first, last):
            raise _overlapping()
        return last
    if overlap == "first":
        order = order[::-1]
    return rasterize_polygons(points, offsets, values, shape, owners=owners, order=order, out=out)


def _reversed(points: Array, offsets: Index) -> tuple[Array, Index]:
    """Items in the opposite order."""
    ends = np.append(offsets[1:], len(points))
    lengths = (ends - offsets)[::-1]
    pieces = [points[a:b] for a, b in zip(offsets[::-1].tolist(), ends[::-1].tolist(), strict=True)]
    return np.concatenate(pieces), np.cumsum(lengths) - lengths
