"""Outlines of what a mask covers, along the edges of its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError

__all__ = ["outlines"]

# A step along each side of a pixel, clockwise: along its top edge, its right, its bottom, its left one.
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)], dtype=np.int64)
_STARTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], dtype=np.int64)


def outlines(mask: npt.ArrayLike, *, holes: bool = False) -> list[npt.NDArray[np.float64]]:
    """Outlines of the connected parts of a mask, exactly along the edges of its pixels.

    Pixels that touch in a corner only are parts of their own.

    Parameters
    ----------
    mask : array_like of bool, shape (rows, columns)
    holes : bool
        Give the outlines of holes, too.

    Returns
    -------
    list of ndarray of shape (N, 2)
        Row and column of corners, pixel ``(r, c)`` covering ``[r, r + 1)`` by ``[c, c + 1)``; the first corner is not
        repeated. Parts run with rows growing to the right of them (positive area by ``sum(c0 * r1 - c1 * r0) / 2``),
        holes the other way. Ordered by their uppermost, then leftmost corner.

    Raises
    ------
    GeometryError
        If the mask is not flat.
    """
    inside = np.asarray(mask, dtype=bool)
    if inside.ndim != 2:
        raise GeometryError(f"outlines are those of a mask (rows, columns), found shape {inside.shape}")
    following = _edges(np.pad(inside, 1))
    found: list[npt.NDArray[np.float64]] = []
    for start in sorted(following):
        while following.get(start):
            ring = _ring(following, start)
            if holes or _area(ring) > 0:
                found.append(ring)
    return found


def _edges(padded: npt.NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Directions of the edges that leave each corner; on their right is the mask."""
    core = padded[1:-1, 1:-1]
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    following: dict[tuple[int, int], list[int]] = {}
    for direction, other in enumerate(beyond):
        for row, column in (np.argwhere(core & ~other) + _STARTS[direction]).tolist():
            following.setdefault((row, column), []).append(direction)
    return following


def _ring(following: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Take the edges of one outline away, and give its corners."""
    corners: list[tuple[int, int]] = []
    place, heading = start, -1
    while True:
        ways = following[place]
        # where two parts touch in a corner, the turn to the right stays with the same part
        right = (heading + 1) % 4
        way = right if heading >= 0 and right in ways else ways[0]
        ways.remove(way)
        if way != heading:
            corners.append(place)
        heading = way
        step: Any = _STEPS[way]
        place = place[0] + int(step[0]), place[1] + int(step[1])
        if place == start:
            break
    return np.array(corners, dtype=np.float64)


def _area(ring: npt.NDArray[np.float64]) -> float:
    row, column = ring[:, 0], ring[:, 1]
    return float((column * np.roll(row, -1) - np.roll(column, -1) * row).sum() / 2)
