"""One small thread pool for the whole process: decoders release the GIL, so threads are enough.

The calling thread works too. Helpers only speed it up, so that calls may nest, may come from many threads at
once, and go on (more slowly) where no helper can be had.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["default_threads", "parallel_for"]

T = TypeVar("T")

_MOST_THREADS = 8
_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def default_threads() -> int:
    """Return how many threads are used unless told otherwise: one a usable CPU core, 8 at most."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        cores = os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def _helpers() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            # Python joins idle workers at exit; they hold nothing.
            _executor = ThreadPoolExecutor(_MOST_THREADS * 2, thread_name_prefix="dicom_ml")
        return _executor


def _forget_after_fork() -> None:
    # A child inherits the executor's state but none of its threads, and perhaps a locked lock.
    global _executor, _lock
    _lock = threading.Lock()
    _executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class _Work:
    """Hands out indices to whoever asks, until they are used up or a call fails."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = 0
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def take(self) -> int | None:
        with self._lock:
            if self.error is not None or self._next >= self._count:
                return None
            index = self._next
            self._next += 1
            return index

    def fail(self, error: BaseException) -> None:
        with self._lock:
            if self.error is None:
                self.error = error


def parallel_for(function: Callable[[T], object], items: Sequence[T], threads: int | None = None) -> None:
    """Call ``function`` on every item, on several threads, and return when all calls have.

    Parameters
    ----------
    function
        What to do; it must release the GIL for long enough to make threads worthwhile.
    items
        What to do it on; calls begin in this order.
    threads
        Most threads to use, this one included; None takes `default_threads`, 1 stays in this thread.

    Raises
    ------
    Exception
        The first error of a call. No call begins after it, and none is running any more.
    """
    wanted = min(default_threads() if threads is None else max(int(threads), 1), len(items))
    if wanted <= 1:
        for item in items:
            function(item)
        return
    work = _Work(len(items))

    def run() -> None:
        while (index := work.take()) is not None:
            try:
                function(items[index])
            except BaseException as error:
                work.fail(error)

    pending: list[Future[None]] = []
    try:
        executor = _helpers()
        pending = [executor.submit(run) for _ in range(wanted - 1)]
    except RuntimeError:
        pass  # the interpreter is shutting down, or no thread can be started: this thread does it all
    run()
    for future in pending:
        if not future.cancel():
            future.result()
    if work.error is not None:
        raise work.error
