"""Resident memory of this process and of its finished children, in bytes."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_RU_UNIT = 1 if sys.platform == "darwin" else 1024


_watched = 0  # highest resident set of the executables seen by watch()


def _status(field: str, process: int | str = "self") -> int | None:
    try:
        with open(f"/proc/{process}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def resident() -> int:
    """Resident set now; where the system does not tell, the peak so far."""
    now = _status("VmRSS")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RU_UNIT if now is None else now


def held() -> int:
    """Memory of its own that this process holds now, with its children's: no mapped files, no code.

    What is freed and kept for later by the allocator is given back first: a leak could hide in it.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)
    processes: list[int | str] = ["self"]
    with suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as children:
                processes += map(int, children.read().split())
    own = [_status("RssAnon", process) or 0 for process in processes]
    return sum(own) if own[0] else resident()


def own() -> int:
    """Resident memory without files; 0 where the system does not tell it apart."""
    return _status("RssAnon") or 0


@contextmanager
def sampled() -> Iterator[Callable[[], int]]:
    """Watch :func:`own` from another thread, every millisecond or two; gives its highest value."""
    over, found = threading.Event(), [own()]

    def look() -> None:
        while not over.wait(0.001):
            found[0] = max(found[0], own())

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield lambda: found[0]
    finally:
        over.set()
        looker.join()
        found[0] = max(found[0], own())


def tells_own() -> bool:
    """Whether :func:`held` is a process's own memory here, not all that is resident."""
    return _status("RssAnon") is not None


def reset_peak() -> bool:
    """Start a new peak. False where the system cannot, and :func:`peak` then covers the whole process."""
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
    except OSError:
        return False
    return True


def peak() -> int:
    """Highest resident set since :func:`reset_peak`.

    Not ``ru_maxrss`` where VmHWM is known: Linux carries ``ru_maxrss`` over an exec, so that a small child of a
    large parent would report its parent's memory.
    """
    highest = _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RU_UNIT if highest is None else highest


@contextmanager
def watch(process: int) -> Iterator[None]:
    """Follow the peak of a child process while it runs, for :func:`children_peak`.

    Asked from the side every few milliseconds: what the system keeps of a finished child has its parent's
    memory in it, for the reason that :func:`peak` gives.
    """
    over = threading.Event()

    def follow() -> None:
        global _watched
        while not over.wait(0.004):
            _watched = max(_watched, _status("VmHWM", process) or 0)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def children_peak() -> int:
    """Highest resident set of any child process that was watched, or, where none could be, of any child."""
    return _watched or resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _RU_UNIT


def cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
