"""Command-line peers: where they are and how they are called."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import process_memory


def find_executable(name: str) -> str | None:
    """Find a command: inside the wheel that ships it, beside the interpreter, or on the path.

    The binary inside the dcmqi wheel is preferred to the Python script that starts it, which would add the start
    of an interpreter to the measured time.
    """
    spec = importlib.util.find_spec("dcmqi")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "bin" / name
        if inside.is_file():
            return str(inside)
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def call(name: str, *arguments: str | Path) -> None:
    """Run a command to its end; its last words become the error when it fails."""
    executable = find_executable(name)
    assert executable is not None, f"{name} was not probed"
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen([executable, *map(str, arguments)], stdout=output, stderr=subprocess.STDOUT)
        with process_memory.watch(process.pid):
            code = process.wait()
        if code:
            output.seek(0)
            said = output.read().strip().splitlines()
            raise RuntimeError(f"{name} ended with {code}: {said[-1] if said else 'no message'}")
