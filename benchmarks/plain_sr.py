"""The floor of reports: a writer and a parser of content items in plain Python, for this one scene and no other.

The writer gives no patient, no evidence and no template; the parser knows explicit VR little endian with lengths.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from benchmarks.findings import (
    ALGORITHM_NAME,
    ALGORITHM_VERSION,
    ANSWERS,
    AREA,
    COMPREHENSIVE_3D,
    CT_IMAGE,
    DIAMETER,
    FINDING,
    GROUP,
    LUNG,
    MALIGNANCY,
    MEASUREMENTS,
    MILLIMETER,
    NODULE,
    REGION,
    REPORT,
    SITE,
    SQUARE,
    TRACKING_ID,
    TRACKING_UID,
    Finding,
    Triple,
)

_LONG = frozenset({b"SQ", b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})

# ---- writing


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in _LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _items(tag: int, items: Sequence[bytes]) -> bytes:
    return _element(tag, b"SQ", b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(i)) + i for i in items))


def _code(tag: int, triple: Triple) -> bytes:
    value, scheme, meaning = (part.encode() for part in triple)
    inner = _element(0x00080100, b"SH", value) + _element(0x00080102, b"SH", scheme)
    return _items(tag, [inner + _element(0x00080104, b"LO", meaning)])


def _start(relationship: bytes, value_type: bytes, name: Triple | None) -> bytes:
    head = _element(0x0040A010, b"CS", relationship) + _element(0x0040A040, b"CS", value_type)
    return head if name is None else head + _code(0x0040A043, name)


def _text_item(relationship: bytes, name: Triple, value: str) -> bytes:
    return _start(relationship, b"TEXT", name) + _element(0x0040A160, b"UT", value.encode())


def _code_item(relationship: bytes, name: Triple, value: Triple) -> bytes:
    return _start(relationship, b"CODE", name) + _code(0x0040A168, value)


def _number_item(name: Triple, value: float, unit: Triple) -> bytes:
    measured = _code(0x004008EA, unit) + _element(0x0040A30A, b"DS", repr(value).encode())
    return _start(b"CONTAINS", b"NUM", name) + _items(0x0040A300, [measured])


def _outline_item(points: Sequence[Sequence[float]], image: str) -> bytes:
    reference = _element(0x00081150, b"UI", CT_IMAGE.encode()) + _element(0x00081155, b"UI", image.encode())
    selected = _items(0x00081199, [reference]) + _start(b"SELECTED FROM", b"IMAGE", None)
    flat = [value for point in points for value in point]
    return (
        _start(b"CONTAINS", b"SCOORD", REGION)
        + _items(0x0040A730, [selected])
        + _element(0x00700022, b"FL", struct.pack(f"<{len(flat)}f", *flat))
        + _element(0x00700023, b"CS", b"POLYLINE")
    )


def _container(name: Triple, items: Sequence[bytes]) -> bytes:
    start = _start(b"CONTAINS", b"CONTAINER", name) + _element(0x0040A050, b"CS", b"SEPARATE")
    return start + _items(0x0040A730, items)


def _group(finding: Finding, image: str) -> bytes:
    context, modifier, contains = b"HAS OBS CONTEXT", b"HAS CONCEPT MOD", b"CONTAINS"
    uid = _start(context, b"UIDREF", TRACKING_UID) + _element(0x0040A124, b"UI", finding["uid"].encode())
    return _container(
        GROUP,
        [
            _text_item(context, TRACKING_ID, finding["name"]),
            uid,
            _code_item(contains, FINDING, NODULE),
            _text_item(modifier, ALGORITHM_NAME, "Benchmark"),
            _text_item(modifier, ALGORITHM_VERSION, "1"),
            _code_item(modifier, SITE, LUNG),
            _outline_item(finding["points"], image),
            _number_item(DIAMETER, finding["diameter"], MILLIMETER),
            _number_item(AREA, finding["area"], SQUARE),
            _code_item(contains, MALIGNANCY, ANSWERS[finding["answer"]]),
        ],
    )


def report_bytes(found: Sequence[Finding], images: Sequence[str]) -> bytes:
    """A file with the content alone; ``images`` are the UIDs of the slices."""
    measured = _container(MEASUREMENTS, [_group(finding, images[finding["slice"]]) for finding in found])
    meta = b"".join(
        [
            _element(0x00020001, b"OB", b"\0\1"),
            _element(0x00020002, b"UI", COMPREHENSIVE_3D.encode()),
            _element(0x00020003, b"UI", b"1.2.3"),
            _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1"),
        ]
    )
    head = bytes(128) + b"DICM" + _element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta
    document = _element(0x0040A040, b"CS", b"CONTAINER") + _code(0x0040A043, REPORT)
    document += _element(0x0040A050, b"CS", b"SEPARATE")
    return head + document + _items(0x0040A730, [measured])


# ---- reading

Record = dict[int, Any]
_HEAD, _WIDE = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from


def _parse(data: bytes, position: int, end: int) -> Record:
    """Elements by tag: a list of records for a sequence, bytes for anything else."""
    found: Record = {}
    while position < end:
        group, element, vr, length = _HEAD(data, position)
        position += 8
        if vr in _LONG:
            length = _WIDE(data, position)[0]
            position += 4
        stop = position + length
        if vr == b"SQ":
            items = []
            while position < stop:
                size = _WIDE(data, position + 4)[0]
                items.append(_parse(data, position + 8, position + 8 + size))
                position += 8 + size
            found[group << 16 | element] = items
        else:
            found[group << 16 | element] = data[position:stop]
        position = stop
    return found


def _text(value: bytes) -> str:
    return value.decode().rstrip("\0 ")


def _coded(sequence: list[Record]) -> Triple:
    code = sequence[0]
    return _text(code[0x00080100]), _text(code[0x00080102]), _text(code[0x00080104])


def read_groups(data: bytes) -> list[dict[str, Any]]:
    """Every value of every group, codes with their schemes and meanings."""
    root = _parse(data, 132 + 12 + _WIDE(data, 140)[0], len(data))
    found: list[dict[str, Any]] = []
    stack = [root]
    while stack:
        item = stack.pop()
        if item.get(0x0040A043) and _coded(item[0x0040A043]) == GROUP:
            found.append(_read_group(item))
        else:
            stack.extend(item.get(0x0040A730, ()))
    return found


def _read_group(group: Record) -> dict[str, Any]:
    texts: dict[Triple, str] = {}
    numbers: dict[Triple, tuple[float, Triple]] = {}
    codes: dict[Triple, Triple] = {}
    outlines: dict[Triple, tuple[str, tuple[float, ...], str]] = {}
    for item in group[0x0040A730]:
        kind, name = _text(item[0x0040A040]), _coded(item[0x0040A043])
        if kind == "TEXT":
            texts[name] = _text(item[0x0040A160])
        elif kind == "UIDREF":
            texts[name] = _text(item[0x0040A124])
        elif kind == "NUM":
            measured = item[0x0040A300][0]
            numbers[name] = float(measured[0x0040A30A]), _coded(measured[0x004008EA])
        elif kind == "CODE":
            codes[name] = _coded(item[0x0040A168])
        elif kind == "SCOORD":
            flat = item[0x00700022]
            values = struct.unpack(f"<{len(flat) // 4}f", flat)
            image = _text(item[0x0040A730][0][0x00081199][0][0x00081155])
            outlines[name] = _text(item[0x00700023]), values, image
    return {"texts": texts, "numbers": numbers, "codes": codes, "outlines": outlines}
