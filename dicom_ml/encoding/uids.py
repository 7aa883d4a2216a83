"""Unique identifiers: new ones, and ones derived from what they identify."""

from __future__ import annotations

import hashlib
import uuid

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "derived_uid", "new_uid"]

#: Root of all names that this software derives UIDs from.
_NAMESPACE = uuid.UUID("5b0a6b3e-3f0c-5d0e-9c62-7d1b0a4f6c11")
#: Identifies this implementation in file meta information (PS3.10 7.1, PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID = f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}"
IMPLEMENTATION_VERSION_NAME = "DICOM_ML_0"


def new_uid() -> str:
    """A fresh UID, made from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def derived_uid(*parts: str | bytes | int | float | None) -> str:
    """A UID that depends only on ``parts``: the same parts give the same UID, in any process and on any machine.

    It is a name-based UUID (RFC 4122 version 5) over a hash of the parts, written as PS3.5 B.2 says.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest.hexdigest()).int}"
