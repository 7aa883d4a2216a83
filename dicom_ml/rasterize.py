"""Outlines to pixels: polygons filled, lines and points stamped, by the hundred thousand.

Coordinates are ``(row, column)`` in pixels with corners at pixel edges: pixel ``(r, c)`` covers ``r`` to ``r + 1`` and
``c`` to ``c + 1``, its centre is ``(r + 0.5, c + 0.5)``. A pixel belongs to a polygon when its centre lies inside by
the even-odd rule. A centre exactly on an outline belongs to the polygon that lies below or to the right of it, so that
polygons which share an edge leave no gap and never both take a pixel.

Many polygons are given as flat arrays, as bulk annotations have them: the points of all outlines one after the other,
and the index of the first point of each. Outlines may share an item (``owners``): its holes, or parts of it that lie
apart, by the even-odd rule over all of its outlines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError

__all__ = [
    "Spans",
    "ellipse_polygons",
    "polygon_mask",
    "polygon_spans",
    "rasterize_lines",
    "rasterize_points",
    "rasterize_polygons",
]

Array = npt.NDArray[Any]
Index = npt.NDArray[np.intp]
#: Crossings of outlines with rows that are worked on at once.
_BLOCK = 1 << 21
#: Pixels that are written at once.
_PIXELS = 1 << 20
#: Average length of spans from which each is written by itself.
_LONG = 40


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of pixels inside items: ``out[row, start:stop]`` belongs to ``item``.

    Attributes
    ----------
    item, row, start, stop : ndarray of int, shape (N,)
        Sorted by item, then row, then start; runs of one item do not overlap.
    """

    item: Index
    row: Index
    start: Index
    stop: Index

    def __len__(self) -> int:
        return len(self.item)

    def areas(self, count: int) -> Array:
        """Number of pixels of each of ``count`` items, shape ``(count,)``."""
        return np.bincount(self.item, self.stop - self.start, minlength=count).astype(np.int64)


def polygon_mask(
    points: npt.ArrayLike,
    shape: Sequence[int],
    origin: Sequence[float] = (0, 0),
    *,
    offsets: npt.ArrayLike | None = None,
) -> npt.NDArray[np.bool_]:
    """Pixels whose centres lie inside a polygon.

    Parameters
    ----------
    points : array_like of shape (P, 2)
        Corners ``(row, column)``, closed by itself. Fewer than three enclose nothing.
    shape : sequence of 2 ints
        Rows and columns of the result.
    origin : sequence of 2 floats
        Row and column, in the coordinates of the points, of the corner of the result's first pixel.
    offsets : array_like of int, optional
        First point of each of several outlines of one polygon, such as its holes.

    Returns
    -------
    ndarray of shape ``shape``, bool

    Raises
    ------
    GeometryError
        If points are not finite pairs, or offsets do not rise within them.
    """
    points = _points(points)
    starts = np.zeros(min(1, len(points)), np.intp) if offsets is None else _offsets(offsets, len(points))
    out = np.zeros(_shape(shape), dtype=bool)
    for spans in _blocks(points, starts, np.zeros(len(starts), np.intp), out.shape, origin):
        _paint(out, spans, np.ones(1, bool))
    return out


