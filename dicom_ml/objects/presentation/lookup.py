"""From stored values to what is shown: rescale, windows and lookup tables (PS3.3 C.11.1, C.11.2, C.11.6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.derived import number_string

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["LookupTable", "Rescale", "VOI", "Window", "as_voi", "read_table", "read_voi_items"]

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rescale:
    """``value = slope * stored + intercept`` (PS3.3 C.11.1).

    Parameters
    ----------
    slope, intercept : float
    type : str
        What values are: ``"HU"``, ``"US"`` (unspecified), ...
    """

    slope: float = 1.0
    intercept: float = 0.0
    type: str = "US"

    def __post_init__(self) -> None:
        if not np.isfinite([self.slope, self.intercept]).all() or self.slope == 0:
            raise EncodingError(f"a rescale has a finite slope other than 0, found {self.slope} and {self.intercept}")

    def apply(self, stored: npt.ArrayLike) -> FloatArray:
        """Values of stored pixels."""
        return np.asarray(stored, dtype=np.float64) * self.slope + self.intercept

    def add_to(self, ds: Dataset) -> None:
        """Write the Modality LUT module."""
        ds.RescaleIntercept, ds.RescaleSlope = number_string(self.intercept), number_string(self.slope)
        ds.RescaleType = self.type


@dataclass(frozen=True)
class Window:
    """Values that are spread over the range of display (PS3.3 C.11.2.1.2).

    Parameters
    ----------
    center, width : float
        In the values after the modality's rescale, such as Hounsfield units.
    function : str
        ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.
    explanation : str
        Such as ``"LUNG"``.
    """

    center: float
    width: float
    function: str = "LINEAR"
    explanation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", (self.function or "LINEAR").upper())
        if self.function not in FUNCTIONS:
            raise EncodingError(f"a window's function is one of {', '.join(FUNCTIONS)}, found {self.function!r}")
        least = 1 if self.function == "LINEAR" else 0
        if not np.isfinite([self.center, self.width]).all() or self.width < least or self.width <= 0:
            raise EncodingError(
                f"a {self.function} window has a finite center and a width of at least {least}, found "
                f"{self.center:g} and {self.width:g}"
            )

    def apply(self, values: npt.ArrayLike) -> FloatArray:
        """Values from 0 to 1."""
        x = np.asarray(values, dtype=np.float64)
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (x - self.center) / self.width, -700, 700)))
        center, width = self.center, self.width
        if self.function == "LINEAR":
            center, width = center - 0.5, width - 1
            if width == 0:
                return (x > center).astype(np.float64)
        return np.clip((x - center) / width + 0.5, 0, 1)

    def to_dataset(self) -> Dataset:
        """An item of Softcopy VOI LUT Sequence, without images."""
        from pydicom import Dataset

        item = Dataset()
        item.WindowCenter, item.WindowWidth = number_string(self.center), number_string(self.width)
        if self.explanation:
            item.WindowCenterWidthExplanation = self.explanation[:64]
        if self.function != "LINEAR":
            item.VOILUTFunction = self.function
        return item


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A lookup table: ``output = entries[value - first]``, clamped at both ends (PS3.3 C.11.1.1).

    Parameters
    ----------
    entries : array_like of int
        1 to 65536 of them, each of at most ``bits`` bits.
    first : int
        Value that the first entry is for.
    bits : int
        Bits of an entry, 8 to 16: ``2 ** bits - 1`` is white. By default as few as hold the largest entry.
    explanation : str
    kind : str
        Of a modality LUT, what its output is, such as ``"HU"`` or ``"US"``.
    """

    entries: npt.NDArray[np.uint16]
    first: int = 0
    bits: int = 0
    explanation: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        given = np.array(self.entries)
        if given.ndim != 1 or not 1 <= given.size <= 65536 or given.dtype.kind not in "iu":
            raise EncodingError(f"a lookup table has 1 to 65536 integers in one row, found {given.dtype} {given.shape}")
        if not self.bits:
            object.__setattr__(self, "bits", max(8, min(17, int(given.max()).bit_length())))
        if not 8 <= self.bits <= 16 or given.min() < 0 or given.max() >= 1 << self.bits:
            raise EncodingError(
                f"entries of a lookup table have 8 to 16 bits, here {self.bits}; found values from {given.min()} to "
                f"{given.max()}"
            )
        if not -32768 <= self.first <= 65535:
            raise EncodingError(f"a lookup table's first value has 16 bits, found {self.first}")
        entries = given.astype(np.uint16)
        entries.setflags(write=False)
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "first", int(self.first))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LookupTable):
            return NotImplemented
        same = (self.first, self.bits, self.explanation, self.kind) == (
            other.first,
            other.bits,
            other.explanation,
            other.kind,
        )
        return same and np.array_equal(self.entries, other.entries)

    def __hash__(self) -> int:
        return hash((self.first, self.bits, self.entries.tobytes()))

    def __repr__(self) -> str:
        return f"LookupTable({len(self.entries)} entries of {self.bits} bits from {self.first}, {self.explanation!r})"

    def look_up(self, values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
        """The entries of values, which are rounded."""
        index = np.rint(np.asarray(values, dtype=np.float64)) - self.first
        return np.asarray(self.entries[np.clip(index, 0, len(self.entries) - 1).astype(np.intp)])

    def apply(self, values: npt.ArrayLike) -> FloatArray:
        """Entries of values, from 0 to 1 over the range of their bits."""
        return self.look_up(values) / float((1 << self.bits) - 1)

    def apply_unit(self, values: npt.ArrayLike) -> FloatArray:
        """As a table whose whole input range is 0 to 1 (Presentation LUT, PS3.3 C.11.6.1)."""
        index = np.rint(np.asarray(values, dtype=np.float64) * (len(self.entries) - 1)).astype(np.intp)
        return self.entries[index] / float((1 << self.bits) - 1)

    def to_dataset(self) -> Dataset:
        """An item of a LUT sequence."""
        from pydicom import DataElement, Dataset

        item = Dataset()
        vr = "SS" if self.first < 0 else "US"
        count = len(self.entries) & 0xFFFF
        if vr == "SS" and count > 32767:
            count -= 65536
        item.add(DataElement(0x00283002, vr, [count, self.first, self.bits]))
        if self.explanation:
            item.LUTExplanation = self.explanation[:64]
        if self.kind:
            item.ModalityLUTType = self.kind
        # entries of 8 bits take a byte each (PS3.3 C.11.1.1.1)
        data = self.entries.astype(np.uint8 if self.bits == 8 else "<u2").tobytes()
        item.add(DataElement(0x00283006, "OW", data + bytes(len(data) % 2)))
        return item

    def voi_dataset(self) -> Dataset:
        """An item of Softcopy VOI LUT Sequence, without images."""
        from pydicom import Dataset

        item = Dataset()
        item.VOILUTSequence = [self.to_dataset()]
        return item


Transform: TypeAlias = Window | LookupTable


@dataclass(frozen=True)
class VOI:
    """A window or table, and the images that it is for.

    Parameters
    ----------
    transform : Window, LookupTable or (center, width)
    images : tuple
        Of a state that is read, References. To make one: slices, SOP Instance UIDs or References; empty for all.
    """

    transform: Transform
    images: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "transform", as_transform(self.transform))
        object.__setattr__(self, "images", tuple(self.images))


