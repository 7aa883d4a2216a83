"""One hostile input, read in a process of its own that may take little memory and little time.

A process that has loaded everything waits for jobs and forks for each, so that a job costs milliseconds and its memory
is its own.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Result", "Watch", "refused", "shared_watch"]

#: Bytes that a reader may take above what the program has, and seconds; a busy machine is slow.
MOST_BYTES = 768 << 20
MOST_SECONDS = 20


@dataclass(frozen=True)
class Result:
    """What became of a job.

    ``kind`` is ``read``, ``refused`` (one error of ours), or what must not be: ``raised``, ``memory``, ``late``,
    ``crashed``.
    """

    kind: str
    error: str = ""
    message: str = ""
    cause: str = ""
    seconds: float = 0.0
    grown: int = 0
    value: Any = None


class Watch:
    """The waiting process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            text=True,
        )

    def __call__(self, reader: str, source: object, **environment: str) -> Result:
        """Have ``reader`` (a name of :mod:`tests.fuzz.hostile_readers`) read a path or address."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([reader, str(source), environment]) + "\n")
        self._process.stdin.flush()
        return Result(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@lru_cache(maxsize=1)
def shared_watch() -> Watch:
    """One for all tests of a process, ended with it."""
    watch = Watch()
    atexit.register(watch.close)
    return watch


# ---------------------------------------------------------------------- in the waiting process
class _Late(BaseException):
    pass


def _alarm(*_: Any) -> None:
    raise _Late


def _job(read: Callable[[str], Any], source: str) -> dict[str, Any]:
    from dicom_ml.errors import DicomMLError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(MOST_SECONDS)
    try:
        return {"kind": "read", "value": repr(read(source))[:300]}
    except DicomMLError as error:
        cause = error.__cause__ or error.__context__
        return {
            "kind": "refused",
            "error": type(error).__name__,
            "message": str(error),
            "cause": type(cause).__name__ if cause else "",
        }
    except _Late:
        return {"kind": "late", "message": traceback.format_exc(limit=-8)[-3000:]}
    except MemoryError:
        return {"kind": "memory", "message": traceback.format_exc(limit=-8)[-3000:]}
    except BaseException as error:
        return {
            "kind": "raised",
            "error": type(error).__name__,
            "message": traceback.format_exc(limit=-8)[-3000:],
        }
    finally:
        signal.alarm(0)


def _forked(read: Callable[[str], Any], source: str, environment: dict[str, str]) -> dict[str, Any]:
    here, there = os.pipe()
    begun = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        os.close(here)
        os.write(there, json.dumps(_job(read, source)).encode()[:60_000])
        os._exit(0)
    os.close(there)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # what an extension does not give up within twice the time is killed
    answer = b""
    os.set_blocking(here, False)
    deadline = begun + 2 * MOST_SECONDS
    while time.perf_counter() < deadline:
        try:
            part = os.read(here, 1 << 16)
        except BlockingIOError:
            time.sleep(0.002)
            continue
        if not part:
            break
        answer += part
    else:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    os.close(here)
    seconds = time.perf_counter() - begun
    found = json.loads(answer) if answer else {"kind": "crashed", "message": f"status {status} after {seconds:.1f} s"}
    return found | {"seconds": round(seconds, 2), "grown": max(usage.ru_maxrss - before, 0) << 10}


def refused(found: Result, words: str = "", *, seconds: float, errors: Collection[str] = ()) -> Result:
    """Fails unless something was refused soon, with one error that can be shown and says ``words``."""
    assert found.kind == "refused", f"{found.kind} {found.error} after {found.seconds} s: {found.value} {found.message}"
    assert not errors or found.error in errors, found
    assert found.seconds < seconds, found
    assert words in found.message, found.message
    assert found.message.isprintable() and len(found.message) < 1300, found
    assert "Memory" not in found.cause + found.message, found  # refused, and not run out of
    return found


def main() -> None:
    """Do jobs until the input ends."""
    import logging

    from tests.fuzz.hostile_readers import READERS, prepare

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prepare()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, source, environment = json.loads(line)
        print(json.dumps(_forked(READERS[name], source, environment)), file=answers, flush=True)


if __name__ == "__main__":
    main()
