"""A local folder as a store."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_ml.errors import StoreError
from dicom_ml.stores.base import ByteStore, Listed

__all__ = ["LocalStore"]


class LocalStore(ByteStore):
    """Files under a folder. Names that lead out of it are refused."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.realpath(folder)
        self.address = Path(self.folder).as_uri()

    def list(self) -> list[Listed]:
        """All files, ordered by name."""
        found = []
        for where, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if name.startswith("."):
                    continue
                path = os.path.join(where, name)
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # gone since the folder was listed
                relative = os.path.relpath(path, self.folder).replace(os.sep, "/")
                found.append(Listed(relative, status.st_size, str(status.st_mtime_ns)))
        return sorted(found, key=lambda file: file.name)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file."""
        try:
            with open(self._path(name), "rb") as handle:
                handle.seek(offset)
                return handle.read(-1 if length is None else length)
        except OSError as error:
            raise StoreError(f"{name} cannot be read: {error.strerror}") from error

    def size(self, name: str) -> int:
        """Bytes of a file."""
        try:
            return os.path.getsize(self._path(name))
        except OSError as error:
            raise StoreError(f"{name} cannot be read: {error.strerror}") from error

    def _path(self, name: str) -> str:
        path = os.path.realpath(os.path.join(self.folder, name))
        if os.path.commonpath([path, self.folder]) != self.folder:
            raise StoreError(f"{name} leads out of the folder of its store")
        return path
