"""Errors of content that cannot be trusted, as one kind of error that says which file it was.

A damaged or hostile file makes parsers raise whatever they stumble over. Whoever reads a file should get a
:class:`dicom_ml.FileError` with its name, and the parser's own error as the cause.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dicom_ml.errors import DicomMLError, FileError

__all__ = ["of_its_file", "reason_of", "understood"]

_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")
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
        raise FileError(
            f"{name}: its content cannot be understood ({reason_of(error)}); the file is damaged or was written "
            "against the standard"
        ) from error


def reason_of(error: Exception) -> str:
    """A parser's error in short: its first line, without the values of the file that it quotes."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {_QUOTED.sub('...', first)[:200]}"


def of_its_file(method: F) -> F:
    """Decorate a method without arguments, of an object with a ``name``, that parses the file's content."""

    @functools.wraps(method)
    def guarded(self: Any) -> Any:
        with understood(self.name):
            return method(self)

    return guarded  # type: ignore[return-value]
