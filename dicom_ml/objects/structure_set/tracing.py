"""Contours that a program traced along the outermost pixels of a mask: from centre to centre of neighbouring pixels.

Such a contour runs through the pixels that it was made from, where one that bounds an area runs round them. The mask
it came from is what it encloses together with the pixels that it runs through.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["is_traced", "line_pixels"]

FloatArray = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
#: How far from the centre of a pixel a corner may lie, in pixels: coordinates are rounded.
_NEAR = 0.1
#: Part of the corners and edges that must be as traced ones are, and corners that the longest contour must have.
_MOST, _CORNERS = 0.95, 8


def is_traced(points: FloatArray, offsets: Index) -> bool:
    """Whether contours go from centre to centre of pixels, along rows, columns and diagonals only.

    Parameters
    ----------
    points : ndarray of shape (P, 2)
        Row and column, corners at pixel edges.
    offsets : ndarray of shape (C,)
        First point of each contour.
    """
    lengths = np.diff(np.append(offsets, len(points)))
    if not len(lengths) or lengths.max() < _CORNERS:
        return False
    centres = np.floor(points)
    if (np.abs(points - centres - 0.5).max(axis=1) <= _NEAR).mean() < _MOST:
        return False
    step = np.abs(centres[_following(offsets, lengths)] - centres)
    straight = (step.min(axis=1) == 0) | (step[:, 0] == step[:, 1])
    return bool(straight.mean() >= _MOST)


def line_pixels(points: FloatArray, offsets: Index) -> tuple[Index, Index, Index]:
    """Pixels whose centres lie on the edges between centres of pixels.

    Returns
    -------
    contour, row, column : ndarray of int
    """
    lengths = np.diff(np.append(offsets, len(points)))
    start = np.floor(points).astype(np.intp)
    step = start[_following(offsets, lengths)] - start
    count = np.maximum(np.gcd(step[:, 0], step[:, 1]), 1)
    contour = np.repeat(np.arange(len(lengths)), lengths)
    edge = np.repeat(np.arange(len(points)), count)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    place = start[edge] + step[edge] // count[edge, None] * along[:, None]
    return contour[edge], place[:, 0], place[:, 1]


def _following(offsets: Index, lengths: Index) -> Index:
    """Index of the point after each, the last followed by the first of its contour."""
    following = np.arange(1, int(lengths.sum()) + 1)
    some = lengths > 0
    following[(offsets + lengths)[some] - 1] = offsets[some]
    return following
