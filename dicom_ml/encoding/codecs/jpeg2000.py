"""JPEG 2000 and High-Throughput JPEG 2000 (PS3.5 sections 8.2.4 and 8.2.14)."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import numpy as np

from dicom_ml.errors import CodecError, EncodingError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .codestream import J2kHeader, check_size, check_tile_parts, read_j2k_header
from .color import to_rgb
from .optional import library
from .registry import register_codec
from .samples import checked_frame, fit_decoded

__all__ = ["HtJpeg2000Codec", "Jpeg2000Codec"]

# OpenJPEG loses what exceeds its 32-bit arithmetic without a word, from 23 bits on.
_MOST_BITS = 20
_MOST_BITS_HT = 24
_COLOR_MODELS = ("RGB", "YBR_RCT", "YBR_FULL")


class _Jpeg2000(FrameCodec):
    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        return self._decode(data, info)[0]

    def decode_rgb(self, data: Buffer, info: FrameInfo) -> Array:
        frame, header = self._decode(data, info)
        # A component transform within the codestream is undone by the decoder, and it starts from RGB: such
        # frames are RGB even where the header says YBR_FULL.
        photometric = "RGB" if header.component_transform else info.photometric_interpretation
        return to_rgb(frame, photometric, info.bits_stored)

    def _decode(self, data: Buffer, info: FrameInfo) -> tuple[Array, J2kHeader]:
        header = read_j2k_header(data)
        check_size(header, info)
        decoded = _decode_ht(data, header) if header.high_throughput else _decode_j2k(data)
        return fit_decoded(decoded, info, header.precision, header.signed), header


@register_codec
class Jpeg2000Codec(_Jpeg2000):
    """JPEG 2000 part 1; written with the reversible transform."""

    transfer_syntaxes = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
    encodes = ("1.2.840.10008.1.2.4.90",)

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        _check_integers(info, "JPEG 2000", (1, 8, 16, 24, 32), _MOST_BITS)
        if info.bits_allocated == 1 and info.samples_per_pixel > 1:
            raise EncodingError("JPEG 2000 frames of 1 bit have one sample a pixel")

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        values = checked_frame(frame, info)
        kind = "i" if info.signed else "u"
        # The smallest type that holds the samples: the library errs with few bits in a wide type.
        values = values.astype(f"{kind}{1 if info.bits_stored <= 8 else 2 if info.bits_stored <= 16 else 4}")
        transform = info.photometric_interpretation == "YBR_RCT"
        imagecodecs = library("imagecodecs")
        if imagecodecs is None:
            encoded = _encode_with_openjpeg(values, info, transform)
        else:
            encoded = bytes(
                imagecodecs.jpeg2k_encode(
                    values,
                    level=0,
                    codecformat="J2K",
                    reversible=True,
                    mct=transform,
                    bitspersample=info.bits_stored,
                    numthreads=1,
                )
            )
        # The transform makes colour differences one bit longer, for which OpenJPEG reserves no room: frames
        # of harsh contrasts can come out changed.
        if transform and not np.array_equal(self.decode(encoded, info), frame):
            raise EncodingError(
                "the frame's contrasts are too harsh for JPEG 2000 with the YBR_RCT transform: write it as RGB"
            )
        return encoded


@register_codec
class HtJpeg2000Codec(_Jpeg2000):
    """JPEG 2000 part 15; written with the reversible transform, resolution by resolution."""

    transfer_syntaxes = (
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
        "1.2.840.10008.1.2.4.203",
    )
    encodes = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202")

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        if info.bits_allocated == 1:
            raise EncodingError(
                "1-bit frames are not defined for HTJ2K (PS3.5 8.2): use 'jpeg2000', 'rle' or 'deflate', "
                "or write the segments as a LABELMAP of 8 bits"
            )
        _check_integers(info, "HTJ2K", (8, 16, 24, 32), _MOST_BITS_HT)

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        imagecodecs = _high_throughput()
        if imagecodecs is None:
            raise EncodingError(
                "HTJ2K is written with a version of imagecodecs that knows it (there is none for Python 3.10): install "
                "a newer one, or use 'jpeg2000'"
            )
        _prepare(imagecodecs)
        values = checked_frame(frame, info)
        bits = info.bits_stored
        narrow = bits < 8 * info.dtype.itemsize
        if narrow and not info.signed:
            # The library declares as many bits as the type has. Centred samples of fewer bits pass through
            # its transform unshifted, so that the declaration can be set right afterwards.
            signed = np.dtype(f"i{info.dtype.itemsize}")
            values = (values.view(signed) - signed.type(1 << (bits - 1))).astype(signed, copy=False)
        encoded = bytearray(
            imagecodecs.htj2k_encode(
                values,
                reversible=True,
                rgb=info.photometric_interpretation == "YBR_RCT",  # whether components are transformed
                planar=False,
                tlm=True,
                resolutions=_resolutions(info),
            )
        )
        if narrow:
            declared = bits - 1 | (0x80 if info.signed else 0)
            for component in range(info.samples_per_pixel):
                encoded[42 + 3 * component] = declared
        return bytes(encoded)


_preparing = threading.Lock()
_prepared = False


def _prepare(imagecodecs: Any) -> None:
    """Have the library fill its tables, on one thread.

    OpenJPH does so when the first block is coded, and two threads that are first together may code with tables of
    which the other has just cleared a part: the frame is then wrong, and nothing says so.
    """
    global _prepared
    if _prepared:
        return
    with _preparing:
        if not _prepared:
            for kind in (np.uint8, np.int16, np.int32):
                frame = np.arange(64 * 64).reshape(64, 64).astype(kind)
                imagecodecs.htj2k_decode(imagecodecs.htj2k_encode(frame, reversible=True))
            _prepared = True


def _forget_after_fork() -> None:
    global _preparing
    _preparing = threading.Lock()  # it may have been held by a thread that the child does not have


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _resolutions(info: FrameInfo) -> int:
    """Return the decompositions after which the smallest image has at most 64 pixels (PS3.5 10.18)."""
    levels = 5
    while max(info.rows, info.columns) >> levels > 64:
        levels += 1
    return levels


def _check_integers(info: FrameInfo, name: str, allocated: tuple[int, ...], most: int) -> None:
    if info.is_float or info.bits_allocated not in allocated or info.bits_stored > most:
        kind = "float" if info.is_float else f"{info.bits_stored}-bit"
        raise EncodingError(
            f"{name} is written for integers of up to {most} bits, not for {kind} samples: use no compression"
        )
    if info.samples_per_pixel == 3 and info.photometric_interpretation not in _COLOR_MODELS:
        raise EncodingError(
            f"Photometric Interpretation {info.photometric_interpretation} does not go with lossless {name}: "
            f"expected one of {', '.join(_COLOR_MODELS)}"
        )


def _decode_j2k(data: Buffer) -> Array:
    imagecodecs = library("imagecodecs")
    if imagecodecs is None:
        return _decode_with_openjpeg(data)
    return np.asarray(imagecodecs.jpeg2k_decode(data, numthreads=1))


def _high_throughput() -> Any:
    """Return imagecodecs, or None where what is installed knows nothing of HTJ2K."""
    imagecodecs = library("imagecodecs")
    return imagecodecs if getattr(getattr(imagecodecs, "HTJ2K", None), "available", False) else None


def _decode_ht(data: Buffer, header: J2kHeader) -> Array:
    imagecodecs = _high_throughput()
    if imagecodecs is None:
        return _decode_with_openjpeg(data)
    _prepare(imagecodecs)
    check_tile_parts(data, header)
    shape = (header.rows, header.columns, header.components)
    size = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    out = np.empty(shape if header.components > 1 else shape[:2], f"{'i' if header.signed else 'u'}{size}")
    # The library swallows errors in the middle of a frame and leaves the remaining rows as they were. So the
    # last row is marked, and a mark that outlives two decodings of different marks was never written over.
    for mark in (0x5A, 0x2D):
        out[-1] = mark
        imagecodecs.htj2k_decode(data[header.start :], planar=False, out=out)
        if not (out[-1] == mark).all():
            return out
    raise CodecError("the HTJ2K frame breaks off before its last row: it is truncated or damaged")


def _decode_with_openjpeg(data: Buffer) -> Array:
    openjpeg = library("openjpeg")
    if openjpeg is None:
        raise CodecError("no JPEG 2000 decoder is installed: install imagecodecs or pylibjpeg-openjpeg")
    return np.asarray(openjpeg.decode(io.BytesIO(bytes(data))))


def _encode_with_openjpeg(values: Array, info: FrameInfo, transform: bool) -> bytes:
    openjpeg = library("openjpeg.utils")
    if openjpeg is None:
        raise EncodingError("no JPEG 2000 encoder is installed: install imagecodecs or pylibjpeg-openjpeg")
    options: dict[str, Any] = {"photometric_interpretation": 2 if info.samples_per_pixel == 1 else 1}
    return bytes(openjpeg.encode_array(values, bits_stored=info.bits_stored, use_mct=transform, **options))
