"""Items that several overlapping tiles found, each kept once.

``"core"``: an item belongs to the tile whose middle is nearest to the item's centre, among the tiles that are there and
hold that centre; the others' findings of it are dropped. Whatever is not larger than the overlap is then whole, and
there once. Where two tiles see the centre of one thing on either side of the line between them, both would keep it: so
items of two tiles whose boxes agree (``overlap``) are one, too.

``"nms"``: no tile has a say of its own; of items of two tiles whose boxes agree, the one with the highest score stays,
of equal scores the one nearer to the middle of its tile. What a tile's end has cut off may stay beside the whole thing,
where their boxes do not agree.

``"keep"``: all stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.errors import EncodingError

__all__ = ["DUPLICATES", "TileItems", "box_overlaps", "check_duplicates", "kept_items"]

DUPLICATES = ("core", "nms", "keep")
FloatArray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Cell = tuple[int, int]
#: Boxes, labels and scores of a tile: (n, 4) rows and columns within the tile, start then stop; (n,); (n,) or None.
TileItems = tuple[FloatArray, npt.NDArray[np.integer], "FloatArray | None"]
_KEPT = 1024  # tiles whose boxes are remembered


def check_duplicates(duplicates: str, overlap: float) -> None:
    """Refuse settings that mean nothing."""
    if duplicates not in DUPLICATES:
        raise EncodingError(f"duplicates is one of {', '.join(DUPLICATES)}, found {duplicates!r}")
    if not 0 < overlap <= 1:
        raise EncodingError(f"boxes agree by a share of 0 to 1, found {overlap}")


def box_overlaps(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of boxes ``(n, 4)`` with boxes ``(m, 4)``, shape (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def kept_items(
    read: Callable[[Cell], TileItems],
    cells: list[Cell],
    grid: TileGrid,
    duplicates: str = "core",
    overlap: float = 0.5,
) -> Iterator[tuple[Cell, Mask]]:
    """Which items of each tile stay.

    Parameters
    ----------
    read : callable
        Items of a tile.
    cells : list of (row, column)
        Tiles that are there, in the order in which they are wanted; row by row is best.
    grid : TileGrid
    duplicates, overlap
        See above. ``overlap`` is intersection over union.

    Yields
    ------
    cell : (row, column)
    kept : ndarray of bool, shape (n,)
    """
    here = set(cells)
    known: OrderedDict[Cell, _Settled] = OrderedDict()

    def settle(cell: Cell) -> _Settled:
        if cell in known:
            known.move_to_end(cell)
            return known[cell]
        boxes, labels, scores = read(cell)
        placed = boxes.astype(np.float64) + np.tile(np.multiply(cell, grid.stride), 2)
        centers = (placed[:, :2] + placed[:, 2:]) / 2
        own = ((centers >= 0) & (centers < grid.shape)).all(axis=1)
        if duplicates == "core":
            own &= _nearest(cell, centers, here, grid)
        weights = np.zeros(len(placed)) if scores is None else np.asarray(scores, dtype=np.float64)
        known[cell] = _Settled(cell, placed, labels, weights, _from_middle(cell, centers, grid), own)
        if len(known) > _KEPT:
            known.popitem(last=False)
        return known[cell]

    for cell in cells:
        mine = settle(cell)
        kept = mine.own.copy()
        if duplicates != "keep" and grid.overlaps and kept.any():
            for other in _neighbours(cell, here, grid):
                kept &= ~_weaker(mine, settle(other), grid, overlap)
        yield cell, kept


@dataclass(frozen=True, eq=False)
class _Settled:
    """Items of a tile: boxes on the whole grid, how far each lies from the tile's middle, and which are its own."""

    cell: Cell
    boxes: FloatArray
    labels: npt.NDArray[np.integer]
    scores: FloatArray
    away: FloatArray
    own: Mask


def _neighbours(cell: Cell, here: set[Cell], grid: TileGrid) -> Iterator[Cell]:
    """Tiles that share pixels with a tile."""
    reach = [-(-t // s) - 1 for t, s in zip(grid.tile, grid.stride, strict=True)]
    for row in range(cell[0] - reach[0], cell[0] + reach[0] + 1):
        for column in range(cell[1] - reach[1], cell[1] + reach[1] + 1):
            if (row, column) != cell and (row, column) in here:
                yield row, column


def _offsets(cell: Cell, centers: FloatArray, grid: TileGrid) -> FloatArray:
    """Way from the middle of a tile to points along rows and columns, 0.5 at its edges."""
    return np.asarray(np.abs((centers - np.multiply(cell, grid.stride)) / np.array(grid.tile) - 0.5))


def _from_middle(cell: Cell, centers: FloatArray, grid: TileGrid) -> FloatArray:
    """How far points lie from the middle of a tile.

    Both axes count: by the longer one alone, tiles along the slide's edge would all be equally far.
    """
    return np.asarray((_offsets(cell, centers, grid) ** 2).sum(axis=1))


def _nearest(cell: Cell, centers: FloatArray, here: set[Cell], grid: TileGrid) -> Mask:
    """Items whose centre lies nearer to the middle of this tile than to that of any other that holds it."""
    own = _from_middle(cell, centers, grid)
    keep = np.ones(len(centers), dtype=bool)
    for other in _neighbours(cell, here, grid):
        inside = (_offsets(other, centers, grid) <= 0.5).all(axis=1)
        theirs = _from_middle(other, centers, grid)
        # the middle of the way between two is the earlier one's, whatever the last bits of a sum say
        equal = np.abs(theirs - own) <= 1e-9
        nearer = np.where(equal, other < cell, theirs < own)
        keep &= ~(inside & nearer)
    return keep


def _weaker(mine: _Settled, theirs: _Settled, grid: TileGrid, overlap: float) -> Mask:
    """Items of a tile that agree with a stronger one of another tile."""
    out = np.zeros(len(mine.boxes), dtype=bool)
    corners = np.multiply(mine.cell, grid.stride), np.multiply(theirs.cell, grid.stride)
    low, high = np.maximum(*corners), np.minimum(*corners) + np.array(grid.tile)

    def near(one: _Settled) -> npt.NDArray[np.intp]:
        reaches = (one.boxes[:, :2] < high).all(axis=1) & (one.boxes[:, 2:] > low).all(axis=1)
        return np.flatnonzero(one.own & reaches)

    a, b = near(mine), near(theirs)
    if not len(a) or not len(b):
        return out
    agree = box_overlaps(mine.boxes[a], theirs.boxes[b]) >= overlap
    agree &= mine.labels[a][:, None] == theirs.labels[b][None]
    score, away = mine.scores[a][:, None], mine.away[a][:, None]
    other_score, other_away = theirs.scores[b][None], theirs.away[b][None]
    nearer = np.where(np.abs(other_away - away) <= 1e-9, theirs.cell < mine.cell, other_away < away)
    stronger = (other_score > score) | ((other_score == score) & nearer)
    out[a[(agree & stronger).any(axis=1)]] = True
    return out
