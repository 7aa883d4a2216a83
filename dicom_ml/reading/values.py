"""From stored pixel values to real-world values: rescale, lookup tables, real-world value maps (PS3.3 C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_from_dataset, parse_unit
from dicom_ml.errors import CodeError, SeriesError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["LARGEST", "LinearMap", "TableMap", "ValueMap", "modality_unit", "parse_lut", "pet_unit", "real_world_maps"]

# Images move through the cache in pieces of this many pixels on the exact (float64) path.
_CHUNK = 64 * 1024
_FLOAT32_EXACT = 1 << 24
#: Slopes and intercepts beyond this would make infinite float32 values, silently.
LARGEST = 1e30

#: Units (0054,1001) of PET images (PS3.3 C.8.9.1.1.3) in UCUM.
_PET_UNITS = {
    "CNTS": "{counts}",
    "PCNT": "%",
    "CPS": "{counts}/s",
    "BQML": "Bq/ml",
    "MGMINML": "mg/min/ml",
    "UMOLMINML": "umol/min/ml",
    "MLMING": "ml/min/g",
    "MLG": "ml/g",
    "1CM": "/cm",
    "UMOLML": "umol/ml",
    "PROPCNTS": "{propcounts}",
    "PROPCPS": "{propcounts}/s",
    "MLMINML": "ml/min/ml",
    "MLML": "ml/ml",
    "GML": "g/ml",
    "STDDEV": "{stddev}",
}
_SUV_TYPES = {"BSA": "{SUVbsa}cm2/ml", "BW": "{SUVbw}g/ml", "LBM": "{SUVlbm}g/ml", "IBW": "{SUVibw}g/ml"}


@dataclass(frozen=True)
class LinearMap:
    """``value = slope * stored + intercept``."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values are the stored ones."""
        return self.slope == 1.0 and self.intercept == 0.0

    def apply(self, stored: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write the mapped values of ``stored`` into ``out``; rounded once, from float64 where float32 is not exact."""
        if self.is_identity:
            _check_range(stored, out.dtype)
            np.copyto(out, stored, casting="unsafe")
            return
        if out.dtype == np.float32 and stored.dtype.itemsize <= 2 and self._fits_float32():
            # Converted, then scaled where it lies: a third quicker than numpy's conversion piece by piece.
            np.copyto(out, stored, casting="unsafe")
            if self.slope != 1.0:
                out *= np.float32(self.slope)
            if self.intercept:
                out += np.float32(self.intercept)
            return
        source, target = stored.reshape(-1), out.reshape(-1)
        scratch = np.empty(min(_CHUNK, source.size), dtype=np.float64)
        for start in range(0, source.size, _CHUNK):
            part = source[start : start + _CHUNK]
            values = scratch[: part.size]
            np.multiply(part, self.slope, out=values, dtype=np.float64, casting="unsafe")
            values += self.intercept
            if target.dtype.kind in "iu":
                np.rint(values, out=values)
            _check_range(values, target.dtype)
            target[start : start + _CHUNK] = values

    def at(self, stored: float) -> float:
        """The value of one stored pixel."""
        return self.slope * stored + self.intercept

    def _fits_float32(self) -> bool:
        """Whether float32 arithmetic gives the exact result for every 16-bit pixel."""
        if self.slope != int(self.slope) or self.intercept != int(self.intercept):
            return False
        return abs(self.slope) * 65536 + abs(self.intercept) < _FLOAT32_EXACT


@dataclass(frozen=True, eq=False)
class TableMap:
    """A lookup table: ``value = table[stored - first]``, clamped at both ends (PS3.3 C.11.1.1)."""

    first: int
    table: npt.NDArray[np.float64]

    is_identity = False

    def apply(self, stored: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """Write the mapped values of ``stored`` into ``out``."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.table) - 1)
        values = np.rint(self.table[index]) if out.dtype.kind in "iu" else self.table[index]
        _check_range(values, out.dtype)
        np.copyto(out, values, casting="unsafe")

    def at(self, stored: float) -> float:
        """The value of one stored pixel."""
        return float(self.table[min(max(int(stored) - self.first, 0), len(self.table) - 1)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableMap) and self.first == other.first and np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash((self.first, self.table.tobytes()))


ValueMap: TypeAlias = LinearMap | TableMap


def _check_range(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Refuse a type chosen by the caller that cannot hold the values."""
    if np.can_cast(values.dtype, dtype) or (dtype.itemsize >= 4 and dtype.kind == "f"):
        return
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = values.min(), values.max()
    if low < limits.min or high > limits.max:
        raise SeriesError(f"values from {low:g} to {high:g} do not fit into {dtype}; choose a wider dtype")


def parse_lut(item: Dataset, signed: bool) -> tuple[int, int, npt.NDArray[np.float64]]:
    """First value mapped, bits and entries of a lookup table item (PS3.3 C.11.1.1.1).

    Parameters
    ----------
    item : Dataset
        Item with LUT Descriptor and LUT Data.
    signed : bool
        Whether the values that index the table are signed: the descriptor's VR does not always tell.
    """
    try:
        descriptor = [int(v) for v in item.LUTDescriptor]
        raw = item.LUTData
    except (AttributeError, TypeError, ValueError) as error:
        raise SeriesError("a lookup table lacks LUT Descriptor or LUT Data, so its values cannot be known") from error
    if len(descriptor) != 3:
        raise SeriesError(f"a LUT Descriptor has three values, found {len(descriptor)}")
    count, first, bits = descriptor
    count = (count & 0xFFFF) or 65536
    if signed and first > 0x7FFF:
        first -= 0x10000
    if isinstance(raw, bytes):
        # tables of 8-bit entries come as bytes or as words; the length says which
        entries = np.frombuffer(raw, "<u2") if len(raw) >= 2 * count else np.frombuffer(raw, np.uint8)
    else:
        entries = np.atleast_1d(np.asarray(raw)).astype(np.int64) & 0xFFFF
        if bits <= 8 and len(entries) * 2 in (count, count + 1):
            entries = np.frombuffer(entries.astype("<u2").tobytes(), np.uint8)
    if len(entries) < count:
        raise SeriesError(f"a lookup table holds {len(entries)} entries, its descriptor says {count}")
    return first, bits, entries[:count].astype(np.float64)


def real_world_maps(items: list[Dataset]) -> list[tuple[str, Code | None, ValueMap]]:
    """Label, unit and map of each Real World Value Mapping item (PS3.3 C.7.6.16.2.11)."""
    found: list[tuple[str, Code | None, ValueMap]] = []
    for item in items:
        unit = None
        if item.get("MeasurementUnitsCodeSequence"):
            try:
                unit = code_from_dataset(item.MeasurementUnitsCodeSequence[0])
            except CodeError:
                unit = None
        label = str(item.get("LUTLabel", "") or "")
        if "RealWorldValueSlope" in item:
            slope, intercept = float(item.RealWorldValueSlope), float(item.get("RealWorldValueIntercept", 0.0) or 0.0)
            if max(abs(slope), abs(intercept)) <= LARGEST and slope != 0:
                found.append((label, unit, LinearMap(slope, intercept)))
        elif item.get("RealWorldValueLUTData") is not None:
            table = np.atleast_1d(np.asarray(item.RealWorldValueLUTData, dtype=np.float64))
            first = item.get("RealWorldValueFirstValueMapped", item.get("DoubleFloatRealWorldValueFirstValueMapped", 0))
            if (np.abs(table) <= LARGEST).all():
                found.append((label, unit, TableMap(int(first), table)))
    return found


@lru_cache(maxsize=64)
def pet_unit(units: str, suv_type: str = "") -> Code | None:
    """UCUM unit of a PET image's Units (0054,1001)."""
    text = _SUV_TYPES.get(suv_type or "BW", "") if units == "GML" and suv_type else _PET_UNITS.get(units, "")
    return _unit(text)


@lru_cache(maxsize=64)
def modality_unit(modality: str, rescale_type: str | None, localizer: bool) -> Code | None:
    """Unit of rescaled values (PS3.3 C.11.1.1.2): Hounsfield units, or None where the file does not say.

    CT without Rescale Type is in Hounsfield units unless it is a localizer (C.8.2.1.1.6).
    """
    if rescale_type == "HU" or (modality == "CT" and not rescale_type and not localizer):
        return _unit("[hnsf'U]")
    if rescale_type == "OD":
        return None
    if rescale_type == "PCT":
        return _unit("%")
    return None


def _unit(text: str) -> Code | None:
    if not text:
        return None
    try:
        return parse_unit(text)
    except CodeError:
        return Code(text, "UCUM", text)
