"""Transcoded files are the same objects with the same pixels, as pydicom, GDCM (SimpleITK) and highdicom read them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import FileView
from dicom_ml.encoding.frames import FrameIndex, decode_frames
from dicom_ml.encoding.transcoding import TARGETS, image, transcode, transcode_file
from dicom_ml.encoding.uids import new_uid
from dicom_ml.encoding.writer import element_bytes, item_bytes
from dicom_ml.errors import CodecError, EncodingError, FileError

from ..reading._make import BIG, IMPLICIT, RLE, image_dataset, write

DEFLATED = "1.2.840.10008.1.2.1.99"
NOT_COMPARED = {0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00010}


def picture(shape: tuple[int, ...], dtype: str, bits: int) -> np.ndarray:
    """Smooth, with noise and with the extremes."""
    rng = np.random.default_rng(sum(shape))
    axes = np.indices(shape).sum(0) / sum(shape)
    top = (1 << bits) - 1
    values = np.clip(axes * top + rng.integers(-3, 4, shape), 0, top).astype(np.int64)
    values.reshape(-1)[:2] = 0, top
    return (values - (1 << bits - 1) if dtype[0] == "i" else values).astype(dtype)


def monochrome(dtype: str = "i2", bits: int = 16, frames: int = 3) -> Dataset:
    pixels = picture((frames, 18, 23), dtype, bits)
    if bits == 1:
        ds = image_dataset("CT", pixels)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
        data = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
    else:
        ds = image_dataset("CT", pixels, bits)
    ds.SOPInstanceUID, ds.NumberOfFrames = new_uid(), frames
    ds.add_new(0x00090010, "LO", "ACME")
    ds.add_new(0x00091001, "UN", b"\1\2\3\4")
    ds.ReferencedImageSequence = [Dataset()]
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    ds.add_new(0xFFFCFFFC, "OB", b"\0" * 10)  # padding: the one element that does not come along
    return ds


def color(model: str = "RGB", planar: int = 0) -> Dataset:
    ds = image_dataset("CT", np.zeros((2, 18, 24), np.uint8))
    pixels = picture((2, 18, 24, 3), "u1", 8)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, model, planar
    ds.PixelData = (np.moveaxis(pixels, -1, 1) if planar else pixels).tobytes()
    ds.SOPInstanceUID, ds.NumberOfFrames = new_uid(), 2
    return ds


KINDS = {
    "int16": monochrome,
    "uint16 of 12 bits": lambda: monochrome("u2", 12),
    "int16 of 12 bits": lambda: monochrome("i2", 12),
    "uint8": lambda: monochrome("u1", 8),
    "1 bit": lambda: monochrome("u1", 1, 5),
    "RGB": color,
    "RGB by plane": lambda: color(planar=1),
    "YBR_FULL": lambda: color("YBR_FULL"),
}
NOT_HELD = {("1 bit", "htj2k"), ("1 bit", "jpeg-ls")}


def stored(path: Path) -> np.ndarray:
    """Frames by this project's reader, which tests of codecs compare with others."""
    ds = pydicom.dcmread(path)
    return decode_frames(FrameIndex.from_dataset(ds))


def by_pydicom(path: Path) -> np.ndarray:
    # as stored: neither colour model nor bits changed
    return pydicom.pixels.pixel_array(path, raw=True)


def assert_same_object(before: Path, after: Path) -> None:
    a, b = pydicom.dcmread(before), pydicom.dcmread(after)
    left = {int(e.tag): e for e in a if int(e.tag) not in NOT_COMPARED | {0xFFFCFFFC} and e.tag.element}
    right = {int(e.tag): e for e in b if int(e.tag) not in NOT_COMPARED}
    assert left == right
    assert b.file_meta.MediaStorageSOPInstanceUID == b.SOPInstanceUID == a.SOPInstanceUID


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_there_and_back(kind: str, to: str, tmp_path: Path) -> None:
    source = write(KINDS[kind](), tmp_path / "a.dcm")
    if (kind, to) in NOT_HELD:
        with pytest.raises(EncodingError):
            transcode_file(source, tmp_path / "b.dcm", TARGETS[to])
        return
    there, back = tmp_path / "b.dcm", tmp_path / "c.dcm"
    frames = transcode_file(source, there, TARGETS[to])
    transcode_file(there, back, TARGETS["raw"])
    truth = by_pydicom(source)
    assert frames == len(truth)
    for path in (there, back):
        assert np.array_equal(stored(path), truth)
        assert_same_object(source, path)
    assert np.array_equal(by_pydicom(back), truth)
    written = pydicom.dcmread(there)
    assert written.file_meta.TransferSyntaxUID == TARGETS[to]
    if to in ("jpeg2000", "htj2k") and kind.startswith("RGB"):
        assert written.PhotometricInterpretation == "YBR_RCT"
    elif to != "deflate":  # unknown to pydicom
        assert np.array_equal(by_pydicom(there), truth)


