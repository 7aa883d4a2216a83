"""Every real image decodes as pydicom decodes it, or as a statement below says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder

from dicom_ml.encoding.codecs import COMPRESSIONS, FrameInfo, decode_frame, encode_frame
from dicom_ml.encoding.frames import FrameIndex, decode_frames
from dicom_ml.errors import CodecError, DicomMLError, FileError

pytestmark = pytest.mark.filterwarnings("ignore")

FOLDERS = (
    "e_edge/cornerstone_ts", "e_edge/libdicom_bot", "e_edge/pydicom/test_files", "b_wsi", "d_derived",
)  # fmt: skip

# pydicom leaves the components as they are though the header says RGB and the codestream YCbCr.
MISLABELLED = {"label_387x463.dcm", "volume_1110x1484.dcm"}

# What cannot be decoded by anyone, and what we say.
REFUSED = {
    "MR_truncated.dcm": (FileError, "8192 bytes of pixel data, 8130 are there"),
    "meta_missing_tsyntax.dcm": (FileError, "no Transfer Syntax UID"),
    "nested_priv_SQ.dcm": (FileError, "BitsAllocated is missing"),
    # Its fragment holds a delimiter's bytes in the middle of the codestream's header.
    "JPEG2000-embedded-sequence-delimiter.dcm": (CodecError, "header says"),
    "generated_encapsulated_": (CodecError, "does not begin with a JPEG 2000 codestream"),
}


def images(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".json", ".txt", ".png", ".nrrd", ".gz", ".icc", ".dump"}
    )  # fmt: skip


def read(path: Path) -> Any:
    try:
        dataset = pydicom.dcmread(path, force=True)
        if any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            int(dataset.get("NumberOfFrames") or 1)
            return dataset
    except Exception:
        pass
    return None


def some_frames(n: int) -> list[int]:
    return list(range(n)) if n <= 12 else list(range(0, n, n // 6))


@pytest.mark.parametrize("folder", FOLDERS)
def test_frames_equal_pydicoms(folder: str, shared_data: Path) -> None:
    compared = 0
    for path in images(shared_data / folder):
        dataset = read(path)
        if dataset is None:
            continue
        refusal = next((v for k, v in REFUSED.items() if path.name.startswith(k)), None)
        if refusal is not None:
            with pytest.raises(refusal[0], match=refusal[1]):
                decode_frames(FrameIndex.from_dataset(dataset))
            continue
        index = FrameIndex.from_dataset(dataset)
        wanted = some_frames(len(index))
        ours = decode_frames(index, wanted)
        try:
            decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
            theirs = [decoder.as_array(dataset, raw=True, index=i)[0] for i in wanted]
        except Exception:
            continue  # no decoder of pydicom's is installed for it; see below for these
        if path.name in MISLABELLED:
            continue
        np.testing.assert_array_equal(ours, np.stack(theirs), err_msg=path.name)
        compared += 1
    assert compared or folder == "e_edge/libdicom_bot"


def cornerstone(folder: Path, name: str) -> Any:
    path = next((folder / "e_edge/cornerstone_ts").glob(f"*{name}*"), None)
    if path is None:
        pytest.skip(f"{name} is not there")
    return decode_frames(FrameIndex.from_dataset(pydicom.dcmread(path)))[0].astype(int)


@pytest.mark.parametrize("name", ["_1.2.840.10008.1.2.4.57", "_1.2.840.10008.1.2.4.70"])
def test_lossless_jpeg_equals_the_uncompressed_original(name: str, shared_data: Path) -> None:
    original = cornerstone(shared_data, "_1.2.840.10008.1.2.1.dcm")
    np.testing.assert_array_equal(cornerstone(shared_data, name), original)


@pytest.mark.parametrize("name", ["4.51", "4.53", "4.55"])
def test_lossy_twelve_bit_jpeg_is_near_the_original(name: str, shared_data: Path) -> None:
    # Their maker stretched the values to 12 unsigned bits; what is not linear is the loss.
    original = cornerstone(shared_data, "_1.2.840.10008.1.2.1.dcm")
    decoded = cornerstone(shared_data, f"_1.2.840.10008.1.2.{name}.dcm")
    inside = original > -1000
    x, y = original[inside], decoded[inside]
    slope, intercept = np.polyfit(x, y, 1)
    assert np.abs(y - slope * x - intercept).mean() < 5


def test_mislabelled_slide_comes_in_its_true_colors(shared_data: Path) -> None:
    path = shared_data / "b_wsi/cmu1_he_pyramid_jpeg/volume_1110x1484.dcm"
    if not path.is_file():
        pytest.skip("not there")
    frames = decode_frames(FrameIndex.from_dataset(pydicom.dcmread(path)), color="rgb")
    # Stained tissue on glass: the background is near white, tissue is pink to purple (least green).
    assert np.median(frames.reshape(-1, 3), axis=0).min() > 200
    tissue = frames[frames.min(axis=-1) < 170].mean(axis=0)
    assert tissue[1] < tissue[0]
    assert tissue[1] < tissue[2]


@pytest.mark.parametrize("pair", [("liver_deflate", "liver_rle"), ("liver_nonbyte_aligned_deflate",) * 2])
def test_one_bit_frames_in_every_syntax(pair: tuple[str, str], shared_data: Path) -> None:
    masks = []
    for name in (*pair, pair[0].replace("deflate", "rle")):
        path = shared_data / f"d_derived/pydicom_seg_pm/{name}.dcm"
        if not path.is_file():
            pytest.skip("not there")
        masks.append(decode_frames(FrameIndex.from_dataset(pydicom.dcmread(path))))
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


@pytest.mark.parametrize("name", ["rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"])
def test_real_images_survive_every_compression(name: str, shared_data: Path) -> None:
    tried = 0
    for path in images(shared_data / "e_edge/pydicom/test_files"):
        dataset = read(path)
        if dataset is None or dataset.get("BitsAllocated", 1) not in (8, 16):
            continue
        try:
            index = FrameIndex.from_dataset(dataset)
            frame = index.decode(0)
        except DicomMLError:
            continue
        info = index.info
        color = "MONOCHROME2" if info.samples_per_pixel == 1 else "RGB"
        target = FrameInfo(
            info.rows,
            info.columns,
            samples_per_pixel=info.samples_per_pixel,
            bits_allocated=info.bits_allocated,
            pixel_representation=info.pixel_representation,
            photometric_interpretation=color,
            transfer_syntax_uid=COMPRESSIONS[name],
        )
        np.testing.assert_array_equal(decode_frame(encode_frame(frame, target), target), frame)
        tried += 1
    assert tried > 20


def test_undamaged_files_raise_no_warning(shared_data: Path) -> None:
    for path in images(shared_data / "e_edge/cornerstone_ts"):
        dataset = read(path)
        if dataset is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decode_frames(FrameIndex.from_dataset(dataset))
