"""Unfinished files: what they are called, whose they are, and when they may be removed.

A file under way lies beside its target as ``.NAME.NUMBER.part``, and its writer holds a lock on it, which the system
takes back when the process ends, however it ends. One that nobody holds was left by a process that was killed, on this
machine or another, and whoever comes next removes it. Where a file system knows no locks, nothing is removed.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["begin_half", "remove_left"]

fcntl: Any = import_module("fcntl") if os.name == "posix" else None
_HALF = re.compile(r"\..*\.\d+\.part", re.DOTALL)
_LONGEST = 200  # bytes of the target's name; file systems allow 255 in all


def begin_half(target: Path) -> tuple[Path, int]:
    """Make the file that is to become ``target``, with an open and locked descriptor of it.

    The lock holds for as long as this descriptor, or a duplicate of it, is open.
    """
    stem = target.name.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "ignore")
    for number in count():
        path = target.with_name(f".{stem}.{number}.part")
        descriptor = _made(path)
        if descriptor is None and _removed(path):
            descriptor = _made(path)
        if descriptor is not None:
            return path, descriptor
    raise AssertionError("unreachable")


def remove_left(folder: Path) -> None:
    """Remove what processes that are gone have left unfinished in a folder and those below it."""
    for path in folder.rglob(".*.part"):
        if path.is_file() and _HALF.fullmatch(path.name):
            _removed(path)


def _made(path: Path) -> int | None:
    """A new file, locked; None where another process has it, or has just taken it for left behind."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except FileExistsError:
        return None
    if fcntl is None:  # pragma: no cover - Windows
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return descriptor  # no locks here: nobody else can lock it either, so it is safe
    if _is_at(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _removed(path: Path) -> bool:
    """Remove a file that no process holds; whether it was so."""
    if fcntl is None:  # pragma: no cover - Windows
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(descriptor, path):
            return False  # another process was here first, and the name may be in use again
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
