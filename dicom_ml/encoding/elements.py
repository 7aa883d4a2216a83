"""A lean scanner of DICOM data elements: where each top-level element's value lies, and nothing decoded.

pydicom stays the parser of everything that is not hot. Where hundreds of headers are read, or a header holds tens
of thousands of frames, :class:`FileView` walks the bytes once and leaves every value in place. What it cannot walk
with certainty (big endian, deflated, no preamble, broken lengths) raises :class:`NotLean`, and the caller turns to
pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = [
    "UNDEFINED",
    "Buffer",
    "CutOff",
    "FileView",
    "Layouts",
    "NeedMore",
    "NotLean",
    "Place",
    "decode_number_strings",
    "elements_of",
    "items_of",
]

Buffer = bytes | bytearray | memoryview
#: VR (None in implicit files), offset of the value, length of the value.
Place = tuple["bytes | None", int, int]
UNDEFINED = 0xFFFFFFFF

_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_LONG = struct.Struct("<I").unpack_from
_IMPLICIT = struct.Struct("<HHI").unpack_from
_LONG_VRS = frozenset([b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"])
_SHORT_VRS = frozenset(
    [b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"]
    + [b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"]
)
_PIXEL_TAGS = frozenset([0x7FE00008, 0x7FE00009, 0x7FE00010])
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_IMPLICIT_LE = "1.2.840.10008.1.2"
_NOT_WALKED = frozenset(["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2"])
_MAX_DEPTH = 32
#: Length of an item, mask of its tags and lengths, and what they are.
_Layout = tuple[int, int, int]
_LONGEST_LAYOUT = 4096
_MOST_LAYOUTS = 16
_LONGEST_HEADER_LAYOUT = 1 << 15
_MOST_HEADER_LAYOUTS = 8


class NotLean(Exception):
    """The bytes cannot be walked with certainty; pydicom has to parse them."""


class CutOff(NotLean):
    """The file ends before its last element does."""


class NeedMore(Exception):
    """The header goes on past the bytes at hand."""

    def __init__(self, size: int) -> None:
        super().__init__(f"at least {size} bytes are needed")
        self.size = size


class FileView:
    """Top-level elements of a DICOM file, up to and including its pixel data.

    Parameters
    ----------
    data : bytes, bytearray or memoryview
        The file, or its beginning.
    size : int, optional
        Size of the whole file in bytes, where ``data`` is only its beginning.
    layouts : Layouts, optional
        Layouts of the other files of a series, which spare walking a header that is laid out alike.

    Attributes
    ----------
    transfer_syntax : str
    implicit : bool
        Whether elements carry no VR.
    places : dict
        Tag to :data:`Place`, in file order; views of one layout share it.
    pixels : tuple of (int, Place) or None
        Tag and place of Pixel Data, Float Pixel Data or Double Float Pixel Data; the value may lie outside ``data``.

    Raises
    ------
    NotLean
        If the bytes cannot be walked with certainty.
    NeedMore
        If the header does not end within ``data`` although the file goes on.
    """

    __slots__ = ("data", "implicit", "meta", "pixels", "places", "size", "transfer_syntax")

    def __init__(self, data: Buffer, size: int | None = None, layouts: Layouts | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.places: dict[int, Place] = {}
        self.meta: dict[int, Place] = {}
        self.pixels: tuple[int, Place] | None = None
        self.transfer_syntax: str
        self.implicit: bool
        known = None if layouts is None else layouts.of(data)
        if known is not None:
            self.meta, self.places, self.pixels = known.meta, known.places, known.pixels
            self.transfer_syntax, self.implicit = known.transfer_syntax, known.implicit
            return
        try:
            start = self._read_meta()
        except struct.error as error:
            raise NotLean("the file meta information is cut off") from error
        self.transfer_syntax = self._text(self.meta.get(0x00020010))
        if not self.transfer_syntax or self.transfer_syntax in _NOT_WALKED:
            raise NotLean(f"transfer syntax {self.transfer_syntax or '(missing)'}")
        self.implicit = self.transfer_syntax == _IMPLICIT_LE
        self._scan(start)
        if layouts is not None:
            layouts.add(self)

    # ------------------------------------------------------------------ walking
    def _read_meta(self) -> int:
        data = self.data
        if len(data) < 132 or bytes(data[128:132]) != b"DICM":
            raise NotLean("no DICM preamble")
        position = 132
        while position + 8 <= len(data):
            group, element, vr, length = _EXPLICIT(data, position)
            if group != 2:
                break
            if vr in _LONG_VRS:
                length = _LONG(data, position + 8)[0]
                position += 12
            elif vr in _SHORT_VRS:
                position += 8
            else:
                raise NotLean("file meta information is not explicit VR")
            self.meta[group << 16 | element] = (vr, position, length)
            position += length
        return position

    def _scan(self, position: int) -> None:
        data, places, implicit, end = self.data, self.places, self.implicit, len(self.data)
        if implicit and position + 8 <= end and bytes(data[position + 4 : position + 6]) in _SHORT_VRS | _LONG_VRS:
            raise NotLean("the data set looks explicit although its transfer syntax is implicit")
        last = 0
        try:
            while position < end:
                vr: bytes | None = None
                if implicit:
                    group, element, length = _IMPLICIT(data, position)
                    position += 8
                else:
                    group, element, vr, length = _EXPLICIT(data, position)
                    position += 8
                    if vr in _LONG_VRS:
                        length = _LONG(data, position)[0]
                        position += 4
                    elif vr not in _SHORT_VRS:
                        raise NotLean(f"unknown VR {vr!r}")
                tag = group << 16 | element
                if tag <= last:
                    raise NotLean("elements are not in ascending order")
                last = tag
                if tag in _PIXEL_TAGS:
                    self.pixels = (tag, (vr, position, length))
                    return
                if length == UNDEFINED:
                    start = position
                    position = _skip_items(data, position, implicit or vr == b"UN", 0)
                    length = position - start
                    places[tag] = (vr, start, length - 8)
                else:
                    places[tag] = (vr, position, length)
                    position += length
        except struct.error:
            position = end + 1
        if position >= end and end < self.size:
            raise NeedMore(min(self.size, max(position, 2 * end)))
        if position > end:
            raise CutOff("an element reaches past the end of the file")

    # ------------------------------------------------------------------ values
    def __contains__(self, tag: int) -> bool:
        return tag in self.places

    def _text(self, place: Place | None) -> str:
        if place is None:
            return ""
        _, offset, length = place
        return str(self.data[offset : offset + length], "latin-1").rstrip("\0 ").lstrip(" ")

    def raw(self, tag: int) -> bytes | None:
        """Value bytes of a top-level element; None where absent."""
        place = self.places.get(tag)
        return None if place is None else bytes(self.data[place[1] : place[1] + place[2]])

    def text(self, tag: int) -> str:
        """Value as text without padding (Latin-1: for codes, UIDs and numbers only); empty where absent."""
        return self._text(self.places.get(tag))

    def texts(self, tag: int) -> list[str]:
        """The parts of a multi-valued string."""
        text = self.text(tag)
        return [part.strip(" \0") for part in text.split("\\")] if text else []

    def numbers(self, tag: int) -> list[float]:
        """Values of a DS or IS element.

        Raises
        ------
        NotLean
            If a part is no number.
        """
        try:
            return [float(part) for part in self.texts(tag)]
        except ValueError as error:
            raise NotLean(f"element {tag:08X} holds no decimal numbers") from error

    def integer(self, tag: int, default: int | None = None) -> int | None:
        """First value of a US (2-byte) or UL (4-byte) element."""
        raw = self.raw(tag)
        if not raw:
            return default
        return int.from_bytes(raw[: 2 if len(raw) != 4 else 4], "little")


class Layouts:
    """Layouts of headers: where elements lie in the files of a series, which differ in little but their values.

    Each layout is walked once. Whether another header has it is one comparison of all its tags, VRs and lengths, in
    sequences too. May be used from several threads.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[int, int, int, FileView], ...] = ()

    def of(self, data: Buffer) -> FileView | None:
        """A view of a header that is laid out as ``data`` is; None where none is known."""
        known = self._known
        for number, (end, mask, layout, view) in enumerate(known):
            if len(data) >= end and int.from_bytes(data[128:end], "little") & mask == layout:
                if number:  # neighbours are alike more often than others
                    self._known = (known[number], *known[:number], *known[number + 1 :])
                return view
        return None

    def add(self, view: FileView) -> None:
        """Keep the layout of a header up to its pixel data."""
        if view.pixels is None or not 128 < view.pixels[1][1] <= min(_LONGEST_HEADER_LAYOUT, len(view.data)):
            return
        end = view.pixels[1][1]
        values: list[tuple[int, int]] = []
        for tag, (_, start, length) in view.meta.items():
            if tag != 0x00020010:  # what follows depends on the transfer syntax
                values.append((start, length))
        try:
            for vr, start, length in view.places.values():
                if view.data[start - 4 : start] == b"\xff\xff\xff\xff":
                    _skip_items(view.data, start, view.implicit or vr == b"UN", 1, values)
                else:
                    values.append((start, length))
        except NotLean:
            return
        self._known = ((end, *_layout(view.data, 128, end, values), view), *self._known)[:_MOST_HEADER_LAYOUTS]


