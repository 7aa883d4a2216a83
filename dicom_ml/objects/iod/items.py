"""Data sets that are only looked at: elements stay bytes until they are asked for, and nothing is kept twice.

A report of five hundred findings has a hundred thousand elements. Where a file's bytes can be walked with certainty,
an :class:`Item` stands in for a pydicom Dataset with the little of its interface that checks need: ``tag in item``,
``item.get(keyword)``, ``item[tag]`` and ``item.keys()``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, KeysView
from functools import lru_cache
from typing import Any

import numpy as np

from dicom_ml.encoding.elements import Buffer, NotLean, Place, elements_of, items_of

__all__ = ["BULK", "Element", "Item", "Items"]

#: VRs whose values are bytes, however long.
BULK = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_NUMBERS = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "FL": "<f4", "FD": "<f8", "UV": "<u8", "SV": "<i8"}
_WHOLE_TEXTS = ("LT", "ST", "UT", "UR")
_CHARACTER_SET = 0x00080005
_UTF_8 = "ISO_IR 192"


class Items(list["Item"]):
    """Items of a sequence."""


class DecimalText(float):
    """A number of a DS or IS element that knows how it is written."""

    original_string: str

    def __str__(self) -> str:
        return self.original_string


@lru_cache(maxsize=8192)
def tag_of(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    return int(tag_for_keyword(keyword) or 0)


@lru_cache(maxsize=8192)
def _vr_of(tag: int) -> str:
    """VR of a tag in implicit files; of those that depend on others the first, UN where it is not known."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag).split(" or ")[-1 if tag >> 16 == 0x7FE0 else 0]
    except KeyError:
        return "UN"


class Element:
    """An element of an item; the value is decoded when it is asked for."""

    __slots__ = ("VR", "_known", "_length", "_place", "_value")

    def __init__(self, vr: str, data: Buffer, offset: int, length: int, implicit: bool, encoding: str) -> None:
        self.VR = vr
        self._length = length
        self._place = (data, offset, implicit, encoding)  # and not the item, which would keep itself alive
        self._known, self._value = False, None

    @property
    def is_empty(self) -> bool:
        if self.VR == "SQ":
            return not self.value
        return self._length == 0 or (self.VR not in _NUMBERS and self.VR not in BULK and self.value in (None, ""))

    @property
    def value(self) -> Any:
        """As pydicom gives it: one value, or a list of several; None where empty.

        Raises
        ------
        NotLean, ValueError, struct.error
            If the bytes are no such value.
        """
        if not self._known:
            data, offset, implicit, encoding = self._place
            self._value = _decoded(self.VR, data, offset, self._length, implicit, encoding)
            self._known = True
        return self._value

    @property
    def VM(self) -> int:
        value = self.value
        if self.VR == "SQ" or isinstance(value, bytes):
            return 1
        return len(value) if isinstance(value, list) else 0 if value is None else 1


class Item:
    """An item, or a whole data set, over the bytes of a file.

    Parameters
    ----------
    data : bytes-like
    places : dict
        Of the elements by their tags.
    implicit : bool
        Whether elements carry no VR.
    encoding : str
        Of text.
    span : tuple of int
        Where the item lies in the file.
    """

    __slots__ = ("_data", "_elements", "_encoding", "_implicit", "_places", "_span")

    def __init__(
        self, data: Buffer, places: dict[int, Place], implicit: bool, encoding: str = "", span: tuple[int, int] = (0, 0)
    ) -> None:
        self._data, self._places, self._implicit, self._span = data, places, implicit, span
        self._elements: dict[int, Element] = {}
        self._encoding = encoding or "latin-1"
        if not encoding and _CHARACTER_SET in places:
            self._encoding = "utf-8" if _UTF_8 in str(self[_CHARACTER_SET].value) else "latin-1"

    @classmethod
    def of_bytes(cls, data: Buffer, start: int, end: int, implicit: bool, encoding: str = "") -> Item:
        """The item whose content lies between two places.

        Raises
        ------
        NotLean
            If the bytes are no elements.
        """
        return cls(data, dict(elements_of(data, start, end, implicit)), implicit, encoding, (start, end))

    def put(self, tag: int, vr: str, data: bytes) -> None:
        """An element of its own bytes, in place of what the file has."""
        self._elements[tag] = Element(vr, data, 0, len(data), False, self._encoding)
        self._places[tag] = (vr.encode(), 0, len(data))

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        return bytes(self._data[self._span[0] : self._span[1]])

    @property
    def size(self) -> int:
        return self._span[1] - self._span[0]

    # ------------------------------------------------------------------ as a data set
    def __contains__(self, name: object) -> bool:
        tag = tag_of(name) if isinstance(name, str) else name
        return tag in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def keys(self) -> KeysView[int]:
        return self._places.keys()

    def __getitem__(self, name: int | str) -> Element:
        tag = tag_of(name) if isinstance(name, str) else int(name)
        found = self._elements.get(tag)
        if found is None:
            vr, offset, length = self._places[tag]
            kind = _vr_of(tag) if vr is None else vr.decode("latin-1")
            found = Element(kind, self._data, offset, length, self._implicit, self._encoding)
            self._elements[tag] = found
        return found

    def __delitem__(self, tag: int) -> None:
        del self._places[tag]
        self._elements.pop(tag, None)

    def get(self, name: int | str, default: Any = None) -> Any:
        """Value of an element."""
        return self[name].value if name in self else default


# ---------------------------------------------------------------------- values
def _decoded(vr: str, data: Buffer, offset: int, length: int, implicit: bool, encoding: str) -> Any:
    if vr == "SQ":
        spans = items_of(data, offset, length, implicit)
        return Items(Item.of_bytes(data, start, end, implicit, encoding) for start, end in spans)
    if offset + length > len(data):
        raise NotLean("an element reaches past the end of the file")
    raw = bytes(data[offset : offset + length])
    if vr in BULK:
        return raw
    if not raw:
        return None
    if vr in _NUMBERS:
        values: list[Any] = np.frombuffer(raw, _NUMBERS[vr]).tolist()
    elif vr == "AT":
        words = struct.unpack(f"<{len(raw) // 2}H", raw)
        values = [words[i] << 16 | words[i + 1] for i in range(0, len(words), 2)]
    else:
        values = _texts(raw, vr, encoding)
    return values[0] if len(values) == 1 else values


@lru_cache(maxsize=8192)
def _text(raw: bytes, encoding: str) -> str:
    return raw.decode(encoding, errors="replace")


def _texts(raw: bytes, vr: str, encoding: str) -> list[Any]:
    text = _text(raw, encoding).rstrip("\0 ")
    if vr in _WHOLE_TEXTS:
        return [text]
    parts = text.split("\\")
    if vr not in ("DS", "IS"):
        return [part.rstrip(" \0") for part in parts]
    return [_decimal(part) for part in parts]


def _decimal(part: str) -> Any:
    """A number, or the text where it is none."""
    try:
        number = DecimalText(part)
    except ValueError:
        return part
    number.original_string = part
    return number
