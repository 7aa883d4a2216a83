"""Objects over slides: a total pixel matrix cut into tiles, and where each tile lies (PS3.3 C.7.6.17.3, C.8.12.6).

A matrix is a :class:`~dicom_ml.geometry.Grid` of one plane ``(1, rows, columns)`` whose affine leads to millimetres of
the slide coordinate system. Tiles cover it from its first pixel; those at the lower and right edge are padded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.encoding.writer import element_bytes, item_bytes, sequence_bytes
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.derived import derivation_of, number_string
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "BY_COLUMN",
    "BY_ROW",
    "Tiling",
    "add_matrix",
    "instances_of",
    "matrix_groups",
    "matrix_of",
    "tile_frame_groups",
    "tiling_of",
]

#: Dimension indices of tiles (PS3.3 C.7.6.17.3 example): column and row of the first pixel.
BY_COLUMN = (0x0048021E, 0x0048021A, "Column position")
BY_ROW = (0x0048021F, 0x0048021A, "Row position")
# Column and Row Position In Total Image Pixel Matrix, explicit little endian
_PLACE = struct.Struct("<HH2sHiHH2sHi")
_COLUMN_AT, _ROW_AT = (0x0048, 0x021E, b"SL", 4), (0x0048, 0x021F, b"SL", 4)


@dataclass(frozen=True)
class Tiling:
    """A total pixel matrix and the size of its tiles.

    Parameters
    ----------
    grid : Grid
        ``(1, rows, columns)``, to slide millimetres.
    tile : tuple of 2 ints
        Rows and columns of a tile.
    """

    grid: Grid
    tile: tuple[int, int]

    def __post_init__(self) -> None:
        tile = int(self.tile[0]), int(self.tile[1])
        if self.grid.shape[0] != 1:
            raise GeometryError(f"a total pixel matrix is one plane, found {self.grid.shape[0]}")
        if not all(1 <= n <= 65535 for n in tile):
            raise EncodingError(f"a tile has 1 to 65535 rows and columns, found {tile}")
        object.__setattr__(self, "tile", tile)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.grid.shape[1], self.grid.shape[2]

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.tile[0]), -(-self.shape[1] // self.tile[1])

    def of_whole_bytes(self) -> Tiling:
        """Tiles of as many rows and hardly more columns, whose pixels make whole bytes at a bit each."""
        step = 8 // math.gcd(self.tile[0], 8)
        return Tiling(self.grid, (self.tile[0], -(-self.tile[1] // step) * step))

    def index(self, row: int, column: int) -> tuple[int, int]:
        """Tile row and tile column of the tile whose first pixel is ``(row, column)``, from 0.

        Raises
        ------
        GeometryError
            If no tile begins there.
        """
        if (
            row % self.tile[0]
            or column % self.tile[1]
            or not (0 <= row < self.shape[0] and 0 <= column < self.shape[1])
        ):
            raise GeometryError(
                f"no tile begins at row {row}, column {column}: tiles of {self.tile[0]} x {self.tile[1]} pixels cover "
                f"{self.shape[0]} x {self.shape[1]}, each beginning at a multiple of its size"
            )
        return row // self.tile[0], column // self.tile[1]

    def pad(self, tile: npt.NDArray[Any], row: int, column: int) -> npt.NDArray[Any]:
        """A tile ``(..., rows, columns)`` of full size: zero beyond the matrix, where it may have been cut off.

        Raises
        ------
        GeometryError
            If it is neither of full size nor cut at the matrix's edge.
        """
        cut = min(self.tile[0], self.shape[0] - row), min(self.tile[1], self.shape[1] - column)
        got = tile.shape[-2], tile.shape[-1]
        if got == self.tile:
            if cut != self.tile and (tile[..., cut[0] :, :].any() or tile[..., cut[1] :].any()):
                tile = tile.copy()
                tile[..., cut[0] :, :] = 0
                tile[..., cut[1] :] = 0
            return tile
        if got != cut:
            raise GeometryError(
                f"the tile at row {row}, column {column} is {got[0]} x {got[1]} pixels, not {self.tile}"
            )
        whole = np.zeros((*tile.shape[:-2], *self.tile), dtype=tile.dtype)
        whole[..., : got[0], : got[1]] = tile
        return whole


def matrix_of(
    source: SourceSeries, shape: Sequence[int] | None, level: int | None, affine: npt.ArrayLike | None
) -> Grid:
    """The matrix that something of ``shape`` (rows, columns) covers.

    Parameters
    ----------
    shape : sequence of 2 ints, optional
        Told from a level by its shape, unless ``level`` or ``affine`` says.
    level : int, optional
        A level of the slide.
    affine : array_like of shape (4, 4), optional
        Maps ``(0, row, column)`` to slide millimetres, for a matrix of its own; needs a shape.

    Raises
    ------
    GeometryError
        If no level, or more than one, has that shape.
    """
    if affine is not None:
        if shape is None:
            raise GeometryError("a matrix of its own needs a shape (rows, columns) beside its affine")
        grid = Grid((1, int(shape[0]), int(shape[1])), np.asarray(affine, dtype=np.float64))
        if not grid.is_orthogonal:
            raise GeometryError("the axes of the matrix's affine are not at right angles")
        return grid
    grids = [described.grid for described in source.levels]
    if level is not None:
        if not 0 <= level < len(grids):
            raise GeometryError(f"the slide has levels 0 to {len(grids) - 1}, not {level}")
        grid = grids[level]
        if shape is not None and tuple(shape) != grid.shape[1:]:
            raise GeometryError(f"level {level} has {grid.shape[1:]} rows and columns, the array {tuple(shape)}")
        return grid
    if shape is None:
        return grids[0]
    fits = [grid for grid in grids if grid.shape[1:] == tuple(shape)]
    if len(fits) != 1:
        listed = ", ".join(str(g.shape[1:]) for g in grids)
        raise GeometryError(
            f"{len(fits)} levels of the slide have {tuple(shape)} rows and columns (levels have {listed}); "
            "pass level=, or affine= for a matrix of its own"
        )
    return fits[0]


def tiling_of(
    source: SourceSeries,
    shape: Sequence[int] | None,
    level: int | None,
    affine: npt.ArrayLike | None,
    tile_size: Sequence[int] | None,
    organization: str,
) -> tuple[Tiling, bool]:
    """The matrix that something covers (see :func:`matrix_of`) cut into tiles, and whether all of them are written."""
    if organization not in ("full", "sparse"):
        raise EncodingError(f"organization is 'full' or 'sparse', found {organization!r}")
    grid = matrix_of(source, shape, level, affine)
    own = next((described.tile_size for described in source.levels if described.grid == grid), (256, 256))
    tile = (int(tile_size[0]), int(tile_size[1])) if tile_size is not None else own
    return Tiling(grid, tile), organization == "full"


def instances_of(source: SourceSeries, grid: Grid) -> dict[str, str]:
    """SOP class by SOP instance of the images that a matrix was made from: its level's, else the finest level's."""
    for described in source.levels:
        if described.grid == grid:
            return dict(zip(described.sop_instance_uids, described.sop_class_uids, strict=True))
    return source.instances


# ---------------------------------------------------------------------- header
def add_matrix(ds: Dataset, tiling: Tiling, full: bool) -> None:
    """Total pixel matrix and its place (PS3.3 C.8.12.4.1, C.7.6.17)."""
    from pydicom import Dataset

    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = number_string(tiling.grid.origin[0])
    origin.YOffsetInSlideCoordinateSystem = number_string(tiling.grid.origin[1])
    ds.TotalPixelMatrixOriginSequence = [origin]
    ds.ImageOrientationSlide = [number_string(v) for v in tiling.grid.orientation]
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = tiling.shape
    ds.TotalPixelMatrixFocalPlanes = 1
    ds.Rows, ds.Columns = tiling.tile
    ds.DimensionOrganizationType = "TILED_FULL" if full else "TILED_SPARSE"


def matrix_groups(source: SourceSeries, tiling: Tiling, derivation: Code) -> Dataset:
    """Shared functional groups: pixel measures, and the images that the matrix was made from."""
    from pydicom import Dataset

    groups, measures = Dataset(), Dataset()
    spacing = tiling.grid.spacing
    measures.PixelSpacing = [number_string(spacing[1]), number_string(spacing[2])]
    measures.SliceThickness = measures.SpacingBetweenSlices = number_string(spacing[0])
    groups.PixelMeasuresSequence = [measures]
    groups.DerivationImageSequence = [derivation_of(instances_of(source, tiling.grid), derivation, "YES")]
    return groups


def tile_frame_groups(
    tiling: Tiling,
    channel_of: npt.NDArray[np.intp],
    row_of: npt.NDArray[np.intp],
    column_of: npt.NDArray[np.intp],
    identities: Sequence[bytes] = (),
) -> bytes:
    """Per-Frame Functional Groups of sparse tiles (PS3.3 C.7.6.16.2, C.8.12.6.1).

    Parameters
    ----------
    channel_of, row_of, column_of : ndarray of int
        Channel, tile row and tile column of each frame.
    identities : sequence of bytes
        Functional group elements of each channel, of tags above (0020,9111); where there are any, the channel is the
        first dimension index.
    """
    row_rank = {int(r): i for i, r in enumerate(np.unique(row_of), start=1)}
    column_rank = {int(c): i for i, c in enumerate(np.unique(column_of), start=1)}
    starts = np.stack([np.zeros_like(row_of), row_of * tiling.tile[0], column_of * tiling.tile[1]], axis=1)
    points = tiling.grid.to_lps(starts)
    places: dict[tuple[int, int], bytes] = {}
    content: list[bytes] = []
    # elements ascend by tag; real world values (0040,9096) come before the plane position, a segment after it
    first = bool(identities) and struct.unpack("<HH", identities[0][:4]) < (0x0048, 0x021A)
    # all but the index values is the same for every frame
    length = 12 if identities else 8
    index_head = sequence_bytes(0x00209111, [element_bytes(0x00209157, "UL", bytes(length))])[:-length]
    listed = zip(
        channel_of.tolist(), row_of.tolist(), column_of.tolist(), starts.tolist(), points.tolist(), strict=True
    )
    for channel, row, column, (_, first_row, first_column), point in listed:
        place = places.get((row, column))
        if place is None:
            place = places[row, column] = _plane_position(point, first_row + 1, first_column + 1)
        if identities:
            index = struct.pack("<3I", channel + 1, column_rank[column], row_rank[row])
        else:
            index = struct.pack("<2I", column_rank[column], row_rank[row])
        own = identities[channel] if identities else b""
        content.append(item_bytes(index_head + index + (own + place if first else place + own)))
    return element_bytes(0x52009230, "SQ", b"".join(content))


def _plane_position(point: Sequence[float], row: int, column: int) -> bytes:
    x, y, z = point
    offsets = _offset(0x0040072A, x) + _offset(0x0040073A, y) + _offset(0x0040074A, z)
    return sequence_bytes(0x0048021A, [offsets + _PLACE.pack(*_COLUMN_AT, column, *_ROW_AT, row)])


@lru_cache(maxsize=4096)
def _offset(tag: int, value: float) -> bytes:
    """An offset in slide coordinates: on most slides all tiles of a row, or of a column, share it."""
    return element_bytes(tag, "DS", number_string(value).encode())
