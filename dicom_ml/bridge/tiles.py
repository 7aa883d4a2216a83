"""How tiles are cut from a slide, said so that whoever gets a tile knows where it belongs.

A :class:`TileGrid` travels with every tile as one string, beside the handle of its slide. Writers need no more: it
says which pixels a tile covers, how many tiles there are, and on which matrix a result lies.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, GeometryError, SeriesError
from dicom_ml.geometry import Grid

__all__ = ["TILE_GRID_KEY", "TILE_POSITION_KEY", "TileGrid"]

#: Key of an item that holds its :class:`TileGrid` as a string.
TILE_GRID_KEY = "tile_grid"
#: Key of an item that holds row and column of its first pixel among the grid's own pixels.
TILE_POSITION_KEY = "tile_position"

IntArray = npt.NDArray[np.int64]
_PREFIX = "tiles1:"


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one size that begin at even steps of a slide's pixels.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the whole slide, in pixels of the tiles.
    tile, stride : tuple of int
        Rows and columns of a tile, and from one tile to the next.
    downsamples : tuple of float
        Pixels of level 0 that a pixel stands for.
    level : int or None
        Level whose pixels these are; None where a level is resampled.
    spacing : tuple of float or None
        Of the pixels, in mm; None where the slide does not state it.
    affine : tuple of 16 floats, or None
        Maps ``(0, row, column)`` of the pixels to millimetres of the slide coordinate system.
    count : int
        Tiles that were chosen among all.
    digest : str
        Stands for which these are.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    stride: tuple[int, int]
    downsamples: tuple[float, float]
    level: int | None
    spacing: tuple[float, float] | None
    affine: tuple[float, ...] | None
    count: int = 0
    digest: str = ""

    @classmethod
    def cut(
        cls,
        slide: Any,
        tile_size: int = 256,
        *,
        spacing: float | None = None,
        level: int | None = None,
        overlap: int = 0,
    ) -> TileGrid:
        """Cover a slide with tiles, beginning at its first pixel; the last ones may reach beyond it.

        Parameters
        ----------
        slide : Slide
        tile_size, overlap : int
            Pixels of a tile along each side, and those that neighbours share.
        spacing : float, optional
            Millimetres a pixel. A level whose pixels stay within one pixel of it over a tile is taken as it is.
        level : int, optional
            Instead of a spacing.

        Raises
        ------
        GeometryError
            If level and spacing are both given, or the slide has no spacing of its own.
        SeriesError
            If the slide has no level, or not that one.
        """
        if spacing is not None and level is not None:
            raise GeometryError("tiles are cut by spacing or by level; pass one of them")
        size, step = int(tile_size), int(tile_size) - int(overlap)
        if size < 1 or not 0 < step <= size:
            raise GeometryError(f"overlap lies from 0 to below tile_size ({tile_size}), found {overlap}")
        if not slide.levels:
            raise SeriesError(f"{slide!r} has no level to cut tiles from")
        if spacing is not None:
            nearest = _level_at(slide, float(spacing), size)
            if nearest is None:
                return cls._at_spacing(slide, float(spacing), size, step)
            level = nearest
        if not 0 <= (level or 0) < len(slide.levels):
            raise SeriesError(f"the slide has levels 0 to {len(slide.levels) - 1}, not {level}")
        chosen = slide.levels[level or 0]
        affine = None if chosen.spacing is None else tuple(chosen.affine.ravel().tolist())
        made = cls(
            tuple(chosen.shape),
            (size, size),
            (step, step),
            (float(chosen.downsamples[0]), float(chosen.downsamples[1])),
            level or 0,
            chosen.spacing,
            affine,
        )
        return made.select(made.cells())

    @classmethod
    def _at_spacing(cls, slide: Any, spacing: float, size: int, step: int) -> TileGrid:
        base = slide.levels[0]
        down = spacing / base.spacing[0], spacing / base.spacing[1]
        shape = tuple(max(1, math.floor(n / d + 0.5)) for n, d in zip(base.shape, down, strict=True))
        affine = _scaled(base.affine, down, ((down[0] - 1) / 2, (down[1] - 1) / 2))
        made = cls(
            (shape[0], shape[1]),
            (size, size),
            (step, step),
            down,
            None,
            (spacing, spacing),
            tuple(affine.ravel().tolist()),
        )
        return made.select(made.cells())

    # ------------------------------------------------------------------ which tiles
    @property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of tiles that cover the slide."""
        rows, columns = (
            max(0, -(-(n - t) // s)) + 1 for n, t, s in zip(self.shape, self.tile, self.stride, strict=True)
        )
        return rows, columns

    def cells(self) -> IntArray:
        """Row and column of every tile, counted in tiles, shape (n, 2)."""
        return np.stack(np.meshgrid(*map(np.arange, self.counts), indexing="ij"), axis=-1).reshape(-1, 2)

    def select(self, cells: npt.ArrayLike) -> TileGrid:
        """The same grid for some of its tiles."""
        chosen = np.asarray(cells, dtype="<i8").reshape(-1, 2)
        order = np.lexsort((chosen[:, 1], chosen[:, 0]))
        digest = hashlib.sha256(np.ascontiguousarray(chosen[order]).tobytes()).hexdigest()[:16]
        return replace(self, count=len(chosen), digest=digest)

    def pixels(self, cells: npt.ArrayLike) -> IntArray:
        """First pixel (row, column) of tiles, in pixels of their own."""
        return np.asarray(cells, dtype=np.int64).reshape(-1, 2) * np.array(self.stride)

    def positions(self, cells: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """First pixel (row, column) of tiles, in pixels of level 0."""
        return np.asarray(self.pixels(cells) * np.array(self.downsamples))

    def cell(self, row: int, column: int) -> tuple[int, int]:
        """Which tile begins at a pixel.

        Raises
        ------
        GeometryError
            If none does.
        """
        found = row // self.stride[0], column // self.stride[1]
        inside = all(0 <= f < n for f, n in zip(found, self.counts, strict=True))
        if row % self.stride[0] or column % self.stride[1] or not inside:
            raise GeometryError(
                f"no tile begins at row {row}, column {column}: tiles begin every {self.stride} pixels of {self.shape}"
            )
        return found

    @property
    def footprint(self) -> tuple[float, float]:
        """Rows and columns of level 0 that a tile covers."""
        return self.tile[0] * self.downsamples[0], self.tile[1] * self.downsamples[1]

    @property
    def overlaps(self) -> bool:
        """Whether neighbours share pixels."""
        return self.stride != self.tile

    def read(self, slide: Any, cells: npt.ArrayLike, **options: Any) -> npt.NDArray[Any]:
        """Pixels of tiles, each frame that they need decoded once; options as of ``Slide.read_tiles``."""
        spacing = None if self.level is not None else self.spacing
        return slide.read_tiles(self.level, self.positions(cells), size=self.tile, spacing=spacing, **options)

    # ------------------------------------------------------------------ matrices
    def _affine(self) -> npt.NDArray[np.float64]:
        if self.affine is None:
            raise GeometryError("the slide does not state its pixel spacing, so no result can be placed on it")
        return np.array(self.affine, dtype=np.float64).reshape(4, 4)

    @property
    def matrix(self) -> Grid:
        """The pixels of the tiles, ``(1, rows, columns)``, in slide millimetres."""
        return Grid((1, *self.shape), self._affine())

    def reduced(self, factor: tuple[int, int]) -> Grid:
        """A matrix whose pixels each cover ``factor`` rows and columns of the tiles' pixels."""
        if factor == (1, 1):
            return self.matrix
        shape = tuple(-(-n // f) for n, f in zip(self.shape, factor, strict=True))
        corner = (factor[0] - 1) / 2, (factor[1] - 1) / 2
        return Grid((1, shape[0], shape[1]), _scaled(self._affine(), factor, corner))

    @property
    def coarse(self) -> Grid:
        """A matrix with a pixel for each tile, its centre at the tile's centre."""
        center = (self.tile[0] - 1) / 2, (self.tile[1] - 1) / 2
        return Grid((1, *self.counts), _scaled(self._affine(), self.stride, center))

    # ------------------------------------------------------------------ as text
    def to_string(self) -> str:
        """Text that :meth:`from_string` reads, exact to the last bit."""
        return _PREFIX + json.dumps([getattr(self, name) for name in _FIELDS], separators=(",", ":"))

    @staticmethod
    def from_string(text: str) -> TileGrid:
        """The grid that :meth:`to_string` wrote.

        Raises
        ------
        EncodingError
            If it did not.
        """
        return _parsed(text)


_FIELDS = ("shape", "tile", "stride", "downsamples", "level", "spacing", "affine", "count", "digest")


@lru_cache(maxsize=256)
def _parsed(text: str) -> TileGrid:
    try:
        if not text.startswith(_PREFIX):
            raise ValueError("no prefix")
        values: list[Any] = [tuple(v) if isinstance(v, list) else v for v in json.loads(text[len(_PREFIX) :])]
        named: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
        return TileGrid(**named)
    except (ValueError, TypeError) as error:
        raise EncodingError(
            f"the text under {TILE_GRID_KEY!r} describes no tiles ({type(error).__name__}); "
            "pass on what TileDataset gave, unchanged"
        ) from error


def _scaled(
    affine: npt.NDArray[np.float64], factor: tuple[float, float], first: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Affine of pixels ``factor`` as large, the first of which has its centre at pixel ``first``."""
    out = np.array(affine, dtype=np.float64)
    out[:, 3] = affine @ np.array([0.0, first[0], first[1], 1.0])
    out[:, 1] *= factor[0]
    out[:, 2] *= factor[1]
    return out


def _level_at(slide: Any, spacing: float, size: int) -> int | None:
    """Level whose pixels are so nearly ``spacing`` mm that over a tile they are off by one pixel at most."""
    base = slide.levels[0].spacing
    if base is None:
        raise GeometryError(f"{slide!r} does not state its spacing; cut it by level")
    found = slide.best_level(spacing)
    if found.spacing is None or any(abs(spacing / own - 1) * size > 1 for own in found.spacing):
        return None
    return int(found.index)
