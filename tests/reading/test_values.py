"""What stored values mean: rescale, lookup tables, real-world value maps, PET, padding, and windows for display."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicom_ml import DicomMLWarning, FileError, SeriesError, Volume, read_volume
from dicom_ml.reading import Window
from dicom_ml.reading.values import LinearMap, TableMap
from tests.reading import _make as make
from tests.reading._make import Series, item, ramp


@pytest.fixture(autouse=True)
def _no_silent_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DicomMLWarning)
        yield


# ---------------------------------------------------------------------- rescale
def test_a_slope_a_slice(tmp_path: Path) -> None:
    pairs = [(0.37 + d / 7, d * 10.0) for d in range(5)]
    pairs = [(float(f"{a:.8g}"), b) for a, b in pairs]
    series = Series(ramp(), modality="PT", rescale=pairs, attributes={"Units": "BQML"})
    volume = read_volume(series.write(tmp_path))
    expected = np.stack([s.astype(np.float64) * a + b for s, (a, b) in zip(series.stored, pairs, strict=True)])
    np.testing.assert_array_equal(volume.array, expected.astype(np.float32))
    assert volume.unit is not None
    assert volume.unit.value == "Bq/ml"
    np.testing.assert_array_equal(read_volume(tmp_path, dtype=np.float64).array, expected)
    np.testing.assert_array_equal(read_volume(tmp_path, dtype=np.int32).array, np.rint(expected))


@pytest.mark.parametrize(("dtype", "expected"), [(np.uint8, np.uint8), (np.int16, np.int16), (np.uint16, np.uint16)])
def test_stored_values(tmp_path: Path, dtype: type, expected: type) -> None:
    series = Series(ramp(dtype=dtype, bits=8), rescale=(2.0, 5.0))
    volume = read_volume(series.write(tmp_path), units="stored")
    np.testing.assert_array_equal(volume.array, series.stored)
    assert volume.array.dtype == expected
    assert volume.unit is None


def test_stored_values_of_mixed_signs(tmp_path: Path) -> None:
    series = Series(ramp(dtype=np.uint16, bits=12))

    def change(ds: Dataset, d: int) -> None:
        if d == 2:
            ds.PixelRepresentation = 1

    series.change = change
    volume = read_volume(series.write(tmp_path), units="stored")
    assert volume.array.dtype == np.int32
    np.testing.assert_array_equal(volume.array, series.stored)


def test_units_of_a_series_must_agree(tmp_path: Path) -> None:
    series = Series(ramp(), modality="PT", change=lambda ds, d: setattr(ds, "Units", "BQML" if d else "CNTS"))
    folder = series.write(tmp_path)
    with pytest.raises(SeriesError, match=r"different units \(Bq/ml, \{counts\}\)"):
        read_volume(folder)
    assert read_volume(folder, units="stored").shape[0] == 5


@pytest.mark.parametrize(
    ("modality", "attributes", "unit"),
    [
        ("CT", {}, "[hnsf'U]"),
        ("CT", {"RescaleType": "HU"}, "[hnsf'U]"),
        ("CT", {"RescaleType": "US"}, None),
        ("MR", {}, None),
        ("PT", {"Units": "GML", "SUVType": "LBM"}, "g/ml{SUVlbm}"),
        ("PT", {"Units": "PCNT"}, "%"),
        ("PT", {}, None),
    ],
)
def test_units(tmp_path: Path, modality: str, attributes: dict[str, str], unit: str | None) -> None:
    found = read_volume(Series(ramp((2, 4, 4)), modality=modality, attributes=attributes).write(tmp_path)).unit
    if unit is None:
        assert found is None
    else:
        assert found is not None
        assert found.value.replace("{SUVlbm}g/ml", "g/ml{SUVlbm}") == unit


@pytest.mark.parametrize("slope", ["0", "nan", "one"])
def test_a_slope_that_is_none(tmp_path: Path, slope: str) -> None:
    folder = Series(ramp((1, 4, 4))).write(tmp_path)
    file = next(folder.iterdir())
    content = file.read_bytes()
    old = b"\x28\x00\x53\x10DS\x02\x001 "
    assert old in content
    text = slope.encode() + b" " * (len(slope) % 2)
    file.write_bytes(content.replace(old, b"\x28\x00\x53\x10DS" + len(text).to_bytes(2, "little") + text))
    with pytest.raises(FileError, match=r"RescaleSlope|Rescale Slope"):
        read_volume(folder)


# ---------------------------------------------------------------------- lookup tables
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_modality_lookup_table(tmp_path: Path, dtype: type) -> None:
    table = (np.arange(256) ** 2).astype(np.uint16)
    first = -128 if dtype is np.int16 else 0
    lut = item(LUTDescriptor=[256, first & 0xFFFF, 16], LUTData=table.tolist(), ModalityLUTType="US")
    lut[0]["LUTDescriptor"].VR = "US"
    lut[0]["LUTData"].VR = "US"
    series = Series(ramp(dtype=dtype, bits=10), rescale=None, attributes={"ModalityLUTSequence": lut})
    volume = read_volume(series.write(tmp_path))
    index = np.clip(series.stored.astype(int) - first, 0, 255)
    np.testing.assert_array_equal(volume.array, table[index].astype(np.float32))


def test_lookup_tables_are_checked(tmp_path: Path) -> None:
    lut = item(LUTDescriptor=[256, 0, 16], LUTData=[1, 2, 3], ModalityLUTType="US")
    lut[0]["LUTDescriptor"].VR = lut[0]["LUTData"].VR = "US"
    series = Series(ramp(), rescale=None, attributes={"ModalityLUTSequence": lut})
    with pytest.raises(SeriesError, match="holds 3 entries, its descriptor says 256"):
        read_volume(series.write(tmp_path))


def test_maps() -> None:
    table = TableMap(-1, np.array([1.0, 4, 9]))
    out = np.empty(5, np.float32)
    table.apply(np.array([-9, -1, 0, 1, 9], np.int16), out)
    assert out.tolist() == [1, 1, 4, 9, 9]
    assert table.at(0) == 4
    stored = np.arange(-32768, 32768, dtype=np.int16).reshape(256, 256)
    for slope, intercept in ((1, -1024), (2, 3), (0.001, 0), (0.37, -12.5), (12345.7, 8)):
        for dtype in (np.float32, np.float64, np.int32):
            got = np.empty(stored.shape, dtype)
            LinearMap(slope, intercept).apply(stored, got)
            exact = stored.astype(np.float64) * slope + intercept
            if dtype is np.int32:
                exact = np.rint(exact)
            np.testing.assert_array_equal(got, exact.astype(dtype))


def test_a_type_too_narrow_is_refused(tmp_path: Path) -> None:
    stored = ramp(dtype=np.uint16)
    stored[0, 0, 0] = 65535
    folder = Series(stored).write(tmp_path)
    for dtype in (np.int16, np.uint8, np.float16):
        for units in ("real", "stored"):
            if (dtype, units) != (np.float16, "real"):
                with pytest.raises(SeriesError, match="do not fit into"):
                    read_volume(folder, dtype=dtype, units=units)
    with pytest.raises(ValueError, match="dtype"):
        read_volume(folder, dtype=bool)


# ---------------------------------------------------------------------- real-world values
def real_world(slope: float, intercept: float, unit: str, label: str) -> Dataset:
    one = Dataset()
    one.LUTLabel, one.LUTExplanation = label, label
    one.RealWorldValueFirstValueMapped, one.RealWorldValueLastValueMapped = 0, 4095
    one["RealWorldValueFirstValueMapped"].VR = one["RealWorldValueLastValueMapped"].VR = "US"
    one.RealWorldValueSlope, one.RealWorldValueIntercept = slope, intercept
    one.MeasurementUnitsCodeSequence = item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    return one


def test_real_world_value_map_of_mr(tmp_path: Path) -> None:
    maps = Sequence([real_world(0.5, 3.0, "ms", "T1")])
    series = Series(ramp(), modality="MR", rescale=(2.0, 0.0), attributes={"RealWorldValueMappingSequence": maps})
    folder = series.write(tmp_path)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, series.stored * 0.5 + 3)
    assert volume.unit is not None
    assert volume.unit.value == "ms"
    rescaled = read_volume(folder, units="rescaled")
    np.testing.assert_array_equal(rescaled.array, series.stored * 2.0)
    assert rescaled.unit is None


def test_a_map_is_chosen_by_unit_or_label(tmp_path: Path) -> None:
    maps = Sequence([real_world(0.5, 3.0, "ms", "T1"), real_world(0.25, 0.0, "{SUVbw}g/ml", "SUV")])
    attributes = {"RealWorldValueMappingSequence": maps, "Units": "BQML"}
    series = Series(ramp(), modality="PT", rescale=(2.0, 0.0), attributes=attributes)
    folder = series.write(tmp_path)
    np.testing.assert_array_equal(read_volume(folder).array, series.stored * 2.0)
    for units in ("SUV", "{SUVbw}g/ml", "UCUM:{SUVbw}g/ml"):
        volume = read_volume(folder, units=units)
        np.testing.assert_array_equal(volume.array, series.stored * 0.25)
        assert volume.unit is not None
        assert volume.unit.value.startswith("{SUVbw}")
    with pytest.raises(SeriesError, match=r"no real-world value map 'mm' \(offered: 'T1' in ms, 'SUV' in"):
        read_volume(folder, units="mm")


def test_enhanced_real_world_value_map(tmp_path: Path) -> None:
    series = Series(ramp(), modality="MR", rescale=(1.0, 0.0))

    def per_frame(groups: Dataset, number: int) -> None:
        groups.RealWorldValueMappingSequence = Sequence([real_world(1.0 + number, 0.0, "ms", "T1")])

    volume = read_volume(make.write(make.enhanced(series, per_frame=per_frame), tmp_path / "mf"))
    np.testing.assert_array_equal(volume.array, series.stored * (1.0 + np.arange(5)[:, None, None]))


# ---------------------------------------------------------------------- padding, palette, MONOCHROME1
def test_padding_is_metadata(tmp_path: Path) -> None:
    stored = ramp()
    stored[:, :2] = -2000
    series = Series(stored, change=lambda ds, d: ds.add_new("PixelPaddingValue", "SS", -2000) and None)
    volume = read_volume(series.write(tmp_path))
    assert volume.padding_value == -3024
    assert (volume.array[:, :2] == volume.padding_value).all()
    shown = volume.windowed(0, 10000)
    assert (shown[:, :2] == 0).all()


def test_palette_colour(tmp_path: Path) -> None:
    series = Series(ramp(dtype=np.uint8, bits=8), attributes={"PhotometricInterpretation": "PALETTE COLOR"})
    folder = series.write(tmp_path)
    with pytest.raises(SeriesError, match=r"palette colour image.*units='stored'"):
        read_volume(folder)
    np.testing.assert_array_equal(read_volume(folder, units="stored").array, series.stored)


def test_monochrome1(tmp_path: Path) -> None:
    series = Series(ramp(), attributes={"PhotometricInterpretation": "MONOCHROME1"})
    volume = read_volume(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    plain = read_volume(Series(ramp()).write(tmp_path / "plain"))
    np.testing.assert_allclose(volume.windowed(-1000, 900), 1 - plain.windowed(-1000, 900), atol=1e-6)


# ---------------------------------------------------------------------- windows
def linear(x: np.ndarray, c: float, w: float) -> np.ndarray:
    """The standard's pseudocode (PS3.3 C.11.2.1.2.1), for an output of 0 to 1."""
    out = (x - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else np.zeros_like(x)
    out[x <= c - 0.5 - (w - 1) / 2] = 0
    out[x > c - 0.5 + (w - 1) / 2] = 1
    return out


@pytest.mark.parametrize(("center", "width"), [(40.0, 400.0), (0.0, 1.0), (-600.5, 1500.25), (2048.0, 4096.0)])
def test_windows(center: float, width: float) -> None:
    x = np.arange(-3000, 3000, dtype=np.float32).reshape(1, 60, 100)
    volume = Volume(x, np.eye(4))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(volume.windowed(center, width), linear(wide, center, width), atol=1e-5)
    exact = np.clip((wide - center) / width + 0.5, 0, 1)
    np.testing.assert_allclose(volume.windowed(center, width, function="LINEAR_EXACT"), exact, atol=1e-5)
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-4 * (wide - center) / width))
    np.testing.assert_allclose(volume.windowed(center, width, function="SIGMOID"), sigmoid, atol=1e-5)
    assert np.isfinite(volume.windowed(center, width, function="SIGMOID")).all()
    shown = volume.windowed(center, width, dtype=np.uint8)
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown, linear(wide, center, width) * 255, atol=0.51)


