"""RLE frames by imagecodecs' PackBits: for the data the rows read, and the floor of the row that writes RLE."""

from __future__ import annotations

import struct

import numpy as np


def encode_frame(frame: np.ndarray) -> bytes:
    """Encode a (rows, columns) frame of 8 or 16 bits: one segment a byte plane, high bytes first (PS3.5 Annex G)."""
    import imagecodecs

    planes = np.ascontiguousarray(frame).view(np.uint8).reshape(*frame.shape, frame.dtype.itemsize)
    segments = []
    for plane in reversed(range(frame.dtype.itemsize)):
        # Along the last axis, row by row: no run crosses the end of a row.
        segment = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(planes[..., plane])))
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets)))
    return b"".join([header, *segments])