@pytest.mark.judge
@pytest.mark.parametrize("to", ["raw", "rle", "jpeg-ls", "jpeg2000"])
@pytest.mark.parametrize("kind", ["int16", "uint16 of 12 bits", "uint8", "RGB"])
def test_gdcm_and_highdicom_read_the_pixels(kind: str, to: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    source = write(KINDS[kind](), tmp_path / "a.dcm")
    transcode_file(source, tmp_path / "b.dcm", TARGETS[to])
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.dcm"))), by_pydicom(source))
    hd = pytest.importorskip("highdicom")
    seen = hd.imread(tmp_path / "b.dcm").get_stored_frame(1) if kind != "RGB" else None
    assert seen is None or np.array_equal(seen, by_pydicom(source)[0])


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, DEFLATED, RLE])
def test_sources_of_any_encoding(syntax: str, tmp_path: Path) -> None:
    ds = monochrome()
    ds.RedPaletteColorLookupTableData = np.arange(9, dtype="<u2").tobytes()
    ds["RedPaletteColorLookupTableData"].VR = "OW"
    truth = np.frombuffer(ds.PixelData, np.int16).reshape(3, 18, 23)
    words = ds.RedPaletteColorLookupTableData
    if syntax == BIG:
        ds.RedPaletteColorLookupTableData = np.arange(9, dtype=">u2").tobytes()
    source = write(ds, tmp_path / "a.dcm", syntax)
    for to in ("raw", "jpeg-ls"):
        transcode_file(source, tmp_path / "b.dcm", TARGETS[to])
        found = pydicom.dcmread(tmp_path / "b.dcm")
        assert np.array_equal(found.pixel_array, truth)
        assert found.RedPaletteColorLookupTableData == words
        assert found[0x00091001].value == b"\1\2\3\4"
        assert 0xFFFCFFFC not in found


def test_unused_bits_are_kept_or_refused(tmp_path: Path) -> None:
    ds = monochrome("u2", 12)
    cells = np.frombuffer(ds.PixelData, "<u2").copy()
    cells[::5] |= 0x8000  # an overlay in the highest bit
    ds.PixelData = cells.tobytes()
    source = write(ds, tmp_path / "a.dcm")
    for to in ("rle", "deflate"):
        transcode_file(source, tmp_path / "b.dcm", TARGETS[to])
        transcode_file(tmp_path / "b.dcm", tmp_path / "c.dcm", TARGETS["raw"])
        assert pydicom.dcmread(tmp_path / "c.dcm").PixelData == ds.PixelData
    for to in ("jpeg-ls", "htj2k", "jpeg2000"):
        with pytest.raises(EncodingError, match="bits beyond Bits Stored"):
            transcode_file(source, tmp_path / "d.dcm", TARGETS[to])
    assert not (tmp_path / "d.dcm").exists()


def test_harsh_contrasts_stay_rgb_within_jpeg_2000(tmp_path: Path) -> None:
    ds = color()
    pixels = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (2, 18, 24, 3))
    ds.PixelData = pixels.tobytes()
    source = write(ds, tmp_path / "a.dcm")
    transcode_file(source, tmp_path / "b.dcm", TARGETS["jpeg2000"])
    assert np.array_equal(stored(tmp_path / "b.dcm"), pixels)


