"""Every real SM file, against wsidicom, highdicom and pydicom; or the error that it must raise, and why."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from tests.real_files import heads

#: File or folder -> levels, associated images, and the readers that agree with us pixel by pixel.
READ: dict[str, tuple[int, list[str], tuple[str, ...]]] = {
    "b_wsi/cmu1_he_pyramid_jpeg": (5, ["label", "overview"], ("wsidicom",)),
    "b_wsi/cmu1_he_pyramid_jpeg/label_387x463.dcm": (0, ["label"], ("frames",)),
    "b_wsi/cmu1_he_pyramid_jpeg/overview_1280x431.dcm": (0, ["overview"], ("frames",)),
    "b_wsi/cmu1_he_pyramid_jpeg/volume_2220x2967.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/cmu1_he_pyramid_jpeg/volume_1110x1484.dcm": (1, [], ("frames", "highdicom")),  # see WSIDICOM_ERRS
    "b_wsi/cmu1_he_pyramid_jpeg/volume_555x742.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/cmu1_he_pyramid_jpeg/volume_278x371.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/cmu1_he_pyramid_jpeg/volume_139x186.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/google_ezwsi/multiframe_camelyon_challenge_image.dcm": (1, [], ("frames", "wsidicom")),
    "b_wsi/google_ezwsi/test.dcm": (0, ["label"], ("frames",)),
    # says that it is part 5 of 12 of a concatenation, and is whole
    "b_wsi/google_ezwsi/test_wsi.dcm": (0, ["label"], ("frames",)),
    "b_wsi/google_wsi2dcm/jpeg.dicom": (1, [], ("frames", "wsidicom")),
    "b_wsi/google_wsi2dcm/jpeg2000.dicom": (1, [], ("frames", "wsidicom")),
    "b_wsi/highdicom_tiny/sm_image.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_control.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_dots.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_grayscale.dcm": (1, [], ("frames", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_grayscale_reversed.dcm": (1, [], ("frames", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_jpegls.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_jpegls_nobot.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/highdicom_tiny/sm_image_numbers.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/openslide_boxes": (1, ["thumbnail"], ("wsidicom",)),
    "b_wsi/openslide_boxes/boxes_0.dcm": (1, [], ("frames", "wsidicom", "highdicom")),
    "b_wsi/openslide_boxes/boxes_1.dcm": (0, ["thumbnail"], ("frames",)),
    "b_wsi/panimg/full_no_bot": (1, [], ("frames", "wsidicom")),
    "b_wsi/panimg/full_with_bot": (1, [], ("frames", "wsidicom")),
    "b_wsi/panimg/sparse_no_bot": (1, [], ("frames", "wsidicom")),
    "b_wsi/panimg/sparse_with_bot": (1, [], ("frames", "wsidicom")),
}

#: Levels, by their shape, that wsidicom shows in wrong colours. Its header says RGB and its codestream is YCbCr (JFIF
#: marker, subsampled), as scanners write it: wsidicom believes the header, and the level is no longer the one below.
WSIDICOM_ERRS = [(1484, 1110)]

REFUSED = {
    "b_wsi/panimg/non_wsi_dcm": (dml.SeriesError, "no slide here: expected VL Whole Slide Microscopy Images, found 1 "),
    "b_wsi/highdicom_tiny": (dml.SeriesError, "of 6 slide series, expected one"),
    "b_wsi/panimg": (dml.SeriesError, "of 4 slide series, expected one"),
    "b_wsi/google_ezwsi": (dml.SeriesError, "of 2 slide series, expected one"),
    "a_ct/torchio_dicom": (dml.SeriesError, "found .* CT Image; read volumes with dicom_ml.read_volume"),
    "b_wsi/openslide_boxes/boxes.png": (dml.SeriesError, "found 1 not DICOM"),
    "d_derived/highdicom/seg_image_sm_dots.dcm": (dml.SeriesError, "found 1 Segmentation"),
    "d_derived/highdicom/sm_annotations.dcm": (dml.SeriesError, "found 1 Microscopy Bulk Simple Annotations"),
    "b_wsi/nowhere": (dml.FileError, "does not exist"),
}


def whole(slide: dml.Slide, level: int) -> np.ndarray:
    return slide.read_region((0, 0), slide.levels[level].shape, level=level)


def by_frames(path: Path) -> np.ndarray:
    """The image put together from pydicom's frames, by rules written here once more."""
    (file,) = [path] if path.is_file() else list(path.glob("*.dcm"))
    ds = pydicom.dcmread(file)
    rows, columns = ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns
    color = ds.SamplesPerPixel == 3
    # as DICOM means it: components are YCbCr only where the header, or the codestream, says so
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns, *([3] if color else []))
    across = -(-columns // ds.Columns)
    out = np.zeros((-(-rows // ds.Rows) * ds.Rows, across * ds.Columns, *frames.shape[3:]), frames.dtype)
    for number, frame in enumerate(frames):
        r, c = divmod(number, across)
        out[r * ds.Rows : (r + 1) * ds.Rows, c * ds.Columns : (c + 1) * ds.Columns] = frame
    return out[:rows, :columns]


def same(found: np.ndarray, expected: np.ndarray, lossy: bool) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if lossy:
        # different decoders round colour conversion differently
        assert np.abs(found.astype(int) - expected).max() <= 2, np.abs(found.astype(int) - expected).max()
        assert (found == expected).mean() > 0.5
    else:
        np.testing.assert_array_equal(found, expected)


def test_every_slide_file_has_its_row(shared_data: Path) -> None:
    listed = [shared_data / name for name in READ]
    for head in heads(shared_data):
        if head.part10 and head.sop_class == "1.2.840.10008.5.1.4.1.1.77.1.6":
            assert head.path in listed or head.path.parent in listed, f"{head.path} has no row"


@pytest.mark.parametrize("name", READ)
def test_opens_and_reads_as_others_do(shared_data: Path, name: str) -> None:
    levels, associated, judges = READ[name]
    path = shared_data / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dml.DicomMLWarning)  # no origin in some, tested elsewhere
        slide = dml.open_slide(path)
    assert len(slide.levels) == levels and sorted(slide.associated) == associated
    if "frames" in judges:
        found = whole(slide, 0) if levels else slide.associated[associated[0]].read()
        base = slide.levels[0] if levels else slide.associated[associated[0]].level
        same(found, by_frames(path), base.transfer_syntax_uid.endswith("4.50"))
    if "wsidicom" in judges:
        against_wsidicom(slide, path)
    if "highdicom" in judges:
        against_highdicom(slide, path)


def against_wsidicom(slide: dml.Slide, path: Path) -> None:
    wsidicom = pytest.importorskip("wsidicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [path] if path.is_file() else sorted(path.glob("*.dcm"))
        with wsidicom.WsiDicom.open(files) as other:
            assert [(lv.size.height, lv.size.width) for lv in other.levels] == [lv.shape for lv in slide.levels]
            for number, level in enumerate(slide.levels):
                size = other.levels[number].size
                region = other.read_region((0, 0), other.levels[number].level, (size.width, size.height))
                if level.shape not in WSIDICOM_ERRS:
                    same(whole(slide, number), np.asarray(region.convert("RGB")), False)
                assert other.levels[number].pixel_spacing.width == pytest.approx(level.spacing[1])
                assert other.levels[number].pixel_spacing.height == pytest.approx(level.spacing[0])


def against_highdicom(slide: dml.Slide, path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = highdicom.imread(path)
        options: dict[str, Any] = {"apply_icc_profile": False} if image.SamplesPerPixel == 3 else {}
        expected = image.get_total_pixel_matrix(dtype=slide.dtype, **options)
        lossy = slide.levels[0].transfer_syntax_uid.endswith("4.50")
        same(whole(slide, 0), expected, lossy)
        # centres of pixels in slide coordinates
        transform = highdicom.spatial.ImageToReferenceTransformer.for_image(image, for_total_pixel_matrix=True)
        points = np.array([[0.5, 0.5], [10.5, 3.5]])  # column, row, from the corner
        np.testing.assert_allclose(
            slide.to_mm(points[:, ::-1], corner=True)[:, :2], transform(points)[:, :2], atol=1e-6
        )


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_and_says_why(shared_data: Path, name: str) -> None:
    kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        dml.open_slide(shared_data / name)


def test_one_series_of_several_is_chosen(shared_data: Path) -> None:
    folder = shared_data / "b_wsi/highdicom_tiny"
    uid = str(pydicom.dcmread(folder / "sm_image_numbers.dcm").SeriesInstanceUID)
    slide = dml.open_slide(folder, series_uid=uid)
    assert slide.source.series_instance_uid == uid and slide.shape == (50, 50)
    with pytest.raises(dml.SeriesError, match=r"no slide series 1\.2\.3; found"):
        dml.open_slide(folder, series_uid="1.2.3")


def test_two_images_in_the_place_of_one(shared_data: Path) -> None:
    files = [shared_data / "b_wsi/highdicom_tiny" / name for name in ("sm_image.dcm", "sm_image_control.dcm")]
    with pytest.raises(dml.SeriesError, match=r"sm_image\.dcm and .*sm_image_control\.dcm have the same SOP"):
        dml.open_slide(files)


def test_icc_profiles_are_applied_as_openslide_shows(shared_data: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    cms = pytest.importorskip("PIL.ImageCms")
    import io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slide = dml.open_slide(shared_data / "b_wsi/highdicom_tiny/sm_image_dots.dcm")
    plain, found = whole(slide, 0), slide.read_region((0, 0), slide.shape, color="srgb")
    assert slide.icc_profile is not None
    source = cms.getOpenProfile(io.BytesIO(slide.icc_profile))
    transform = cms.buildTransform(source, cms.createProfile("sRGB"), "RGB", "RGB", renderingIntent=0)
    expected = np.asarray(cms.applyTransform(pillow.fromarray(plain), transform))
    assert np.abs(found.astype(int) - expected).max() <= 1
    # what is outside is not of the scanner's colours
    assert (slide.read_region((-5, 0), (5, 9), color="srgb") == 255).all()


def test_levels_of_the_real_pyramid_lie_on_one_another(shared_data: Path) -> None:
    slide = dml.open_slide(shared_data / "b_wsi/cmu1_he_pyramid_jpeg")
    assert [level.downsample for level in slide.levels] == [1, 2, 4, 8, 16]
    assert slide.best_level(0.001).index == 1 and slide.best_level(0.0001).index == 0
    base = whole(slide, 0).astype(float)
    for level in slide.levels[1:]:
        factor = round(level.downsample)
        height, width = base.shape[0] // factor, base.shape[1] // factor
        means = base[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
        # the scanner's own filter and JPEG make the difference; other colours or a shifted level make it ten times that
        assert np.abs(whole(slide, level.index)[:height, :width] - means).mean() < 6
    thumbnail = slide.thumbnail(100)
    assert thumbnail.shape == (100, 75, 3)
    assert np.abs(thumbnail.mean(axis=(0, 1)) - base.mean(axis=(0, 1))).max() < 3
