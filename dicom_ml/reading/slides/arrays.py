"""Arrays of pixels from a level: as they are or resampled, filled where nothing was imaged, in the right colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.reading.slides.color import to_srgb
from dicom_ml.reading.slides.regions import PlaneReader
from dicom_ml.reading.slides.resample import Axis, Filter, resample_piece

__all__ = ["first_of", "read_copies", "read_resampled"]

Array = npt.NDArray[Any]

# Bytes of decoded pixels that are held to be resampled; larger rectangles are reduced frame by frame.
_RESAMPLED_AT_ONCE = 1 << 26


def first_of(arrays: Array) -> Array:
    found: Array = arrays[0]
    return found


def read_copies(
    reader: PlaneReader,
    corners: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    profile: bytes | None,
    threads: int | None,
) -> Array:
    out = reader.array(len(corners), *shape)
    if profile is None or reader.samples == 1 or not out.size:
        reader.copy(corners, out, threads=threads)
        return out
    absent = None if reader.inside(corners, *shape) else np.empty(out.shape[:3], bool)
    reader.copy(corners, out, absent, threads)
    out = to_srgb(out, profile)
    if absent is not None and absent.any():
        out[absent] = reader.fill  # was never in the scanner's colours
    return out


def read_resampled(
    reader: PlaneReader,
    starts: Array,
    steps: Array,
    shape: tuple[int, int],
    filter: Filter,
    profile: bytes | None,
    threads: int | None,
) -> Array:
    """Rectangles of a level at another spacing: what no frame shows is filled first, then all is resampled."""
    out = reader.array(len(starts), *shape)
    axes = [
        (Axis(row, float(steps[0]), shape[0], filter), Axis(column, float(steps[1]), shape[1], filter))
        for row, column in starts.tolist()
    ]
    spans = [(down.span, across.span) for down, across in axes]
    height = max((down[1] - down[0] for down, _ in spans), default=0)
    width = max((across[1] - across[0] for _, across in spans), default=0)
    size = height * width * reader.samples * reader.dtype.itemsize
    if size > _RESAMPLED_AT_ONCE:
        for number in range(len(axes)):
            out[number] = _streamed(reader, axes[number], profile, threads).reshape(out.shape[1:])
        return out
    at_once = max(1, _RESAMPLED_AT_ONCE // max(size, 1))
    for first in range(0, len(axes), at_once):
        corners = [(down[0], across[0]) for down, across in spans[first : first + at_once]]
        pixels = read_copies(reader, corners, (height, width), profile, threads)

        def shrink(number: int, first: int = first, pixels: Array = pixels) -> None:
            down, across = axes[first + number]
            share = resample_piece(pixels[number], down, across, down.span[0], across.span[0])[2]
            out[first + number] = _rounded(share, reader.dtype).reshape(out.shape[1:])

        parallel_for(shrink, range(len(corners)), threads)
    return out


def _streamed(reader: PlaneReader, axes: tuple[Axis, Axis], profile: bytes | None, threads: int | None) -> Array:
    """One rectangle of so many pixels that only their sums are held; colours are then corrected as means."""
    sums, weights = reader.resample([axes], threads)
    shown = None if weights is None else weights[..., None]
    if profile is not None and reader.samples > 1:
        stored = _rounded(sums if shown is None else sums / np.maximum(shown, 1e-6), reader.dtype)
        sums = to_srgb(stored, profile).astype(np.float32)
        if shown is not None:
            sums *= shown
    if shown is not None:
        sums += (1 - shown) * reader.fill.astype(np.float32)
    return first_of(_rounded(sums, reader.dtype))


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round halves up, including those that a rounding error made a little less, and stay within the type."""
    limits = np.iinfo(dtype)
    values += np.float32(0.501)
    if limits.min < 0:
        np.floor(values, out=values)
    np.clip(values, limits.min, limits.max, out=values)
    return np.asarray(values.astype(dtype, order="C"), dtype)
