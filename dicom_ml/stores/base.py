"""What every store of bytes can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

__all__ = ["ByteStore", "Listed"]


@dataclass(frozen=True)
class Listed:
    """One file of a store.

    Attributes
    ----------
    name : str
        Relative to the store's address, parts divided by ``/``.
    size : int
        Bytes.
    version : str
        Changes when the content does (an ETag); may be empty.
    """

    name: str
    size: int
    version: str = ""


class ByteStore(ABC):
    """Files under an address, listed and read in ranges. Pickles by its address; is safe in threads and after fork.

    Every method raises :class:`dicom_ml.StoreError` where the store cannot be reached or refuses, after the retries
    that make sense.
    """

    address: str

    @abstractmethod
    def list(self) -> list[Listed]:
        """All files, ordered by name. Hidden ones (any part of the name begins with a dot) are left out."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file from ``offset``; ``length`` of them, or fewer where the file ends before, or all."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file."""

    def __repr__(self) -> str:
        from dicom_ml.stores.addresses import printable

        return f"{type(self).__name__}({printable(self.address)})"
