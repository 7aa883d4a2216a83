"""Series of single-frame files: order, geometry, transfer syntaxes, and what must never be read silently."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from dicom_ml import DicomMLError, DicomMLWarning, FileError, SeriesError, read_volume
from dicom_ml.source import SourceSeries
from tests.reading import _make as make
from tests.reading._make import Series, ramp


@pytest.fixture(autouse=True)
def _no_silent_warnings():
    """A warning that a test does not expect is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DicomMLWarning)
        yield


# ---------------------------------------------------------------------- the plain case
@pytest.mark.parametrize("orientation", [make.AXIAL, make.SAGITTAL, make.OBLIQUE, (-1.0, 0, 0, 0, 1, 0)])
def test_slices_are_ordered_along_the_normal(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    series = Series(ramp(), orientation=orientation)
    volume = read_volume(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert volume.array.dtype == np.float32
    assert volume.affine.dtype == np.float64
    assert volume.spacing == pytest.approx((2.5, 0.75, 0.5))
    assert volume.unit is not None
    assert volume.unit.value == "[hnsf'U]"
    assert volume.modality == "CT"
    assert float(volume.affine[:3, 0] @ series.normal) > 0


def test_the_source_has_one_entry_a_slice(tmp_path: Path) -> None:
    series = Series(ramp())
    volume = read_volume(series.write(tmp_path))
    source = volume.source
    assert source is not None
    assert source.problems == ()
    assert source.sop_instance_uids == tuple(f"{make.ROOT}3.1.{d + 1}" for d in range(5))
    assert set(source.sop_class_uids) == {make.CT}
    assert source.series_instance_uid == series.uid
    assert source.study_instance_uid == f"{make.ROOT}1.1"
    assert source.frame_of_reference_uid == f"{make.ROOT}4.1"
    assert source.frame_numbers is None
    assert source.grid == volume.grid
    copied = source.attribute_dataset()
    assert copied.PatientID == "P-1"
    assert copied.PatientName == "Phantom^Anna"
    assert copied.AccessionNumber == "A1"
    expected = SourceSeries.from_datasets(series.datasets())
    assert source.grid is not None
    assert source.grid.matches(expected.grid)  # type: ignore[arg-type]
    assert source.sop_instance_uids == expected.sop_instance_uids
    assert "Phantom" not in repr(volume) + repr(source)


@pytest.mark.parametrize(
    "syntax",
    [make.EXPLICIT, make.IMPLICIT, make.BIG, make.DEFLATED, make.RLE, make.JPEG_LS, make.JPEG_2000],
)
@pytest.mark.parametrize(("dtype", "bits"), [(np.int16, 16), (np.uint16, 12), (np.int16, 12), (np.uint8, 8)])
def test_transfer_syntaxes(tmp_path: Path, syntax: str, dtype: type, bits: int) -> None:
    series = Series(ramp((4, 40, 36), dtype, bits), syntax=syntax, bits_stored=bits)
    volume = read_volume(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert volume.metadata["transfer_syntax_uids"] == (syntax,)
    assert volume.source is not None
    assert volume.source.problems == ()


def test_rows_and_columns_keep_their_spacing(tmp_path: Path) -> None:
    volume = read_volume(Series(ramp((3, 4, 9)), pixel_spacing=(3.0, 0.25)).write(tmp_path))
    assert volume.shape == (3, 4, 9)
    assert volume.spacing == pytest.approx((2.5, 3.0, 0.25))
    np.testing.assert_allclose(volume.affine[:3, 1], [0, 3.0, 0])
    np.testing.assert_allclose(volume.affine[:3, 2], [0.25, 0, 0])


def test_bits_outside_the_stored_ones_are_dropped(tmp_path: Path) -> None:
    clean = ramp((3, 4, 4), np.uint16, 12)
    series = Series(clean | 0xA000, bits_stored=12)
    np.testing.assert_array_equal(read_volume(series.write(tmp_path)).array, clean.astype(np.float32) - 1024)


def test_padding_outside_the_stored_bits_does_not_become_tissue(tmp_path: Path) -> None:
    stored = ramp((3, 4, 4), np.uint16, 12)
    stored[:, 0] = 63536  # -2000 as an unsigned number

    def change(ds: Dataset, d: int) -> None:
        ds.add_new("PixelPaddingValue", "US", 63536)

    volume = read_volume(Series(stored, bits_stored=12, change=change).write(tmp_path))
    assert volume.padding_value == 63536 - 1024
    assert (volume.array[:, 0] == volume.padding_value).all()
    np.testing.assert_array_equal(volume.array[:, 1:], stored[:, 1:].astype(np.float32) - 1024)


def test_rounded_positions_are_no_gaps(tmp_path: Path) -> None:
    series = Series(ramp((12, 4, 4)), step=0.625)
    series.positions = [np.round(series.position(d), 1) for d in range(12)]
    volume = read_volume(series.write(tmp_path))
    assert volume.shape[0] == 12
    assert volume.spacing[0] == pytest.approx(0.625, abs=0.01)


def test_single_slice(tmp_path: Path) -> None:
    series = Series(ramp((1, 4, 5)))
    volume = read_volume(series.write(tmp_path))
    assert volume.shape == (1, 4, 5)
    assert volume.spacing == pytest.approx((2.5, 0.75, 0.5))
    between = Series(ramp((1, 4, 5)), attributes={"SpacingBetweenSlices": "4"}).write(tmp_path / "b")
    assert read_volume(between).spacing[0] == 4
    bare = Series(ramp((1, 4, 5)), change=lambda ds, d: ds.__delattr__("SliceThickness")).write(tmp_path / "c")
    with pytest.warns(DicomMLWarning, match="1 mm is taken as its depth"):
        assert read_volume(bare).spacing[0] == 1


# ---------------------------------------------------------------------- what a source may be
def test_kinds_of_source(tmp_path: Path) -> None:
    series = Series(ramp())
    folder = series.write(tmp_path / "deep" / "deeper")
    expected = read_volume(folder).array
    files = sorted(folder.iterdir())
    archive = tmp_path / "series.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in files:
            target.write(file, f"folder/{file.name}")
        target.writestr("__MACOSX/folder/._x", b"resource fork")
        target.writestr("DICOMDIR", b"index")
    (tmp_path / "deep" / "DICOMDIR").write_bytes(b"index")
    (tmp_path / "deep" / ".hidden").write_bytes(b"x")
    content = [file.read_bytes() for file in files]
    sources = [tmp_path / "deep", str(tmp_path / "deep"), files, map(str, files), archive, str(archive), content]
    for source in [*sources, series.datasets_written(), [pydicom.dcmread(file) for file in files]]:
        np.testing.assert_array_equal(read_volume(source).array, expected)
    np.testing.assert_array_equal(read_volume(files[0]).array[0], read_volume(content[0]).array[0])


def test_files_that_are_not_dicom_are_left_out_with_one_warning(tmp_path: Path) -> None:
    folder = Series(ramp()).write(tmp_path)
    (folder / "notes.txt").write_text("no DICOM at all " * 100)
    (folder / "empty").write_bytes(b"")
    with pytest.warns(DicomMLWarning, match="2 files are not DICOM") as caught:
        assert read_volume(folder).shape[0] == 5
    assert len(caught) == 1


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no file to read"):
        read_volume(tmp_path)
    with pytest.raises(FileError, match="does not exist"):
        read_volume(tmp_path / "nowhere")
    (tmp_path / "text").write_text("text")
    with pytest.raises(FileError, match="text is not a DICOM file"):
        read_volume(tmp_path / "text")
    (tmp_path / "more").write_text("text")
    with pytest.raises(FileError, match="none of 2 files is DICOM"):
        read_volume(tmp_path)
    with pytest.raises(FileError, match="cannot read a volume from int"):
        read_volume(3)  # type: ignore[arg-type]
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FileError, match="cannot be unpacked"):
        read_volume(tmp_path / "broken.zip")


def test_truncated_pixel_data_names_the_file(tmp_path: Path) -> None:
    for syntax, error in ((make.EXPLICIT, "truncated"), (make.RLE, ""), (make.JPEG_LS, "")):
        folder = Series(ramp((3, 16, 16)), syntax=syntax).write(tmp_path / syntax)
        victim = sorted(folder.iterdir())[1]
        victim.write_bytes(victim.read_bytes()[:-120])
        with pytest.raises((FileError, Exception), match=victim.name) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_volume(folder)
        assert type(caught.value).__name__ in ("FileError", "CodecError")
        assert error in str(caught.value)


def test_truncated_header_names_the_file(tmp_path: Path) -> None:
    folder = Series(ramp((3, 16, 16))).write(tmp_path)
    victim = sorted(folder.iterdir())[1]
    content = victim.read_bytes()
    for end in (700, 713, 740, content.index(b"\xe0\x7f\x10\0OW")):
        victim.write_bytes(content[:end])
        with pytest.raises(FileError, match=f"{victim.name}.*truncated"):
            read_volume(folder)


def test_pixel_data_of_the_wrong_length(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        if d == 2:
            ds.Rows = 60

    folder = Series(ramp((1, 6, 6)), change=lambda ds, d: setattr(ds, "Rows", 60)).write(tmp_path)
    with pytest.raises(FileError, match="need 720 bytes of pixel data, 72 are there: its header is wrong"):
        read_volume(folder)
    with pytest.raises(SeriesError, match=r"image sizes.*6 x 8.*60 x 8"):
        read_volume(Series(ramp(), change=change).write(tmp_path / "b"))


# ---------------------------------------------------------------------- several series, other objects
def test_mixed_series_are_listed_and_chosen(tmp_path: Path) -> None:
    first, second = Series(ramp()), Series(ramp((3, 4, 4)), number=2, modality="MR")
    first.attributes["SeriesDescription"] = "Anna's chest"
    first.write(tmp_path / "a")
    second.write(tmp_path / "b")
    with pytest.raises(SeriesError, match="2 series; choose one with series_uid=") as caught:
        read_volume(tmp_path)
    text = str(caught.value)
    assert first.uid in text
    assert second.uid in text
    assert "CT, 5 files" in text
    assert "Anna" not in text
    assert read_volume(tmp_path, series_uid=second.uid).shape == (3, 4, 4)
    with pytest.raises(SeriesError, match=r"'1\.2\.3' is not among the files"):
        read_volume(tmp_path, series_uid="1.2.3")


def test_a_series_without_uid_beside_another(tmp_path: Path) -> None:
    Series(ramp((3, 4, 4)), number=2).write(tmp_path / "named")
    Series(ramp(), change=lambda ds, d: ds.__delattr__("SeriesInstanceUID")).write(tmp_path / "nameless")
    with pytest.raises(SeriesError, match="no SeriesInstanceUID: series_uid=''"):
        read_volume(tmp_path)
    with pytest.warns(DicomMLWarning, match="SeriesInstanceUID is missing in 5 of 5 files"):
        assert read_volume(tmp_path, series_uid="").shape == (5, 6, 8)


def test_a_broken_file_of_another_series(tmp_path: Path) -> None:
    series = Series(ramp((3, 4, 4)))
    series.write(tmp_path)
    (tmp_path / "broken").write_bytes(next(tmp_path.iterdir()).read_bytes()[:600])
    with pytest.raises(FileError, match="broken"):
        read_volume(tmp_path)
    with pytest.warns(DicomMLWarning, match="1 files cannot be read and were skipped.*broken"):
        assert read_volume(tmp_path, series_uid=series.uid).shape[0] == 3


def test_other_objects_of_the_folder_are_left_out(tmp_path: Path) -> None:
    folder = Series(ramp()).write(tmp_path)
    report = make.image_dataset("OT", ramp()[0], number=9)
    del report.PixelData, report.Rows, report.Columns
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.9", "SR"
    make.write(report, folder / "report")
    with pytest.warns(DicomMLWarning, match="1 DICOM files that are no images"):
        assert read_volume(folder).shape[0] == 5
    with pytest.raises(SeriesError, match=r"report holds no pixel data \(Comprehensive SR\)"):
        read_volume(folder / "report")


@pytest.mark.parametrize(
    ("sop_class", "text"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation .*read_segmentation"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "dose grid"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "slide"),
        ("1.2.840.10008.5.1.4.1.1.30", "parametric map"),
    ],
)
def test_objects_that_are_no_source_images(tmp_path: Path, sop_class: str, text: str) -> None:
    folder = Series(ramp((1, 4, 4)), attributes={"SOPClassUID": sop_class}).write(tmp_path)
    with pytest.raises(SeriesError, match=text):
        read_volume(folder)


def test_colour_is_refused(tmp_path: Path) -> None:
    ds = make.image_dataset("OT", np.zeros((4, 4), np.uint8))
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = bytes(48)
    ds.SOPInstanceUID = "1.2.3"
    with pytest.raises(SeriesError, match=r"is in colour \(RGB, 3 samples a pixel\)"):
        read_volume(make.write(ds, tmp_path / "rgb"))


# ---------------------------------------------------------------------- geometry that is missing or differs
@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_is_named(tmp_path: Path, keyword: str) -> None:
    def change(ds: Dataset, d: int) -> None:
        if d == 3:
            delattr(ds, keyword)

    with pytest.raises(SeriesError, match=f"{keyword} is missing in 1 of 5 images"):
        read_volume(Series(ramp(), change=change).write(tmp_path))


def test_broken_numbers_are_named(tmp_path: Path) -> None:
    folder = Series(ramp((1, 4, 4))).write(tmp_path)
    file = next(folder.iterdir())
    spacing, position = b"0.75\\0.5", b"-50\\-60\\-70"
    for old, new in ((spacing, b"0,75\\0.5"), (position, b"nan\\-60\\-70"), (spacing, b"0.7500.5")):
        content = file.read_bytes()
        assert old in content
        with pytest.raises(FileError, match=r"expected . decimal numbers"):
            read_volume([content.replace(old, new)])


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("PixelSpacing", ["0.5", "0.5"], "differ in PixelSpacing"),
        ("FrameOfReferenceUID", "1.2.3.4", "2 frames of reference"),
        ("Modality", "MR", "several modalities"),
    ],
)
def test_differences_within_a_series(tmp_path: Path, keyword: str, value: object, text: str) -> None:
    def change(ds: Dataset, d: int) -> None:
        if d == 2:
            setattr(ds, keyword, value)

    with pytest.raises(SeriesError, match=text):
        read_volume(Series(ramp(), change=change).write(tmp_path))


def test_different_orientations(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        if d in (1, 3):
            ds.ImageOrientationPatient = list(make.SAGITTAL)

    with pytest.raises(SeriesError, match=r"2 different orientations: 3 of 6 x 8.*2 of 6 x 8"):
        read_volume(Series(ramp(), change=change).write(tmp_path))


def test_an_orientation_that_is_none(tmp_path: Path) -> None:
    series = Series(ramp(), attributes={"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]})
    with pytest.raises(SeriesError, match="right angles"):
        read_volume(series.write(tmp_path))


# ---------------------------------------------------------------------- files without UIDs
def test_files_without_uids_read_and_say_why_they_are_no_source(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        del ds.SOPInstanceUID, ds.SOPClassUID, ds.SeriesInstanceUID, ds.StudyInstanceUID

    series = Series(ramp(), change=change)
    with pytest.warns(DicomMLWarning, match="cannot serve as the source"):
        volume = read_volume(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array, series.stored.astype(np.float32) - 1024)
    assert volume.source is not None
    assert volume.source.problems[:2] == (
        "SOPClassUID is missing in 5 of 5 files",
        "SOPInstanceUID is missing in 5 of 5 files",
    )
    with pytest.raises(SeriesError, match="SOPInstanceUID is missing"):
        volume.source.check()


def test_files_of_two_patients_are_no_source(tmp_path: Path) -> None:
    def change(ds: Dataset, d: int) -> None:
        if d == 1:
            ds.PatientID = "another"

    with pytest.warns(DicomMLWarning, match="the files disagree in PatientID"):
        read_volume(Series(ramp(), change=change).write(tmp_path))


def test_without_preamble_or_meta(tmp_path: Path) -> None:
    series = Series(ramp())
    files = []
    for d, ds in enumerate(series.datasets()):
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, ds, implicit_vr=True, little_endian=True)
        (tmp_path / str(d)).write_bytes(buffer.getvalue())
        files.append(tmp_path / str(d))
    np.testing.assert_array_equal(read_volume(files).array, series.stored.astype(np.float32) - 1024)


# ---------------------------------------------------------------------- processes and threads
def test_volumes_pickle(tmp_path: Path) -> None:
    volume = read_volume(Series(ramp(), attributes={"WindowCenter": "40", "WindowWidth": "400"}).write(tmp_path))
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert again.source == volume.source
    assert again.grid == volume.grid
    assert again.presets == volume.presets
    assert dict(again.metadata) == dict(volume.metadata)
    assert not again.affine.flags.writeable


def test_slow_storage_is_waited_for_on_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_ml.reading.select._SLOW_FILE", 0.0)
    series = Series(ramp((40, 4, 4)))
    folder = series.write(tmp_path)
    np.testing.assert_array_equal(read_volume(folder).array, series.stored.astype(np.float32) - 1024)
    (folder / "notes").write_text("not DICOM")
    with pytest.warns(DicomMLWarning, match="1 files are not DICOM"):
        read_volume(folder)


def test_reading_from_many_threads(tmp_path: Path) -> None:
    series = [Series(ramp((6, 64, 64)), number=n, syntax=s) for n, s in ((1, make.EXPLICIT), (2, make.JPEG_LS))]
    folders = [one.write(tmp_path / str(one.number)) for one in series]
    expected = [read_volume(folder, threads=1).array for folder in folders]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: read_volume(folders[n % 2], threads=2).array, range(12)))
    for n, array in enumerate(found):
        np.testing.assert_array_equal(array, expected[n % 2])


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    series = Series(ramp(), modality="MR", attributes={"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]})
    with pytest.raises(SeriesError, match="mosaic"):
        read_volume(series.write(tmp_path))


def test_damaged_headers_fail_by_name(tmp_path: Path) -> None:
    """Whatever a byte of the header is turned into, nothing but an error of ours, or a finite volume, comes out."""
    rng = np.random.default_rng(0)
    contents = []
    for syntax in (make.EXPLICIT, make.IMPLICIT, make.BIG, make.RLE):
        series = Series(ramp((1, 8, 8)), syntax=syntax)
        contents.append(next(series.write(tmp_path / syntax).iterdir()).read_bytes())
        enhanced = make.enhanced(Series(ramp((3, 4, 4))))
        contents.append(make.write(enhanced, tmp_path / f"e{syntax}", syntax).read_bytes())
    for number in range(400):
        content = bytearray(contents[number % len(contents)])
        at = int(rng.integers(128, len(content)))
        if number % 3:
            content[at] = int(rng.integers(256))
        else:
            del content[at : at + int(rng.integers(1, 20))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert np.isfinite(read_volume(bytes(content)).array).all()
            except DicomMLError:
                pass


@pytest.mark.parametrize("length", [12_000, 16_384, 60_000, 300_000])
def test_long_headers(tmp_path: Path, length: int) -> None:
    def change(ds: Dataset, d: int) -> None:
        ds.add_new(0x00091001, "OB", bytes(length))

    series = Series(ramp(), change=change)
    np.testing.assert_array_equal(read_volume(series.write(tmp_path)).array, series.stored.astype(np.float32) - 1024)


def test_a_slope_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="lead out of the range of numbers"):
        read_volume(Series(ramp(), rescale=(1e38, 0.0)).write(tmp_path))
