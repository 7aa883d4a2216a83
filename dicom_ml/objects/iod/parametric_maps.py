"""Checks of parametric maps (PS3.3 A.75, C.8.32) and of real-world value mapping (C.7.6.16.2.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_ml.objects.iod.context import Findings, items_of, number, where
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_parametric_map", "check_real_world_values"]

_INTEGER_ONLY = ("BitsStored", "HighBit", "PixelRepresentation")


def check_parametric_map(subject: Subject, out: Findings) -> None:
    """What the values mean, and that their kind is that of the attributes (C.8.32.2)."""
    ds = subject.ds
    if subject.pixels is not None and subject.pixels.tag != 0x7FE00010:
        for keyword in _INTEGER_ONLY:
            if keyword in ds:
                out.error(
                    where("", keyword), "is present although the values are in floating point",
                    "leave it out", "C.7.6.24",
                )  # fmt: skip
    if subject.pixels is None:
        out.error(where("", "FloatPixelData"), "is missing, and so is any other pixel data", "", "A.75.3")
    found = list(_mappings(subject))
    if not found:
        out.error(
            where("SharedFunctionalGroupsSequence[1]", "RealWorldValueMappingSequence"),
            "is missing: the values have no meaning and no unit",
            "say the quantity, its unit, slope and intercept",
            "C.7.6.16.2.11",
        )


def check_real_world_values(subject: Subject, out: Findings) -> None:
    """Unit, slope and range of each mapping (C.7.6.16.2.11)."""
    section = "C.7.6.16.2.11"
    for path, item in _mappings(subject):
        units = items_of(item, "MeasurementUnitsCodeSequence")
        if not units or not units[0].get("CodeValue"):
            out.error(where(path, "MeasurementUnitsCodeSequence"), "is missing: the values have no unit", "", section)
        lut = "RealWorldValueLUTData" in item
        slope = number(item, "RealWorldValueSlope")
        if not lut and slope is None:
            out.error(where(path, "RealWorldValueSlope"), "is missing", "", section)
        if slope == 0:
            out.error(where(path, "RealWorldValueSlope"), "is 0: every value is the same", "", section)
        ends = [
            number(item, keyword)
            for first, double in (
                ("RealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueFirstValueMapped"),
                ("RealWorldValueLastValueMapped", "DoubleFloatRealWorldValueLastValueMapped"),
            )
            for keyword in ((double,) if double in item else (first,))
        ]
        if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
            out.error(where(path, "RealWorldValueLastValueMapped"), "lies before the first value", "", section)
        for keyword in ("Label", "Explanation"):
            if not str(item.get(f"LUT{keyword}") or "").strip():
                out.error(where(path, f"LUT{keyword}"), "is missing or empty", "", section)


def _mappings(subject: Subject) -> list[tuple[str, Dataset]]:
    found = []
    places = [("SharedFunctionalGroupsSequence[1]", g) for g in items_of(subject.ds, "SharedFunctionalGroupsSequence")]
    if subject.frames is not None:
        places += [(f"PerFrameFunctionalGroupsSequence[{n + 1}]", item) for n, item in subject.frames.examples]
    places.append(("", subject.ds))
    for path, item in places:
        name = f"{path}.RealWorldValueMappingSequence" if path else "RealWorldValueMappingSequence"
        for place, mapping in enumerate(items_of(item, "RealWorldValueMappingSequence"), start=1):
            found.append((f"{name}[{place}]", mapping))
    return found
