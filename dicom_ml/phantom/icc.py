"""A small ICC profile: what a synthetic scanner says of its colours."""

from __future__ import annotations

import struct

__all__ = ["rgb_profile"]

# Primaries and white of sRGB, adapted to D50, as (X, Y, Z).
_WHITE = (0.9642, 1.0, 0.8249)
_PRIMARIES = {
    b"rXYZ": (0.4360747, 0.2225045, 0.0139322),
    b"gXYZ": (0.3850649, 0.7168786, 0.0971045),
    b"bXYZ": (0.1430804, 0.0606169, 0.7141733),
}


def rgb_profile(gamma: float = 2.2, name: str = "Synthetic scanner RGB") -> bytes:
    """An ICC profile, version 2, of a scanner with the primaries of sRGB and a plain gamma.

    Parameters
    ----------
    gamma : float
    name : str
        ASCII.
    """
    text = name.encode("ascii") + b"\0"
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    entries = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"No copyright, use freely\0",
        b"wtpt": _xyz(_WHITE),
        **{tag: _xyz(values) for tag, values in _PRIMARIES.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    start = 128 + 4 + 12 * len(entries)
    table, body = struct.pack(">I", len(entries)), b""
    for tag, value in entries.items():
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = start + len(body)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4s4sQI12s4s",
        *(size, b"\0\0\0\0", 0x02400000, b"scnr", b"RGB ", b"XYZ ", 2000, 1, 1, 12, 0, 0, b"acsp", b"\0\0\0\0"),
        *(0, b"\0\0\0\0", b"\0\0\0\0", 0, 0, struct.pack(">3i", *(round(v * 65536) for v in _WHITE)), b"\0\0\0\0"),
    )
    return header + bytes(128 - len(header)) + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))
