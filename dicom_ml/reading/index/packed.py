"""Archives in an archive: zip and gzip files that hold DICOM, which an index names but does not look through."""

from __future__ import annotations

import gzip
import zipfile
import zlib

from dicom_ml.encoding.unpacking import GZIP_MAGIC, ZIP_MAGIC, opened_zip, zip_members
from dicom_ml.errors import FileError

__all__ = ["packed_problem"]

_PREAMBLE = 132
#: Members that are looked at: a zip of DICOM has some among the first.
_LOOKED_AT = 20


def packed_problem(path: str, shown: str) -> str:
    """Why a file that is no DICOM is not indexed although it may hold some; empty where it does not.

    Parameters
    ----------
    path : str
    shown : str
        How the message calls it.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if start == ZIP_MAGIC:
            return _zip_problem(path, shown)
        return _gzip_problem(path, shown) if start[:2] == GZIP_MAGIC else ""
    except Exception as error:  # one file must not end the scan of a million
        return f"{shown} is skipped: {type(error).__name__}" if shown.lower().endswith((".zip", ".gz")) else ""


def _gzip_problem(path: str, shown: str) -> str:
    try:
        with gzip.open(path) as packed:
            if _is_dicom(packed.read(_PREAMBLE)):
                return f"{shown} is a DICOM file packed by gzip, which is not indexed: unpack it"
    except (EOFError, zlib.error, gzip.BadGzipFile):
        if shown.lower().endswith(".dcm.gz"):
            return f"{shown} is packed by gzip and damaged: it is skipped"
    return ""


def _zip_problem(path: str, shown: str) -> str:
    try:
        with opened_zip(path) as archive:
            members = zip_members(archive, path)
            for info in members[:_LOOKED_AT]:
                if not info.flag_bits & 1 and _holds_dicom(archive, info):
                    return (
                        f"{shown} is a zip of {len(members)} files, some of them DICOM, which are not indexed: unpack "
                        "it, or read it as it is with dicom_ml.read_volume or dicom_ml.open_slide"
                    )
            if members and members[0].flag_bits & 1 and shown.lower().endswith(".zip"):
                return f"{shown} is an encrypted zip: it is skipped"
    except FileError as error:
        # documents of offices are zip files, too
        if shown.lower().endswith(".zip"):
            return f"{shown} is skipped: {str(error).replace(path, 'it')}"
    return ""


def _holds_dicom(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    with archive.open(info) as member:
        return _is_dicom(member.read(_PREAMBLE))


def _is_dicom(start: bytes) -> bool:
    return start[128:] == b"DICM"
