"""Content items from bytes, of any maker: what is missing or broken in one item never stops the next.

Items are walked with the lean scanner; code sequences, which are most of a report, are understood once for each that
differs.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, lookup_meaning
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.elements import NotLean, Place, elements_of, items_of
from dicom_ml.encoding.writer import dataset_bytes, file_head
from dicom_ml.errors import FileError
from dicom_ml.objects.report.items import ContentItem, Graphic, Number, Reference, TemporalExtent

__all__ = ["Decoder", "explicit_bytes"]

_RELATIONSHIP, _OBSERVED, _KIND, _NAME, _CONTINUITY = 0x0040A010, 0x0040A032, 0x0040A040, 0x0040A043, 0x0040A050
_VALUE, _TEXT, _UID, _PERSON = 0x0040A168, 0x0040A160, 0x0040A124, 0x0040A123
_MEASURED, _QUALIFIER, _UNIT, _NUMERIC, _DOUBLE = 0x0040A300, 0x0040A301, 0x004008EA, 0x0040A30A, 0x0040A161
_CONTENT, _TEMPLATE, _TEMPLATE_ID, _TARGET = 0x0040A730, 0x0040A504, 0x0040DB00, 0x0040DB73
_DATA, _TYPE, _FRAME_OF_REFERENCE, _ORIGIN = 0x00700022, 0x00700023, 0x30060024, 0x00480301
_REFERENCED, _CLASS, _INSTANCE = 0x00081199, 0x00081150, 0x00081155
_FRAMES, _CHANNELS, _SEGMENTS = 0x00081160, 0x0040A0B0, 0x0062000B
_TIMES = {"DATETIME": 0x0040A120, "DATE": 0x0040A121, "TIME": 0x0040A122}
_EXTENT, _SAMPLES, _OFFSETS, _DATETIMES = 0x0040A130, 0x0040A132, 0x0040A138, 0x0040A13A
_POINT_TYPES = {b"FL": "<f4", b"OF": "<f4", b"FD": "<f8", b"OD": "<f8"}
_MAX_DEPTH = 100

#: Bytes of an item that is worth being remembered, and the elements that it may have.
_SHORT, _OF_SHORT = 512, frozenset({_RELATIONSHIP, _KIND, _NAME, _VALUE, _TEXT, _UID})
#: What items begin with, and how many bytes of it tell most beginnings apart.
_BEGINNING, _TELLING = (_RELATIONSHIP, _KIND, _NAME), 64

Fields = dict[int, Place]
_ITEM = b"\xfe\xff\x00\xe0"
_HEAD, _WIDE = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from
_WIDE_VRS = frozenset({b"SQ", b"UT", b"UC", b"UR", b"UN", b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SV", b"UV"})
_NARROW_VRS = frozenset({b"CS", b"LO", b"SH", b"UI", b"DS", b"FL", b"FD", b"PN", b"DA", b"TM", b"DT", b"US", b"UL"})


def _fields(data: bytes, start: int, end: int) -> Fields:
    """Elements of an item by tag: at once where their lengths are given, else as :func:`elements_of` finds them."""
    found: Fields = {}
    position = start
    while position + 8 <= end:
        group, element, vr, length = _HEAD(data, position)
        position += 8
        if vr in _WIDE_VRS:
            if position + 4 > end:
                break
            length = _WIDE(data, position)[0]
            position += 4
        elif vr not in _NARROW_VRS:
            break
        after = position + length
        if after > end:
            break
        found[group << 16 | element] = vr, position, length
        position = after
    return found if position == end else dict(elements_of(data, start, end, False))


class Decoder:
    """Reads content items from the bytes of a data set in explicit VR little endian.

    Parameters
    ----------
    data : bytes
    encodings : list of str
        Python names of the character sets in force, the first of them by default.
    evidence : dict
        SOP Instance UID of each object listed as evidence -> its series and study, which references then carry.
    """

    def __init__(self, data: bytes, encodings: list[str], evidence: dict[str, tuple[str, str]]) -> None:
        self._evidence = evidence
        self._data = data
        self._encodings = encodings
        self._texts: dict[bytes, str] = {}
        self._codes: dict[bytes, Code | None] = {}
        self._references: dict[bytes, Reference | None] = {}
        self._alike: dict[bytes, tuple[str, Code | None, Any, str]] = {}
        self._beginnings: dict[bytes, tuple[bytes, str, Code | None, str]] = {}
        self._values: dict[str, Callable[[Fields], Any]] = {
            "TEXT": lambda fields: self._string(fields, _TEXT),
            "UIDREF": lambda fields: self._string(fields, _UID),
            "PNAME": lambda fields: self._string(fields, _PERSON),
            "CODE": lambda fields: self._code(fields, _VALUE),
            "NUM": self._number,
            "SCOORD": lambda fields: self._graphic(fields, 2),
            "SCOORD3D": lambda fields: self._graphic(fields, 3),
            "TCOORD": self._temporal,
            "IMAGE": self._reference,
            "COMPOSITE": self._reference,
            "WAVEFORM": self._reference,
            **{kind: lambda fields, tag=tag: self._string(fields, tag) for kind, tag in _TIMES.items()},  # type: ignore[misc]
        }

    def root(self, places: Fields) -> ContentItem:
        """The root item, whose elements are those of the data set itself.

        Raises
        ------
        FileError
            If items are nested beyond all sense, or are cut off.
        """
        try:
            return self._item(places, 0)
        except NotLean as error:
            raise FileError(f"the content of the report is damaged: {error}") from error

    def _item(self, fields: Fields, depth: int) -> ContentItem:
        name = self._code(fields, _NAME) if _NAME in fields else None
        item = ContentItem(self._plain(fields, _KIND), name, None, self._plain(fields, _RELATIONSHIP))
        return self._filled(item, fields, depth)

    def _filled(self, item: ContentItem, fields: Fields, depth: int) -> ContentItem:
        """The item with its value and what lies below it."""
        if depth > _MAX_DEPTH:
            raise FileError(f"content items are nested more than {_MAX_DEPTH} deep")
        read = self._values.get(item.value_type)
        if read is not None:
            item.value = read(fields)
        elif not item.value_type and _TARGET in fields:
            item.value = self._integers(fields, _TARGET)
        if _CONTINUITY in fields:
            item.continuity = self._plain(fields, _CONTINUITY)
        if _OBSERVED in fields:
            item.observed = self._plain(fields, _OBSERVED)
        if _TEMPLATE in fields:
            item.template = self._template(fields)
        if _CONTENT in fields:
            _, start, length = fields[_CONTENT]
            children = item.children
            for first, last in items_of(self._data, start, length, False):
                children.append(self._child(first, last, depth + 1))
        return item

    def _child(self, start: int, end: int, depth: int) -> ContentItem:
        """The item between two places; short ones that are alike, as of findings and algorithms, are read once."""
        data = self._data
        raw = data[start:end] if end - start <= _SHORT else b""
        known = self._alike.get(raw)
        if known is not None:
            return ContentItem(*known)
        beginning = self._beginnings.get(data[start : start + _TELLING])
        if beginning is not None and data.startswith(beginning[0], start, end):
            fields = _fields(data, start + len(beginning[0]), end)
            if fields.keys().isdisjoint(_BEGINNING):
                item = ContentItem(beginning[1], beginning[2], None, beginning[3])
                return self._remembered(raw, fields, self._filled(item, fields, depth))
        fields = _fields(data, start, end)
        item = self._item(fields, depth)
        if tuple(fields)[:3] == _BEGINNING:
            _, name, length = fields[_NAME]
            head = data[start : name + length]
            if len(head) >= _TELLING and _WIDE(data, name - 4)[0] == length:  # else an end follows it
                self._beginnings[head[:_TELLING]] = head, item.value_type, item.name, item.relationship
        return self._remembered(raw, fields, item)

    def _remembered(self, raw: bytes, fields: Fields, item: ContentItem) -> ContentItem:
        if raw and not item.children and isinstance(item.value, Code | str) and fields.keys() <= _OF_SHORT:
            self._alike[raw] = (item.value_type, item.name, item.value, item.relationship)
        return item

    # ------------------------------------------------------------------ parts
    def _raw(self, fields: Fields, tag: int) -> bytes:
        place = fields.get(tag)
        if place is None:
            return b""
        return self._data[place[1] : place[1] + place[2]]

    def _plain(self, fields: Fields, tag: int) -> str:
        """Text that is never in a national character set."""
        place = fields.get(tag)
        if place is None:
            return ""
        raw = self._data[place[1] : place[1] + place[2]]
        text = self._texts.get(raw)
        if text is None:
            text = self._texts[raw] = raw.decode("latin-1").strip("\0 ")
        return text

    def _string(self, fields: Fields, tag: int) -> str | None:
        if tag not in fields:
            return None
        return self._decode(self._raw(fields, tag)).rstrip("\0 ")

    def _decode(self, raw: bytes) -> str:
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        from pydicom.charset import decode_bytes

        try:
            return decode_bytes(raw, self._encodings, set(b"\r\n\t\f^="))
        except (LookupError, UnicodeError):
            return raw.decode("latin-1")

    def _first_item(self, fields: Fields, tag: int) -> Fields | None:
        place = fields.get(tag)
        if place is None:
            return None
        data, (_, position, length) = self._data, place
        if length >= 8 and data.startswith(_ITEM, position):
            size = _WIDE(data, position + 4)[0]
            if 8 + size <= length:  # of known length, and within the sequence
                return _fields(data, position + 8, position + 8 + size)
        for start, end in items_of(data, position, length, False):
            return _fields(data, start, end)
        return None

    def _code(self, fields: Fields, tag: int) -> Code | None:
        raw = self._raw(fields, tag)
        try:
            return self._codes[raw]
        except KeyError:
            code = self._codes[raw] = self._read_code(fields, tag)
            return code

    def _read_code(self, fields: Fields, tag: int) -> Code | None:
        parts = self._first_item(fields, tag)
        if parts is None:
            return None
        # Code Value, Long Code Value, URN Code Value
        value = next(filter(None, (self._string(parts, t) for t in (0x00080100, 0x00080119, 0x00080120))), "")
        scheme = self._string(parts, 0x00080102) or ""
        meaning = self._string(parts, 0x00080104) or ""
        if not value:
            return Code(meaning, "", meaning) if meaning else None  # a maker that gives only the meaning
        return Code(value, scheme, meaning or lookup_meaning(value, scheme) or "", self._string(parts, 0x00080103))

    def _integers(self, fields: Fields, tag: int) -> tuple[int, ...]:
        place = fields.get(tag)
        if place is None:
            return ()
        raw = self._raw(fields, tag)
        if place[0] in (b"IS", b"DS"):
            try:
                return tuple(
                    int(float(part)) for part in raw.decode("latin-1").strip("\0 ").split("\\") if part.strip()
                )
            except ValueError:
                return ()
        size = 2 if place[0] in (b"US", b"SS") else 4
        return tuple(int(n) for n in np.frombuffer(raw[: len(raw) // size * size], f"<u{size}"))

    def _template(self, fields: Fields) -> str:
        parts = self._first_item(fields, _TEMPLATE)
        return "" if parts is None else self._plain(parts, _TEMPLATE_ID)

    # ------------------------------------------------------------------ values
    def _number(self, fields: Fields) -> Number:
        qualifier = self._code(fields, _QUALIFIER) if _QUALIFIER in fields else None
        parts = self._first_item(fields, _MEASURED)
        if parts is None:
            return Number(None, None, qualifier)
        text = self._plain(parts, _NUMERIC)
        value: float | None = None
        raw = self._raw(parts, _DOUBLE)
        try:
            value = struct.unpack("<d", raw)[0] if len(raw) == 8 else float(text)
        except ValueError:
            pass
        return Number(value, self._code(parts, _UNIT) if _UNIT in parts else None, qualifier, text or None)

    def _graphic(self, fields: Fields, dimensions: int) -> Graphic | None:
        place = fields.get(_DATA)
        if place is None:
            return None
        raw = self._raw(fields, _DATA)
        points: npt.NDArray[np.float64]
        kind = _POINT_TYPES.get(place[0] or b"")
        try:
            if kind is None:
                points = np.array([float(p) for p in raw.decode("latin-1").strip("\0 ").split("\\")])
            else:
                points = np.frombuffer(raw[: len(raw) // int(kind[2]) * int(kind[2])], kind).astype(np.float64)
        except ValueError:
            return None
        points = points[: len(points) // dimensions * dimensions].reshape(-1, dimensions)
        return Graphic(
            self._plain(fields, _TYPE),
            points,
            self._plain(fields, _FRAME_OF_REFERENCE),
            self._plain(fields, _ORIGIN),
        )

    def _temporal(self, fields: Fields) -> TemporalExtent:
        offsets: tuple[float, ...] = ()
        try:
            offsets = tuple(float(p) for p in self._plain(fields, _OFFSETS).split("\\") if p.strip())
        except ValueError:
            pass
        datetimes = tuple(p.strip() for p in self._plain(fields, _DATETIMES).split("\\") if p.strip())
        return TemporalExtent(self._plain(fields, _EXTENT), self._integers(fields, _SAMPLES), offsets, datetimes)

    def _reference(self, fields: Fields) -> Reference | None:
        raw = self._raw(fields, _REFERENCED)
        try:
            return self._references[raw]
        except KeyError:
            parts = self._first_item(fields, _REFERENCED)
            reference = None
            if parts is not None:
                uid = self._plain(parts, _INSTANCE)
                reference = Reference(
                    self._plain(parts, _CLASS),
                    uid,
                    self._integers(parts, _FRAMES),
                    self._integers(parts, _SEGMENTS),
                    self._integers(parts, _CHANNELS),
                    *self._evidence.get(uid, ("", "")),
                )
                if _REFERENCED in parts:
                    shown_with = self._reference(parts)
                    if shown_with is not None and shown_with.sop_class_uid.startswith(sop.PRESENTATION_FAMILY):
                        reference = replace(reference, presentation=shown_with)
            self._references[raw] = reference
            return reference


def explicit_bytes(data: bytes) -> bytes:
    """A file of any transfer syntax as one in explicit VR little endian, by pydicom."""
    from pydicom.uid import ExplicitVRLittleEndian

    from dicom_ml.encoding.untrusted import dcmread

    dataset = dcmread(io.BytesIO(data), force=True)
    for _ in dataset.iterall():
        pass  # decodes every value, so that none is written back in its old byte order
    head = file_head(str(dataset.SOPClassUID), str(dataset.get("SOPInstanceUID", "")), str(ExplicitVRLittleEndian))
    return head + dataset_bytes(dataset)
