"""Planes in patient space: direction cosines and affines, as DICOM states them (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError

__all__ = ["ORIENTATION_TOLERANCE", "FloatArray", "affine_from_plane", "unit_orientation"]

FloatArray = npt.NDArray[np.float64]
#: Largest departure of direction cosines from unit length and right angles that is taken as rounding.
ORIENTATION_TOLERANCE = 1e-3


def unit_orientation(orientation: Sequence[float] | FloatArray) -> FloatArray:
    """Check direction cosines and return them with unit length and at right angles.

    Parameters
    ----------
    orientation : sequence of 6 floats
        Image Orientation (Patient): direction of increasing column index, then of increasing row index.

    Returns
    -------
    ndarray of shape (6,), float64

    Raises
    ------
    GeometryError
        If the cosines are not finite, not of unit length, or not at right angles within 0.001
        (PS3.3 C.7.6.2.1.1 asks for orthogonal unit vectors).
    """
    values = np.asarray(orientation, dtype=np.float64)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise GeometryError(f"image orientation needs 6 finite direction cosines, found {values.tolist()}")
    row, col = values[:3], values[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(col))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ col))) > 10 * ORIENTATION_TOLERANCE:
        raise GeometryError(
            f"image orientation {values.tolist()} is not two unit vectors at right angles "
            f"(lengths {lengths[0]:.4f} and {lengths[1]:.4f}, scalar product {float(row @ col):.4f})"
        )
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ col))) <= 1e-9:
        return values
    row = row / lengths[0]
    col = col - (col @ row) * row
    return np.concatenate([row, col / np.linalg.norm(col)])


def affine_from_plane(
    position: Sequence[float] | FloatArray,
    orientation: Sequence[float] | FloatArray,
    pixel_spacing: Sequence[float],
    step: float | Sequence[float] | FloatArray,
) -> FloatArray:
    """Build the ``(d, h, w)`` to LPS affine of a stack of planes.

    Parameters
    ----------
    position : sequence of 3 floats
        Image Position (Patient) of the first plane: centre of its first pixel, in mm.
    orientation : sequence of 6 floats
        Image Orientation (Patient).
    pixel_spacing : sequence of 2 floats
        Pixel Spacing as DICOM has it: distance between rows, then between columns, in mm.
    step : float or sequence of 3 floats
        Distance between planes along the normal, or the whole vector from a plane to the next, in mm.

    Returns
    -------
    ndarray of shape (4, 4), float64
    """
    cosines = unit_orientation(orientation)
    affine = np.eye(4)
    if np.ndim(step) == 0:
        affine[:3, 0] = np.cross(cosines[:3], cosines[3:]) * float(step)  # type: ignore[arg-type]
    else:
        affine[:3, 0] = np.asarray(step, dtype=np.float64)
    affine[:3, 1] = cosines[3:] * float(pixel_spacing[0])
    affine[:3, 2] = cosines[:3] * float(pixel_spacing[1])
    affine[:3, 3] = np.asarray(position, dtype=np.float64)
    return affine