def rasterize_polygons(
    points: npt.ArrayLike,
    offsets: npt.ArrayLike,
    values: npt.ArrayLike,
    shape: Sequence[int],
    window_origin: Sequence[float] = (0, 0),
    *,
    owners: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Fill many polygons with their values; where they overlap, later ones lie over earlier ones.

    Parameters
    ----------
    points : array_like of shape (P, 2)
        Corners ``(row, column)`` of all outlines.
    offsets : array_like of int, shape (R,)
        Index of the first point of each outline.
    values : array_like of shape (N,) or ()
        Number to write for each item, or one for all.
    shape : sequence of 2 ints
        Rows and columns of the result: a window of the image.
    window_origin : sequence of 2 floats
        Row and column of the corner of the window's first pixel. What lies outside of the window is left out.
    owners : array_like of int, shape (R,), optional
        Item of each outline, from 0; by default each is an item of its own.
    order : array_like of int, optional
        Items in the order in which they are written, the uppermost last; items not named are left out.
    dtype : dtype, optional
        Of the result; by default that of ``values``.
    out : ndarray of shape ``shape``, optional
        Written into, instead of a new array of zeros; it must be contiguous.

    Returns
    -------
    ndarray of shape ``shape``

    Raises
    ------
    GeometryError
        If the arrays do not go together.
    """
    points = _points(points)
    starts = _offsets(offsets, len(points))
    items = _owners(owners, len(starts))
    numbers = np.asarray(values)
    count = int(items.max()) + 1 if len(items) else 0
    if numbers.ndim == 0:
        numbers = np.broadcast_to(numbers, (count,))
    if numbers.ndim != 1 or len(numbers) < count:
        raise GeometryError(f"values are one number for each of {count} items, found shape {numbers.shape}")
    if order is not None:
        points, starts, items, numbers = _reordered(points, starts, items, numbers, np.asarray(order, dtype=np.intp))
    elif (np.diff(items) < 0).any():
        points, starts, items, numbers = _reordered(points, starts, items, numbers, np.arange(len(numbers)))
    if out is None:
        out = np.zeros(_shape(shape), dtype=numbers.dtype if dtype is None else dtype)
    elif out.shape != _shape(shape) or not out.flags.c_contiguous:
        raise GeometryError(f"out is a contiguous array of shape {_shape(shape)}, found {out.shape}")
    fitting = numbers.astype(out.dtype)
    if not np.array_equal(fitting, numbers):
        raise GeometryError(f"values up to {numbers.max()} do not fit into {out.dtype}; pass a wider dtype")
    numbers = fitting
    for spans in _blocks(points, starts, items, out.shape, window_origin):
        _paint(out, spans, numbers)
    return out


def polygon_spans(
    points: npt.ArrayLike,
    offsets: npt.ArrayLike,
    shape: Sequence[int],
    window_origin: Sequence[float] = (0, 0),
    *,
    owners: npt.ArrayLike | None = None,
) -> Spans:
    """Runs of pixels inside each of many polygons, which may overlap: what :func:`rasterize_polygons` writes.

    Parameters
    ----------
    points, offsets, shape, window_origin, owners
        As in :func:`rasterize_polygons`.

    Returns
    -------
    Spans
    """
    points = _points(points)
    starts = _offsets(offsets, len(points))
    items = _owners(owners, len(starts))
    if (np.diff(items) < 0).any():
        order = np.arange(int(items.max()) + 1)
        points, starts, items, _ = _reordered(points, starts, items, order, order)
    found = list(_blocks(points, starts, items, _shape(shape), window_origin))
    if not found:
        return Spans(*(np.zeros(0, np.intp) for _ in range(4)))
    return Spans(*(np.concatenate([getattr(s, name) for s in found]) for name in ("item", "row", "start", "stop")))


# ---------------------------------------------------------------------- other shapes
def ellipse_polygons(ends: npt.ArrayLike, tolerance: float = 0.01) -> tuple[Array, Index]:
    """Polygons for ellipses given by the ends of their axes; they stay within ``tolerance`` of the true outline.

    Parameters
    ----------
    ends : array_like of shape (N, 4, 2)
        Both ends of one axis, then both of the other: the ellipses of bulk annotations and of structured reports.
    tolerance : float
        Largest distance, in the unit of the points.

    Returns
    -------
    points : ndarray of shape (P, 2)
    offsets : ndarray of shape (N,)
    """
    axes = np.asarray(ends, dtype=np.float64).reshape(-1, 4, 2)
    if not len(axes):
        return np.zeros((0, 2)), np.zeros(0, np.intp)
    middle = axes.mean(axis=1)
    first, second = (axes[:, 1] - axes[:, 0]) / 2, (axes[:, 3] - axes[:, 2]) / 2
    reach = max(float(np.linalg.norm(first, axis=1).max()), float(np.linalg.norm(second, axis=1).max()), tolerance)
    # half of the error lies inside and half outside of the outline
    sides = max(12, int(np.ceil(np.pi / np.arccos((reach - tolerance) / (reach + tolerance)))))
    turn = 2 * np.pi * np.arange(sides) / sides
    stretch = 2 / (1 + np.cos(np.pi / sides))
    ring = first[:, None] * (stretch * np.cos(turn))[:, None] + second[:, None] * (stretch * np.sin(turn))[:, None]
    return (middle[:, None] + ring).reshape(-1, 2), np.arange(len(axes)) * sides


def rasterize_points(
    points: npt.ArrayLike,
    values: npt.ArrayLike,
    shape: Sequence[int],
    window_origin: Sequence[float] = (0, 0),
    *,
    radius: float | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Write a value at the pixel that holds each point, or on a disc around it.

    Parameters
    ----------
    points : array_like of shape (N, 2)
        ``(row, column)``.
    values : array_like of shape (N,) or ()
    radius : float, optional
        Of the disc, in pixels; the pixel of the point always belongs to it.
    shape, window_origin, dtype, out
        As in :func:`rasterize_polygons`.

    Returns
    -------
    ndarray of shape ``shape``
    """
    points = _points(points)
    size = _shape(shape)
    numbers = np.broadcast_to(np.asarray(values), (len(points),))
    if out is None:
        out = np.zeros(size, dtype=numbers.dtype if dtype is None else dtype)
    if radius is not None:
        outline, starts = ellipse_polygons(points[:, None] + np.array([[-1, 0], [1, 0], [0, -1], [0, 1]]) * radius)
        rasterize_polygons(outline, starts, numbers, size, window_origin, out=out)
    place = np.floor(points - np.asarray(window_origin, dtype=np.float64))
    inside = ((place >= 0) & (place < size)).all(axis=1)
    rows, columns = place[inside].astype(np.intp).T
    out[rows, columns] = numbers[inside]
    return out


def rasterize_lines(
    points: npt.ArrayLike,
    offsets: npt.ArrayLike,
    values: npt.ArrayLike,
    shape: Sequence[int],
    window_origin: Sequence[float] = (0, 0),
    *,
    width: float = 1.0,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Draw open lines: pixels whose centres lie within half of ``width`` of a line, with rounded ends and joints.

    Parameters
    ----------
    points, offsets, values, shape, window_origin, dtype, out
        As in :func:`rasterize_polygons`; each item is one line.
    width : float
        In pixels. From 1 on lines have no gaps.

    Returns
    -------
    ndarray of shape ``shape``
    """
    points = _points(points)
    starts = _offsets(offsets, len(points))
    lengths = np.diff(np.append(starts, len(points)))
    line = np.repeat(np.arange(len(starts)), lengths)
    numbers = np.broadcast_to(np.asarray(values), (len(starts),))
    joined = np.flatnonzero(np.diff(line) == 0) if len(line) else np.zeros(0, np.intp)
    a, b = points[joined], points[joined + 1]
    length = np.linalg.norm(b - a, axis=1, keepdims=True)
    aside = np.stack([a[:, 1] - b[:, 1], b[:, 0] - a[:, 0]], axis=1) * (width / 2 / np.where(length > 0, length, 1))
    strips = np.stack([a + aside, b + aside, b - aside, a - aside], axis=1)
    caps, cap_starts = ellipse_polygons(points[:, None] + np.array([[-1, 0], [1, 0], [0, -1], [0, 1]]) * (width / 2))
    sides = len(caps) // max(1, len(points))
    outline = np.concatenate([strips.reshape(-1, 2), caps])
    first = np.concatenate([np.arange(len(strips)) * 4, len(strips) * 4 + cap_starts])
    owner = np.concatenate([line[joined], line])
    order = np.argsort(owner, kind="stable")
    size = np.repeat([4, max(1, sides)], [len(strips), len(cap_starts)])
    outline, first = _gathered(outline, first, size, order)
    return rasterize_polygons(outline, first, numbers[owner[order]], shape, window_origin, dtype=dtype, out=out)


# ---------------------------------------------------------------------- checks
def _points(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise GeometryError(f"points are finite (row, column) pairs of shape (P, 2), found shape {array.shape}")
    return array


def _offsets(offsets: npt.ArrayLike, count: int) -> Index:
    starts = np.asarray(offsets, dtype=np.intp)
    if starts.ndim != 1 or (len(starts) and (starts[0] != 0 or (np.diff(starts, append=count) < 0).any())):
        raise GeometryError(f"offsets begin at 0 and rise within {count} points, found {starts[:5].tolist()}...")
    if count and not len(starts):
        raise GeometryError(f"{count} points are given, but no offsets: the first point of each outline")
    return starts


def _owners(owners: npt.ArrayLike | None, count: int) -> Index:
    if owners is None:
        return np.arange(count)
    items = np.asarray(owners, dtype=np.intp)
    if items.shape != (count,) or (count and items.min() < 0):
        raise GeometryError(f"owners name the item, from 0, of each of {count} outlines; found shape {items.shape}")
    return items


def _shape(shape: Sequence[int]) -> tuple[int, int]:
    rows, columns = (int(n) for n in shape)
    if rows < 0 or columns < 0:
        raise GeometryError(f"a window has rows and columns, found {tuple(shape)}")
    return rows, columns


def _gathered(points: Array, starts: Index, lengths: Index, rings: Index) -> tuple[Array, Index]:
    """Points and offsets of some outlines, in a new order."""
    size = lengths[rings]
    first = np.cumsum(size) - size
    index = np.repeat(starts[rings] - first, size) + np.arange(int(size.sum()))
    return points[index], first


def _reordered(
    points: Array, starts: Index, items: Index, values: Array, order: Index
) -> tuple[Array, Index, Index, Array]:
    """Outlines sorted by the place of their items in ``order``; those of other items left out."""
    rank = np.full(len(values), -1, dtype=np.intp)
    rank[order] = np.arange(len(order))
    placed = rank[items]
    rings = np.argsort(placed, kind="stable")
    rings = rings[placed[rings] >= 0]
    lengths = np.diff(np.append(starts, len(points)))
    points, starts = _gathered(points, starts, lengths, rings)
    return points, starts, placed[rings], values[order]


# ---------------------------------------------------------------------- the scan
def _blocks(
    points: Array, starts: Index, items: Index, shape: tuple[int, int], origin: Sequence[float]
) -> Iterator[Spans]:
    """Spans of items, some items at a time; outlines of one item stand together."""
    rows, columns = shape
    lengths = np.diff(np.append(starts, len(points)))
    some = lengths > 0
    starts, lengths, items = starts[some], lengths[some], items[some]
    if not len(starts) or not rows or not columns:
        return
    begin = points - np.asarray(origin, dtype=np.float64)
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    end = begin[following]
    # every edge runs downwards, so that both polygons at an edge compute the same crossings
    turned = begin[:, 0] > end[:, 0]
    low, high = np.where(turned[:, None], end, begin), np.where(turned[:, None], begin, end)
    first = np.clip(np.ceil(low[:, 0] - 0.5), 0, rows).astype(np.intp)
    count = np.clip(np.ceil(high[:, 0] - 0.5), 0, rows).astype(np.intp) - first
    crossing = count > 0
    owner = np.repeat(items, lengths)[crossing]
    low, high, first, count = low[crossing], high[crossing], first[crossing], count[crossing]
    slope = np.concatenate([low, high - low], axis=1)
    for a, b in _parts(owner, count):
        spans = _spans(owner[a:b], slope[a:b], first[a:b], count[a:b], rows, columns)
        if len(spans):
            yield spans


def _parts(owner: Index, count: Index) -> Iterator[tuple[int, int]]:
    """Cut edges into parts of some millions of crossings, between items."""
    if not len(owner):
        return
    total = np.cumsum(count)
    last = np.flatnonzero(np.diff(owner, append=-1))  # the last edge of each item
    wanted = np.searchsorted(total[last], np.arange(_BLOCK, int(total[-1]) + _BLOCK, _BLOCK))
    ends = np.unique(last[np.minimum(wanted, len(last) - 1)]) + 1
    yield from zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)


def _spans(owner: Index, slope: Array, first: Index, count: Index, rows: int, columns: int) -> Spans:
    """Cut the rows at edges and pair the crossings, left to right."""
    total = np.cumsum(count)
    row = np.repeat(first - (total - count), count) + np.arange(int(total[-1]))
    y0, x0, height, width = np.repeat(slope, count, axis=0).T
    # multiplied before divided: exact wherever coordinates are binary fractions
    cut = np.clip(np.ceil((row + 0.5 - y0) * width / height + x0 - 0.5), 0, columns).astype(np.intp)
    known, local = np.unique(owner, return_inverse=True)
    key = np.repeat(local, count)
    key *= rows
    key += row
    key *= columns + 1
    key += cut
    key.sort()
    start, stop = key[0::2], key[1::2]
    filled = stop > start
    start, stop = start[filled], stop[filled]
    line, start = np.divmod(start, columns + 1)
    item, row = np.divmod(line, rows)
    return Spans(known[item], row, start, stop - line * (columns + 1))


def _paint(out: Array, spans: Spans, values: Array) -> None:
    """Write values on spans, in their order."""
    length = spans.stop - spans.start
    total = np.cumsum(length)
    if not len(total):
        return
    if total[-1] > _LONG * len(length):
        columns = spans.row.tolist(), spans.start.tolist(), spans.stop.tolist()
        for row, start, stop, value in zip(*columns, values[spans.item], strict=True):
            out[row, start:stop] = value
        return
    flat = out.reshape(-1)
    base = spans.row * out.shape[1] + spans.start - (total - length)
    number = values[spans.item]
    ends = np.unique(np.searchsorted(total, np.arange(_PIXELS, int(total[-1]) + _PIXELS, _PIXELS)))
    a = 0
    for b in np.minimum(ends + 1, len(length)).tolist():
        done = int(total[a - 1]) if a else 0
        place = np.repeat(base[a:b], length[a:b]) + np.arange(done, int(total[b - 1]))
        flat[place] = np.repeat(number[a:b], length[a:b])
        a = b
