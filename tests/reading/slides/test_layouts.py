"""Generated slides of every layout, read back pixel by pixel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml

from . import _make as make
from ._make import Image, picture

SHAPE = (101, 90)


def whole(slide: dml.Slide, level: int = 0, **options: object) -> np.ndarray:
    found = slide.levels[level]
    return slide.read_region((0, 0), found.shape, level=level, **options)


@pytest.mark.parametrize("organization", ["TILED_FULL", "TILED_SPARSE", None])
@pytest.mark.parametrize(
    ("syntax", "table", "fragments"),
    [
        (make.EXPLICIT, "basic", 1),
        (make.IMPLICIT, "basic", 1),
        (make.BIG, "basic", 1),
        (make.DEFLATED, "basic", 1),
        (make.RLE, "basic", 1),
        (make.RLE, "empty", 1),
        (make.JPEG_LS, "extended", 1),
        (make.JPEG_LS, "basic", 3),
        (make.JPEG_2000, "empty", 2),
        (make.HTJ2K, "basic", 1),
    ],
)
def test_every_layout_and_table(tmp_path: Path, organization: str, syntax: str, table: str, fragments: int) -> None:
    pixels = picture(SHAPE)
    image = Image(pixels, organization=organization, syntax=syntax, table=table, fragments=fragments)
    slide = dml.open_slide(image.write(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(whole(slide), pixels)
    assert slide.shape == SHAPE and slide.levels[0].tile_size == (32, 24) and slide.levels[0].tiles == (4, 4)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("shift", [(0, 0), (3, 5)])
def test_sparse_frames_in_any_order_some_absent(tmp_path: Path, shift: tuple[int, int], undefined: bool) -> None:
    pixels = picture(SHAPE)
    image = Image(
        pixels,
        organization="TILED_SPARSE",
        keep=lambda p, z, r, c: (r + c) % 3 > 0,
        shuffle=True,
        shift=shift,
        undefined=undefined,
    )
    slide = dml.open_slide(image.write(tmp_path / "a.dcm"))
    expected = np.full((*SHAPE, 3), 255, np.uint8)
    shown = np.zeros(SHAPE, bool)
    for (_, _, r, c), tile in image.frames():
        place = slice(r * 32 + shift[0], (r + 1) * 32 + shift[0]), slice(c * 24 + shift[1], (c + 1) * 24 + shift[1])
        part = expected[place]
        part[...] = tile[: part.shape[0], : part.shape[1]]
        shown[place] = True
    np.testing.assert_array_equal(whole(slide), expected)
    assert not shown.all() and slide.background == (255, 255, 255)
    positions = slide.tile_positions()
    assert len(positions) == len(image.frames())
    tiles = slide.read_tiles(0, positions)
    for (row, column), tile in zip(positions.astype(int), tiles, strict=True):
        part = expected[row : row + 32, column : column + 24]
        np.testing.assert_array_equal(tile[: part.shape[0], : part.shape[1]], part)


def test_the_recommended_color_of_absent_pixels(tmp_path: Path) -> None:
    keep = {"keep": lambda p, z, r, c: (r, c) != (1, 1), "organization": "TILED_SPARSE"}
    grey = {"RecommendedAbsentPixelCIELabValue": [round(53.585 / 100 * 65535), 0x8080, 0x8080]}
    slide = dml.open_slide(Image(picture(SHAPE), attributes=grey, **keep).write(tmp_path / "a.dcm"))
    assert slide.background == (128, 128, 128)
    assert (whole(slide)[32:64, 24:48] == 128).all()
    white = {"RecommendedAbsentPixelCIELabValue": [65535, 0, 0]}
    assert dml.open_slide(Image(picture(SHAPE), attributes=white).write(tmp_path / "b.dcm")).background == (255,) * 3
    mono = dml.open_slide(Image(picture(SHAPE, samples=1), **keep).write(tmp_path / "c.dcm"))
    assert (whole(mono)[32:64, 24:48] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_monochrome_gives_stored_values(tmp_path: Path, dtype: type) -> None:
    pixels = picture(SHAPE, samples=1, dtype=dtype)
    slide = dml.open_slide(Image(pixels, syntax=make.JPEG_LS).write(tmp_path / "a.dcm"))
    found = whole(slide)
    assert found.dtype == dtype and slide.samples == 1
    np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(slide.read_region((0, 0), SHAPE, color="srgb"), pixels)
    assert slide.thumbnail(20).shape == (20, round(20 * (90 * 0.4) / (101 * 0.5)))


def test_pyramid_with_jittering_origins_is_one(tmp_path: Path) -> None:
    pixels = picture((203, 150))
    slide = dml.open_slide(make.pyramid(tmp_path / "s", pixels))
    assert [level.shape for level in slide.levels] == [(203, 150), (101, 75), (50, 37)]
    assert [level.downsamples for level in slide.levels] == [(1, 1), (2, 2), (4, 4)]
    assert [level.downsample for level in slide.levels] == [1, 2, 4]
    assert slide.levels[2].spacing == pytest.approx((0.002, 0.0016))
    for number, factor in enumerate((1, 2, 4)):
        expected = pixels if factor == 1 else make.halved(pixels, factor)
        np.testing.assert_array_equal(whole(slide, number), expected)
        at = slide.read_region((17 * factor, 5 * factor), (20, 10), level=number)
        np.testing.assert_array_equal(at, expected[17:37, 5:15])


def test_folder_list_zip_bytes_and_datasets_are_alike(tmp_path: Path) -> None:
    pixels = picture((203, 150))
    folder = make.pyramid(tmp_path / "s", pixels, syntax=make.JPEG_LS)
    (folder / "notes.txt").write_text("no DICOM at all")
    files = sorted(folder.glob("*.dcm"))
    for name, kind in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", kind) as archive:
            for file in files:
                archive.write(file, f"deep/{file.name}")
    import pydicom

    sources = [
        folder, str(folder), files, tmp_path / "stored.zip", tmp_path / "packed.zip",
        [file.read_bytes() for file in files], [pydicom.dcmread(file) for file in files],
    ]  # fmt: skip
    for source in sources:
        slide = dml.open_slide(source)
        assert len(slide.levels) == 3
        np.testing.assert_array_equal(whole(slide), pixels)
    assert len(dml.open_slide(files[0]).levels) == 1


@pytest.mark.parametrize("organization", ["TILED_FULL", "TILED_SPARSE"])
def test_concatenations_are_put_together(tmp_path: Path, organization: str) -> None:
    pixels = picture(SHAPE)
    image = Image(pixels, organization=organization, syntax=make.JPEG_LS)
    files = image.concatenation(tmp_path / "s", [5, 1, 6, 4])
    slide = dml.open_slide(tmp_path / "s")
    assert len(slide.levels) == 1 and len(slide.levels[0].sop_instance_uids) == 4
    np.testing.assert_array_equal(whole(slide), pixels)
    assert len(slide.source.instances) == 4
    files[2].unlink()
    with pytest.raises(dml.SeriesError, match=r"has 4 parts, part 3 is missing.*gaps='fill'"):
        dml.open_slide(tmp_path / "s")
    found = whole(dml.open_slide(tmp_path / "s", gaps="fill"))
    expected = pixels.copy()
    for number in range(6, 12):
        r, c = divmod(number, 4)
        expected[r * 32 : (r + 1) * 32, c * 24 : (c + 1) * 24] = 255
    np.testing.assert_array_equal(found, expected)


def test_stray_concatenation_attributes_of_a_whole_image(tmp_path: Path) -> None:
    pixels = picture(SHAPE)
    stray = {"ConcatenationUID": "1.2.3", "InConcatenationNumber": 5, "InConcatenationTotalNumber": 12}
    slide = dml.open_slide(Image(pixels, attributes=stray).write(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(whole(slide), pixels)


def test_concatenation_offsets_that_contradict_the_frames(tmp_path: Path) -> None:
    files = Image(picture(SHAPE)).concatenation(tmp_path / "s", [8, 8])
    import pydicom

    ds = pydicom.dcmread(files[1])
    ds.ConcatenationFrameOffsetNumber = 5
    make.write(ds, files[1], make.EXPLICIT)
    with pytest.raises(dml.FileError, match="Offset Number is 5; the parts before it hold 8 frames"):
        dml.open_slide(tmp_path / "s")


@pytest.mark.parametrize("organization", ["TILED_FULL", "TILED_SPARSE"])
def test_focal_planes_and_optical_paths(tmp_path: Path, organization: str) -> None:
    pixels = picture((2, 3, *SHAPE), samples=1, dtype=np.uint16)
    image = Image(pixels, organization=organization, paths=("DAPI", "FITC"), shuffle=organization != "TILED_FULL")
    slide = dml.open_slide(image.write(tmp_path / "a.dcm"))
    assert [path.identifier for path in slide.optical_paths] == ["DAPI", "FITC"]
    assert slide.focal_planes == pytest.approx((0, 0.002, 0.004))
    np.testing.assert_array_equal(whole(slide), pixels[0, 1])  # the middle plane of the first path
    for p, z in np.ndindex(2, 3):
        np.testing.assert_array_equal(whole(slide, optical_path=p, focal_plane=z), pixels[p, z])
    np.testing.assert_array_equal(whole(slide, optical_path="FITC"), pixels[1, 1])
    with pytest.raises(dml.SeriesError, match="no optical path 'TRITC'; the slide has 'DAPI', 'FITC'"):
        whole(slide, optical_path="TRITC")
    with pytest.raises(dml.SeriesError, match="no focal plane 3"):
        whole(slide, focal_plane=3)


def test_a_level_split_over_files(tmp_path: Path) -> None:
    pixels = picture((2, 2, *SHAPE), samples=1, dtype=np.uint16)
    for p, z in np.ndindex(2, 2):
        Image(pixels[p, z], paths=("DAPI", "FITC")[p : p + 1], origin=(20.5, 30.25, z * 0.002)).write(
            tmp_path / f"s/{p}{z}.dcm"
        )
    slide = dml.open_slide(tmp_path / "s")
    assert len(slide.levels) == 1 and slide.focal_planes == pytest.approx((0, 0.002))
    assert {path.identifier for path in slide.optical_paths} == {"DAPI", "FITC"}
    for p, z in np.ndindex(2, 2):
        np.testing.assert_array_equal(whole(slide, optical_path=("DAPI", "FITC")[p], focal_plane=z), pixels[p, z])


@pytest.mark.parametrize("shift", [(0, 0), (3, 5)])
def test_tiles_of_one_plane_split_over_sparse_files(tmp_path: Path, shift: tuple[int, int]) -> None:
    pixels = picture(SHAPE)
    for half in (0, 1):
        Image(pixels, organization="TILED_SPARSE", keep=lambda p, z, r, c, half=half: r % 2 == half, shift=shift).write(
            tmp_path / f"s/{half}.dcm"
        )
    slide = dml.open_slide(tmp_path / "s")
    assert len(slide.levels) == 1
    expected = np.full((*SHAPE, 3), 255, np.uint8)
    if shift == (0, 0):
        expected = pixels
    else:
        for (_, _, r, c), tile in Image(pixels).frames():
            row, column = r * 32 + shift[0], c * 24 + shift[1]
            part = expected[row : row + 32, column : column + 24]
            part[...] = tile[: part.shape[0], : part.shape[1]]
    found = whole(slide)
    inner = slice(shift[0], 96), slice(shift[1], 72)  # the noise that pads the edges is drawn frame by frame
    np.testing.assert_array_equal(found[inner], expected[inner])


def test_levels_with_fewer_planes_give_the_closest(tmp_path: Path) -> None:
    fine = picture((1, 3, 200, 96), samples=1)
    Image(fine, spacing=(0.0005, 0.0005)).write(tmp_path / "s/0.dcm")
    coarse = picture((100, 48), 1, samples=1)
    Image(coarse, spacing=(0.001, 0.001)).write(tmp_path / "s/1.dcm")
    slide = dml.open_slide(tmp_path / "s")
    np.testing.assert_array_equal(whole(slide, 0, focal_plane=2), fine[0, 2])
    np.testing.assert_array_equal(whole(slide, 1, focal_plane=2), coarse)


def test_associated_images(tmp_path: Path) -> None:
    folder = make.pyramid(tmp_path / "s", picture((203, 150)))
    label, overview, thumbnail = picture((60, 50), 1), picture((40, 70), 2), picture((20, 15), 3)
    Image(label, flavor="LABEL", tile=(60, 50), spacing=None, origin=(0, 0)).write(folder / "label.dcm")
    Image(overview, flavor="OVERVIEW", spacing=None).write(folder / "overview.dcm")
    Image(thumbnail, flavor="THUMBNAIL", tile=(20, 15)).write(folder / "thumbnail.dcm")
    slide = dml.open_slide(folder)
    assert len(slide.levels) == 3 and sorted(slide.associated) == ["label", "overview", "thumbnail"]
    for name, expected in (("label", label), ("overview", overview), ("thumbnail", thumbnail)):
        np.testing.assert_array_equal(slide.associated[name].read(), expected)
        np.testing.assert_array_equal(np.asarray(slide.associated[name]), expected)
        assert slide.associated[name].shape == expected.shape[:2]
    assert not set(slide.source.instances) & {image.sop_instance_uid for image in slide.associated.values()}
    alone = dml.open_slide(folder / "label.dcm")
    np.testing.assert_array_equal(alone.associated["label"].read(), label)
    with pytest.raises(dml.SeriesError, match="holds no VOLUME image, only label"):
        alone.read_region((0, 0), (5, 5))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_RCT", "YBR_ICT"])
def test_jpeg_2000_in_any_color_model_is_rgb(tmp_path: Path, photometric: str) -> None:
    import imagecodecs

    pixels = make.smooth(SHAPE)

    def encoded(frame: np.ndarray) -> bytes:
        lossless = photometric != "YBR_ICT"
        options = {"level": 0} if lossless else {"level": 60}
        return bytes(
            imagecodecs.jpeg2k_encode(
                frame, codecformat="J2K", reversible=lossless, mct=photometric != "RGB", **options
            )
        )

    syntax = make.JPEG_2000 if photometric != "YBR_ICT" else "1.2.840.10008.1.2.4.91"
    image = Image(pixels, syntax=syntax, photometric=photometric, encoder=encoded)
    found = whole(dml.open_slide(image.write(tmp_path / "a.dcm"))).astype(int)
    assert np.abs(found - pixels).max() <= (0 if photometric != "YBR_ICT" else 4)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
def test_jpeg_in_either_color_model_is_rgb(tmp_path: Path, photometric: str) -> None:
    import imagecodecs

    pixels = make.smooth(SHAPE)
    stored = {"outcolorspace": "YCBCR"} if photometric == "YBR_FULL_422" else {"outcolorspace": "RGB"}
    image = Image(
        pixels,
        syntax=make.JPEG,
        photometric=photometric,
        encoder=lambda frame: bytes(imagecodecs.jpeg8_encode(frame, level=98, subsampling="444", **stored)),
    )
    slide = dml.open_slide(image.write(tmp_path / "a.dcm"))
    # noise pads the edge tiles, and disturbs the blocks it shares with the picture
    assert np.abs(whole(slide)[:96, :72].astype(int) - pixels[:96, :72]).max() <= 8
    assert slide.levels[0].photometric_interpretation == photometric


def test_positions_that_count_from_zero(tmp_path: Path) -> None:
    pixels = picture(SHAPE)
    image = Image(pixels, organization="TILED_SPARSE", shift=(-1, -1))
    with pytest.warns(dml.DicomMLWarning, match="count from 0"):
        slide = dml.open_slide(image.write(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(whole(slide), pixels)


def test_wrong_offset_tables_are_found_out(tmp_path: Path) -> None:
    pixels = picture(SHAPE)
    path = Image(pixels, syntax=make.JPEG_LS).write(tmp_path / "a.dcm")
    content = bytearray(path.read_bytes())
    table = content.rindex(b"\xfe\xff\x00\xe0\x40\x00\x00\x00") + 8
    content[table + 8 : table + 12] = (12).to_bytes(4, "little")
    path.write_bytes(content)
    slide = dml.open_slide(path)
    with pytest.warns(dml.DicomMLWarning, match="offset table is wrong"):
        np.testing.assert_array_equal(whole(slide), pixels)
