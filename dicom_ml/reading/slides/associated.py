"""Labels, overviews and thumbnails of slides, and what they share with the slide itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.errors import SeriesError
from dicom_ml.reading.slides.arrays import first_of, read_copies
from dicom_ml.reading.slides.color import absent_color
from dicom_ml.reading.slides.headers import OpticalPath
from dicom_ml.reading.slides.levels import Level
from dicom_ml.reading.slides.regions import PlaneReader

__all__ = ["AssociatedImage", "Color", "PixelSource", "absent_value", "profile_of"]

Array = npt.NDArray[Any]
Color = Literal["rgb", "srgb"]


class PixelSource:
    """What slides and associated images share: optical paths, focal planes, colour."""

    optical_paths: tuple[OpticalPath, ...]

    def _reader(
        self, level: Level, optical_path: int | str | None, focal_plane: int | None
    ) -> tuple[PlaneReader, OpticalPath]:
        path = self._path(level, optical_path)
        z = self._z(level, path, focal_plane)
        found = level.plane(path.identifier, z)
        if found is None:
            raise SeriesError(
                f"level {level.index} does not hold optical path {path.identifier!r}; it holds "
                f"{', '.join(sorted({repr(name) for name, _ in level.frames.planes}))}"
            )
        key, index = found
        info = level.frames.infos[key]
        return PlaneReader(level.frames, index, info, level.shape, absent_value(level, info)), path

    def _path(self, level: Level, optical_path: int | str | None) -> OpticalPath:
        paths = self.optical_paths
        if optical_path is None:
            present = {name for name, _ in level.frames.planes}
            return next((path for path in paths if path.identifier in present), paths[0])
        if isinstance(optical_path, str):
            for path in paths:
                if path.identifier == optical_path:
                    return path
        elif 0 <= optical_path < len(paths):
            return paths[optical_path]
        names = ", ".join(repr(path.identifier) for path in paths)
        raise SeriesError(f"there is no optical path {optical_path!r}; the slide has {names}: give one, or its index")

    def _z(self, level: Level, path: OpticalPath, focal_plane: int | None) -> float:
        values = level.frames.z_values(path.identifier) or [0.0]
        if focal_plane is None:
            return values[len(values) // 2]
        return values[focal_plane]


@dataclass(frozen=True)
class AssociatedImage(PixelSource):
    """A label, overview or thumbnail that comes with a slide.

    Attributes
    ----------
    name : str
        Third value of Image Type, in lower case.
    shape : tuple of int
        Rows and columns.
    level : Level
        Its size, spacing and place on the slide, as far as its file states them.
    """

    name: str
    level: Level = field(repr=False)
    optical_paths: tuple[OpticalPath, ...] = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.level.shape

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of its file."""
        return self.level.sop_instance_uids[0]

    def read(self, *, color: Color = "rgb", threads: int | None = None) -> Array:
        """Decode the image.

        Returns
        -------
        ndarray of shape (rows, columns, 3), or (rows, columns) for monochrome images
        """
        reader, path = self._reader(self.level, None, None)
        return first_of(read_copies(reader, [(0, 0)], self.shape, profile_of(path, color), threads))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.read().astype(dtype, copy=False) if dtype is not None else self.read()


def absent_value(level: Level, info: FrameInfo) -> Array:
    top = (1 << info.bits_stored) - 1 if not info.signed else (1 << info.bits_stored - 1) - 1
    return absent_color(level.background, info.samples_per_pixel, top)


def profile_of(path: OpticalPath, color: Color) -> bytes | None:
    """Profile to apply. Without one colours are taken as sRGB, as the standard lets a viewer do."""
    return path.icc_profile if color == "srgb" else None
