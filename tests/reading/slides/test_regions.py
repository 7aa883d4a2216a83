"""Regions and spacings against a full decode, and coordinates against the standard's formula."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.reading.slides import arrays

from . import _make as make
from ._make import Image, picture

SHAPE = (203, 150)


@functools.cache
def pyramid() -> tuple[dml.Slide, list[np.ndarray]]:
    folder = Path(tempfile.mkdtemp())
    pixels = picture(SHAPE)
    make.pyramid(folder, pixels, syntax=make.JPEG_LS)
    return dml.open_slide(folder), [pixels, make.halved(pixels, 2), make.halved(pixels, 4)]


@functools.cache
def sparse(shift: int) -> tuple[dml.Slide, np.ndarray]:
    """One level with absent tiles; with a shift its frames lie on no grid."""
    folder = Path(tempfile.mkdtemp())
    image = Image(
        picture(SHAPE), organization="TILED_SPARSE", keep=lambda p, z, r, c: (r * 3 + c) % 4 > 0, shift=(shift, shift)
    )
    slide = dml.open_slide(image.write(folder / "a.dcm"))
    return slide, slide.read_region((0, 0), SHAPE)


def cut(pixels: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    """A rectangle of an image, white where it reaches past."""
    out = np.full((height, width, *pixels.shape[2:]), 255, pixels.dtype)
    rows, columns = np.arange(row, row + height), np.arange(column, column + width)
    inside = np.ix_((rows >= 0) & (rows < pixels.shape[0]), (columns >= 0) & (columns < pixels.shape[1]))
    valid_rows = rows[(rows >= 0) & (rows < pixels.shape[0])]
    valid_columns = columns[(columns >= 0) & (columns < pixels.shape[1])]
    out[inside] = pixels[np.ix_(valid_rows, valid_columns)]
    return out


corner = st.tuples(st.integers(-60, 260), st.integers(-60, 200))
extent = st.tuples(st.integers(1, 90), st.integers(1, 90))


@given(level=st.integers(0, 2), at=corner, size=extent, threads=st.sampled_from([1, 2, None]))
def test_any_rectangle_of_any_level(level: int, at: tuple[int, int], size: tuple[int, int], threads: int) -> None:
    slide, levels = pyramid()
    factor = 2**level
    found = slide.read_region((at[0] * factor, at[1] * factor), size, level=level, threads=threads)
    np.testing.assert_array_equal(found, cut(levels[level], *at, *size))


@given(corners=st.lists(corner, min_size=0, max_size=7), size=extent, level=st.integers(0, 2))
def test_many_tiles_are_as_regions_one_by_one(
    corners: list[tuple[int, int]], size: tuple[int, int], level: int
) -> None:
    slide, levels = pyramid()
    found = slide.read_tiles(level, np.array(corners).reshape(-1, 2) * 2**level, size=size)
    assert found.shape == (len(corners), *size, 3)
    for tile, at in zip(found, corners, strict=True):
        np.testing.assert_array_equal(tile, cut(levels[level], *at, *size))


def naive(
    pixels: np.ndarray, start: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
) -> np.ndarray:
    """Mean over the area of each output pixel, or linear between centres, one axis after the other."""
    values = pixels.astype(float)
    for axis in (0, 1):
        left = start[axis] + np.arange(size[axis])[:, None] * step[axis]
        pixel = np.arange(values.shape[axis])[None]
        if step[axis] >= 1:
            weights = (np.minimum(left + step[axis], pixel + 1) - np.maximum(left, pixel)) / step[axis]
        else:
            weights = 1 - np.abs(left + step[axis] / 2 - 0.5 - pixel)
        weights = np.maximum(weights, 0)
        values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return values


@settings(max_examples=60)
@given(
    at=st.tuples(st.floats(-20, 190), st.floats(-20, 140)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scale=st.tuples(st.floats(0.3, 9.0), st.floats(0.3, 9.0)),
    streamed=st.booleans(),
)
def test_any_spacing_is_the_mean_over_the_area(
    at: tuple[float, float], size: tuple[int, int], scale: tuple[float, float], streamed: bool
) -> None:
    check_spacing(*sparse(0), at, size, scale, streamed)


@settings(max_examples=30)
@given(at=st.tuples(st.floats(-20, 190), st.floats(-20, 140)), scale=st.floats(1.1, 9.0), streamed=st.booleans())
def test_any_spacing_where_frames_lie_on_no_grid(at: tuple[float, float], scale: float, streamed: bool) -> None:
    check_spacing(*sparse(5), at, (20, 30), (scale, scale), streamed)


def check_spacing(slide, pixels, at, size, scale, streamed) -> None:
    if (np.abs(np.array(scale) - 1) * size <= 1).all():
        return
    spacing = (slide.spacing[0] * scale[0], slide.spacing[1] * scale[1])
    limit = arrays._RESAMPLED_AT_ONCE
    try:
        arrays._RESAMPLED_AT_ONCE = 0 if streamed else limit
        found = slide.read_region(at, size, spacing=spacing)
    finally:
        arrays._RESAMPLED_AT_ONCE = limit
    margin = 400
    padded = cut(pixels, -margin, -margin, SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin)
    expected = naive(padded, (at[0] + margin, at[1] + margin), scale, size)
    assert found.shape == (*size, 3)
    assert np.abs(found - expected).max() <= 0.51


def test_spacing_takes_the_nearest_finer_level() -> None:
    slide, levels = pyramid()
    fine = slide.read_region((0, 0), (60, 50), spacing=(0.0005 * 1.5, 0.0004 * 1.5))
    expected = naive(levels[0], (0, 0), (1.5, 1.5), (60, 50))
    assert np.abs(fine - expected).max() <= 0.51
    coarse = slide.read_region((0, 0), (30, 20), spacing=(0.0005 * 3, 0.0004 * 3))
    expected = naive(levels[1], (0, 0), (1.5, 1.5), (30, 20))
    assert np.abs(coarse - expected).max() <= 0.51
    assert slide.best_level((0.0015, 0.0012)).index == 1
    nearest = slide.read_region((0, 0), (30, 20), spacing=(0.0015, 0.0012), filter="nearest")
    rows, columns = np.floor((np.arange(30) + 0.5) * 1.5), np.floor((np.arange(20) + 0.5) * 1.5)
    np.testing.assert_array_equal(nearest, levels[1][np.ix_(rows.astype(int), columns.astype(int))])


def test_a_level_of_nearly_the_spacing_is_taken_as_it_is() -> None:
    slide, levels = pyramid()
    found = slide.read_region((40, 20), (32, 32), spacing=(0.001 * 1.01, 0.0008 * 1.01))
    np.testing.assert_array_equal(found, levels[1][20:52, 10:42])


def test_the_same_pixels_from_any_number_of_threads() -> None:
    slide, _ = pyramid()
    spacing = (0.0005 * 1.37, 0.0004 * 1.37)
    one = slide.read_region((3.3, 4.4), (140, 100), spacing=spacing, threads=1)
    for threads in (2, 5):
        np.testing.assert_array_equal(one, slide.read_region((3.3, 4.4), (140, 100), spacing=spacing, threads=threads))


@pytest.mark.parametrize("streamed", [False, True])
def test_thumbnails(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if streamed:
        monkeypatch.setattr(arrays, "_RESAMPLED_AT_ONCE", 0)
    slide, pixels = sparse(0)
    found = slide.thumbnail(37)
    # the slide's pixels are taller than wide; the thumbnail's are square
    assert found.shape == (37, round(37 * 150 * 0.4 / (203 * 0.5)), 3)
    step = (203 / found.shape[0], 150 / found.shape[1])
    assert np.abs(found - naive(pixels, (0, 0), step, found.shape[:2])).max() <= 0.51
    assert slide.thumbnail(10_000).shape[0] <= 10_000


@pytest.mark.parametrize("orientation", [(0, -1, 0, -1, 0, 0), (-1, 0, 0, 0, 1, 0), (0.6, 0.8, 0, -0.8, 0.6, 0)])
def test_slide_coordinates(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    slide = dml.open_slide(Image(picture(SHAPE), orientation=orientation).write(tmp_path / "a.dcm"))
    row, column = 17, 33
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    # PS3.3 C.8.12.4.1: spacing is between rows, then between columns; orientation is of rows, then of columns
    expected = np.array([20.5, 30.25, 0]) + along_row * column * 0.0004 + along_column * row * 0.0005
    np.testing.assert_allclose(slide.to_mm((row, column)), expected, atol=1e-12)
    np.testing.assert_allclose(slide.to_mm((row + 0.5, column + 0.5), corner=True), expected, atol=1e-12)
    np.testing.assert_allclose(slide.from_mm(expected), (row, column), atol=1e-6)
    np.testing.assert_allclose(slide.from_mm(expected[:2], corner=True), (row + 0.5, column + 0.5), atol=1e-6)
    points = np.random.default_rng(0).uniform(-50, 300, (4, 5, 2))
    np.testing.assert_allclose(slide.from_mm(slide.to_mm(points)), points, atol=1e-6)
    np.testing.assert_allclose(slide.levels[0].grid.to_lps([[0, row, column]])[0], expected, atol=1e-12)


def test_the_source_record(tmp_path: Path) -> None:
    slide, _ = pyramid()
    source = slide.source
    assert source.modality == "SM" and not source.problems
    assert [level.grid.shape for level in source.levels] == [(1, 203, 150), (1, 101, 75), (1, 50, 37)]
    assert source.sop_instance_uids == slide.levels[0].sop_instance_uids
    assert set(source.instances) == {uid for level in slide.levels for uid in level.sop_instance_uids}
    assert source.attributes["ContainerIdentifier"]["Value"] == ["S-1"]
    assert "Phantom" not in repr(source) + repr(slide)
    again = dml.SourceSeries.from_string(source.to_string())
    assert again == source and again.levels == source.levels
    np.testing.assert_allclose(source.levels[1].grid.spacing[1:], (0.001, 0.0008))


def test_arguments_that_make_no_sense() -> None:
    slide, _ = pyramid()
    for arguments in (
        {"size": (0, 5)}, {"size": (5, 5), "spacing": -1}, {"size": (5, 5), "spacing": 0.001, "level": 0},
        {"size": (5, 5), "color": "grey"}, {"size": (5, 5), "filter": "cubic"}, {"size": (5, 5), "spacing": (1, 2, 3)},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            slide.read_region((0, 0), **arguments)
    with pytest.raises(dml.SeriesError, match="no level 3; the slide has 3: 0 is 203 x 150"):
        slide.read_region((0, 0), (5, 5), level=3)