def as_transform(x: Any) -> Transform:
    """A window or table of whatever describes one: ``(center, width)``, or a preset of a volume.

    Raises
    ------
    EncodingError
        If it describes none.
    """
    if isinstance(x, Window | LookupTable):
        return x
    if hasattr(x, "center") and hasattr(x, "width"):
        return Window(float(x.center), float(x.width), getattr(x, "function", "LINEAR"), getattr(x, "name", ""))
    if hasattr(x, "table") and hasattr(x, "first"):  # a volume's, whose entries run from 0 to 1
        return LookupTable(np.rint(np.asarray(x.table) * 65535).astype(np.uint16), int(x.first), 16, x.name)
    if isinstance(x, tuple | list) and len(x) == 2 and all(np.isscalar(v) for v in x):
        return Window(float(x[0]), float(x[1]))
    raise EncodingError(f"a window is (center, width), a Window, a LookupTable or a volume's preset, found {x!r}")


def as_voi(x: Any) -> tuple[VOI, ...]:
    """One for all images, or a sequence of :class:`VOI`."""
    if x is None:
        return ()
    if isinstance(x, VOI):
        return (x,)
    if isinstance(x, list | tuple) and x and all(isinstance(one, VOI) for one in x):
        return tuple(x)
    return (VOI(as_transform(x)),)


