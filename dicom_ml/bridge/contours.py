"""Outlines of the instances of a label map, all at once and exactly along the edges of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError

__all__ = ["label_outlines", "polygon_areas", "polygon_bounds", "simplified"]

Array = npt.NDArray[Any]
_RIGHT, _DOWN, _LEFT, _UP = range(4)


def label_outlines(labels: npt.ArrayLike, *, holes: bool = False) -> tuple[Array, Array, Array]:
    """Outlines of all connected parts of all labels of a map.

    Pixels that touch in a corner only are parts of their own. Filled again by the rule that a pixel belongs to an
    outline when its centre lies inside, parts without holes are the very same pixels.

    Parameters
    ----------
    labels : array_like of int or bool, shape (rows, columns)
        0 is background.
    holes : bool
        Give the outlines of holes, too; they run the other way.

    Returns
    -------
    points : ndarray of float64, shape (P, 2)
        Row and column of the corners of one outline after the other; pixel ``(r, c)`` covers ``[r, r + 1)`` by
        ``[c, c + 1)``. They run clockwise from the uppermost, then leftmost corner, which is not repeated.
    offsets : ndarray of int64, shape (N,)
        First corner of each outline.
    values : ndarray of int64, shape (N,)
        Label of each outline, in ascending order; parts of one label from top to bottom.

    Raises
    ------
    GeometryError
        If the map is not flat, or holds no whole numbers.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise GeometryError(f"a label map is flat and of whole numbers, found shape {array.shape}, {array.dtype}")
    padded = np.pad(array.astype(np.int64), 1)
    start, stop, label, way = _steps(padded)
    if not len(start):
        return np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64)
    following = _following(start, stop, label, way)
    turns = np.zeros(len(way), dtype=bool)
    turns[following] = way[following] != way
    loops, firsts = _loops(following.tolist(), turns)
    corners = start[np.array(loops, dtype=np.intp)]
    width = padded.shape[1]
    points = np.stack(np.divmod(corners, width), axis=1).astype(np.float64) - 1  # the margin
    offsets = np.array(firsts, dtype=np.int64)
    outer = np.ones(len(offsets), dtype=bool) if holes else polygon_areas(points, offsets) > 0
    values = label[np.array(loops, dtype=np.intp)[offsets]]
    lengths = np.diff(np.append(offsets, len(points)))
    kept = np.repeat(outer, lengths)
    starts = np.concatenate([[0], np.cumsum(lengths[outer])[:-1]]).astype(np.int64)
    return points[kept], starts[: int(outer.sum())], values[outer]


def _steps(padded: Array) -> tuple[Array, Array, Array, Array]:
    """Steps along the sides of pixels where labels change, the label to the right: start, end, label and direction.

    Sorted by label and start; corners are counted row by row, corner (r, c) being the first of pixel (r, c).
    """
    rows, columns = padded.shape
    corner = np.arange(rows * columns).reshape(rows, columns)
    parts = []
    above, below = padded[:-1], padded[1:]
    changes = above != below
    for side, other, way in ((below, 0, _RIGHT), (above, 1, _LEFT)):
        r, c = np.nonzero(changes & (side > 0))
        left = corner[r + 1, c]
        ends = (left, left + 1) if other == 0 else (left + 1, left)
        parts.append((*ends, side[r, c], np.full(len(r), way)))
    before, after = padded[:, :-1], padded[:, 1:]
    changes = before != after
    for side, other, way in ((before, 0, _DOWN), (after, 1, _UP)):
        r, c = np.nonzero(changes & (side > 0))
        top = corner[r, c + 1]
        ends = (top, top + columns) if other == 0 else (top + columns, top)
        parts.append((*ends, side[r, c], np.full(len(r), way)))
    start, stop, label, ways = (np.concatenate(one) for one in zip(*parts, strict=True))
    order = np.lexsort((ways, start, label))
    return start[order], stop[order], label[order], ways[order]


