"""Gaps, duplicates, localizers, tilt and phases: an error that names the cause, or the policy that was asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicom_ml import DicomMLWarning, SeriesError, read_volume
from tests.reading import _make as make
from tests.reading._make import Series, ramp


@pytest.fixture(autouse=True)
def _no_silent_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DicomMLWarning)
        yield


def without(folder: Path, *slices: int) -> Path:
    """Take files of these slices away."""
    for file in list(folder.iterdir()):
        if int(file.name.rsplit("-", 1)[1]) in slices:
            file.unlink()
    return folder


# ---------------------------------------------------------------------- gaps
def test_missing_slices_are_named(tmp_path: Path) -> None:
    folder = without(Series(ramp((10, 4, 4))).write(tmp_path), 3, 4, 8)
    with pytest.raises(SeriesError, match="3 slices are missing") as caught:
        read_volume(folder)
    assert "2 after slice 2" in str(caught.value)
    assert "1 after slice 7" in str(caught.value)
    assert "gaps='fill'" in str(caught.value)


def test_three_missing_slices_do_not_stretch_the_spacing(tmp_path: Path) -> None:
    folder = without(Series(ramp((12, 4, 4))).write(tmp_path), 4, 5, 6)
    with pytest.raises(SeriesError, match="3 slices are missing"):
        read_volume(folder)


def test_gaps_are_filled(tmp_path: Path) -> None:
    series = Series(ramp((10, 4, 4)))
    volume = read_volume(without(series.write(tmp_path), 3, 4, 8), gaps="fill")
    assert volume.gaps == (3, 4, 8)
    kept = [d for d in range(10) if d not in volume.gaps]
    np.testing.assert_array_equal(volume.array[kept], series.stored[kept].astype(np.float32) - 1024)
    assert (volume.array[list(volume.gaps)] == -1024).all()
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert volume.source is not None
    assert [bool(uid) for uid in volume.source.sop_instance_uids] == [d in kept for d in range(10)]
    assert volume.source.sop_instance_uids[9] == f"{make.ROOT}3.1.10"
    assert volume.source.problems == ()


def test_gaps_are_filled_with_the_padding_value(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        ds.add_new("PixelPaddingValue", "SS", -2000)

    folder = without(Series(ramp((6, 4, 4)), change=change).write(tmp_path), 3)
    volume = read_volume(folder, gaps="fill")
    assert volume.padding_value == -3024
    assert (volume.array[3] == -3024).all()
    stored = read_volume(folder, gaps="fill", units="stored")
    assert stored.padding_value == -2000
    assert (stored.array[3] == -2000).all()


def test_gaps_are_interpolated(tmp_path: Path) -> None:
    stored = np.broadcast_to(np.arange(10, dtype=np.int16)[:, None, None] * 30, (10, 4, 4)).copy()
    series = Series(stored)
    volume = read_volume(without(series.write(tmp_path), 3, 4, 8), gaps="interpolate")
    assert volume.gaps == (3, 4, 8)
    np.testing.assert_allclose(volume.array, stored.astype(np.float32) - 1024, atol=1e-3)


def test_uneven_spacing(tmp_path: Path) -> None:
    series = Series(np.zeros((6, 4, 4), np.int16))
    places = [0, 1, 2, 3.3, 4.3, 5.3]
    series.positions = [series.position(p) for p in places]
    series.stored = np.broadcast_to(np.array(places)[:, None, None] * 100, (6, 4, 4)).astype(np.int16)
    folder = series.write(tmp_path)
    with pytest.raises(
        SeriesError, match=r"not evenly spaced: most are 2\.5 mm apart, but 3\.25 mm between slices 2 and 3"
    ):
        read_volume(folder)
    volume = read_volume(folder, gaps="interpolate")
    assert volume.shape[0] == 6
    step = volume.affine[:3, 0] / np.array([1, 1, 2.5])
    expected = np.arange(6) * step[2] * 100 - 1024
    np.testing.assert_allclose(volume.array[:, 0, 0], expected, atol=0.6)
    assert volume.source is not None
    assert volume.source.sop_instance_uids[0]
    assert not volume.source.sop_instance_uids[3]


def test_tolerance_is_the_callers(tmp_path: Path) -> None:
    series = Series(ramp((6, 4, 4)))
    series.positions = [series.position(p) for p in (0, 1, 2.08, 3, 4, 5)]
    folder = series.write(tmp_path)
    with pytest.raises(SeriesError, match=r"spaced|place"):
        read_volume(folder)
    assert read_volume(folder, tolerance=0.25).shape[0] == 6


def test_a_slice_out_of_line(tmp_path: Path) -> None:
    series = Series(ramp((6, 4, 4)))
    series.positions = [series.position(d) + (np.array([3.0, 0, 0]) if d == 2 else 0) for d in range(6)]
    with pytest.raises(SeriesError, match="do not lie on a straight, even stack"):
        read_volume(series.write(tmp_path))


def test_a_thinned_out_series_is_noticed(tmp_path: Path) -> None:
    folder = Series(ramp(), step=5.0, attributes={"SpacingBetweenSlices": "2.5"}).write(tmp_path)
    with pytest.warns(DicomMLWarning, match="only every slice number 2 is here"):
        assert read_volume(folder).spacing[0] == 5


# ---------------------------------------------------------------------- duplicates
def test_copies_are_left_out_with_a_warning(tmp_path: Path) -> None:
    series = Series(ramp())
    folder = series.write(tmp_path)
    for file in list(folder.iterdir())[:2]:
        (folder / f"copy-{file.name}").write_bytes(file.read_bytes())
    with pytest.warns(DicomMLWarning, match="2 images are there twice"):
        volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)


def test_different_images_of_one_place(tmp_path: Path) -> None:
    series = Series(ramp())
    folder = series.write(tmp_path)
    other = series.dataset(2)
    other.SOPInstanceUID, other.InstanceNumber = "1.2.3", 99
    other.PixelData = bytes(len(other.PixelData))
    make.write(other, folder / "zz")
    with pytest.raises(SeriesError, match="1 places of the stack hold several different images"):
        read_volume(folder)
    first = read_volume(folder, duplicates="first")
    np.testing.assert_array_equal(first.array, series.stored.astype(np.float32) - 1024)
    last = read_volume(folder, duplicates="last")
    assert (last.array[2] == -1024).all()
    assert last.source is not None
    assert last.source.sop_instance_uids[2] == "1.2.3"


def test_one_uid_for_two_images(tmp_path: Path) -> None:
    series = Series(ramp())
    folder = series.write(tmp_path)
    other = series.dataset(2)
    other.PixelData = bytes(len(other.PixelData))
    make.write(other, folder / "zz")
    with pytest.raises(SeriesError, match="under the same SOPInstanceUID"):
        read_volume(folder)


# ---------------------------------------------------------------------- localizers
def add_localizer(series: Series, folder: Path, **attributes: object) -> None:
    scout = Series(ramp((1, 9, 9)), orientation=make.SAGITTAL).dataset(0)
    scout.SOPInstanceUID = "1.2.3.4"
    for keyword, value in attributes.items():
        setattr(scout, keyword, value)
    make.write(scout, folder / "aaa")


@pytest.mark.parametrize("named", [True, False])
def test_localizers_are_left_out(tmp_path: Path, named: bool) -> None:
    series = Series(ramp())
    folder = series.write(tmp_path)
    add_localizer(series, folder, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER" if named else "AXIAL"])
    with pytest.warns(DicomMLWarning, match="localizers"):
        volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    assert volume.source is not None
    assert "1.2.3.4" not in volume.source.sop_instance_uids
    with pytest.raises(SeriesError, match="localizers"):
        read_volume(folder, localizers="error")


def test_a_localizer_alone_reads(tmp_path: Path) -> None:
    series = Series(ramp((1, 5, 5)), attributes={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    volume = read_volume(series.write(tmp_path))
    assert volume.shape == (1, 5, 5)
    assert volume.unit is None


# ---------------------------------------------------------------------- tilt
def test_gantry_tilt(tmp_path: Path) -> None:
    series = Series(ramp((8, 6, 6)), slide=(0.0, 0.9))
    folder = series.write(tmp_path)
    with pytest.raises(SeriesError, match=r"slide sideways by 0\.9 mm from slice to slice, a tilt of 19\.80 degrees"):
        read_volume(folder)
    sheared = read_volume(folder, tilt="shear")
    np.testing.assert_allclose(sheared.affine, series.affine, atol=1e-6)
    np.testing.assert_array_equal(sheared.array, series.stored.astype(np.float32) - 1024)
    assert not sheared.grid.is_orthogonal


def test_gantry_tilt_resampled(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    # values that are a linear function of place stay so under linear interpolation
    series = Series(np.zeros((8, 12, 6), np.int16), slide=(0.0, 0.9))
    d, h, w = np.indices(series.stored.shape)
    places = np.moveaxis(np.array([d, h, w]), 0, -1) @ series.affine[:3, :3].T + series.affine[:3, 3]
    series.stored = np.rint(places @ [10, 20, 30]).astype(np.int16)
    volume = read_volume(series.write(tmp_path), tilt="resample")
    assert volume.grid.is_orthogonal
    assert volume.spacing == pytest.approx((2.5, 0.75, 0.5))
    inside = volume.array > -20000 if volume.padding_value is not None else volume.array != -1024
    assert inside.mean() > 0.4
    there = volume.grid.to_lps(np.moveaxis(np.indices(volume.shape), 0, -1)) @ [10, 20, 30] - 1024
    # the outermost voxels hold the edge's value up to half a voxel outside
    close = np.abs(volume.array - there)[inside]
    assert np.quantile(close, 0.7) <= 1
    assert close.max() <= 20 * 0.75 / 2 + 1.5


# ---------------------------------------------------------------------- phases
def two_echoes(tmp_path: Path, **more: object) -> tuple[Path, Series, Series]:
    short = Series(ramp(), modality="MR", rescale=None, attributes={"EchoTime": "5", **more})
    long = Series(ramp() + 1, modality="MR", rescale=None, attributes={"EchoTime": "12.5", **more})
    long.change = lambda ds, d: setattr(ds, "SOPInstanceUID", f"1.2.3.{d}")
    short.write(tmp_path / "a")
    long.write(tmp_path / "b")
    return tmp_path, short, long


def test_phases_are_named_and_chosen(tmp_path: Path) -> None:
    folder, short, long = two_echoes(tmp_path)
    with pytest.raises(SeriesError, match=r"differ in EchoTime: 5 \(5 images\), 12\.5 \(5 images\)"):
        read_volume(folder)
    np.testing.assert_array_equal(read_volume(folder, phase=0).array, short.stored)
    np.testing.assert_array_equal(read_volume(folder, phase=1).array, long.stored)
    np.testing.assert_array_equal(read_volume(folder, phase={"EchoTime": 12.5}).array, long.stored)
    with pytest.raises(SeriesError, match="phases 0 to 1"):
        read_volume(folder, phase=2)
    with pytest.raises(SeriesError, match=r"no image has EchoTime 7; found: 5, 12\.5"):
        read_volume(folder, phase={"EchoTime": 7})
    with pytest.raises(SeriesError, match="does not tell phases apart"):
        read_volume(folder, phase={"PatientName": "x"})


def test_two_attributes_together(tmp_path: Path) -> None:
    values = {}
    for number, (echo, time) in enumerate([(5, 1), (5, 2), (10, 1), (10, 2)]):
        attributes = {"EchoTime": str(echo), "TemporalPositionIdentifier": str(time)}
        series = Series(ramp() + number, modality="MR", rescale=None, attributes=attributes)
        series.change = lambda ds, d, n=number: setattr(ds, "SOPInstanceUID", f"1.2.{n}.{d}")
        series.write(tmp_path / str(number))
        values[echo, time] = series.stored
    with pytest.raises(SeriesError, match="TemporalPositionIdentifier and EchoTime"):
        read_volume(tmp_path)
    found = read_volume(tmp_path, phase={"EchoTime": 10, "TemporalPositionIdentifier": 1})
    np.testing.assert_array_equal(found.array, values[10, 1])
    np.testing.assert_array_equal(read_volume(tmp_path, phase=2).array, values[5, 2])


def test_times_are_not_shown(tmp_path: Path) -> None:
    early = Series(ramp(), attributes={"AcquisitionTime": "101112"})
    late = Series(ramp(), attributes={"AcquisitionTime": "131415"})
    late.change = lambda ds, d: setattr(ds, "SOPInstanceUID", f"1.2.3.{d}")
    early.write(tmp_path / "a")
    late.write(tmp_path / "b")
    with pytest.raises(SeriesError, match=r"differ in AcquisitionTime \(2 values\)") as caught:
        read_volume(tmp_path)
    assert "131415" not in str(caught.value)


def test_interleaved_stacks(tmp_path: Path) -> None:
    first = Series(ramp((6, 4, 4)), attributes={"AcquisitionNumber": "1"})
    second = Series(ramp((6, 4, 4)) + 1, origin=(-50, -60, -69.3), attributes={"AcquisitionNumber": "2"})
    second.change = lambda ds, d: setattr(ds, "SOPInstanceUID", f"1.2.3.{d}")
    first.write(tmp_path / "a")
    second.write(tmp_path / "b")
    with pytest.raises(SeriesError, match="Each part is even by itself: they differ in AcquisitionNumber"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, phase=1).array, second.stored.astype(np.float32) - 1024)


def test_phase_0_of_a_plain_series(tmp_path: Path) -> None:
    folder = Series(ramp()).write(tmp_path)
    assert read_volume(folder, phase=0).shape[0] == 5
    with pytest.raises(SeriesError, match="no attribute divides the series"):
        read_volume(folder, phase=1)


def test_policies_are_checked() -> None:
    for policy in ("gaps", "duplicates", "localizers", "tilt"):
        with pytest.raises(ValueError, match=policy):
            read_volume(b"", **{policy: "maybe"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance"):
        read_volume(b"", tolerance=-1)


# ---------------------------------------------------------------------- enhanced
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT, make.BIG, make.DEFLATED, make.RLE, make.JPEG_LS])
def test_enhanced(tmp_path: Path, modality: str, syntax: str) -> None:
    series = Series(ramp((6, 40, 36)), modality=modality, rescale=(2.0, -7.0), orientation=make.OBLIQUE)
    ds = make.enhanced(series, [3, 0, 5, 1, 4, 2])
    volume = read_volume(make.write(ds, tmp_path / "mf", syntax))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) * 2 - 7)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert volume.source is not None
    assert volume.source.frame_numbers == (2, 4, 6, 1, 5, 3)
    assert set(volume.source.sop_instance_uids) == {ds.SOPInstanceUID}
    assert len(volume.source.sop_instance_uids) == 6
    assert volume.source.problems == ()


def test_enhanced_with_a_rescale_a_frame(tmp_path: Path) -> None:
    pairs = [(1.0 + d / 4, float(d)) for d in range(5)]
    series = Series(ramp(), modality="PT", rescale=pairs)
    volume = read_volume(make.write(make.enhanced(series, shared_rescale=False), tmp_path / "mf"))
    expected = np.stack([s.astype(np.float64) * a + b for s, (a, b) in zip(series.stored, pairs, strict=True)])
    np.testing.assert_array_equal(volume.array, expected.astype(np.float32))


def test_enhanced_with_phases(tmp_path: Path) -> None:
    series = Series(ramp((3, 4, 4)), modality="MR", rescale=(1.0, 0.0))

    def per_frame(groups: Dataset, number: int) -> None:
        groups.FrameContentSequence[0].TemporalPositionIndex = 1 + number // 3
        groups.MRDiffusionSequence = make.item(DiffusionBValue=0.0 if number < 3 else 800.0)

    ds = make.enhanced(series, [0, 1, 2, 0, 1, 2], per_frame=per_frame)
    ds.PixelData = series.stored.tobytes() + (series.stored + 5).tobytes()
    path = make.write(ds, tmp_path / "mf")
    with pytest.raises(SeriesError, match=r"TemporalPositionIndex: 1 \(3 images\), 2 \(3 images\)"):
        read_volume(path)
    second = read_volume(path, phase=1)
    np.testing.assert_array_equal(second.array, series.stored + 5)
    assert second.source is not None
    assert second.source.frame_numbers == (4, 5, 6)
    np.testing.assert_array_equal(read_volume(path, phase={"DiffusionBValue": 800}).array, series.stored + 5)


def test_enhanced_gaps_and_missing_groups(tmp_path: Path) -> None:
    series = Series(ramp((8, 4, 4)))
    path = make.write(make.enhanced(series, [0, 1, 2, 5, 6, 7]), tmp_path / "gap")
    with pytest.raises(SeriesError, match="2 slices are missing"):
        read_volume(path)
    volume = read_volume(path, gaps="fill")
    assert volume.gaps == (3, 4)
    assert volume.source is not None
    assert volume.source.frame_numbers == (1, 2, 3, 0, 0, 4, 5, 6)
    bare = make.enhanced(series)
    for groups in bare.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    with pytest.raises(SeriesError, match="ImagePositionPatient is missing in 8 of 8 images"):
        read_volume(make.write(bare, tmp_path / "bare"))
    del bare.PerFrameFunctionalGroupsSequence
    with pytest.raises(SeriesError, match="without functional groups"):
        read_volume(make.write(bare, tmp_path / "none"))
    short = make.enhanced(series)
    short.PerFrameFunctionalGroupsSequence = Sequence(list(short.PerFrameFunctionalGroupsSequence)[:-1])
    with pytest.raises(Exception, match="has 8 frames, but functional groups for 7"):
        read_volume(make.write(short, tmp_path / "short"))


def test_enhanced_truncated(tmp_path: Path) -> None:
    path = make.write(make.enhanced(Series(ramp((8, 16, 16)))), tmp_path / "mf")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Exception, match="truncated"):
        read_volume(path)


def test_concatenated_enhanced_instances(tmp_path: Path) -> None:
    series = Series(ramp((6, 4, 4)))
    for part, frames in enumerate(([4, 5, 3], [0, 2, 1])):
        ds = make.enhanced(series, frames)
        ds.SOPInstanceUID = f"1.2.{part}"
        ds.ConcatenationUID, ds.InConcatenationNumber = "1.2.9", part + 1
        make.write(ds, tmp_path / str(part))
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    assert volume.source is not None
    assert volume.source.sop_instance_uids == ("1.2.1",) * 3 + ("1.2.0",) * 3
    assert volume.source.frame_numbers == (1, 3, 2, 3, 1, 2)


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT])
@pytest.mark.parametrize("frames", [30, 60, 61, 62, 63, 200])
def test_enhanced_with_a_long_header(tmp_path: Path, syntax: str, frames: int) -> None:
    series = Series(ramp((frames, 4, 4)))
    volume = read_volume(make.write(make.enhanced(series), tmp_path / "mf", syntax))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
