"""What every codec of frames must do.

Subclass, name the codec, and let pytest collect it:

>>> class TestMyCodec(CodecConformance):
...     codec = MyCodec
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest

from dicom_ml.encoding.codecs import FrameCodec, FrameInfo, decode_frame, get_decoder, get_encoder
from dicom_ml.errors import CodecError, EncodingError

__all__ = ["CodecConformance", "sample_frames"]

#: Rows and columns of the frames that are tried: odd, thin, single, and larger than a code block.
SIZES = ((1, 1), (1, 9), (7, 1), (13, 10), (70, 65))


def sample_frames(info: FrameInfo, seed: int = 0) -> Iterator[Any]:
    """Yield frames that fit ``info``: flat, extremes, steps, smooth, noise."""
    rng = np.random.default_rng(seed)
    if info.is_float:
        yield rng.normal(0, 1e6, info.shape).astype(info.dtype)
        yield np.zeros(info.shape, info.dtype)
        return
    bits = info.bits_stored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if info.signed else (0, (1 << bits) - 1)
    y, x = np.indices(info.shape[:2])
    smooth = low + (high - low) * (np.sin(x / 7) * np.cos(y / 11) + 1) / 2
    steps = np.where((x // 5 + y // 3) % 2, high, low)
    for plane in (np.full(y.shape, low), np.full(y.shape, high), steps, smooth):
        planes = plane if info.samples_per_pixel == 1 else np.stack([plane, plane[::-1], plane[:, ::-1]], -1)
        yield planes.astype(info.dtype)
    yield rng.integers(low, high, info.shape, dtype=info.dtype, endpoint=True)


class CodecConformance:
    """Conformance tests of one codec class."""

    #: The class under test.
    codec: ClassVar[type[FrameCodec]]
    #: (bits allocated, bits stored) to try; what `check_encodable` refuses is left out.
    bits: ClassVar[tuple[tuple[int, int], ...]] = ((1, 1), (8, 8), (8, 6), (16, 16), (16, 12), (16, 9), (32, 32))
    photometrics: ClassVar[tuple[str, ...]] = ("MONOCHROME2", "RGB", "YBR_FULL", "YBR_RCT")

    def infos(self, size: tuple[int, int]) -> Iterator[FrameInfo]:
        """Yield every kind of frame of a size that the codec says it can write."""
        for uid, (allocated, stored), sign, photometric in product(
            self.codec.encodes, self.bits, (0, 1), self.photometrics
        ):
            color = photometric != "MONOCHROME2"
            if (sign and (color or allocated == 1)) or (color and allocated == 1):
                continue
            info = FrameInfo(
                *size,
                samples_per_pixel=3 if color else 1,
                bits_allocated=allocated,
                bits_stored=stored,
                pixel_representation=sign,
                photometric_interpretation=photometric,
                transfer_syntax_uid=uid,
            )
            try:
                self.codec().check_encodable(info)
            except EncodingError:
                continue
            yield info

    def test_names_its_transfer_syntaxes(self) -> None:
        assert self.codec.transfer_syntaxes
        assert set(self.codec.encodes) <= set(self.codec.transfer_syntaxes)
        for uid in self.codec.transfer_syntaxes:
            assert type(get_decoder(uid)) is self.codec
        for uid in self.codec.encodes:
            assert type(get_encoder(uid)) is self.codec

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_round_trip_is_lossless(self, size: tuple[int, int]) -> None:
        codec = self.codec()
        for info in self.infos(size):
            for frame in sample_frames(info):
                before = frame.copy()
                encoded = codec.encode(frame, info)
                decoded = codec.decode(encoded, info)
                assert isinstance(encoded, bytes)
                assert decoded.dtype == info.dtype, info
                assert decoded.shape == info.shape, info
                np.testing.assert_array_equal(decoded, frame, err_msg=str(info))
                np.testing.assert_array_equal(frame, before, err_msg="the codec changed its input")

    def test_takes_any_buffer_and_padding(self) -> None:
        codec = self.codec()
        for info in self.infos((13, 10)):
            frame = list(sample_frames(info))[-1]
            encoded = codec.encode(frame, info)
            padded = encoded + b"\0" * (len(encoded) % 2)
            for data in (padded, bytearray(padded), memoryview(padded), memoryview(b"x" + padded)[1:]):
                np.testing.assert_array_equal(codec.decode(data, info), frame)

    def test_decodes_into_an_array(self) -> None:
        codec = self.codec()
        for info in self.infos((13, 10)):
            frame = list(sample_frames(info))[-1]
            wide = np.dtype("f8") if info.is_float else np.dtype("i8")
            for dtype in (info.dtype, wide):
                out = np.zeros(info.shape, dtype)
                codec.decode_into(codec.encode(frame, info), info, out)
                np.testing.assert_array_equal(out, frame)

    def test_takes_wider_types_and_refuses_what_does_not_fit(self) -> None:
        codec = self.codec()
        for info in self.infos((7, 9)):
            if info.is_float:
                continue
            frame = list(sample_frames(info))[-1]
            assert codec.encode(frame.astype(np.int64), info) == codec.encode(frame, info)
            too_high = frame.astype(np.int64)
            too_high[0, 0] = 1 << info.bits_stored
            with pytest.raises(EncodingError):
                codec.encode(too_high, info)
            with pytest.raises(EncodingError):
                codec.encode(frame[:-1], info)

    def test_is_safe_on_threads(self) -> None:
        codec = self.codec()
        for info in self.infos((70, 65)):
            frames = list(sample_frames(info))
            with ThreadPoolExecutor(4) as pool:
                encoded = list(pool.map(codec.encode, frames * 3, [info] * len(frames) * 3))
                decoded = list(pool.map(codec.decode, encoded, [info] * len(encoded)))
            for frame, result in zip(frames * 3, decoded, strict=True):
                np.testing.assert_array_equal(result, frame)

    def test_damage_is_a_codec_error(self) -> None:
        codec = self.codec()
        rng = np.random.default_rng(5)
        for info in self.infos((33, 20)):
            encoded = codec.encode(list(sample_frames(info))[-1], info)
            cases: list[tuple[bytes, FrameInfo]] = [
                (b"", info),
                (encoded[: len(encoded) // 2], info),
                (encoded, info.replace(rows=66)),
            ]
            for data, header in cases:
                with pytest.raises(CodecError, match="cannot be decoded"):
                    decode_frame(data, header)
            for _ in range(20):
                damaged = bytearray(encoded)
                damaged[int(rng.integers(len(damaged)))] ^= int(rng.integers(1, 256))
                try:
                    result = decode_frame(bytes(damaged), info)
                except CodecError:
                    continue
                assert result.shape == info.shape
                assert result.dtype == info.dtype
