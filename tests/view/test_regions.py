"""What slices show of regions is what the same regions are as voxels, however the voxels are stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.geometry import Grid
from dicom_ml.rasterize import polygon_mask
from dicom_ml.view import PLANES, Mark, PlaneMap, mark_positions, montage, plane_of, traces_on

GRID = Grid((9, 12, 15), np.array([[0, 0, 1.5, -3], [0, 2.0, 0, 7], [3.0, 0, 0, 11], [0, 0, 0, 1]]))
TRIANGLE = [(2, 3), (2, 12), (10, 7.5)]
WAYS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in range(4))
]


def centres(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in shape), indexing="ij"), axis=-1)


def masked(region: dml.Region, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels whose middle lies in a region, by its definition."""
    mask = np.zeros(shape, bool)
    if isinstance(region, dml.Box):
        start, stop = (np.array(p, int) for p in (region.start, region.stop))
        mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    elif isinstance(region, dml.Ellipsoid):
        forward = np.linalg.inv(region.semi_axes)
        mask[...] = (((centres(shape) - region.center) @ forward) ** 2).sum(axis=-1) < 1
    elif isinstance(region, dml.Polygon):
        mask[region.slice] = polygon_mask(region.points, shape[1:])
    elif isinstance(region, dml.Circle):
        mask[region.slice] = ((centres(shape[1:]) - region.center) ** 2).sum(axis=-1) < region.radius**2
    return mask


def shown(region: dml.Region, plane: PlaneMap, index: int) -> np.ndarray:
    out = np.zeros(plane.size, bool)
    for trace in traces_on(region, plane, index):
        assert trace.closed
        out |= polygon_mask(trace.points, plane.size)
    return out


REGIONS = {
    "box": lambda shape: dml.Box((1, 2, 1), (shape[0] - 1, 5, 4)),
    "ellipsoid": lambda shape: dml.Ellipsoid.from_radii([n / 2 + 0.1 for n in shape], [n / 2 - 1.3 for n in shape]),
    "polygon": lambda shape: dml.Polygon(
        [(1.07, 1.21), (1.13, shape[2] - 1.17), (shape[1] - 1.03, shape[2] / 2 + 0.11)], slice=2
    ),
    "circle": lambda shape: dml.Circle((shape[1] / 2, shape[2] / 2), 3.3, slice=3),
}


@pytest.mark.parametrize("kind", REGIONS)
@pytest.mark.parametrize("way", WAYS[::5])
def test_a_slice_shows_what_lies_on_it(kind, way):
    order, flips = way
    grid = GRID.permute(order).flip(flips)
    region = REGIONS[kind](grid.shape)
    mask = masked(region, grid.shape)
    assert mask.any() and not mask.all()
    for name in PLANES:
        plane = PlaneMap(grid.affine, grid.shape, name)
        for index in range(plane.count):
            expected = plane_of(mask, grid.affine, name, index).pixels
            got = shown(region, plane, index)
            assert plane.size == expected.shape
            # an ellipse is drawn with corners, inside the round one
            allowed = 0 if kind in ("box", "polygon") else 2
            assert np.count_nonzero(got != expected) <= allowed, (name, index)


def test_a_tilted_ellipsoid_is_cut_where_it_is():
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0] * np.array([[6, 4, 3]])
    middle = np.array([10.2, 11.4, 9.7])
    region = dml.Ellipsoid(np.stack([p for axis in turn.T for p in (middle - axis, middle + axis)]))
    shape = (20, 22, 21)
    mask = masked(region, shape)
    for name in PLANES:
        plane = PlaneMap(np.eye(4), shape, name)
        wrong = sum(
            np.count_nonzero(shown(region, plane, i) != plane_of(mask, np.eye(4), name, i).pixels)
            for i in range(plane.count)
        )
        assert wrong <= 0.02 * mask.sum()  # it is drawn with corners


