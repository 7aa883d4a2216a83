"""JPEG baseline, extended and lossless (PS3.5 section 8.2.1)."""

from __future__ import annotations

import io

import numpy as np

from dicom_ml.errors import CodecError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .codestream import JpegHeader, check_end, check_size, read_jpeg_header
from .color import to_rgb
from .optional import library
from .registry import get_decoder, register_codec
from .samples import fit_decoded

__all__ = ["JpegCodec"]

_LOSSLESS = 0xC3
_JPEG_LS = 0xF7


@register_codec
class JpegCodec(FrameCodec):
    """Every sequential and progressive JPEG process in use, told apart by the codestream, not by the UID.

    Frames labelled as one process and encoded by another are common enough, and harmless.
    """

    transfer_syntaxes = (
        "1.2.840.10008.1.2.4.50",  # baseline, process 1
        "1.2.840.10008.1.2.4.51",  # extended, processes 2 and 4
        "1.2.840.10008.1.2.4.53",  # spectral selection, processes 6 and 8 (retired)
        "1.2.840.10008.1.2.4.55",  # full progression, processes 10 and 12 (retired)
        "1.2.840.10008.1.2.4.57",  # lossless, process 14
        "1.2.840.10008.1.2.4.70",  # lossless, process 14, first-order prediction
    )
    writes_into = True

    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        header = read_jpeg_header(data)
        if header.process == _JPEG_LS:
            return get_decoder("1.2.840.10008.1.2.4.80").decode(data, info)
        check_size(header, info)
        decoded = _decode(data, header, rgb=False)
        if info.photometric_interpretation == "RGB" and _holds_ycc(header, info):
            decoded = to_rgb(decoded, "YBR_FULL", header.precision)
        return fit_decoded(decoded, info, header.precision, signed=False)

    def decode_rgb(self, data: Buffer, info: FrameInfo) -> Array:
        if info.samples_per_pixel == 1:
            return self.decode(data, info)
        header = read_jpeg_header(data)
        if header.process == _JPEG_LS:
            return get_decoder("1.2.840.10008.1.2.4.80").decode_rgb(data, info)
        check_size(header, info)
        ycc = _holds_ycc(header, info)
        if ycc and header.precision == 8 and header.process != _LOSSLESS:
            decoded = _decode(data, header, rgb=True)
        else:
            decoded = _decode(data, header, rgb=False)
            if ycc:
                decoded = to_rgb(decoded, "YBR_FULL", header.precision)
        return fit_decoded(decoded, info, header.precision, signed=False)

    def decode_into(self, data: Buffer, info: FrameInfo, out: Array, *, rgb: bool = False) -> None:
        imagecodecs = library("imagecodecs")
        if imagecodecs is None or out.dtype != info.dtype or not out.flags.c_contiguous:
            super().decode_into(data, info, out, rgb=rgb)
            return
        header = read_jpeg_header(data)
        # Only what the decoder itself turns into the values wanted; the rest takes the longer way.
        if header.precision != 8 or header.process in (_LOSSLESS, _JPEG_LS) or out.dtype != np.uint8:
            super().decode_into(data, info, out, rgb=rgb)
            return
        check_size(header, info)
        check_end(data)
        if header.components != 3:
            imagecodecs.jpeg8_decode(data, out=out)
            return
        convert = _holds_ycc(header, info) and (rgb or info.photometric_interpretation == "RGB")
        if convert and not rgb:
            super().decode_into(data, info, out, rgb=rgb)
        else:
            imagecodecs.jpeg8_decode(data, colorspace="YCBCR" if convert else "RGB", outcolorspace="RGB", out=out)


def _holds_ycc(header: JpegHeader, info: FrameInfo) -> bool:
    """Whether the components are Y, Cb and Cr rather than R, G and B.

    The codestream's own statement goes before the DICOM header: scanners of slides in particular wrote RGB
    over frames that are YCbCr, and the reverse.
    """
    if header.components != 3 or header.process == _LOSSLESS:
        return info.photometric_interpretation.startswith("YBR")
    if header.adobe_transform is not None:
        return header.adobe_transform == 1
    if header.subsampled or header.jfif:
        return True
    if header.component_ids == b"RGB":
        return False
    return info.photometric_interpretation != "RGB"


def _decode(data: Buffer, header: JpegHeader, rgb: bool) -> Array:
    """Decode components as they are, or from YCbCr to RGB."""
    check_end(data)
    imagecodecs = library("imagecodecs")
    if imagecodecs is None:
        return _decode_with_pillow(data, header, rgb)
    jpeg8_decode = imagecodecs.jpeg8_decode
    if header.components != 3:
        return np.asarray(jpeg8_decode(data))
    if header.process == _LOSSLESS:
        # Lossless components are never transformed by the encoder, whatever a marker says.
        return np.asarray(jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"))
    stored = "YCBCR" if rgb else "RGB"
    return np.asarray(jpeg8_decode(data, colorspace=stored, outcolorspace="RGB"))


def _decode_with_pillow(data: Buffer, header: JpegHeader, rgb: bool) -> Array:
    pillow = library("PIL.Image")
    if pillow is None:
        raise CodecError("no JPEG decoder is installed: install imagecodecs")
    if header.precision != 8 or header.process == _LOSSLESS:
        raise CodecError(
            f"JPEG of {header.precision} bits, process marker {header.process:#x}, needs imagecodecs: install it"
        )
    image = pillow.open(io.BytesIO(bytes(data)), formats=("JPEG",))
    if header.components == 3 and not rgb and header.adobe_transform != 0:
        # In this mode Pillow hands the components over untouched.
        image.draft("YCbCr", image.size)
    return np.asarray(image)
