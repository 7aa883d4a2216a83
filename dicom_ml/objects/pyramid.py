"""Coarser levels of tiled objects, made tile by tile from the finest (PS3.3 C.8.12.6, Multi-Resolution Pyramid)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.tiling import Tiling
from dicom_ml.source import SourceLevel, SourceSeries

__all__ = ["coarser_levels", "mean_tiles", "nearest_tiles"]

Array = npt.NDArray[Any]
#: Reads a region (first row, first column, rows, columns) of the finest level.
Read = Callable[[tuple[int, int, int, int]], Array]


def coarser_levels(source: SourceSeries, grid: Grid) -> list[SourceLevel]:
    """Levels of the slide below the one whose pixels ``grid`` has.

    Raises
    ------
    GeometryError
        If the object lies on no level of the slide: then nothing says which levels it should have.
    """
    places = [i for i, level in enumerate(source.levels) if level.grid == grid]
    if not places:
        raise GeometryError("the object has a matrix of its own; a pyramid follows the levels of the slide it lies on")
    return list(source.levels[places[0] + 1 :])


def _edges(fine: int, coarse: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Where coarse pixels ``start`` to ``stop`` begin, and the last one ends, in fine pixels."""
    return np.asarray(np.arange(start, stop + 1) * fine // coarse, dtype=np.int64)


def _tiles(fine: tuple[int, int], tiling: Tiling) -> Iterator[tuple[int, int, Array, Array]]:
    """First pixel of each coarse tile, and the edges of its rows and columns in fine pixels."""
    rows, columns = tiling.shape
    for row in range(0, rows, tiling.tile[0]):
        down = _edges(fine[0], rows, row, min(rows, row + tiling.tile[0]))
        for column in range(0, columns, tiling.tile[1]):
            yield row, column, down, _edges(fine[1], columns, column, min(columns, column + tiling.tile[1]))


def nearest_tiles(read: Read, fine: tuple[int, int], tiling: Tiling) -> Iterator[tuple[int, int, Array]]:
    """Tiles whose pixels are those of the finest level nearest to their centres: for labels."""
    for row, column, down, across in _tiles(fine, tiling):
        block = read((int(down[0]), int(across[0]), int(down[-1] - down[0]), int(across[-1] - across[0])))
        rows = (down[:-1] + down[1:] - 1) // 2 - down[0]
        columns = (across[:-1] + across[1:] - 1) // 2 - across[0]
        yield row, column, block[..., rows[:, None], columns[None, :]]


def mean_tiles(read: Read, fine: tuple[int, int], tiling: Tiling) -> Iterator[tuple[int, int, Array]]:
    """Tiles whose pixels are the mean of the fine pixels that they cover: for fractions and real values."""
    for row, column, down, across in _tiles(fine, tiling):
        block = read((int(down[0]), int(across[0]), int(down[-1] - down[0]), int(across[-1] - across[0])))
        summed = np.add.reduceat(block.astype(np.float64), down[:-1] - down[0], axis=-2)
        summed = np.add.reduceat(summed, across[:-1] - across[0], axis=-1)
        yield row, column, summed / (np.diff(down)[:, None] * np.diff(across)[None, :])
