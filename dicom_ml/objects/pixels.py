"""Compressing the frames of an object that is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from dicom_ml.encoding.thread_pool import default_threads

__all__ = ["EXTENDED_FROM", "encode_ahead"]

#: Past this many bytes of frames before compression, an extended offset table is written.
EXTENDED_FROM = 0xE0000000


def encode_ahead(encode: Callable[[npt.NDArray[Any]], bytes], frames: Iterator[npt.NDArray[Any]]) -> Iterator[bytes]:
    """Encode on a small pool, results in order, with only a few frames under way at once."""
    workers = default_threads()
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for frame in frames:
            waiting.append(pool.submit(encode, frame))
            if len(waiting) > 4 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
