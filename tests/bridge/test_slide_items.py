"""Items by place: the index finds what a scan of all finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.bridge.slide_items import ItemSet, SlideItems, mask_of_items
from dicom_ml.errors import EncodingError

SIDES = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])


def rectangles(low, size, value=1, matrix=None, shift=(0, 0)) -> ItemSet:
    low, size = np.asarray(low, float).reshape(-1, 2), np.asarray(size, float).reshape(-1, 2)
    points = (low[:, None] + SIDES * size[:, None]).reshape(-1, 2)
    offsets = np.arange(len(low)) * 4
    matrix = np.eye(2) if matrix is None else matrix
    return ItemSet("POLYGON", points, offsets, np.full(len(low), value), matrix, np.asarray(shift, float))


@given(st.integers(0, 10**6), st.integers(0, 300), st.sampled_from([0.5, 5, 80]))
@settings(max_examples=40)
def test_windows_find_what_a_scan_finds(seed, count, spread):
    """Items of all sizes, some as large as the slide, in crowds and far apart."""
    rng = np.random.default_rng(seed)
    low = rng.choice([rng.normal(500, spread, (count, 2)), rng.uniform(0, 20000, (count, 2))][: 1 + seed % 2])
    size = rng.exponential(spread, (count, 2)) * rng.choice([1, 1, 1, 300], (count, 1)) + 1e-3
    items = SlideItems(
        [rectangles(low[: count // 2], size[: count // 2]), rectangles(low[count // 2 :], size[count // 2 :])]
    )
    assert len(items) == count
    for _ in range(10):
        a = rng.choice([rng.uniform(-100, 20000, 2), rng.normal(500, spread, 2)])
        b = a + rng.choice([3, 256, 5000])
        bounds = items.bounds
        near = ((bounds[:, :2] < b) & (bounds[:, 2:] >= a)).all(axis=1)
        assert items.touching(a, b).tolist() == np.flatnonzero(near).tolist()
        inside = ((items.centers >= a) & (items.centers < b)).all(axis=1)
        assert items.centered(a, b).tolist() == np.flatnonzero(inside).tolist()


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_bounds_follow_the_change_of_coordinates(seed):
    rng = np.random.default_rng(seed)
    matrix, shift = rng.normal(size=(2, 2)), rng.normal(size=2) * 50
    if seed % 2:
        matrix = np.array([[0, -2.5], [-0.5, 0]])  # as slides lie in their scanners
    one = rectangles(rng.uniform(0, 100, (20, 2)), rng.uniform(1, 9, (20, 2)), matrix=matrix, shift=shift)
    placed = one.placed(one.points).reshape(20, 4, 2)
    np.testing.assert_allclose(one.bounds, np.concatenate([placed.min(1), placed.max(1)], axis=1), atol=1e-9)
    points, offsets = one.select(np.array([3, 7]))
    np.testing.assert_allclose(points, placed[[3, 7]].reshape(-1, 2))
    assert offsets.tolist() == [0, 4]


def test_sets_lie_above_one_another():
    items = SlideItems([rectangles([(0, 0)], [(6, 6)], 1), rectangles([(3, 3)], [(6, 6)], 2)])
    every = np.arange(2)
    last = mask_of_items(items, every, (10, 10), (0, 0), (1, 1))
    first = mask_of_items(items, every, (10, 10), (0, 0), (1, 1), "first")
    assert last[4, 4] == 2 and first[4, 4] == 1 and (last > 0).sum() == (first > 0).sum() == 63
    with pytest.raises(EncodingError, match="different classes overlap"):
        mask_of_items(items, every, (10, 10), (0, 0), (1, 1), "error")
    coarse = mask_of_items(items, every, (5, 5), (0, 0), (2, 2))
    assert coarse[0, 0] == 1 and coarse[3, 3] == 2 and coarse[4, 4] == 0


def test_no_items():
    items = SlideItems([])
    assert len(items) == 0 and len(items.touching((0, 0), (9, 9))) == 0
    assert not mask_of_items(items, items.touching((0, 0), (9, 9)), (9, 9), (0, 0), (1, 1)).any()
