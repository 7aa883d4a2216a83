"""Data elements, items and sequences as bytes, in explicit VR little endian with defined lengths (PS3.5 7.1.2, 7.5)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from dicom_ml.errors import EncodingError

__all__ = ["ITEM", "LONGEST_SHORT", "LONG_FORM", "MAX_LENGTH", "element_bytes", "item_bytes", "sequence_bytes"]

#: VRs whose length has four bytes.
LONG_FORM = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
MAX_LENGTH, LONGEST_SHORT = 0xFFFFFFFE, 0xFFFE
#: What items begin with.
ITEM = b"\xfe\xff\x00\xe0"
_PADDED_WITH_ZERO = frozenset(["UI", "OB", "OW", "UN"])
_SHORT_HEAD, _LONG_HEAD = struct.Struct("<HH2sH").pack, struct.Struct("<HH2sHI").pack


def element_bytes(tag: int, vr: str, value: bytes) -> bytes:
    """One data element in explicit VR little endian; odd values are padded as their VR asks (PS3.5 6.2)."""
    if len(value) % 2:
        value += b"\0" if vr in _PADDED_WITH_ZERO else b" "
    if vr in LONG_FORM:
        if len(value) > MAX_LENGTH:
            raise EncodingError(f"element {tag:08X} would hold {len(value)} bytes; the limit is 4 GiB")
        return _LONG_HEAD(tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value)) + value
    if len(value) > LONGEST_SHORT:
        raise EncodingError(f"element {tag:08X} of VR {vr} would hold {len(value)} bytes; the limit is 65534")
    return _SHORT_HEAD(tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def item_bytes(content: bytes) -> bytes:
    """One sequence item of defined length."""
    return ITEM + struct.pack("<I", len(content)) + content


def sequence_bytes(tag: int, contents: Iterable[bytes]) -> bytes:
    """A sequence element whose items hold ``contents``."""
    return element_bytes(tag, "SQ", b"".join(map(item_bytes, contents)))