def test_windows_are_checked() -> None:
    volume = Volume(np.zeros((1, 2, 2), np.float32), np.eye(4))
    with pytest.raises(SeriesError, match="both center and width"):
        volume.windowed(40)
    with pytest.raises(SeriesError, match="width at least 1"):
        volume.windowed(40, 0.5)
    with pytest.raises(SeriesError, match="width above 0"):
        volume.windowed(40, 0, function="SIGMOID")
    with pytest.raises(SeriesError, match="is not one of LINEAR"):
        volume.windowed(40, 4, function="CUBIC")
    with pytest.raises(SeriesError, match="offered: none"):
        volume.windowed()


def test_presets_of_the_files(tmp_path: Path) -> None:
    attributes = {
        "WindowCenter": ["40", "-600"],
        "WindowWidth": ["400", "1500"],
        "WindowCenterWidthExplanation": ["SOFT", "LUNG"],
        "VOILUTFunction": "LINEAR_EXACT",
    }
    volume = read_volume(Series(ramp(), attributes=attributes).write(tmp_path))
    assert volume.presets == ((Window(40, 400, "LINEAR_EXACT", "SOFT"), Window(-600, 1500, "LINEAR_EXACT", "LUNG")),)
    np.testing.assert_array_equal(volume.windowed(), volume.windowed(40, 400, function="LINEAR_EXACT"))
    lung = volume.windowed(-600, 1500, function="LINEAR_EXACT")
    np.testing.assert_array_equal(volume.windowed(preset=1), lung)
    np.testing.assert_array_equal(volume.windowed(preset="lung"), lung)
    with pytest.raises(SeriesError, match=r"no display preset 'bone' .*'SOFT'.*'LUNG'"):
        volume.windowed(preset="bone")
    assert read_volume(tmp_path, units="stored").presets == ()


