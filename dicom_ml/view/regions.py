"""Regions of reports on pictures: which slices they lie on, and what a slice shows of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_ml.objects.report.regions import (
    Box,
    Circle,
    Contours,
    Ellipse,
    Ellipsoid,
    MultiPoint,
    Point,
    Polyline,
    Region,
    Shape,
)
from dicom_ml.view.planes import PlaneMap

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Mark", "Trace", "draw_traces", "mark_positions", "outline_of", "traces_on"]

FloatArray = npt.NDArray[np.float64]
_ROUND = 72  # corners of a drawn ellipse
_EDGE = 1e-6  # of a slice: what merely touches it is not on it


@dataclass(frozen=True)
class Mark:
    """A region to be drawn.

    Parameters
    ----------
    region : Region
        In indices of the array that is drawn; what is none of its shapes is not drawn.
    color : tuple of int
        Red, green, blue.
    name : str
        For the legend; marks of one name and colour share a line there.
    text : str
        Beside it on the picture.
    """

    region: Region
    color: tuple[int, int, int]
    name: str = ""
    text: str = ""


@dataclass(frozen=True, eq=False)
class Trace:
    """A line on a picture.

    Attributes
    ----------
    points : ndarray of shape (N, 2)
        Row and column, corners of pixels at whole numbers. One point is a spot.
    closed : bool
    """

    points: FloatArray
    closed: bool = False


def outline_of(shape: Shape) -> FloatArray:
    """Points round a shape, in its own coordinates: corners of boxes, ellipses as polygons.

    Raises
    ------
    ValueError
        If it has three dimensions that no line goes round: a box or an ellipsoid.
    """
    if isinstance(shape, Ellipsoid) or (isinstance(shape, Box) and shape.dimensions == 3):
        raise ValueError(f"no line goes round a {shape.kind} in space")
    if isinstance(shape, Box):
        return shape.corners
    angles = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)[:, None]
    if isinstance(shape, Circle):
        return shape.center + shape.radius * np.hstack([np.cos(angles), np.sin(angles)])
    if isinstance(shape, Ellipse):
        long, short = shape.semi_axes
        return shape.center + np.cos(angles) * long + np.sin(angles) * short
    return shape.points


# ---------------------------------------------------------------------- slices
def traces_on(region: Region, plane: PlaneMap, index: int) -> list[Trace]:
    """What a slice shows of a region.

    Outlines on a slice are shown there, bodies as what the slice cuts of them; other slices across a flat outline
    show it as thick as its slice. A line is shown as far as it runs within the slice.

    Parameters
    ----------
    region : Region
        In indices of the volume's array.
    plane : PlaneMap
    index : int
        Number of the slice, as of :func:`dicom_ml.view.plane_of`.
    """
    found: list[Trace] = []
    for shape in _shapes(region):
        found += _traces(shape, plane, index)
    return found


def _shapes(region: Region) -> Sequence[Shape]:
    pieces = region.pieces if isinstance(region, Contours) else (region,)
    return [p for p in pieces if isinstance(p, Shape) and p.space == "index"]


def _traces(shape: Shape, plane: PlaneMap, index: int) -> Iterator[Trace]:
    if shape.dimensions == 2 and shape.slice is None and plane.shape[0] != 1:
        return  # it lies on an image that is none of these slices
    if isinstance(shape, Ellipsoid):
        yield from _ellipsoid(shape, plane, index)
        return
    if isinstance(shape, Box) and shape.dimensions == 3:
        low, high = _extent(plane(shape.corners))
        if low[0] < index + 1 - _EDGE and high[0] > index + _EDGE:
            (y0, x0), (y1, x1) = low[1:], high[1:]
            yield Trace(np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)]), True)
        return
    flat = shape.dimensions == 2
    ring = outline_of(shape)
    if flat:
        ring = np.column_stack([np.full(len(ring), (shape.slice or 0) + 0.5), ring])
    points = plane(ring)
    if isinstance(shape, Point | MultiPoint):
        for point in points[(points[:, 0] >= index) & (points[:, 0] < index + 1)]:
            yield Trace(point[None, 1:])
    elif isinstance(shape, Polyline):
        yield from _within(points, index)
    elif points[:, 0].min() >= index - _EDGE and points[:, 0].max() <= index + 1 + _EDGE:
        yield Trace(points[:, 1:], True)
    else:
        yield from _sections(points, index, plane.down_or_across(0) if flat else None)


def _extent(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    return points.min(axis=0), points.max(axis=0)


def _within(points: FloatArray, index: int) -> Iterator[Trace]:
    """The parts of a line that run within a slice."""
    for a, b in itertools.pairwise(points):
        run = b[0] - a[0]
        if run == 0:
            if index <= a[0] < index + 1:
                yield Trace(np.array([a[1:], b[1:]]))
            continue
        first, last = sorted(((index - a[0]) / run, (index + 1 - a[0]) / run))
        first, last = max(first, 0.0), min(last, 1.0)
        if last - first > _EDGE:
            yield Trace(np.array([a + first * (b - a), a + last * (b - a)])[:, 1:])


def _sections(points: FloatArray, index: int, thick: int | None) -> Iterator[Trace]:
    """Where the middle plane of a slice cuts the flat area within an outline: lines, or as thick as its slice."""
    middle = index + 0.5
    after = np.roll(points, -1, axis=0)
    side = points[:, 0] >= middle
    crossed = np.flatnonzero(side != np.roll(side, -1))
    a, b = points[crossed], after[crossed]
    part = (middle - a[:, 0]) / (b[:, 0] - a[:, 0])
    places = (a + part[:, None] * (b - a))[:, 1:]
    along = int(np.argmax(np.ptp(places, axis=0))) if len(places) else 0
    places = places[np.argsort(places[:, along])]
    for start, stop in zip(places[::2], places[1::2], strict=False):
        if thick is None:
            yield Trace(np.array([start, stop]))
            continue
        half = np.zeros(2)
        half[thick] = 0.5
        yield Trace(np.array([start - half, stop - half, stop + half, start + half]), True)


def _ellipsoid(shape: Ellipsoid, plane: PlaneMap, index: int) -> Iterator[Trace]:
    """The ellipse in which a slice's middle plane, or the nearest plane within the slice, cuts an ellipsoid."""
    center = plane(shape.center[None])[0]
    axes = plane(shape.center + shape.semi_axes) - center  # rows are the semi-axes
    reach = float(np.linalg.norm(axes[:, 0]))
    off = index + 0.5 - center[0]
    if abs(off) >= reach:
        off = min(max(center[0], index), index + 1) - center[0]
    if abs(off) >= reach * (1 - _EDGE):
        return
    off /= reach
    # in coordinates where the ellipsoid is the unit ball, the plane is at `off` along `normal`
    normal = axes[:, 0] / reach
    rest = np.linalg.svd(normal[None])[2][1:]
    angles = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)[:, None]
    ball = off * normal + np.sqrt(1 - off**2) * (np.cos(angles) * rest[0] + np.sin(angles) * rest[1])
    yield Trace((center + ball @ axes)[:, 1:], True)


