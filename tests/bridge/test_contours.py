"""Outlines of label maps: filled again they are the labels, to the pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_ml.bridge.contours import label_outlines, polygon_areas, polygon_bounds, simplified
from dicom_ml.errors import GeometryError
from dicom_ml.rasterize import polygon_mask


def parts(labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Connected parts by scipy, holes filled, as the outlines' oracle."""
    ndimage = pytest.importorskip("scipy.ndimage")
    found = []
    for value in np.unique(labels[labels > 0]):
        marks, count = ndimage.label(labels == value)
        for number in range(1, count + 1):
            # what cannot be reached from outside by steps that may go diagonally is a hole
            found.append((int(value), ndimage.binary_fill_holes(marks == number, np.ones((3, 3)))))
    return found


@settings(max_examples=150, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_filled_again(labels):
    points, offsets, values = label_outlines(labels)
    expected = parts(labels)
    assert sorted(values.tolist()) == values.tolist() == [v for v, _ in expected]
    bounds = np.append(offsets, len(points))
    areas = polygon_areas(points, offsets)
    masks = [polygon_mask(points[a:b], labels.shape) for a, b in itertools.pairwise(bounds)]
    wanted = sorted((v, m.tobytes()) for v, m in expected)
    assert sorted((int(v), m.tobytes()) for v, m in zip(values, masks, strict=True)) == wanted
    assert areas.tolist() == [m.sum() for m in masks]
    for mask, box in zip(masks, polygon_bounds(points, offsets), strict=True):
        where = np.argwhere(mask)
        assert box.tolist() == [*where.min(0), *(where.max(0) + 1)]


def test_corners_only():
    labels = np.zeros((7, 9), np.uint8)
    labels[2:5, 3:8] = 4
    points, offsets, values = label_outlines(labels)
    assert values.tolist() == [4] and offsets.tolist() == [0]
    assert sorted(map(tuple, points.tolist())) == [(2, 3), (2, 8), (5, 3), (5, 8)]


def test_a_tile_of_nuclei_is_quick():
    """A thousand nuclei: no loop over them and the whole map."""
    import time

    rows, columns = np.mgrid[0:1024, 0:1024]
    labels = (rows // 32 * 32 + columns // 32 + 1) * (((rows % 32 - 16) ** 2 + (columns % 32 - 16) ** 2) < 120)
    began = time.perf_counter()
    points, offsets, values = label_outlines(labels)
    assert len(values) == 1024 and time.perf_counter() - began < 5
    assert polygon_areas(points, offsets).sum() == (labels > 0).sum()


def distance(point, ring):
    """From a point to the nearest side of a polygon."""
    a, b = ring, np.roll(ring, -1, axis=0)
    way = b - a
    length = (way**2).sum(1)
    along = np.clip(((point - a) * way).sum(1) / np.where(length > 0, length, 1), 0, 1)
    return np.linalg.norm(point - a - along[:, None] * way, axis=1).min()


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int32, st.tuples(st.integers(3, 14), st.integers(3, 14)), elements=st.integers(0, 2)),
    st.floats(0.1, 3),
)
def test_simplified(labels, tolerance):
    points, offsets, _ = label_outlines(labels)
    fewer, starts = simplified(points, offsets, tolerance)
    assert len(starts) == len(offsets) and len(fewer) <= len(points)
    before, after = np.append(offsets, len(points)), np.append(starts, len(fewer))
    for (a, b), (c, d) in zip(itertools.pairwise(before), itertools.pairwise(after), strict=True):
        whole, ring = points[a:b], fewer[c:d]
        assert len(ring) >= 3
        assert set(map(tuple, ring.tolist())) <= set(map(tuple, whole.tolist()))
        assert max(distance(point, ring) for point in whole) <= tolerance + 1e-9


def test_a_disc_needs_few_corners():
    rows, columns = np.mgrid[0:60, 0:60]
    disc = ((rows - 30) ** 2 + (columns - 30) ** 2 < 25**2).astype(int)
    points, offsets, _ = label_outlines(disc)
    fewer, starts = simplified(points, offsets, 1.0)
    assert len(fewer) < len(points) / 4
    assert polygon_areas(fewer, starts)[0] == pytest.approx(disc.sum(), rel=0.02)
    assert simplified(points, offsets, 0)[0] is points


def test_nothing_and_nonsense():
    points, offsets, values = label_outlines(np.zeros((4, 5), int))
    assert points.shape == (0, 2) and len(offsets) == len(values) == 0
    assert polygon_areas(points, offsets).shape == (0,) and polygon_bounds(points, offsets).shape == (0, 4)
    with pytest.raises(GeometryError, match="flat"):
        label_outlines(np.zeros((2, 3, 4), int))
    with pytest.raises(GeometryError, match="whole numbers"):
        label_outlines(np.zeros((3, 4)))
