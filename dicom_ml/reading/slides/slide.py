"""Slides: the levels of one SM series, and pixels of any of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.errors import GeometryError, SeriesError
from dicom_ml.reading.slides.arrays import first_of, read_copies, read_resampled
from dicom_ml.reading.slides.associated import AssociatedImage, Color, PixelSource, absent_value, profile_of
from dicom_ml.reading.slides.files import close_file
from dicom_ml.reading.slides.headers import OpticalPath
from dicom_ml.reading.slides.levels import Level
from dicom_ml.reading.slides.regions import PlaneReader
from dicom_ml.reading.slides.resample import FILTERS, Filter
from dicom_ml.source import SourceSeries

__all__ = ["Slide"]

Array = npt.NDArray[Any]

# A rounding error of so many pixels must not push whole numbers to their neighbours.
_WHOLE = 1e-4


class Slide(PixelSource):
    """One slide of a slide microscopy series, made by :func:`dicom_ml.open_slide`.

    Coordinates are ``(row, column)`` of the level 0 total pixel matrix, counted from the corner of its first pixel,
    whichever level is read; a pixel covers ``[row, row + 1)``. Images are ``(rows, columns, 3)`` RGB, uint8 for
    8-bit slides; monochrome slides give their stored values as ``(rows, columns)``.

    A slide holds no file open by itself. It pickles, works after ``fork`` and ``spawn``, and may be read from many
    threads at once.

    Attributes
    ----------
    levels : tuple of Level
        The finest first. Empty where the series holds associated images only.
    associated : dict of str to AssociatedImage
        ``"label"``, ``"overview"``, ``"thumbnail"``: those that there are.
    optical_paths : tuple of OpticalPath
    source : SourceSeries
        What objects derived from the slide must refer to.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        associated: dict[str, AssociatedImage],
        optical_paths: Sequence[OpticalPath],
        source: SourceSeries,
    ) -> None:
        self.levels = tuple(levels)
        self.associated = dict(associated)
        self.optical_paths = tuple(optical_paths)
        self.source = source
        self._readers: dict[Any, tuple[PlaneReader, OpticalPath]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}}

    def __repr__(self) -> str:
        sizes = ", ".join(f"{level.shape[0]} x {level.shape[1]}" for level in self.levels) or "no level"
        extra = f", {', '.join(self.associated)}" if self.associated else ""
        return f"Slide(series {self.source.series_instance_uid or '(none)'}: {sizes}{extra})"

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the slide's files. It stays usable: what is read next opens them again."""
        for level in (*self.levels, *(image.level for image in self.associated.values())):
            for span in level.frames.spans:
                close_file(span.file)

    # ------------------------------------------------------------------ what it is
    @property
    def base(self) -> Level:
        """Level 0.

        Raises
        ------
        SeriesError
            If the series holds no VOLUME image.
        """
        if not self.levels:
            raise SeriesError(
                f"series {self.source.series_instance_uid} holds no VOLUME image, only {', '.join(self.associated)}: "
                "read it with slide.associated[...].read(), or give the other files of the slide too"
            )
        return self.levels[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of level 0."""
        return self.base.shape

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Distance of pixel centres of level 0 in mm, from row to row and from column to column."""
        return self.base.spacing

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample of the first optical path."""
        return self._info().dtype

    @property
    def samples(self) -> int:
        """Samples a pixel of the first optical path: 3, or 1 for monochrome."""
        return self._info().samples_per_pixel

    def _info(self) -> FrameInfo:
        return self._reader(self.base, None, None)[0].info

    @property
    def focal_planes(self) -> tuple[float, ...]:
        """Positions of the focal planes of level 0 along the optical axis, in mm, rising.

        The middle one is read unless another is asked for by its index.
        """
        return tuple(self.base.frames.z_values(self._path(self.base, None).identifier))

    @property
    def icc_profile(self) -> bytes | None:
        """ICC profile of the first optical path; None where it has none."""
        return self._path(self.base, None).icc_profile

    @property
    def background(self) -> tuple[int, ...]:
        """Value of pixels that were not imaged: Recommended Absent Pixel CIELab Value, else white, else (monochrome)
        black."""
        return tuple(int(v) for v in absent_value(self.base, self._info()))

    def best_level(self, spacing: float | tuple[float, float]) -> Level:
        """The coarsest level that is at least as fine as ``spacing`` mm; level 0 where none is.

        Raises
        ------
        GeometryError
            If the slide does not state its pixel spacing.
        """
        return self._level_for(_pair(spacing))

    # ------------------------------------------------------------------ pixels
    def read_region(
        self,
        location: Sequence[float],
        size: Sequence[int],
        *,
        level: int | None = None,
        spacing: float | tuple[float, float] | None = None,
        color: Color = "rgb",
        optical_path: int | str | None = None,
        focal_plane: int | None = None,
        filter: Filter = "area",
        threads: int | None = None,
    ) -> Array:
        """Read a rectangle, at a level or at a spacing.

        Parameters
        ----------
        location : (row, column)
            First corner in pixels of level 0, whatever is read; it may lie outside the slide. At a level the nearest
            of its pixels is taken, so ``row * downsamples[0]`` addresses row ``row`` of a level exactly.
        size : (rows, columns)
            Of the result, in its own pixels.
        level : int, optional
            Level to read; 0 where neither level nor spacing is given.
        spacing : float or (float, float), optional
            Distance of pixel centres in mm, from row to row and column to column. The nearest finer level is resampled;
            it is taken as it is where its pixels are within one pixel of where they should be.
        color : {"rgb", "srgb"}
            ``"rgb"`` gives RGB as the scanner stored it, ``"srgb"`` applies the ICC profile.
        optical_path : int or str, optional
            Index or identifier; the first where not given.
        focal_plane : int, optional
            Index into :attr:`focal_planes`; the middle one where not given. Levels with fewer planes give the closest.
        filter : {"area", "nearest"}
            How a level is resampled: ``"area"`` gives each pixel the mean of the area that it covers (and is linear
            where level 0 has to be enlarged), ``"nearest"`` the pixel at its centre.
        threads : int, optional
            Most threads to use; one a core, 8 at most, where not given.

        Returns
        -------
        ndarray of shape (rows, columns, 3), or (rows, columns) for monochrome slides
            What no frame shows has the value :attr:`background`.

        Raises
        ------
        SeriesError
            If there is no such level, optical path or focal plane.
        GeometryError
            If ``spacing`` is asked of a slide that does not state its own.
        FileError, CodecError
            If a frame is not in its file, or cannot be decoded.
        """
        if spacing is None and color == "rgb" and filter == "area":
            # what loaders of tiles do most, without a detour
            at = self._level(level or 0)
            reader = self._reader(at, optical_path, focal_plane)[0]
            corner = (_nearest(location[0], at.downsamples[0]), _nearest(location[1], at.downsamples[1]))
            return first_of(read_copies(reader, [corner], _checked_size(size), None, threads))
        tiles = self.read_tiles(
            level,
            [location],
            size=size,
            spacing=spacing,
            color=color,
            optical_path=optical_path,
            focal_plane=focal_plane,
            filter=filter,
            threads=threads,
        )
        return first_of(tiles)

    def read_tiles(
        self,
        level: int | None = None,
        positions: Iterable[Sequence[float]] | npt.NDArray[Any] = (),
        *,
        size: Sequence[int] | None = None,
        spacing: float | tuple[float, float] | None = None,
        color: Color = "rgb",
        optical_path: int | str | None = None,
        focal_plane: int | None = None,
        filter: Filter = "area",
        threads: int | None = None,
    ) -> Array:
        """Read many rectangles of one size; each frame that they need is decoded once.

        Parameters
        ----------
        level : int, optional
        positions : array-like of shape (n, 2)
            First corners, as the ``location`` of :meth:`read_region`: (row, column) in pixels of level 0. Those of the
            level's own tiles are :meth:`tile_positions`.
        size : (rows, columns), optional
            Of each result; the level's tile size where not given.
        spacing, color, optical_path, focal_plane, filter, threads
            As in :meth:`read_region`.

        Returns
        -------
        ndarray of shape (n, rows, columns, 3), or (n, rows, columns) for monochrome slides
        """
        if spacing is not None and level is not None:
            raise ValueError("level and spacing were both given; expected one of them")
        if color not in ("rgb", "srgb") or filter not in FILTERS:
            raise ValueError(f"color is {color!r} and filter {filter!r}; expected 'rgb' or 'srgb', 'area' or 'nearest'")
        at = self._level_for(_pair(spacing)) if spacing is not None else self._level(level or 0)
        shape = at.tile_size if size is None else _checked_size(size)
        corners = np.asarray(positions if isinstance(positions, np.ndarray) else list(positions), np.float64)
        corners = corners.reshape(-1, 2)
        reader, path = self._reader(at, optical_path, focal_plane)
        profile = profile_of(path, color)
        starts = corners / np.array(at.downsamples)
        if spacing is not None:
            assert at.spacing is not None
            steps = np.array(_pair(spacing)) / np.array(at.spacing)
            if (np.abs(steps - 1) * np.array(shape) > 1).any():
                return read_resampled(reader, starts, steps, shape, filter, profile, threads)
        whole = np.floor(starts + (0.5 + _WHOLE)).astype(np.int64)
        return read_copies(reader, [(r, c) for r, c in whole.tolist()], shape, profile, threads)

    def thumbnail(
        self,
        size: int = 1024,
        *,
        color: Color = "rgb",
        optical_path: int | str | None = None,
        focal_plane: int | None = None,
        threads: int | None = None,
    ) -> Array:
        """The whole slide, its longer side ``size`` pixels at most.

        It is made from the nearest finer level, whose frames are reduced one by one: memory is needed for the
        thumbnail only. Pixels of slides with unequal row and column spacing come out square.
        """
        if size < 1:
            raise ValueError(f"size is {size}; expected at least 1")
        base = self.base
        # in pixels of level 0 where nothing is known in mm
        unit = base.spacing or (1.0, 1.0)
        extent = base.shape[0] * unit[0], base.shape[1] * unit[1]
        step = max(max(extent) / size, min(unit))
        shape = [max(1, min(size, round(side / step))) for side in extent]
        factors = [base.shape[axis] / shape[axis] for axis in (0, 1)]
        fitting = [lv for lv in self.levels if all(lv.downsamples[a] <= factors[a] * (1 + 1e-6) for a in (0, 1))]
        at = fitting[-1] if fitting else base
        reader, path = self._reader(at, optical_path, focal_plane)
        profile = profile_of(path, color)
        if tuple(shape) == at.shape:
            return first_of(read_copies(reader, [(0, 0)], at.shape, profile, threads))
        steps = np.array([at.shape[axis] / shape[axis] for axis in (0, 1)])
        return first_of(read_resampled(reader, np.zeros((1, 2)), steps, (shape[0], shape[1]), "area", profile, threads))

    def tile_positions(
        self, level: int = 0, *, optical_path: int | str | None = None, focal_plane: int | None = None
    ) -> npt.NDArray[np.float64]:
        """First corners of the tiles that a level holds (not of absent ones), in pixels of level 0, shape (n, 2)."""
        at = self._level(level)
        reader, _ = self._reader(at, optical_path, focal_plane)
        return np.asarray(reader.index.positions() * np.array(at.downsamples))

    # ------------------------------------------------------------------ coordinates
    def to_mm(self, points: npt.ArrayLike, *, level: int = 0, corner: bool = False) -> npt.NDArray[np.float64]:
        """Points of a level in slide coordinates (PS3.3 C.8.12.2.1).

        Parameters
        ----------
        points : array-like of shape (..., 2)
            (row, column) of the level; whole numbers are the centres of its pixels.
        level : int
            Level whose pixels the points count.
        corner : bool
            True where points count from the first pixel's corner, as locations and 2D annotations do; a pixel's centre
            is then at ``row + 0.5``.

        Returns
        -------
        ndarray of shape (..., 3)
            x, y and z in mm.

        Raises
        ------
        GeometryError
            If the files do not state the pixel spacing.
        """
        values = np.asarray(points, np.float64) - (0.5 if corner else 0.0)
        affine = self._level(level).affine
        return np.asarray(values @ affine[:3, 1:3].T + affine[:3, 3])

    def from_mm(self, points: npt.ArrayLike, *, level: int = 0, corner: bool = False) -> npt.NDArray[np.float64]:
        """Slide coordinates as (row, column) of a level: the reverse of :meth:`to_mm`.

        Parameters
        ----------
        points : array-like of shape (..., 2) or (..., 3)
            x, y and perhaps z in mm; the distance from the plane of the level is left out.
        level, corner
            As in :meth:`to_mm`.
        """
        values = np.asarray(points, np.float64)
        affine = self._level(level).affine
        if values.shape[-1] == 2:
            values = np.concatenate([values, np.full((*values.shape[:-1], 1), affine[2, 3])], axis=-1)
        inverse = np.linalg.inv(affine)
        found = values @ inverse[1:3, :3].T + inverse[1:3, 3]
        return np.asarray(found + (0.5 if corner else 0.0))

    # ------------------------------------------------------------------ choosing
    def _level(self, level: int) -> Level:
        base = self.base
        if not 0 <= level < len(self.levels):
            raise SeriesError(
                f"there is no level {level}; the slide has {len(self.levels)}: 0 is {base.shape[0]} x {base.shape[1]}"
            )
        return self.levels[level]

    def _level_for(self, spacing: tuple[float, float]) -> Level:
        if self.base.spacing is None:
            raise GeometryError(
                f"series {self.source.series_instance_uid} does not state its pixel spacing, so it cannot be read at "
                "a spacing: give level= instead"
            )
        found = self.base
        for level in self.levels:
            assert level.spacing is not None or level is not self.base
            if level.spacing is not None and all(
                own <= wanted * (1 + 1e-3) for own, wanted in zip(level.spacing, spacing, strict=True)
            ):
                found = level
        return found

    def _reader(
        self, level: Level, optical_path: int | str | None, focal_plane: int | None
    ) -> tuple[PlaneReader, OpticalPath]:
        key = level.index, optical_path, focal_plane
        found = self._readers.get(key)
        if found is None:
            found = self._readers[key] = super()._reader(level, optical_path, focal_plane)
        return found

    def _z(self, level: Level, path: OpticalPath, focal_plane: int | None) -> float:
        values = self.base.frames.z_values(path.identifier) or level.frames.z_values(path.identifier) or [0.0]
        if focal_plane is None:
            return values[len(values) // 2]
        if not 0 <= focal_plane < len(values):
            raise SeriesError(
                f"there is no focal plane {focal_plane}; optical path {path.identifier!r} has {len(values)}"
            )
        return values[focal_plane]


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        raise ValueError(f"size is {height} x {width}; expected at least one pixel")
    return height, width


def _nearest(position: float, downsample: float) -> int:
    """Pixel of a level at whose corner, nearly, a position of level 0 lies."""
    return math.floor(position / downsample + (0.5 + _WHOLE))


def _pair(spacing: float | tuple[float, float]) -> tuple[float, float]:
    pair = (float(spacing), float(spacing)) if np.ndim(spacing) == 0 else tuple(spacing)  # type: ignore[arg-type]
    if len(pair) != 2 or not all(np.isfinite(value) and value > 0 for value in pair):
        raise ValueError(f"spacing is {spacing}; expected millimetres above 0, such as 0.001 for about 10x")
    return float(pair[0]), float(pair[1])
