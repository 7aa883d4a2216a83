"""Deterministic damage to files: what storage, networks, careless programs and malice do to DICOM."""

from __future__ import annotations

import struct

import numpy as np

__all__ = ["mutate"]

_INTERESTING = (
    0,
    1,
    2,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
_TEXTS = (b"", b"0", b"-1", b"1e308", b"nan", b"inf", b"99999999999", b"\\", b"1\\2", b"A" * 64, b"\xff\xfe", b"1.2.3.")
#: Tags whose values decide how much is allocated, read, or believed.
_TAGS = (
    0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280004,
    0x00280006, 0x00480006, 0x00480007, 0x00080016, 0x00020010, 0x00200032, 0x00200037, 0x00280030, 0x00180050,
    0x00281052, 0x00281053, 0x52009229, 0x52009230, 0x00620002, 0x00660040, 0x006A0002, 0x0040A730, 0x7FE00001,
    0x7FE00002, 0x7FE00010, 0x7FE00008, 0x00700308, 0x0062000E, 0x00620001, 0x00620010, 0x30060039, 0x00209222,
    0x00660016, 0x006A000C, 0x006A000D, 0x0066002D, 0x0040A30A, 0x00700022, 0x00081155, 0x0020000E, 0x0048021A,
)  # fmt: skip


def mutate(data: bytes, seed: int) -> bytes:
    """A damaged copy; the same for the same seed."""
    rng = np.random.default_rng(seed)
    content = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        if len(content) < 200:
            break
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        content = kind(content, rng)
    return bytes(content)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    # headers decide more than pixels do
    top = len(content) if rng.random() < 0.25 else min(len(content), 6000)
    return int(rng.integers(132, max(top, 133)))


def _flip(content: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.choice([1, 3, 16]))):
        content[min(_place(content, rng), len(content) - 1)] ^= 1 << int(rng.integers(8))
    return content


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: _place(content, rng)]


def _drop(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(content, rng)
    del content[at : at + int(rng.choice([1, 2, 4, 8, 64, 1024]))]
    return content


def _repeat(content: bytearray, rng: np.random.Generator) -> bytearray:
    at, size = _place(content, rng), int(rng.choice([2, 8, 64, 1024]))
    return content[: at + size] + content[at : at + size] * int(rng.choice([1, 2, 50])) + content[at + size :]


def _number(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(content, rng)
    value = _INTERESTING[int(rng.integers(len(_INTERESTING)))]
    size = int(rng.choice([2, 4]))
    content[at : at + size] = struct.pack("<I", value)[:size]
    return content


def _element(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Another value, length or VR for an element that matters, wherever it stands."""
    tag = _TAGS[int(rng.integers(len(_TAGS)))]
    mark = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    places, at = [], content.find(mark, 128)
    while at >= 0 and len(places) < 50:
        places.append(at)
        at = content.find(mark, at + 4)
    if not places:
        return _number(content, rng)
    at = places[int(rng.integers(len(places)))]
    if at + 16 > len(content):
        return content
    long = bytes(content[at + 4 : at + 6]) in (b"OB", b"OD", b"OF", b"OL", b"OW", b"SQ", b"UN", b"UT")
    length_at = at + 8 if long else at + 6
    value_at = at + 12 if long else at + 8
    length = struct.unpack_from("<I" if long else "<H", content, length_at)[0]
    action = int(rng.integers(5))
    if action == 0:  # length
        value = _INTERESTING[int(rng.integers(len(_INTERESTING)))]
        struct.pack_into("<I" if long else "<H", content, length_at, value & (0xFFFFFFFF if long else 0xFFFF))
    elif action == 1:  # value, of the same length
        if 0 < length < 65536 and value_at + length <= len(content):
            text = _TEXTS[int(rng.integers(len(_TEXTS)))]
            value = struct.pack("<I", _INTERESTING[int(rng.integers(len(_INTERESTING)))])
            fill = (text if rng.random() < 0.5 else value * (length // 4 + 1))[:length]
            content[value_at : value_at + length] = fill.ljust(length, b" ")
    elif action == 2:  # VR
        vrs = (b"OB", b"OW", b"UN", b"SQ", b"US", b"DS", b"UI", b"LO", b"ZZ", b"FD", b"CS")
        content[at + 4 : at + 6] = vrs[int(rng.integers(len(vrs)))]
    elif action == 3:  # gone
        if length < 0xFFFFFFFF and value_at + length <= len(content):
            del content[at : value_at + length]
    elif length < 4096 and value_at + length <= len(content):  # twice
        content[at:at] = content[at : value_at + length]
    return content


def _splice(content: bytearray, rng: np.random.Generator) -> bytearray:
    one, two = sorted((_place(content, rng), _place(content, rng)))
    size = int(rng.choice([8, 64, 512]))
    content[two : two + size] = content[one : one + size]
    return content


def _noise(content: bytearray, rng: np.random.Generator) -> bytearray:
    at, size = _place(content, rng), int(rng.choice([4, 32, 256]))
    content[at : at + size] = rng.bytes(size)
    return content


_KINDS = (_flip, _cut, _drop, _repeat, _number, _number, _element, _element, _element, _element, _splice, _noise)