# ---------------------------------------------------------------------- reading
def read_table(item: Dataset, signed: bool | None = None) -> LookupTable:
    """A table of any maker's item (PS3.3 C.11.1.1.1).

    Parameters
    ----------
    item : Dataset
    signed : bool, optional
        Whether the values it is for are signed; the VR of the descriptor does not always tell.

    Raises
    ------
    FileError
        If the item holds no whole table.
    """
    try:
        descriptor = [int(v) for v in item.LUTDescriptor]
        raw = item.LUTData
        count, first, bits = descriptor
    except (AttributeError, TypeError, ValueError) as error:
        raise FileError("a lookup table has no LUT Descriptor of three values, or no LUT Data") from error
    count = (count & 0xFFFF) or 65536
    if (signed or (signed is None and item["LUTDescriptor"].VR == "SS")) and first > 0x7FFF:
        first -= 0x10000
    entries = table_entries(raw, count, bits)
    bits = max(8, min(16, bits))
    if entries.max() >= 1 << bits:  # makers that declare fewer bits than they use
        bits = max(8, math.ceil(math.log2(int(entries.max()) + 1)))
    explanation = str(item.get("LUTExplanation", "") or "")
    return LookupTable(entries, first, bits, explanation, str(item.get("ModalityLUTType", "") or ""))


def table_entries(raw: Any, count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Entries as they come, in bytes or in words.

    Raises
    ------
    FileError
        If there are fewer than ``count``.
    """
    if isinstance(raw, bytes | bytearray):
        # tables of 8-bit entries come as bytes or as words; the length says which
        wide = bits > 8 or len(raw) >= 2 * count
        entries = np.frombuffer(raw[: len(raw) // 2 * 2] if wide else raw, "<u2" if wide else np.uint8)
    else:
        entries = (np.atleast_1d(np.asarray(raw)).astype(np.int64) & 0xFFFF).astype(np.uint16)
        if bits <= 8 and len(entries) * 2 in (count, count + 1):
            entries = np.frombuffer(entries.astype("<u2").tobytes(), np.uint8)
    if len(entries) < count:
        raise FileError(f"a lookup table holds {len(entries)} entries, its descriptor says {count}")
    return entries[:count].astype(np.uint16)


def read_voi_items(item: Dataset, images: tuple[Any, ...] = ()) -> list[VOI]:
    """Windows, then tables, of an item of any maker; what is no window is left out."""

    def several(keyword: str) -> list[Any]:
        value = item.get(keyword)
        if value is None or value == "":
            return []
        return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]

    found = []
    names = several("WindowCenterWidthExplanation")
    function = str(item.get("VOILUTFunction") or "LINEAR")
    for place, (center, width) in enumerate(zip(several("WindowCenter"), several("WindowWidth"), strict=False)):
        name = str(names[place]) if place < len(names) else ""
        try:
            found.append(VOI(Window(float(center), float(width), function, name), images))
        except (EncodingError, ValueError):
            continue
    for table in item.get("VOILUTSequence") or []:
        found.append(VOI(read_table(table), images))
    return found
