"""Tiles of slides in batches: whose they are, and the objects that they become."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import SlideObject
from dicom_ml.bridge.tensors import torch
from dicom_ml.bridge.tiles import TILE_GRID_KEY, TILE_POSITION_KEY, TileGrid
from dicom_ml.callbacks.predictions import handles_of_batch
from dicom_ml.errors import DicomMLError, EncodingError
from dicom_ml.objects.iod import validated
from dicom_ml.source import SourceSeries

__all__ = ["SlideResults", "Tile", "is_tiles", "tiles_of_batch"]

#: Slides whose files are held open at once.
_OPEN = 16


class Tile(NamedTuple):
    """A tile of a batch: its slide, how it was cut, and its first pixel."""

    handle: str
    grid: str
    row: int
    column: int


def is_tiles(batch: Any) -> bool:
    """Whether a batch holds tiles of slides."""
    return isinstance(batch, Mapping) and TILE_GRID_KEY in batch and TILE_POSITION_KEY in batch


def tiles_of_batch(batch: Mapping[str, Any], image_key: str) -> list[Tile]:
    """What a batch says of its tiles.

    Raises
    ------
    EncodingError
        If it does not say it of each.
    """
    handles = handles_of_batch(batch, image_key)
    grids = batch[TILE_GRID_KEY]
    grids = [grids] if isinstance(grids, str) else list(grids)
    places = batch[TILE_POSITION_KEY]
    if not isinstance(places, torch.Tensor):
        places = torch.as_tensor(np.array([[int(v) for v in place] for place in places]))
    places = places.reshape(-1, 2).tolist()
    if not len(handles) == len(grids) == len(places):
        raise EncodingError(
            f"the batch has {len(handles)} sources, {len(grids)} grids and {len(places)} positions of tiles; collate "
            "the items of TileDataset with torch's default_collate or dicom_ml.data.collate_items"
        )
    return [Tile(h, g, int(p[0]), int(p[1])) for h, g, p in zip(handles, grids, places, strict=True)]


class SlideResults:
    """The objects that one process, of several perhaps, has tiles of.

    Parameters
    ----------
    make : callable
        Gives the object of a slide, under way, for its source, the grid of its tiles, and the name of this process.
    folder : path
        Where objects go.
    rank, world_size : int
    resume : bool
        Take what an earlier run finished as it is.
    validate : bool
        Whether objects are checked before they take their names.
    """

    def __init__(
        self,
        make: Callable[[SourceSeries, TileGrid, str], SlideObject],
        folder: str | os.PathLike[str],
        *,
        rank: int = 0,
        world_size: int = 1,
        resume: bool = True,
        validate: bool = True,
    ) -> None:
        self.make = make
        self.folder = Path(folder)
        self.rank = rank
        self.world_size = world_size
        self.resume = resume
        self.validate = validate
        self._sources: dict[str, SourceSeries] = {}
        self._results: OrderedDict[tuple[str, str], SlideObject] = OrderedDict()
        self._finished: dict[tuple[str, str], Written | None] = {}

        #: Slides on which nothing was found, of kinds of objects that cannot say so.
        self.empty: list[str] = []

    def clear(self) -> None:
        """Remove what unfinished runs left in the folder."""
        import shutil

        for pattern in (".*.tiles", ".*.parts"):
            for folder in self.folder.glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)

    def source(self, handle: str) -> SourceSeries:
        """The slide that a handle names."""
        if handle not in self._sources:
            self._sources[handle] = SourceSeries.from_string(handle)
        return self._sources[handle]

    def _result(self, handle: str, grid: str) -> SlideObject:
        key = handle, grid
        found = self._results.get(key)
        if found is None:
            made = self.make(self.source(handle), TileGrid.from_string(grid), str(self.rank))
            found = self._results[key] = made
            if self.resume and (written := found.existing()) is not None:
                self._finished[key] = written
                found.discard()  # what a run left that was killed just then
        self._results.move_to_end(key)
        if not found.is_open:
            opened = [one for one in self._results.values() if one.is_open]
            for one in opened[: max(0, len(opened) - _OPEN + 1)]:
                one.close()
        return found

    def has(self, tile: Tile) -> bool:
        """Whether the prediction of a tile is known."""
        result = self._result(tile.handle, tile.grid)
        return (tile.handle, tile.grid) in self._finished or result.has(tile.row, tile.column)

    def put(self, tile: Tile, pred: Any) -> None:
        """Add the prediction of a tile."""
        self._result(tile.handle, tile.grid).put(tile.row, tile.column, pred)

    # ------------------------------------------------------------------ the end
    def finish_complete(self, tiles: Sequence[Tile]) -> list[Written]:
        """Finish the slides of these tiles that are complete; with several processes that waits for the end.

        Another process may hold tiles of the slide as well, repeated by its sampler.
        """
        done = []
        for key in dict.fromkeys((tile.handle, tile.grid) for tile in tiles):
            result = self._result(*key)
            if key in self._finished:
                done.append(self._finished[key])
            elif self.world_size == 1 and result.complete:
                done.append(self._finish(key))
        return [written for written in done if written is not None]

    def _finish(self, key: tuple[str, str]) -> Written | None:
        """Finish an object; None where it came to nothing."""
        result = self._results[key]
        with validated(result.source, self.validate):
            written = self._finished[key] = result.finish()
        if written is None:
            self.empty.append(self._results[key].source.series_instance_uid)
        return written

    def finish_all(
        self, incomplete: bool
    ) -> tuple[list[Written], list[tuple[str, int, int]], list[tuple[str, Exception]]]:
        """Finish what is left, each slide by one of the processes; all of them call this, after a barrier.

        Parameters
        ----------
        incomplete : bool
            Write slides of which tiles are missing.

        Returns
        -------
        written : list of Written
            What this process wrote.
        short : list of (str, int, int)
            Series Instance UID, tiles known and tiles wanted of slides that are not complete.
        failed : list of (str, Exception)
            Series Instance UID, and why it could not be written. Nothing is raised, since other processes wait.
        """
        done: list[Written] = []
        short: list[tuple[str, int, int]] = []
        failed: list[tuple[str, Exception]] = []
        left = _of_all([key for key in self._results if key not in self._finished])
        for handle, grid in left[self.rank :: self.world_size]:
            result = self._result(handle, grid)
            uid = result.source.series_instance_uid
            try:
                result.refresh()
                if result.complete or (incomplete and result.count):
                    written = self._finish((handle, grid))
                    done += [] if written is None else [written]
                else:
                    short.append((uid, result.count, result.grid.count))
            except (DicomMLError, OSError) as error:
                failed.append((uid, error))
            result.close()
        return done, short, failed

    def close(self) -> None:
        """Let go of all files; what is there stays."""
        for result in self._results.values():
            result.close()


def _of_all(keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The keys of all processes, each once, in one order."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        every: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(every, keys)
        keys = [key for one in every for key in one]
    return sorted(set(keys))
