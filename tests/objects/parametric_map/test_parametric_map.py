"""Parametric maps: values, meanings and geometry survive, and independent readers agree."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from tests.judges import dciodvfy, need
from tests.objects.segmentation.scenes import axial, oblique, source_on

ADC, PROBABILITY = "DCM:113041", ("2931005", "SCT", "Probability")


def values(shape, seed=0, channels=None):
    rng = np.random.default_rng(seed)
    return rng.normal(50, 20, shape if channels is None else (channels, *shape)).astype(np.float32)


def quantity(label="ADC"):
    return dml.Quantity(ADC, "mm2/s", label=label)


def written(tmp_path, array, source, **options) -> dml.ParametricMap:
    compression = options.pop("compression", None)
    path = tmp_path / "pm.dcm"
    dml.ParametricMap.from_array(array, source=source, **{"quantity": ADC, "unit": "mm2/s", **options}).save(
        path, compression
    )
    return dml.read_parametric_map(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_stored_as_they_are(tmp_path, dtype):
    grid = oblique()
    array = values(grid.shape).astype(dtype)
    pm = written(tmp_path, array, source_on(grid))
    got = pm.array(on=source_on(grid))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)
    assert pm.quantities[0].concept == dml.Code("113041", "DCM", "")
    assert pm.quantities[0].unit.value == "mm2/s"
    assert pm.grid.matches(grid, 1e-6)


@pytest.mark.parametrize("dtype", ["uint16"])
@pytest.mark.parametrize("compression", [None, "rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"])
def test_floats_in_integer_steps(tmp_path, dtype, compression):
    grid = oblique()
    array = values(grid.shape, channels=2)
    array[1] *= 100
    pm = written(
        tmp_path, array, source_on(grid), dtype=dtype, compression=compression,
        quantity=[quantity("a"), quantity("b")],
    )  # fmt: skip
    for got, channel in zip(pm.channels(on=grid), array, strict=True):
        step = (channel.max() - channel.min()) / np.iinfo(dtype).max
        np.testing.assert_allclose(got, channel, atol=0.51 * step + 1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_stored_as_they_are(tmp_path, dtype):
    grid = oblique()
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, grid.shape).astype(dtype)
    pm = written(tmp_path, array, source_on(grid), quantity=PROBABILITY, unit="1")
    np.testing.assert_array_equal(pm.array(on=grid), array)
    assert pm.dataset.BitsAllocated == 16
    np.testing.assert_array_equal(pm.dataset.pixel_array, array)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.just("uint16"))
@settings(max_examples=40)
def test_any_range_comes_back_within_half_a_step(low, width, dtype):
    grid = axial((2, 3, 4))
    array = low + width * np.random.default_rng(1).random(grid.shape)
    pm = dml.ParametricMap.from_array(array, source=source_on(grid), quantity=ADC, unit="mm2/s", dtype=dtype)
    step = (array.max() - array.min()) / np.iinfo(dtype).max
    np.testing.assert_allclose(pm.array(), array, atol=0.51 * step + 1e-6 * abs(low) + 1e-9)


def test_a_value_range(tmp_path):
    grid = oblique()
    array = np.random.default_rng(0).random(grid.shape)
    pm = written(tmp_path, array, source_on(grid), dtype="uint16", value_range=(0, 1), quantity=PROBABILITY, unit="1")
    np.testing.assert_allclose(pm.array(), array, atol=0.5 / 65535 + 1e-6)
    with pytest.raises(dml.EncodingError, match="pass value_range"):
        written(tmp_path, 2 * array, source_on(grid), dtype="uint16", value_range=(0, 1))


def test_missing_values(tmp_path):
    grid = oblique()
    array = values(grid.shape)
    array[3, 4:9] = np.nan
    with pytest.raises(dml.EncodingError, match="padding=number"):
        written(tmp_path, array, source_on(grid))
    pm = written(tmp_path, array, source_on(grid), padding=-999)
    np.testing.assert_array_equal(pm.array(), array)
    assert pm.dataset.FloatPixelPaddingValue == -999


def test_channels_by_name(tmp_path):
    grid = oblique()
    array = values(grid.shape, channels=3)
    names = [dml.Quantity(ADC, "mm2/s", label=n) for n in ("first", "second", "third")]
    pm = written(tmp_path, array, source_on(grid), quantity=names)
    np.testing.assert_array_equal(pm.channels(on=grid), array)
    np.testing.assert_array_equal(pm.channels(on=grid, quantities=["third", 0]), array[[2, 0]])
    np.testing.assert_array_equal(pm.array(on=grid, quantity="second"), array[1])
    with pytest.raises(dml.EncodingError, match="say which"):
        pm.array()
    with pytest.raises(dml.CodeError, match="'fourth'"):
        pm.array(quantity="fourth")


def test_other_grids(tmp_path):
    source = source_on(oblique())
    own = axial((5, 20, 24), (3, 1, 1.5))
    array = values(own.shape)
    pm = written(tmp_path, array, source, affine=own.affine)
    assert pm.grid.matches(own, 1e-6)
    np.testing.assert_array_equal(pm.array(), array)
    np.testing.assert_array_equal(pm.array(on=own.flip([0, 2])), array[::-1, :, ::-1])
    wider = pm.array(on=own.pad([(1, 1), (2, 0), (0, 3)]), fill=-1)
    np.testing.assert_array_equal(wider[1:-1, 2:, :-3], array)
    assert (wider[0] == -1).all()
    with pytest.raises(dml.GeometryError, match="resample=True"):
        pm.array(on=source.grid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": [ADC, ADC]}, "1 channels, 2 quantities"),
        ({"dtype": "uint8"}, "no 8-bit maps"),
        ({"array": np.full((9, 40, 64), np.inf, np.float32)}, "not finite"),
        ({"array": np.full((9, 40, 64), 1e200), "dtype": "float32"}, "float64"),
        ({"array": np.zeros((3, 4))}, r"\(D, H, W\)"),
        ({"array": np.zeros((9, 40, 60))}, "has shape"),
        ({"dtype": "uint16", "padding": 1}, "floating point maps only"),
        ({"value_range": (1, 0), "dtype": "uint16"}, "lowest, highest"),
        ({"unit": "no unit at all"}, "UCUM|unit"),
        ({"colour": 1}, "unknown settings"),
    ],
)
def test_refusals(change, message):
    grid = oblique()
    arguments = {"array": values(grid.shape), "source": source_on(grid), "quantity": ADC, "unit": "mm2/s", **change}
    with pytest.raises(dml.DicomMLError, match=message):
        dml.ParametricMap.from_array(arguments.pop("array"), **arguments)


def test_compressed_floats_are_refused(tmp_path):
    grid = oblique()
    with pytest.raises(dml.EncodingError, match="uint16"):
        written(tmp_path, values(grid.shape), source_on(grid), compression="rle")
    assert list(tmp_path.iterdir()) == []


CASES = {
    "float32": {},
    "float64": {"dtype": "float64"},
    "uint16": {"dtype": "uint16"},
    "channels": {"channels": 2, "quantity": [quantity("a"), quantity("b")]},
    "channels16": {"channels": 2, "quantity": [quantity("a"), quantity("b")], "dtype": "uint16"},
    "padding": {"padding": -999},
    "own-grid": {"affine": axial((9, 40, 64), (3, 1, 1.5)).affine},
    "multiframe": {},
    "algorithm": {"algorithm": dml.Algorithm("DiffusionNet", "3")},
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    options = dict(CASES[request.param])
    grid = oblique()
    array = values(grid.shape, channels=options.pop("channels", None))
    source = source_on(grid, multiframe=request.param == "multiframe")
    pm = written(tmp_path, array, source, **options)
    return tmp_path / "pm.dcm", pm, array, source


@pytest.mark.judge
def test_dciodvfy_finds_no_error(case):
    assert dciodvfy(case[0]) == []


@pytest.mark.judge
def test_highdicom_reads_the_same(case):
    path, pm, array, source = case
    hd = need("highdicom", "highdicom")
    theirs = hd.imread(str(path))
    if len(pm.quantities) > 1:
        pytest.skip("highdicom 0.28 has no volume of several quantities")
    volume = theirs.get_volume(dtype=np.float64)
    step = 0.0 if pm.dataset.get("BitsStored") is None else float(np.ptp(array)) / 65535
    np.testing.assert_allclose(volume.array, pm.array(on=dml.Grid(volume.spatial_shape, volume.affine)), atol=1e-4)
    assert pm.grid.matches(dml.Grid(volume.spatial_shape, volume.affine).flip([0]), 1e-3)
    np.testing.assert_allclose(volume.array[::-1], array, atol=0.51 * step + 1e-5)


def test_references_and_dimensions(case):
    path, pm, array, source = case
    ds = pydicom.dcmread(path)
    listed = {i.ReferencedSOPInstanceUID for i in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert listed == set(source.sop_instance_uids)
    rows = [
        tuple(np.atleast_1d(f.FrameContentSequence[0].DimensionIndexValues))
        for f in ds.PerFrameFunctionalGroupsSequence
    ]
    assert rows == sorted(set(rows))
    assert len(rows[0]) == len(ds.DimensionIndexSequence)
    assert ds.FrameOfReferenceUID == source.frame_of_reference_uid
    again = dml.read_parametric_map(path)
    assert again.referenced_series == {source.series_instance_uid: list(source.instances)}


def test_identifiers():
    grid = oblique()

    def make(**options):
        return dml.ParametricMap.from_array(
            values(grid.shape), source=source_on(grid), quantity=ADC, unit="mm2/s", **options
        )

    assert make().sop_instance_uid != make().sop_instance_uid
    assert make(deterministic=True).sop_instance_uid == make(deterministic=True).sop_instance_uid
    assert make(deterministic=True).sop_instance_uid != make(deterministic=True, series_number=7).sop_instance_uid
