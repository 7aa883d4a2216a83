"""Palettes: which colour each grey level becomes (PS3.3 C.7.9, PS3.6 annex B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.color import parse_color
from dicom_ml.objects.presentation.lookup import table_entries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PALETTES", "Palette"]

#: Names of the standard's palettes (PS3.6 table B.1-1) and pydicom's files of them.
PALETTES = {
    "hot iron": "hotiron",
    "pet": "pet",
    "hot metal blue": "hotmetalblue",
    "pet 20 step": "pet20step",
    "spring": "spring",
    "summer": "summer",
    "fall": "fall",
    "winter": "winter",
}
_CHANNELS = ("Red", "Green", "Blue")


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours of the grey levels, lowest first.

    Parameters
    ----------
    colors : array_like of shape (N, 3)
        uint8, or uint16 over the whole 16 bits; 2 to 65536 of them.
    uid : str
        Of a well-known palette, whose tables these must be.
    first : int
        Value that the first colour is for, of palettes that are indexed by stored values.

    See Also
    --------
    Palette.named : the palettes of the standard.
    Palette.of : a ramp through a few colours.
    """

    colors: npt.NDArray[Any]
    uid: str = ""
    first: int = 0

    def __post_init__(self) -> None:
        colors = np.array(self.colors)
        if colors.ndim != 2 or colors.shape[1] != 3 or not 2 <= len(colors) <= 65536:
            raise EncodingError(f"a palette has 2 to 65536 colours of three numbers, found shape {colors.shape}")
        if colors.dtype not in (np.uint8, np.uint16):
            raise EncodingError(f"a palette's colours are uint8 or uint16, found {colors.dtype}")
        colors.setflags(write=False)
        object.__setattr__(self, "colors", colors)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Palette)
            and (self.uid, self.first) == (other.uid, other.first)
            and np.array_equal(self.colors, other.colors)
        )

    def __hash__(self) -> int:
        return hash((self.uid, self.colors.tobytes()))

    def __repr__(self) -> str:
        return f"Palette({len(self.colors)} colours of {self.bits} bits{', ' + self.uid if self.uid else ''})"

    @property
    def bits(self) -> int:
        """Bits of a component."""
        return 8 * self.colors.dtype.itemsize

    # ------------------------------------------------------------------ where palettes come from
    @classmethod
    def named(cls, name: str) -> Palette:
        """A palette of the standard: ``"hot iron"``, ``"pet"``, ``"hot metal blue"``, ``"pet 20 step"`` or a season.

        Raises
        ------
        EncodingError
            If there is none of that name.
        """
        return _named(" ".join(name.replace("_", " ").casefold().split()))

    @classmethod
    def of(cls, colors: Sequence[Any], count: int = 256) -> Palette:
        """A ramp of ``count`` colours, linear in sRGB, through the given ones, evenly spaced.

        Parameters
        ----------
        colors : sequence of ``"#rrggbb"`` or (r, g, b)
        count : int
        """
        stops = np.array([parse_color(c) for c in colors], dtype=np.float64)
        if len(stops) < 2:
            raise EncodingError("a ramp needs two colours or more")
        place = np.linspace(0, len(stops) - 1, count)
        ramp = np.stack([np.interp(place, np.arange(len(stops)), stops[:, i]) for i in range(3)], axis=1)
        return cls(np.rint(ramp).astype(np.uint8))

    # ------------------------------------------------------------------ use
    def apply(self, unit: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Colours, uint8 of shape (..., 3), of values from 0 to 1 that span the whole palette."""
        index = np.rint(np.asarray(unit, dtype=np.float64) * (len(self.colors) - 1)).astype(np.intp)
        colors = self.colors if self.bits == 8 else np.rint(self.colors / 257.0).astype(np.uint8)
        return np.asarray(colors[index], dtype=np.uint8)

    def add_to(self, ds: Dataset) -> None:
        """Write the Palette Color Lookup Table module, with entries of 16 bits, which every reader takes."""
        from pydicom import DataElement

        wide = self.colors.astype("<u2") * (257 if self.bits == 8 else 1)  # the value in both bytes (C.7.6.3.1.6)
        for place, channel in enumerate(_CHANNELS):
            ds.add(DataElement(0x00281101 + place, "US", [len(self.colors) & 0xFFFF, self.first, 16]))
            data = np.ascontiguousarray(wide[:, place]).astype("<u2").tobytes()
            setattr(ds, f"{channel}PaletteColorLookupTableData", data)
        if self.uid:
            ds.PaletteColorLookupTableUID = self.uid

    @classmethod
    def from_dataset(cls, ds: Dataset) -> Palette | None:
        """The palette of any maker's data set, segmented or not; None where it has none.

        Raises
        ------
        FileError
            If its tables are not whole.
        """
        if "RedPaletteColorLookupTableDescriptor" not in ds:
            return None
        channels = []
        first = 0
        for channel in _CHANNELS:
            try:
                count, first, bits = (int(v) for v in ds[f"{channel}PaletteColorLookupTableDescriptor"].value)
            except (KeyError, TypeError, ValueError) as error:
                raise FileError(
                    f"the {channel.lower()} table of a palette has no descriptor of three values"
                ) from error
            count = (count & 0xFFFF) or 65536
            channels.append(_channel(ds, channel, count, bits))
        if len({len(c) for c in channels}) != 1:
            raise FileError("the tables of a palette differ in length")
        wide = any(c.dtype == np.uint16 for c in channels)
        colors = np.stack([c.astype(np.uint16) * 257 if wide and c.dtype == np.uint8 else c for c in channels], axis=1)
        if wide and not (colors % 257).any():
            colors = (colors // 257).astype(np.uint8)  # 8 bits, written in 16
        return cls(colors, str(ds.get("PaletteColorLookupTableUID") or ""), first)


def _channel(ds: Dataset, channel: str, count: int, bits: int) -> npt.NDArray[Any]:
    keyword = f"{channel}PaletteColorLookupTableData"
    if f"Segmented{keyword}" in ds:
        values = _expanded(ds[f"Segmented{keyword}"].value, bits)
        if len(values) < count:
            raise FileError(f"a segmented palette expands to {len(values)} entries, its descriptor says {count}")
        entries = np.array(values[:count], dtype=np.uint16)
    elif keyword in ds:
        entries = table_entries(ds[keyword].value, count, bits)
    else:
        raise FileError(f"a palette has a {channel.lower()} descriptor but no data")
    if bits <= 8 and entries.max() <= 255:
        return entries.astype(np.uint8)
    if bits <= 8:  # makers that declare 8 bits and fill 16
        return (entries >> 8).astype(np.uint8)
    return entries


def _expanded(raw: bytes, bits: int) -> list[int]:
    """Entries of segmented data: discrete, linear and indirect segments (PS3.3 C.7.9.2)."""
    cells = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2") if bits > 8 else np.frombuffer(raw, np.uint8)
    data = [int(v) for v in cells]
    found: list[int] = []
    _expand(data, 0, len(data), found, bits, None)
    return found


def _expand(data: list[int], at: int, end: int, found: list[int], bits: int, left: int | None) -> None:
    while at + 1 < end and (left is None or left > 0):
        opcode, length = data[at], data[at + 1]
        if opcode == 0:
            found.extend(data[at + 2 : at + 2 + length])
            at += 2 + length
        elif opcode == 1:
            if not found or at + 2 >= end:
                raise FileError("a segmented palette begins with a linear segment")
            start, stop = found[-1], data[at + 2]
            found.extend(round(start + (stop - start) * (i + 1) / length) for i in range(length))
            at += 3
        elif opcode == 2 and left is None:
            cells = data[at + 2 : at + (4 if bits > 8 else 6)]
            offset = sum(c << ((16 if bits > 8 else 8) * i) for i, c in enumerate(cells))
            _expand(data, offset, end, found, bits, length)
            at += 2 + len(cells)
        else:
            raise FileError(f"a segmented palette holds a segment of unknown kind {opcode}")
        left = None if left is None else left - 1


@lru_cache(maxsize=16)
def _named(name: str) -> Palette:
    if name not in PALETTES:
        raise EncodingError(f"there is no palette {name!r}; known are {', '.join(PALETTES)}")
    from pydicom import dcmread
    from pydicom.data import get_palette_files

    palette = Palette.from_dataset(dcmread(get_palette_files(f"{PALETTES[name]}.dcm")[0]))
    assert palette is not None
    return palette
