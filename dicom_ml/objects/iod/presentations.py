"""Checks of presentation states (PS3.3 A.33, C.10, C.11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_presentation"]

#: Points of each graphic type: exactly, or at least.
_GRAPHICS = {"POINT": (1, 1), "POLYLINE": (2, 0), "INTERPOLATED": (2, 0), "CIRCLE": (2, 2), "ELLIPSE": (4, 4)}


def check_presentation(subject: Subject, out: Findings) -> None:
    """Referenced images, displayed areas, graphic layers and annotations."""
    ds = subject.ds
    referenced = _referenced(ds)
    for place, item in enumerate(items_of(ds, "DisplayedAreaSelectionSequence"), start=1):
        path = f"DisplayedAreaSelectionSequence[{place}]"
        _check_area(item, path, out)
        _check_images(item, path, referenced, out)
    areas = items_of(ds, "DisplayedAreaSelectionSequence")
    covered = {u for item in areas for u in _images(item)}
    if areas and all(_images(item) for item in areas) and referenced - covered:
        out.error(
            where("", "DisplayedAreaSelectionSequence"),
            f"{len(referenced - covered)} referenced images have no displayed area", "", "C.10.4",
        )  # fmt: skip
    layers = [text(item, "GraphicLayer") for item in items_of(ds, "GraphicLayerSequence")]
    for place, layer in enumerate(layers, start=1):
        if layers.index(layer) != place - 1:
            out.error(where(f"GraphicLayerSequence[{place}]", "GraphicLayer"), "is named twice", "", "C.10.7")
    orders = [number(item, "GraphicLayerOrder") for item in items_of(ds, "GraphicLayerSequence")]
    if None not in orders and len(set(orders)) != len(orders):
        out.error(where("GraphicLayerSequence[1]", "GraphicLayerOrder"), "is that of another, too", "", "C.10.7")
    for place, item in enumerate(items_of(ds, "GraphicAnnotationSequence"), start=1):
        path = f"GraphicAnnotationSequence[{place}]"
        if text(item, "GraphicLayer") not in layers:
            out.error(where(path, "GraphicLayer"), "is no layer that is described", "", "C.10.5")
        _check_images(item, path, referenced, out)
        _check_annotation(item, path, out)
    for keyword in ("SoftcopyVOILUTSequence",):
        for place, item in enumerate(items_of(ds, keyword), start=1):
            _check_images(item, f"{keyword}[{place}]", referenced, out)
            _check_window(item, f"{keyword}[{place}]", out)


def _images(item: Dataset) -> set[str]:
    return {text(image, "ReferencedSOPInstanceUID") for image in items_of(item, "ReferencedImageSequence")}


def _referenced(ds: Dataset) -> set[str]:
    """Images that the state is for."""
    found: set[str] = set()
    holders = [ds, *items_of(ds, "BlendingSequence"), *items_of(ds, "AdvancedBlendingSequence")]
    for holder in holders:
        for series in items_of(holder, "ReferencedSeriesSequence"):
            found |= _images(series)
        found |= _images(holder) if holder is not ds else set()
    return found


def _check_images(item: Dataset, path: str, referenced: set[str], out: Findings) -> None:
    for place, image in enumerate(items_of(item, "ReferencedImageSequence"), start=1):
        uid = text(image, "ReferencedSOPInstanceUID")
        if referenced and uid not in referenced:
            here = where(f"{path}.ReferencedImageSequence[{place}]", "ReferencedSOPInstanceUID")
            out.error(here, f"{uid} is no image that the presentation state is for", "", "C.11.11")


def _check_area(item: Dataset, path: str, out: Findings) -> None:
    corners = [numbers(item, f"DisplayedArea{c}HandCorner") for c in ("TopLeft", "BottomRight")]
    if all(len(c) == 2 for c in corners):
        (left, top), (right, bottom) = corners
        if left == right and top == bottom and (left, top) != (1, 1):
            message = "is a single pixel"
            out.warning(where(path, "DisplayedAreaBottomRightHandCorner"), message, "", "C.10.4")
        elif right < left or bottom < top:
            message = f"({right:g}, {bottom:g}) lies above or left of the other corner ({left:g}, {top:g})"
            out.error(where(path, "DisplayedAreaBottomRightHandCorner"), message, "columns and rows, from 1", "C.10.4")
    mode, spacing = text(item, "PresentationSizeMode"), numbers(item, "PresentationPixelSpacing")
    if mode == "TRUE SIZE" and len(spacing) != 2:
        out.error(where(path, "PresentationPixelSpacing"), "is missing, which TRUE SIZE needs", "", "C.10.4")
    if mode == "MAGNIFY" and not number(item, "PresentationPixelMagnificationRatio"):
        here = where(path, "PresentationPixelMagnificationRatio")
        out.error(here, "is missing, which MAGNIFY needs", "", "C.10.4")


def _check_annotation(item: Dataset, path: str, out: Findings) -> None:
    graphics, texts = items_of(item, "GraphicObjectSequence"), items_of(item, "TextObjectSequence")
    if not graphics and not texts and not items_of(item, "CompoundGraphicSequence"):
        out.error(where(path, "GraphicObjectSequence"), "is missing, and so is any text", "", "C.10.5")
    for place, graphic in enumerate(graphics, start=1):
        inner = f"{path}.GraphicObjectSequence[{place}]"
        data, kind = numbers(graphic, "GraphicData"), text(graphic, "GraphicType")
        stated, size = number(graphic, "NumberOfGraphicPoints"), int(number(graphic, "GraphicDimensions") or 2)
        if len(data) % size or len(data) // size != (stated or 0):
            message = f"holds {len(data)} numbers of {stated or 0:g} points"
            out.error(where(inner, "GraphicData"), message, "", "C.10.5.1.2")
            continue
        least, exactly = _GRAPHICS.get(kind, (1, 0))
        count = len(data) // size
        if (exactly and count != exactly) or count < least:
            out.error(where(inner, "GraphicData"), f"has {count} points, which are no {kind}", "", "C.10.5.1.2")
        if text(graphic, "GraphicFilled") == "Y" and kind == "POLYLINE" and data[:2] != data[-2:]:
            out.error(where(inner, "GraphicFilled"), "is Y of an open outline", "", "C.10.5")
    for place, note in enumerate(texts, start=1):
        inner = f"{path}.TextObjectSequence[{place}]"
        if "BoundingBoxTopLeftHandCorner" not in note and "AnchorPoint" not in note:
            out.error(where(inner, "AnchorPoint"), "is missing, and so is the bounding box", "", "C.10.5")


def _check_window(item: Dataset, path: str, out: Findings) -> None:
    width = numbers(item, "WindowWidth")
    least = 0 if text(item, "VOILUTFunction") in ("SIGMOID", "LINEAR_EXACT") else 1
    if width and (min(width) < least or min(width) <= 0):
        out.error(where(path, "WindowWidth"), f"is {min(width):g}", f"at least {least or 'more than 0'}", "C.11.2.1.2")
