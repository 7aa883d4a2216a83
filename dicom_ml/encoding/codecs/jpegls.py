"""JPEG-LS, lossless and near-lossless (PS3.5 section 8.2.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicom_ml.errors import CodecError, EncodingError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .codestream import check_size, has_end, read_jpeg_header
from .optional import library
from .registry import register_codec
from .samples import checked_frame, fit_decoded

__all__ = ["JpegLsCodec"]


@register_codec
class JpegLsCodec(FrameCodec):
    """JPEG-LS knows no sign: signed samples are stored as two's complement of Bits Stored bits."""

    transfer_syntaxes = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
    encodes = ("1.2.840.10008.1.2.4.80",)

    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        header = read_jpeg_header(data)
        check_size(header, info)
        if not has_end(data):
            # CharLS takes seconds to find that out.
            raise CodecError("the JPEG-LS frame has no end marker: it is truncated")
        return fit_decoded(_decode(data), info, header.precision, signed=False)

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        if info.bits_allocated not in (8, 16) or info.is_float:
            kind = "float" if info.is_float else f"{info.bits_allocated}-bit"
            raise EncodingError(
                f"JPEG-LS cannot hold {kind} samples (PS3.5 8.2.3): "
                + ("use 'rle', 'jpeg2000' or 'deflate'" if info.bits_allocated == 1 else "use no compression")
            )
        if info.bits_stored < 2:
            raise EncodingError("JPEG-LS needs 2 to 16 stored bits (PS3.5 8.2.3): use 'rle' or 'jpeg2000'")

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        values = checked_frame(frame, info)
        if info.signed:
            values = values.view(f"u{values.dtype.itemsize}")
        if info.bits_stored < info.bits_allocated:
            encoded = _encode_stored_bits(values, info)
            if encoded is not None:
                return encoded
        # Samples of whole cells, the sign extended: readers that take the sign from the header's bits and
        # those that take it from the codestream's find the same values.
        return _encode_whole_cells(values, info)


def _decode(data: Buffer) -> Array:
    imagecodecs, jpeg_ls = library("imagecodecs"), library("jpeg_ls")
    if imagecodecs is not None:
        return np.asarray(imagecodecs.jpegls_decode(data))
    if jpeg_ls is not None:
        return np.asarray(jpeg_ls.decode(np.frombuffer(data, np.uint8)))
    raise CodecError("no JPEG-LS decoder is installed: install imagecodecs or pyjpegls")


def _encode_stored_bits(values: Array, info: FrameInfo) -> bytes | None:
    """Encode with a codestream of Bits Stored bits, as PS3.5 8.2.3 has it, where the library can."""
    jpeg_ls = library("jpeg_ls")
    if jpeg_ls is None:
        return None
    bits = info.bits_stored
    cells = (values & values.dtype.type((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    try:
        return _encode_with_pyjpegls(jpeg_ls, cells, info, bits)
    except RuntimeError:
        # It reserves too little room for frames of a few pixels.
        return None


def _encode_whole_cells(values: Array, info: FrameInfo) -> bytes:
    imagecodecs, jpeg_ls = library("imagecodecs"), library("jpeg_ls")
    if imagecodecs is not None:
        # Noise can grow by more than the room that the library reserves by itself.
        return bytes(imagecodecs.jpegls_encode(values, out=bytearray(values.nbytes * 2 + 1024)))
    if jpeg_ls is not None:
        return _encode_with_pyjpegls(jpeg_ls, values, info, info.bits_allocated)
    raise EncodingError("no JPEG-LS encoder is installed: install imagecodecs or pyjpegls")


def _encode_with_pyjpegls(jpeg_ls: Any, cells: Array, info: FrameInfo, bits: int) -> bytes:
    interleave = 0 if info.samples_per_pixel == 1 else 2  # by sample, as the cells are laid out
    return bytes(
        jpeg_ls.encode_buffer(
            cells.tobytes(),
            info.rows,
            info.columns,
            info.samples_per_pixel,
            bits,
            lossy_error=0,
            interleave_mode=interleave,
        )
    )