def test_lines_points_and_tilted_outlines():
    plane = PlaneMap(GRID.affine, GRID.shape, "axial")
    line = dml.Polyline([(1, 2, 3), (4, 8, 3)])
    (part,) = traces_on(line, plane, 2)
    np.testing.assert_allclose(part.points, [(4, 3), (6, 3)])
    assert traces_on(line, plane, 0) == [] == traces_on(line, plane, 4)
    assert len(traces_on(dml.Polyline([(2, 3), (4, 5)], slice=2), plane, 2)) == 1
    (spot,) = traces_on(dml.Point((2.7, 3, 4)), plane, 2)
    np.testing.assert_allclose(spot.points, [(3, 4)])
    assert len(traces_on(dml.MultiPoint([(1, 1), (2, 2)], slice=2), plane, 2)) == 2
    tilted = dml.Polygon([(1, 1, 1), (1, 1, 9), (5, 9, 9), (5, 9, 1)])
    (cut,) = traces_on(tilted, plane, 2)  # its middle plane, 2.5, is reached at row 1 + 8 * 1.5 / 4
    assert not cut.closed
    np.testing.assert_allclose(cut.points, [(4, 1), (4, 9)])
    contours = dml.Contours([dml.Polygon(TRIANGLE, slice=4), dml.Circle((4, 4), 2, slice=5)])
    assert [len(traces_on(contours, plane, d)) for d in (3, 4, 5, 6)] == [0, 1, 1, 0]


def test_what_lies_elsewhere_is_not_shown():
    plane = PlaneMap(GRID.affine, GRID.shape, "axial")
    for region in (
        dml.Polygon(TRIANGLE),
        dml.Point((1, 2, 3), space="mm"),
        dml.SegmentReference(dml.Reference("1", "2"), 1),
    ):
        assert all(traces_on(region, plane, i) == [] for i in range(plane.count))
        assert mark_positions([Mark(region, (1, 2, 3))], plane, 3) == []


def test_positions_show_every_mark_first():
    plane = PlaneMap(GRID.affine, GRID.shape, "axial")
    marks = [Mark(dml.Box((0, 1, 1), (3, 4, 4)), (255, 0, 0)), Mark(dml.Box((2, 1, 1), (5, 4, 4)), (0, 255, 0)),
             Mark(dml.Polygon(TRIANGLE, slice=8), (0, 0, 255))]  # fmt: skip
    assert mark_positions(marks, plane, 1) == [1]
    assert mark_positions(marks, plane, 2) == [1, 3] or mark_positions(marks, plane, 2) == [1, 8]
    assert mark_positions(marks, plane, 3) == [1, 3, 8]
    assert mark_positions(marks, plane, 9) == [0, 1, 2, 3, 4, 8]
    turned = PlaneMap(GRID.flip((0,)).affine, GRID.shape, "axial")
    assert mark_positions(marks[2:], turned, 1) == [0]


def test_marks_are_drawn_where_they_lie_and_named():
    volume = np.zeros(GRID.shape, np.float32)
    mark = Mark(dml.Box((2, 3, 4), (5, 9, 11)), (255, 0, 0), "Nodule", "1")
    common = {"planes": {"axial": [3]}, "setting": (0, 1), "height": 240}
    plain, tile = (
        np.asarray(montage(volume, GRID.affine, marks=marks, **common)).astype(int)
        for marks in ([], [Mark(mark.region, mark.color)])
    )
    rows, columns = np.nonzero(np.abs(tile - plain).sum(axis=2))
    top, left = 6, 6  # of the tile: 240 rows for 12, and as wide as its millimetres
    wide = 240 * (15 * 1.5) / (12 * 2.0)
    cell = max(180, wide)
    left += (cell - wide) / 2
    assert abs(rows.min() - (top + 3 * 20)) <= 2 and abs(rows.max() - (top + 9 * 20)) <= 2
    assert abs(columns.min() - (left + 4 * wide / 15)) <= 2 and abs(columns.max() - (left + 11 * wide / 15)) <= 2
    labels = np.zeros(GRID.shape, np.uint8)
    labels[7:9, 4:6, 4:6] = 1
    both = np.asarray(montage(volume, GRID.affine, labels, marks=[mark], planes={"axial": 2}, height=240))
    assert both.shape[1] > 1.8 * tile.shape[1]  # a slice for the region, and one for the label
    named = np.asarray(montage(volume, GRID.affine, marks=[mark], planes={"axial": 1}, height=240))
    assert named.shape[0] > tile.shape[0]  # a legend
