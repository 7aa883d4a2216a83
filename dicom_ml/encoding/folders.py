"""Files below a folder that may be DICOM."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["files_below"]


def files_below(place: str | os.PathLike[str]) -> Iterator[str]:
    """Files of a folder and its subfolders, in a stable order; a file gives itself.

    Hidden files and folders and DICOMDIR are left out, and links to folders are not followed.
    """
    if not os.path.isdir(place):
        yield os.fspath(place)
        return
    for where, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield os.path.join(where, name)
