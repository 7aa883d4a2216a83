"""Reading from an object store in a process that was forked from one that had read from it.

obstore runs its connections on threads of its own, which a forked process does not have: a call there waits for ever.
So a forked process (a worker of a torch DataLoader, as a rule) has a process of its own that asks for it.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from dicom_ml.encoding.calls import CallProcess, ProcessEnded
from dicom_ml.errors import StoreError

__all__ = ["Helper", "forked", "used_here"]

_used_in: int | None = None


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
        self._process = CallProcess()

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
            try:
                return self._process.call(_ask, self._store, method, values)
            except ProcessEnded as error:
                raise StoreError(f"the process that reads from {self._store!r} ended") from error


def _ask(store: Any, method: str, values: tuple[Any, ...]) -> Any:
    return getattr(store, method)(*values)
