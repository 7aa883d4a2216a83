"""Reading rectangles of a level: which frames, decoded once each, on several threads, into one buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo, get_decoder, is_encapsulated
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import DicomMLError
from dicom_ml.reading.slides.buffers import pixel_array, scratch_array
from dicom_ml.reading.slides.files import frame_index
from dicom_ml.reading.slides.grouping import FileSpan, LevelFrames
from dicom_ml.reading.slides.resample import Axis, resample_piece
from dicom_ml.reading.slides.tiles import FullTiles, GridTiles, TileIndex

__all__ = ["PlaneReader"]

Array = npt.NDArray[Any]
Slices = tuple[slice, slice]

# Decoded bytes below which a pass on one thread is over before others have begun.
_LEAST_COMPRESSED = 1 << 18
_LEAST_NATIVE = 1 << 23
_LARGEST_SCRATCH = 1 << 22
# Rectangles from which on it pays to look at them as an array.
_MANY = 4


@dataclass(slots=True)
class _Use:
    """What becomes of a part of a frame: it is copied to ``target``, or reduced into a sum."""

    part: Slices
    target: Array | None = None
    whole: bool = False
    reduce: Callable[[Array], None] | None = None

    def __call__(self, frame: Array) -> None:
        if self.target is not None:
            self.target[...] = frame[self.part]
        elif self.reduce is not None:
            self.reduce(frame[self.part])


def _scratch(info: FrameInfo) -> Array | None:
    """A buffer for a decoded frame, where the decoder can write into it."""
    if info.decoded_bytes > _LARGEST_SCRATCH or not get_decoder(info.transfer_syntax_uid).writes_into:
        return None
    return scratch_array(info.shape, info.dtype)


class PlaneReader:
    """Reads one focal plane and optical path of a level.

    Parameters
    ----------
    frames : LevelFrames
    index : TileIndex
    info : FrameInfo
    shape : tuple of int
        Of the level's total pixel matrix; what frames hold beyond it is padding and never shown.
    fill : ndarray of shape (samples,)
        Value of pixels that no frame shows.
    """

    def __init__(
        self,
        frames: LevelFrames,
        index: TileIndex,
        info: FrameInfo,
        shape: tuple[int, int],
        fill: Array,
    ) -> None:
        self.frames, self.index, self.info, self.shape, self.fill = frames, index, info, shape, fill
        self.dtype = info.dtype
        self.samples = info.samples_per_pixel

    def array(self, *shape: int) -> Array:
        """An array for pixels of this plane."""
        return pixel_array((*shape, self.samples) if self.samples > 1 else shape, self.dtype)

    # ------------------------------------------------------------------ pixels as they are
    def inside(self, corners: Sequence[tuple[int, int]], height: int, width: int) -> bool:
        """Whether every pixel of equal rectangles is certain to be shown by a frame."""
        if self.frames.gaps or not isinstance(self.index, FullTiles):
            return False
        rows, columns = zip(*corners, strict=True)
        before = min(*rows, *columns) < 0
        return not (before or max(rows) + height > self.shape[0] or max(columns) + width > self.shape[1])

    def copy(
        self,
        corners: Sequence[tuple[int, int]],
        out: Array,
        absent: Array | None = None,
        threads: int | None = None,
    ) -> None:
        """Read equal rectangles of the level, pixel by pixel.

        Parameters
        ----------
        corners : sequence of (row, column)
            First pixel of each rectangle; anywhere, also outside the level.
        out : ndarray of shape (n, rows, columns[, samples])
        absent : ndarray of bool, shape (n, rows, columns), optional
            Set to True where no frame shows a pixel, else to False.
        threads : int, optional
            Most threads to use; one a core, 8 at most, where not given.
        """
        uses: dict[int, list[_Use]] = {}
        direct: list[tuple[int, Array]] = []
        height, width = out.shape[1:3]
        if absent is not None:
            absent[...] = True
        tiles = self._whole_tiles(corners, (height, width))
        for number, (row, column) in enumerate(corners):
            target = out[number]
            if tiles is not None and tiles[number] >= 0:
                direct.append((tiles[number], target))
                if absent is not None:
                    absent[number] = False
                continue
            covered = 0
            for frame, part, place in self._parts(row, column, row + height, column + width):
                view = target[place]
                size = view.shape[0] * view.shape[1]
                covered += size
                whole = view.shape == self.info.shape and view.flags.c_contiguous
                uses.setdefault(frame, []).append(_Use(part, view, whole))
                if absent is not None:
                    absent[number][place] = False
            if covered < height * width or not self.index.disjoint:
                target[...] = self.fill if self.samples > 1 else self.fill[0]
        self._run(uses, threads, direct)

    def _whole_tiles(self, corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[int] | None:
        """Frames that are rectangles as they are, -1 for other rectangles: loaders of tiles ask for little else."""
        index = self.index
        if (
            size != index.tile
            or not isinstance(index, FullTiles | GridTiles)
            or self.frames.gaps
            or len(corners) < _MANY
        ):
            return None
        places = np.array(corners)
        fits = ((places >= 0) & (places + size <= self.shape) & (places % size == 0)).all(axis=1)
        if not fits.any():
            return None
        rows, columns = (np.where(fits[:, None], places, 0) // size).T
        found: list[int] = np.where(fits, index.at(rows, columns), -1).tolist()
        return found

    def _threads(self, frames: int, threads: int | None) -> int | None:
        """Threads to use for a number of frames."""
        compressed = is_encapsulated(self.info.transfer_syntax_uid)
        worthwhile = frames * self.info.decoded_bytes >= (_LEAST_COMPRESSED if compressed else _LEAST_NATIVE)
        return threads if worthwhile else 1

    def _parts(self, row: int, column: int, end_row: int, end_column: int) -> list[tuple[int, Slices, Slices]]:
        """Frames within a rectangle, which part of each, and its place in the rectangle."""
        found = []
        low, high = max(row, 0), min(end_row, self.shape[0])
        left, right = max(column, 0), min(end_column, self.shape[1])
        rows, columns = self.index.tile
        gaps = self.frames.gaps
        for frame, r, c in self.index.find(low, left, high, right):
            if gaps and self.frames.locate(frame) is None:
                continue  # of a part of a concatenation that is missing, by leave of gaps="fill"
            top, bottom = max(r, low), min(r + rows, high)
            first, last = max(c, left), min(c + columns, right)
            part = slice(top - r, bottom - r), slice(first - c, last - c)
            place = slice(top - row, bottom - row), slice(first - column, last - column)
            found.append((frame, part, place))
        return found

    # ------------------------------------------------------------------ resampled
    def resample(self, axes: Sequence[tuple[Axis, Axis]], threads: int | None = None) -> tuple[Array, Array | None]:
        """Resample rectangles of the level, frame by frame as they are decoded.

        Parameters
        ----------
        axes : sequence of (Axis, Axis)
            Rows and columns of each rectangle, all of equal counts.

        Returns
        -------
        sums : ndarray of shape (n, rows, columns, samples), float32
            Weighted sum of the pixels that frames show.
        weights : ndarray of shape (n, rows, columns), float32, or None
            Share of each output pixel that frames show, 0 to 1; None where it is 1 everywhere.
        """
        counts = axes[0][0].count, axes[0][1].count
        uses: dict[int, list[_Use]] = {}
        shares: list[_Share] = []
        complete = True
        for number, (down, across) in enumerate(axes):
            (row, end_row), (column, end_column) = down.span, across.span
            if not self.index.disjoint:
                shares += self._overlapping(number, down, across)
                complete = False
                continue
            covered = 0
            for frame, part, place in self._parts(row, column, end_row, end_column):
                covered += (place[0].stop - place[0].start) * (place[1].stop - place[1].start)
                shares.append(_Share(number, down, across, place[0].start + row, place[1].start + column))
                uses.setdefault(frame, []).append(_Use(part, reduce=shares[-1]))
            complete &= covered == (end_row - row) * (end_column - column)
        self._run(uses, threads)
        sums = np.zeros((len(axes), *counts, self.samples), np.float32)
        weights = None if complete else np.zeros((len(axes), *counts), np.float32)
        # added up in one order, whichever thread was first: the same pixels every time
        for share in shares:
            share.add_to(sums, weights)
        return sums, weights

    def _overlapping(self, number: int, down: Axis, across: Axis) -> list[_Share]:
        """Frames that may cover each other are put together before they are reduced."""
        (row, end_row), (column, end_column) = down.span, across.span
        row, column = max(row, 0), max(column, 0)
        height, width = min(end_row, self.shape[0]) - row, min(end_column, self.shape[1]) - column
        if height <= 0 or width <= 0:
            return []
        pixels, absent = self.array(1, height, width), np.empty((1, height, width), bool)
        self.copy([(row, column)], pixels, absent)
        share = _Share(number, down, across, row, column)
        share(pixels[0], ~absent[0])
        return [share]

    # ------------------------------------------------------------------ decoding
    def _run(
        self,
        uses: dict[int, list[_Use]],
        threads: int | None,
        direct: Sequence[tuple[int, Array]] = (),
    ) -> None:
        """Decode every frame of ``uses`` once and use it, and those of ``direct`` to where they belong."""
        opened: dict[int, FrameIndex] = {}
        jobs: list[_Job] = []
        aims: list[tuple[int, list[_Use] | Array]] = [*direct, *sorted(uses.items())]
        for frame, aim in aims:
            located = self.frames.locate(frame)
            assert located is not None
            span, number = located
            index = opened.get(span.first)
            if index is None:
                index = opened[span.first] = frame_index(span.file, span.place)
            jobs.append((span, index, number, aim))
        for index in opened.values():
            if index.far:
                index.prefetch([number for _, of, number, _ in jobs if of is index])
        if self.index.disjoint:
            parallel_for(_decode, jobs, self._threads(len(jobs), threads))
        else:
            # Frames that cover each other go on one after the other, the last on top.
            for job in jobs:
                _decode(job)


#: A frame of a file, and what becomes of it: uses, or the array that it is decoded into.
_Job: TypeAlias = "tuple[FileSpan, FrameIndex, int, list[_Use] | Array]"


def _decode(job: _Job) -> None:
    span, index, number, aim = job
    try:
        if not isinstance(aim, list):
            index.decode(number, color="rgb", out=aim)
            return
        first = aim[0]
        if first.whole:
            assert first.target is not None
            frame = index.decode(number, color="rgb", out=first.target)
            aim = aim[1:]
        else:
            frame = index.decode(number, color="rgb", out=_scratch(index.info))
    except DicomMLError as error:
        raise type(error)(f"{span.file.name}: {error}") from error
    for use in aim:
        use(frame)


class _Share:
    """What a piece of a level adds to a resampled rectangle."""

    def __init__(self, number: int, down: Axis, across: Axis, row: int, column: int) -> None:
        self.number, self.down, self.across, self.row, self.column = number, down, across, row, column
        self.found: tuple[Slices, Array, Array] | None = None

    def __call__(self, piece: Array, shown: Array | None = None) -> None:
        """Reduce the piece; ``shown`` tells which of its pixels count."""
        if shown is not None:
            piece = piece * (shown if piece.ndim == 2 else shown[..., None])
        row, column, share, weight = resample_piece(piece, self.down, self.across, self.row, self.column)
        if shown is not None:
            weight = resample_piece(shown, self.down, self.across, self.row, self.column)[2][..., 0]
        self.found = (slice(row, row + share.shape[0]), slice(column, column + share.shape[1])), share, weight

    def add_to(self, sums: Array, weights: Array | None) -> None:
        """Add the piece's share to the rectangles' sums, and forget it."""
        if self.found is not None:
            place, share, weight = self.found
            sums[self.number][place] += share
            if weights is not None:
                weights[self.number][place] += weight
            self.found = None
