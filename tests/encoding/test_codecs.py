"""Codecs: the conformance suite, other libraries' opinion of what is written, and the rules of bits and colour."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.encoding.codecs import (
    COMPRESSIONS,
    FrameCodec,
    FrameInfo,
    decodable_syntaxes,
    decode_frame,
    encode_frame,
    get_decoder,
    get_encoder,
    jpeg2000,
    register_codec,
    registry,
    transfer_syntax,
)
from dicom_ml.encoding.codecs import optional as optional_libraries
from dicom_ml.encoding.codecs.codestream import read_j2k_header, read_jpeg_header
from dicom_ml.encoding.codecs.deflated import DeflatedFrameCodec
from dicom_ml.encoding.codecs.jpeg2000 import HtJpeg2000Codec, Jpeg2000Codec
from dicom_ml.encoding.codecs.jpegls import JpegLsCodec
from dicom_ml.encoding.codecs.native import NativeCodec
from dicom_ml.encoding.codecs.rle import RleCodec
from dicom_ml.errors import CodecError, DicomMLWarning, EncodingError, FileError
from dicom_ml.testing.codecs import CodecConformance, sample_frames

imagecodecs = pytest.importorskip("imagecodecs")

# OpenJPH reports damage through a channel that pytest takes for a forgotten error.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RLE = COMPRESSIONS["rle"]
J2K = COMPRESSIONS["jpeg2000"]
BASELINE = "1.2.840.10008.1.2.4.50"
LOSSLESS = "1.2.840.10008.1.2.4.70"


class TestNative(CodecConformance):
    codec = NativeCodec


class TestRle(CodecConformance):
    codec = RleCodec


class TestDeflated(CodecConformance):
    codec = DeflatedFrameCodec


class TestJpegLs(CodecConformance):
    codec = JpegLsCodec


class TestJpeg2000(CodecConformance):
    codec = Jpeg2000Codec
    bits = (*CodecConformance.bits, (32, 20), (32, 10))


class TestHtJpeg2000(CodecConformance):
    codec = HtJpeg2000Codec
    bits = (*CodecConformance.bits, (32, 24), (32, 20))


def info_of(name: str | None, rows: int = 40, columns: int = 50, **values: Any) -> FrameInfo:
    return FrameInfo(rows, columns, transfer_syntax_uid=COMPRESSIONS[name], **values)


KINDS = [
    {"bits_allocated": 8},
    {"bits_allocated": 16, "bits_stored": 12},
    {"bits_allocated": 16, "pixel_representation": 1},
    {"bits_allocated": 16, "bits_stored": 13, "pixel_representation": 1},
    {"bits_allocated": 8, "samples_per_pixel": 3, "photometric_interpretation": "RGB"},
    {"bits_allocated": 16, "samples_per_pixel": 3, "photometric_interpretation": "RGB"},
]


# What is written, read by others


@pytest.mark.parametrize("values", [*KINDS, {"bits_allocated": 32}], ids=str)
def test_rle_is_read_by_pydicom_and_pylibjpeg(values: dict[str, Any]) -> None:
    from pydicom.pixels.decoders.rle import _rle_decode_frame

    rle = pytest.importorskip("rle.rle")
    info = info_of("rle", **values)
    for frame in sample_frames(info):
        encoded = encode_frame(frame, info)
        assert len(encoded) % 2 == 0
        planes = _rle_decode_frame(encoded, info.rows, info.columns, info.samples_per_pixel, info.bits_allocated)
        theirs = np.frombuffer(bytes(planes), info.dtype.newbyteorder("<"))
        theirs = theirs.reshape(info.samples_per_pixel, info.rows, info.columns)
        np.testing.assert_array_equal(np.moveaxis(theirs, 0, -1).reshape(info.shape), frame)
        other = rle.decode_frame(encoded, info.rows * info.columns, info.bits_allocated, "<")
        assert bytes(other) == bytes(planes)


def test_rle_rows_are_encoded_separately() -> None:
    # Annex G.3.1: no run crosses a row, runs of three are runs, -128 never prefixes.
    info = info_of("rle", rows=3, columns=5)
    encoded = encode_frame(np.full((3, 5), 7, np.uint8), info)
    assert encoded[64:] == bytes([0xFC, 7]) * 3


def test_rle_of_one_bit_is_a_byte_a_pixel() -> None:
    # Annex G.2 pads a pixel to whole bytes; early files that packed the bits are read as well.
    info = info_of("rle", rows=4, columns=6, bits_allocated=1)
    frame = (np.arange(24).reshape(4, 6) % 5 == 0).astype(np.uint8)
    encoded = encode_frame(frame, info)
    assert imagecodecs.packbits_decode(encoded[64:])[:24] == frame.tobytes()
    packed = np.packbits(frame.ravel(), bitorder="little").tobytes()
    segment = bytes([len(packed) - 1]) + packed
    early = encoded[:64] + segment
    np.testing.assert_array_equal(decode_frame(early, info), frame)


@pytest.mark.parametrize("name", ["jpeg2000", "htjpeg2000"])
@pytest.mark.parametrize("values", [*KINDS, {"bits_allocated": 1}], ids=str)
def test_jpeg_2000_is_read_by_openjpeg(name: str, values: dict[str, Any]) -> None:
    openjpeg = pytest.importorskip("openjpeg")
    info = info_of(name, **values)
    if name == "htjpeg2000" and info.bits_allocated == 1:
        pytest.skip("not defined")
    for frame in sample_frames(info):
        encoded = encode_frame(frame, info)
        np.testing.assert_array_equal(openjpeg.decode(io.BytesIO(encoded)), frame)
        header = read_j2k_header(encoded)
        assert header.precision == info.bits_stored
        assert header.signed == info.signed
        assert header.reversible
        assert header.high_throughput == (name == "htjpeg2000")
        assert not header.component_transform


@pytest.mark.parametrize("name", ["jpeg2000", "htjpeg2000"])
def test_component_transform_follows_the_photometric_interpretation(name: str) -> None:
    values = {"samples_per_pixel": 3, "photometric_interpretation": "YBR_RCT"}
    info = info_of(name, **values)
    frame = list(sample_frames(info))[-1]
    encoded = encode_frame(frame, info)
    assert read_j2k_header(encoded).component_transform
    np.testing.assert_array_equal(decode_frame(encoded, info, color="rgb"), frame)


def test_htj2k_rpcl_meets_its_constraints() -> None:
    # PS3.5 10.18: RPCL order, tile-part lengths, a smallest resolution of at most 64 pixels.
    info = FrameInfo(3000, 40, transfer_syntax_uid="1.2.840.10008.1.2.4.202")
    encoded = encode_frame(np.zeros((3000, 40), np.uint8), info)
    cod = encoded.index(b"\xff\x52")
    assert encoded[cod + 5] == 2
    assert 3000 >> encoded[cod + 9] <= 64
    assert b"\xff\x55" in encoded[: encoded.index(b"\xff\x90")]


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_jpeg_ls_is_read_by_pyjpegls(values: dict[str, Any]) -> None:
    jpeg_ls = pytest.importorskip("jpeg_ls")
    info = info_of("jpeg-ls", **values)
    for frame in sample_frames(info):
        encoded = encode_frame(frame, info)
        assert read_jpeg_header(encoded).precision == info.bits_stored
        theirs = jpeg_ls.decode(np.frombuffer(encoded, np.uint8))
        mask = (1 << info.bits_stored) - 1
        np.testing.assert_array_equal(theirs.astype(np.int64), frame.astype(np.int64) & mask)


@given(st.data())
@settings(max_examples=60)
def test_round_trip_of_anything(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(n for n in COMPRESSIONS if n)))
    allocated = data.draw(st.sampled_from([1, 8, 16]))
    stored = 1 if allocated == 1 else data.draw(st.integers(2, allocated))
    signed = allocated > 1 and data.draw(st.booleans())
    info = info_of(
        name,
        rows=data.draw(st.integers(1, 40)),
        columns=data.draw(st.integers(1, 40)),
        bits_allocated=allocated,
        bits_stored=stored,
        pixel_representation=int(signed),
    )
    try:
        get_encoder(name).check_encodable(info)
    except EncodingError:
        return
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    low = -(1 << stored - 1) if signed else 0
    frame = rng.integers(low, low + (1 << stored), info.shape).astype(info.dtype)
    if data.draw(st.booleans()):
        frame[:, ::2] = frame[0, 0]
    np.testing.assert_array_equal(decode_frame(encode_frame(frame, info), info), frame)


def harsh_frames(info: FrameInfo) -> Any:
    """Frames of the strongest contrasts at every fine scale: the worst that a wavelet can meet."""
    bits = info.bits_stored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if info.signed else (0, (1 << bits) - 1)
    y, x = np.indices(info.shape[:2])
    for across in (1, 2, 3, 5, 8):
        for down in (1, 2, 5):
            yield np.where((x // across + y // down) % 2, high, low).astype(info.dtype)
    yield np.where(np.random.default_rng(0).random(info.shape[:2]) < 0.5, low, high).astype(info.dtype)


@pytest.mark.parametrize("name", ["jpeg2000", "htjpeg2000"])
@pytest.mark.parametrize("bits", [(1, 1), (8, 8), (16, 12), (16, 16), (32, 20), (32, 16)], ids=str)
def test_the_harshest_contrasts_survive_wavelets(name: str, bits: tuple[int, int]) -> None:
    for sign in (0, 1):
        info = info_of(name, 70, 65, bits_allocated=bits[0], bits_stored=bits[1], pixel_representation=sign)
        if bits[0] == 1 and (sign or name == "htjpeg2000"):
            continue
        for frame in harsh_frames(info):
            np.testing.assert_array_equal(decode_frame(encode_frame(frame, info), info), frame)


def test_a_color_transform_that_overflows_is_refused_not_written() -> None:
    info = info_of("jpeg2000", 70, 65, samples_per_pixel=3, photometric_interpretation="YBR_RCT")
    y, x = np.indices((70, 65))
    plane = np.where((x // 8 + y // 5) % 2, 255, 0).astype(np.uint8)
    frame = np.stack([plane, np.roll(plane, 8, 1), np.roll(plane, 1, 0)], -1)
    with pytest.raises(EncodingError, match="write it as RGB"):
        encode_frame(frame, info)
    plain = info.replace(photometric_interpretation="RGB")
    np.testing.assert_array_equal(decode_frame(encode_frame(frame, plain), plain), frame)


# What the standard does not allow


def test_one_bit_is_written_only_where_the_standard_has_it() -> None:
    # PS3.5 8.2 with CP 2301; JPEG-LS begins at 2 bits, HTJ2K is not mentioned.
    for name in (None, "rle", "deflate", "jpeg2000"):
        get_encoder(name).check_encodable(info_of(name, bits_allocated=1))
    for name in ("jpeg-ls", "htjpeg2000"):
        with pytest.raises(EncodingError, match="use "):
            get_encoder(name).check_encodable(info_of(name, bits_allocated=1))


@pytest.mark.parametrize("name", ["rle", "jpeg-ls", "jpeg2000", "htjpeg2000"])
def test_float_is_refused_with_advice(name: str) -> None:
    with pytest.raises(EncodingError, match="use"):
        encode_frame(np.zeros((40, 50), np.float32), info_of(name, bits_allocated=32, is_float=True))


def test_float_round_trip() -> None:
    for name, bits in ((None, 32), (None, 64), ("deflate", 32)):
        info = info_of(name, bits_allocated=bits, is_float=True)
        frame = np.random.default_rng(0).normal(size=info.shape).astype(info.dtype)
        np.testing.assert_array_equal(decode_frame(encode_frame(frame, info), info), frame)


def test_thirty_two_bits_are_not_clipped_silently() -> None:
    with pytest.raises(EncodingError, match="20 bits"):
        encode_frame(np.zeros((40, 50), np.uint32), info_of("jpeg2000", bits_allocated=32))


# Names and registration


def test_names_and_uids() -> None:
    assert transfer_syntax("rle") == RLE == transfer_syntax(RLE)
    assert transfer_syntax(None) == "1.2.840.10008.1.2.1"
    for wrong in ("zip", "1.2.3", "1.2.840.10008.1.2.4.50"):
        with pytest.raises(EncodingError, match="'rle'"):
            transfer_syntax(wrong)
    with pytest.raises(CodecError, match=r"MPEG2 .*convert"):
        get_decoder("1.2.840.10008.1.2.4.100")


def test_every_common_transfer_syntax_decodes() -> None:
    root = "1.2.840.10008.1.2"
    suffixes = ["", ".1", ".2", ".5", ".8.1", ".1.99"]
    suffixes += [f".4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)]
    assert {root + s for s in suffixes} <= set(decodable_syntaxes())


def test_a_codec_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_decoders", dict(registry._decoders))
    monkeypatch.setattr(registry, "_encoders", dict(registry._encoders))

    @register_codec
    class Inverted(FrameCodec):
        transfer_syntaxes = ("1.2.3.4",)

        def decode(self, data: Any, info: FrameInfo) -> Any:
            return 255 - np.frombuffer(data, np.uint8).reshape(info.shape)

    info = FrameInfo(2, 2, transfer_syntax_uid="1.2.3.4")
    assert decode_frame(b"\0\1\2\3", info).tolist() == [[255, 254], [253, 252]]
    with pytest.raises(EncodingError):
        encode_frame(np.zeros((2, 2), np.uint8), info)


# Bits


@given(stored=st.integers(1, 16), above=st.integers(0, 15), signed=st.booleans(), seed=st.integers(0, 999))
def test_unused_bits_are_dropped_and_signs_extended(stored: int, above: int, signed: bool, seed: int) -> None:
    high = min(stored - 1 + above, 15)
    info = FrameInfo(3, 4, bits_allocated=16, bits_stored=stored, high_bit=high, pixel_representation=int(signed))
    rng = np.random.default_rng(seed)
    low = -(1 << stored - 1) if signed else 0
    values = rng.integers(low, low + (1 << stored), (3, 4))
    shift = high + 1 - stored
    mask = ((1 << stored) - 1) << shift
    cells = ((values << shift) & mask) | (rng.integers(0, 1 << 16, (3, 4)) & ~mask & 0xFFFF)
    data = cells.astype("<u2").tobytes()
    np.testing.assert_array_equal(decode_frame(data, info), values)
    for dtype in (info.dtype, np.float32):
        out = np.zeros((3, 4), dtype)
        decode_frame(data, info, out=out)
        np.testing.assert_array_equal(out, values)
    big = info.replace(transfer_syntax_uid="1.2.840.10008.1.2.2")
    np.testing.assert_array_equal(decode_frame(cells.astype(">u2").tobytes(), big), values)


def test_lossless_jpeg_carries_signed_values() -> None:
    values = np.random.default_rng(0).integers(-2048, 2048, (40, 50)).astype(np.int16)
    encoded = imagecodecs.jpeg8_encode((values & 0xFFF).astype(np.uint16), lossless=True, bitspersample=12)
    for uid in (LOSSLESS, "1.2.840.10008.1.2.4.57"):
        info = FrameInfo(40, 50, bits_allocated=16, bits_stored=12, pixel_representation=1, transfer_syntax_uid=uid)
        np.testing.assert_array_equal(decode_frame(encoded, info), values)


@pytest.mark.parametrize("bits", range(2, 17))
def test_lossless_jpeg_of_every_precision(bits: int) -> None:
    dtype = np.uint8 if bits <= 8 else np.uint16
    values = np.random.default_rng(0).integers(0, 1 << bits, (40, 50)).astype(dtype)
    encoded = imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits)
    info = FrameInfo(40, 50, bits_allocated=8 if bits <= 8 else 16, bits_stored=bits, transfer_syntax_uid=LOSSLESS)
    np.testing.assert_array_equal(decode_frame(encoded, info), values)


def test_jpeg_2000_sign_that_contradicts_the_header() -> None:
    values = np.random.default_rng(0).integers(-4096, 4096, (40, 50)).astype(np.int16)
    as_unsigned = info_of("jpeg2000", bits_allocated=16, bits_stored=13)
    encoded = encode_frame((values & 0x1FFF).astype(np.uint16), as_unsigned)
    info = as_unsigned.replace(pixel_representation=1)
    np.testing.assert_array_equal(decode_frame(encoded, info), values)
    encoded = encode_frame(values, info)
    np.testing.assert_array_equal(decode_frame(encoded, as_unsigned), values & 0x1FFF)


def test_codestream_bits_go_before_the_headers_while_they_fit() -> None:
    wide = info_of("jpeg2000", bits_allocated=16)
    frame = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    encoded = encode_frame(frame, wide)
    narrower = wide.replace(bits_stored=10, high_bit=9)
    np.testing.assert_array_equal(decode_frame(encoded, narrower), frame)
    with pytest.raises(CodecError, match="16 bits, more than Bits Allocated"):
        decode_frame(encoded, wide.replace(bits_allocated=8, bits_stored=8, high_bit=7))
    small = encode_frame(frame % 200, wide)
    decoded = decode_frame(small, wide.replace(bits_allocated=8, bits_stored=8, high_bit=7))
    np.testing.assert_array_equal(decoded, frame % 200)


def test_header_without_sense_is_refused() -> None:
    for wrong in (
        {"rows": 0}, {"bits_allocated": 12}, {"bits_stored": 9}, {"samples_per_pixel": 0},
        {"pixel_representation": 2}, {"is_float": True},
    ):  # fmt: skip
        with pytest.raises(FileError):
            FrameInfo(**{"rows": 2, "columns": 2, **wrong})
    with pytest.warns(DicomMLWarning, match="High Bit is 3"):
        assert FrameInfo(2, 2, bits_allocated=16, bits_stored=12, high_bit=3).high_bit == 11


# Colour


def rgb_frame() -> Any:
    y, x = np.mgrid[:48, :64]
    frame = np.stack([x * 3, y * 4, 255 - 2 * (x + y) // 2], -1)
    return frame.clip(0, 255).astype(np.uint8)


COLOR = {"rows": 48, "columns": 64, "samples_per_pixel": 3}


def ycc(frame: Any) -> Any:
    r, g, b = (frame[..., i].astype(float) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128], -1).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_of_ycbcr(subsampling: str, photometric: str) -> None:
    frame = rgb_frame()
    encoded = imagecodecs.jpeg8_encode(frame, level=97, subsampling=subsampling)
    info = FrameInfo(**COLOR, photometric_interpretation=photometric, transfer_syntax_uid=BASELINE)
    as_rgb = decode_frame(encoded, info, color="rgb").astype(int)
    assert np.abs(as_rgb - frame).max() < 14
    # The codestream says YCbCr (JFIF) where a header says RGB: stored values keep the header's promise.
    stored = decode_frame(encoded, info).astype(int)
    assert np.abs(stored - (frame if photometric == "RGB" else ycc(frame))).max() < 14


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "RGB"])
def test_jpeg_of_rgb(photometric: str) -> None:
    # With an Adobe marker that says "no transform", or component ids R, G, B.
    frame = rgb_frame()
    encoded = imagecodecs.jpeg8_encode(frame, level=97, colorspace="RGB", outcolorspace="RGB")
    header = read_jpeg_header(encoded)
    assert header.adobe_transform == 0 or header.component_ids == b"RGB"
    info = FrameInfo(**COLOR, photometric_interpretation=photometric, transfer_syntax_uid=BASELINE)
    assert np.abs(decode_frame(encoded, info, color="rgb").astype(int) - frame).max() < 14


def test_native_subsampled_chroma() -> None:
    full = ycc(rgb_frame())
    full[:, 1::2, 1:] = full[:, ::2, 1:]
    pairs = full.reshape(48, 32, 2, 3)
    cells = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], -1)
    info = FrameInfo(**COLOR, photometric_interpretation="YBR_FULL_422")
    assert info.frame_bytes == cells.size == 48 * 64 * 2
    np.testing.assert_array_equal(decode_frame(cells.tobytes(), info), full)
    assert np.abs(decode_frame(cells.tobytes(), info, color="rgb").astype(int) - rgb_frame()).max() < 12
    # Announced as subsampled, stored in full.
    np.testing.assert_array_equal(decode_frame(full.tobytes(), info), full)


def test_planar_configuration() -> None:
    frame = rgb_frame()
    info = FrameInfo(**COLOR, photometric_interpretation="RGB", planar_configuration=1)
    data = np.moveaxis(frame, -1, 0).tobytes()
    np.testing.assert_array_equal(decode_frame(data, info), frame)
    assert encode_frame(frame, info) == data


@pytest.mark.parametrize("name", ["rle", "jpeg-ls", "jpeg2000", "deflate", None])
def test_ybr_full_becomes_rgb_when_asked(name: str | None) -> None:
    info = info_of(name, **COLOR, photometric_interpretation="YBR_FULL")
    encoded = encode_frame(ycc(rgb_frame()), info)
    assert np.abs(decode_frame(encoded, info, color="rgb").astype(int) - rgb_frame()).max() <= 2
    np.testing.assert_array_equal(decode_frame(encoded, info), ycc(rgb_frame()))


def test_jpeg_2000_with_a_transform_is_rgb_whatever_the_header_says() -> None:
    frame = rgb_frame()
    info = info_of("jpeg2000", **COLOR, photometric_interpretation="YBR_RCT")
    encoded = encode_frame(frame, info)
    for photometric in ("RGB", "YBR_RCT", "YBR_ICT", "YBR_FULL_422"):
        header = info.replace(photometric_interpretation=photometric)
        np.testing.assert_array_equal(decode_frame(encoded, header, color="rgb"), frame)


def test_unknown_color_is_an_error() -> None:
    info = FrameInfo(**COLOR, photometric_interpretation="HSV")
    with pytest.raises(CodecError, match="HSV"):
        decode_frame(rgb_frame().tobytes(), info, color="rgb")
    with pytest.raises(ValueError, match="grey"):
        decode_frame(rgb_frame().tobytes(), info, color="grey")


# Damage


def test_errors_name_syntax_frame_and_way_out() -> None:
    info = info_of("jpeg-ls")
    with pytest.raises(CodecError, match=r"frame 8 in transfer syntax 1\.2\.840\.10008\.1\.2\.4\.80 \(JPEG-LS"):
        decode_frame(b"nonsense", info, frame=7)


def test_gigantic_frames_are_refused_before_memory_is_taken() -> None:
    for name in ("jpeg-ls", "jpeg2000", "htjpeg2000"):
        encoded = bytearray(encode_frame(np.zeros((40, 50), np.uint8), info_of(name)))
        if name == "jpeg-ls":
            at = encoded.index(b"\xff\xf7") + 5
            encoded[at : at + 4] = b"\xff\xff\xff\xff"
        else:
            encoded[8:16] = b"\x7f\xff\xff\xff" * 2
        with pytest.raises(CodecError, match="header says"):
            decode_frame(bytes(encoded), info_of(name))
    bomb = DeflatedFrameCodec().encode(np.zeros((4000, 4000), np.uint8), info_of("deflate", rows=4000, columns=4000))
    with pytest.raises(CodecError, match="expands past"):
        decode_frame(bomb, info_of("deflate"))


def test_htj2k_with_an_imagecodecs_that_knows_nothing_of_it(monkeypatch) -> None:
    info = info_of("htjpeg2000", rows=40, columns=30)
    frame = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    encoded = encode_frame(frame, info)

    class Older:
        """As the releases for Python 3.10 are."""

        jpeg2k_decode = staticmethod(imagecodecs.jpeg2k_decode)

    real = optional_libraries.library
    monkeypatch.setattr(jpeg2000, "library", lambda name: Older if name == "imagecodecs" else real(name))
    assert np.array_equal(decode_frame(encoded, info), frame)
    with pytest.raises(EncodingError, match="use 'jpeg2000'"):
        encode_frame(frame, info)


def test_truncated_htj2k_is_not_taken_for_a_blurred_image() -> None:
    info = info_of("htjpeg2000", rows=128, columns=96)
    y, x = np.mgrid[:128, :96]
    encoded = encode_frame(((np.sin(x / 9) + np.cos(y / 7)) * 60 + 120).astype(np.uint8), info)
    for cut in (5, 50, 500):
        with pytest.raises(CodecError, match="truncated"):
            decode_frame(encoded[:-cut], info)


def test_truncated_jpeg_warns() -> None:
    encoded = imagecodecs.jpeg8_encode(np.arange(6400, dtype=np.uint8).reshape(80, 80))
    info = FrameInfo(80, 80, transfer_syntax_uid=BASELINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_frame(encoded + b"\0", info)
    with pytest.warns(DicomMLWarning, match="no end marker"):
        decode_frame(encoded[:-30], info)


# Without imagecodecs


@pytest.fixture
def no_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = optional_libraries.library

    def library(name: str) -> Any:
        return None if name == "imagecodecs" else real(name)

    for module in ("rle", "jpeg", "jpegls", "jpeg2000", "deflated"):
        monkeypatch.setattr(f"dicom_ml.encoding.codecs.{module}.library", library)


@pytest.mark.parametrize("name", ["rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"])
@pytest.mark.parametrize("values", KINDS, ids=str)
def test_other_libraries_stand_in(name: str, values: dict[str, Any], request: pytest.FixtureRequest) -> None:
    needed = {"rle": "rle", "jpeg-ls": "jpeg_ls", "jpeg2000": "openjpeg", "htjpeg2000": "openjpeg"}
    if name in needed:
        pytest.importorskip(needed[name])
    info = info_of(name, **values)
    frames = list(sample_frames(info))
    encoded = [encode_frame(frame, info) for frame in frames]
    request.getfixturevalue("no_imagecodecs")
    for frame, data in zip(frames, encoded, strict=True):
        np.testing.assert_array_equal(decode_frame(data, info), frame)
        if name in ("rle", "jpeg2000", "deflate"):
            np.testing.assert_array_equal(decode_frame(encode_frame(frame, info), info), frame)


def test_pillow_stands_in_for_baseline_jpeg(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("PIL")
    frame = rgb_frame()
    cases = [imagecodecs.jpeg8_encode(frame, level=95)]
    cases.append(imagecodecs.jpeg8_encode(frame, level=95, colorspace="RGB", outcolorspace="RGB"))
    info = FrameInfo(**COLOR, photometric_interpretation="YBR_FULL_422", transfer_syntax_uid=BASELINE)
    expected = [(decode_frame(c, info), decode_frame(c, info, color="rgb")) for c in cases]
    request.getfixturevalue("no_imagecodecs")
    for case, (stored, rgb) in zip(cases, expected, strict=True):
        assert np.abs(decode_frame(case, info).astype(int) - stored).max() <= 2
        assert np.abs(decode_frame(case, info, color="rgb").astype(int) - rgb).max() <= 2
    with pytest.raises(CodecError, match="install"):
        lossless = imagecodecs.jpeg8_encode(np.zeros((48, 64), np.uint16), lossless=True, bitspersample=16)
        decode_frame(lossless, FrameInfo(48, 64, bits_allocated=16, transfer_syntax_uid=LOSSLESS))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="makes processes that have coded nothing yet by fork")
def test_htj2k_on_threads_that_are_the_first_together():
    """The library's tables are filled once, before any frame of ours is coded: by one thread, however many come."""
    code = (
        "import sys, threading, time, numpy as np\n"
        "import imagecodecs\n"
        "from dicom_ml.encoding.codecs import FrameInfo, encode_frame\n"
        "real, busy, seen = imagecodecs.htj2k_encode, [], []\n"
        "def watched(frame, **options):\n"
        "    busy.append(1); seen.append((len(busy), frame.shape)); time.sleep(0.02)\n"
        "    try: return real(frame, **options)\n"
        "    finally: busy.pop()\n"
        "imagecodecs.htj2k_encode = watched\n"
        "info = FrameInfo(24, 20, 1, 16, 16, 15, 1, 'MONOCHROME2', 0, '1.2.840.10008.1.2.4.201')\n"
        "frame = np.arange(480, dtype=np.int16).reshape(24, 20)\n"
        "start = threading.Barrier(8)\n"
        "def work(): start.wait(); encode_frame(frame, info)\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "alone = [count for count, shape in seen if shape == (64, 64)]\n"
        "assert alone == [1, 1, 1], seen\n"
        "assert [shape for _, shape in seen[:3]] == [(64, 64)] * 3, seen\n"
        "assert len(seen) == 11, seen\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
