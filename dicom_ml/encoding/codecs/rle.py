"""RLE Lossless (PS3.5 section 8.2.2 and annex G)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from dicom_ml.errors import CodecError, EncodingError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .optional import library
from .registry import register_codec
from .samples import checked_frame, fit_native, unpack_bits

__all__ = ["RleCodec"]

_HEADER = struct.Struct("<16I")


def _expander() -> Callable[[Buffer], bytes]:
    """Return what expands one PackBits segment; padding behind it may expand to more bytes."""
    imagecodecs, rle = library("imagecodecs"), library("rle.rle")
    if imagecodecs is not None:
        return imagecodecs.packbits_decode  # type: ignore[no-any-return]
    if rle is not None:
        return lambda segment: bytes(rle.decode_segment(bytes(segment)))
    raise CodecError("no RLE decoder is installed: install imagecodecs or pylibjpeg-rle")


def _at_once(data: Buffer, info: FrameInfo, out: Array | None = None) -> Array | None:
    """Decode a sound grayscale frame in one call, two to three times as fast; None leaves it to the careful way.

    ``out``, where it is given, takes the cells: a contiguous array of the frame's shape and type.
    """
    imagecodecs = library("imagecodecs")
    if imagecodecs is None or info.samples_per_pixel > 1 or info.bits_allocated not in (8, 16, 32):
        return None
    cells = np.empty(info.decoded_bytes, np.uint8) if out is None else out.reshape(-1).view(np.uint8)
    dtype = info.dtype.newbyteorder("<")
    try:
        filled = imagecodecs.dicomrle_decode(data, dtype, out=cells)
    except Exception:
        return None  # truncated, or padded in a way that only the careful way forgives
    if len(filled) != len(cells):
        return None
    return cells.view(dtype).reshape(info.shape).astype(info.dtype, copy=False)


def _compressor() -> Callable[[Array], bytes]:
    """Return what PackBits a byte plane row by row; no run may cross into the next row (G.3.1)."""
    imagecodecs, rle = library("imagecodecs"), library("rle.rle")
    if imagecodecs is not None:
        return lambda plane: bytes(imagecodecs.packbits_encode(plane, axis=-1))
    if rle is not None:
        return lambda plane: bytes(rle.encode_segment(plane.tobytes(), plane.shape[1]))
    raise EncodingError("no RLE encoder is installed: install imagecodecs or pylibjpeg-rle")


@register_codec
class RleCodec(FrameCodec):
    """PackBits of byte planes, most significant byte first, sample after sample.

    Samples of 1 bit are one byte a pixel within the encoding: annex G.2 pads a pixel to whole bytes.
    """

    transfer_syntaxes = ("1.2.840.10008.1.2.5",)
    encodes = transfer_syntaxes
    writes_into = True

    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        return self._decode(data, info, None)

    def decode_into(self, data: Buffer, info: FrameInfo, out: Array, *, rgb: bool = False) -> None:
        fits = out.dtype == info.dtype and out.flags.c_contiguous and sys.byteorder == "little"
        if not fits or info.samples_per_pixel > 1:
            super().decode_into(data, info, out, rgb=rgb)
            return
        values = self._decode(data, info, out)
        if values is not out:
            out[...] = values

    def _decode(self, data: Buffer, info: FrameInfo, out: Array | None) -> Array:
        if len(data) < 64:
            raise CodecError(f"the RLE frame has {len(data)} bytes, less than its header of 64")
        count, *offsets = _HEADER.unpack_from(data)
        width = max(info.bits_allocated // 8, 1)
        expected = info.samples_per_pixel * width
        if count != expected:
            raise CodecError(
                f"the RLE frame has {count} segments; {info.samples_per_pixel} samples of "
                f"{info.bits_allocated} bits need {expected}: the header or the frame is damaged"
            )
        bounds = [*offsets[:count], len(data)]
        if bounds[0] < 64 or any(a >= b for a, b in pairwise(bounds)):
            raise CodecError("the RLE frame's segment offsets do not increase within the frame: it is damaged")
        whole = _at_once(data, info, out)
        if whole is not None:
            return fit_native(whole, info) if out is None else fit_native(out, info, out)
        expand = _expander()
        view = memoryview(data)
        pixels = info.rows * info.columns
        container = info.dtype.itemsize
        planes = np.zeros if container != width else np.empty
        cells = planes((pixels, info.samples_per_pixel, container), np.uint8)
        for i in range(count):
            # no byte of a sound segment takes more than two: what goes on after that is padding, or a bomb
            segment = expand(view[bounds[i] : min(bounds[i + 1], bounds[i] + 2 * pixels + 2)])
            if info.bits_allocated == 1 and len(segment) < pixels and 0 <= len(segment) - (pixels + 7) // 8 <= 1:
                # Some early writers packed eight pixels into a byte before the encoding.
                segment = unpack_bits(segment, pixels).tobytes()
            if len(segment) < pixels:
                raise CodecError(
                    f"RLE segment {i + 1} of {count} expands to {len(segment)} bytes, {pixels} are needed: "
                    "the frame is truncated or damaged"
                )
            cells[:, i // width, width - 1 - i % width] = np.frombuffer(segment, np.uint8, pixels)
        values = cells.view(info.dtype.newbyteorder("<")).reshape(info.shape)
        return fit_native(values.astype(info.dtype, copy=False), info)

    def check_encodable(self, info: FrameInfo) -> None:
        super().check_encodable(info)
        if info.samples_per_pixel * max(info.bits_allocated // 8, 1) > 15:
            raise EncodingError("RLE holds 15 byte planes at most; use fewer samples or bits, or no compression")
        if info.is_float or info.bits_allocated not in (1, 8, 16, 32):
            raise EncodingError(
                f"RLE is not defined for {'float' if info.is_float else info.bits_allocated} samples: "
                "use 8 or 16 bit integers, or no compression"
            )

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        self.check_encodable(info)
        values = checked_frame(frame, info)
        width = info.dtype.itemsize
        compress = _compressor()
        cells = values.astype(info.dtype.newbyteorder("<"), copy=False).view(np.uint8)
        cells = cells.reshape(info.rows, info.columns, info.samples_per_pixel, width)
        plane = np.empty((info.rows, info.columns), np.uint8)
        segments: list[bytes] = []
        offsets = [64]
        for sample in range(info.samples_per_pixel):
            for byte in reversed(range(width)):
                plane[...] = cells[:, :, sample, byte]
                segment = compress(plane)
                if len(segment) % 2:
                    segment += b"\0"
                segments.append(segment)
                offsets.append(offsets[-1] + len(segment))
        count = len(segments)
        header = _HEADER.pack(count, *offsets[:count], *[0] * (15 - count))
        return b"".join((header, *segments))
