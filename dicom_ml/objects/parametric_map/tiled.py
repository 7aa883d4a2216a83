"""Parametric maps of slides: streamed tile by tile, made from whole arrays, read by region (PS3.3 A.75, C.7.6.17.3)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated
from dicom_ml.encoding.spool import Key
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames, file_head
from dicom_ml.errors import EncodingError
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    declare_characters,
    header_bytes,
)
from dicom_ml.objects.parametric_map.header import (
    BY_QUANTITY,
    add_map_groups,
    add_map_image,
    check_syntax,
    mapping_elements,
    pixel_element,
)
from dicom_ml.objects.parametric_map.reading import MappedFrames
from dicom_ml.objects.parametric_map.values import Quantity, Storage, store
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.objects.stored_tiles import StoredTiles
from dicom_ml.objects.tile_stream import TileStream
from dicom_ml.objects.tiling import (
    BY_COLUMN,
    BY_ROW,
    Tiling,
    add_matrix,
    instances_of,
    matrix_groups,
    tile_frame_groups,
)
from dicom_ml.source import SourceSeries

__all__ = ["MadeTiledMap", "MapStream", "StoredTiledMap", "TiledMap"]

Array = npt.NDArray[Any]


@dataclass(eq=False)
class TiledMap:
    """What a tiled parametric map is, whether it is made from a whole array or from tiles.

    ``full`` says whether all tiles are written. Each then still states its place, since TILED_FULL is defined for
    images and segmentations only (PS3.3 C.7.6.17.3).
    """

    source: SourceSeries
    quantities: list[Quantity]
    storage: Storage
    description: Description
    derivation: Code
    qualification: str
    tiling: Tiling
    full: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.tiling.tile[0] * self.tiling.tile[1] * self.storage.dtype.itemsize

    def pack(self, stored: Array, syntax: str) -> bytes:
        """Bytes of a frame of stored values."""
        if not is_encapsulated(syntax):
            return stored.tobytes()
        rows, columns = self.tiling.tile
        bits = 8 * self.storage.dtype.itemsize
        return encode_frame(stored, FrameInfo(rows, columns, bits_allocated=bits, transfer_syntax_uid=syntax))

    def head(self, syntax: str, channel_of: Array, row_of: Array, column_of: Array, storage: Storage) -> bytes:
        """The file up to its pixel data, of the frames given by channel, tile row and tile column."""
        if storage.is_float:
            # what pads edge tiles, and what tiles that never came hold, is zero, and must lie in the mapped range
            low, high = (min(0.0, v) for v in storage.first), (max(0.0, v) for v in storage.last)
            storage = replace(storage, first=tuple(low), last=tuple(high))
        ds = copied_dataset(self.source)
        add_series(ds, self.source, self.description, self.source.modality or "OT")
        add_map_image(ds, storage, self.qualification, len(channel_of))
        add_matrix(ds, self.tiling, full=False)
        several = len(self.quantities) > 1
        add_dimensions(ds, self.description, [BY_QUANTITY, BY_COLUMN, BY_ROW] if several else [BY_COLUMN, BY_ROW])
        groups = matrix_groups(self.source, self.tiling, self.derivation)
        add_map_groups(groups, self.quantities, storage)
        ds.SharedFunctionalGroupsSequence = [groups]
        declare_characters(ds)
        identities = mapping_elements(self.quantities, storage) if several else []
        frames = tile_frame_groups(self.tiling, channel_of, row_of, column_of, identities)
        start = file_head(sop.PARAMETRIC_MAP, self.description.sop_instance_uid, syntax)
        return start + header_bytes(ds, self.source, instances_of(self.source, self.tiling.grid)) + frames


# ---------------------------------------------------------------------- streamed
class MapStream(TileStream):
    """A parametric map that is written tile by tile; made by :meth:`ParametricMap.stream`."""

    def __init__(self, path: str | os.PathLike[str], made: TiledMap, syntax: str, shard: str = "0") -> None:
        check_syntax(made.storage, syntax)
        self._made = made
        plan = {
            "object": "parametric map",
            "quantities": [repr(q) for q in made.quantities],
            "storage": [made.storage.dtype.name, made.storage.slope, made.storage.intercept],
            "sop_instance_uid": made.description.sop_instance_uid,
            "series_instance_uid": made.description.series_instance_uid,
        }
        super().__init__(path, made.tiling, len(made.quantities), made.full, syntax, plan, shard)

    def check(self, tile: Array) -> Array:
        """Channels of finite numbers within the range of what is stored."""
        count, storage = len(self._made.quantities), self._made.storage
        tile = tile[None] if tile.ndim == 2 else tile
        if tile.ndim != 3 or tile.shape[0] != count:
            raise EncodingError(f"a tile is (rows, columns) or ({count}, rows, columns), found {tile.shape}")
        low, high = float(tile.min()), float(tile.max())
        if not np.isfinite([low, high]).all():
            raise EncodingError("the tile holds values that are not finite numbers; replace them")
        if not storage.is_float:
            bottom = storage.intercept[0]
            top = bottom + storage.slope[0] * storage.last[0]
            margin = storage.slope[0]
            if low < bottom - margin or high > top + margin:
                raise EncodingError(f"values from {low:.6g} to {high:.6g} pass value_range {bottom:.6g} to {top:.6g}")
        return tile

    def split(self, tile: Array) -> Iterator[tuple[int, Array]]:
        """Every channel."""
        yield from enumerate(tile)

    def encode(self, tile: Array, channel: int) -> bytes | None:
        """Bytes of a frame; None where it is zero throughout."""
        if not tile.any():
            return None
        return self._made.pack(store(tile, self._made.storage, channel), self.syntax)

    def note(self, tile: Array) -> bytes:
        """Lowest and highest value of each channel: a map of floats says its range when it is finished."""
        return b"".join(struct.pack("<dd", float(c.min()), float(c.max())) for c in tile)

    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self._made.frame_bytes

    def empty(self, channel: int) -> bytes:
        """Bytes of a frame whose values are zero."""
        zero = np.zeros(self._made.tiling.tile, dtype=np.float32)
        return self._made.pack(store(zero, self._made.storage, channel), self.syntax)

    def pixel_element(self) -> tuple[int, str]:
        """Pixel Data, Float Pixel Data or Double Float Pixel Data."""
        return pixel_element(self._made.storage)

    def head(self, keys: list[Key]) -> bytes:
        """The file up to its pixel data."""
        table = np.array(keys, dtype=np.intp).reshape(-1, 4)
        return self._made.head(self.syntax, table[:, 0], table[:, 2], table[:, 3], self._ranged())

    def _ranged(self) -> Storage:
        storage = self._made.storage
        notes = [note for note in self.notes() if note]
        if not storage.is_float or not notes:
            return storage
        values = np.frombuffer(b"".join(notes), "<f8").reshape(-1, self.channels, 2)
        low, high = values[..., 0].min(axis=0), values[..., 1].max(axis=0)
        return replace(storage, first=tuple(low.tolist()), last=tuple(high.tolist()))


# ---------------------------------------------------------------------- from a whole array
class MadeTiledMap:
    """A parametric map of a slide made from a whole array ``(C, H, W)``, encoded only when it is written."""

    def __init__(self, values: Array, made: TiledMap) -> None:
        self.values = values
        self.made = made
        self.grid = made.tiling.grid
        self.quantities = made.quantities
        self.sop_instance_uid = made.description.sop_instance_uid
        self.series_instance_uid = made.description.series_instance_uid
        self.frame_of_reference_uid = made.source.frame_of_reference_uid
        self.referenced_series = {made.source.series_instance_uid: list(instances_of(made.source, self.grid))}
        rows, columns = made.tiling.counts
        presence = np.ones((len(values), rows, columns), dtype=bool)
        if not made.full:
            for c in range(len(values)):
                for r in range(rows):
                    presence[c, r] = [self._tile(c, r, k).any() for k in range(columns)]
            presence[0, 0, 0] |= not presence.any()
        self.channel_of, self.row_of, self.column_of = (np.asarray(a, dtype=np.intp) for a in np.nonzero(presence))
        self.frame_count = len(self.channel_of)

    def _tile(self, channel: int, row: int, column: int) -> Array:
        height, width = self.made.tiling.tile
        return self.values[channel, row * height : (row + 1) * height, column * width : (column + 1) * width]

    def _frame(self, i: int) -> Array:
        channel, row, column = int(self.channel_of[i]), int(self.row_of[i]), int(self.column_of[i])
        height, width = self.made.tiling.tile
        padded = self.made.tiling.pad(self._tile(channel, row, column), row * height, column * width)
        return store(padded, self.made.storage, channel)

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        made = self.made
        check_syntax(made.storage, syntax)
        file.write(made.head(syntax, self.channel_of, self.row_of, self.column_of, made.storage))
        count = self.frame_count
        if is_encapsulated(syntax):
            sink = EncapsulatedFrames(file, count, extended=count * made.frame_bytes > EXTENDED_FROM)
            for data in encode_ahead(lambda frame: made.pack(frame, syntax), (self._frame(i) for i in range(count))):
                sink.append(data)
            sink.close()
            return
        tag, vr = pixel_element(made.storage)
        native = NativeFrames(file, vr, made.frame_bytes * count, tag)
        for i in range(count):
            native.write(i * made.frame_bytes, np.ascontiguousarray(self._frame(i)).data)
        native.close()


# ---------------------------------------------------------------------- read
class StoredTiledMap(MappedFrames, StoredTiles):
    """A parametric map of a slide seen through its bytes."""

    noun = "parametric map"
    wanted = StoredTiles.wanted

    def _channel_count(self) -> int:
        return len(self.mappings)

    def values_of(self, region: tuple[int, int, int, int], chosen: Sequence[int], fill: float) -> Array:
        """Real values ``(C, rows, columns)`` of a region."""
        index = self.frames
        double = index.info.is_float and index.info.bits_allocated == 64
        out = np.full((len(chosen), *region[2:]), fill, dtype=np.float64 if double else np.float32)
        place = {c: i for i, c in enumerate(chosen)}

        def copy(i: int, where: tuple[slice, slice], stored: Array) -> None:
            channel = int(self.channel_of[i])
            out[place[channel]][where] = self.real(channel, stored)

        self.each(region, np.flatnonzero(np.isin(self.channel_of, list(chosen))), copy)
        return out
