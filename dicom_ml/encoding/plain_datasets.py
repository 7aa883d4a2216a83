"""Data sets of plain values as bytes: what pydicom's writer gives, in a tenth of its time.

The objects that are written hold codes, texts, UIDs and numbers, hundreds of times over. These are put together here;
whatever else a data set may hold (bytes as they were read, values of ambiguous or unknown VR, texts in other
characters than ASCII or UTF-8, elements of undefined length) is left to pydicom, one data set at a time.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dicom_ml.encoding.element_bytes import LONG_FORM, LONGEST_SHORT, element_bytes, item_bytes

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["plain_bytes"]

_ASCII_TEXT = frozenset(["AE", "AS", "CS", "DA", "DT", "TM", "UI", "UR"])
_NATIONAL_TEXT = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
_BYTES = frozenset(["OB", "OW"])
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_KNOWN = _ASCII_TEXT | _NATIONAL_TEXT | _NUMBERS.keys() | _BYTES | {"SQ", "DS", "IS", "AT"}
_CHARACTER_SET, _SIGNED, _FILE_META = 0x00080005, 0x00280103, 0x0002FFFF
_TAG = struct.Struct("<HH").pack
#: Character sets whose texts are written here: UTF-8, and those that have ASCII for ASCII.
_ENCODINGS = {"ISO_IR 192": "utf-8"} | dict.fromkeys(
    ["", "iso8859", "GB18030", "GBK", *(f"ISO_IR {n}" for n in (6, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166))],
    "ascii",
)


class _NotPlainError(Exception):
    """The data set holds what pydicom has to write."""


def plain_bytes(dataset: Dataset, character_set: Any) -> bytes | None:
    """The data set in explicit VR little endian with defined lengths; None where pydicom has to write it.

    Parameters
    ----------
    dataset : Dataset
    character_set : str or list of str
        Specific Character Set in force around the data set.
    """
    try:
        return _dataset(dataset, character_set)
    except (_NotPlainError, TypeError, UnicodeEncodeError, struct.error):
        return None


def _dataset(dataset: Dataset, character_set: Any) -> bytes:
    elements: list[tuple[int, Any]] = sorted(
        ((int(tag), element) for tag, element in dataset.items()), key=itemgetter(0)
    )
    parts: list[bytes] = []
    own = dataset.get(_CHARACTER_SET)
    if own is not None:
        character_set = own.value
    encoding = _ENCODINGS.get(character_set or "") if character_set is None or isinstance(character_set, str) else None
    for tag, element in elements:
        if element.is_raw or element.is_undefined_length or tag <= _FILE_META:
            raise _NotPlainError
        if not tag & 0xFFFF:
            continue  # group lengths are retired (PS3.5 7.2)
        vr: str = element.VR
        value: Any = element.value
        if vr == "US or SS" and tag >> 16 == 0x0028 and (signed := dataset.get(_SIGNED)) is not None:
            vr = "SS" if signed.value else "US"  # as Pixel Representation says
        if vr not in _KNOWN:
            raise _NotPlainError
        if vr == "SQ":
            content = b"".join(_item(item, character_set) for item in value or ())
        elif value is None or (isinstance(value, str) and not value):
            content = b""
        elif vr in _ASCII_TEXT:
            content = _text(value).encode("ascii")
        elif vr in _NATIONAL_TEXT:
            if encoding is None:
                raise _NotPlainError
            content = _text(value, person=vr == "PN").encode(encoding)
        elif vr in _NUMBERS:
            values = value if hasattr(value, "append") else (value,)
            if vr == "SS" and len(values) > 1:
                raise _NotPlainError  # descriptors of lookup tables are partly unsigned
            content = struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
        elif vr == "AT":
            tags = value if hasattr(value, "append") else (value,)
            content = b"".join(_TAG(t >> 16, t & 0xFFFF) for t in tags)
        elif vr in _BYTES:
            if not isinstance(value, bytes):
                raise _NotPlainError
            content = value
        else:  # DS, IS: as they were read, or as Python writes the number
            values = value if hasattr(value, "append") else (value,)
            texts = (v.original_string if hasattr(v, "original_string") else str(v) for v in values)
            content = "\\".join(texts).encode("ascii")
        if len(content) > LONGEST_SHORT and vr not in LONG_FORM:
            raise _NotPlainError  # which pydicom writes as UN
        parts.append(element_bytes(tag, vr, content))
    return b"".join(parts)


def _item(item: Dataset, character_set: Any) -> bytes:
    if getattr(item, "is_undefined_length_sequence_item", False):
        raise _NotPlainError
    return item_bytes(_dataset(item, character_set))


def _text(value: Any, *, person: bool = False) -> str:
    """Text of one value, or of several."""
    if isinstance(value, str):
        return value
    if person and not hasattr(value, "append"):
        return str(value)
    if not hasattr(value, "append") and not isinstance(value, tuple):
        raise _NotPlainError
    parts = [str(part) if person else part for part in value]
    if not all(isinstance(part, str) for part in parts):
        raise _NotPlainError
    return "\\".join(parts)
