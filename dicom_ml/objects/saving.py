"""How objects are saved: whole or not at all, and, where asked for, only if they conform."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from dicom_ml.encoding.writer import atomic_file

if TYPE_CHECKING:
    from dicom_ml.source import SourceSeries

__all__ = ["saved_file"]


@contextmanager
def saved_file(path: str | os.PathLike[str], source: SourceSeries | None, validate: bool) -> Iterator[BinaryIO]:
    """As :func:`dicom_ml.encoding.writer.atomic_file`; an object with errors does not take its name.

    Raises
    ------
    EncodingError
        If ``validate`` and the complete file has an error; see :func:`dicom_ml.validate`.
    """
    if not validate:
        with atomic_file(path) as file:
            yield file
        return
    from dicom_ml.objects.iod import validated  # its tables are loaded when they are used

    with validated(source), atomic_file(path) as file:
        yield file
