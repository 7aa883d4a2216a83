"""Errors and warnings that dicom_ml raises.

Every message says what was found, what was expected and what to do. Messages carry file names and UIDs,
never names, dates or identifiers of a patient.
"""

from __future__ import annotations

__all__ = [
    "CodeError",
    "CodecError",
    "DicomMLError",
    "DicomMLWarning",
    "EncodingError",
    "FileError",
    "GeometryError",
    "MissingPackageError",
    "SeriesError",
    "StoreError",
]


#: Messages are read by people: none is longer than this.
_LONGEST = 1200


def _printable(text: str) -> str:
    """A message on one line. Where a length in a file is wrong, a value runs on into other elements, patient's names
    included; such a value has bytes in it that no text has, and everything between the first and the last goes."""
    stray = [place for place, letter in enumerate(text) if not letter.isprintable() and letter not in "\n\t"]
    if stray:
        end = stray[-1] + 1
        while end < len(text) and not text[end].isspace():
            end += 1
        text = f"{text[: stray[0]]}...{text[end:]}"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class DicomMLError(Exception):
    """Base of every error that dicom_ml raises on purpose. Its message is one line of printable text."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_printable(arg) if isinstance(arg, str) else arg for arg in args))


class FileError(DicomMLError):
    """A file is not DICOM, is truncated, or contradicts itself."""


class StoreError(FileError):
    """A server or object store cannot be reached, refuses, or answers only in part."""


class SeriesError(DicomMLError):
    """A set of files does not form the one volume, slide or series that was asked for."""


class CodecError(DicomMLError):
    """Pixel data cannot be decoded or encoded in its transfer syntax."""


class GeometryError(DicomMLError, ValueError):
    """Grids, orientations or positions do not fit together."""


class EncodingError(DicomMLError, ValueError):
    """What was asked for cannot be written without breaking the standard."""


class CodeError(DicomMLError, ValueError):
    """A coded concept cannot be understood or written."""


class MissingPackageError(DicomMLError, ImportError):
    """An optional package that the call needs is not installed."""


class DicomMLWarning(UserWarning):
    """Something was odd, was handled in a stated way, and deserves a look."""
