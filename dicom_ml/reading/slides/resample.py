"""Weights of separable resampling filters, for pieces of an image that are decoded one by one.

A resampled image is a weighted sum over input pixels, so each frame adds its own share to the sum and is let go:
a thumbnail of a slide without a pyramid needs memory for the thumbnail only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["FILTERS", "Axis", "Filter"]

Filter = Literal["area", "nearest"]
FILTERS: tuple[Filter, ...] = ("area", "nearest")


@dataclass(frozen=True)
class Axis:
    """One axis of a resampling: output pixel ``i`` covers input ``[start + i * step, start + (i + 1) * step)``.

    Pixels are taken as areas: input pixel ``j`` covers ``[j, j + 1)``.
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
        return int(np.floor(self.start - reach + 1e-6)), int(np.ceil(end + reach - 1e-6))

    def weights(self, low: int, high: int) -> tuple[int, npt.NDArray[np.float32]]:
        """Weights of input pixels ``low`` to ``high`` (excluded).

        Returns
        -------
        first : int
            Output pixel of the first row of weights.
        weights : ndarray of shape (outputs, high - low), float32
            For all output pixels that these inputs reach.
        """
        reach = 1.0 if self.step < 1 else 0.0
        first = max(int(np.floor((low - self.start - reach) / self.step)), 0)
        last = min(int(np.ceil((high - self.start + reach) / self.step)), self.count)
        outputs = np.arange(first, max(last, first))[:, None]
        inputs = np.arange(low, high)[None, :]
        if self.filter == "nearest":
            chosen = np.floor(self.start + (outputs + 0.5) * self.step + 1e-6)
            return first, (chosen == inputs).astype(np.float32)
        if self.step < 1:
            # enlarging: linear between pixel centres
            centers = self.start + (outputs + 0.5) * self.step - 0.5
            return first, np.maximum(1 - np.abs(centers - inputs), 0).astype(np.float32)
        left = self.start + outputs * self.step
        shared = np.minimum(left + self.step, inputs + 1) - np.maximum(left, inputs)
        return first, (np.maximum(shared, 0) / self.step).astype(np.float32)
