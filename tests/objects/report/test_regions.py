"""Regions: what they are, and that each comes back from a file where it was, on any grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.objects.report.canvas import Canvas, convert
from tests.series import write_series

from .scenes import NET, axial, group, oblique, regions_of_volume, slide, source_on

REGIONS = regions_of_volume()


def written(region, source, **settings) -> bytes:
    return dml.Report(source, [group(region)], NET, **settings)._bytes


def read_back(region, source, read=None, **settings):
    report = dml.read_report(written(region, source, **settings), **(read or {}))
    assert report.problems == []
    return report.groups[0].region


# ---------------------------------------------------------------------- on volumes
@pytest.mark.parametrize("grid", [axial(), oblique()], ids=["axial", "oblique"])
@pytest.mark.parametrize("name", REGIONS)
def test_every_region_of_a_volume_comes_back(name, grid):
    region = REGIONS[name]
    assert read_back(region, source_on(grid)).close_to(region)
    assert read_back(region, source_on(grid), {"source": source_on(grid)}, image_library=False).close_to(region)


@pytest.mark.parametrize("name", REGIONS)
def test_every_region_of_a_multiframe_image_comes_back(name):
    grid = oblique()
    turned = source_on(grid, multiframe=True, frame_numbers=tuple(range(grid.shape[0], 0, -1)))
    for source in (source_on(grid, multiframe=True), turned):
        assert read_back(REGIONS[name], source).close_to(REGIONS[name])


@pytest.mark.parametrize("name", REGIONS)
def test_every_region_can_be_written_in_space(name):
    region = REGIONS[name]
    back = read_back(region, source_on(oblique()), coordinates="patient")
    assert back.close_to(region, 2e-3)


def corner(low, size):
    return st.tuples(*(st.floats(a, b) for a, b in zip(low, size, strict=True)))


@settings(max_examples=60)
@given(corner((0, 0, 0), (8, 30, 60)), st.tuples(*[st.floats(0.05, 1)] * 3), st.integers(0, 20))
def test_any_box_comes_back(start, share, seed):
    grid = oblique(seed=seed)
    stop = [a + s * (n - a) for a, s, n in zip(start, share, grid.shape, strict=True)]
    if min(b - a for a, b in zip(start, stop, strict=True)) < 1e-2:
        return
    box = dml.Box(start, stop)
    assert read_back(box, source_on(grid)).close_to(box, 2e-3)


@settings(max_examples=40)
@given(st.integers(0, 7), st.integers(1, 9), st.integers(0, 30), st.integers(0, 50))
def test_boxes_of_whole_voxels_come_back_exactly(d, count, h, w):
    grid = oblique()
    box = dml.Box((d, h, w), (min(9, d + count), h + 3, w + 7))
    data = written(box, source_on(grid))
    assert dml.read_report(data).groups[0].region == box
    # one closed outline a slice, on the image of that slice, the middle one first
    items = dml.read_report(data).tree().find("DCM:111030")
    assert len(items) == box.stop[0] - box.start[0]
    slices = [source_on(grid).sop_instance_uids.index(i.children[0].value.sop_instance_uid) for i in items]
    assert sorted(slices) == list(range(d, int(box.stop[0]))) and slices[0] == (d + int(box.stop[0]) - 1) // 2
    for item in items:
        points = item.value.points
        assert item.value.kind == "POLYLINE" and np.array_equal(points[0], points[-1])
        assert points.min(axis=0).tolist() == [w, h] and points.max(axis=0).tolist() == [w + 7, h + 3]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 64)), min_size=3, max_size=30), st.integers(0, 8))
def test_any_polygon_comes_back(points, d):
    points = list(dict.fromkeys(points))
    if len(points) < 3:
        return
    region = dml.Polygon(points, slice=d)
    back = read_back(region, source_on(oblique()))
    if isinstance(back, dml.Box):  # four points may be a rectangle
        back = dml.Polygon(back.corners, slice=d)
        assert back.area == pytest.approx(region.area, rel=1e-4)
    else:
        assert back.close_to(region, 1e-4)


def test_pixel_centres_are_where_dicom_has_them():
    """The centre of the first pixel is 0.5\\0.5 in an image, and Image Position (Patient) in space."""
    grid = oblique()
    source = source_on(grid)
    on_image = dml.read_report(written(dml.Point((0.5, 0.5), slice=3), source)).tree().find(value_type="SCOORD")[0]
    assert on_image.value.points.tolist() == [[0.5, 0.5]]
    assert on_image.children[0].value.sop_instance_uid == source.sop_instance_uids[3]
    data = written(dml.Point((0.5, 0.5), slice=3), source, coordinates="patient")
    in_space = dml.read_report(data).tree().find(value_type="SCOORD3D")[0]
    np.testing.assert_allclose(in_space.value.points[0], grid.position(3), rtol=1e-6)
    assert in_space.value.frame_of_reference_uid == source.frame_of_reference_uid


# ---------------------------------------------------------------------- millimetres
@pytest.mark.parametrize(
    "region",
    [
        dml.Box((-40, -30, 10), (-20.5, -10, 12), space="mm"),
        dml.Point((1, 2, 3), space="mm"),
        dml.Polygon([(1, 2, 3), (4, 2, 3), (4, 8, 3)], space="mm"),
        dml.Polyline([(1, 2, 3), (4, 2, 9)], space="mm"),
        dml.Ellipse([(0, 0, 1), (8, 0, 1), (4, -2, 1), (4, 2, 1)], space="mm"),
        dml.Ellipsoid.from_radii((1, 2, 3), (4, 3, 2), space="mm"),
    ],
    ids=lambda r: r.kind,
)
@pytest.mark.parametrize("grid", [axial(), oblique()], ids=["axial", "oblique"])
def test_millimetres_come_back_as_millimetres(region, grid):
    assert read_back(region, source_on(grid), {"space": "mm"}).close_to(region, 1e-4)
    assert read_back(region, source_on(grid), image_library=False).close_to(region, 1e-4)


@pytest.mark.parametrize("name", [n for n, r in REGIONS.items() if not isinstance(r, dml.Contours)])
def test_to_millimetres_and_back(name):
    canvas = Canvas.of(source_on(oblique()))
    moved = convert(REGIONS[name], canvas, "mm")
    assert moved.space == "mm" and convert(moved, canvas, "index").close_to(REGIONS[name], 1e-3)


def test_an_anisotropic_circle_is_an_ellipse_in_space():
    canvas = Canvas.of(source_on(axial(spacing=(2.5, 0.5, 1.0))))
    ellipse = convert(dml.Circle((8, 8), 3, slice=1), canvas, "mm")
    np.testing.assert_allclose(np.linalg.norm(ellipse.semi_axes, axis=1), [3.0, 1.5])
    tilted = dml.Ellipse.of((12, 12), (6, 2), 40, slice=1)
    moved = convert(tilted, canvas, "mm")
    assert abs(np.prod(np.linalg.norm(moved.semi_axes, axis=1)) - 12 * 0.5) < 1e-9  # areas scale with the pixels
    assert abs(moved.semi_axes[0] @ moved.semi_axes[1]) < 1e-9
    assert convert(moved, canvas, "index").close_to(tilted)


def test_regions_of_another_frame_of_reference_stay_in_millimetres():
    grid = axial()
    data = written(dml.Point((1, 2, 3), space="mm"), source_on(grid), image_library=False)
    other = source_on(grid, frame_of_reference_uid="1.2.3.4")
    assert dml.read_report(data, source=other).groups[0].region.space == "mm"
    assert dml.read_report(data, source=source_on(grid)).groups[0].region.space == "index"


# ---------------------------------------------------------------------- slides
SLIDE_REGIONS = [
    dml.Polygon([(1, 1), (1, 5.5), (6, 3)]),
    dml.Box((30.25, 40), (90, 101.5)),
    dml.Circle((80, 80), 31),
    dml.Ellipse.of((80, 81), (50, 20), 30),
    dml.Point((7, 7)),
    dml.MultiPoint([(7, 7), (9, 10)]),
    dml.Polyline([(1, 2), (3, 4)]),
]


@pytest.mark.parametrize("region", SLIDE_REGIONS, ids=lambda r: r.kind)
def test_slides_in_space_and_on_pixels(region):
    source = slide()
    in_space = written(region, source)
    item = dml.read_report(in_space).tree().find(value_type="SCOORD3D")[0]
    assert not item.value.points[:, 2].any()
    assert dml.read_report(in_space, source=source).groups[0].region.close_to(region, 0.02)
    on_pixels = written(region, source, coordinates="image")
    item = dml.read_report(on_pixels).tree().find(value_type="SCOORD")[0]
    assert item.value.origin == "VOLUME"
    assert item.children[0].value.sop_instance_uid == source.levels[0].sop_instance_uids[0]
    assert dml.read_report(on_pixels).groups[0].region.close_to(region, 1e-4)
    assert dml.read_report(on_pixels, source=source).groups[0].region.close_to(region, 1e-4)


def test_slide_millimetres_are_those_of_its_pixels():
    source = slide()
    point = convert(dml.Point((0.5, 0.5)), Canvas.of(source), "mm").point
    np.testing.assert_allclose(point, source.levels[0].grid.origin[:2])
    data = written(dml.Point((19, 39), space="mm"), source)
    assert (
        dml.read_report(data, source=source, space="mm")
        .groups[0]
        .region.close_to(dml.Point((19, 39), space="mm"), 1e-5)
    )


# ---------------------------------------------------------------------- forms
def test_one_form_for_one_region():
    assert dml.Point((12.5, 3, 4)) == dml.Point((3, 4), slice=12)
    assert dml.Polygon([(0, 0), (0, 1), (1, 1), (0, 0)]) == dml.Polygon([(0, 0), (0, 1), (1, 1)])
    assert hash(dml.Point((1, 2))) == hash(dml.Point((1, 2))) and dml.Point((1, 2)) != dml.Point((1, 2), slice=0)
    box = dml.Box((0, 1, 2), (3, 4, 5))
    assert box.start == (0, 1, 2) and box.stop == (3, 4, 5) and box.corners.shape == (8, 3)
    assert "Box((0, 1, 2), (3, 4, 5))" in repr(box)
    assert dml.Polygon([(0, 0), (0, 2), (3, 2), (3, 0)]).area == 6
    low, high = dml.Ellipse.of((10, 10), (4, 2), 90).bounds
    np.testing.assert_allclose([low, high], [[8, 6], [12, 14]])
    low, high = dml.Contours([dml.Circle((4, 4), 2, slice=5), dml.Box((0, 0), (1, 1), slice=7)]).bounds
    assert low.tolist() == [5, 0, 0] and high.tolist() == [8, 6, 6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dml.Box((0, 0), (0, 1)), "below its stop"),
        (lambda: dml.Box((0, 0), (1, 1, 1)), "start and a stop"),
        (lambda: dml.Polygon([(0, 0), (1, 1)]), "3 or more points"),
        (lambda: dml.Point((0, 0), space="world"), "'index' or 'mm'"),
        (lambda: dml.Point((0, float("nan"))), "finite"),
        (lambda: dml.Point((0, 0, 0), slice=1), "slice= names"),
        (lambda: dml.Circle((0, 0), 0), "positive radius"),
        (lambda: dml.Circle((1.25, 0, 0), 1), "lies on a slice"),
        (lambda: dml.Ellipse([(0, 0)]), "4 points"),
        (lambda: dml.Ellipsoid.from_radii((0, 0, 0), (1, 2, 0)), "positive radii"),
        (lambda: dml.Contours([]), "one piece or more"),
        (lambda: dml.SegmentationFrame(None, 0), "counted from 1"),
    ],
)
def test_what_is_no_region(make, message):
    with pytest.raises(dml.GeometryError, match=message):
        make()


@pytest.mark.parametrize(
    ("region", "settings", "message"),
    [
        (dml.Point((1, 1)), {}, "has 9 slices: name the one"),
        (dml.Point((1, 1), slice=9), {}, "slices 0 to 8"),
        (dml.Box((0, 0), (41, 5), slice=1), {}, "40 rows and 64 columns"),
        (dml.Box((-1, 0, 0), (2, 5, 5)), {}, "slice -1"),
        (dml.Point((1, 2, 3), space="mm"), {"coordinates": "image"}, "no single image"),
        (dml.Point((1, 2, 3), space="mm"), {"document": "comprehensive"}, "comprehensive3d"),
        (dml.Polygon([(0, 0, 0), (9, 0, 0), (9, 9, 0), (0, 9, 5)], space="mm"), {}, "no common plane"),
    ],
)
def test_what_lies_not_on_the_source(region, settings, message):
    with pytest.raises((dml.GeometryError, dml.EncodingError), match=message):
        written(region, source_on(axial()), **settings)


def test_a_source_without_geometry_has_pixels_only():
    source = replace(source_on(axial((1, 40, 64))), grid=None, frame_of_reference_uid="")
    assert read_back(dml.Box((1, 2), (3, 4)), source) == dml.Box((1, 2), (3, 4))
    with pytest.raises(dml.GeometryError, match="no patient geometry"):
        written(dml.Point((1, 2, 3)), source)


def test_whole_slices_where_only_images_are_allowed():
    box = dml.Box((3.4, 4.25, 5), (7.1, 9, 11.5))
    data = written(box, source_on(oblique()), coordinates="image", document="comprehensive")
    assert dml.read_report(data).groups[0].region == dml.Box((3, 4.25, 5), (7, 9, 11.5))


# ---------------------------------------------------------------------- volumes that are not their whole series
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    write_series(folder)
    return dml.read_volume(folder)


CHANGES = {
    "cropped": lambda v: v.crop([slice(2, 9), slice(3, 18), slice(4, 15)]),
    "flipped": lambda v: v.flip([0, 2]),
    "turned": lambda v: v.orient("LPS"),
    "resampled": lambda v: v.resample(spacing=(1.25, 0.8, 0.7)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_indices_are_those_of_the_array_given(whole, change):
    """A box holds the same voxels of the patient, whichever array its indices count in."""
    volume = CHANGES[change](whole)
    box = dml.Box((1, 2, 3), (4, 5, 6))
    report = dml.Report(volume, [group(box), group(dml.Point((1, 2, 3)))], NET)
    corners = volume.grid.to_lps(box.corners - 0.5)
    in_space = dml.read_report(report._bytes, space="mm").groups
    low, high = in_space[0].region.bounds
    np.testing.assert_allclose([low, high], [corners.min(axis=0), corners.max(axis=0)], atol=2e-3)
    back = dml.read_report(report._bytes, source=volume).groups
    assert back[0].region.close_to(box, 2e-3) and back[1].region.close_to(dml.Point((1, 2, 3)), 2e-3)
    if change != "resampled":
        assert dml.read_report(report._bytes, source=whole).groups[0].region.kind == "box"


def test_slices_are_those_of_the_array_given(whole):
    volume = whole.crop([slice(2, 9), slice(0, 20), slice(0, 16)])
    made = dml.Report(volume, [group(images=[1]), group(dml.Circle((5, 5), 2, slice=1))], NET)
    back = dml.read_report(made._bytes, source=volume)
    assert back.groups[0].images[0].sop_instance_uid == whole.source.sop_instance_uids[3]
    assert back.groups[1].region.close_to(dml.Circle((5, 5), 2, slice=1))
    assert (
        back.tree().find(value_type="SCOORD")[0].children[0].value.sop_instance_uid
        == (whole.source.sop_instance_uids[3])
    )
    with pytest.raises(dml.GeometryError, match="no slice of the series"):
        dml.Report(whole.resample(spacing=(1.1, 0.8, 0.7)), [group(images=[1])]).dataset
    boxes = [[-3, 0, 0, 2, 40, 5]]
    cut = dml.Report.from_detections(boxes, source=volume).groups[0].region
    assert cut == dml.Box((0, 0, 0), (2, 20, 5))
