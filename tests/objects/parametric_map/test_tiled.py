"""Parametric maps of slides: written whole and tile by tile, read by region, judged."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from tests.judges import dciodvfy, need
from tests.objects.segmentation.test_tiled import SHAPE, slide_source

PROBABILITY = dml.Quantity(("2931005", "SCT", "Probability"), label="probability")
OTHER = dml.Quantity(("2931005", "SCT", "Probability"), label="other")


def values(channels: int | None = None, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = rng.random(SHAPE if channels is None else (channels, *SHAPE)).astype(np.float32)
    out[..., 64:128, 64:128] = 0  # one tile that holds nothing
    return out


CASES = {
    "float32": {},
    "float64": {"dtype": "float64"},
    "uint16": {"dtype": "uint16", "value_range": (0, 1)},
    "channels": {"quantity": [PROBABILITY, OTHER]},
    "channels-uint16": {"quantity": [PROBABILITY, OTHER], "dtype": "uint16", "value_range": (0, 1)},
}


@pytest.fixture(params=[f"{name}/{organization}" for name in CASES for organization in ("full", "sparse")])
def case(request):
    name, organization = request.param.split("/")
    options = {"source": slide_source(), "quantity": PROBABILITY, "organization": organization, **CASES[name]}
    array = values(2 if "channels" in name else None)
    return array, options, 0.51 / 65535 if "uint16" in name else 1e-7


def tiles(array: np.ndarray):
    for row in range(0, SHAPE[0], 64):
        for column in range(0, SHAPE[1], 64):
            yield row, column, array[..., row : row + 64, column : column + 64]


def test_whole_arrays_and_streams_agree(tmp_path, case):
    array, options, tolerance = case
    dml.ParametricMap.from_array(array, deterministic=True, **options).save(tmp_path / "whole.dcm")
    with dml.ParametricMap.stream(tmp_path / "stream.dcm", **options) as stream:
        for row, column, tile in reversed(list(tiles(array))):
            stream.put(row, column, tile)
    expected = array if array.ndim == 3 else array[None]
    for name in ("whole", "stream"):
        pm = dml.read_parametric_map(tmp_path / f"{name}.dcm")
        assert pm.is_tiled
        np.testing.assert_allclose(pm.channels(on=options["source"]), expected, atol=tolerance)
        np.testing.assert_allclose(pm.read_region((50, 60), (30, 70)), expected[:, 50:80, 60:130], atol=tolerance)
        assert [q.label for q in pm.quantities] == (["probability", "other"] if array.ndim == 3 else ["probability"])
    assert (tmp_path / "whole.dcm").stat().st_size == (tmp_path / "stream.dcm").stat().st_size
    if options["organization"] == "sparse":
        assert pm.frame_count == 11 * len(expected)
    if "dtype" not in options:
        shared = pm.dataset.SharedFunctionalGroupsSequence[0]
        if "RealWorldValueMappingSequence" in shared:
            mapping = shared.RealWorldValueMappingSequence[0]
            assert mapping.DoubleFloatRealWorldValueLastValueMapped == float(array.max())


@pytest.mark.judge
def test_dciodvfy_finds_no_error(tmp_path, case):
    array, options, _ = case
    dml.ParametricMap.from_array(array, **options).save(tmp_path / "a.dcm")
    assert dciodvfy(tmp_path / "a.dcm") == []


@pytest.mark.judge
def test_highdicom_reads_the_same(tmp_path, case):
    array, options, tolerance = case
    highdicom = need("highdicom", "highdicom")
    if array.ndim == 3:
        pytest.skip("highdicom 0.28 has no matrix of several quantities")
    if options["organization"] == "sparse":
        pytest.skip("highdicom 0.28 has no matrix of maps that leave tiles out")
    dml.ParametricMap.from_array(array, **options).save(tmp_path / "a.dcm")
    theirs = highdicom.imread(str(tmp_path / "a.dcm"))
    try:
        matrix = theirs.get_total_pixel_matrix(dtype=np.float64)
    except AttributeError as error:
        pytest.skip(f"highdicom 0.28 fails on float pixels of tiles: {error}")
    np.testing.assert_allclose(matrix, array, atol=tolerance)


def test_compressed_integers(tmp_path):
    array = values()
    options = {"source": slide_source(), "quantity": PROBABILITY, "dtype": "uint16", "value_range": (0, 1)}
    for compression in ("rle", "jpeg-ls", "jpeg2000", "deflate"):
        path = tmp_path / f"{compression}.dcm"
        with dml.ParametricMap.stream(path, compression=compression, **options) as stream:
            for row, column, tile in tiles(array):
                stream.put(row, column, tile)
        np.testing.assert_allclose(dml.read_parametric_map(path).array(), array, atol=0.51 / 65535)


def test_one_value_a_tile(tmp_path):
    """What a tile classifier says: a pixel for each tile of 64 x 64, its centre at the tile's centre."""
    source = slide_source()
    base = source.levels[0].grid
    affine = np.array(base.affine)
    affine[:3, 1:3] *= 64
    affine[:3, 3] = base.to_lps([0, 31.5, 31.5])
    array = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    pm = dml.ParametricMap.from_array(array, source=source, quantity=PROBABILITY, affine=affine, tile_size=(8, 8))
    pm.save(tmp_path / "a.dcm")
    back = dml.read_parametric_map(tmp_path / "a.dcm")
    np.testing.assert_array_equal(back.array(), array)
    np.testing.assert_allclose(back.grid.to_lps([0, 1, 2]), base.to_lps([0, 64 + 31.5, 2 * 64 + 31.5]), atol=1e-8)


