"""Calling functions in a process of one's own: the function and its arguments go out, its answer comes back, pickled.

Such a process, started by its module's name, needs no guard in the user's script, as spawned pools do, and is safe
beside threads, as forked ones are not.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

from dicom_ml.errors import DicomMLError

__all__ = ["CallProcess", "ProcessEnded", "main"]

T = TypeVar("T")

# as this process finds modules, so does the other
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from dicom_ml.encoding.calls import main; main()"


class ProcessEnded(Exception):
    """The process ended before it answered."""


class CallProcess:
    """A process that is asked one thing at a time; started when first asked, and anew after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., T], *values: object) -> T:
        """Answer of a function of a module.

        Raises
        ------
        ProcessEnded
            If the process ends meanwhile, as it does where the function raises anything but a DicomMLError.
        DicomMLError
            As the function does.
        """
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((function, values), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            process.kill()
            process.wait()
            raise ProcessEnded from error
        if isinstance(answer, DicomMLError):
            raise answer
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let the process end, and wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.close()
        except OSError:
            pass
        process.stdout.close()
        process.wait()


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    while True:
        try:
            function, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = function(*values)
        except DicomMLError as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()
