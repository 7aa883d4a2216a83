"""Memory for decoded pixels, used again.

Memory fresh from the system costs a page fault every 4 KiB: a quarter of the time in which a JPEG tile is decoded.
So the memory of arrays that nobody refers to any more is kept, up to a limit, for the next ones of that size.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pixel_array", "scratch_array"]

Array = npt.NDArray[Any]

# Smaller arrays come from memory that the allocator holds anyway; larger ones are worth giving back.
_LEAST, _MOST = 1 << 16, 1 << 24
_KEPT = 1 << 25
# libjpeg-turbo writes past the cache into buffers that are aligned to 32 bytes, and whoever reads the tile next waits
# for memory. Numpy's arrays are aligned to 16 bytes, so half of them are hit.
_ALIGNMENT, _OFFSET = 32, 16


class _Kept:
    """Blocks of memory that are free, by size."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[Array]] = {}
        self.size = 0

    def take(self, size: int) -> Array:
        try:
            block = self.blocks[size].pop()
        except (KeyError, IndexError):
            return np.empty(size + _ALIGNMENT, np.uint8)
        self.size -= size
        return block

    def keep(self, size: int, block: Array) -> None:
        # Threads may count past one another here, which costs nothing but a little memory more or less.
        if self.size + size > _KEPT:
            self.blocks, self.size = {}, 0
        self.blocks.setdefault(size, []).append(block)
        self.size += size


_kept = _Kept()


class _Block:
    """Owner of an array's memory, which outlives all views of the array and no longer."""

    __slots__ = ("__array_interface__", "block", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.block = _kept.take(size)
        address = self.block.__array_interface__["data"][0]
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address + (_OFFSET - address) % _ALIGNMENT, False),
            "version": 3,
        }

    def __del__(self) -> None:
        try:
            _kept.keep(self.size, self.block)
        except (AttributeError, TypeError):
            pass  # the interpreter is shutting down, or the block was never made


def pixel_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array for decoded pixels, its content undefined."""
    size = math.prod(shape) * dtype.itemsize
    if not _LEAST <= size <= _MOST:
        return np.empty(shape, dtype)
    return np.asarray(_Block(size)).view(dtype).reshape(shape)


class _Local(threading.local):
    scratch: Array | None = None


_local = _Local()


def scratch_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """This thread's array for one decoded frame, its content good until the next call."""
    found = _local.scratch
    if found is None or found.shape != shape or found.dtype != dtype:
        found = _local.scratch = pixel_array(shape, dtype)
    return found
