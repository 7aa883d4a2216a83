"""Outlines to pixels, against exact rational arithmetic one pixel at a time, and against matplotlib."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.errors import GeometryError
from dicom_ml.rasterize import (
    ellipse_polygons,
    polygon_mask,
    polygon_spans,
    rasterize_lines,
    rasterize_points,
    rasterize_polygons,
)


def inside(rings, row: Fraction, column: Fraction) -> bool:
    """Even-odd in exact arithmetic: edges crossed on the way from the left up to the point."""
    crossed = 0
    for ring in rings:
        exact = [(Fraction(float(r)), Fraction(float(c))) for r, c in ring]
        for (r0, c0), (r1, c1) in zip(exact, exact[1:] + exact[:1], strict=True):
            if (r0 <= row) != (r1 <= row):
                crossed += c0 + (row - r0) * (c1 - c0) / (r1 - r0) <= column
    return crossed % 2 == 1


def brute(rings, shape, origin=(0, 0)) -> np.ndarray:
    out = np.zeros(shape, bool)
    for r in range(shape[0]):
        for c in range(shape[1]):
            half = Fraction(1, 2)
            out[r, c] = inside(rings, r + half + Fraction(float(origin[0])), c + half + Fraction(float(origin[1])))
    return out


def flat(rings):
    points = np.concatenate([np.asarray(r, float).reshape(-1, 2) for r in rings])
    return points, np.cumsum([0] + [len(r) for r in rings[:-1]])


eighths = st.integers(-24, 104).map(lambda v: v / 8)  # corners on pixel edges and centres, inside and outside
polygons = st.lists(st.tuples(eighths, eighths), min_size=0, max_size=9)


@given(polygons, st.tuples(eighths, eighths))
@settings(max_examples=150, deadline=None)
def test_a_polygon_is_what_exact_arithmetic_says(ring, origin):
    """Crossing itself, degenerate, through pixel centres, outside of the window: every pixel is right."""
    assert np.array_equal(polygon_mask(np.array(ring).reshape(-1, 2), (9, 7), origin), brute([ring], (9, 7), origin))


@given(st.lists(polygons, min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_items_with_several_outlines_in_any_order(rings, data):
    owners = data.draw(st.lists(st.integers(0, 2), min_size=len(rings), max_size=len(rings)))
    order = data.draw(st.permutations(range(max(owners) + 1)))
    points, offsets = flat(rings)
    values = np.array([11, 22, 33])[: max(owners) + 1]
    expected = np.zeros((9, 7), int)
    for item in order:
        expected[brute([r for r, o in zip(rings, owners, strict=True) if o == item], (9, 7))] = values[item]
    got = rasterize_polygons(points, offsets, values, (9, 7), owners=owners, order=order)
    assert np.array_equal(got, expected)
    spans = polygon_spans(points, offsets, (9, 7), owners=owners)
    areas = [brute([r for r, o in zip(rings, owners, strict=True) if o == item], (9, 7)).sum() for item in range(3)]
    assert spans.areas(3).tolist() == areas


@given(st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 12)), min_size=3, max_size=8))
@settings(max_examples=80, deadline=None)
def test_any_floats(ring):
    sides = brute([ring], (9, 9), (0, -1e-9)), brute([ring], (9, 9), (0, 1e-9))
    sure = sides[0] == sides[1]  # no outline within 1e-9 of the centre, where rounding may decide
    assert np.array_equal(polygon_mask(ring, (9, 9))[sure], sides[0][sure])


def test_a_tessellation_has_neither_gaps_nor_doubles():
    rng = np.random.default_rng(5)
    knots = np.mgrid[0:11, 0:11].transpose(1, 2, 0) * 4.0
    knots[1:-1, 1:-1] += rng.uniform(-1.9, 1.9, (9, 9, 2))
    cells = np.stack([knots[:-1, :-1], knots[:-1, 1:], knots[1:, 1:], knots[1:, :-1]], axis=2).reshape(-1, 4, 2)
    turned = np.where(rng.random(len(cells))[:, None, None] < 0.5, cells, cells[:, ::-1])
    spans = polygon_spans(turned.reshape(-1, 2), np.arange(100) * 4, (40, 40))
    count = np.zeros((40, 40), int)
    for row, start, stop in zip(spans.row, spans.start, spans.stop, strict=True):
        count[row, start:stop] += 1
    assert (count == 1).all()


def test_many_small_polygons_are_painted_one_over_the_other():
    """More crossings than one block, and both ways of writing spans, against one polygon after the other."""
    rng = np.random.default_rng(1)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    middle, size = rng.uniform(-20, 620, (70_000, 2)), rng.uniform(2, 9, 70_000)
    points = (middle[:, None] + size[:, None, None] * ring).astype(np.float32)
    got = rasterize_polygons(points.reshape(-1, 2), np.arange(70_000) * 20, np.arange(1, 70_001), (600, 600))
    tail = np.zeros((600, 600), int)
    for i in range(69_000, 70_000):
        corner = np.floor(middle[i] - 12).astype(int)
        mask = polygon_mask(points[i], (24, 24), corner)
        rows, columns = np.nonzero(mask)
        rows, columns = rows + corner[0], columns + corner[1]
        on = (rows >= 0) & (rows < 600) & (columns >= 0) & (columns < 600)
        tail[rows[on], columns[on]] = i + 1
    assert np.array_equal(np.where(got > 69_000, got, 0), tail)
    assert got.dtype.kind == "i" and (got > 0).mean() > 0.99


def test_as_matplotlib_says():
    path = pytest.importorskip("matplotlib.path")
    rng = np.random.default_rng(2)
    centres = np.mgrid[:90, :110].reshape(2, -1).T + 0.5
    for _ in range(20):
        ring = rng.uniform(-20, 120, (rng.integers(3, 40), 2))
        if len(ring) > 3:  # not crossing itself: matplotlib fills by the nonzero rule
            around = ring - ring.mean(axis=0)
            ring = ring[np.argsort(np.arctan2(around[:, 0], around[:, 1]))]
        expected = path.Path(ring).contains_points(centres).reshape(90, 110)
        assert np.array_equal(polygon_mask(ring, (90, 110)), expected)


def test_a_hole_and_a_keyhole_are_the_same():
    outer = np.array([(2, 2), (2, 12), (12, 12), (12, 2)], float)
    hole = np.array([(5, 5), (5, 8), (8, 8), (8, 5)], float)
    points, offsets = flat([outer, hole])
    ring = polygon_mask(points, (14, 14), offsets=offsets)
    keyhole = np.concatenate([outer, outer[:1], hole, hole[:1]])
    assert np.array_equal(polygon_mask(keyhole, (14, 14)), ring)
    assert ring.sum() == 100 - 9


def test_a_window_is_a_cut_of_the_whole():
    rng = np.random.default_rng(3)
    points, offsets = rng.uniform(0, 60, (90, 2)), np.arange(30) * 3
    whole = rasterize_polygons(points, offsets, np.arange(1, 31), (60, 60))
    window = rasterize_polygons(points, offsets, np.arange(1, 31), (20, 15), (17, 31))
    assert np.array_equal(window, whole[17:37, 31:46])
    out = np.full((20, 15), 99, np.uint8)
    assert rasterize_polygons(points, offsets, np.arange(1, 31), (20, 15), (17, 31), out=out) is out
    assert np.array_equal(out, np.where(window > 0, window, 99))


def test_ellipses_stay_near_the_true_outline():
    ends = np.array([[(20, 2.0), (20, 42), (11, 22), (29, 22)], [(50, 50), (60, 60), (58, 52), (52, 58.0)]])
    points, offsets = ellipse_polygons(ends, tolerance=0.01)
    got = rasterize_polygons(points, offsets, [1, 2], (70, 70))
    r, c = np.mgrid[:70, :70] + 0.5
    first = ((r - 20) / 9) ** 2 + ((c - 22) / 20) ** 2
    u, v = (r - 55 + c - 55) / np.sqrt(2), (r - 55 - c + 55) / np.sqrt(2)
    second = (u / np.sqrt(50)) ** 2 + (v / np.sqrt(18)) ** 2
    for value, distance in ((1, first), (2, second)):
        sure = np.abs(distance - 1) > 0.02
        assert np.array_equal((got == value)[sure], (distance < 1)[sure])
        assert abs((got == value).sum() - (distance < 1).sum()) <= 2


def test_points_and_discs():
    points = [(0, 0), (3.999, 4.0), (9.99, 9.99), (-0.01, 5), (10, 5)]
    got = rasterize_points(points, [1, 2, 3, 4, 5], (10, 10))
    assert {tuple(map(int, p)): int(got[tuple(p)]) for p in np.argwhere(got)} == {(0, 0): 1, (3, 4): 2, (9, 9): 3}
    disc = rasterize_points([(10.5, 10.5)], 1, (21, 21), radius=6.1)
    r, c = np.mgrid[:21, :21]
    assert np.array_equal(disc == 1, (r - 10) ** 2 + (c - 10) ** 2 < 6.1**2)


@given(st.lists(st.tuples(st.floats(1, 19), st.floats(1, 19)), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_lines_have_their_width_and_no_gaps(line):
    line = np.array(line)
    got = rasterize_lines(line, [0], 1, (20, 20), width=1.5) > 0
    centres = np.mgrid[:20, :20].transpose(1, 2, 0) + 0.5
    distance = np.full((20, 20), np.inf)
    for a, b in itertools.pairwise(line):
        along = b - a
        t = np.clip(((centres - a) @ along) / max(float(along @ along), 1e-30), 0, 1)
        distance = np.minimum(distance, np.linalg.norm(centres - a - t[..., None] * along, axis=-1))
    assert got[distance < 0.73].all()
    assert not got[distance > 0.77].any()


def test_lines_of_several_items():
    got = rasterize_lines([(1, 1), (1, 8), (5, 1), (5, 8), (8, 8)], [0, 2], [4, 7], (10, 10), width=1)
    assert (got[1] == 0).all() or (got[0] == 0).all()
    assert set(np.unique(got)) == {0, 4, 7}
    assert (got[3:] != 4).all() and (got[:3] != 7).all()


def test_nothing_gives_nothing():
    assert not polygon_mask(np.zeros((0, 2)), (3, 3)).any()
    assert not polygon_mask([(1, 1), (2, 2)], (3, 3)).any()
    assert not rasterize_polygons([], [], [], (3, 3)).any()
    assert len(polygon_spans([], [], (3, 3))) == 0
    assert polygon_mask([(0, 0), (0, 9), (9, 9)], (0, 5)).shape == (0, 5)
    assert not rasterize_polygons([(0, 0), (0, 9), (9, 9)], [0], [1], (5, 5), order=[]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([(0, 0), (1, np.nan), (1, 1)], [0], [1], (3, 3)), "finite"),
        (([(0, 0, 0)], [0], [1], (3, 3)), "pairs"),
        (([(0, 0), (1, 1), (1, 0)], [1], [1], (3, 3)), "begin at 0"),
        (([(0, 0), (1, 1), (1, 0)], [0, 4], [1, 1], (3, 3)), "rise within 3"),
        (([(0, 0), (1, 1), (1, 0)], [], [], (3, 3)), "no offsets"),
        (([(0, 0), (1, 1), (1, 0)], [0], [], (3, 3)), "each of 1 items"),
    ],
)
def test_what_does_not_go_together_is_said(arguments, message):
    with pytest.raises(GeometryError, match=message):
        rasterize_polygons(*arguments)
    if message == "no offsets":
        with pytest.raises(GeometryError, match="do not fit"):
            rasterize_polygons(arguments[0], [0], [300], (3, 3), dtype=np.uint8)
