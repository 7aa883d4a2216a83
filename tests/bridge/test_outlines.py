"""Outlines along the edges of pixels: filled again, they are the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_ml.bridge.outlines import outlines
from dicom_ml.errors import GeometryError


def area(ring) -> float:
    row, column = ring.T
    return float((column * np.roll(row, -1) - np.roll(column, -1) * row).sum() / 2)


def filled(rings, shape):
    """How often the outlines run around each pixel's middle: by crossings of a ray, with their direction."""
    count = np.zeros(shape, dtype=int)
    middles = np.arange(shape[1]) + 0.5
    for ring in rings:
        for (r0, c0), (r1, _) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            # an edge along a column of corners, from row r0 to r1, lies to the right of what is left of it
            rows = np.arange(int(min(r0, r1)), int(max(r0, r1)))
            count[np.ix_(rows, np.flatnonzero(middles < c0))] += int(np.sign(r1 - r0))
    return count


@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_filled_again_they_are_the_mask(mask):
    rings = outlines(mask, holes=True)
    assert (filled(rings, mask.shape) == mask).all()
    assert sum(area(ring) for ring in rings) == mask.sum()
    assert len(outlines(mask)) == components(mask), "one outline for each part"


def components(mask) -> int:
    left, count = set(map(tuple, np.argwhere(mask).tolist())), 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            r, c = front.pop()
            for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                if near in left:
                    left.remove(near)
                    front.append(near)
    return count


def test_corners_only():
    (ring,) = outlines(np.ones((3, 5)))
    assert ring.tolist() == [[0, 0], [0, 5], [3, 5], [3, 0]]
    assert outlines(np.zeros((2, 2))) == []


def test_a_hole_runs_the_other_way():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert [area(ring) for ring in outlines(mask, holes=True)] == [25, -1]
    assert len(outlines(mask)) == 1


def test_parts_that_touch_in_a_corner():
    assert [area(ring) for ring in outlines(np.eye(3))] == [1, 1, 1]


def test_volumes_are_refused():
    with pytest.raises(GeometryError, match="rows, columns"):
        outlines(np.zeros((2, 2, 2)))
