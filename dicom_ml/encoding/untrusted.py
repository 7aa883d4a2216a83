"""Errors of content that cannot be trusted, as one kind of error that says which file it was.

A damaged or hostile file makes parsers raise whatever they stumble over. Whoever reads a file should get a
:class:`dicom_ml.FileError` with its name, and the parser's own error as the cause.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from dicom_ml.encoding.limits import UNPACKED, most_unpacked
from dicom_ml.errors import DicomMLError, FileError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

__all__ = [
    "DEFLATED",
    "check_deflated",
    "check_inflates",
    "dcmread",
    "inflated",
    "of_its_file",
    "reason_of",
    "understood",
]

_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"")
#: Transfer syntax of deflated data sets.
DEFLATED = "1.2.840.10008.1.2.1.99"
_ELEMENT = struct.Struct("<HH2sH").unpack_from
_LONG = struct.Struct("<I").unpack_from
_HEAD = 4096
_CHUNK = 1 << 20
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


def dcmread(source: Any, **options: Any) -> FileDataset:
    """Parse a file as :func:`pydicom.dcmread` does, unless its deflated data set expands to more than is sane.

    Parameters
    ----------
    source : path or binary file
    **options
        Of :func:`pydicom.dcmread`.

    Raises
    ------
    FileError
        If the file is a bomb.
    """
    import pydicom

    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as handle:
            check_deflated(handle, os.path.basename(os.fspath(source)))
    else:
        check_deflated(source, os.path.basename(str(getattr(source, "name", None) or "the file")))
    return pydicom.dcmread(source, **options)


def inflated(packed: bytes | memoryview, most: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """What a zlib stream holds, but never more than ``most`` bytes.

    Raises
    ------
    FileError
        If it holds more.
    zlib.error
        If it is no such stream.
    """
    inflater = zlib.decompressobj(wbits)
    content = inflater.decompress(packed, most + 1)
    if len(content) > most:
        raise FileError(f"{len(packed)} packed bytes expand to more than {most}: they are damaged, or a bomb")
    return content + inflater.flush()


def check_deflated(file: BinaryIO, name: str) -> None:
    """Raise FileError where a deflated data set (PS3.5 A.5) expands past the limit; the file stays where it is."""
    start = file.tell()
    try:
        syntax, at = _syntax_of(file.read(_HEAD))
        if syntax is None:
            file.seek(start)
            syntax, at = _syntax_by_pydicom(file)
            at -= start
        if syntax != DEFLATED:
            return
        file.seek(start + at)
        check_inflates(file, name)
    finally:
        file.seek(start)


def check_inflates(file: BinaryIO, name: str) -> None:
    """Raise FileError where what is left of a file, in a raw deflate stream, expands past the limit."""
    start = file.tell()
    most = most_unpacked(file.seek(0, os.SEEK_END) - start)
    file.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    try:
        while not inflater.eof and total <= most and (packed := inflater.unconsumed_tail or file.read(_CHUNK)):
            total += len(inflater.decompress(packed, _CHUNK))
    except zlib.error:
        return  # whoever parses it says what is wrong
    finally:
        file.seek(start)
    if total > most:
        raise FileError(
            f"{name}: its deflated data set expands to more than {most} bytes, as a bomb does; {UNPACKED.advice}"
        )


def _syntax_of(head: bytes) -> tuple[str | None, int]:
    """Transfer syntax, and where the data set begins; None where the head is not laid out as the standard says."""
    if head[128:132] != b"DICM":
        return None, 0
    at, syntax = 132, None
    while at + 12 <= len(head):
        group, element, vr, length = _ELEMENT(head, at)
        if group != 2:
            return syntax, at
        if vr in (b"OB", b"UN", b"UT", b"SQ", b"OW"):
            length = _LONG(head, at + 8)[0]
            at += 4
        elif not (vr.isalpha() and vr.isupper()):
            return None, 0
        if element == 0x0010:
            syntax = head[at + 8 : at + 8 + length].decode("latin-1").strip("\0 ")
        at += 8 + length
    return None, 0


def _syntax_by_pydicom(file: BinaryIO) -> tuple[str | None, int]:
    from pydicom.filereader import read_dataset, read_preamble

    try:
        read_preamble(file, force=True)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
        return str(meta.get("TransferSyntaxUID") or ""), file.tell()
    except Exception:  # whatever is wrong, the caller's parser meets it
        return "", 0
