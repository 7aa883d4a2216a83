"""What an address names: an object store, a DICOMweb resource, or a local file."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from dicom_ml.errors import StoreError

__all__ = ["is_address", "kind_of", "local_path", "printable"]

Kind = Literal["file", "object", "dicomweb"]

_OBJECT_SCHEMES = frozenset(
    ["s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "memory", "s3+http", "s3+https"]
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_STUDIES = re.compile(r"/studies(/|$)")


def is_address(text: str) -> bool:
    """Whether a text is an address (``scheme://...``) and no path."""
    return _SCHEME.match(text) is not None


def kind_of(address: str) -> Kind:
    """What kind of place an address names.

    Raises
    ------
    StoreError
        If the scheme is not known, or the address holds a password.
    """
    parts = urlsplit(address)
    scheme = parts.scheme.lower()
    if parts.password is not None or (parts.username and scheme in ("http", "https")):
        raise StoreError(
            f"{printable(address)}: an address must not hold a user or password; put them into the environment "
            "(DICOM_ML_DICOMWEB_TOKEN, or DICOM_ML_DICOMWEB_USER and DICOM_ML_DICOMWEB_PASSWORD)"
        )
    if scheme == "file":
        return "file"
    if scheme in _OBJECT_SCHEMES:
        return "object"
    if scheme in ("http", "https"):
        return "dicomweb" if _STUDIES.search(parts.path) else "object"
    raise StoreError(
        f"{printable(address)}: addresses of scheme {scheme}:// are not known; expected s3://, gs://, az://, file://, "
        "or a DICOMweb series (https://.../studies/UID/series/UID)"
    )


def local_path(address: str) -> str:
    """Path of a ``file://`` address.

    Raises
    ------
    StoreError
        If it names another machine.
    """
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"{printable(address)} names a file of another machine; give the path where it is mounted")
    return url2pathname(unquote(parts.path)) if "%" in parts.path else url2pathname(parts.path)


def printable(address: str) -> str:
    """An address as messages show it: without credentials and query, which may be one."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
