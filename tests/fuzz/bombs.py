"""Hostile files, each small: bombs, lies about sizes, and nesting without end."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache

__all__ = [
    "CT", "deflate_zeros", "dicom", "element", "encapsulated", "gzip_bomb", "image", "item", "nested_defined",
    "nested_undefined", "zip_file",
]  # fmt: skip

EXPLICIT, DEFLATED, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
IMPLICIT = "1.2.840.10008.1.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT", "SV", "UV")
UNDEFINED = 0xFFFFFFFF


# ---------------------------------------------------------------------- DICOM, byte by byte
def element(tag: int, vr: str, value: bytes | str | int | float | Iterable[float], length: int | None = None) -> bytes:
    """An explicit little endian element, its length as it is or as one says that it is."""
    if isinstance(value, str):
        raw = value.encode("latin-1")
        raw += b"\0" if len(raw) % 2 and vr == "UI" else b" " * (len(raw) % 2)
    elif isinstance(value, int):
        raw = struct.pack({"US": "<H", "UL": "<I", "SL": "<i", "UV": "<Q"}[vr], value)
    elif isinstance(value, bytes):
        raw = value
    else:
        values = list(value) if isinstance(value, Iterable) else [value]
        raw = struct.pack(f"<{len(values)}{'d' if vr in ('FD', 'OD') else 'f'}", *values)
    size = len(raw) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (b"\0\0" + struct.pack("<I", size) if vr in _LONG else struct.pack("<H", size & 0xFFFF)) + raw


def item(content: bytes) -> bytes:
    """An item of defined length."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


ITEM_OPEN = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def dicom(body: bytes, syntax: str = EXPLICIT, sop_class: str = CT) -> bytes:
    """A file around a data set."""
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", sop_class)
    meta += element(0x00020003, "UI", "1.2.3.4") + element(0x00020010, "UI", syntax)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", len(meta)) + meta + body


def image(
    rows: int = 64,
    columns: int = 64,
    frames: int | str = 1,
    bits: int = 16,
    samples: int = 1,
    photometric: str = "MONOCHROME2",
    pixels: bytes = b"",
    sop_class: str = CT,
    before: bytes = b"",
    modality: str = "CT",
    kind: str = "AXIAL",
) -> bytes:
    """The data set of an image; ``pixels`` is the whole element, ``before`` what stands just before it."""
    return b"".join(
        [
            element(0x00080008, "CS", f"ORIGINAL\\PRIMARY\\{kind}"),
            element(0x00080016, "UI", sop_class),
            element(0x00080018, "UI", "1.2.3.4"),
            element(0x00080060, "CS", modality),
            element(0x0020000D, "UI", "1.2.3"),
            element(0x0020000E, "UI", "1.2.3.1"),
            element(0x00200013, "IS", "1"),
            element(0x00200032, "DS", "0\\0\\0"),
            element(0x00200037, "DS", "1\\0\\0\\0\\1\\0"),
            element(0x00200052, "UI", "1.2.3.2"),
            element(0x00280002, "US", samples),
            element(0x00280004, "CS", photometric),
            element(0x00280008, "IS", str(frames)),
            element(0x00280010, "US", rows),
            element(0x00280011, "US", columns),
            element(0x00280030, "DS", "1\\1"),
            element(0x00280100, "US", bits),
            element(0x00280101, "US", bits),
            element(0x00280102, "US", bits - 1),
            element(0x00280103, "US", 0),
            element(0x00281052, "DS", "0"),
            element(0x00281053, "DS", "1"),
            before,
            pixels,
        ]
    )


def encapsulated(fragments: Iterable[bytes], table: bytes = b"", end: bytes = SEQUENCE_END) -> bytes:
    """A pixel data element of fragments."""
    return element(0x7FE00010, "OB", b"".join([item(table), *map(item, fragments), end]), UNDEFINED)


def nested_undefined(depth: int, tag: int = 0x0040A730) -> bytes:
    """Sequences within each other, of undefined length."""
    return (element(tag, "SQ", b"", UNDEFINED) + ITEM_OPEN) * depth + (ITEM_END + SEQUENCE_END) * depth


def nested_defined(depth: int, tag: int = 0x0040A730) -> bytes:
    """Sequences within each other, of defined length."""
    # from the inside out, without copying what is inside
    sizes, size = [], 0
    for _ in range(depth):
        sizes.append(size)
        size += 8 + 12
    heads = [
        struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, inner + 8)
        + struct.pack("<HHI", 0xFFFE, 0xE000, inner)
        for inner in reversed(sizes)
    ]
    return b"".join(heads)


# ---------------------------------------------------------------------- packed
@lru_cache(maxsize=4)
def deflate_zeros(size: int, start: bytes = b"") -> bytes:
    """A raw deflate stream of ``start`` and about ``size`` zeros, made without deflating them all."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = deflater.compress(start) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = 1 << 22
    again = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    middle = again.compress(bytes(block)) + again.flush(zlib.Z_FULL_FLUSH)
    return head + middle * (size // block) + zlib.compressobj(9, wbits=-zlib.MAX_WBITS).flush()


def gzip_bomb(size: int) -> bytes:
    """A gzip file of ``size`` zeros."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + deflate_zeros(size) + bytes(8)


def zip_file(
    members: Iterable[tuple[str, bytes, int]], *, shared: int = 0, method: int = 8, entries: Iterable[bytes] = ()
) -> bytes:
    """A zip of members that are packed already: name, packed content, and the size that is announced.

    ``shared`` more entries of the directory name the first member again; ``entries`` are put in as they are.
    """
    body, directory, count = bytearray(), bytearray(), 0

    def entry(name: bytes, packed: int, size: int, at: int) -> bytes:
        return (
            struct.pack(
                "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, method, 0, 33, 0, packed, min(size, UNDEFINED - 1), len(name),
                0, 0, 0, 0, 0, at,
            )
            + name
        )  # fmt: skip

    first: tuple[int, int] | None = None
    for name, packed, size in members:
        raw, at = name.encode(), len(body)
        first = first or (len(packed), size)
        body += struct.pack(
            "<4s5H3I2H", b"PK\x03\x04", 20, 0, method, 0, 33, 0, len(packed), min(size, UNDEFINED - 1), len(raw), 0
        )
        body += raw + packed
        directory += entry(raw, len(packed), size, at)
        count += 1
    for number in range(shared):
        assert first is not None
        directory += entry(b"%d.dcm" % number, *first, 0)
        count += 1
    for one in entries:
        directory += one
        count += 1
    end = struct.pack(
        "<4s4H2IH", b"PK\x05\x06", 0, 0, min(count, 65535), min(count, 65535), len(directory), len(body), 0
    )
    if count > 65535:
        place = len(body) + len(directory)
        end = (
            struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(body))
            + struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1)
            + end
        )
    return bytes(body + directory) + end
