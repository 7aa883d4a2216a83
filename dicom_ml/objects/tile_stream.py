"""Tiles that arrive in any order become one object: encoded at once, spooled to disk, put together at the end.

Memory holds a record a tile, whatever the size of the slide. A stream that is not finished leaves its spool beside the
target, and the same call opens it again with the tiles that it has. Several processes may feed one object; one of
them finishes it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy.typing as npt

from dicom_ml.encoding.codecs import is_encapsulated
from dicom_ml.encoding.spool import FrameSpool, Key
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames, atomic_file
from dicom_ml.errors import EncodingError
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.pixels import EXTENDED_FROM
from dicom_ml.objects.tiling import Tiling

__all__ = ["TileStream"]

Array = npt.NDArray[Any]
_SEEN = -1


class TileStream(ABC):
    """Base of the streams of tiled objects.

    Parameters
    ----------
    path : path
        Of the finished object.
    tiling : Tiling
    channels : int
        Frames that a tile can have: segments or quantities; 1 for label maps.
    full : bool
        Whether every tile has every frame (TILED_FULL), or only those that hold something (TILED_SPARSE).
    syntax : str
        Transfer syntax UID.
    plan : mapping
        What the object is, as JSON values, so that only the same object is ever continued.
    shard : str
        Name of this process among those that feed the object.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tiling: Tiling,
        channels: int,
        full: bool,
        syntax: str,
        plan: Mapping[str, Any],
        shard: str = "0",
    ) -> None:
        self.path = Path(path)
        self.tiling = tiling
        self.channels = channels
        self.full = full
        self.syntax = syntax
        spool = self.path.with_name(f".{self.path.name[:100]}.tiles")
        matrix = [list(tiling.shape), list(tiling.tile), [float(v).hex() for v in tiling.grid.affine.ravel()]]
        self._spool = FrameSpool(spool, {**plan, "matrix": matrix, "full": full, "syntax": syntax}, shard)
        self._check_size()

    # ------------------------------------------------------------------ what kinds of object differ in
    @abstractmethod
    def encode(self, tile: Array, channel: int) -> bytes | None:
        """Bytes of a frame of full size; None where it holds nothing and may be left out."""

    @abstractmethod
    def split(self, tile: Array) -> Iterator[tuple[int, Array]]:
        """Channel and frame of each channel that a tile holds, after :meth:`check`."""

    @abstractmethod
    def check(self, tile: Array) -> Array:
        """Refuse a tile that does not fit the object; give it with the axes that :meth:`split` takes."""

    @abstractmethod
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""

    @abstractmethod
    def empty(self, channel: int) -> bytes:
        """Bytes of a frame that holds nothing."""

    @abstractmethod
    def pixel_element(self) -> tuple[int, str]:
        """Tag and VR of native pixel data."""

    @abstractmethod
    def head(self, keys: list[Key]) -> bytes:
        """The file up to its pixel data, of frames ``(channel, 0, tile row, tile column)`` in file order."""

    def note(self, tile: Array) -> bytes:
        """What the end of the object has to know of a tile; kept with it."""
        return b""

    def notes(self) -> Iterator[bytes]:
        """What was noted of each tile."""
        return self._spool.frames(key for key in self._spool.listed() if key[0] == _SEEN)

    # ------------------------------------------------------------------ tiles
    def put(self, row: int, column: int, tile: Any) -> bool:
        """Add a tile.

        Parameters
        ----------
        row, column : int
            Its first pixel in the total pixel matrix, from 0.
        tile : numpy.ndarray or torch.Tensor
            Of full size, or cut off at the matrix's edge.

        Returns
        -------
        bool
            Whether it was new; a tile that is there already is kept as it was.

        Raises
        ------
        GeometryError
            If no tile begins there, or the tile has another size.
        EncodingError
            If its values do not fit the object.
        """
        place = self.tiling.index(int(row), int(column))
        seen: Key = (_SEEN, 0, *place)
        if seen in self._spool:
            return False
        padded = self.tiling.pad(self.check(as_array(tile)), int(row), int(column))
        frames: list[tuple[Key, bytes | memoryview]] = []
        for channel, frame in self.split(padded):
            data = self.encode(frame, channel)
            if data is not None:
                frames.append(((channel, 0, *place), data))
        # written last: a tile counts as seen when all its frames are safe
        frames.append((seen, self.note(padded)))
        return self._spool.put_all(frames)

    def has(self, row: int, column: int) -> bool:
        """Whether the tile is there already."""
        return (_SEEN, 0, *self.tiling.index(int(row), int(column))) in self._spool

    @property
    def count(self) -> int:
        """Tiles that are there."""
        return sum(1 for key in self._spool.listed() if key[0] == _SEEN)

    @property
    def missing(self) -> list[tuple[int, int]]:
        """First pixels ``(row, column)`` of the tiles that are not there yet."""
        rows, columns = self.tiling.counts
        height, width = self.tiling.tile
        return [
            (r * height, c * width) for r in range(rows) for c in range(columns) if (_SEEN, 0, r, c) not in self._spool
        ]

    def refresh(self) -> None:
        """Look again at what other processes have added."""
        self._spool.refresh()

    # ------------------------------------------------------------------ the end
    def finish(self) -> str:
        """Write the object and remove the spool; tiles that never came are empty.

        Returns
        -------
        str
            The path.
        """
        self._spool.refresh()
        keys = [key for key in self._spool.listed() if key[0] != _SEEN]
        if self.full:
            rows, columns = self.tiling.counts
            ordered = [(s, 0, r, c) for s in range(self.channels) for r in range(rows) for c in range(columns)]
        else:
            ordered = keys or [(0, 0, 0, 0)]
        with atomic_file(self.path) as file:
            file.write(self.head(ordered))
            self._write_pixels(file, ordered)
        self._spool.remove()
        return os.fspath(self.path)

    def _write_pixels(self, file: BinaryIO, keys: list[Key]) -> None:
        if is_encapsulated(self.syntax):
            sink = EncapsulatedFrames(file, len(keys), extended=len(keys) * self.frame_bytes() > EXTENDED_FROM)
            blank: dict[int, bytes] = {}
            present = self._spool.frames(key for key in keys if key in self._spool)
            for key in keys:
                if key in self._spool:
                    sink.append(next(present))
                else:
                    if key[0] not in blank:
                        blank[key[0]] = self.empty(key[0])
                    sink.append(blank[key[0]])
            sink.close()
            return
        tag, vr = self.pixel_element()
        size = self.frame_bytes()
        native = NativeFrames(file, vr, size * len(keys), tag)
        zero = [not any(self.empty(channel)) for channel in range(self.channels)]
        for i, frames in self._spool.scattered(keys):
            native.write_run(i * size, frames)
        if not all(zero):
            for i, key in enumerate(keys):
                if not zero[key[0]] and key not in self._spool:
                    native.write(i * size, self.empty(key[0]))
        native.close()

    def _check_size(self) -> None:
        """Refuse, before anything is computed, what could not be written in the end."""
        rows, columns = self.tiling.counts
        total = rows * columns * self.channels * self.frame_bytes()
        if self.full and not is_encapsulated(self.syntax) and total > 0xFFFFFFFE:
            raise EncodingError(
                f"all tiles uncompressed are {total / 2**30:.1f} GiB, and native pixel data ends at 4 GiB; pass a "
                "compression ('rle', 'deflate', 'jpeg2000', ...), or organization='sparse'"
            )

    def abandon(self) -> None:
        """Remove what was spooled; nothing is written."""
        self._spool.remove()

    def close(self) -> None:
        """Stop here; the spool stays, and the same call goes on with it."""
        self._spool.close()

    def __enter__(self) -> TileStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the object, or after an error keep the spool for another try."""
        if kind is None:
            self.finish()
        else:
            self.close()
