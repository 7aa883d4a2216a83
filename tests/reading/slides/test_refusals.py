"""Series that are no slide, or not all of one, and files that are damaged: what is said of them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import dicom_ml as dml

from . import _make as make
from ._make import Image, picture

SHAPE = (101, 90)


def damaged(tmp_path: Path, change: Any = None, **options: Any) -> Path:
    return Image(picture(SHAPE), change=change, **options).write(tmp_path / "a.dcm")


def without(*keywords: str) -> Any:
    def change(ds: pydicom.Dataset) -> None:
        for keyword in keywords:
            del ds[keyword]

    return change


def having(**values: Any) -> Any:
    def change(ds: pydicom.Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (having(NumberOfFrames=15), r"holds 15 frames; 16 tiles of 32 x 24 cover its matrix of 101 x 90.*gaps='fill'"),
        (having(NumberOfFrames=0), "NumberOfFrames is 0; expected at least 1"),
        (having(NumberOfOpticalPaths=1, TotalPixelMatrixFocalPlanes=2), "2 focal plane.* make 32"),
        (without("BitsAllocated"), "BitsAllocated is missing"),
        (without("PixelData"), "holds no pixel data"),
        (without("TotalPixelMatrixRows"), "neither the size of the total pixel matrix nor the frames' positions"),
        (having(ImageOrientationSlide=[1, 0, 0, 1, 0, 0]), "Image Orientation"),
        (having(ImageOrientationSlide=[1, 0, 0]), "holds '1.*expected 6 decimal numbers"),
        (having(DimensionOrganizationType="TILED_SPARSE"), "its frames do not say where they lie"),
    ],
)
def test_damaged_headers(tmp_path: Path, change: Any, message: str) -> None:
    path = damaged(tmp_path, change)
    with pytest.raises(dml.FileError, match=message) as caught:
        dml.open_slide(path)
    assert "a.dcm" in str(caught.value) and "Phantom" not in str(caught.value)


def test_sparse_frames_without_groups_for_all(tmp_path: Path) -> None:
    def change(ds: pydicom.Dataset) -> None:
        del ds.PerFrameFunctionalGroupsSequence[-1]

    with pytest.raises(dml.FileError, match="has 16 frames, but functional groups for 15"):
        dml.open_slide(damaged(tmp_path, change, organization="TILED_SPARSE"))


def test_a_palette_is_not_read(tmp_path: Path) -> None:
    path = Image(picture(SHAPE, samples=1), photometric="PALETTE COLOR").write(tmp_path / "a.dcm")
    with pytest.raises(dml.CodecError, match="1 samples a pixel of Photometric Interpretation PALETTE COLOR"):
        dml.open_slide(path)


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.JPEG_LS])
@pytest.mark.parametrize("table", ["basic", "extended", "empty"])
def test_truncated_pixel_data(tmp_path: Path, syntax: str, table: str) -> None:
    path = damaged(tmp_path, syntax=syntax, table=table)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    slide = dml.open_slide(path)
    with (
        pytest.raises(dml.FileError, match=r"a\.dcm.*truncated"),
        pytest.warns() if syntax != make.EXPLICIT else nullcontext(),
    ):
        slide.read_region((0, 0), SHAPE)


def test_truncated_header(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(dml.FileError, match=r"a\.dcm is truncated"):
        dml.open_slide(path)


def test_a_damaged_frame_names_its_file(tmp_path: Path) -> None:
    path = damaged(tmp_path, syntax=make.JPEG_LS)
    content = bytearray(path.read_bytes())
    start = content.rindex(b"\xff\xd8\xff\xf7")
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    slide = dml.open_slide(path)
    with pytest.raises(dml.CodecError, match=r"a\.dcm: frame 16 "):
        slide.read_region((0, 0), SHAPE)
    assert slide.read_region((0, 0), (32, 24)).shape == (32, 24, 3)  # the others are good


def test_one_damaged_file_of_several_is_not_left_aside(tmp_path: Path) -> None:
    folder = make.pyramid(tmp_path / "s", picture((203, 150)))
    files = sorted(folder.glob("*.dcm"))
    files[1].write_bytes(files[1].read_bytes()[:500])
    with pytest.raises(dml.FileError, match="truncated"):
        dml.open_slide(folder)


def test_two_series_or_regions(tmp_path: Path) -> None:
    for series in (1, 2):
        make.pyramid(tmp_path / f"s/{series}", picture((203, 150), series), series=series)
    with pytest.raises(dml.SeriesError, match=r"2 slide series.*\(3 files\).*series_uid="):
        dml.open_slide(tmp_path / "s")
    slide = dml.open_slide(tmp_path / "s", series_uid=f"{make.ROOT}2.2")
    np.testing.assert_array_equal(slide.read_region((0, 0), (203, 150)), picture((203, 150), 2))


def test_two_regions_of_one_slide(tmp_path: Path) -> None:
    first, second = picture((203, 150), 1), picture((153, 150), 2)
    make.pyramid(tmp_path / "s/a", first)
    make.pyramid(tmp_path / "s/b", second, origin=(10.5, 12))
    with pytest.raises(dml.SeriesError, match=r"2 regions of the slide.*0: 203 x 150 pixels, 3 level.*pass pyramid="):
        dml.open_slide(tmp_path / "s")
    for number, expected in enumerate((first, second)):
        slide = dml.open_slide(tmp_path / "s", pyramid=number)
        assert len(slide.levels) == 3
        np.testing.assert_array_equal(slide.read_region((0, 0), slide.shape), expected)
    with pytest.raises(dml.SeriesError, match="there is no pyramid 2; "):
        dml.open_slide(tmp_path / "s", pyramid=2)


def test_pyramid_uids_tell_regions_apart(tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.3"), ("b", "1.2.4")):
        Image(picture(SHAPE), attributes={"PyramidUID": uid}).write(tmp_path / f"s/{name}.dcm")
    with pytest.raises(dml.SeriesError, match=r"Pyramid UID 1\.2\.3"):
        dml.open_slide(tmp_path / "s")
    assert dml.open_slide(tmp_path / "s", pyramid="1.2.4").shape == SHAPE


def test_copies_of_a_file_are_one(tmp_path: Path) -> None:
    path = damaged(tmp_path / "s")
    (tmp_path / "s/copy.dcm").write_bytes(path.read_bytes())
    assert len(dml.open_slide(tmp_path / "s").levels[0].sop_instance_uids) == 1
    content = bytearray(path.read_bytes())
    content[-50] ^= 255
    (tmp_path / "s/copy.dcm").write_bytes(content)
    with pytest.raises(dml.SeriesError, match="same SOP Instance UID but differ"):
        dml.open_slide(tmp_path / "s")


def test_two_versions_of_one_level(tmp_path: Path) -> None:
    for number in (1, 2):
        Image(picture(SHAPE, number)).write(tmp_path / f"s/{number}.dcm")
    with pytest.raises(dml.SeriesError, match=r"1\.dcm and .*2\.dcm hold the same tiles of one level"):
        dml.open_slide(tmp_path / "s")


def test_missing_spacing_and_origin(tmp_path: Path) -> None:
    path = damaged(tmp_path, spacing=None)
    slide = dml.open_slide(path)
    assert slide.spacing is None
    np.testing.assert_array_equal(slide.read_region((0, 0), SHAPE), picture(SHAPE))
    with pytest.raises(dml.GeometryError, match=r"does not state its pixel spacing.*give level="):
        slide.read_region((0, 0), (5, 5), spacing=0.001)
    with pytest.raises(dml.GeometryError, match="no pixel spacing"):
        slide.to_mm((0, 0))
    assert slide.source.problems == ("level 0 has no pixel spacing",)
    sized = damaged(
        tmp_path, spacing=None, attributes={"ImagedVolumeHeight": 101 * 0.5, "ImagedVolumeWidth": 90 * 0.25}
    )
    assert dml.open_slide(sized).spacing == pytest.approx((0.5, 0.25))
    with pytest.warns(dml.DicomMLWarning, match="does not state the origin"):
        slide = dml.open_slide(damaged(tmp_path, origin=None))
    np.testing.assert_allclose(slide.to_mm((0, 0)), 0)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(dml.SeriesError, match="found 1 not DICOM"):
        dml.open_slide(tmp_path)
    with pytest.raises(dml.SeriesError, match="found no file"):
        dml.open_slide([])
    with pytest.raises(ValueError, match="gaps is 'zeros'"):
        dml.open_slide(tmp_path, gaps="zeros")


def test_a_segmentation_beside_the_slide_is_left_aside(tmp_path: Path) -> None:
    folder = make.pyramid(tmp_path / "s", picture((203, 150)))
    ds = pydicom.dcmread(next(folder.glob("*.dcm")))
    ds.SOPClassUID, ds.Modality, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "SEG", "1.2.3.4"
    make.write(ds, folder / "seg.dcm", make.EXPLICIT)
    assert len(dml.open_slide(folder).levels) == 3
