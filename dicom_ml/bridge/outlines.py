"""Outlines of what a mask covers, along the edges of its pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.contours import label_outlines
from dicom_ml.errors import GeometryError

__all__ = ["outlines"]


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
    points, offsets, _ = label_outlines(inside, holes=holes)
    return np.split(points, offsets[1:]) if len(offsets) else []
