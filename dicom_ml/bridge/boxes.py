"""Boxes between the image that a network sees and the array of its source series: the one place where that is done.

In images, boxes are as MONAI has them: ``x0, y0, z0, x1, y1, z1`` (``StandardMode``, ``"xyzxyz"``) along the axes of
``(C, W, H, D)``. Their numbers lie at the **edges** of voxels: voxel ``i`` spans ``[i, i + 1)``, and a box over all of
an axis goes from 0 to its length. So MONAI's own boxes are cut, flipped, turned, zoomed, clipped and made masks
(``monai.data.box_utils``, ``monai.apps.detection.transforms``).

One family there counts otherwise: ``AffineBoxToImageCoordinate`` and ``AffineBoxToWorldCoordinate`` apply the affine as
it is, which maps the **centres** of voxels. Boxes that one of them brought from millimetres to the image are half a
voxel lower than above, and networks trained on such boxes find such boxes: they are handed over with
``corners="center"``. Taken back to millimetres by its counterpart they are true millimetres, ``space="world"``.

In sources, boxes are as all regions here: array indices ``(d, h, w)`` with corners at the edges of voxels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid, monai_affine

__all__ = ["CORNERS", "SPACES", "boxes_from_source", "boxes_to_source"]

FloatArray = npt.NDArray[np.float64]
CORNERS = ("edge", "center")
SPACES = ("image", "world")
# Voxels by which single precision and a chain of affines are off, and no box is meant to differ.
_SNAP = 1e-4


def boxes_to_source(
    boxes: npt.ArrayLike,
    affine: npt.ArrayLike | None,
    grid: Grid,
    *,
    corners: str = "edge",
    space: str = "image",
) -> FloatArray:
    """Bring boxes of an image onto the array of its source series.

    Parameters
    ----------
    boxes : array_like of shape (N, 6)
        ``x0, y0, z0, x1, y1, z1``.
    affine : array_like of shape (4, 4), or None
        RAS affine of the image over ``(w, h, d)``, as MONAI has it; not needed for ``space="world"``.
    grid : Grid
        Of the source.
    corners : {"edge", "center"}
        Which point of a voxel has its whole number; see above.
    space : {"image", "world"}
        ``"world"``: boxes are RAS millimetres, as ``AffineBoxToWorldCoordinate`` gives them.

    Returns
    -------
    ndarray of shape (N, 2, 3)
        First and last corner, ``(d, h, w)`` at voxel edges, not clipped. Where the axes of image and source are not
        the same in another order, the smallest box that holds the given one. Within 0.0001 of a whole number it is
        that.

    Raises
    ------
    GeometryError
        If the affine is no invertible 4x4 matrix, or is missing.
    EncodingError
        If boxes have another shape.
    """
    array = _checked(boxes, corners, space)
    points = _corners_of(array.reshape(-1, 2, 3))  # (N, 8, 3), x y z
    if space == "world":
        lps = points * (-1.0, -1.0, 1.0)
    else:
        if affine is None:
            raise GeometryError("boxes in indices of an image need the image's affine")
        shift = 0.5 if corners == "edge" else 0.0
        lps = Grid((1, 1, 1), monai_affine(_matrix(affine))).to_lps(points[..., ::-1] - shift)
    index = grid.to_index(lps) + 0.5
    whole = np.rint(index)
    index = np.where(np.abs(index - whole) <= _SNAP, whole, index)
    return np.stack([index.min(axis=1), index.max(axis=1)], axis=1)


def boxes_from_source(
    boxes: npt.ArrayLike,
    affine: npt.ArrayLike | None,
    grid: Grid,
    *,
    corners: str = "edge",
    space: str = "image",
) -> FloatArray:
    """Bring boxes of a source series into an image of it; the counterpart of :func:`boxes_to_source`.

    Parameters
    ----------
    boxes : array_like of shape (N, 2, 3) or (N, 6)
        First and last corner, ``(d, h, w)`` at voxel edges.
    affine, grid, corners, space
        As in :func:`boxes_to_source`.

    Returns
    -------
    ndarray of shape (N, 6)
        ``x0, y0, z0, x1, y1, z1``.
    """
    array = _checked(boxes, corners, space)
    lps = grid.to_lps(_corners_of(array.reshape(-1, 2, 3)) - 0.5)
    if space == "world":
        points = lps * (-1.0, -1.0, 1.0)
    else:
        if affine is None:
            raise GeometryError("boxes in indices of an image need the image's affine")
        shift = 0.5 if corners == "edge" else 0.0
        points = Grid((1, 1, 1), monai_affine(_matrix(affine))).to_index(lps)[..., ::-1] + shift
        whole = np.rint(points)
        points = np.where(np.abs(points - whole) <= _SNAP, whole, points)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def _matrix(affine: npt.ArrayLike) -> FloatArray:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise GeometryError(f"the affine of an image is 4x4, found shape {matrix.shape}")
    return matrix


def _checked(boxes: npt.ArrayLike, corners: str, space: str) -> FloatArray:
    if corners not in CORNERS:
        raise EncodingError(f"corners is one of {', '.join(CORNERS)}, found {corners!r}")
    if space not in SPACES:
        raise EncodingError(f"space is one of {', '.join(SPACES)}, found {space!r}")
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 6))
    if array.shape[1:] not in ((6,), (2, 3)):
        raise EncodingError(f"boxes have shape (N, 6), three numbers for each of two corners, found {array.shape}")
    return array.reshape(-1, 6)


def _corners_of(pairs: FloatArray) -> FloatArray:
    """The eight corners of boxes ``(N, 2, 3)``, shape (N, 8, 3)."""
    choice = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    return np.asarray(pairs[:, choice, np.arange(3)])
