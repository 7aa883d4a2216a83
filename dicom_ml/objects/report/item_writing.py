"""Content items to bytes, once and straight: explicit VR little endian with defined lengths (PS3.3 C.17.3).

Text is written in UTF-8; :attr:`Encoder.plain` says whether ASCII would have been enough.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from dicom_ml.codes import Code, code_to_dataset
from dicom_ml.encoding.writer import dataset_bytes, element_bytes
from dicom_ml.errors import CodeError, EncodingError
from dicom_ml.objects.report.items import ContentItem, Graphic, Number, Reference, TemporalExtent

__all__ = ["Encoder", "decimal_string"]

_ITEM = b"\xfe\xff\x00\xe0"
_LENGTH = struct.Struct("<I").pack
_SHORT = struct.Struct("<H").pack
_CONTENT = b"\x40\x00\x30\xa7SQ\0\0"  # Content Sequence
_MEASURED = b"\x40\x00\x00\xa3SQ\0\0"  # Measured Value Sequence
_REFERENCED = b"\x08\x00\x99\x11SQ\0\0"  # Referenced SOP Sequence
_NUMERIC = b"\x40\x00\x0a\xa3DS"  # Numeric Value
_DOUBLE = b"\x40\x00\x61\xa1FD\x08\0"  # Floating Point Value
_TEXT = b"\x40\x00\x60\xa1UT\0\0"  # Text Value
_UID = b"\x40\x00\x24\xa1UI"  # UID
_GRAPHIC_DATA = b"\x70\x00\x22\x00FL"
_NAME, _VALUE, _UNIT, _QUALIFIER = 0x0040A043, 0x0040A168, 0x004008EA, 0x0040A301
_MAX_POINTS = {2: 65532 // 8, 3: 65532 // 12}  # the 16-bit length of an FL element


def decimal_string(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2), as near to the value as those allow."""
    number = float(value)
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    text = repr(number)
    if len(text) <= 16:
        return text
    for digits in range(15, 5, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16 and math.isfinite(float(text)):  # the largest numbers must not be rounded up
            return text
    raise EncodingError(f"{value!r} is no number that a decimal string could hold")


@lru_cache(maxsize=8192)
def _code_sequence(tag: int, value: str, scheme: str, meaning: str, version: str | None) -> tuple[bytes, bool]:
    dataset = code_to_dataset(Code(value, scheme, meaning, version))
    content = dataset_bytes(dataset, "ISO_IR 192")
    return element_bytes(tag, "SQ", _ITEM + _LENGTH(len(content)) + content), meaning.isascii()


@lru_cache(maxsize=256)
def _head(relationship: str, value_type: str) -> tuple[bytes, bytes]:
    first = element_bytes(0x0040A010, "CS", relationship.encode()) if relationship else b""
    return first, element_bytes(0x0040A040, "CS", value_type.encode())


@lru_cache(maxsize=64)
def _template(identifier: str) -> bytes:
    resource = element_bytes(0x00080105, "CS", b"DCMR") + element_bytes(0x0040DB00, "CS", identifier.encode())
    return element_bytes(0x0040A504, "SQ", _ITEM + _LENGTH(len(resource)) + resource)


@lru_cache(maxsize=65536)
def _reference(value: Reference) -> bytes:
    content = element_bytes(0x00081150, "UI", value.sop_class_uid.encode())
    content += element_bytes(0x00081155, "UI", value.sop_instance_uid.encode())
    if value.frames:
        content += element_bytes(0x00081160, "IS", "\\".join(map(str, value.frames)).encode())
    if value.presentation is not None:
        content += _reference(value.presentation)
    if value.channels:
        content += element_bytes(0x0040A0B0, "US", struct.pack(f"<{len(value.channels)}H", *value.channels))
    if value.segments:
        content += element_bytes(0x0062000B, "US", struct.pack(f"<{len(value.segments)}H", *value.segments))
    return _REFERENCED + _LENGTH(len(content) + 8) + _ITEM + _LENGTH(len(content)) + content


class Encoder:
    """Writes content items, and keeps what the document has to know of them.

    Attributes
    ----------
    plain : bool
        Whether all text so far was ASCII.
    references : dict
        SOP Instance UID to the first :class:`Reference` to it, in order of first use.
    """

    def __init__(self) -> None:
        self.plain = True
        self.references: dict[str, Reference] = {}
        self._writers: dict[str, Callable[[ContentItem], tuple[bytes, bytes, bytes]]] = {
            "CONTAINER": self._container,
            "TEXT": self._text,
            "NUM": self._number,
            "CODE": self._code,
            "UIDREF": self._uid,
            "DATETIME": self._date_time,
            "DATE": self._date_time,
            "TIME": self._date_time,
            "PNAME": self._person,
            "SCOORD": self._graphic,
            "SCOORD3D": self._graphic,
            "TCOORD": self._temporal,
            "COMPOSITE": self._object,
            "IMAGE": self._object,
            "WAVEFORM": self._object,
        }

    def code(self, tag: int, code: Code) -> bytes:
        """A code sequence element of one item."""
        data, plain = _code_sequence(tag, code.value, code.scheme, code.meaning, code.version)
        self.plain = self.plain and plain
        return data

    def content(self, items: Sequence[ContentItem]) -> bytes:
        """A Content Sequence; nothing where there are no items."""
        if not items:
            return b""
        parts = [b""]
        for item in items:
            data = self.item(item)
            parts.append(_ITEM + _LENGTH(len(data)))
            parts.append(data)
        body = b"".join(parts)
        return _CONTENT + _LENGTH(len(body)) + body

    def item(self, item: ContentItem) -> bytes:
        """The elements of one content item, those of its children included."""
        try:
            write = self._writers[item.value_type]
        except KeyError:
            raise EncodingError(
                f"an item of value type {item.value_type or '(none)'} cannot be written; known are "
                + ", ".join(self._writers)
            ) from None
        before, value, after = write(item)
        relationship, kind = _head(item.relationship, item.value_type)
        name = b"" if item.name is None else self.code(_NAME, item.name)
        observed = element_bytes(0x0040A032, "DT", item.observed.encode()) if item.observed else b""
        children = self.content(item.children) if item.children else b""
        return b"".join((before, relationship, observed, kind, name, value, children, after))

    # Each returns the elements that come before the relationship, those after the name, and those after the children.
    def _container(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        continuity = _continuity(item.continuity or "SEPARATE")
        return b"", continuity + (_template(item.template) if item.template else b""), b""

    def _text(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        text = str(item.value)
        if not text.strip():
            raise EncodingError(f"the text of {_named(item)} is empty; leave the item out instead")
        if not text.isprintable() and any(ord(c) < 32 and c not in "\t\n\f\r" for c in text):
            raise EncodingError(f"the text of {_named(item)} holds control characters")
        data = text.encode()
        self.plain = self.plain and text.isascii()
        if len(data) % 2:
            data += b" "
        return b"", _TEXT + _LENGTH(len(data)) + data, b""

    def _uid(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        data = str(item.value).encode()
        if not data or len(data) > 64 or data.strip(b"0123456789."):
            raise EncodingError(f"{item.value!r} is no UID ({_named(item)})")
        if len(data) % 2:
            data += b"\0"
        return b"", _UID + _SHORT(len(data)) + data, b""

    def _code(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        if not isinstance(item.value, Code):
            raise CodeError(f"{_named(item)} has {item.value!r} where a Code was expected")
        return b"", self.code(_VALUE, item.value), b""

    def _number(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        number: Number = item.value
        qualifier = b"" if number.qualifier is None else self.code(_QUALIFIER, number.qualifier)
        if number.value is None or not math.isfinite(number.value):
            if number.qualifier is None:
                raise EncodingError(f"{_named(item)} has no finite value, and no qualifier that says why")
            return b"", _MEASURED + b"\0\0\0\0" + qualifier, b""
        if number.unit is None:
            raise EncodingError(f"{_named(item)} has no unit; '1' stands for none")
        value = float(number.value)
        text = decimal_string(value)
        data = text.encode()
        if len(data) % 2:
            data += b" "
        content = self.code(_UNIT, number.unit)
        if float(text) != value:  # PS3.3 Table C.18.1-1: where the string has too few digits
            content += _DOUBLE + struct.pack("<d", value)
        content += _NUMERIC + _SHORT(len(data)) + data
        size = len(content)
        return b"", _MEASURED + _LENGTH(size + 8) + _ITEM + _LENGTH(size) + content + qualifier, b""

    def _date_time(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        tag, vr = {"DATETIME": (0x0040A120, "DT"), "DATE": (0x0040A121, "DA"), "TIME": (0x0040A122, "TM")}[
            item.value_type
        ]
        return b"", element_bytes(tag, vr, str(item.value).encode()), b""

    def _person(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        text = str(item.value)
        self.plain = self.plain and text.isascii()
        return b"", element_bytes(0x0040A123, "PN", text.encode()), b""

    def _graphic(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        graphic: Graphic = item.value
        points = graphic.points
        dimensions = 3 if item.value_type == "SCOORD3D" else 2
        if points.ndim != 2 or points.shape[1] != dimensions or not len(points) or not np.isfinite(points).all():
            raise EncodingError(f"{_named(item)} needs finite points of {dimensions} coordinates")
        if len(points) > _MAX_POINTS[dimensions]:
            raise EncodingError(
                f"{_named(item)} has {len(points)} points, but one item holds at most {_MAX_POINTS[dimensions]}; "
                "simplify the outline, or write a segmentation and refer to it"
            )
        data = points.astype("<f4").tobytes()
        value = _GRAPHIC_DATA + _SHORT(len(data)) + data + _graphic_type(graphic.kind)
        if dimensions == 3:
            if not graphic.frame_of_reference_uid:
                raise EncodingError(f"{_named(item)} lies in millimetres but the source has no frame of reference")
            return b"", b"", value + element_bytes(0x30060024, "UI", graphic.frame_of_reference_uid.encode())
        origin = element_bytes(0x00480301, "CS", graphic.origin.encode()) if graphic.origin else b""
        return b"", b"", origin + value

    def _temporal(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        extent: TemporalExtent = item.value
        data = element_bytes(0x0040A130, "CS", extent.kind.encode())
        if extent.samples:
            data += element_bytes(0x0040A132, "UL", struct.pack(f"<{len(extent.samples)}I", *extent.samples))
        elif extent.offsets:
            data += element_bytes(0x0040A138, "DS", "\\".join(map(decimal_string, extent.offsets)).encode())
        else:
            data += element_bytes(0x0040A13A, "DT", "\\".join(extent.datetimes).encode())
        return b"", data, b""

    def _object(self, item: ContentItem) -> tuple[bytes, bytes, bytes]:
        reference: Reference = item.value
        self.references.setdefault(reference.sop_instance_uid, reference)
        if reference.presentation is not None:
            self.references.setdefault(reference.presentation.sop_instance_uid, reference.presentation)
        return _reference(reference), b"", b""


@lru_cache(maxsize=8)
def _continuity(value: str) -> bytes:
    return element_bytes(0x0040A050, "CS", value.encode())


@lru_cache(maxsize=16)
def _graphic_type(kind: str) -> bytes:
    return element_bytes(0x00700023, "CS", kind.encode())


def _named(item: ContentItem) -> str:
    return f"the {item.value_type} item {item.name.meaning if item.name is not None else '(without a name)'!r}"
