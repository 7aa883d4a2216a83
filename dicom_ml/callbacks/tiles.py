"""Tiles of slides in batches: whose they are, and the objects that they become."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import torch
from dicom_ml.bridge.tile_results import TileOutput, TileResult
from dicom_ml.bridge.tiles import TILE_GRID_KEY, TILE_POSITION_KEY, TileGrid
from dicom_ml.callbacks.predictions import handles_of_batch
from dicom_ml.errors import DicomMLError, EncodingError
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
    output : TileOutput
    folder : path
    model : str
    decide : callable
        See :class:`~dicom_ml.bridge.tile_results.TileResult`.
    rank, world_size : int
    window : str
    resume : bool
        Take what an earlier run finished as it is.
    """

    def __init__(
        self,
        output: TileOutput,
        folder: str | os.PathLike[str],
        model: str,
        decide: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        *,
        rank: int = 0,
        world_size: int = 1,
        window: str = "hann",
        resume: bool = True,
    ) -> None:
        self.output = output
        self.folder = Path(folder)
        self.model = model
        self.decide = decide
        self.rank = rank
        self.world_size = world_size
        self.window = window
        self.resume = resume
        self._sources: dict[str, SourceSeries] = {}
        self._results: OrderedDict[tuple[str, str], TileResult] = OrderedDict()
        self._finished: dict[tuple[str, str], Written] = {}

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

    def _result(self, handle: str, grid: str) -> TileResult:
        key = handle, grid
        found = self._results.get(key)
        if found is None:
            found = self._results[key] = TileResult(
                self.output,
                self.source(handle),
                TileGrid.from_string(grid),
                self.folder,
                self.model,
                self.decide,
                shard=str(self.rank),
                window=self.window,
            )
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

    def put(self, tile: Tile, pred: npt.NDArray[Any]) -> None:
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
        return done

    def _finish(self, key: tuple[str, str]) -> Written:
        written = self._finished[key] = self._results[key].finish()
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
                    done.append(self._finish((handle, grid)))
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
