"""Coordinates and measured values as decimal text, many at once, such that reading gives them back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["point_text", "value_texts"]

Array = npt.NDArray[Any]
_SPACE, _ZERO, _MINUS, _DOT = b" 0-."
#: Numbers of decimals tried, fewest first.
_DECIMALS = (0, 1, 2, 3, 4, 6, 8)
#: Largest whole number whose digits are taken apart by arrays.
_LARGEST = 10**15


def point_text(points: Array, opening: str, between: str, closing: str) -> tuple[bytes, list[int]]:
    """Text of points, one after the other.

    Parameters
    ----------
    points : ndarray of shape (N, 2), float32 or float64
    opening, between, closing : str
        What stands before, between and after the two numbers; no blanks other than by itself.

    Returns
    -------
    text : bytes
    ends : list of int
        Where each point's text ends.
    """
    decimals = _decimals(points)
    if decimals is None:
        whole = [f"{opening}{x!r}{between}{y!r}{closing}" for x, y in _shortest(points)]
        return "".join(whole).encode(), np.cumsum([len(t) for t in whole]).tolist()
    columns = [
        _constant(opening, len(points)),
        _digits(points[:, 0], decimals),
        _constant(between, len(points)),
        _digits(points[:, 1], decimals),
        _constant(closing, len(points)),
    ]
    matrix = np.concatenate(columns, axis=1)
    used = matrix != 0
    return matrix[used].tobytes(), np.cumsum(np.count_nonzero(used, axis=1)).tolist()


def value_texts(values: Array) -> list[str]:
    """Shortest text of each value that reads back as the same float32 or float64; ``"nan"`` where there is none."""
    return [repr(v) for v in _shortest(values)]


def _shortest(values: Array) -> Any:
    """As Python floats whose repr is the shortest for the array's own precision."""
    if values.dtype.itemsize >= 8:
        return values.tolist()
    return values.astype("U32").astype(np.float64).tolist()


def _decimals(points: Array) -> int | None:
    """Fewest decimals that say every coordinate exactly; None where some need more digits than are taken apart."""
    exact = points.astype(np.float64)
    largest = float(np.abs(exact).max(initial=0))
    for decimals in _DECIMALS:
        scale = 10.0**decimals
        if largest * scale > _LARGEST:
            return None
        if np.array_equal((np.rint(exact * scale) / scale).astype(points.dtype), points):
            return decimals
    return None


def _constant(text: str, count: int) -> Array:
    return np.broadcast_to(np.frombuffer(text.encode(), np.uint8), (count, len(text)))


def _digits(values: Array, decimals: int) -> Array:
    """Digits of each number in a row, 0 where there is no character."""
    number = np.rint(values.astype(np.float64) * 10.0**decimals).astype(np.int64)
    negative = number < 0
    number = np.abs(number)
    width = max(len(str(int(number.max(initial=0)))), decimals + 1)
    if width < 10:
        number = number.astype(np.int32)  # whose division is faster
    out = np.zeros((len(number), width + 2), dtype=np.uint8)
    out[:, 0] = np.where(negative, _MINUS, 0)
    shown = np.zeros(len(number), dtype=bool)
    for place in range(width):
        following = number // 10
        digit = (number - following * 10).astype(np.uint8)
        number = following
        if place < decimals:
            # zeros at the end of the decimals are not shown
            shown |= digit != 0
            out[:, width + 1 - place] = np.where(shown, digit + _ZERO, 0)
        else:
            if place == decimals:
                out[:, width + 1 - place] = np.where(shown, _DOT, 0)
            needed = (digit != 0) | (number != 0) if place > decimals else np.ones(len(digit), bool)
            out[:, width - place] = np.where(needed, digit + _ZERO, 0)
    return out
