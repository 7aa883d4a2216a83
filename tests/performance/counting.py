"""Counters of what costs time on hot paths: opened files, parsed elements, walked headers, decoded frames, memory."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pydicom.dataelem
import pydicom.filereader
import pytest

from dicom_ml.encoding import elements
from dicom_ml.encoding.codecs import registry

__all__ = ["Counts", "counted", "grown", "peak"]

_watched: list[Counter[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str | bytes | os.PathLike):
        name = os.fsdecode(arguments[0])
        # modules that are imported at first use are no part of it
        if not name.endswith((".py", ".pyc", ".so")):
            _watched[-1]["opens"] += 1


sys.addaudithook(_audit)


class Counts(Counter[str]):
    """``opens`` of files, pydicom's ``elements`` and ``datasets``, ``headers`` walked, ``decodes`` of frames."""


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what happens within the block, on all threads."""
    counts = Counts()
    patch = pytest.MonkeyPatch()

    def count(owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counts[key] += 1
            return original(*args, **kwargs)

        patch.setattr(owner, name, counting)

    count(pydicom.dataelem.DataElement, "__init__", "elements")
    count(pydicom.filereader, "data_element_generator", "datasets")
    count(elements.FileView, "__init__", "headers")
    registry.get_decoder("1.2.840.10008.1.2.1")  # all codecs are found
    for codec in {type(one) for one in registry._decoders.values()}:
        for base in codec.__mro__:
            for name in ("decode", "decode_into", "decode_rgb"):
                if name in vars(base) and not getattr(vars(base)[name], "__isabstractmethod__", False):
                    _once(patch, base, name, counts)
    _watched.append(counts)
    try:
        yield counts
    finally:
        _watched.remove(counts)
        patch.undo()


def _once(patch: pytest.MonkeyPatch, owner: type, name: str, counts: Counts) -> None:
    """Count a call from outside the codec; one codec method calls another."""
    original = vars(owner)[name]
    if getattr(original, "counts", None) is counts:
        return

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        inside = sys._getframe(1).f_code.co_name in ("counting", "decode", "decode_into", "decode_rgb")
        counts["decodes"] += not inside
        return original(self, *args, **kwargs)

    counting.counts = counts  # type: ignore[attr-defined]
    patch.setattr(owner, name, counting)


def peak(job: Callable[[], object], warm: bool = True) -> int:
    """Highest number of bytes that a job held beyond what was there, arrays of numpy included."""
    if warm:
        job()  # modules, caches and pools are made once
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        job()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def grown(job: Callable[[], object], times: int) -> int:
    """Bytes that stay after each of many calls, on average over the second half."""
    tracemalloc.start()
    try:
        for _ in range(times // 2):
            job()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times - times // 2):
            job()
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) // (times - times // 2)
    finally:
        tracemalloc.stop()
