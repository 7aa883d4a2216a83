"""Items found on a slide's tiles (boxes, outlines, classes), kept tile by tile until their object is written.

Each tile's items wait on disk as a few flat arrays, as tiles of masks do: so a run that was killed goes on, several
processes feed one object, and memory holds one tile at a time. Which items count where tiles overlap is settled at the
end, when all are there; so the object does not depend on who predicted which tile, or when.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.duplicates import TileItems
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import ObjectOutput, SlideObject
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.encoding.spool import FrameSpool
from dicom_ml.errors import EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["ItemOutput", "ItemResult", "Records", "TileRecords", "packed", "tile_reader", "unpacked"]

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Cell = tuple[int, int]


def packed(arrays: Arrays) -> bytes:
    """Named arrays as bytes."""
    whole = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    head = json.dumps([[name, a.dtype.str, list(a.shape)] for name, a in whole.items()]).encode()
    return b"".join([struct.pack("<I", len(head)), head, *(a.tobytes() for a in whole.values())])


def unpacked(data: bytes, only: tuple[str, ...] = ()) -> dict[str, Array]:
    """The arrays of :func:`packed`; with ``only``, those of these names, as copies."""
    (length,) = struct.unpack_from("<I", data)
    place = 4 + length
    found = {}
    for name, dtype, shape in json.loads(data[4:place]):
        count = math.prod(shape)
        if not only or name in only:
            array = np.frombuffer(data, dtype, count, place).reshape(shape)
            found[name] = array.copy() if only else array
        place += count * np.dtype(dtype).itemsize
    return found


class TileRecords:
    """What is kept of each tile, read as it is asked for."""

    def __init__(self, parts: FrameSpool) -> None:
        self._parts = parts
        self.cells: list[Cell] = [(key[2], key[3]) for key in parts.listed()]

    def read(self, cell: Cell, only: tuple[str, ...] = ()) -> dict[str, Array]:
        """The arrays of a tile."""
        return unpacked(next(iter(self._parts.frames([(0, 0, *cell)]))), only)

    def __iter__(self) -> Iterator[tuple[Cell, dict[str, Array]]]:
        """All tiles, row by row."""
        frames = self._parts.frames([(0, 0, *cell) for cell in self.cells])
        for cell, data in zip(self.cells, frames, strict=True):
            yield cell, unpacked(data)


class Records(Protocol):
    """Arrays by tile, as :class:`TileRecords` gives them."""

    cells: list[Cell]

    def read(self, cell: Cell, only: tuple[str, ...] = ()) -> dict[str, Array]:
        """The arrays of a tile."""

    def __iter__(self) -> Iterator[tuple[Cell, dict[str, Array]]]:
        """All tiles."""


def tile_reader(records: Records) -> Callable[[Cell], TileItems]:
    """Boxes, labels and scores of tiles, for :func:`dicom_ml.bridge.duplicates.kept_items`."""

    def read(cell: Cell) -> TileItems:
        found = records.read(cell, ("boxes", "labels", "scores"))
        return found["boxes"], found["labels"], found.get("scores")

    return read


class ItemOutput(ObjectOutput, Protocol):
    """What writes an object of items."""

    def of_tile(self, pred: Any, grid: TileGrid) -> Arrays:
        """What is kept of the prediction of a tile."""

    def write_tiles(self, records: Records, grid: TileGrid, source: SourceSeries, uids: Written, folder: Path) -> bool:
        """Write the object at ``uids.path``; False where there is nothing to write. ``folder`` is for what it needs."""


class ItemResult(SlideObject):
    """One slide's object of items, under way; parameters as of its base."""

    output: ItemOutput

    def __init__(
        self,
        output: ItemOutput,
        source: SourceSeries,
        grid: TileGrid,
        target: str | os.PathLike[str],
        model: str,
        *,
        shard: str = "0",
        named: bool = True,
    ) -> None:
        super().__init__(output, source, grid, target, model, shard=shard, named=named)
        self._parts: FrameSpool | None = None
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether files are held open."""
        return self._parts is not None

    @property
    def count(self) -> int:
        """Tiles that are there, as far as this process knows."""
        return self._count

    def _open(self, begin: bool = False) -> bool:
        """Open what an earlier run, or this one, has begun; whether there was any."""
        if self._parts is not None:
            return True
        plan = self._parts_folder / "plan.json"
        if not begin and not plan.is_file():
            return False
        if plan.is_file() and json.loads(plan.read_text()).get("sop_instance_uid") != self.uids.sop_instance_uid:
            raise EncodingError(
                f"{self._parts_folder} holds predictions for another object; remove it, or write elsewhere"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = {"object": "items of tiles", "sop_instance_uid": self.uids.sop_instance_uid}
        self._parts = FrameSpool(self._parts_folder, made, self.shard)
        self._count = len(self._parts)
        return True

    def has(self, row: int, column: int) -> bool:
        """Whether the prediction of the tile that begins at a pixel of the grid is there already."""
        cell = self.grid.cell(row, column)
        return self._open() and (0, 0, *cell) in (self._parts or ())

    def refresh(self) -> None:
        """Look again at what other processes have added."""
        if self._open():
            assert self._parts is not None
            self._parts.refresh()
            self._count = len(self._parts)

    def put(self, row: int, column: int, pred: Any) -> bool:
        """Add the prediction of the tile that begins at a pixel of the grid.

        Returns
        -------
        bool
            Whether it was new.

        Raises
        ------
        GeometryError
            If no tile begins there.
        EncodingError
            If the object cannot hold it.
        """
        cell = self.grid.cell(row, column)
        kept = packed(self.output.of_tile(pred, self.grid))
        self._open(begin=True)
        assert self._parts is not None
        new = self._parts.put((0, 0, *cell), kept)
        self._count += new
        return new

    def finish(self) -> Written | None:
        """Write the object of the tiles that are there, and remove what was kept for it.

        None where nothing was found on the whole slide, and the object cannot say so.
        """
        self.refresh()
        if self._parts is None:
            raise EncodingError(f"no tile of slide {self.source.series_instance_uid} was predicted")
        folder = self._parts_folder / "assembly"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed while it wrote
        folder.mkdir()
        made = self.output.write_tiles(TileRecords(self._parts), self.grid, self.source, self.uids, folder)
        self._parts.remove()
        self._parts = None
        return self.uids if made else None

    def close(self) -> None:
        """Let go of files; what is there stays, and is opened again when it is needed."""
        if self._parts is not None:
            self._parts.close()
        self._parts = None

    def discard(self) -> None:
        """Remove what is kept of an object that is not finished."""
        self.close()
        self._count = 0
        shutil.rmtree(self._parts_folder, ignore_errors=True)
