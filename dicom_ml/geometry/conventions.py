"""The convention of MONAI and NIfTI, right-anterior-superior over ``(w, h, d)``, and the way there and back."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry.planes import FloatArray

__all__ = ["from_monai", "lps_to_ras", "monai_affine", "to_monai"]

T = TypeVar("T")

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def lps_to_ras(affine: npt.ArrayLike) -> FloatArray:
    """Change an affine from LPS to RAS millimetres, or back: the change is its own inverse."""
    return np.asarray(_LPS_RAS @ np.asarray(affine, dtype=np.float64))


def monai_affine(affine: npt.ArrayLike) -> FloatArray:
    """RAS affine over ``(w, h, d)`` of an LPS affine over ``(d, h, w)``, or back: its own inverse."""
    return np.ascontiguousarray(lps_to_ras(affine)[:, [2, 1, 0, 3]])


def to_monai(array: T, affine: npt.ArrayLike) -> tuple[T, FloatArray]:
    """Change a volume to MONAI's convention.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (D, H, W) or (C, D, H, W)
    affine : array_like of shape (4, 4)
        Maps ``(d, h, w)`` to LPS millimetres.

    Returns
    -------
    array : same type, shape (C, W, H, D)
        A view; a volume without channels gets one.
    affine : ndarray of shape (4, 4)
        Maps ``(w, h, d)`` to RAS millimetres.
    """
    data: Any = array
    if data.ndim == 3:
        data = data[None]
    if data.ndim != 4:
        raise GeometryError(f"a volume is (D, H, W) or (C, D, H, W), found {data.ndim} dimensions")
    moved: Any = data.transpose(0, 3, 2, 1) if isinstance(data, np.ndarray) else data.permute(0, 3, 2, 1)
    return moved, monai_affine(affine)


def from_monai(array: T, affine: npt.ArrayLike) -> tuple[T, FloatArray]:
    """Change a volume back from MONAI's convention; the inverse of :func:`to_monai`.

    Parameters
    ----------
    array : ndarray or torch.Tensor of shape (C, W, H, D)
    affine : array_like of shape (4, 4)
        Maps ``(w, h, d)`` to RAS millimetres.

    Returns
    -------
    array : same type, shape (C, D, H, W)
        A view.
    affine : ndarray of shape (4, 4)
        Maps ``(d, h, w)`` to LPS millimetres.
    """
    data: Any = array
    if data.ndim != 4:
        raise GeometryError(f"MONAI volumes are (C, W, H, D), found {data.ndim} dimensions")
    moved: Any = data.transpose(0, 3, 2, 1) if isinstance(data, np.ndarray) else data.permute(0, 3, 2, 1)
    return moved, monai_affine(affine)
