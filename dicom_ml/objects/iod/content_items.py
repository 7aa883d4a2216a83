"""Checks of the value of one content item (PS3.3 C.17.3, C.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SINGLE_FRAME", "check_item"]

_NAMED = ("TEXT", "NUM", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME")
#: The attribute that holds the value.
_VALUES = {
    "TEXT": "TextValue",
    "DATETIME": "DateTime",
    "DATE": "Date",
    "TIME": "Time",
    "UIDREF": "UID",
    "PNAME": "PersonName",
}
#: Points of each graphic type: exactly, or at least.
_FLAT = {"POINT": (1, 1), "MULTIPOINT": (1, 0), "POLYLINE": (2, 0), "CIRCLE": (2, 2), "ELLIPSE": (4, 4)}
_SPATIAL = {
    "POINT": (1, 1), "MULTIPOINT": (1, 0), "POLYLINE": (2, 0), "POLYGON": (4, 0), "ELLIPSE": (4, 4),
    "ELLIPSOID": (6, 6),
}  # fmt: skip
_REGION = "111030"
#: SOP classes of images of one frame.
SINGLE_FRAME = frozenset([
    sop.COMPUTED_RADIOGRAPHY, sop.CT_IMAGE, sop.MR_IMAGE, sop.ULTRASOUND_IMAGE, sop.SECONDARY_CAPTURE, sop.PET_IMAGE,
])  # fmt: skip


def check_item(item: Dataset, kind: str, path: str, subject: Subject, out: Findings) -> None:
    """Check name and value of an item."""
    names = items_of(item, "ConceptNameCodeSequence")
    if not names and (kind in _NAMED or not path):
        out.error(where(path, "ConceptNameCodeSequence"), f"is missing of a {kind} item", "", "C.17.3")
    if len(names) > 1:
        out.error(where(path, "ConceptNameCodeSequence"), f"has {len(names)} items", "", "C.17.3")
    if kind == "CONTAINER":
        if text(item, "ContinuityOfContent") not in ("SEPARATE", "CONTINUOUS"):
            out.error(where(path, "ContinuityOfContent"), "is not SEPARATE or CONTINUOUS", "", "C.18.8")
    elif kind in _VALUES:
        if not text(item, _VALUES[kind]):
            out.error(where(path, _VALUES[kind]), f"is missing or empty of a {kind} item", "", "C.17.3")
    elif kind == "CODE":
        if len(items_of(item, "ConceptCodeSequence")) != 1:
            out.error(where(path, "ConceptCodeSequence"), "does not hold one code", "", "C.17.3")
    elif kind == "NUM":
        _check_number(item, path, out)
    elif kind == "SCOORD":
        _check_coordinates(item, path, _FLAT, 2, "C.18.6", out)
        _check_selected(item, path, out)
    elif kind == "SCOORD3D":
        _check_coordinates(item, path, _SPATIAL, 3, "C.18.9", out)
        if not text(item, "ReferencedFrameOfReferenceUID"):
            here = where(path, "ReferencedFrameOfReferenceUID")
            out.error(here, "is missing: the coordinates have no frame of reference", "", "C.18.9")
    elif kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        _check_reference(item, kind, path, out)


def _check_number(item: Dataset, path: str, out: Findings) -> None:
    section = "C.18.1"
    if "MeasuredValueSequence" not in item:
        out.error(where(path, "MeasuredValueSequence"), "is missing", "write it, empty without a value", section)
        return
    measured = items_of(item, "MeasuredValueSequence")
    if not measured:
        if not items_of(item, "NumericValueQualifierCodeSequence"):
            here = where(path, "NumericValueQualifierCodeSequence")
            out.warning(here, "is missing: the number has no value, and why is not said", "", section)
        return
    here = f"{path}.MeasuredValueSequence[1]"
    if number(measured[0], "NumericValue") is None:
        out.error(where(here, "NumericValue"), "is missing or no number", "", section)
    units = items_of(measured[0], "MeasurementUnitsCodeSequence")
    if not units:
        message = "is missing: the number has no unit"
        out.error(where(here, "MeasurementUnitsCodeSequence"), message, "UCUM '1' where there is none", section)


def _check_coordinates(
    item: Dataset, path: str, kinds: dict[str, tuple[int, int]], size: int, section: str, out: Findings
) -> None:
    kind, data = text(item, "GraphicType"), numbers(item, "GraphicData")
    here = where(path, "GraphicData")
    if kind not in kinds:
        shown = f"is {kind!r}" if kind else "is missing"
        out.error(where(path, "GraphicType"), f"{shown}; expected one of {', '.join(kinds)}", "", section)
        return
    if not data or len(data) % size:
        out.error(here, f"holds {len(data)} numbers, which are no points of {size} coordinates", "", section)
        return
    count = len(data) // size
    least, exactly = kinds[kind]
    if exactly and count != exactly:
        out.error(here, f"has {count} points; a {kind} has {exactly}", "", section)
    elif count < least:
        out.error(here, f"has {count} points; a {kind} has at least {least}", "", section)
    elif kind == "POLYGON" and any(abs(a - b) > 1e-3 for a, b in zip(data[:3], data[-3:], strict=True)):
        out.error(here, "is open: the first point of a POLYGON is its last", "repeat the first point", section)
    elif kind == "POLYLINE" and size == 2 and _is_region(item) and not _is_closed(data):
        hint = "repeat the first point at the end"
        out.error(here, "is open, though it outlines an image region", hint, "TID 1410", "PS3.16")


def _is_closed(data: list[float]) -> bool:
    """Whether an outline is closed; two points are a line, and meant to be open."""
    return len(data) == 4 or all(abs(a - b) <= 1e-3 for a, b in zip(data[:2], data[-2:], strict=True))


def _is_region(item: Dataset) -> bool:
    names = items_of(item, "ConceptNameCodeSequence")
    return bool(names) and text(names[0], "CodeValue") == _REGION


def _check_selected(item: Dataset, path: str, out: Findings) -> None:
    """Coordinates are of an image, which they are selected from."""
    children = items_of(item, "ContentSequence")
    images = [c for c in children if text(c, "ValueType") == "IMAGE" or "ReferencedContentItemIdentifier" in c]
    if not images:
        out.error(
            where(path, "ContentSequence"), "holds no image: nobody knows on which the coordinates are",
            "SELECTED FROM an IMAGE item", "C.18.6",
        )  # fmt: skip


def _check_reference(item: Dataset, kind: str, path: str, out: Findings) -> None:
    references = items_of(item, "ReferencedSOPSequence")
    here = where(path, "ReferencedSOPSequence")
    if len(references) != 1:
        out.error(here, f"has {len(references)} items; a {kind} item refers to one object", "", "C.18.3")
        return
    inner, reference = f"{path}.ReferencedSOPSequence[1]", references[0]
    for keyword in ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"):
        if not text(reference, keyword):
            out.error(where(inner, keyword), "is missing or empty", "", "C.18.3")
    for keyword in ("ReferencedFrameNumber", "ReferencedSegmentNumber"):
        found = numbers(reference, keyword)
        if found and min(found) < 1:
            out.error(where(inner, keyword), f"is {min(found):g}; they count from 1", "", "C.18.4")
    if numbers(reference, "ReferencedFrameNumber") and text(reference, "ReferencedSOPClassUID") in SINGLE_FRAME:
        here = where(inner, "ReferencedFrameNumber")
        out.error(here, "is present of an image that has one frame", "leave it out", "C.18.4")
    if numbers(reference, "ReferencedFrameNumber") and numbers(reference, "ReferencedSegmentNumber"):
        here = where(inner, "ReferencedSegmentNumber")
        out.error(here, "stands beside Referenced Frame Number", "write one of them", "C.18.4")
