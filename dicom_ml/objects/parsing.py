"""Files of any maker as data sets whose every value can be used: what cannot be converted is left out, and told."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING

from dicom_ml.encoding.elements import CutOff, FileView, NotLean
from dicom_ml.errors import FileError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["file_bytes", "parse_file"]

_MAX_DEPTH = 50


def file_bytes(path: str | os.PathLike[str]) -> tuple[bytes, str]:
    """Bytes of a file, and its name for messages.

    Raises
    ------
    FileError
        If it cannot be opened, or is empty.
    """
    name = os.path.basename(os.fspath(path))
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise FileError(f"{name}: cannot be opened: {error.strerror or error}") from error
    if not data:
        raise FileError(f"{name}: the file is empty")
    return data, name


def parse_file(data: bytes, name: str) -> tuple[Dataset, list[str]]:
    """The data set of a file, and what of it was left out because its value is malformed.

    Raises
    ------
    FileError
        If the file is cut off, or cannot be parsed at all.
    """
    from dicom_ml.encoding.untrusted import dcmread

    try:
        FileView(data)
    except CutOff as error:
        raise FileError(f"{name}: the file is cut off: {error}") from error
    except NotLean:
        pass  # pydicom may know better
    problems: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset: Dataset = dcmread(io.BytesIO(data), force=True)
            _convert(dataset, problems, 0)
    except Exception as error:
        raise FileError(f"{name}: cannot be parsed as DICOM: {type(error).__name__}: {error}") from error
    return dataset, problems


def _convert(dataset: Dataset, problems: list[str], depth: int) -> None:
    """Convert every value, and leave out those that cannot be."""
    if depth > _MAX_DEPTH:
        raise FileError(f"sequences are nested more than {_MAX_DEPTH} deep")
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    _convert(item, problems, depth + 1)
        except FileError:
            raise
        except Exception as error:
            # pydicom raises errors of many kinds, which all mean that the value is no such thing
            problems.append(f"element {tag} is malformed and left out ({type(error).__name__})")
            del dataset[tag]
