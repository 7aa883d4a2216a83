"""Colour models of the photometric interpretation (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

import numpy as np

from dicom_ml.errors import CodecError

from .base import Array

__all__ = ["upsample_422", "to_rgb"]

_DECODED_AS_RGB = frozenset({"RGB", "YBR_RCT", "YBR_ICT"})
_FULL_RANGE = frozenset({"YBR_FULL", "YBR_FULL_422"})


def upsample_422(cells: Array, rows: int, columns: int) -> Array:
    """Turn native YBR_FULL_422 (Y, Y, Cb, Cr for each two pixels) into YBR_FULL of (rows, columns, 3)."""
    pairs = cells.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns // 2, 2, 3), cells.dtype)
    out[..., 0] = pairs[:, :, :2]
    out[..., 1] = pairs[:, :, 2:3]
    out[..., 2] = pairs[:, :, 3:4]
    return out.reshape(rows, columns, 3)


def to_rgb(frame: Array, photometric: str, bits: int = 8) -> Array:
    """Convert a decoded colour frame to RGB; monochrome and palette frames are returned as they are.

    Parameters
    ----------
    frame
        (..., 3) unsigned integers, or a frame of one sample a pixel.
    photometric
        Photometric interpretation of the values of ``frame`` as decoded.
    bits
        Bits stored; chroma is centred on ``2 ** (bits - 1)``.

    Raises
    ------
    CodecError
        When the colour model is unknown.
    """
    if frame.ndim < 3 or photometric in _DECODED_AS_RGB:
        return frame
    top = (1 << bits) - 1
    center = 1 << (bits - 1)
    y, cb, cr = (frame[..., i].astype(np.float32) for i in range(3))
    cb -= center
    cr -= center
    if photometric == "YBR_PARTIAL_420" or photometric == "YBR_PARTIAL_422":
        # Black is 16 and white 235 of 255, chroma 16 to 240 (PS3.3 C.7.6.3.1.2).
        y = (y - center / 8) * np.float32(255 / 219)
        cb *= np.float32(255 / 224)
        cr *= np.float32(255 / 224)
    elif photometric not in _FULL_RANGE:
        raise CodecError(
            f"Photometric Interpretation is {photometric}, from which no conversion to RGB is known: "
            "read the stored values and convert them"
        )
    out = np.empty(frame.shape, frame.dtype)
    for i, plane in enumerate((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)):
        out[..., i] = np.clip(np.rint(plane), 0, top)
    return out
