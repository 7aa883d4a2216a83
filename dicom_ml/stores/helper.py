"""Reading from an object store in a process that was forked from one that had read from it.

obstore runs its connections on threads of its own, which a forked process does not have: a call there waits for ever.
So a forked process (a worker of a torch DataLoader, as a rule) has a process of its own that asks for it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from typing import Any

from dicom_ml.errors import StoreError

__all__ = ["Helper", "forked", "main", "used_here"]

_used_in: int | None = None
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from dicom_ml.stores.helper import main; main()"


def used_here() -> None:
    """Note that this process has used obstore."""
    global _used_in
    if _used_in is None:
        _used_in = os.getpid()


def forked() -> bool:
    """Whether a process that this one was forked from has used obstore."""
    return _used_in is not None and _used_in != os.getpid()


class Helper:
    """The process that asks a store on behalf of a forked one; started when first asked."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, method: str, *values: Any) -> Any:
        """Answer of a method of the store.

        Raises
        ------
        StoreError
            As the method does, or if the process ends.
        """
        if self._pid != os.getpid():
            self._forget()  # the parent's process is not ours to ask
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            process = self._process
            assert process.stdin is not None and process.stdout is not None
            try:
                pickle.dump((self._store, method, values), process.stdin)
                process.stdin.flush()
                answer = pickle.load(process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                process.kill()
                process.wait()
                raise StoreError(f"the process that reads from {self._store!r} ended") from error
        if isinstance(answer, StoreError):
            raise answer
        return answer


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    while True:
        try:
            store, method, values = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(store, method)(*values)
        except StoreError as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()