def test_a_window_a_slice_follows_its_slice(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        ds.WindowCenter, ds.WindowWidth = str(d * 100), "400"

    volume = read_volume(Series(ramp(), change=change).write(tmp_path))
    assert [one[0].center for one in volume.presets] == [0, 100, 200, 300, 400]  # type: ignore[union-attr]
    shown = volume.windowed()
    for d in range(5):
        np.testing.assert_array_equal(shown[d], volume.windowed(d * 100.0, 400)[d])
    part = volume.flip(0).crop([slice(1, 4), slice(None), slice(None)])
    np.testing.assert_array_equal(part.windowed(), shown[::-1][1:4])
    assert volume.orient("LPS").presets == ()


def test_voi_lookup_table(tmp_path: Path) -> None:
    table = np.linspace(255, 0, 64).astype(np.uint16)
    lut = item(LUTDescriptor=[64, -1056 & 0xFFFF, 8], LUTData=table.tolist(), LUTExplanation="FALLING")
    lut[0]["LUTDescriptor"].VR = lut[0]["LUTData"].VR = "US"
    volume = read_volume(Series(ramp(bits=8), attributes={"VOILUTSequence": lut}).write(tmp_path))
    index = np.clip(volume.array.astype(int) + 1056, 0, 63)
    np.testing.assert_allclose(volume.windowed(preset="falling"), table[index] / 255, atol=1e-6)


def test_enhanced_windows(tmp_path: Path) -> None:
    series = Series(ramp())

    def per_frame(groups: Dataset, number: int) -> None:
        groups.FrameVOILUTSequence = item(WindowCenter=str(10 * number), WindowWidth="100")

    volume = read_volume(make.write(make.enhanced(series, [4, 3, 2, 1, 0], per_frame=per_frame), tmp_path / "mf"))
    assert [one[0].center for one in volume.presets] == [40, 30, 20, 10, 0]  # type: ignore[union-attr]
