"""Colours as objects store them: CIELab for what is recommended, and the ICC profile of sRGB pixels."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any

from dicom_ml.errors import EncodingError

__all__ = ["RGB", "cielab_to_rgb", "parse_color", "rgb_to_cielab", "srgb_profile"]

RGB = tuple[int, int, int]

#: sRGB primaries adapted to the white point D50 (IEC 61966-2-1, Bradford), rows X, Y, Z.
_RGB_XYZ_D50 = (
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
_D50 = (0.96422, 1.0, 0.82521)


def parse_color(color: Any) -> RGB:
    """A colour of ``"#rrggbb"`` or three numbers from 0 to 255.

    Raises
    ------
    EncodingError
        If it is neither.
    """
    if isinstance(color, str):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            raise EncodingError(f"a colour is '#rrggbb' or three numbers from 0 to 255, found {color!r}")
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
    values = tuple(int(v) for v in color)
    if len(values) != 3 or not all(0 <= v <= 255 for v in values):
        raise EncodingError(f"a colour is '#rrggbb' or three numbers from 0 to 255, found {color!r}")
    return values[0], values[1], values[2]


def rgb_to_cielab(color: RGB) -> tuple[int, int, int]:
    """sRGB to the 16-bit PCS-Values of PS3.3 C.10.7.1.1 (CIELab under D50)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in color)]
    xyz = [sum(m * v for m, v in zip(row, linear, strict=True)) / w for row, w in zip(_RGB_XYZ_D50, _D50, strict=True)]
    fx, fy, fz = (v ** (1 / 3) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in xyz)
    lab = (116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz))
    scaled = (lab[0] * 65535 / 100, (lab[1] + 128) * 65535 / 255, (lab[2] + 128) * 65535 / 255)
    return tuple(min(65535, max(0, round(v))) for v in scaled)  # type: ignore[return-value]


def cielab_to_rgb(stored: tuple[int, int, int]) -> RGB:
    """The PCS-Values of PS3.3 C.10.7.1.1 to sRGB; what sRGB cannot show is cut off."""
    lightness, a, b = stored[0] * 100 / 65535, stored[1] * 255 / 65535 - 128, stored[2] * 255 / 65535 - 128
    fy = (lightness + 16) / 116
    steps = (fy + a / 500, fy, fy - b / 200)
    xyz = [(f**3 if f**3 > 216 / 24389 else (116 * f - 16) * 27 / 24389) * w for f, w in zip(steps, _D50, strict=True)]
    # inverse of _RGB_XYZ_D50
    inverse = (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
    rgb = []
    for row in inverse:
        v = min(1.0, max(0.0, sum(m * x for m, x in zip(row, xyz, strict=True))))
        rgb.append(round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)))
    return rgb[0], rgb[1], rgb[2]


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """An ICC profile (version 2.4) of sRGB as an input device, as PS3.3 C.11.15.1.1 asks for; always the same bytes.

    The transfer curve is sampled at 1024 places from its definition, IEC 61966-2-1.
    """
    curve = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (i / 1023 for i in range(1024))]
    samples = b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *(round(65535 * v) for v in curve))
    name = b"sRGB IEC61966-2-1"
    description = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + b"\0" + bytes(78)
    tags = [
        (b"desc", description),
        (b"cprt", b"text" + bytes(4) + b"No copyright, use freely\0"),
        (b"wtpt", _xyz(_D50)),
        *((b"rgb"[i : i + 1] + b"XYZ", _xyz(tuple(row[i] for row in _RGB_XYZ_D50))) for i in range(3)),
        *((b"rgb"[i : i + 1] + b"TRC", samples) for i in range(3)),
    ]
    places: dict[bytes, int] = {}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags:
        if content not in places:  # the three curves are one
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += tag + struct.pack(">II", places[content], len(content))
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"scnr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += _fixed(_D50)
    return head + bytes(128 - len(head)) + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: tuple[float, ...]) -> bytes:
    """Numbers of 16 bits before and after the point."""
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))