def _skip_items(
    data: Buffer, position: int, implicit: bool, depth: int, values: list[tuple[int, int]] | None = None
) -> int:
    """End of a sequence of undefined length whose first item header is at ``position``."""
    if depth > _MAX_DEPTH:
        raise NotLean("sequences are nested too deeply")
    known: list[_Layout] = []
    while True:
        group, element, length = _IMPLICIT(data, position)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise NotLean(f"a sequence holds {tag:08X} where an item should be")
        if length != UNDEFINED:
            if values is not None:
                values.append((position, length))
            position += length
        elif depth == 0:
            position = _skip_item(data, position, implicit, 1, known)
        else:
            position = _skip_dataset(data, position, implicit, depth + 1, values)


def _skip_item(data: Buffer, position: int, implicit: bool, depth: int, known: list[_Layout]) -> int:
    """End of an item of undefined length, as `_skip_dataset`, for one of many that are laid out alike.

    The items of ten thousands of frames differ in their values only. Each layout is walked once; whether an item has
    it is then one comparison of all its tags and lengths.
    """
    for number, (length, mask, layout) in enumerate(known):
        if int.from_bytes(data[position : position + length], "little") & mask == layout:
            if number:
                known.insert(0, known.pop(number))
            return position + length
    values: list[tuple[int, int]] = []
    end = _skip_dataset(data, position, implicit, depth, values)
    length = end - position
    if length <= _LONGEST_LAYOUT and end <= len(data):
        known.insert(0, (length, *_layout(data, position, end, values)))
        del known[_MOST_LAYOUTS:]
    return end


