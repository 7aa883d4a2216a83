"""Segmentations of slides: streamed tile by tile, made from whole arrays, read by region (PS3.3 A.51, C.7.6.17.3)."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated, transfer_syntax
from dicom_ml.encoding.functional_groups import GROUP_TAGS
from dicom_ml.encoding.functional_groups import Path as TagPath
from dicom_ml.encoding.spool import Key
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.encoding.writer import (
    EncapsulatedFrames,
    NativeFrames,
    element_bytes,
    file_head,
    sequence_bytes,
)
from dicom_ml.errors import EncodingError
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    declare_characters,
    header_bytes,
)
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.objects.segmentation.descriptions import Segment
from dicom_ml.objects.segmentation.header import Coding, add_segmentation_image, add_segments
from dicom_ml.objects.segmentation.masks import any_set, held_values, label_planes
from dicom_ml.objects.segmentation.reading import SegmentedFrames
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

if TYPE_CHECKING:
    pass

__all__ = ["MadeTiledSegmentation", "SegmentationStream", "StoredTiledSegmentation", "TiledObject"]

Array = npt.NDArray[Any]
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_BY_SEGMENT = (0x0062000B, 0x0062000A, "Segment Number")


class TiledObject:
    """What a tiled segmentation is, whether it is made from a whole array or from tiles.

    Parameters
    ----------
    source : SourceSeries
    segments : list of Segment
        Numbered.
    coding : Coding
    description : Description
    tiling : Tiling
    full : bool
        TILED_FULL, else TILED_SPARSE.
    """

    def __init__(
        self,
        source: SourceSeries,
        segments: list[Segment],
        coding: Coding,
        description: Description,
        tiling: Tiling,
        full: bool,
    ) -> None:
        self.source = source
        self.segments = segments
        self.coding = coding
        self.description = description
        self.tiling = tiling
        self.full = full
        self.channels = 1 if coding.kind == "labelmap" else len(segments)
        if coding.kind == "binary" and tiling.tile[0] * tiling.tile[1] % 8:
            better = tiling.of_whole_bytes().tile
            raise EncodingError(
                f"tiles of binary segmentations have a multiple of 8 pixels, found {tiling.tile}; pass "
                f"tile_size={better}, or none"
            )

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.tiling.tile[0] * self.tiling.tile[1] * self.coding.bits // 8

    def info(self, syntax: str) -> FrameInfo:
        """How frames are encoded."""
        rows, columns = self.tiling.tile
        return FrameInfo(rows, columns, bits_allocated=self.coding.bits, transfer_syntax_uid=syntax)

    def stored(self, plane: Array) -> Array:
        """Stored values of a plane of one segment (bool or fractions) or of segment numbers."""
        kind = self.coding.kind
        if kind == "labelmap":
            return np.ascontiguousarray(plane, dtype=np.uint8 if self.coding.bits == 8 else np.dtype("<u2"))
        if kind == "binary":
            return np.asarray(plane, dtype=bool)
        if plane.dtype.kind == "f":
            return (plane * np.float32(self.coding.maximum) + np.float32(0.5)).astype(np.uint8)
        return plane.astype(np.uint8) * np.uint8(self.coding.maximum)

    def pack(self, stored: Array, syntax: str) -> bytes:
        """Bytes of a frame."""
        if is_encapsulated(syntax):
            return encode_frame(stored, self.info(syntax))
        if self.coding.kind == "binary":
            return np.packbits(stored, bitorder="little").tobytes()
        return stored.tobytes()

    def head(self, syntax: str, channel_of: Array, row_of: Array, column_of: Array) -> bytes:
        """The file up to its pixel data, of the frames given by channel, tile row and tile column."""
        ds = copied_dataset(self.source)
        ds.SOPClassUID = self.coding.sop_class_uid
        add_series(ds, self.source, self.description, "SEG")
        add_segmentation_image(ds, self.coding, len(channel_of))
        add_matrix(ds, self.tiling, self.full)
        labelmap = self.coding.kind == "labelmap"
        indices = [BY_COLUMN, BY_ROW] if labelmap else [_BY_SEGMENT, BY_COLUMN, BY_ROW]
        add_dimensions(ds, self.description, indices)
        add_segments(ds, self.source, self.segments, self.coding)
        ds.SharedFunctionalGroupsSequence = [matrix_groups(self.source, self.tiling, _SEGMENTATION)]
        declare_characters(ds)
        groups = b""
        if not self.full:
            numbers = [] if labelmap else [int(s.number or 0) for s in self.segments]
            identities = [
                sequence_bytes(0x0062000A, [element_bytes(0x0062000B, "US", struct.pack("<H", n))]) for n in numbers
            ]
            groups = tile_frame_groups(self.tiling, channel_of, row_of, column_of, identities)
        start = file_head(self.coding.sop_class_uid, self.description.sop_instance_uid, syntax)
        return start + header_bytes(ds, self.source, instances_of(self.source, self.tiling.grid)) + groups


# ---------------------------------------------------------------------- streamed
class SegmentationStream(TileStream):
    """A segmentation that is written tile by tile; made by :meth:`Segmentation.stream`.

    Tiles are label maps ``(rows, columns)`` of segment numbers, or channels ``(S, rows, columns)``.
    """

    def __init__(self, path: str | os.PathLike[str], made: TiledObject, syntax: str, shard: str = "0") -> None:
        self._made = made
        self._numbers = np.array([int(s.number or 0) for s in made.segments])
        self._channel_of = {number: channel for channel, number in enumerate(self._numbers.tolist())}
        plan = {
            "object": "segmentation",
            "kind": made.coding.kind,
            "maximum": made.coding.maximum,
            "sop_instance_uid": made.description.sop_instance_uid,
            "series_instance_uid": made.description.series_instance_uid,
            "segments": [repr(s) for s in made.segments],
        }
        super().__init__(path, made.tiling, made.channels, made.full, syntax, plan, shard)
        # a transfer syntax that cannot hold such frames is refused before anything is computed
        self._blank = made.pack(made.stored(np.zeros(made.tiling.tile, dtype=np.uint8)), syntax)

    def check(self, tile: Array) -> Array:
        """A label map or channels that fit the segments."""
        kind, count = self._made.coding.kind, len(self._numbers)
        if tile.ndim == 2 and (tile.dtype.kind == "b" or kind == "fractional"):
            tile = tile[None]
        if tile.ndim == 2:
            if tile.dtype.kind not in "iu":
                raise EncodingError(f"a tile of segment numbers holds integers, found {tile.dtype}")
            return tile
        if tile.ndim != 3 or tile.shape[0] != count:
            raise EncodingError(f"a tile is (rows, columns) or ({count}, rows, columns), found {tile.shape}")
        low, high = tile.min(), tile.max()
        if not (low >= 0 and high <= 1):
            raise EncodingError(f"channels hold fractions from 0 to 1, found {low} to {high}")
        if kind != "fractional" and tile.dtype.kind == "f" and not ((tile == 0) | (tile == 1)).all():
            raise EncodingError(f"kind={kind!r} takes 0 and 1, found fractions; decide them first (tile > 0.5)")
        return tile

    def split(self, tile: Array) -> Iterator[tuple[int, Array]]:
        """Channels that hold anything, or the label map."""
        labelmap = self._made.coding.kind == "labelmap"
        if tile.ndim == 3:
            yield from [(0, _labels_of(tile, self._numbers))] if labelmap else enumerate(tile)
            return
        planes = [] if labelmap else label_planes(tile)
        values = held_values(tile) if labelmap else [value for value, _ in planes]
        unknown = [value for value in values if value not in self._channel_of]
        if unknown:
            raise EncodingError(f"the tile holds values that no segment has: {unknown[:8]}")
        if labelmap:
            yield 0, tile
        for value, inside in planes:
            yield self._channel_of[value], inside

    def encode(self, tile: Array, channel: int) -> bytes | None:
        """Bytes of a frame; None where it is empty."""
        stored = self._made.stored(tile)
        if is_encapsulated(self.syntax) and not stored.any():
            return None  # not worth encoding
        data = self._made.pack(stored, self.syntax)
        return data if data != self._blank else None

    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self._made.frame_bytes

    def empty(self, channel: int) -> bytes:
        """Bytes of an empty frame."""
        return self._blank

    def pixel_element(self) -> tuple[int, str]:
        """Pixel Data."""
        return 0x7FE00010, "OW" if self._made.coding.bits == 16 else "OB"

    def head(self, keys: list[Key]) -> bytes:
        """The file up to its pixel data."""
        table = np.array(keys, dtype=np.intp).reshape(-1, 4)
        return self._made.head(self.syntax, table[:, 0], table[:, 2], table[:, 3])


def _labels_of(channels: Array, numbers: Array) -> Array:
    """Label map of channels that do not overlap."""
    inside = channels > 0
    if (inside.sum(axis=0) > 1).any():
        raise EncodingError(
            "channels overlap, which one number a pixel cannot say; pass kind='binary', or decide each pixel (argmax)"
        )
    out = np.zeros(channels.shape[1:], dtype=np.uint16)
    for number, channel in zip(numbers.tolist(), inside, strict=True):
        out[channel] = number
    return out


# ---------------------------------------------------------------------- from a whole array
class MadeTiledSegmentation(TiledObject):
    """A segmentation of a slide made from a whole mask, which is encoded only when it is written."""

    def __init__(
        self,
        mask: Array,
        source: SourceSeries,
        segments: list[Segment],
        coding: Coding,
        description: Description,
        tiling: Tiling,
        full: bool,
    ) -> None:
        super().__init__(source, segments, coding, description, tiling, full)
        self.mask = mask
        self.kind = coding.kind
        self.grid = tiling.grid
        self.sop_instance_uid = description.sop_instance_uid
        self.series_instance_uid = description.series_instance_uid
        self.frame_of_reference_uid = source.frame_of_reference_uid
        self.referenced_series = {source.series_instance_uid: list(instances_of(source, tiling.grid))}
        self._numbers = np.array([int(s.number or 0) for s in segments])
        self._check_values()
        presence = np.ones_like(self.presence) if full else self.presence
        if not presence.any():
            presence = np.zeros_like(presence)
            presence[0, 0, 0] = True
        self.channel_of, self.row_of, self.column_of = (np.asarray(a, dtype=np.intp) for a in np.nonzero(presence))
        self.frame_count = len(self.channel_of)

    def with_description(self, description: Description) -> MadeTiledSegmentation:
        """The same content under another description."""
        return MadeTiledSegmentation(
            self.mask, self.source, self.segments, self.coding, description, self.tiling, self.full
        )

    def _tile(self, row: int, column: int) -> Array:
        height, width = self.tiling.tile
        return self.mask[..., row * height : (row + 1) * height, column * width : (column + 1) * width]

    @cached_property
    def presence(self) -> npt.NDArray[np.bool_]:
        """Whether a tile holds anything of a channel, shape ``(C, tile rows, tile columns)``.

        Raises
        ------
        EncodingError
            If a label map holds values that no segment has.
        """
        rows, columns = self.tiling.counts
        found = np.zeros((self.channels, rows, columns), dtype=bool)
        place = {int(n): i for i, n in enumerate(self._numbers)}
        labels = self.mask.ndim == 2
        least = 0.5 / self.coding.maximum if self.mask.dtype.kind == "f" else 0
        unknown: set[int] = set()

        def look(row: int) -> None:
            for column in range(columns):
                tile = self._tile(row, column)
                if labels:
                    for value in held_values(tile):
                        if value in place:
                            found[0 if self.kind == "labelmap" else place[value], row, column] = True
                        else:
                            unknown.add(value)
                else:
                    holds = tile.max(axis=(1, 2)) > least
                    found[:, row, column] = holds.any() if self.kind == "labelmap" else holds

        parallel_for(look, range(rows), None if self.mask.size > 1 << 22 else 1)
        if unknown:
            raise EncodingError(
                f"the label map holds values that no segment has: {sorted(unknown)[:8]}; describe them with "
                "Segment(..., number=value), or set them to 0"
            )
        return found

    def _check_values(self) -> None:
        mask, kind = self.mask, self.kind
        if mask.ndim == 2:
            return
        for channel in mask:
            low, high = channel.min(), channel.max()
            if not (low >= 0 and high <= 1):
                raise EncodingError(f"channels hold fractions from 0 to 1, found {low} to {high}")
            if kind != "fractional" and mask.dtype.kind == "f" and not ((channel == 0) | (channel == 1)).all():
                raise EncodingError(f"kind={kind!r} takes 0 and 1, found fractions; decide them first (mask > 0.5)")
        if kind == "labelmap":
            self.mask = _labels_of(mask, self._numbers)

    def _plane(self, i: int) -> Array:
        tile = self._tile(int(self.row_of[i]), int(self.column_of[i]))
        if self.mask.ndim == 2:
            plane = tile if self.kind == "labelmap" else tile == self._numbers[self.channel_of[i]]
        else:
            plane = tile[self.channel_of[i]]
        row, column = int(self.row_of[i]) * self.tiling.tile[0], int(self.column_of[i]) * self.tiling.tile[1]
        return self.stored(self.tiling.pad(plane, row, column))

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        file.write(self.head(syntax, self.channel_of, self.row_of, self.column_of))
        count = self.frame_count
        if is_encapsulated(syntax):
            sink = EncapsulatedFrames(file, count, extended=count * self.frame_bytes > EXTENDED_FROM)
            info = self.info(syntax)
            for data in encode_ahead(lambda frame: encode_frame(frame, info), (self._plane(i) for i in range(count))):
                sink.append(data)
            sink.close()
            return
        size = self.frame_bytes
        native = NativeFrames(file, "OW" if self.coding.bits == 16 else "OB", size * count)

        held = np.flatnonzero(self.presence[self.channel_of, self.row_of, self.column_of])
        places = self.row_of[held] * self.tiling.counts[1] + self.column_of[held]
        order = held[np.argsort(places, kind="stable")]
        tiles = np.split(order, np.flatnonzero(np.diff(np.sort(places))) + 1)

        def put(frames: npt.NDArray[np.intp]) -> None:
            # the frames of a tile one after the other: its pixels are fetched from memory once
            for i in frames.tolist():
                stored = self._plane(i)
                data = np.packbits(stored, bitorder="little") if self.kind == "binary" else np.ascontiguousarray(stored)
                native.write(i * size, data.data)

        parallel_for(put, tiles if len(order) else [], None if count * size > 1 << 20 else 1)
        native.close()

    def in_memory(self) -> bytes:
        """The file, native, as bytes."""
        with tempfile.TemporaryFile(buffering=0) as file:
            self.write(file, transfer_syntax(None))
            file.seek(0)
            return file.read()


# ---------------------------------------------------------------------- read
class _Scratch(threading.local):
    """Arrays of a tile's size, used again by each thread: fresh memory costs more than what is done with it."""

    def __init__(self, rows: int, columns: int, dtype: np.dtype[Any]) -> None:
        self.inside = np.empty((rows, columns), bool)
        self.bits, self.hit = np.empty((rows, columns), dtype), np.empty((rows, columns), dtype)

    def cut(self, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
        """The corners of this shape."""
        rows, columns = shape
        return self.inside[:rows, :columns], self.bits[:rows, :columns], self.hit[:rows, :columns]


class StoredTiledSegmentation(SegmentedFrames, StoredTiles):
    """A segmentation of a slide seen through its bytes."""

    wanted: ClassVar[dict[str, TagPath]] = {**StoredTiles.wanted, "segment": GROUP_TAGS["segment"]}

    def _channel_count(self) -> int:
        return 1 if self.kind == "labelmap" else len(self.segments)

    def _read_segment_of(self) -> npt.NDArray[np.intp]:
        if self.full and self.kind != "labelmap" and all(v is None for v in self._groups["segment"]):
            rows, columns = self.counts
            # segments follow one another in the order of the Segment Sequence (PS3.3 C.7.6.17.3)
            order = [int(item.SegmentNumber) for item in self._header.SegmentSequence]
            numbers = [s.number for s in self.segments]
            place = np.array([numbers.index(n) for n in order], dtype=np.intp)
            return place[np.minimum(np.arange(self.frame_count) // (rows * columns), len(place) - 1)]
        return super()._read_segment_of()

    def labels(
        self,
        region: tuple[int, int, int, int],
        chosen: Sequence[int],
        overlap: str,
        threshold: float,
        dtype: npt.DTypeLike,
    ) -> Array:
        """Segment numbers of a region ``(row, column, rows, columns)``, of the segments at places ``chosen``."""
        out = np.zeros(region[2:], dtype=dtype)
        clash = [False]
        if self.kind == "labelmap":
            table = np.zeros(1 << 16, dtype=dtype)
            for place in chosen:
                number = self.segments[place].number or 0
                table[number] = number

            def copy(i: int, where: tuple[slice, slice], values: Array) -> None:
                out[where] = table[values]

            self.each(region, np.arange(self.frame_count), copy)
            return out
        least = threshold * self.maximum if self.kind == "fractional" else 1
        frames = np.flatnonzero(np.isin(self.segment_of, chosen))
        frames = frames[np.argsort(self.segment_of[frames], kind="stable")]
        frames = frames[::-1] if overlap == "first" else frames
        label_of = np.array([s.number or 0 for s in self.segments], dtype=dtype)

        aligned = not (self.starts % (self.rows, self.columns)).any()
        begun: set[tuple[int, int]] = set()

        scratch = _Scratch(self.rows, self.columns, np.dtype(dtype))

        def add(i: int, where: tuple[slice, slice], values: Array) -> None:
            inside, bits, hit = scratch.cut(values.shape)
            np.greater_equal(values, least, out=inside)
            part, label = out[where], label_of[self.segment_of[i]]
            place = where[0].start, where[1].start
            if overlap == "error" and aligned and place not in begun:  # nothing lies there that could be hit
                begun.add(place)
                np.multiply(inside.view(np.uint8), label, out=part)
            elif overlap == "error":
                # by bits, which is right unless segments overlap, and far faster than to set pixels by a mask
                np.negative(inside.view(np.uint8), out=bits, dtype=bits.dtype)
                if any_set(np.bitwise_and(part, bits, out=hit)) and (aligned or not np.isin(hit, (0, label)).all()):
                    clash[0] = True  # off the grid, tiles of one segment may share pixels
                np.bitwise_or(part, np.bitwise_and(bits, label, out=bits), out=part)
            else:
                np.copyto(part, label, where=inside)

        self.each(region, frames, add)
        if clash[0]:
            raise EncodingError(
                f"{self.name}: segments overlap, which one number a pixel cannot say; pass overlap='first' or 'last', "
                "ask for fewer segments, or take channels()"
            )
        return out

    def channels_of(self, region: tuple[int, int, int, int], chosen: Sequence[int]) -> Array:
        """Channels of a region, one for each segment at places ``chosen``: bool, or float32 for fractions."""
        fractional = self.kind == "fractional"
        out = np.zeros((len(chosen), *region[2:]), dtype=np.float32 if fractional else bool)
        channel = {place: i for i, place in enumerate(chosen)}

        def copy(i: int, where: tuple[slice, slice], values: Array) -> None:
            if self.kind == "labelmap":
                for place, c in channel.items():
                    out[c][where] = values == self.segments[place].number
            elif fractional:
                out[channel[int(self.segment_of[i])]][where] = values * np.float32(1 / self.maximum)
            else:
                out[channel[int(self.segment_of[i])]][where] = values

        frames = np.arange(self.frame_count)
        if self.kind != "labelmap":
            frames = np.flatnonzero(np.isin(self.segment_of, chosen))
        self.each(region, frames, copy)
        return out
