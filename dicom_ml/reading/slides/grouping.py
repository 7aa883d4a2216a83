"""From the files of a series to its pyramid: which belong to one level, and which frame of which file lies where.

Files are told apart by what they say of themselves, never by their names or order: concatenations (PS3.3
C.7.6.16.2.2.4) are put together again, and a level whose focal planes, optical paths or tiles are spread over
several files becomes one level.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.errors import DicomMLWarning, FileError, GeometryError, SeriesError
from dicom_ml.geometry import unit_orientation
from dicom_ml.reading.slides.files import PixelPlace, SlideFile
from dicom_ml.reading.slides.headers import SlideImage
from dicom_ml.reading.slides.tiles import FreeTiles, FullTiles, GridTiles, TileIndex, sparse_tiles

__all__ = ["FileSpan", "LevelFrames", "Pyramid", "assemble", "find_pyramids"]

#: Overlap of two regions, as intersection over union, from which on they are taken as one that jitters.
_SAME_REGION = 0.9
#: Pixels of the coarser level by which the edges of one region may differ whatever the overlap: levels of
#: a few pixels are rounded to whole ones.
_EDGE_PIXELS = 1.5
#: Decimals of a focal plane's position in mm: 10 nm.
_Z_DECIMALS = 5
_Z_STEP_UNKNOWN = 0.001

PlaneKey = tuple[str, float]


@dataclass(frozen=True)
class FileSpan:
    """The frames of a level that one file holds, from frame number ``first`` on."""

    first: int
    file: SlideFile
    place: PixelPlace


@dataclass(frozen=True)
class LevelFrames:
    """All frames of a level.

    Attributes
    ----------
    spans : tuple of FileSpan
        By rising frame number.
    planes : dict
        Optical path identifier and focal plane (mm) to the index of its tiles.
    infos : dict
        The same keys to what the headers say of the frames.
    gaps : bool
        Whether no file holds some of the frames, by leave of ``gaps="fill"``.
    """

    spans: tuple[FileSpan, ...]
    planes: dict[PlaneKey, TileIndex]
    infos: dict[PlaneKey, FrameInfo]
    gaps: bool = False

    @cached_property
    def _starts(self) -> list[int]:
        return [span.first for span in self.spans]

    def locate(self, frame: int) -> tuple[FileSpan, int] | None:
        """The file that holds a frame of the level, and the frame's number in it; None where no file does."""
        span = self.spans[bisect_right(self._starts, frame) - 1] if frame >= self._starts[0] else None
        if span is None or frame >= span.first + span.place.frames:
            return None
        return span, frame - span.first

    def z_values(self, path: str) -> list[float]:
        """Focal planes of an optical path in mm, rising."""
        return sorted(z for name, z in self.planes if name == path)


# ------------------------------------------------------------------------------------------------ pyramids


@dataclass(frozen=True)
class Pyramid:
    """Levels of one region of the slide, the largest first; each is the files that hold it."""

    levels: tuple[tuple[SlideImage, ...], ...]

    @property
    def uid(self) -> str:
        """Pyramid UID; empty where the files have none."""
        return self.levels[0][0].pyramid


def find_pyramids(images: Sequence[SlideImage]) -> list[Pyramid]:
    """Group images by the region of the slide that they show, and within it by size.

    Returns
    -------
    list of Pyramid
        The one with the largest matrix first.
    """
    pyramids: list[list[SlideImage]] = []
    ordered = sorted(images, key=lambda i: (-i.matrix[0] * i.matrix[1], i.instance_number, i.sop_instance))
    for image in ordered:
        for known in pyramids:
            if _same_pyramid(known[0], image):
                known.append(image)
                break
        else:
            pyramids.append([image])
    found = []
    for members in pyramids:
        sizes: dict[tuple[int, int], list[SlideImage]] = {}
        for image in members:
            sizes.setdefault(image.matrix, []).append(image)
        found.append(Pyramid(tuple(tuple(level) for level in sizes.values())))
    return found


