"""Errors of content that cannot be trusted, as one kind of error that says which file it was.

A damaged or hostile file makes parsers raise whatever they stumble over. Whoever reads a file should get a
:class:`dicom_ml.FileError` with its name, and the parser's own error as the cause.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dicom_ml.errors import DicomMLError, FileError

__all__ = ["of_its_file", "understood"]

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def understood(name: str) -> Iterator[None]:
    """Turn what parsing a file's content raises into one error that names the file.

    Only for code that works on the file's content: errors of a caller's arguments must not end up here.
    """
    try:
        yield
    except DicomMLError:
        raise
    except Exception as error:  # parsers raise anything, pydicom's own errors among them
        reason = str(error).strip().partition("\n")[0][:200]
        raise FileError(
            f"{name}: its content cannot be understood ({type(error).__name__}: {reason}); the file is damaged or was "
            "written against the standard"
        ) from error


def of_its_file(method: F) -> F:
    """Decorate a method without arguments, of an object with a ``name``, that parses the file's content."""

    @functools.wraps(method)
    def guarded(self: Any) -> Any:
        with understood(self.name):
            return method(self)

    return guarded  # type: ignore[return-value]
