"""Overlapping predictions become one: each pixel is the mean of all tiles that cover it, weighted by a window.

Output frames are computed one after the other from the few tiles that reach each, so memory holds a frame and a
handful of tiles, whatever the size of the slide.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError

__all__ = ["WINDOWS", "blended_frames", "window_weights"]

WINDOWS = ("hann", "gaussian", "triangle", "constant")
Array = npt.NDArray[Any]
Pair = tuple[int, int]
# Bytes of tiles that are kept for the next frames.
_KEPT = 64 << 20


def window_weights(shape: Pair, window: str = "hann") -> npt.NDArray[np.float32]:
    """Weights of the pixels of a tile, above zero everywhere: the product of one window along each axis.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns, n along an axis.
    window : {"hann", "gaussian", "triangle", "constant"}
        At ``x = (i + 0.5) / n``: ``sin(pi x) ** 2``; a Gaussian about 0.5 of standard deviation 1/8;
        ``1 - |2 x - 1|``; 1.
    """
    if window not in WINDOWS:
        raise EncodingError(f"window is one of {', '.join(WINDOWS)}, found {window!r}")

    def along(n: int) -> npt.NDArray[np.float64]:
        x = (np.arange(n) + 0.5) / n
        if window == "hann":
            return np.asarray(np.sin(np.pi * x) ** 2)
        if window == "gaussian":
            return np.asarray(np.exp(-0.5 * ((x - 0.5) * 8) ** 2))
        return 1 - np.abs(2 * x - 1) if window == "triangle" else np.ones(n)

    return np.outer(along(shape[0]), along(shape[1])).astype(np.float32)


def blended_frames(
    read: Callable[[Pair], Array],
    cells: Iterable[Pair],
    *,
    tile: Pair,
    stride: Pair,
    shape: Pair,
    frame: Pair,
    window: str = "hann",
) -> Iterator[tuple[int, int, Array, npt.NDArray[np.bool_]]]:
    """Frames of a matrix, each blended of the tiles that reach it, row by row.

    Parameters
    ----------
    read : callable
        Gives the prediction ``(C, *tile)`` of a cell ``(row, column)``; its first pixel is ``cell * stride``.
    cells : iterable of (row, column)
        Those that there are.
    tile, stride, shape, frame : tuple of int
        Rows and columns of a tile, from one tile to the next, of the matrix, and of a frame.
    window : str
        See :func:`window_weights`.

    Yields
    ------
    row, column : int
        First pixel of the frame.
    values : ndarray of shape (C, rows, columns), float32
        Cut off at the matrix's edge; 0 where nothing covers a pixel.
    covered : ndarray of bool, shape (rows, columns)
    """
    here = set(cells)
    weights = window_weights(tile, window) if tile != stride else np.ones(tile, np.float32)
    kept: OrderedDict[Pair, Array] = OrderedDict()
    room = 0

    def fetch(cell: Pair) -> Array:
        nonlocal room
        if cell in kept:
            kept.move_to_end(cell)
            return kept[cell]
        found = read(cell)
        room = room or max(4, _KEPT // max(1, found.nbytes))
        kept[cell] = found
        if len(kept) > room:
            kept.popitem(last=False)
        return found

    for row, column in _frames_of(here, tile, stride, shape, frame):
        size = min(frame[0], shape[0] - row), min(frame[1], shape[1] - column)
        total: Array | None = None
        weight = np.zeros(size, np.float32)
        for cell in _cells_of((row, column), size, tile, stride):
            if cell not in here:
                continue
            first = cell[0] * stride[0], cell[1] * stride[1]
            low = [max(p, f) for p, f in zip((row, column), first, strict=True)]
            high = [min(p + s, f + t) for p, s, f, t in zip((row, column), size, first, tile, strict=True)]
            if low[0] >= high[0] or low[1] >= high[1]:
                continue
            source = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
            target = tuple(slice(a - p, b - p) for a, b, p in zip(low, high, (row, column), strict=True))
            pred = fetch(cell)
            if total is None:
                total = np.zeros((len(pred), *size), np.float32)
            own = weights[source]
            total[(slice(None), *target)] += pred[(slice(None), *source)].astype(np.float32) * own
            weight[target] += own
        if total is None:
            continue
        covered = weight > 0
        np.divide(total, weight, out=total, where=covered)
        yield row, column, total, covered


def _frames_of(cells: set[Pair], tile: Pair, stride: Pair, shape: Pair, frame: Pair) -> list[Pair]:
    """First pixels of the frames that the tiles reach, row by row."""
    found: set[Pair] = set()
    for row, column in cells:
        first = row * stride[0], column * stride[1]
        rows, columns = (
            range(f // s, -(-min(f + t, n) // s)) for f, t, n, s in zip(first, tile, shape, frame, strict=True)
        )
        found.update((r, c) for r in rows for c in columns)
    return sorted((r * frame[0], c * frame[1]) for r, c in found)


def _cells_of(first: Pair, size: Pair, tile: Pair, stride: Pair) -> Iterator[Pair]:
    """Cells whose tiles may reach a frame, in ascending order."""
    rows, columns = (
        range(max(0, -(-(f - t + 1) // s)), (f + n - 1) // s + 1)
        for f, n, t, s in zip(first, size, tile, stride, strict=True)
    )
    for row in rows:
        for column in columns:
            yield row, column
