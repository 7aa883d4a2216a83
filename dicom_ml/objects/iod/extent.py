"""What images in patient space cover, all together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dicom_ml.objects.iod.sources import Known

__all__ = ["Extent", "placed_images"]


def placed_images(known: Iterable[Known]) -> list[Known]:
    """Those that are images with a known place."""
    return [k for k in known if k.origins is not None and k.axes is not None and 0 not in k.size and k.segments is None]


class Extent:
    """A box around images, turned as the first of them is.

    Attributes
    ----------
    basis : ndarray of shape (3, 3)
        Directions of columns, rows and the normal.
    low, high : ndarray of shape (3,)
        Along these, in millimetres.
    gap : float
        Distance of neighbouring planes; a millimetre where there is one only.
    """

    def __init__(self, placed: list[Known]) -> None:
        axes = placed[0].axes
        assert axes is not None
        down, across = (axis / (np.linalg.norm(axis) or 1.0) for axis in axes)
        self.basis = np.stack([down, across, np.cross(across, down)])
        inside = np.concatenate([_corners(k) for k in placed]) @ self.basis.T
        self.low, self.high = inside.min(axis=0), inside.max(axis=0)
        depths = np.concatenate([k.origins for k in placed if k.origins is not None]) @ self.basis[2]
        steps = np.diff(np.unique(np.round(depths, 3)))
        self.gap = float(np.median(steps)) if len(steps) else 1.0

    def outside(self, points: Any, slack: float) -> Any:
        """Which of some points lie more than ``slack`` off the box."""
        along = points @ self.basis.T
        return ~((along >= self.low - slack) & (along <= self.high + slack)).all(axis=1)


def _corners(known: Known) -> Any:
    assert known.origins is not None and known.axes is not None
    down, across = known.axes[0] * (known.size[0] - 1), known.axes[1] * (known.size[1] - 1)
    return np.concatenate([known.origins + far for far in (0, down, across, down + across)])
