"""Which frame shows which part of a level: tiles in full order, on a sparse grid, or anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import FileError

__all__ = ["FreeTiles", "FullTiles", "GridTiles", "Hit", "TileIndex", "sparse_tiles"]

IntArray: TypeAlias = npt.NDArray[np.int64]
#: A slide of a million pixels squared, in tiles of 256, has as many.
_MOST_TILES = 1 << 24
#: Number of a frame within its level, and the row and column of its first pixel.
Hit: TypeAlias = tuple[int, int, int]


class TileIndex(Protocol):
    """The frames of one focal plane and optical path of a level."""

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a frame."""

    @property
    def disjoint(self) -> bool:
        """Whether no two frames show the same pixel."""

    def find(self, row: int, column: int, end_row: int, end_column: int) -> Iterator[Hit]:
        """Frames that show a part of a rectangle, in an order in which later ones cover earlier ones."""

    def positions(self) -> IntArray:
        """Row and column of the first pixel of every frame, shape (n, 2)."""


@dataclass(frozen=True)
class FullTiles:
    """Every tile of the grid, row by row, one frame after the other (PS3.3 C.7.6.17.3)."""

    tile: tuple[int, int]
    grid: tuple[int, int]
    first: int

    @property
    def disjoint(self) -> bool:
        """Always."""
        return True

    def find(self, row: int, column: int, end_row: int, end_column: int) -> Iterator[Hit]:
        """Frames that show a part of a rectangle."""
        for r, c in _cells(self.tile, self.grid, row, column, end_row, end_column):
            yield self.first + r * self.grid[1] + c, r * self.tile[0], c * self.tile[1]

    def at(self, rows: IntArray, columns: IntArray) -> IntArray:
        """Frames at places of the grid."""
        return self.first + rows * self.grid[1] + columns

    def positions(self) -> IntArray:
        """First pixels of all frames."""
        if self.grid[0] * self.grid[1] > _MOST_TILES:
            raise FileError(
                f"a grid of {self.grid[0]} x {self.grid[1]} tiles is larger than that of any slide: the size of its "
                "total pixel matrix, or of its frames, is wrong"
            )
        cells = np.indices(self.grid).reshape(2, -1).T
        return np.asarray(cells * np.array(self.tile), np.int64)


@dataclass(frozen=True)
class GridTiles:
    """Tiles on the grid, some perhaps absent: ``table`` holds their frames, -1 where there is none."""

    tile: tuple[int, int]
    table: npt.NDArray[np.int32]

    @property
    def disjoint(self) -> bool:
        """Always."""
        return True

    def find(self, row: int, column: int, end_row: int, end_column: int) -> Iterator[Hit]:
        """Frames that show a part of a rectangle."""
        height, width = self.table.shape
        for r, c in _cells(self.tile, (height, width), row, column, end_row, end_column):
            frame = int(self.table[r, c])
            if frame >= 0:
                yield frame, r * self.tile[0], c * self.tile[1]

    def at(self, rows: IntArray, columns: IntArray) -> IntArray:
        """Frames at places of the grid; -1 where there is none."""
        return self.table[rows, columns].astype(np.int64)

    def positions(self) -> IntArray:
        """First pixels of all frames."""
        return np.asarray(np.argwhere(self.table >= 0) * np.array(self.tile), np.int64)


@dataclass(frozen=True)
class FreeTiles:
    """Frames at any place, perhaps overlapping, sorted by their row."""

    tile: tuple[int, int]
    frames: IntArray
    rows: IntArray
    columns: IntArray

    @property
    def disjoint(self) -> bool:
        """Not known, so no."""
        return False

    def find(self, row: int, column: int, end_row: int, end_column: int) -> Iterator[Hit]:
        """Frames that show a part of a rectangle, by their number: the one written last covers the others."""
        low = int(np.searchsorted(self.rows, row - self.tile[0], side="right"))
        high = int(np.searchsorted(self.rows, end_row, side="left"))
        columns = self.columns[low:high]
        chosen = low + np.flatnonzero((columns > column - self.tile[1]) & (columns < end_column))
        for i in chosen[np.argsort(self.frames[chosen], kind="stable")].tolist():
            yield int(self.frames[i]), int(self.rows[i]), int(self.columns[i])

    def positions(self) -> IntArray:
        """First pixels of all frames."""
        order = np.argsort(self.frames, kind="stable")
        return np.stack([self.rows[order], self.columns[order]], axis=1)


def _cells(
    tile: tuple[int, int], grid: tuple[int, int], row: int, column: int, end_row: int, end_column: int
) -> Iterator[tuple[int, int]]:
    if row >= end_row or column >= end_column:
        return
    columns = range(max(column // tile[1], 0), min(-(-end_column // tile[1]), grid[1]))
    for r in range(max(row // tile[0], 0), min(-(-end_row // tile[0]), grid[0])):
        for c in columns:
            yield r, c


def sparse_tiles(
    tile: tuple[int, int], matrix: tuple[int, int], frames: IntArray, rows: IntArray, columns: IntArray
) -> tuple[TileIndex, int, int]:
    """Index frames with stated positions.

    Returns
    -------
    index : GridTiles or FreeTiles
    outside : int
        Frames left out because they lie outside the total pixel matrix.
    doubled : int
        Frames left out because an earlier one lies at the same place.
    """
    inside = (rows < matrix[0]) & (columns < matrix[1])
    outside = int(len(rows) - inside.sum())
    if outside:
        frames, rows, columns = frames[inside], rows[inside], columns[inside]
    cells = -(-matrix[0] // tile[0]) * -(-matrix[1] // tile[1])
    # a huge empty matrix would make a table out of proportion to the frames that are there
    if cells > (1 << 20) + 64 * len(frames) or (rows % tile[0]).any() or (columns % tile[1]).any():
        order = np.argsort(rows, kind="stable")
        return FreeTiles(tile, frames[order], rows[order], columns[order]), outside, 0
    grid = -(-matrix[0] // tile[0]), -(-matrix[1] // tile[1])
    table = np.full(grid, -1, np.int32)
    # written backwards, so that the first of several frames at one place stays
    table[rows[::-1] // tile[0], columns[::-1] // tile[1]] = frames[::-1]
    return GridTiles(tile, table), outside, len(frames) - int((table >= 0).sum())