def _layout(data: Buffer, start: int, end: int, values: list[tuple[int, int]]) -> tuple[int, int]:
    """Mask of the tags and lengths of a part of a file, whose values lie at ``values``, and what they are."""
    structure = bytearray(b"\xff") * (end - start)
    for offset, size in values:
        structure[offset - start : offset - start + size] = bytes(size)
    mask = int.from_bytes(structure, "little")
    return mask, int.from_bytes(data[start:end], "little") & mask


def _skip_dataset(
    data: Buffer, position: int, implicit: bool, depth: int, values: list[tuple[int, int]] | None = None
) -> int:
    """End of an item of undefined length whose first element is at ``position``.

    Places of values are added to ``values``.
    """
    while True:
        vr: bytes | None = None
        group, element, length = _IMPLICIT(data, position)
        tag = group << 16 | element
        if tag == _ITEM_END:
            return position + 8
        if not implicit:
            _, _, vr, length = _EXPLICIT(data, position)
        position += 8
        if vr in _LONG_VRS:
            length = _LONG(data, position)[0]
            position += 4
        elif vr is not None and vr not in _SHORT_VRS:
            raise NotLean(f"unknown VR {vr!r}")
        if length == UNDEFINED:
            position = _skip_items(data, position, implicit or vr == b"UN", depth, values)
        else:
            if values is not None:
                values.append((position, length))
            position += length


def items_of(data: Buffer, offset: int, length: int, implicit: bool) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each item of a sequence value.

    Raises
    ------
    NotLean
        If the bytes are no sequence of items.
    """
    position, end = offset, offset + length
    known: list[_Layout] = []
    try:
        while position + 8 <= end:
            group, element, size = _IMPLICIT(data, position)
            tag = group << 16 | element
            position += 8
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise NotLean(f"a sequence holds {tag:08X} where an item should be")
            start = position
            if size == UNDEFINED:
                position = _skip_item(data, position, implicit, 1, known)
                yield start, position - 8
            else:
                position += size
                if position > end:
                    raise NotLean("an item reaches past its sequence")
                yield start, position
    except struct.error as error:
        raise NotLean("a sequence ends in the middle of an item") from error


def elements_of(data: Buffer, start: int, end: int, implicit: bool) -> Iterator[tuple[int, Place]]:
    """Tag and place of each element of an item; sequences of undefined length are measured without their end.

    Raises
    ------
    NotLean
        If the bytes are no elements.
    """
    position = start
    try:
        while position + 8 <= end:
            vr: bytes | None = None
            if implicit:
                group, element, length = _IMPLICIT(data, position)
                position += 8
            else:
                group, element, vr, length = _EXPLICIT(data, position)
                position += 8
                if vr in _LONG_VRS:
                    length = _LONG(data, position)[0]
                    position += 4
                elif vr not in _SHORT_VRS:
                    raise NotLean(f"unknown VR {vr!r}")
            if length == UNDEFINED:
                after = _skip_items(data, position, implicit or vr == b"UN", 1)
                yield group << 16 | element, (vr, position, after - position - 8)
                position = after
            else:
                if position + length > end:
                    raise NotLean("an element reaches past its item")
                yield group << 16 | element, (vr, position, length)
                position += length
    except struct.error as error:
        raise NotLean("an item ends in the middle of an element") from error


def decode_number_strings(values: list[bytes | None], count: int) -> list[tuple[float, ...] | None]:
    """Decode raw DS values, each distinct one once.

    Parameters
    ----------
    values : list of bytes or None
    count : int
        Numbers that each value must hold.

    Raises
    ------
    NotLean
        If a value does not hold ``count`` numbers.
    """
    known: dict[bytes | None, tuple[float, ...] | None] = {None: None}
    for value in set(values):
        if value is not None:
            try:
                known[value] = tuple(float(part) for part in value.decode("latin-1").strip("\0 ").split("\\"))
            except ValueError as error:
                raise NotLean("a decimal string holds no numbers") from error
            if len(known[value] or ()) != count:
                raise NotLean(f"{count} numbers were expected, {value!r} found")
    return [known[value] for value in values]
