"""Separable resampling of an image that comes in pieces, decoded one by one.

A resampled image is a weighted sum over input pixels, so each frame adds its own share to the sum and is let go:
a thumbnail of a slide without a pyramid needs memory for the thumbnail only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["FILTERS", "Axis", "Filter", "resample_piece"]

Filter = Literal["area", "nearest"]
FILTERS: tuple[Filter, ...] = ("area", "nearest")

Array = npt.NDArray[Any]
_ROUNDING = 1e-6
# Output pixels that are computed by one multiplication of matrices. Few inputs count for each, so small blocks leave
# few zeros to multiply with, and keep the matrices below the size from which BLAS libraries start threads.
_BLOCK = 8


@dataclass(frozen=True)
class Axis:
    """One axis of a resampling: output pixel ``i`` covers input ``[start + i * step, start + (i + 1) * step)``.

    Pixels are taken as areas: input pixel ``j`` covers ``[j, j + 1)``. ``"area"`` gives the mean over what an output
    pixel covers; where it covers less than a pixel (enlarging), the linear interpolation at its centre.
    ``"nearest"`` gives the input pixel at its centre.
    """

    start: float
    step: float
    count: int
    filter: Filter

    @property
    def span(self) -> tuple[int, int]:
        """First input pixel that counts, and the one after the last."""
        reach = 0.5 if self.filter == "area" and self.step < 1 else 0.0
        end = self.start + self.count * self.step
        # what is a rounding error away from an edge does not reach past it
        return int(np.floor(self.start - reach + _ROUNDING)), int(np.ceil(end + reach - _ROUNDING))

    def weights(self, low: int, high: int) -> tuple[int, Array]:
        """Weights of input pixels ``low`` to ``high`` (excluded).

        Returns
        -------
        first : int
            Output pixel of the first row of weights.
        weights : ndarray of shape (m, high - low), float32
            For all output pixels that these inputs reach.
        """
        reach = 1.0 if self.step < 1 else 0.0
        first = max(int(np.floor((low - self.start - reach) / self.step)), 0)
        last = max(min(int(np.ceil((high - self.start + reach) / self.step)), self.count), first)
        outputs = np.arange(first, last)
        weights = np.zeros((len(outputs), high - low), np.float32)
        for pixels, factors in self._taps(outputs):
            inside = np.flatnonzero((pixels >= low) & (pixels < high))
            weights[inside, pixels[inside] - low] += factors[inside].astype(np.float32)
        return first, weights

    def _taps(self, outputs: Array) -> Iterator[tuple[Array, Array]]:
        """Input pixels, one for each output pixel, and their weights; several times."""
        if self.filter == "nearest":
            chosen = np.floor(self.start + (outputs + 0.5) * self.step + _ROUNDING)
            yield chosen.astype(np.int64), np.ones(len(chosen))
        elif self.step < 1:
            centers = self.start + (outputs + 0.5) * self.step - 0.5
            lower = np.floor(centers)
            yield lower.astype(np.int64), 1 - (centers - lower)
            yield lower.astype(np.int64) + 1, centers - lower
        else:
            left = self.start + outputs * self.step
            lower = np.floor(left).astype(np.int64)
            for tap in range(int(np.ceil(self.step)) + 1):
                pixels = lower + tap
                shared = np.minimum(left + self.step, pixels + 1) - np.maximum(left, pixels)
                yield pixels, np.maximum(shared, 0) / self.step


def reduce_rows(values: Array, weights: Array, step: float) -> Array:
    """``weights @ values`` for weights that lie along the diagonal.

    Parameters
    ----------
    values : ndarray of shape (n, k)
    weights : ndarray of shape (m, n), float32
        Of an :class:`Axis`.
    step : float
        Of that axis.

    Returns
    -------
    ndarray of shape (m, k), float32
    """
    values = values.astype(np.float32, copy=False)
    out = np.empty((len(weights), values.shape[1]), np.float32)
    used = weights != 0
    begins = np.where(used.any(axis=1), used.argmax(axis=1), 0)
    ends = np.where(used.any(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    block = max(1, int(_BLOCK * 2 / max(step, 2)))
    for first in range(0, len(weights), block):
        rows = slice(first, first + block)
        low, high = int(begins[rows].min()), int(ends[rows].max())
        np.matmul(weights[rows, low:high], values[low:high], out=out[rows])
    return out


def resample_piece(piece: Array, down: Axis, across: Axis, row: int, column: int) -> tuple[int, int, Array, Array]:
    """The share of a piece of the input in the output.

    Parameters
    ----------
    piece : ndarray of shape (rows, columns[, samples])
    down, across : Axis
        Of rows and of columns.
    row, column : int
        Input pixel at which the piece begins.

    Returns
    -------
    row, column : int
        Output pixel at which the share begins.
    share : ndarray of shape (m, n, samples), float32
    weights : ndarray of shape (m, n), float32
        Sum of the weights of each output pixel.
    """
    height, width = piece.shape[:2]
    samples = piece.size // (height * width)
    first_row, vertical = down.weights(row, row + height)
    first_column, horizontal = across.weights(column, column + width)
    narrowed = reduce_rows(piece.reshape(height, -1), vertical, down.step)
    # the second axis in front, so that both passes add whole rows
    turned = np.ascontiguousarray(narrowed.reshape(len(narrowed), width, samples).transpose(1, 0, 2))
    reduced = reduce_rows(turned.reshape(width, -1), horizontal, across.step)
    share = reduced.reshape(len(reduced), len(narrowed), samples).transpose(1, 0, 2)
    return first_row, first_column, share, np.outer(vertical.sum(axis=1), horizontal.sum(axis=1))
