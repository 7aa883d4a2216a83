"""Predictions of a slide's tiles become one object, in whatever order and from however many processes they come.

What is known so far waits on disk, beside the target, each tile once; so a run that was killed goes on, memory stays
bounded, and the object does not depend on who predicted which tile, or when. There are three ways, told apart by the
first prediction:

- tiles side by side, a value a pixel: each is encoded at once as a frame of the object (a tile stream);
- tiles that overlap, or predictions coarser than the tiles' pixels: they are kept as numbers, and blended at the end;
- one value (or vector) a tile: the object is a coarse matrix whose pixels are the tiles.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.blending import WINDOWS, blended_frames
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import ObjectOutput, SlideObject
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.encoding.spool import FrameSpool
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.source import SourceSeries

__all__ = ["TileOutput", "TileResult"]

Array = npt.NDArray[Any]
Cell = tuple[int, int]


class TileOutput(ObjectOutput, Protocol):
    """What writes the object: :class:`~dicom_ml.bridge.output.SegmentationOutput` or its like of maps."""

    spool_type: str
    options: Any

    def tile(self, array: Array) -> Array:
        """What a stream takes of a decided prediction ``(C, rows, columns)``."""

    def needs_bytes(self) -> bool:
        """Whether frames must have a multiple of 8 pixels."""

    def stream(self, path: Path, source: SourceSeries, uids: Written, shard: str, **place: Any) -> Any:
        """A stream of tiles."""

    def whole(self, array: Array, path: Path, source: SourceSeries, uids: Written, **place: Any) -> None:
        """Write a whole matrix."""


class TileResult(SlideObject):
    """One slide's object under way.

    Parameters
    ----------
    output : TileOutput
    source, grid, target, model, shard, named
        As of :class:`~dicom_ml.bridge.slide_object.SlideObject`.
    decide : callable
        From a prediction ``(C, rows, columns)`` to a mask or map of the same axes.
    window : str
        How overlapping tiles are weighted; see :func:`dicom_ml.bridge.blending.window_weights`.
    """

    output: TileOutput

    def __init__(
        self,
        output: TileOutput,
        source: SourceSeries,
        grid: TileGrid,
        target: str | os.PathLike[str],
        model: str,
        decide: Callable[[Array], Array],
        *,
        shard: str = "0",
        window: str = "hann",
        named: bool = True,
    ) -> None:
        if window not in WINDOWS:
            raise EncodingError(f"window is one of {', '.join(WINDOWS)}, found {window!r}")
        how = window if grid.overlaps else ""
        super().__init__(output, source, grid, target, model, how, shard=shard, named=named)
        self.decide = decide
        self.window = window
        self._tiles_folder = self.path.with_name(f".{self.path.name[:100]}.tiles")
        self._stream: Any = None
        self._parts: FrameSpool | None = None
        self._plan: dict[str, Any] = {}
        self._count = 0

    # ------------------------------------------------------------------ what is there
    @property
    def is_open(self) -> bool:
        """Whether files are held open."""
        return self._stream is not None or self._parts is not None

    def _open(self) -> bool:
        """Open what an earlier run, or this one, has begun; whether there was any."""
        if self.is_open:
            return True
        plan = self._parts_folder / "plan.json"
        if plan.is_file():
            self._plan = json.loads(plan.read_text())
            self._open_parts()
        elif (self._tiles_folder / "plan.json").is_file():
            self._open_stream()
        return self.is_open

    def _open_parts(self) -> None:
        if self._plan.get("sop_instance_uid") != self.uids.sop_instance_uid:
            raise EncodingError(
                f"{self._parts_folder} holds predictions for another object; remove it, or write elsewhere"
            )
        self._parts = FrameSpool(self._parts_folder, self._plan, self.shard)
        self._count = len(self._parts)

    def _open_stream(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._made_stream((1, 1), self.grid.tile, self.shard)
        self._count = self._stream.count

    def _made_stream(self, factor: Cell, frame: Cell, shard: str) -> Any:
        place: dict[str, Any] = {"tile_size": frame}
        if factor == (1, 1) and self.grid.level is not None:
            place["level"] = self.grid.level
        else:
            matrix = self.grid.reduced(factor)
            place |= {"shape": matrix.shape[1:], "affine": matrix.affine}
        return self.output.stream(self.path, self.source, self.uids, shard, **place)

    def has(self, row: int, column: int) -> bool:
        """Whether the prediction of the tile that begins at a pixel of the grid is there already."""
        cell = self.grid.cell(row, column)
        if not self._open():
            return False
        if self._parts is not None:
            return (0, 0, *cell) in self._parts
        return bool(self._stream.has(row, column))

    def refresh(self) -> None:
        """Look again at what other processes have added."""
        if not self._open():
            return
        if self._parts is not None:
            self._parts.refresh()
            self._count = len(self._parts)
        else:
            self._stream.refresh()
            self._count = self._stream.count

    @property
    def count(self) -> int:
        """Tiles that are there, as far as this process knows."""
        return self._count

    # ------------------------------------------------------------------ tiles
    def put(self, row: int, column: int, pred: Array) -> bool:
        """Add the prediction of the tile that begins at a pixel of the grid.

        Parameters
        ----------
        row, column : int
        pred : ndarray of shape (C, rows, columns), or (C,)
            A value a pixel, or one for the tile.

        Returns
        -------
        bool
            Whether it was new.

        Raises
        ------
        GeometryError
            If no tile begins there, or pixels of the prediction are no multiples of the tile's.
        EncodingError
            If it is not like the others, or its values do not fit the object.
        """
        cell = self.grid.cell(row, column)
        if pred.ndim == 3 and pred.shape[1:] == (1, 1) and self.grid.tile != (1, 1):
            pred = pred[:, 0, 0]
        if not self._open():
            self._begin(pred)
        if self._stream is not None:
            if pred.shape[1:] != self.grid.tile:
                raise EncodingError(f"the prediction is {pred.shape[1:]}, those before were {self.grid.tile}")
            new = bool(self._stream.put(row, column, self.output.tile(self.decide(pred))))
        else:
            assert self._parts is not None
            new = self._parts.put((0, 0, *cell), self._packed(pred))
        self._count += new
        return new

    def _begin(self, pred: Array) -> None:
        """Settle, by the first prediction, how the object is made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if pred.ndim == 1:
            form = "value"
        elif pred.ndim == 3:
            form = "dense"
            factor = self._factor((int(pred.shape[1]), int(pred.shape[2])))
            area = self.grid.tile[0] * self.grid.tile[1]
            wanted = tuple(self.output.options.get("tile_size") or self.grid.tile)
            whole_bytes = area % 8 == 0 or not self.output.needs_bytes()
            if factor == (1, 1) and not self.grid.overlaps and whole_bytes and wanted == self.grid.tile:
                self._open_stream()
                return
            if self.grid.overlaps and pred.dtype.kind != "f":
                raise EncodingError(
                    "tiles overlap, and numbers of classes have no mean: return probabilities or logits"
                )
        else:
            raise EncodingError(f"the prediction of a tile is (C, rows, columns) or (C,), found shape {pred.shape}")
        floats = "<f4" if form == "value" else self.output.spool_type
        dtype = floats if pred.dtype.kind == "f" else "<i4" if pred.dtype.kind in "iu" else "|u1"
        self._plan = {
            "object": "predictions of tiles",
            "form": form,
            "shape": list(pred.shape),
            "dtype": dtype,
            "boolean": pred.dtype.kind == "b",
            "sop_instance_uid": self.uids.sop_instance_uid,
        }
        self._open_parts()

    def _factor(self, size: Cell) -> Cell:
        """Rows and columns of the tile's pixels that one of a prediction covers."""
        tile, stride = self.grid.tile, self.grid.stride
        found = tile[0] // size[0], tile[1] // size[1]
        if any(t != f * n or s % f for t, f, n, s in zip(tile, found, size, stride, strict=True) if f) or not all(
            found
        ):
            raise GeometryError(
                f"the prediction is {size} pixels for a tile of {tile}, one every {stride}: its pixels have to be "
                "whole multiples of the tile's, and a whole number of them must lie between two tiles"
            )
        return found

    def _packed(self, pred: Array) -> bytes:
        if list(pred.shape) != self._plan["shape"]:
            raise EncodingError(f"the prediction has shape {pred.shape}, those before {tuple(self._plan['shape'])}")
        dtype = np.dtype(self._plan["dtype"])
        if pred.dtype.kind == "f":
            if not np.isfinite(pred).all():
                raise EncodingError("the prediction holds values that are not finite")
            limit = float(np.finfo(dtype).max)
            pred = np.clip(pred, -limit, limit)
        values = np.ascontiguousarray(pred, dtype=dtype)
        if values.ndim == 3:
            flat = values.reshape(len(values), -1)
            if (flat == flat[:, :1]).all():
                return flat[:, 0].tobytes()  # a tile of background, say: one number a channel
        return values.tobytes()

    def _unpacked(self, data: bytes) -> Array:
        shape = self._plan["shape"]
        values = np.frombuffer(data, dtype=self._plan["dtype"])
        if len(values) == shape[0] and len(shape) == 3:
            values = np.broadcast_to(values[:, None, None], shape)
        return values.reshape(shape)

    # ------------------------------------------------------------------ the end
    def finish(self) -> Written:
        """Write the object of the tiles that are there, and remove what was kept for it."""
        self.refresh()
        if self._stream is not None:
            self._stream.finish()
        elif self._parts is not None:
            if self._plan["form"] == "value":
                self._finish_values(self._parts)
            else:
                self._finish_dense(self._parts)
            self._parts.remove()
        else:
            raise EncodingError(f"no tile of slide {self.source.series_instance_uid} was predicted")
        self._stream = self._parts = None
        return self.uids

    def _typed(self, values: Array) -> Array:
        return values.astype(bool) if self._plan["boolean"] else values

    def _finish_dense(self, parts: FrameSpool) -> None:
        channels, height, width = self._plan["shape"]
        factor = self._factor((height, width))
        matrix = self.grid.reduced(factor)
        frame = self._frame(matrix)
        stream = self._made_stream(factor, frame, "blended")
        floats = np.dtype(self._plan["dtype"]).kind == "f"

        def read(cell: Cell) -> Array:
            return self._unpacked(next(iter(parts.frames([(0, 0, *cell)]))))

        frames = blended_frames(
            read,
            [(key[2], key[3]) for key in parts.listed()],
            tile=(height, width),
            stride=(self.grid.stride[0] // factor[0], self.grid.stride[1] // factor[1]),
            shape=matrix.shape[1:],
            frame=frame,
            window=self.window,
        )
        for row, column, values, covered in frames:
            if stream.has(row, column):
                continue  # of a run that was killed while it blended
            decided = self.output.tile(self.decide(values if floats else self._typed(values.astype(np.int32))))
            stream.put(row, column, decided if covered.all() else np.where(covered, decided, decided.dtype.type(0)))
        stream.finish()

    def _frame(self, matrix: Grid) -> Cell:
        chosen = self.output.options.get("tile_size")
        if chosen is None:
            own = next((d.tile_size for d in self.source.levels if d.grid == matrix), (256, 256))
            chosen = own if own[0] * own[1] % 8 == 0 or not self.output.needs_bytes() else (256, 256)
        return int(chosen[0]), int(chosen[1])

    def _finish_values(self, parts: FrameSpool) -> None:
        matrix = self.grid.coarse
        rows, columns = matrix.shape[1:]
        keys = parts.listed()
        values = np.stack([self._unpacked(data) for data in parts.frames(keys)], axis=1)
        cells = np.array(keys, dtype=np.intp)[:, 2:]
        array = np.zeros((len(values), rows, columns), dtype=values.dtype)
        array[:, cells[:, 0], cells[:, 1]] = values
        present = np.zeros((rows, columns), dtype=bool)
        present[cells[:, 0], cells[:, 1]] = True
        decided = self.output.tile(self.decide(self._typed(array)))
        absent = np.nan if self.output.options.get("padding") is not None else decided.dtype.type(0)
        decided = np.where(present, decided, absent).astype(decided.dtype, copy=False)
        size = self.output.options.get("tile_size") or (min(256, rows), min(256, -(-columns // 8) * 8))
        self.output.whole(decided, self.path, self.source, self.uids, affine=matrix.affine, tile_size=size)

    def close(self) -> None:
        """Let go of files; what is there stays, and is opened again when it is needed."""
        if self._stream is not None:
            self._stream.close()
        if self._parts is not None:
            self._parts.close()
        self._stream = self._parts = None

    def discard(self) -> None:
        """Remove what is kept of an object that is not finished."""
        self.close()
        self._count = 0
        shutil.rmtree(self._parts_folder, ignore_errors=True)
        shutil.rmtree(self._tiles_folder, ignore_errors=True)