# ---------------------------------------------------------------------- which slices
def mark_positions(marks: Sequence[Mark], plane: PlaneMap, count: int) -> list[int]:
    """Slices that show the most of what is marked: as many marks as possible, each where it is in the middle.

    Parameters
    ----------
    marks : sequence of Mark
    plane : PlaneMap
    count : int
        How many at most.

    Returns
    -------
    list of int
        Increasing, without repeats; empty where no mark lies on any slice.
    """
    spans = [span for mark in marks if (span := _span(mark.region, plane)) is not None]
    unseen, chosen = list(spans), list[int]()
    while unseen and len(chosen) < count:
        middles = {(low + high) // 2 for low, high in unseen}
        best = max(sorted(middles), key=lambda m: sum(low <= m <= high for low, high in unseen))
        chosen.append(best)
        unseen = [(low, high) for low, high in unseen if not low <= best <= high]
    left = sorted({d for low, high in spans for d in range(low, high + 1)} - set(chosen))
    more = min(count - len(chosen), len(left))
    chosen += [left[int((k + 0.5) * len(left) / more)] for k in range(more)]
    return sorted(chosen)


def _span(region: Region, plane: PlaneMap) -> tuple[int, int] | None:
    """First and last slice that a region touches."""
    lows, highs = [], []
    for shape in _shapes(region):
        if shape.dimensions == 2 and shape.slice is None and plane.shape[0] != 1:
            continue
        low, high = shape.bounds
        if shape.dimensions == 2:
            d = shape.slice or 0
            low, high = np.array([d, *low]), np.array([d + 1, *high])
        ends = plane(np.stack([low, high]))[:, 0]
        lows.append(ends.min())
        highs.append(ends.max())
    if not lows:
        return None
    first, last = int(np.floor(min(lows) + _EDGE)), int(np.ceil(max(highs) - _EDGE)) - 1
    first, last = max(first, 0), min(max(last, first), plane.count - 1)
    return (first, last) if first <= last else None


# ---------------------------------------------------------------------- drawing
def draw_traces(
    picture: Image, traces: Sequence[Trace], color: tuple[int, int, int], text: str = "", width: int | None = None
) -> None:
    """Draw lines into a picture, whose pixels their coordinates count.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB; it is drawn into.
    traces : sequence of Trace
    color : (red, green, blue)
    text : str
        Written beside the first of them.
    width : int, optional
        Of lines, in pixels; by default as fits the picture.
    """
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    width = width or max(1, round(min(picture.size) / 250))
    inside = None
    for trace in traces:
        points = [(float(x), float(y)) for y, x in trace.points]
        if len(points) == 1:
            x, y = points[0]
            reach = 3 * width
            draw.line([(x - reach, y), (x + reach, y)], fill=color, width=width)
            draw.line([(x, y - reach), (x, y + reach)], fill=color, width=width)
        else:
            draw.line(points + points[:1] if trace.closed else points, fill=color, width=width, joint="curve")
        if inside is None and any(0 <= x < picture.width and 0 <= y < picture.height for x, y in points):
            inside = trace
    if text and inside is not None:
        size = max(12, min(picture.size) // 24)
        top, right = float(inside.points[:, 0].min()), float(inside.points[:, 1].max())
        x = min(max(right + 2 * width, 0), picture.width - size * (1 + 0.6 * len(text)))
        y = min(max(top - size / 2, 0), picture.height - 1.2 * size)
        draw.text((x, y), text, fill=color, font=ImageFont.load_default(size), stroke_width=1, stroke_fill=(0, 0, 0))
