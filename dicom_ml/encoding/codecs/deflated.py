"""Deflated Image Frame Compression (PS3.5 section 8.2.16 and annex A.4.13)."""

from __future__ import annotations

import zlib
from typing import ClassVar

from dicom_ml.errors import CodecError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .native import NativeCodec
from .optional import library
from .registry import register_codec

__all__ = ["DeflatedFrameCodec"]


@register_codec
class DeflatedFrameCodec(FrameCodec):
    """Each frame as native little endian bytes, 1-bit samples packed, in a raw deflate stream (RFC 1951)."""

    transfer_syntaxes = ("1.2.840.10008.1.2.8.1",)
    encodes = transfer_syntaxes

    _native: ClassVar[NativeCodec] = NativeCodec()

    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        # One byte more than the frame may have shows a stream that is too long, and no bomb ever expands.
        most = info.rows * info.columns * info.samples_per_pixel * info.bits_allocated // 8 + 2
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        raw = inflater.decompress(data, most)
        if len(raw) >= most:
            raise CodecError(
                f"the deflated frame expands past the {info.frame_bytes} bytes of the header: it is damaged"
            )
        return self._native.decode(raw, info)

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        self._native.check_encodable(_as_native(info))

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        raw = self._native.encode(frame, _as_native(info))
        imagecodecs = library("imagecodecs")
        if imagecodecs is not None:
            return bytes(imagecodecs.deflate_encode(raw, raw=True))
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(raw) + deflater.flush()


def _as_native(info: FrameInfo) -> FrameInfo:
    return info.replace(transfer_syntax_uid="1.2.840.10008.1.2.1")