def test_a_frame_that_does_not_come_back_is_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(monochrome(), tmp_path / "a.dcm")

    def wrong(frame: np.ndarray, info: FrameInfo) -> bytes:
        changed = frame.copy()
        changed[3, 4] ^= 1
        return encode(changed, info)

    encode = image.encode_frame
    monkeypatch.setattr(image, "encode_frame", wrong)
    with pytest.raises(CodecError, match="frame 1 did not come back"):
        transcode_file(source, tmp_path / "b.dcm", TARGETS["rle"], threads=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dcm"]
    (result,) = transcode(source, tmp_path / "b.dcm", "rle")
    assert (result.outcome, result.ok, result.bytes_after) == ("failed", False, 0)


def test_long_offsets_where_short_ones_might_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(monochrome(), tmp_path / "a.dcm")
    transcode_file(source, tmp_path / "short.dcm", TARGETS["rle"])
    monkeypatch.setattr(image, "_MOST", 100)
    transcode_file(source, tmp_path / "long.dcm", TARGETS["rle"])
    short, long = (FileView((tmp_path / f"{name}.dcm").read_bytes()) for name in ("short", "long"))
    assert 0x7FE00001 not in short and len(long.raw(0x7FE00001) or b"") == 3 * 8
    assert np.array_equal(by_pydicom(tmp_path / "long.dcm"), by_pydicom(source))
    transcode_file(tmp_path / "long.dcm", tmp_path / "raw.dcm", TARGETS["raw"])
    assert 0x7FE00001 not in FileView((tmp_path / "raw.dcm").read_bytes())


def test_uncompressed_pixel_data_past_4_gib_is_refused(tmp_path: Path) -> None:
    info = FrameInfo(65000, 65000, bits_allocated=16)
    with open(tmp_path / "a", "wb", buffering=0) as file, pytest.raises(EncodingError, match="passes the 4 GiB"):
        image._sink(file, info, 1)


def test_a_compressed_icon_is_no_obstacle_that_is_overlooked(tmp_path: Path) -> None:
    source = write(monochrome(), tmp_path / "a.dcm")
    icon = element_bytes(0x00880200, "SQ", item_bytes(image._ENCAPSULATED_PIXELS + b"\xfe\xff\xdd\xe0\0\0\0\0"))
    data = source.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    source.write_bytes(data[:at] + icon + data[at:])
    with pytest.raises(EncodingError, match="icon"):
        transcode_file(source, tmp_path / "b.dcm", TARGETS["rle"])


def test_a_folder_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for name in ("one/1.dcm", "one/2.dcm", "two/3.dcm"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        write(monochrome(frames=1), source / name)
    (source / "readme.txt").write_text("no DICOM")
    (source / "DICOMDIR").write_bytes(b"")
    steps: list[float] = []
    first = transcode(source, output, "rle", progress=steps.append)
    assert [f.outcome for f in first] == ["skipped", "transcoded", "transcoded", "transcoded"]
    assert sum(steps) == pytest.approx(sum(f.bytes_before for f in first))
    times = {f.output: f.output.stat().st_mtime_ns for f in first[1:]}
    (output / "one/2.dcm").unlink()
    again = transcode(source, output, "rle")
    assert [f.outcome for f in again] == ["skipped", "there", "transcoded", "there"]
    assert all(path.stat().st_mtime_ns == times[path] for path in (output / "one/1.dcm", output / "two/3.dcm"))
    assert [f.outcome for f in transcode(output, tmp_path / "same", "rle")] == ["kept"] * 3
    shutil.copy(output / "two/3.dcm", output / "one/1.dcm")
    other = transcode(source, output, "rle")[1]
    assert other.outcome == "failed" and "another object" in other.reason
    assert transcode(source, output, "rle", overwrite=True)[1].outcome == "transcoded"
    with pytest.raises(FileError, match="lies within"):
        transcode(source, source / "out", "rle")


def test_what_is_lossy_or_no_image_stays_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    plain = monochrome(frames=1)
    del plain.PixelData
    for tag in ("Rows", "Columns"):
        del plain[tag]
    write(plain, source / "a_report.dcm")
    encoded = image_dataset("CT", picture((8, 8), "u1", 8))
    encoded.SOPInstanceUID, encoded.LossyImageCompression = new_uid(), "01"
    encoded.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    encoded["PixelData"].VR = "OB"
    encoded["PixelData"].is_undefined_length = True
    encoded.file_meta = pydicom.dataset.FileMetaDataset()
    encoded.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    encoded.save_as(source / "b_lossy.dcm", enforce_file_format=True)
    kept = transcode(source, tmp_path / "out", "htj2k")
    assert [f.outcome for f in kept] == ["kept", "kept"]
    assert "no pixel data" in kept[0].reason and "lossy" in kept[1].reason
    for one in kept:
        assert one.path.read_bytes() == one.output.read_bytes()
    assert [f.outcome for f in transcode(source, tmp_path / "out", "htj2k")] == ["there", "there"]
    refused = transcode(source, tmp_path / "other", "htj2k", unsuitable="refuse")
    assert [f.outcome for f in refused] == ["kept", "refused"]
    assert not refused[1].output.exists()


@pytest.mark.parametrize("to", ["raw", "rle", "jpeg-ls", "htj2k"])
def test_real_files(to: str, shared_data: Path, tmp_path: Path) -> None:
    names = (
        "693_J2KR.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "examples_rgb_color.dcm",
        "emri_small_jpeg_2k_lossless.dcm", "liver.dcm", "image_dfl.dcm", "JPEG-LL.dcm", "SC_rgb_rle_2frame.dcm",
    )  # fmt: skip
    done = 0
    for name in names:
        source = next(shared_data.rglob(name), None)
        if source is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (found,) = transcode(source, tmp_path / name, to)
            if found.outcome == "transcoded":
                assert_same_object(source, found.output)
                assert np.array_equal(stored(found.output), stored(source)), name
                done += 1
            else:
                assert found.outcome == "kept", (name, found.reason)
    assert done >= 2


def test_targets_that_are_unknown() -> None:
    with pytest.raises(EncodingError, match="expected one of htj2k"):
        transcode("a", "b", "jpeg")