def test_what_does_not_fit_is_refused(tmp_path):
    options = {"source": slide_source(), "quantity": PROBABILITY}
    stream = dml.ParametricMap.stream(tmp_path / "a.dcm", dtype="uint16", value_range=(0, 1), **options)
    for tile in (np.full((64, 64), 2.0), np.full((64, 64), np.nan), np.zeros((2, 64, 64))):
        with pytest.raises(dml.EncodingError):
            stream.put(0, 0, tile)
    stream.abandon()
    with pytest.raises(dml.EncodingError, match="value_range"):
        dml.ParametricMap.stream(tmp_path / "a.dcm", dtype="uint16", **options)
    with pytest.raises(dml.EncodingError, match="cannot be compressed"):
        dml.ParametricMap.stream(tmp_path / "a.dcm", compression="rle", **options)
    assert list(tmp_path.iterdir()) == []


def test_interrupted(tmp_path):
    array, options = values(), {"source": slide_source(), "quantity": PROBABILITY}
    stream = dml.ParametricMap.stream(tmp_path / "a.dcm", **options)
    for row, column, tile in list(tiles(array))[:5]:
        stream.put(row, column, tile)
    stream.close()
    with dml.ParametricMap.stream(tmp_path / "a.dcm", **options) as again:
        assert again.count == 5
        for row, column, tile in tiles(array):
            again.put(row, column, tile)
    np.testing.assert_array_equal(dml.read_parametric_map(tmp_path / "a.dcm").array(), array)


@pytest.mark.parametrize("name", CASES)
def test_a_pyramid(tmp_path, name):
    source = slide_source()
    array = values(2 if "channels" in name else None)
    made = dml.ParametricMap.from_array(array, source=source, **{"quantity": PROBABILITY, **CASES[name]})
    paths = made.save_pyramid(tmp_path, compression="rle" if "uint16" in name else None)
    assert len(paths) == 2
    levels = [dml.read_parametric_map(p) for p in paths]
    assert {pm.series_instance_uid for pm in levels} == {made.series_instance_uid}
    assert levels[0].sop_instance_uid == made.sop_instance_uid
    assert len({pm.sop_instance_uid for pm in levels}) == 2
    assert len({pm.dataset.PyramidUID for pm in levels}) == 1
    assert {pm.frame_of_reference_uid for pm in levels} == {source.frame_of_reference_uid}
    whole = array if array.ndim == 3 else array[None]
    halved = whole.reshape(-1, 75, 2, 105, 2).mean(axis=(2, 4))
    for pm, described, expected in zip(levels, source.levels, (whole, halved), strict=True):
        assert pm.grid.matches(described.grid, 1e-6)
        np.testing.assert_allclose(pm.channels()[:, :], expected, atol=1 / 65535 if "uint16" in name else 1e-6)


def test_a_pyramid_knows_pixels_without_a_value(tmp_path):
    source, array = slide_source(), values()
    array[:3, :3] = np.nan
    options = {"source": source, "quantity": PROBABILITY, "padding": -1.0}
    coarse = dml.read_parametric_map(dml.ParametricMap.from_array(array, **options).save_pyramid(tmp_path)[1]).array()
    assert np.isnan(coarse[0, 0]) and np.isnan(coarse).sum() == 1
    assert coarse[0, 1] == pytest.approx(array[:2, 3].mean())


def test_pyramids_that_cannot_be(tmp_path):
    source = slide_source()
    affine = np.array(source.levels[0].grid.affine)
    affine[:3, 1:3] *= 3
    own = dml.ParametricMap.from_array(
        np.zeros((50, 70), np.float32), source=source, quantity=PROBABILITY, affine=affine
    )
    with pytest.raises(dml.GeometryError, match="matrix of its own"):
        own.save_pyramid(tmp_path)
    own.save(tmp_path / "a.dcm")
    with pytest.raises(dml.EncodingError, match="from_array"):
        dml.read_parametric_map(tmp_path / "a.dcm").save_pyramid(tmp_path)


@pytest.mark.judge
def test_pyramids_conform(tmp_path):
    highdicom = need("highdicom", "highdicom")
    array, source = values(), slide_source()
    options = {"source": source, "quantity": PROBABILITY, "dtype": "uint16", "value_range": (0, 1)}
    paths = dml.ParametricMap.from_array(array, **options).save_pyramid(tmp_path)
    for path in paths:
        assert dciodvfy(path) == []
    theirs = highdicom.imread(paths[1]).get_total_pixel_matrix(dtype=np.float64)
    np.testing.assert_allclose(theirs, array.reshape(75, 2, 105, 2).mean(axis=(1, 3)), atol=1 / 65535)
