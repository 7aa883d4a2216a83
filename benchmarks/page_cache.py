"""What of a file the system keeps in memory, and how to make it let go."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def files_below(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def drop(files: Iterable[Path]) -> None:
    """Ask the system to forget files; it may keep what a process has mapped, and what lies in a memory file system."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on disk yet cannot be forgotten
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def share_in_memory(files: Iterable[Path]) -> float | None:
    """Share of the files' pages that are in memory, 0 to 1; None where the system does not tell."""
    try:
        mincore = ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError):
        return None
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    held = total = 0
    for path in files:
        if not path.stat().st_size:
            continue
        mapped = np.memmap(path, np.uint8, "r")
        pages = np.zeros(-(-mapped.size // mmap.PAGESIZE), np.uint8)
        if mincore(mapped.ctypes.data, mapped.size, pages.ctypes.data):
            return None
        held += int((pages & 1).sum())
        total += len(pages)
    return held / total if total else None
