"""Uncompressed frames (PS3.5 section 8.1 and annex D)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dicom_ml.errors import CodecError, EncodingError

from .base import EXPLICIT_BIG_ENDIAN, Array, Buffer, FrameCodec, FrameInfo
from .color import upsample_422
from .registry import register_codec
from .samples import checked_frame, fit_native, pack_bits, unpack_bits

__all__ = ["NativeCodec"]


@register_codec
class NativeCodec(FrameCodec):
    """Frames as they are, of 1, 8, 16, 32 and 64 bits, integer and float, in either byte order."""

    transfer_syntaxes = (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        EXPLICIT_BIG_ENDIAN,
        "1.2.840.10008.1.2.1.98",  # encapsulated uncompressed
        "1.2.840.10008.1.2.1.99",  # deflated: inflated with the file, before any frame is looked at
    )
    encodes = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.98")

    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        values = fit_native(_cells(data, info), info)
        return values.astype(info.dtype, copy=False)

    def decode_into(self, data: Buffer, info: FrameInfo, out: Array, *, rgb: bool = False) -> None:
        if rgb and info.samples_per_pixel > 1:
            out[...] = self.decode_rgb(data, info)
        else:
            fit_native(_cells(data, info), info, out)

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        if info.bits_allocated in (24, 40):
            raise EncodingError(f"native frames of {info.bits_allocated} allocated bits are not supported; use 32")
        if info.high_bit != info.bits_stored - 1:
            raise EncodingError("frames are written with High Bit one less than Bits Stored")

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        values = checked_frame(frame, info)
        if info.bits_allocated == 1:
            return pack_bits(values)
        if info.photometric_interpretation == "YBR_FULL_422":
            raise EncodingError("native YBR_FULL_422 can be read but not written; write YBR_FULL or RGB")
        if info.samples_per_pixel > 1 and info.planar_configuration == 1:
            values = np.moveaxis(values, -1, 0)
        return values.astype(info.dtype.newbyteorder("<"), copy=False).tobytes()


def _cells(data: Buffer, info: FrameInfo) -> Array:
    """View the bytes as cells of the frame's shape; a copy only where bits or planes must move.

    Single bytes of big endian OW lie in swapped words; `FrameIndex` has put them in order by now, since an
    odd frame begins in the middle of a word.
    """
    if info.bits_allocated in (24, 40):
        raise CodecError(f"native frames of {info.bits_allocated} allocated bits cannot be read")
    have = len(data)
    order: Literal["<", ">"] = ">" if info.transfer_syntax_uid == EXPLICIT_BIG_ENDIAN else "<"
    subsampled = info.samples_per_pixel == 3 and info.photometric_interpretation == "YBR_FULL_422"
    full = info.rows * info.columns * info.samples_per_pixel
    # Some writers set YBR_FULL_422 but store all three samples of each pixel.
    if subsampled and (have >= full * info.bits_allocated // 8 or info.columns % 2):
        subsampled = False
    needed = info.frame_bytes if subsampled else (full * info.bits_allocated + 7) // 8
    if have < needed:
        raise CodecError(f"the frame has {have} bytes; its header asks for {needed}: the file is truncated")
    if info.bits_allocated == 1:
        return unpack_bits(data, full).reshape(info.shape)
    cells = np.frombuffer(data, info.dtype.newbyteorder(order), count=needed // info.dtype.itemsize)
    if subsampled:
        return upsample_422(cells, info.rows, info.columns)
    if info.samples_per_pixel > 1 and info.planar_configuration == 1:
        return np.moveaxis(cells.reshape(info.samples_per_pixel, info.rows, info.columns), 0, -1)
    return cells.reshape(info.shape)
