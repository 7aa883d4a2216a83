"""Objects that several tiles see, whole or cut, are kept once and whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.bridge.duplicates import box_overlaps, check_duplicates, kept_items
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.errors import EncodingError


def grid_of(shape, tile, overlap):
    made = TileGrid(shape, (tile, tile), (tile - overlap, tile - overlap), (1.0, 1.0), 0, None, None)
    return made.select(made.cells())


def seen_by(grid, boxes, scores=None, jitter=None):
    """What each tile sees of boxes: cut at its edges; ``jitter`` moves what a tile says."""

    def read(cell):
        first = np.multiply(cell, grid.stride)
        local = boxes - np.tile(first, 2) + (0 if jitter is None else jitter(cell))
        cut = np.clip(local, 0, np.tile(grid.tile, 2))
        there = (cut[:, 2:] - cut[:, :2] > 0.5).all(axis=1)
        labels = np.zeros(int(there.sum()), int)
        return cut[there].astype("f4"), labels, None if scores is None else scores(cell, np.flatnonzero(there))

    return read


def kept(grid, read, cells, *how):
    found = []
    for cell, keep in kept_items(read, cells, grid, *how):
        boxes = read(cell)[0][keep] + np.tile(np.multiply(cell, grid.stride), 2)
        found += [tuple(b) for b in boxes.tolist()]
    return found


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_not_larger_than_the_overlap_is_there_once_and_whole(data):
    overlap = data.draw(st.integers(2, 20))
    tile = data.draw(st.integers(overlap + -(-overlap // 2), 50))  # a step of half an overlap or more
    shape = data.draw(st.tuples(st.integers(20, 110), st.integers(20, 110)))
    grid = grid_of(shape, tile, overlap)
    boxes = []
    for _ in range(data.draw(st.integers(1, 6))):
        size = [data.draw(st.integers(1, min(overlap, n))) for n in shape]
        first = [data.draw(st.integers(0, n - s)) for n, s in zip(shape, size, strict=True)]
        box = [*first, first[0] + size[0], first[1] + size[1]]
        if not boxes or box_overlaps(np.array([box], float), np.array(boxes, float)).max() < 0.2:
            boxes.append(box)
    boxes = np.array(boxes, float)
    cells = [tuple(c) for c in grid.cells().tolist()]
    found = kept(grid, seen_by(grid, boxes), cells, "core")
    assert sorted(found) == sorted(tuple(b) for b in boxes.tolist())


def test_two_opinions_of_one_thing_are_one():
    """Each tile sees the centre on its own side of the line between them."""
    grid = grid_of((40, 60), 40, 20)
    boxes = np.array([[10.0, 24, 20, 36]])
    cells = [(0, 0), (0, 1)]
    read = seen_by(grid, boxes, jitter=lambda cell: np.array([0, 1, 0, 1]) * (0.3 if cell[1] else -0.3))
    assert len(kept(grid, read, cells, "core")) == 1
    assert len(kept(grid, read, cells, "keep")) == 2
    apart = seen_by(grid, boxes, jitter=lambda cell: np.array([0, 1, 0, 1]) * (6 if cell[1] else -6))
    assert len(kept(grid, apart, cells, "core")) == 2


def test_the_best_opinion_stays():
    grid = grid_of((40, 60), 40, 20)
    boxes = np.array([[10.0, 24, 20, 34], [2.0, 21, 8, 27]])
    cells = [(0, 0), (0, 1)]

    def scores(cell, items):
        return np.array([[0.5, 0.9], [0.7, 0.2]])[cell[1]][items]

    read = seen_by(grid, boxes, scores)
    stays = {cell: keep.tolist() for cell, keep in kept_items(read, cells, grid, "nms")}
    assert stays == {(0, 0): [False, True], (0, 1): [True, False]}


def test_a_missing_neighbour_has_no_say():
    grid = grid_of((40, 60), 40, 20)
    boxes = np.array([[10.0, 32, 20, 38]])
    read = seen_by(grid, boxes)
    assert len(kept(grid, read, [(0, 0), (0, 1)], "core")) == len(kept(grid, read, [(0, 0)], "core")) == 1


def test_the_order_of_tiles_plays_no_part_and_the_fill_beyond_the_slide_holds_nothing():
    grid = grid_of((50, 50), 32, 8)
    boxes = np.array([[20.0, 20, 28, 27], [22.0, 40, 29, 47], [60.0, 60, 66, 66]])
    cells = [tuple(c) for c in grid.cells().tolist()]
    read = seen_by(grid, boxes)
    assert (
        sorted(kept(grid, read, cells))
        == sorted(kept(grid, read, cells[::-1]))
        == sorted(map(tuple, boxes[:2].tolist()))
    )


def test_what_is_refused():
    with pytest.raises(EncodingError, match="duplicates"):
        check_duplicates("all", 0.5)
    with pytest.raises(EncodingError, match="share"):
        check_duplicates("core", 0)
