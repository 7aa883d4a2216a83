"""Where an image lies now, whatever transforms have made of it, and which series it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.image_place import ImagePlace
from dicom_ml.bridge.tensors import handle_of, torch
from dicom_ml.bridge.tiles import TILE_GRID_KEY, TILE_POSITION_KEY, TileGrid
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid, lps_to_ras, monai_affine
from dicom_ml.source import SourceSeries, as_source

__all__ = ["PlacedImage", "edge_change", "tile_window"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlacedImage:
    """An image, by its series and its own grid.

    Attributes
    ----------
    handle : str
        Of its series.
    source : SourceSeries
        The series, on the grid of its own planes.
    grid : Grid or None
        Of the image as it is: moved, cropped or resampled. None where the series has no place in space.
    dimensions : int
        2 where the image is one plane, without an axis for it.
    """

    handle: str
    source: SourceSeries
    grid: Grid | None
    dimensions: int = 3

    @classmethod
    def of(cls, on: Any, meta: Any = None) -> PlacedImage:
        """The place of what an image is given as.

        Parameters
        ----------
        on : MetaTensor, Tensor, Volume, SourceSeries or handle
            A tensor is ``(C, W, H, D)``, or ``(C, W, H)`` for the one slice of a series.
        meta : mapping, optional
            Of a plain tensor.

        Raises
        ------
        EncodingError
            If it does not say which series it came from.
        GeometryError
            If transforms of it are still pending.
        """
        if isinstance(on, torch.Tensor):
            return cls._of_tensor(on, getattr(on, "meta", None) or meta)
        record = as_source(on)
        if record.levels:
            raise GeometryError("the image is a slide; labels of slides go by tile, with TileDataset(labels=...)")
        grid = getattr(on, "grid", None)
        return cls(record.to_string(), record, grid if isinstance(grid, Grid) else record.grid)

    @classmethod
    def _of_tensor(cls, on: Any, meta: Any) -> PlacedImage:
        place = ImagePlace.of(on, meta)
        handle = handle_of(meta)
        if on.ndim not in (3, 4):
            raise GeometryError(f"an image is (C, W, H, D), or (C, W, H) where it is flat; found {tuple(on.shape)}")
        if place.source.grid is None:
            return cls(handle or "", place.source, None, on.ndim - 1)
        size = tuple(int(n) for n in on.shape)
        if on.ndim == 4 or size == tuple(int(n) for n in meta.get("spatial_shape", ())):
            w, h, d = size[-3:]  # from MONAI's LoadImage it has no channel yet
            dimensions = 3
        elif place.source.grid.shape[0] == 1:
            (w, h), d, dimensions = size[1:], 1, 2
        else:
            raise GeometryError(
                f"a flat image of a series of {place.source.grid.shape[0]} slices does not say which one it is; keep "
                "the axis of slices, (C, W, H, 1), and take it away after its labels are loaded"
            )
        if place.affine is None and _is_squeezed(on, place.source.grid):
            return cls(handle or "", place.source, place.source.grid, 2)
        if place.affine is None:
            raise GeometryError("the affine of the image is not known, or no 4x4 matrix, so nobody knows where it lies")
        return cls(handle or "", place.source, Grid((d, h, w), monai_affine(place.affine)), dimensions)


def _is_squeezed(on: Any, grid: Grid) -> bool:
    """Whether an image is the one slice of a series without the axis for it, and otherwise as it was."""
    affine = getattr(on, "affine", None)
    if on.ndim != 3 or grid.shape[0] != 1 or affine is None or tuple(affine.shape) != (3, 3):
        return False
    plane = np.delete(np.delete(monai_affine(grid.affine), 2, axis=0), 2, axis=1)
    return tuple(on.shape[:0:-1]) == grid.shape[1:] and np.allclose(affine.cpu().numpy(), plane)


def edge_change(grid: Grid | None, onto: Grid | str) -> FloatArray:
    """Matrix from one place to another, for coordinates that have corners at voxel edges.

    Parameters
    ----------
    grid : Grid or None
        Whose edge-based indices ``(d, h, w)`` are changed; None for LPS millimetres.
    onto : Grid or {"world"}
        The grid whose edge-based indices are wanted, or RAS millimetres.

    Returns
    -------
    ndarray of shape (4, 4)
    """
    if grid is not None and isinstance(onto, Grid) and np.array_equal(grid.affine, onto.affine):
        return np.eye(4)  # exactly
    inward = np.eye(4)
    inward[:3, 3] = -0.5
    to_lps = np.eye(4) if grid is None else grid.affine @ inward
    if isinstance(onto, str):
        return lps_to_ras(to_lps)
    outward = np.eye(4)
    outward[:3, 3] = 0.5
    return np.asarray(outward @ np.linalg.inv(onto.affine) @ to_lps)


def tile_window(item: Any) -> tuple[SourceSeries, TileGrid, tuple[int, int]] | None:
    """Slide, grid and first pixel of a tile of :class:`dicom_ml.data.TileDataset`; None for what is no tile."""
    if not (isinstance(item.get(TILE_GRID_KEY), str) and TILE_POSITION_KEY in item):
        return None
    handle = handle_of(item)
    if handle is None:
        raise EncodingError("the tile does not say which slide it is of; pass on what TileDataset gave, unchanged")
    row, column = (int(v) for v in item[TILE_POSITION_KEY])
    return SourceSeries.from_string(handle), TileGrid.from_string(item[TILE_GRID_KEY]), (row, column)
