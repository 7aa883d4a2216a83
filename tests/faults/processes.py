"""Processes that meet a fault: one forks off in some ms from one that has everything imported, and never any thread."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ROOT_FOR_EVER", "Ended", "run_apart", "run_fresh"]

_NOBODY = 65534
#: What a process says that runs as root and cannot be anybody else, as in some containers.
ROOT_FOR_EVER = "root cannot give up its rights here"
_context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
if sys.platform != "win32":
    _context.set_forkserver_preload(
        [f"tests.faults.on_{name}" for name in ("files", "index", "clocks", "cohorts", "stores")]
    )


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes
    ----------
    code : int
        Exit status, or the negative number of the signal.
    value
        What the action returned.
    error : str
        Kind and text of what it raised.
    steps : int
        Writes to files there were.
    """

    code: int
    value: Any = None
    error: str = ""
    steps: int = 0

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def run_apart(
    action: Callable[..., Any],
    values: tuple[Any, ...],
    prepare: Callable[[pytest.MonkeyPatch], None] | None = None,
    *,
    limit: int = 0,
    kill_at: int = 0,
    as_nobody: bool = False,
    environment: dict[str, str] | None = None,
) -> Ended:
    """Call an action in a process of its own.

    Parameters
    ----------
    action, values
        Picklable.
    prepare : callable, optional
        Called there before, to take a protection away.
    limit : int
        Largest size of a file, in bytes: what is beyond meets a full disk.
    kill_at : int
        Die (SIGKILL) in the middle of the write to a file with this number, from 1.
    as_nobody : bool
        As a user with no rights, where the present one is root and may write everywhere.
    environment : dict, optional
    """
    ours, theirs = _context.Pipe(duplex=False)
    fault = {"limit": limit, "kill_at": kill_at, "as_nobody": as_nobody, "environment": environment or {}}
    process = _context.Process(target=_work, args=(theirs, action, values, prepare, fault))
    process.start()
    theirs.close()
    try:
        value, error, steps = ours.recv()
    except EOFError:
        value, error, steps = None, "", 0
    process.join(60)
    assert process.exitcode is not None, "a process of a test does not end"
    return Ended(process.exitcode, value, error, steps)


def run_fresh(
    action: Callable[..., Any],
    values: tuple[Any, ...],
    prepare: Callable[[pytest.MonkeyPatch], None] | None,
    environment: dict[str, str],
) -> Ended:
    """As :func:`run_apart`, in an interpreter that starts under an environment: it looks at some of it only then."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.faults.processes import _fresh; _fresh()"],
        input=pickle.dumps((action, values, prepare)), capture_output=True, cwd=Path(__file__).parents[2],
        env=os.environ | environment, check=False,
    )  # fmt: skip
    return Ended(done.returncode, None, done.stderr.decode(errors="replace").strip().rpartition("\n")[2])


def _fresh() -> None:
    action, values, prepare = pickle.load(sys.stdin.buffer)
    if prepare is not None:
        prepare(pytest.MonkeyPatch())
    action(*values)


def _work(pipe: Any, action: Any, values: tuple[Any, ...], prepare: Any, fault: dict[str, Any]) -> None:
    patch = pytest.MonkeyPatch()
    os.environ.update(fault["environment"])
    if prepare is not None:
        prepare(patch)
    counter = _Steps(fault["kill_at"])
    _watch(counter)
    if fault["limit"]:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["limit"], resource.RLIM_INFINITY))
    if fault["as_nobody"] and os.geteuid() == 0:
        try:
            os.setegid(_NOBODY)
            os.seteuid(_NOBODY)
        except OSError:
            pipe.send((None, ROOT_FOR_EVER, 0))
            os._exit(1)
    value, error = None, ""
    try:
        value = action(*values)
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    pipe.send((value, error, counter.count))
    pipe.close()
    os._exit(1 if error else 0)


class _Steps:
    def __init__(self, deadly: int) -> None:
        self.count, self.deadly = 0, deadly

    def __call__(self, half: Callable[[], object]) -> None:
        """Count a write; at the deadly one, do half of it and die."""
        self.count += 1
        if self.count == self.deadly:
            half()
            os.kill(os.getpid(), signal.SIGKILL)


def _watch(step: _Steps) -> None:
    from dicom_ml.encoding import writer

    class Watched(io.FileIO):
        def write(self, data: Any) -> int:
            step(lambda: io.FileIO.write(self, memoryview(data).cast("B")[: memoryview(data).nbytes // 2]))
            return super().write(data)

        def truncate(self, size: int | None = None) -> int:
            step(lambda: None)
            return super().truncate(size)

    real_pwritev, real_pwrite, real_replace, real_writev = os.pwritev, os.pwrite, os.replace, os.writev

    def pwritev(handle: int, parts: Any, offset: int) -> int:
        whole = b"".join(parts)
        step(lambda: real_pwrite(handle, whole[: len(whole) // 2], offset))
        return real_pwritev(handle, parts, offset)

    def pwrite(handle: int, data: Any, offset: int) -> int:
        step(lambda: real_pwrite(handle, memoryview(data).cast("B")[: memoryview(data).nbytes // 2], offset))
        return real_pwrite(handle, data, offset)

    def writev(handle: int, parts: Any) -> int:
        whole = b"".join(parts)
        step(lambda: os.write(handle, whole[: len(whole) // 2]))
        return real_writev(handle, parts)

    def replace(*given: Any, **options: Any) -> None:
        step(lambda: None)
        real_replace(*given, **options)
        step(lambda: None)

    writer._WholeFile.__bases__ = (Watched,)
    os.pwritev, os.pwrite, os.replace, os.writev = pwritev, pwrite, replace, writev  # type: ignore[assignment]
