"""What the numbers of a parametric map mean, and how real values are stored (PS3.3 C.7.6.16.2.11, C.8.32)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_from_dataset, code_to_dataset, parse_code, parse_unit
from dicom_ml.errors import CodeError, DicomMLError, EncodingError
from dicom_ml.objects.algorithm import check_text
from dicom_ml.objects.derived import number_string

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "Quantity",
    "Storage",
    "as_quantity_list",
    "choose_storage",
    "chosen_channels",
    "mapping_dataset",
    "read_mapping",
    "store",
    "stream_storage",
]

_QUANTITY = Code("246205007", "SCT", "Quantity")
_DTYPES = ("float32", "float64", "uint16")


@dataclass(frozen=True)
class Quantity:
    """What one channel of a parametric map measures.

    Parameters
    ----------
    concept : code
        The quantity, such as ``"DCM:113041"`` (Apparent Diffusion Coefficient).
    unit : code
        UCUM unit, such as ``"mm2/s"``; ``"1"`` for numbers without one.
    label : str, optional
        Short name (LUT Label), up to 16 characters; by default the concept's meaning, cut.
    explanation : str, optional
        Up to 64 characters (LUT Explanation).
    """

    concept: Code
    unit: Code
    label: str = ""
    explanation: str = ""

    def __init__(self, concept: Any, unit: Any = "1", label: str = "", explanation: str = "") -> None:
        object.__setattr__(self, "concept", parse_code(concept))
        object.__setattr__(self, "unit", parse_unit(unit))
        object.__setattr__(self, "label", label or self.concept.meaning[:16].strip())
        object.__setattr__(self, "explanation", explanation or self.concept.meaning[:64])
        check_text("quantity's label", self.label, 16)
        check_text("quantity's explanation", self.explanation, 64)


@dataclass(frozen=True)
class Storage:
    """How real values are stored.

    Attributes
    ----------
    dtype : numpy.dtype
        float32, float64 or uint16.
    slope, intercept : tuple of float
        One a channel: real value = slope x stored value + intercept.
    first, last : tuple of float
        Range of stored values mapped, one a channel.
    padding : float or None
        Stored value that stands for no value.
    """

    dtype: np.dtype[Any]
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    first: tuple[float, ...]
    last: tuple[float, ...]
    padding: float | None = None

    @property
    def is_float(self) -> bool:
        """Whether values are stored as floating point."""
        return self.dtype.kind == "f"


def choose_storage(
    array: npt.NDArray[Any],
    dtype: str | None,
    value_range: Sequence[float] | None,
    padding: float | None,
) -> Storage:
    """Decide how an array ``(C, ...)`` of real values is stored.

    Raises
    ------
    EncodingError
        If the type cannot hold the values, or values are not numbers.
    """
    given = array.dtype
    if dtype is None:
        whole = given.kind == "b" or given.name in ("uint8", "uint16")
        dtype = "uint16" if whole else given.name if given.name in _DTYPES else "float32"
    if dtype not in _DTYPES:
        raise EncodingError(
            f"a parametric map is stored as {', '.join(_DTYPES)} (PS3.3 C.8.32.2 has no 8-bit maps), found {dtype!r}"
        )
    target = np.dtype(dtype)
    lows, highs = zip(*(_range(channel, padding) for channel in array), strict=True)
    ones, zeros = (1.0,) * len(array), (0.0,) * len(array)
    if target.kind == "f":
        if max(abs(v) for v in (*lows, *highs)) > float(np.finfo(target).max):
            raise EncodingError(f"values up to {max(highs):.4g} do not fit into {dtype}; store them as float64")
        return Storage(target, ones, zeros, lows, highs, padding)
    top = float(np.iinfo(target).max)
    if padding is not None:
        raise EncodingError("padding stands in floating point maps only; store the map as float32")
    if value_range is None and given.kind in "ub" and max(highs) <= top:
        return Storage(target, ones, zeros, zeros, (top,) * len(array))
    if value_range is not None:
        low, high = (float(v) for v in value_range)
        if not low < high:
            raise EncodingError(f"value_range is (lowest, highest), found {tuple(value_range)}")
        if min(lows) < low or max(highs) > high:
            raise EncodingError(
                f"values from {min(lows):.6g} to {max(highs):.6g} pass value_range {low:.6g} to {high:.6g}; "
                "clip them first, or widen it"
            )
        lows, highs = (low,) * len(array), (high,) * len(array)
    # slope and intercept are decimal strings of 16 characters: what is written is what stored values are made with
    slopes = tuple(float(_decimal((h - b) / top)) if h > b else 1.0 for b, h in zip(lows, highs, strict=True))
    intercepts = tuple(float(_decimal(b)) for b in lows)
    return Storage(target, slopes, intercepts, zeros, (top,) * len(array))


def stream_storage(dtype: str, value_range: Sequence[float] | None, channels: int) -> Storage:
    """How values are stored that are not known yet.

    Raises
    ------
    EncodingError
        If integers are asked for without the range that they cover.
    """
    if dtype not in _DTYPES:
        raise EncodingError(f"a parametric map is stored as {', '.join(_DTYPES)}, found {dtype!r}")
    target = np.dtype(dtype)
    ones, zeros = (1.0,) * channels, (0.0,) * channels
    if target.kind == "f":
        low, high = (0.0, 1.0) if value_range is None else (float(v) for v in value_range)
        return Storage(target, ones, zeros, (low,) * channels, (high,) * channels)
    if value_range is None:
        raise EncodingError(
            "integers stand for values in a range that must be known: pass value_range=(lowest, highest)"
        )
    low, high = (float(v) for v in value_range)
    if not low < high:
        raise EncodingError(f"value_range is (lowest, highest), found {tuple(value_range)}")
    top = float(np.iinfo(target).max)
    slope, intercept = float(_decimal((high - low) / top)), float(_decimal(low))
    return Storage(target, (slope,) * channels, (intercept,) * channels, zeros, (top,) * channels)


def _decimal(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(value)


def _range(channel: npt.NDArray[Any], padding: float | None) -> tuple[float, float]:
    """Lowest and highest value of a channel, plane by plane, so that nothing is copied whole."""
    low, high = np.inf, -np.inf
    for plane in channel.reshape(-1, *channel.shape[-2:]):
        a, b = float(plane.min()), float(plane.max())
        if not np.isfinite([a, b]).all():
            if padding is None or np.isinf(plane).any():
                raise EncodingError(
                    "the map holds values that are not finite numbers; pass padding=number, which then stands for "
                    "voxels without a value (NaN), or replace them"
                )
            finite = plane[np.isfinite(plane)]
            if not finite.size:
                continue
            a, b = float(finite.min()), float(finite.max())
        low, high = min(low, a), max(high, b)
    return (low, high) if low <= high else (0.0, 0.0)


def store(plane: npt.NDArray[Any], storage: Storage, channel: int) -> npt.NDArray[Any]:
    """Stored values of a plane of real values."""
    if storage.is_float:
        values = np.ascontiguousarray(plane, dtype=storage.dtype.newbyteorder("<"))
        if storage.padding is not None:
            values = np.where(np.isnan(values), storage.dtype.type(storage.padding), values)
        return values
    slope, intercept = storage.slope[channel], storage.intercept[channel]
    if (slope, intercept) == (1.0, 0.0):
        return np.ascontiguousarray(plane, dtype=storage.dtype)
    scaled = np.rint((plane.astype(np.float64) - intercept) / slope)
    return np.clip(scaled, 0, np.iinfo(storage.dtype).max).astype(storage.dtype)


def mapping_dataset(quantity: Quantity, storage: Storage, channel: int) -> Dataset:
    """An item of Real World Value Mapping."""
    from pydicom import Dataset

    item, definition = Dataset(), Dataset()
    item.LUTExplanation = quantity.explanation
    item.LUTLabel = quantity.label
    item.MeasurementUnitsCodeSequence = [code_to_dataset(quantity.unit)]
    if storage.is_float:
        item.DoubleFloatRealWorldValueFirstValueMapped = storage.first[channel]
        item.DoubleFloatRealWorldValueLastValueMapped = storage.last[channel]
    else:
        item.RealWorldValueFirstValueMapped = int(storage.first[channel])
        item.RealWorldValueLastValueMapped = int(storage.last[channel])
    item.RealWorldValueIntercept = storage.intercept[channel]
    item.RealWorldValueSlope = storage.slope[channel]
    definition.ValueType = "CODE"
    definition.ConceptNameCodeSequence = [code_to_dataset(_QUANTITY)]
    definition.ConceptCodeSequence = [code_to_dataset(quantity.concept)]
    item.QuantityDefinitionSequence = [definition]
    return item


def read_mapping(item: Dataset) -> tuple[Quantity, float, float, npt.NDArray[np.float64] | None, float]:
    """Quantity, slope, intercept, and table and first value of a look-up mapping, of an item that anybody wrote."""
    unit_items = item.get("MeasurementUnitsCodeSequence") or []
    concept = Code("UNKNOWN", "99UNKNOWN", "Unknown")
    for definition in item.get("QuantityDefinitionSequence") or []:
        codes, names = definition.get("ConceptCodeSequence"), definition.get("ConceptNameCodeSequence")
        if codes and (not names or code_from_dataset(names[0]) in (_QUANTITY, Code("G-C1C6", "SRT", "Quantity"))):
            concept = code_from_dataset(codes[0])
            break
    try:
        unit = code_from_dataset(unit_items[0]) if unit_items else Code("1", "UCUM", "no units")
    except DicomMLError:
        unit = Code("1", "UCUM", "no units")
    quantity = object.__new__(Quantity)
    for name, value in (
        ("concept", concept),
        ("unit", unit),
        ("label", str(item.get("LUTLabel") or "")),
        ("explanation", str(item.get("LUTExplanation") or "")),
    ):
        object.__setattr__(quantity, name, value)
    table = item.get("RealWorldValueLUTData")
    first = item.get("RealWorldValueFirstValueMapped")
    if table is not None:
        return quantity, 1.0, 0.0, np.asarray(table, dtype=np.float64), float(first or 0)
    slope, intercept = item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept")
    return quantity, float(1.0 if slope is None else slope), float(intercept or 0.0), None, 0.0


def window(storage: Storage) -> tuple[str, str]:
    """Window centre and width, in stored values, that show the whole range."""
    low, high = min(storage.first), max(storage.last)
    width = max(high - low, 1e-6 if storage.is_float else 1.0)
    return number_string((low + high) / 2), number_string(width)


def as_quantity_list(quantity: Any, unit: Any, channels: int) -> list[Quantity]:
    """A quantity for each channel.

    Raises
    ------
    EncodingError
        If there are more or fewer, or two have the same label.
    """
    several = isinstance(quantity, list) or (
        isinstance(quantity, tuple) and not all(isinstance(part, str) for part in quantity)
    )
    listed = list(quantity) if several else [quantity]
    units = list(unit) if isinstance(unit, list) else [unit] * len(listed)
    if len(listed) != channels or len(units) != len(listed):
        raise EncodingError(f"the map has {channels} channels, {len(listed)} quantities and {len(units)} units")
    found = [q if isinstance(q, Quantity) else Quantity(q, u) for q, u in zip(listed, units, strict=True)]
    labels = [q.label for q in found]
    if len(set(labels)) != len(labels):
        raise EncodingError(f"quantities need labels that differ, found {labels}; pass Quantity(..., label=...)")
    return found


def chosen_channels(quantities: Sequence[Quantity], wanted: Sequence[Any] | None) -> list[int]:
    """Places of the quantities that are wanted by place, label or concept; all where None.

    Raises
    ------
    CodeError
        If none, or several, are meant.
    """
    if wanted is None:
        return list(range(len(quantities)))
    found = []
    for want in wanted:
        if isinstance(want, int):
            hits = [want] if 0 <= want < len(quantities) else []
        else:
            hits = [i for i, q in enumerate(quantities) if isinstance(want, str) and q.label == want]
            if not hits:
                try:
                    code = parse_code(want)
                    hits = [i for i, q in enumerate(quantities) if q.concept == code]
                except CodeError:
                    hits = []
        if len(hits) != 1:
            raise CodeError(f"{len(hits)} quantities are {want!r}; the map has {[q.label for q in quantities]}")
        found.append(hits[0])
    return found
