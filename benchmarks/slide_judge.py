"""What is right on a slide: tiles as Pillow decodes them, and segmentations as pydicom reads them back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.registry import Case, WrongResult
from benchmarks.slide_phantom import TILE, Layout

# Decoders may round differently; a wrong tile, order of bands or place is off by far more.
_ROUNDING = 4
BATCH = 64  # tiles that those with a call for many are asked for at once
_KEPT_EVERY = 16
LINE = 20  # inside of the tiles at the lower edge, too


def layout(case: Case) -> Layout:
    return Layout(case.info("slide")["side"])


class TileRecord:
    """What the job of a tile row keeps: a line of every tile, and the whole tiles of every sixteenth batch.

    All of them would be 1.2 GB, and the row would measure how fast memory is had.
    """

    def __init__(self, case: Case) -> None:
        self.count = layout(case).along ** 2
        self.lines: dict[int, np.ndarray] = {}
        self.tiles: dict[int, np.ndarray] = {}

    def add(self, index: int, tile: np.ndarray) -> None:
        self.lines[index] = tile[LINE].copy()
        if index // BATCH % _KEPT_EVERY == 0:
            self.tiles[index] = tile


def record_bytes(case: Case) -> int:
    """Of what a :class:`TileRecord` keeps."""
    count = layout(case).along ** 2
    whole = sum(index // BATCH % _KEPT_EVERY == 0 for index in range(count))
    return (count + whole * TILE) * TILE * 3


def check_tiles(case: Case, record: TileRecord) -> None:
    at = layout(case)
    truth, which = case.array("slide", "tiles.npy"), at.which()
    if sorted(record.lines) != list(range(len(which))):
        raise WrongResult(f"{len(record.lines)} tiles, {len(which)} expected")
    for index, line in record.lines.items():
        # Beyond the edge of the slide some show what the frame holds, some the background, some nothing.
        width = min(TILE, at.side - index % at.along * TILE)
        _compare(f"tile {index}", line[:width], truth[which[index], LINE, :width])
    for index, tile in record.tiles.items():
        row, column = divmod(index, at.along)
        height, width = (min(TILE, at.side - place * TILE) for place in (row, column))
        _compare(f"tile {index}", tile[:height, :width], truth[which[index], :height, :width])


def check_patches(case: Case, patches: Mapping[tuple[int, int], np.ndarray]) -> None:
    at, truth = layout(case), case.array("slide", "tiles.npy")
    for (row, column), patch in patches.items():
        _compare(f"the patch at {row}, {column}", patch, at.read(truth, row, column, *patch.shape[:2]))


def _compare(name: str, found: np.ndarray, truth: np.ndarray) -> None:
    found = found[..., :3]
    if found.shape != truth.shape:
        raise WrongResult(f"{name} has shape {found.shape}, expected {truth.shape}")
    off = int(np.abs(found.astype(np.int16) - truth).max(initial=0))
    if off > _ROUNDING:
        raise WrongResult(f"{name} is off by {off} of 255")


def check_one_tile(case: Case, tile: np.ndarray) -> None:
    _compare("the tile", np.asarray(tile), case.array("slide-sparse", "tile.npy"))


def compare_labels(case: Case, labels: np.ndarray) -> None:
    """Raise unless a label map, (H, W) or (1, H, W), is the truth."""
    at, truth = layout(case), case.array("slide-labels", "tiles.npy")
    labels = labels[0] if labels.ndim == 3 else labels
    if labels.shape != (at.side, at.side):
        raise WrongResult(f"shape {labels.shape}, expected {(at.side, at.side)}")
    for index, which in enumerate(at.which().tolist()):
        row, column = (part * TILE for part in divmod(index, at.along))
        part = labels[row : row + TILE, column : column + TILE]
        if not np.array_equal(part, truth[which, : part.shape[0], : part.shape[1]]):
            raise WrongResult(f"the tile at row {row}, column {column} holds wrong labels")


def check_seg(case: Case, _: object) -> None:
    """Read a written BINARY segmentation by pydicom alone."""
    compare_labels(case, _written_labels(case.output, layout(case).side))


def _written_labels(path: Path, side: int) -> np.ndarray:
    from pydicom import dcmread

    if not path.is_file():
        raise WrongResult("no file was written")
    ds = dcmread(path)
    if (ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns) != (side, side):
        raise WrongResult(f"a matrix of {ds.TotalPixelMatrixRows} x {ds.TotalPixelMatrixColumns}")
    if ds.SegmentationType != "BINARY" or ds.file_meta.TransferSyntaxUID.is_encapsulated:
        raise WrongResult("not an uncompressed BINARY segmentation")
    count, rows, columns = int(ds.NumberOfFrames), ds.Rows, ds.Columns
    bits = np.frombuffer(ds.PixelData, np.uint8)[: count * rows * columns // 8].reshape(count, -1)
    labels = np.zeros((side, side), np.uint8)
    shared = ds.SharedFunctionalGroupsSequence[0]
    for group, packed in zip(ds.PerFrameFunctionalGroupsSequence, bits, strict=True):
        place = group.PlanePositionSlideSequence[0]
        row, column = place.RowPositionInTotalImagePixelMatrix - 1, place.ColumnPositionInTotalImagePixelMatrix - 1
        identified = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        part = labels[row : row + rows, column : column + columns]
        mask = np.unpackbits(packed, bitorder="little").reshape(rows, columns).view(bool)
        part[mask[: part.shape[0], : part.shape[1]]] = identified[0].ReferencedSegmentNumber
    return labels
