"""Regions of reports as graphics of presentation states, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.presentation.graphics import Annotation, Graphic, Text
from dicom_ml.objects.report.canvas import Canvas, convert, rebase
from dicom_ml.objects.report.descriptions import MeasurementGroup
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.regions import (
    Box,
    Circle,
    Contours,
    Ellipse,
    Ellipsoid,
    MultiPoint,
    Point,
    Polygon,
    Polyline,
    Region,
    Shape,
)

__all__ = ["annotations_of_regions", "shape_of_graphic"]

FloatArray = npt.NDArray[np.float64]


def annotations_of_regions(given: Any, canvas: Canvas, array: Canvas | None, layer: str) -> list[Annotation]:
    """Annotations of regions, one for each image that a region lies on.

    Parameters
    ----------
    given : iterable or Report
        Regions; pairs of a region and a text to write beside it; or measurement groups, whose finding, tracking
        identifier and first measurement make the text.
    canvas : Canvas
        Of the images that are annotated.
    array : Canvas, optional
        On whose indices regions lie, where they are not those of the images.
    layer : str

    Raises
    ------
    EncodingError, GeometryError
        If a region has no outline on any image.
    """
    found = []
    for one in getattr(given, "groups", given):  # a report, or what it holds
        region, text, tracking = _parts(one)
        if not isinstance(region, Shape | Contours):
            raise EncodingError(
                f"a {region.kind if isinstance(region, Region) else type(region).__name__} has no outline to draw; "
                "presentation states show points, lines, outlines, boxes and ellipsoids"
            )
        if array is not None:
            region = rebase(region, array, canvas)
        pieces = list(_graphics(region, canvas))
        if not pieces:
            raise EncodingError(f"the {region.kind} lies on no image of the source")
        for d, graphics in pieces:
            texts = [] if not text else [_beside(graphics, text)]
            # on a slide, coordinates are those of its finest level
            images = tuple(dict.fromkeys(canvas.references)) if canvas.is_slide else (canvas.image(d),)
            found.append(Annotation(tuple(graphics), tuple(texts), layer, images, *tracking))
    return found


def _parts(one: Any) -> tuple[Any, str, tuple[str | None, str | None]]:
    if isinstance(one, MeasurementGroup):
        names = [one.finding.meaning if one.finding is not None else "", one.tracking_id or ""]
        measured = [f"{m.value:g} {m.unit.value if m.unit is not None else ''}".strip() for m in one.measurements[:1]
                    if m.value is not None]  # fmt: skip
        text = "\n".join(dict.fromkeys(t for t in (*names, *measured) if t))
        both = one.tracking_id is not None and one.tracking_uid is not None
        return one.region, text, (one.tracking_id, one.tracking_uid) if both else (None, None)
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], str):
        return one[0], one[1], (None, None)
    return one, "", (None, None)


def _beside(graphics: Sequence[Graphic], text: str) -> Text:
    """The text, anchored at the rightmost point of the upper half."""
    points = np.concatenate([g.points for g in graphics])
    row, column = points[np.lexsort((points[:, 0], -points[:, 1]))[0]].tolist()
    return Text(text, (row, column), anchor_visible=True, units=graphics[0].units)


def _graphics(region: Shape | Contours, canvas: Canvas) -> Iterator[tuple[int | None, list[Graphic]]]:
    """The slices that a region lies on, and its graphics on each."""
    units = "matrix" if canvas.is_slide else "pixel"
    if isinstance(region, Contours):
        for piece in region.pieces:
            yield from _graphics(piece, canvas)
        return
    if region.space == "mm":
        moved = convert(region, canvas, "index")
        if isinstance(moved, Shape) and moved.space == "mm":
            raise GeometryError(f"the {region.kind} cannot be placed on the source's images")
        assert isinstance(moved, Shape | Contours)
        yield from _graphics(moved, canvas)
        return
    if isinstance(region, Ellipsoid):
        yield from _sections(region, canvas)
    elif isinstance(region, Box) and region.dimensions == 3:
        first, last = math.floor(region.start[0] + 0.5), math.ceil(region.stop[0] - 0.5)
        face = region.corners[:4, 1:]
        for d in range(max(0, first), min(len(canvas.references), max(last, first + 1))):
            yield d, [Graphic("polyline", np.vstack([face, face[:1]]), units=units)]
    elif region.dimensions == 3:
        raise EncodingError(
            f"the {region.kind} lies on no single slice; draw its projection or its points on slices yourself"
        )
    else:
        place = region.slice
        if place is None and region.image is not None and not canvas.is_slide:
            place = canvas.slice_of(region.image)  # read from a report that does not say how its images lie
            if place is None:
                raise EncodingError(f"the {region.kind} lies on an image that is not of the source")
        yield place, _flat(region, units)


def _flat(region: Shape, units: str) -> list[Graphic]:
    points = region.points
    if isinstance(region, Point | MultiPoint):
        return [Graphic("point", p, units=units) for p in points]
    if isinstance(region, Circle):
        return [Graphic("circle", points, units=units)]
    if isinstance(region, Ellipse):
        return [Graphic("ellipse", points, units=units)]
    if isinstance(region, Box):
        points = region.corners
    if isinstance(region, Box | Polygon):
        points = np.vstack([points, points[:1]])
    return [Graphic("polyline", points, units=units)]


def _sections(region: Ellipsoid, canvas: Canvas) -> Iterator[tuple[int, list[Graphic]]]:
    """Ellipses in which the middle planes of slices cut an ellipsoid."""
    center, axes = region.center, region.semi_axes
    form = np.linalg.inv(axes.T @ axes)  # x' form x = 1
    reach = float(np.sqrt((axes[:, 0] ** 2).sum()))
    for d in range(max(0, math.floor(center[0] - reach)), min(len(canvas.references), math.ceil(center[0] + reach))):
        step = d + 0.5 - center[0]
        flat, mixed = form[1:, 1:], form[1:, 0] * step
        shift = -np.linalg.solve(flat, mixed)
        left = 1 - form[0, 0] * step**2 - mixed @ shift
        if left <= 1e-9:
            continue
        values, vectors = np.linalg.eigh(flat / left)
        half = vectors.T / np.sqrt(values)[:, None]  # the longest first
        middle = center[1:] + shift
        ends = np.array([middle - half[0], middle + half[0], middle - half[1], middle + half[1]])
        yield d, [Graphic("ellipse", ends)]


def shape_of_graphic(graphic: Graphic, slice: int | None, image: Reference | None) -> Shape:
    """The region that a graphic in pixel or matrix units is.

    Raises
    ------
    EncodingError
        If it lies in fractions of the display.
    """
    points = graphic.points
    if graphic.units == "display":
        raise EncodingError("a graphic in units of the display lies on no pixels until the displayed area is known")
    if graphic.kind == "point":
        return Point(points[0], slice, image=image)
    if graphic.kind == "circle":
        return Circle(points[0], float(np.linalg.norm(points[1] - points[0])), slice, image)
    if graphic.kind == "ellipse":
        return Ellipse(points, slice, image=image)
    if graphic.is_closed:
        return Polygon(points[:-1], slice, image=image)
    return Polyline(points, slice, image=image)
