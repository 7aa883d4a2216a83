"""Checks of what is drawn on images against the images: presentation states, structure sets, regions in space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.extent import Extent, placed_images
from dicom_ml.objects.iod.reports import walk_content
from dicom_ml.objects.iod.sources import Known, Sources
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_contours_on", "check_points_in_space", "check_shown_on"]

#: Pixels, or millimetres, that may be drawn beyond the edge.
_EDGE = 1.0
#: Attributes that hold points, and those that say what they count in.
_GRAPHIC = (("GraphicData", "GraphicAnnotationUnits"),)
_TEXT = (("BoundingBoxTopLeftHandCorner", "BoundingBoxAnnotationUnits"), ("AnchorPoint", "AnchorPointAnnotationUnits"))


# ---------------------------------------------------------------------- presentation states
def check_shown_on(subject: Subject, sources: Sources, out: Findings) -> None:
    """Displayed areas show some of their images, and graphics lie on theirs (PS3.3 C.10.4, C.10.5)."""
    ds = subject.ds
    every = {
        text(image, "ReferencedSOPInstanceUID")
        for series in items_of(ds, "ReferencedSeriesSequence")
        for image in items_of(series, "ReferencedImageSequence")
    }
    for place, item in enumerate(items_of(ds, "DisplayedAreaSelectionSequence"), start=1):
        for known in _images(item, every, sources):
            if _check_area(item, f"DisplayedAreaSelectionSequence[{place}]", known, out):
                break
    for place, item in enumerate(items_of(ds, "GraphicAnnotationSequence"), start=1):
        for known in _images(item, every, sources):
            if _check_graphics(item, f"GraphicAnnotationSequence[{place}]", known, out):
                break


def _images(item: Dataset, every: set[str], sources: Sources) -> list[Known]:
    named = {text(image, "ReferencedSOPInstanceUID") for image in items_of(item, "ReferencedImageSequence")}
    found = (sources.known.get(uid) for uid in sorted(named or every))
    return [known for known in found if known is not None and 0 not in known.size]


def _check_area(item: Dataset, path: str, known: Known, out: Findings) -> bool:
    corners = [numbers(item, f"DisplayedArea{c}HandCorner") for c in ("TopLeft", "BottomRight")]
    rows, columns = known.size
    if all(len(c) == 2 for c in corners):
        (left, top), (right, bottom) = corners
        # an area may be larger than the image, but must show some of it
        if left > columns or top > rows or right < 1 or bottom < 1:
            out.error(
                where(path, "DisplayedAreaTopLeftHandCorner"),
                f"columns {left:g} to {right:g}, rows {top:g} to {bottom:g} show nothing of an image of "
                f"{rows} rows and {columns} columns",
                "columns and rows, from 1", "C.10.4",
            )  # fmt: skip
            return True
    shown = numbers(item, "PresentationPixelSpacing")
    keyword, stated = "PresentationPixelSpacing", shown
    if len(shown) != 2:
        keyword, stated = "PresentationPixelAspectRatio", numbers(item, "PresentationPixelAspectRatio")
    own = _spacing(known)
    if own is None or len(stated) != 2 or min(stated) <= 0:
        return False
    ratio, expected = stated[0] / stated[1], own[0] / own[1]
    if abs(ratio / expected - 1) > 0.02:
        message = f"shows pixels {ratio:.4g} times as high as wide; those of the image are {expected:.4g} times"
        out.warning(where(path, keyword), message, "vertical spacing comes first", "C.10.4")
        return True
    return False


def _spacing(known: Known) -> tuple[float, float] | None:
    if known.slide is not None:
        return known.slide.spacing
    if known.axes is None:
        return None
    down, across = (float(v) for v in np.linalg.norm(known.axes, axis=1))
    return (down, across) if down > 0 and across > 0 else None


def _check_graphics(item: Dataset, path: str, known: Known, out: Findings) -> bool:
    rows, columns = known.size
    drawn = [(f"GraphicObjectSequence[{n}]", g) for n, g in enumerate(items_of(item, "GraphicObjectSequence"), start=1)]
    notes = [(f"TextObjectSequence[{n}]", t) for n, t in enumerate(items_of(item, "TextObjectSequence"), start=1)]
    for inner, thing in drawn + notes:
        given = _GRAPHIC if "GraphicData" in thing else _TEXT
        for keyword, unit in given:
            data = numbers(thing, keyword)
            if len(data) < 2 or len(data) % 2 or int(number(thing, "GraphicDimensions") or 2) != 2:
                continue
            if text(thing, unit) == "DISPLAY":
                low, high = (0.0, 0.0), (1.0, 1.0)
                edge, what = 0.05, "the displayed area, from 0 to 1"
            else:
                low, high = (0.0, 0.0), (float(columns), float(rows))
                edge, what = _EDGE, f"an image of {rows} rows and {columns} columns"
            points = np.array(data).reshape(-1, 2)
            outside = ((points < np.array(low) - edge) | (points > np.array(high) + edge)).any(axis=1)
            if outside.any():
                kind = out.error if outside.all() else out.warning
                x, y = points[int(np.flatnonzero(outside)[0])]
                kind(where(f"{path}.{inner}", keyword), f"({x:g}, {y:g}) lies off {what}", "column, row", "C.10.5.1.2")
                return True
    return False


# ---------------------------------------------------------------------- structure sets
def check_contours_on(subject: Subject, sources: Sources, out: Findings) -> None:
    """Contours lie on the slices that they name, and within the images of their structure set (PS3.3 C.8.8.6)."""
    frame = {text(i, "FrameOfReferenceUID") for i in items_of(subject.ds, "ReferencedFrameOfReferenceSequence")}
    placed = [k for k in placed_images(sources.known.values()) if not frame or k.frame_of_reference in frame]
    if not placed:
        return
    extent = Extent(placed)
    reach = _reach(extent, placed)
    for place, roi in enumerate(items_of(subject.ds, "ROIContourSequence"), start=1):
        for count, contour in enumerate(items_of(roi, "ContourSequence"), start=1):
            path = f"ROIContourSequence[{place}].ContourSequence[{count}]"
            data = numbers(contour, "ContourData")
            if len(data) < 3 or len(data) % 3:
                continue
            if _check_contour(contour, path, np.array(data).reshape(-1, 3), sources, extent, reach, out):
                break  # the others of the region are off in the same way


def _check_contour(
    contour: Dataset, path: str, points: Any, sources: Sources, extent: Extent, reach: float, out: Findings
) -> bool:
    here, gap = where(path, "ContourData"), extent.gap
    named = [text(i, "ReferencedSOPInstanceUID") for i in items_of(contour, "ContourImageSequence")]
    for uid in named:
        known = sources.known.get(uid)
        if known is None or known.axes is None or known.origins is None or len(known.origins) != 1:
            continue
        normal = np.cross(known.axes[1], known.axes[0])
        normal = normal / (np.linalg.norm(normal) or 1.0)
        off = float(np.abs((points - known.origins[0]) @ normal).max())
        if off > 0.5 * gap + 0.01:
            message = f"reaches {off:.4g} mm off the plane of the image that it names; slices are {gap:.4g} mm apart"
            out.error(here, message, "name the slice that it was drawn on", "C.8.8.6")
            return True
        if off > 0.1 * gap + 0.01:
            out.warning(here, f"lies {off:.4g} mm off the plane of the image that it names", "", "C.8.8.6")
            return True
    if extent.outside(points, reach).all():
        out.error(here, "lies outside the images of the structure set", "LPS millimetres of their frame", "C.8.8.6")
        return True
    return False


def _reach(extent: Extent, placed: list[Known]) -> float:
    """Millimetres off the box of the images that may be drawn on."""
    axes = placed[0].axes
    assert axes is not None
    return extent.gap + float(np.linalg.norm(axes, axis=1).max()) + _EDGE


# ---------------------------------------------------------------------- reports
def check_points_in_space(subject: Subject, referred: list[Known], out: Findings) -> None:
    """Regions in space lie where one of the images that a report refers to lies (PS3.3 C.18.9)."""
    boxes: dict[str, tuple[Extent, float] | None] = {}
    for path, item, _ in walk_content(subject.ds):
        data = numbers(item, "GraphicData") if text(item, "ValueType") == "SCOORD3D" else []
        if len(data) < 3 or len(data) % 3:
            continue
        frame = text(item, "ReferencedFrameOfReferenceUID")
        if frame not in boxes:
            placed = [k for k in placed_images(referred) if k.frame_of_reference == frame]
            if placed and frame:
                extent = Extent(placed)
                boxes[frame] = extent, _reach(extent, placed)
            else:
                boxes[frame] = None
        box = boxes[frame]
        if box is not None and box[0].outside(np.array(data).reshape(-1, 3), box[1]).all():
            message = "lies outside all images that the report refers to"
            out.error(where(path, "GraphicData"), message, "LPS millimetres of their frame of reference", "C.18.9")
            return