def _same_pyramid(base: SlideImage, image: SlideImage) -> bool:
    if base.pyramid and image.pyramid:
        return base.pyramid == image.pyramid
    if None in (base.spacing, image.spacing, base.origin, image.origin, base.orientation, image.orientation):
        return True
    axes = _axes(base)
    if float(np.abs(axes - _axes(image)).max()) > 0.01:
        return False
    first, second = _edges(base, axes), _edges(image, axes)
    assert image.spacing is not None
    if (np.abs(first - second).max(axis=0) <= _EDGE_PIXELS * np.array(image.spacing)).all():
        return True
    shared = np.clip(np.minimum(first[1], second[1]) - np.maximum(first[0], second[0]), 0, None).prod()
    union = (first[1] - first[0]).prod() + (second[1] - second[0]).prod() - shared
    return bool(shared >= _SAME_REGION * union)


def _axes(image: SlideImage) -> npt.NDArray[np.float64]:
    """Directions of rising row and of rising column index, shape (2, 3)."""
    assert image.orientation is not None
    try:
        cosines = unit_orientation(image.orientation)
    except GeometryError as error:
        raise FileError(f"{image.name}: Image Orientation (Slide): {error}") from error
    return np.asarray(cosines.reshape(2, 3)[::-1])


def _edges(image: SlideImage, axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """First and last edge along both axes, in mm, shape (2, 2)."""
    assert image.origin is not None and image.spacing is not None
    spacing = np.array(image.spacing)
    start = axes @ np.array(image.origin) - spacing / 2
    return np.stack([start, start + spacing * np.array(image.matrix)])


# -------------------------------------------------------------------------------------------------- levels


def assemble(images: Sequence[SlideImage], gaps: str) -> LevelFrames:
    """Put the frames of one level's files in place.

    Parameters
    ----------
    images : sequence of SlideImage
        With equal total pixel matrices.
    gaps : {"error", "fill"}
        What to do where a concatenation lacks a part, or a file lacks frames that it should have.

    Raises
    ------
    SeriesError
        If parts are missing, or two files claim the same tiles.
    FileError
        If a file's frames do not fit its total pixel matrix.
    """
    builder = _Builder(gaps)
    for parts in _instances(images):
        builder.add(parts)
    return builder.done()


def _instances(images: Sequence[SlideImage]) -> list[list[SlideImage]]:
    """Files one by one, and the parts of each concatenation together, in their order."""
    found: list[list[SlideImage]] = []
    concatenations: dict[str, list[SlideImage]] = {}
    for image in images:
        part = image.concatenation
        # Some writers leave the attributes in files that are whole.
        if part is None or part.total == 1 or (image.places is None and image.frames == _expected(image)):
            found.append([image])
        else:
            concatenations.setdefault(part.uid, []).append(image)
    for parts in concatenations.values():
        parts.sort(key=lambda image: image.concatenation.number if image.concatenation else 0)
        found.append(parts)
    return found


def _paths_of(image: SlideImage) -> list[str]:
    if image.shared_path is not None:
        return [image.shared_path]
    return [path.identifier for path in image.optical_paths]


def _expected(image: SlideImage) -> int:
    """Frames that all tiles of all focal planes and optical paths make."""
    return image.grid[0] * image.grid[1] * max(image.focal_planes or 1, 1) * len(_paths_of(image))


class _Builder:
    def __init__(self, gaps: str) -> None:
        self.gaps = gaps
        self.next = 0
        self.spans: list[FileSpan] = []
        self.planes: dict[PlaneKey, TileIndex] = {}
        self.infos: dict[PlaneKey, FrameInfo] = {}
        self.owners: dict[PlaneKey, str] = {}
        self.incomplete = False

    def add(self, parts: list[SlideImage]) -> None:
        first = parts[0]
        for image in parts[1:]:
            if image.tile != first.tile or image.info.samples_per_pixel != first.info.samples_per_pixel:
                raise SeriesError(
                    f"{first.name} and {image.name} are parts of one concatenation, but their frames differ in size "
                    "or colour"
                )
        missing = self._check_parts(parts)
        if all(image.places is not None for image in parts):
            for image in parts:
                self._add_sparse(image)
        elif any(image.organization == "TILED_SPARSE" for image in parts):
            raise FileError(
                f"{first.name} is TILED_SPARSE, but its frames do not say where they lie (Plane Position (Slide))"
            )
        else:
            self._add_full(parts, missing)

    def _check_parts(self, parts: list[SlideImage]) -> bool:
        """Whether parts of a concatenation are missing."""
        if parts[0].concatenation is None:
            return False
        numbers = [image.concatenation.number for image in parts if image.concatenation]
        totals = {image.concatenation.total for image in parts if image.concatenation} - {None}
        if len(set(numbers)) != len(numbers):
            raise SeriesError(
                f"{parts[0].name}: two files are the same part of one concatenation; pass only one of them"
            )
        if len(parts) == 1 and parts[0].places is None and parts[0].frames == _expected(parts[0]):
            return False
        total = max([number for number in totals if number is not None] + numbers)
        absent = sorted(set(range(1, total + 1)) - set(numbers))
        if absent and self.gaps == "error":
            raise SeriesError(
                f"the concatenation of {parts[0].name} has {total} parts, "
                f"{'part' if len(absent) == 1 else 'parts'} {', '.join(map(str, absent))} "
                f"{'is' if len(absent) == 1 else 'are'} missing: give all files, or pass gaps='fill' to see "
                "background there"
            )
        return bool(absent)

    def _add_sparse(self, image: SlideImage) -> None:
        places = image.places
        assert places is not None
        self.spans.append(FileSpan(self.next, image.file, image.place))
        numbers = np.arange(self.next, self.next + image.frames, dtype=np.int64)
        self.next += image.frames
        names, which = np.zeros(image.frames, np.int64), [_paths_of(image)[0]]
        if places.paths is not None:
            which = list(dict.fromkeys(places.paths))
            order = {name: i for i, name in enumerate(which)}
            names = np.array([order[name] for name in places.paths], np.int64)
        fallback = image.shared_z if image.shared_z is not None else image.origin[2] if image.origin else 0.0
        z = np.round(places.z, _Z_DECIMALS) if places.z is not None else np.full(image.frames, round(fallback, 5))
        levels, plane_of = np.unique(z, return_inverse=True)
        outside = doubled = 0
        for key in np.unique(names * len(levels) + plane_of).tolist():
            chosen = np.flatnonzero(names * len(levels) + plane_of == key)
            index, out, twice = sparse_tiles(
                image.tile, image.matrix, numbers[chosen], places.rows[chosen], places.columns[chosen]
            )
            outside, doubled = outside + out, doubled + twice
            self._put(
                (which[key // len(levels)] or _paths_of(image)[0], float(levels[key % len(levels)])), index, image
            )
        if outside or doubled:
            warnings.warn(
                f"{image.name}: {outside} frames lie outside the total pixel matrix and {doubled} at the place of "
                "another; they are left out",
                DicomMLWarning,
                stacklevel=2,
            )

    def _add_full(self, parts: list[SlideImage], missing: bool) -> None:
        first = parts[0]
        paths = _paths_of(first)
        tiles = first.grid[0] * first.grid[1]
        starts = self._starts(parts, missing)
        there = sum(image.frames for image in parts)
        planes = max(first.focal_planes or 1, 1)
        expected = tiles * planes * len(paths)
        if there != expected and first.focal_planes is None and there % (tiles * len(paths)) == 0:
            planes = there // (tiles * len(paths))
            expected = there
        if there > expected or (there < expected and not missing and self.gaps == "error"):
            also = (
                "; if the other frames are in files that were not given, give them"
                ", or pass gaps='fill' to see background there" if there < expected else ""
            )  # fmt: skip
            raise FileError(
                f"{first.name} holds {there} frames; {tiles} tiles of {first.tile[0]} x {first.tile[1]} cover its "
                f"matrix of {first.matrix[0]} x {first.matrix[1]}, {planes} focal plane(s) and {len(paths)} optical "
                f"path(s) make {expected}, and no frame states its position{also}"
            )
        self.incomplete |= there < expected
        for start, image in zip(starts, parts, strict=True):
            self.spans.append(FileSpan(self.next + start, image.file, image.place))
        step = first.between
        if planes > 1 and not step:
            step = _Z_STEP_UNKNOWN
            warnings.warn(
                f"{first.name} does not state the distance of its {planes} focal planes; 1 micrometre is assumed",
                DicomMLWarning,
                stacklevel=2,
            )
        base = first.shared_z if first.shared_z is not None else first.origin[2] if first.origin else 0.0
        for number in range(len(paths) * planes):
            z = round(base + (number % planes) * (step or 0.0), _Z_DECIMALS)
            index = FullTiles(first.tile, first.grid, self.next + number * tiles)
            self._put((paths[number // planes], z), index, first)
        self.next += max(expected, max(start + image.frames for start, image in zip(starts, parts, strict=True)))

    def _starts(self, parts: list[SlideImage], missing: bool) -> list[int]:
        """Number of the first frame of each part within the concatenation."""
        starts, expected = [], 0
        for image in parts:
            stated = image.concatenation.offset if image.concatenation and len(parts) + missing > 1 else None
            if stated is None and missing:
                raise FileError(
                    f"{image.name} does not say where its frames lie in the concatenation (Concatenation Frame Offset "
                    "Number), and other parts are missing"
                )
            if stated is not None and (stated < expected or (stated > expected and not missing)):
                raise FileError(
                    f"{image.name}: Concatenation Frame Offset Number is {stated}; the parts before it hold {expected} "
                    "frames: one of the two is wrong"
                )
            starts.append(expected if stated is None else stated)
            expected = starts[-1] + image.frames
        return starts

    def _put(self, key: PlaneKey, index: TileIndex, image: SlideImage) -> None:
        known = self.planes.get(key)
        if known is not None:
            merged = _merge(known, index)
            if merged is None:
                raise SeriesError(
                    f"{self.owners[key]} and {image.name} hold the same tiles of one level (matrix {image.matrix[0]} x "
                    f"{image.matrix[1]}, optical path {key[0]!r}, focal plane {key[1]:g} mm): the series holds two "
                    "versions of the image; pass the files of one"
                )
            index = merged
        self.planes[key] = index
        self.infos.setdefault(key, image.info)
        self.owners.setdefault(key, image.name)

    def done(self) -> LevelFrames:
        self.spans.sort(key=lambda span: span.first)
        return LevelFrames(tuple(self.spans), self.planes, self.infos, self.incomplete)


def _merge(first: TileIndex, second: TileIndex) -> TileIndex | None:
    """One index of the frames of two files; None where they claim the same tiles."""
    if first.tile != second.tile or isinstance(first, FullTiles) or isinstance(second, FullTiles):
        return None
    if isinstance(first, GridTiles) and isinstance(second, GridTiles):
        if ((first.table >= 0) & (second.table >= 0)).any():
            return None
        return GridTiles(first.tile, np.where(first.table >= 0, first.table, second.table))
    frames, places = [], []
    for index in (first, second):
        positions = index.positions()
        if isinstance(index, GridTiles):
            frames.append(index.table[index.table >= 0].astype(np.int64))
        elif isinstance(index, FreeTiles):
            frames.append(np.sort(index.frames))
        places.append(positions)
    first_places, second_places = (p[:, 0] << 32 | p[:, 1] for p in places)
    if len(np.intersect1d(first_places, second_places)):
        return None
    rows, columns = np.concatenate(places).T
    order = np.argsort(rows, kind="stable")
    return FreeTiles(first.tile, np.concatenate(frames)[order], rows[order], columns[order])
