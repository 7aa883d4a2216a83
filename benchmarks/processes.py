"""The processes that runs are: a new one each, or forks of one that has its packages.

Of this module the worker imports :func:`serve`: nothing here needs more than the standard library.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_START = 60.0  # seconds that the imports of one competitor may take

Answer = dict[str, Any]


def too_slow(timeout: float) -> Answer:
    return {"status": "too slow", "error": f"took more than {timeout:g} s"}


def ask_new(
    python: str, request: Mapping[str, Any], timeout: float, say: Callable[[str], None] | None = None
) -> Answer:
    """Ask a process that does nothing else; ``say`` gets the whole error of one that fails."""
    if shutil.which(python) is None:
        return {"status": "not installed", "error": f"no interpreter {python!r}"}
    with tempfile.TemporaryDirectory(prefix="dicom_ml-benchmark-") as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(request))
        command = [python, "-m", "benchmarks.worker", str(question), str(answer)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return too_slow(timeout)
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            how = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
            return {"status": "failed", "error": f"{how}: {last}"}
        record: Answer = json.loads(answer.read_text())
        if record["status"] == "failed" and say is not None:
            say(done.stderr)
        return record


class Hatchery:
    """A process that has imported the modules of one competitor, and forks for each run of it.

    A fork starts in milliseconds where torch takes seconds to import.
    """

    def __init__(self, python: str, modules: tuple[str, ...]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dicom_ml-benchmark-")
        self._address = os.path.join(self._folder.name, "socket")
        command = [python, "-m", "benchmarks.worker", "--serve", self._address, *modules]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # It ends when this pipe does: whatever becomes of us, nothing of it stays.
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, **quiet)

    def ask(self, request: Mapping[str, Any], timeout: float) -> Answer:
        """Raise :class:`OSError` where there is no such process any more."""
        connection = self._connected()
        with connection, connection.makefile("rw") as file:
            connection.settimeout(timeout)
            child = 0
            try:
                child = int(file.readline())
                file.write(json.dumps(request) + "\n")
                file.flush()
                said = file.readline()
            except TimeoutError:
                if child:
                    os.kill(child, signal.SIGKILL)
                return too_slow(timeout)
            except ValueError:
                said = ""
        self._await_end_of(child)
        return json.loads(said) if said else {"status": "failed", "error": "the process ended without an answer"}

    def _await_end_of(self, child: int) -> None:
        """What a process has mapped, the next run could not drop from memory."""
        end = time.monotonic() + 10
        with suppress(ProcessLookupError):
            while child and time.monotonic() < end:
                os.kill(child, 0)
                time.sleep(0.002)

    def _connected(self) -> socket.socket:
        end = time.monotonic() + _START
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._address)
                return connection
            except OSError:
                connection.close()
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


class Hatcheries:
    """One for each interpreter and set of modules, started when it is first needed; a context manager."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[str, ...]], Hatchery] = {}
        self._lock = threading.Lock()

    def ask(self, python: str, modules: tuple[str, ...], request: Mapping[str, Any], timeout: float) -> Answer:
        if shutil.which(python) is None or not hasattr(os, "fork"):
            return ask_new(python, request, timeout)
        with self._lock:
            key = (python, modules)
            if key not in self._kept:
                self._kept[key] = Hatchery(python, modules)
        try:
            return self._kept[key].ask(request, timeout)
        except OSError:
            return ask_new(python, request, timeout)

    def __enter__(self) -> Hatcheries:
        return self

    def __exit__(self, *_: object) -> None:
        for kept in self._kept.values():
            kept.close()


def serve(address: str, modules: list[str], answer: Callable[[dict[str, Any]], Answer]) -> None:
    """Import, listen, and fork for each request; returns in the forks, once they answered, and when stdin ends."""
    for name in modules:
        try:
            module = importlib.import_module(name)
            # what a package loads when it is first named would be loaded by each fork
            for public in getattr(module, "__all__", ()):
                getattr(module, public, None)
        except Exception:  # the probe, a fork too, will say so
            break
    gc.collect()
    gc.freeze()  # or each fork's collector would copy all of it
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        with connection, connection.makefile("rw") as file:
            file.write(f"{os.getpid()}\n")
            file.flush()
            file.write(json.dumps(answer(json.loads(file.readline()))) + "\n")
        return


def _reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
