"""Resampling of a volume onto another grid."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError, MissingPackageError
from dicom_ml.geometry import Grid

__all__ = ["resample_array"]

# Positions this close to the edge of the extent (in voxels) count as inside: affines are rounded.
_EDGE = 1e-4


def resample_array(
    array: npt.NDArray[Any], grid: Grid, target: Grid, *, order: int = 1, fill: float = 0.0, engine: str | None = None
) -> npt.NDArray[Any]:
    """Values of ``array`` at the voxel centres of ``target``.

    Parameters
    ----------
    array : ndarray of shape (D, H, W)
    grid : Grid
        Where ``array`` lies.
    target : Grid
        Where values are wanted.
    order : int
        0 nearest neighbour, 1 linear, 2 to 5 splines (scipy only).
    fill : float
        Value outside the extent of ``grid``, which reaches to the outer edges of its voxels; between the
        outermost centres and the edges the outermost values hold.
    engine : {"scipy", "torch"}, optional
        By default scipy where it is installed, else torch.

    Returns
    -------
    ndarray of the target's shape, dtype of ``array`` (integers are rounded)

    Raises
    ------
    MissingPackageError
        If neither engine is installed.
    """
    if order not in range(6):
        raise GeometryError(f"order is 0 (nearest), 1 (linear) or 2 to 5 (spline), found {order!r}")
    out = np.empty(target.shape, dtype=array.dtype)
    alignment = grid.align(target, tolerance=1e-4)
    if alignment is not None:
        _copy_aligned(array, alignment.reorder(array), alignment.start(grid.shape), out, fill)
        return out
    engine = engine or _engine(order)
    matrix = np.linalg.inv(grid.affine) @ target.affine
    if engine == "scipy":
        _with_scipy(array, matrix, out, order)
    elif engine == "torch":
        if order > 1:
            raise GeometryError(f"torch resamples with order 0 or 1, found {order}; install scipy for splines")
        _with_torch(array, matrix, out, order)
    else:
        raise GeometryError(f"engine is 'scipy' or 'torch', found {engine!r}")
    for d, outside in _outside(matrix, grid.shape, target.shape):
        out[d][outside] = fill
    return out


def _engine(order: int) -> str:
    if find_spec("scipy") is not None:
        return "scipy"
    if find_spec("torch") is not None and order <= 1:
        return "torch"
    raise MissingPackageError("resampling needs scipy (or torch, for order 0 and 1): pip install 'dicom-ml[resample]'")


def _copy_aligned(
    array: npt.NDArray[Any],
    moved: npt.NDArray[Any],
    start: tuple[int, int, int],
    out: npt.NDArray[Any],
    fill: float,
) -> None:
    """Grids share a lattice: values move without interpolation."""
    take, put = [], []
    for begin, length, limit in zip(start, moved.shape, out.shape, strict=True):
        low, high = max(begin, 0), min(begin + length, limit)
        put.append(slice(low, max(low, high)))
        take.append(slice(low - begin, max(low, high) - begin))
    if any(s.stop <= s.start for s in put):
        out[...] = fill
        return
    if moved[tuple(take)].shape != out.shape:
        out[...] = fill
    out[tuple(put)] = moved[tuple(take)]


def _slabs(matrix: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Source coordinates of each target slice: ``(d, (3, H, W))``."""
    rows = np.arange(shape[1], dtype=np.float64)[:, None]
    columns = np.arange(shape[2], dtype=np.float64)[None, :]
    plane = matrix[:3, 1, None, None] * rows + matrix[:3, 2, None, None] * columns
    for d in range(shape[0]):
        yield d, plane + (matrix[:3, 0] * d + matrix[:3, 3])[:, None, None]


def _outside(
    matrix: npt.NDArray[np.float64], shape: tuple[int, int, int], target: tuple[int, int, int]
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    for d, where in _slabs(matrix, target):
        outside = np.zeros(target[1:], dtype=bool)
        for axis in range(3):
            outside |= (where[axis] < -0.5 - _EDGE) | (where[axis] > shape[axis] - 0.5 + _EDGE)
        yield d, outside


def _with_scipy(array: npt.NDArray[Any], matrix: npt.NDArray[np.float64], out: npt.NDArray[Any], order: int) -> None:
    from scipy import ndimage

    source = array
    if source.dtype == np.bool_ or source.dtype == np.float16:
        source = source.astype(np.uint8 if source.dtype == np.bool_ else np.float32)
    if order > 1:
        source = ndimage.spline_filter(source, order, output=np.float64, mode="nearest")
    exact = out.dtype.kind == "f" or order == 0
    work = np.empty(out.shape, dtype=source.dtype if order == 0 else np.float64 if not exact else out.dtype)
    if out.dtype == np.float16:
        work = np.empty(out.shape, dtype=np.float32)
    ndimage.affine_transform(
        source, matrix[:3, :3], matrix[:3, 3], output=work, order=order, mode="nearest", prefilter=False
    )
    _store(work, out)


def _with_torch(array: npt.NDArray[Any], matrix: npt.NDArray[np.float64], out: npt.NDArray[Any], order: int) -> None:
    import torch

    source = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))[None, None]
    sizes = torch.tensor(array.shape[::-1], dtype=torch.float64)
    for d, where in _slabs(matrix, (out.shape[0], out.shape[1], out.shape[2])):
        points = torch.from_numpy(np.ascontiguousarray(np.moveaxis(where[::-1], 0, -1)))
        # align_corners=False: -1 and 1 are the outer edges of the first and last voxel
        points = (2 * points + 1) / sizes - 1
        result = torch.nn.functional.grid_sample(
            source,
            points[None, None],
            mode="nearest" if order == 0 else "bilinear",
            padding_mode="border",
            align_corners=False,
        )
        _store(result[0, 0, 0].numpy(), out[d])


def _store(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    if out.dtype.kind in "iu" and values.dtype.kind == "f":
        info = np.iinfo(out.dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    elif out.dtype.kind == "b":
        values = values > 0.5
    np.copyto(out, values, casting="unsafe")
