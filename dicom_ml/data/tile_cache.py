"""Decoded tiles on disk, shared by all workers and later runs: one sparse file a slide."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.reading.slides import Slide

__all__ = ["TileCache"]

#: Another number makes tiles that an older version kept be read anew.
_FORMAT = 1


class TileCache:
    """A folder of decoded tiles.

    A slide's tiles lie one after the other in ``<digest>.tiles``, their checksums in ``<digest>.sums``: a tile that
    another process has half written, or that a crash has torn, is read anew. The digest stands for the slide's
    instances and the way the tiles are cut. The folder holds the slides' pixels, so it is to be kept like them.
    """

    def __init__(
        self, folder: str, slides: Sequence[Slide], grids: Sequence[TileGrid], slide_index: npt.NDArray[Any]
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._names = [_digest(slide, grid) for slide, grid in zip(slides, grids, strict=True)]
        self._shapes = [
            (grid.count, *grid.tile, *((slide.samples,) if slide.samples > 1 else ()))
            for slide, grid in zip(slides, grids, strict=True)
        ]
        self._types = [slide.dtype.str for slide in slides]
        self._slide_index = slide_index
        self._starts = np.searchsorted(slide_index, np.arange(len(slides)))
        self._maps: dict[int, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}

    def _open(self, s: int) -> tuple[Any, Any]:
        if s not in self._maps:
            tiles, sums = (self.folder / f"{self._names[s]}.{name}" for name in ("tiles", "sums"))
            shape, dtype = self._shapes[s], np.dtype(self._types[s])
            _sized(tiles, int(np.prod(shape)) * dtype.itemsize)
            _sized(sums, 8 * shape[0])
            self._maps[s] = np.memmap(tiles, dtype, "r+", shape=shape), np.memmap(sums, "<u8", "r+", shape=shape[:1])
        return self._maps[s]

    def get(self, index: int) -> npt.NDArray[Any] | None:
        """A tile, by its number in the dataset; None where it is not there."""
        s = int(self._slide_index[index])
        tiles, sums = self._open(s)
        at = index - int(self._starts[s])
        said = int(sums[at])
        if not said:
            return None
        tile = np.array(tiles[at])
        return tile if _sum(tile) == said else None

    def put(self, index: int, tile: npt.NDArray[Any]) -> None:
        """Keep a tile."""
        s = int(self._slide_index[index])
        tiles, sums = self._open(s)
        at = index - int(self._starts[s])
        tiles[at] = tile
        sums[at] = _sum(tile)


def _sum(tile: npt.NDArray[Any]) -> int:
    """A checksum that is never 0."""
    return zlib.crc32(np.ascontiguousarray(tile).data) | 1 << 32


def _sized(path: Path, size: int) -> None:
    """A file of a size: made, or left alone where it is there. Nothing is written, so disks keep only what is used."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_size != size:
            os.ftruncate(handle, size)
    finally:
        os.close(handle)


def _digest(slide: Slide, grid: TileGrid) -> str:
    instances = [uid for level in slide.levels for uid in level.sop_instance_uids]
    parts = repr([slide.source.series_instance_uid, instances, grid.to_string(), slide.dtype.str, _FORMAT])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
