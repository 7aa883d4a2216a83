"""Bits of samples: packing, sign, stray bits (PS3.5 section 8.1.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicom_ml.errors import CodecError, EncodingError

from .base import Array, Buffer, FrameInfo

__all__ = ["checked_frame", "fit_decoded", "fit_native", "pack_bits", "unpack_bits"]


def unpack_bits(data: Buffer, count: int, bit_offset: int = 0) -> Array:
    """Return ``count`` bits of ``data`` as a flat uint8 array of 0 and 1; the first bit is the lowest one."""
    first, shift = divmod(bit_offset, 8)
    packed = np.frombuffer(data, np.uint8)[first : first + (shift + count + 7) // 8]
    if packed.size * 8 < shift + count:
        raise CodecError(f"{count} bits were expected but only {max(packed.size * 8 - shift, 0)} are there")
    return np.unpackbits(packed, count=shift + count, bitorder="little")[shift:]


def pack_bits(frame: Array) -> bytes:
    """Pack a frame of 0 and 1 into bytes, lowest bit first; the last byte is filled with zero bits."""
    return np.packbits(frame.reshape(-1), bitorder="little").tobytes()


def _shift(array: Array, left: int, right: int, dtype: np.dtype[Any]) -> Array:
    if left:
        np.left_shift(array, dtype.type(left), out=array)
    if right:
        np.right_shift(array, dtype.type(right), out=array)
    return array


def fit_native(cells: Array, info: FrameInfo, out: Array | None = None) -> Array:
    """Turn cells as stored into values: drop unused bits above and below, extend the sign.

    Unused bits may hold anything, such as the overlays of older files, and are not part of the value.
    """
    width = info.dtype.itemsize * 8
    left = width - 1 - info.high_bit
    right = width - info.bits_stored
    if info.is_float or info.bits_allocated == 1 or not right:
        if out is None:
            return cells
        out[...] = cells
        return out
    if out is None or out.dtype != info.dtype:
        values = _shift(cells.astype(info.dtype), left, right, info.dtype)
        if out is None:
            return values
        out[...] = values
        return out
    # The first shift is the copy as well: one pass less over the frame.
    np.left_shift(cells, info.dtype.type(left), out=out)
    np.right_shift(out, info.dtype.type(right), out=out)
    return out


def fit_decoded(decoded: Array, info: FrameInfo, precision: int, signed: bool) -> Array:
    """Bring what a decoder returned into the shape and type that the header promises.

    Where header and codestream disagree about bits the codestream is believed, as long as its values fit in
    the header's cells; where they disagree about the sign, the bits are taken as the header says. Where
    they disagree about size or samples, the frame is refused.

    Parameters
    ----------
    decoded
        The decoder's array.
    info
        What the header says.
    precision
        Bits of a sample in the codestream.
    signed
        Whether the codestream declares its samples as signed.
    """
    if decoded.ndim == 3 and decoded.shape[2] == 1:
        decoded = decoded[:, :, 0]
    if decoded.shape != info.shape:
        raise CodecError(
            f"the encoded frame is {_size(decoded.shape)}, the header says {_size(info.shape)}: "
            "the frame belongs to another image or the header is wrong"
        )
    target = info.dtype
    if signed == info.signed:
        if decoded.dtype == target:
            return decoded
        return _narrow(decoded, target, info, precision)
    # The same bits, read with the other sign. A codestream that knows no sign (JPEG-LS, lossless JPEG)
    # carries two's complement in as many bits as are stored.
    bits = min(precision, info.bits_stored) if info.signed else precision
    if bits > target.itemsize * 8:
        raise _too_wide(info, precision)
    width = target.itemsize * 8
    values = decoded.astype(target)
    return _shift(values, width - bits, width - bits, target)


def _narrow(decoded: Array, target: np.dtype[Any], info: FrameInfo, precision: int) -> Array:
    if decoded.dtype.itemsize <= target.itemsize:
        return decoded.astype(target)
    limits = np.iinfo(target)
    if int(decoded.min()) < limits.min or int(decoded.max()) > limits.max:
        raise _too_wide(info, precision)
    return decoded.astype(target)


def _too_wide(info: FrameInfo, precision: int) -> CodecError:
    return CodecError(
        f"the encoded frame holds samples of {precision} bits, more than Bits Allocated, "
        f"{info.bits_allocated}: the header is wrong; correct Bits Allocated to read the file"
    )


def _size(shape: tuple[int, ...]) -> str:
    samples = shape[2] if len(shape) > 2 else 1
    return f"{shape[0]} x {shape[1]} with {samples} sample{'s' if samples > 1 else ''} a pixel"


def checked_frame(frame: Array, info: FrameInfo) -> Array:
    """Return ``frame`` contiguous in ``info.dtype``, having checked its shape and that its values fit."""
    if frame.shape != info.shape:
        raise EncodingError(f"the frame has shape {frame.shape}; the header says {info.shape}")
    if info.is_float:
        if frame.dtype.kind != "f":
            raise EncodingError(f"the frame is {frame.dtype}; float pixel data needs a float array")
        return np.ascontiguousarray(frame, info.dtype)
    if frame.dtype.kind not in "bui":
        raise EncodingError(f"the frame is {frame.dtype}; expected integers: round or scale it first")
    bits = info.bits_stored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if info.signed else (0, (1 << bits) - 1)
    limits = None if frame.dtype.kind == "b" else np.iinfo(frame.dtype)
    if limits is not None and (limits.min < low or limits.max > high):
        least, most = int(frame.min()), int(frame.max())
        if least < low or most > high:
            raise EncodingError(
                f"the frame holds values {least} to {most}; {bits} stored bits hold {low} to {high}: use more bits"
            )
    return np.ascontiguousarray(frame, info.dtype)
