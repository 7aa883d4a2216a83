"""From an address to its store."""

from __future__ import annotations

from functools import lru_cache

from dicom_ml.errors import StoreError
from dicom_ml.stores.addresses import kind_of, local_path, printable
from dicom_ml.stores.base import ByteStore

__all__ = ["open_store"]


@lru_cache(maxsize=64)
def open_store(address: str) -> ByteStore:
    """The store of files at an address.

    Parameters
    ----------
    address : str
        ``file:///folder/``, ``s3://bucket/prefix/``, ``gs://...``, ``az://...``, or ``https://host/file.dcm``.
        ``s3+http://host:port/bucket/prefix/`` (and ``s3+https``) is an S3-like server of one's own.

    Raises
    ------
    StoreError
        If the address is none of these.
    MissingPackageError
        If obstore is not installed.
    """
    kind = kind_of(address)
    if kind == "dicomweb":
        raise StoreError(f"{printable(address)} is a DICOMweb resource, no store of files")
    if kind == "file":
        from dicom_ml.stores.local import LocalStore

        return LocalStore(local_path(address))
    from dicom_ml.stores.objects import ObjectStore

    return ObjectStore(address)