def _following(start: Array, stop: Array, label: Array, way: Array) -> Array:
    """The step that follows each; where two may, the one that stays at the same pixel."""
    _, rank = np.unique(label, return_inverse=True)
    span = int(max(start.max(), stop.max())) + 1
    keys, wanted = rank * span + start, rank * span + stop
    first = np.searchsorted(keys, wanted)
    second = np.minimum(first + 1, len(keys) - 1)
    two = (keys[second] == wanted) & (second > first)
    turn = (way + 1) % 4  # to the right: around the pixel on that side
    return np.where(two & (way[second] == turn), second, first)


def _loops(following: list[int], turns: Array) -> tuple[list[int], list[int]]:
    """Steps that begin at a corner, loop after loop, and the place of the first of each loop."""
    left = bytearray(b"\x01") * len(following)
    corner = turns.tolist()
    loops: list[int] = []
    firsts: list[int] = []
    for begin in range(len(following)):
        if not left[begin]:
            continue
        firsts.append(len(loops))
        step = begin
        while left[step]:
            left[step] = 0
            if corner[step]:
                loops.append(step)
            step = following[step]
    return loops, firsts


def polygon_areas(points: Array, offsets: Array) -> Array:
    """Signed areas of polygons given as flat arrays of ``(row, column)``; positive where they run clockwise."""
    if not len(offsets):
        return np.zeros(0)
    ends = np.append(offsets[1:], len(points))
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = offsets
    # from the first point of each, so that large coordinates lose no digits
    local = points - np.repeat(points[offsets], ends - offsets, axis=0)
    rows, columns = local[:, 0], local[:, 1]
    crossed = columns * rows[following] - columns[following] * rows
    return np.asarray(np.add.reduceat(crossed, offsets) / 2)


def simplified(points: Array, offsets: Array, tolerance: float) -> tuple[Array, Array]:
    """Polygons with fewer corners, none of which departs further from the given ones than a tolerance.

    Of all polygons at once, the corner that is furthest from what is drawn so far is added, until none is too far
    (Douglas and Peucker's rule). What would be left with fewer than three corners stays as it is.

    Parameters
    ----------
    points : ndarray of shape (P, 2)
    offsets : ndarray of int, shape (N,)
        First corner of each polygon.
    tolerance : float
        In the unit of the points.

    Returns
    -------
    points : ndarray of shape (Q, 2)
    offsets : ndarray of int64, shape (N,)
    """
    if not len(offsets) or tolerance <= 0:
        return points, np.asarray(offsets, dtype=np.int64)
    count = len(points)
    owner = np.repeat(np.arange(len(offsets)), np.diff(np.append(offsets, count)))
    keep = np.zeros(count, dtype=bool)
    keep[offsets] = True
    keep[_worst(((points - points[offsets][owner]) ** 2).sum(axis=1), offsets, owner, -1.0)] = True
    while True:
        starts = np.flatnonzero(keep)
        side = np.cumsum(keep) - 1
        following = np.append(starts[1:], count)
        last = np.append(owner[starts[1:]] != owner[starts[:-1]], True)
        ends = np.where(last, offsets[owner[starts]], following)
        a, b = points[starts][side], points[ends][side]
        way = b - a
        length = (way**2).sum(axis=1)
        along = np.divide(((points - a) * way).sum(axis=1), length, out=np.zeros(count), where=length > 0)
        away = np.linalg.norm(points - a - np.clip(along, 0, 1)[:, None] * way, axis=1)
        further = _worst(away, starts, side, tolerance)
        if not len(further):
            break
        keep[further] = True
    keep |= (np.add.reduceat(keep.astype(np.int64), offsets) < 3)[owner]
    lengths = np.add.reduceat(keep.astype(np.int64), offsets)
    return points[keep], np.cumsum(lengths) - lengths


def _worst(away: Array, starts: Array, group: Array, least: float) -> Array:
    """Place of the largest value of each group that has one above ``least``; the first of equal ones."""
    largest = np.maximum.reduceat(away, starts)
    found = np.flatnonzero((away == largest[group]) & (away > least))
    return found[np.unique(group[found], return_index=True)[1]]


def polygon_bounds(points: Array, offsets: Array) -> Array:
    """Smallest and largest row and column of polygons, shape (N, 4)."""
    if not len(offsets):
        return np.zeros((0, 4))
    low = np.minimum.reduceat(points, offsets)
    return np.concatenate([low, np.maximum.reduceat(points, offsets)], axis=1)
