"""The levels of a slide: their size, spacing and place, and how their coordinates go together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dicom_ml.errors import DicomMLWarning, FileError, GeometryError
from dicom_ml.geometry import FloatArray, Grid, unit_orientation
from dicom_ml.reading.slides.grouping import LevelFrames, PlaneKey
from dicom_ml.reading.slides.headers import SlideImage
from dicom_ml.reading.slides.tiles import TileIndex

__all__ = ["Level", "make_level", "make_levels"]

_THICKNESS_UNKNOWN = 0.001


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: a total pixel matrix (PS3.3 C.8.12.4.1).

    Attributes
    ----------
    index : int
        0 is the finest.
    shape : tuple of int
        Rows and columns of the total pixel matrix.
    spacing : tuple of float, or None
        Distance of pixel centres in mm, from row to row and from column to column; None where the files do not say.
    downsamples : tuple of float
        Pixels of level 0 that a pixel stands for, along rows and columns.
    tile_size : tuple of int
        Rows and columns of a frame.
    origin : tuple of float, or None
        Centre of the first pixel in the slide coordinate system, x, y and z in mm.
    orientation : tuple of float, or None
        Image Orientation (Slide): direction of rising column index, then of rising row index.
    thickness : float
        Of the imaged volume, in mm.
    sop_class_uids, sop_instance_uids : tuple of str
        Of the files that hold the level.
    transfer_syntax_uid, photometric_interpretation : str
        Of its (first) file.
    """

    index: int
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    downsamples: tuple[float, float]
    tile_size: tuple[int, int]
    origin: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    thickness: float
    sop_class_uids: tuple[str, ...]
    sop_instance_uids: tuple[str, ...]
    transfer_syntax_uid: str
    photometric_interpretation: str
    background: tuple[int, int, int] | None = field(repr=False)
    frames: LevelFrames = field(repr=False, compare=False)

    @property
    def downsample(self) -> float:
        """Pixels of level 0 that a pixel stands for, the mean of both directions."""
        return (self.downsamples[0] + self.downsamples[1]) / 2

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles that cover the level."""
        return -(-self.shape[0] // self.tile_size[0]), -(-self.shape[1] // self.tile_size[1])

    @property
    def affine(self) -> FloatArray:
        """4x4 matrix from array index ``(0, row, column)``, at pixel centres, to x, y, z in slide millimetres.

        Raises
        ------
        GeometryError
            If the files do not state the pixel spacing.
        """
        if self.spacing is None:
            raise GeometryError(
                f"level {self.index} has no pixel spacing, so its pixels have no place in millimetres; expected Pixel "
                "Measures or the size of the imaged volume in its header"
            )
        cosines = unit_orientation(self.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        affine = np.eye(4)
        affine[:3, 0] = np.cross(cosines[:3], cosines[3:]) * self.thickness
        affine[:3, 1] = cosines[3:] * self.spacing[0]
        affine[:3, 2] = cosines[:3] * self.spacing[1]
        affine[:3, 3] = self.origin or (0.0, 0.0, 0.0)
        return affine

    @property
    def grid(self) -> Grid:
        """The level as one plane ``(1, rows, columns)`` in slide millimetres."""
        return Grid((1, *self.shape), self.affine)

    def from_level0(self, position: Sequence[float]) -> tuple[float, float]:
        """Position (row, column) of level 0 in pixels of this level; both count from the first pixel's corner."""
        return position[0] / self.downsamples[0], position[1] / self.downsamples[1]

    def plane(self, path: str, z: float) -> tuple[PlaneKey, TileIndex] | None:
        """Tiles of an optical path in the focal plane closest to ``z`` mm; None where the level lacks the path."""
        values = self.frames.z_values(path)
        if not values:
            return None
        key = path, min(values, key=lambda value: abs(value - z))
        return key, self.frames.planes[key]


def make_levels(groups: Sequence[tuple[Sequence[SlideImage], LevelFrames]]) -> tuple[Level, ...]:
    """Describe the levels of a pyramid, finest first."""
    levels: list[Level] = []
    for number, (images, frames) in enumerate(groups):
        levels.append(make_level(number, images, frames, levels[0] if levels else None))
    if levels and levels[0].origin is None:
        warnings.warn(
            f"{groups[0][0][0].name} does not state the origin of its total pixel matrix: slide coordinates count from "
            "the centre of its first pixel",
            DicomMLWarning,
            stacklevel=3,
        )
    return tuple(levels)


def make_level(number: int, images: Sequence[SlideImage], frames: LevelFrames, base: Level | None) -> Level:
    """Describe one level; what its files leave out is taken from ``base``, level 0."""
    first = images[0]
    if first.orientation is not None:
        try:
            unit_orientation(first.orientation)
        except GeometryError as error:
            raise FileError(f"{first.name}: Image Orientation (Slide): {error}") from error
    spacing = first.spacing
    factors = (1.0, 1.0)
    if base is not None:
        factors = (_factor(base, first, 0), _factor(base, first, 1))
        if spacing is None and base.spacing is not None:
            spacing = base.spacing[0] * factors[0], base.spacing[1] * factors[1]
    tile = next(iter(frames.planes.values())).tile
    return Level(
        index=number,
        shape=first.matrix,
        spacing=spacing,
        downsamples=factors,
        tile_size=tile,
        origin=first.origin or (base.origin if base is not None else None),
        orientation=first.orientation or (base.orientation if base is not None else None),
        thickness=first.thickness or _THICKNESS_UNKNOWN,
        sop_class_uids=tuple(image.sop_class for image in images),
        sop_instance_uids=tuple(image.sop_instance for image in images),
        transfer_syntax_uid=first.info.transfer_syntax_uid,
        photometric_interpretation=first.info.photometric_interpretation,
        background=first.background,
        frames=frames,
    )


def _factor(base: Level, image: SlideImage, axis: int) -> float:
    """Downsampling of a level along one axis.

    A whole number where that explains the size (matrices are rounded up or down to whole pixels); else the ratio
    of the spacings where that does; else the ratio of the sizes.
    """
    finest, size = base.shape[axis], image.matrix[axis]
    ratio = finest / size
    whole = round(ratio)
    if whole >= 1 and finest // whole <= size <= -(-finest // whole):
        return float(whole)
    if base.spacing is not None and image.spacing is not None:
        stated = image.spacing[axis] / base.spacing[axis]
        if abs(finest / stated - size) <= 1:
            return stated
    return ratio
