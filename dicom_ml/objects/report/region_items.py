"""Regions to content items and back (PS3.16 TID 1410 and 1411, PS3.3 C.18.6 and C.18.9).

How a region is written depends on where it lies:

- what lies on one slice of a volume becomes SCOORD on that image, which every viewer shows;
- a box of whole slices becomes a volumetric region of one closed SCOORD outline a slice, the middle one first, since a
  viewer that shows one outline of a group shows the first;
- a box whose faces lie between slices, an ellipsoid, and whatever is in millimetres becomes SCOORD3D in the frame of
  reference: a body is its Volume Surface, a box the outlines of its two faces and of the slices between them;
- on slides everything becomes SCOORD3D, which slide viewers show, unless image coordinates are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas, body_of, convert, outline, rebase
from dicom_ml.objects.report.items import ContentItem, Graphic, Reference, reference_item, uid_item
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
from dicom_ml.objects.report.segments import SegmentationFrame, SegmentReference

__all__ = ["COORDINATES", "RegionReader", "region_items", "shape_item"]

COORDINATES = ("auto", "image", "patient")
_CONTAINS = "CONTAINS"
_SLACK = 1e-3  # pixels by which rounding may push a point over the edge of its image


def region_items(
    region: Region, canvas: Canvas, coordinates: str = "auto", name: Code | None = None
) -> tuple[list[ContentItem], str]:
    """Content items of a group's region, and the template that the group then follows.

    Parameters
    ----------
    region : Region
    canvas : Canvas
    coordinates : str
        ``"auto"``, ``"image"`` for SCOORD or ``"patient"`` for SCOORD3D wherever possible.
    name : Code, optional
        Concept name of outlines, where it is not Image Region or Volume Surface.

    Raises
    ------
    GeometryError, EncodingError
        If the region does not lie on the source, or cannot be written in these coordinates.
    """
    if isinstance(region, SegmentReference):
        segment = reference_item(c.REFERENCED_SEGMENT, region.reference)
        return [segment, _source_series(canvas)], "1411"
    if isinstance(region, SegmentationFrame):
        frame = reference_item(c.REFERENCED_FRAME, region.reference)
        return [frame, reference_item(c.SOURCE_IMAGE, _image_of_frame(region, canvas))], "1410"
    if isinstance(region, Contours):
        return _body(region.pieces, canvas, coordinates, name)
    if isinstance(region, Box) and region.dimensions == 3:
        return _box(region, canvas, coordinates, name)
    if isinstance(region, Ellipsoid):
        moved = _in_mm(region, canvas, coordinates)
        return [_scoord3d(moved, canvas, name or c.VOLUME_SURFACE), _source_series(canvas)], "1411"
    if not isinstance(region, Shape):
        raise EncodingError(f"a region of type {type(region).__name__} cannot be written")
    template = "1501" if isinstance(region, Polyline | MultiPoint) else "1410"
    return [shape_item(region, canvas, coordinates, name or c.IMAGE_REGION)], template


def shape_item(shape: Shape, canvas: Canvas, coordinates: str, name: Code | None, rel: str = _CONTAINS) -> ContentItem:
    """The SCOORD item, with its image, or SCOORD3D item of one shape."""
    flat = shape.space == "index" and shape.dimensions == 2
    if not flat or coordinates == "patient" or (coordinates == "auto" and canvas.is_slide and canvas.grid is not None):
        return _scoord3d(_in_mm(shape, canvas, coordinates), canvas, name, rel)
    return _scoord(shape, canvas, name, rel)


def _in_mm(region: Any, canvas: Canvas, coordinates: str) -> Any:
    if coordinates == "image":
        raise EncodingError(
            f"a {type(region).__name__} in {'millimetres' if region.space == 'mm' else 'three dimensions'} lies on no "
            "single image and cannot be written in image coordinates; leave coordinates= out, or move it onto a slice"
        )
    return convert(region, canvas, "mm")


# ---------------------------------------------------------------------- writing
def _scoord(shape: Shape, canvas: Canvas, name: Code | None, rel: str = _CONTAINS) -> ContentItem:
    image = shape.image if shape.image is not None and shape.slice is None else None
    d = shape.slice if image is None else canvas.slice_of(image)
    reference = canvas.image(d) if image is None or d is not None else image
    if isinstance(shape, Box):
        points = shape.corners
    else:
        points = shape.points
    if canvas.grid is not None:
        (top, left), (bottom, right) = (edge.tolist() for edge in shape.bounds)
        rows, columns = canvas.grid.shape[1:]
        outside = max(-top, -left, bottom - rows, right - columns)
        if outside > _SLACK:
            raise GeometryError(
                f"{shape!r} reaches outside its image of {rows} rows and {columns} columns; cut it off at the edge"
            )
        if outside > 0:
            points = np.clip(points, 0, (rows, columns))
    return _graphic_item("SCOORD", shape, points[:, ::-1], name, rel, "VOLUME" if canvas.is_slide else "", reference)


def _scoord3d(shape: Shape, canvas: Canvas, name: Code | None, rel: str = _CONTAINS) -> ContentItem:
    if not canvas.frame_of_reference_uid:
        raise EncodingError(
            "a region in millimetres needs a frame of reference, which the source has not; give it in array indices"
        )
    points = shape.points_3d
    if isinstance(shape, Box):
        points = np.column_stack([shape.corners, np.full(4, shape.points_3d[0, 2])])
    if isinstance(shape, Polygon):
        _check_flat(points, shape)
    return _graphic_item("SCOORD3D", shape, points, name, rel, canvas.frame_of_reference_uid, None)


def _graphic_item(
    value_type: str,
    shape: Shape,
    points: npt.NDArray[np.float64],
    name: Code | None,
    rel: str,
    where: str,
    image: Reference | None,
) -> ContentItem:
    solid = value_type == "SCOORD3D"
    if isinstance(shape, Polygon | Box):
        points = np.concatenate([points, points[:1]])
        kind = "POLYGON" if solid else "POLYLINE"
    else:
        kind = {
            Point: "POINT",
            MultiPoint: "MULTIPOINT",
            Polyline: "POLYLINE",
            Circle: "CIRCLE",
            Ellipse: "ELLIPSE",
            Ellipsoid: "ELLIPSOID",
        }[type(shape)]
    graphic = Graphic(kind, points, where, "") if solid else Graphic(kind, points, "", where)
    children = [reference_item(None, image, "SELECTED FROM")] if image is not None else []
    return ContentItem(value_type, name, graphic, rel, children)


def _box(box: Box, canvas: Canvas, coordinates: str, name: Code | None) -> tuple[list[ContentItem], str]:
    """A 3-D box: outlines on its slices where its faces lie between slices, else outlines of faces in space."""
    if box.space == "mm" or canvas.is_slide:
        return _faces(box, canvas, coordinates, name)
    z0, z1 = box.points[:, 0]
    whole = abs(z0 - round(z0)) < 1e-6 and abs(z1 - round(z1)) < 1e-6
    if coordinates == "patient" or (coordinates == "auto" and not whole):
        return _faces(box, canvas, coordinates, name)
    first = round(z0)
    last = max(round(z1), first + 1)
    (y0, x0), (y1, x1) = box.points[:, 1:]
    middle = (first + last - 1) // 2
    order = [middle, *(d for d in range(first, last) if d != middle)]
    pieces = [Box((y0, x0), (y1, x1), slice=d) for d in order]
    return [_scoord(piece, canvas, name or c.IMAGE_REGION) for piece in pieces], "1411"


def _faces(box: Box, canvas: Canvas, coordinates: str, name: Code | None) -> tuple[list[ContentItem], str]:
    low, high = box.corners[:4], box.corners[4:]
    if box.space == "mm":  # corners go round in the coordinates after the first; here z is the last
        (x0, y0, z0), (x1, y1, z1) = box.points
        ring = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        low, high = (np.column_stack([ring, np.full(4, z)]) for z in (z0, z1))
        levels = [(z0 + z1) / 2]
        column = 2
    else:
        z0, z1 = box.points[:, 0]
        levels = [d + 0.5 for d in range(int(np.floor(z0)), int(np.ceil(z1))) if z0 < d + 0.5 < z1] or [(z0 + z1) / 2]
        column = 0
    middle = levels.pop(len(levels) // 2)
    outlines = []
    for level in (middle, *levels):
        between = low.copy()
        between[:, column] = level
        outlines.append(between)
    outlines += [low, high]
    if coordinates == "image":
        _in_mm(box, canvas, coordinates)
    change = canvas.to_mm if box.space == "index" else np.asarray
    surface = name or c.VOLUME_SURFACE
    items = [_scoord3d(Polygon(change(points), space="mm"), canvas, surface) for points in outlines]
    return [*items, _source_series(canvas)], "1411"


def _body(
    pieces: Sequence[Shape], canvas: Canvas, coordinates: str, name: Code | None
) -> tuple[list[ContentItem], str]:
    flat = all(p.space == "index" and p.dimensions == 2 for p in pieces)
    if flat and coordinates != "patient" and not (canvas.is_slide and coordinates == "auto"):
        return [_scoord(p, canvas, name or c.IMAGE_REGION) for p in pieces], "1411"
    moved = [_in_mm(p, canvas, coordinates) for p in pieces]
    if len(moved) == 1:  # a surface has two outlines or more
        return [_scoord3d(moved[0], canvas, name or c.IMAGE_REGION)], "1410"
    return [*(_scoord3d(p, canvas, name or c.VOLUME_SURFACE) for p in moved), _source_series(canvas)], "1411"


def _source_series(canvas: Canvas) -> ContentItem:
    return uid_item(c.SOURCE_SERIES, canvas.series_instance_uid, _CONTAINS)


def _check_flat(points: npt.NDArray[np.float64], shape: Shape) -> None:
    centered = points - points.mean(axis=0)
    off = float(np.linalg.svd(centered, compute_uv=False)[2]) if len(points) > 3 else 0.0
    if off > 1e-3 * max(1.0, float(np.abs(centered).max())):
        raise GeometryError(f"the points of {shape!r} lie in no common plane, which those of a polygon must")


def _image_of_frame(region: SegmentationFrame, canvas: Canvas) -> Reference:
    """The source image of a segmentation frame, as the segmentation names it."""
    dataset = region.segmentation
    if hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    try:
        groups = [dataset.PerFrameFunctionalGroupsSequence[region.frames[0] - 1]]
        groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])
        derivation = next(g.DerivationImageSequence[0] for g in groups if g.get("DerivationImageSequence"))
        image = derivation.SourceImageSequence[0]
    except (AttributeError, IndexError, StopIteration):
        if len(canvas.references) == 1 or canvas.is_slide:
            return canvas.references[0]
        raise EncodingError(
            "the source image of a segmentation frame is not known; give the segmentation itself, whose frames name it"
        ) from None
    frames = image.get("ReferencedFrameNumber")
    numbers = () if frames is None else (int(frames),) if isinstance(frames, int) else tuple(int(f) for f in frames)
    uid = str(image.ReferencedSOPInstanceUID)
    held = next((r for r in canvas.references if r.sop_instance_uid == uid), None)
    series, study = (held.series_instance_uid, held.study_instance_uid) if held is not None else ("", "")
    return Reference(str(image.ReferencedSOPClassUID), uid, numbers, (), (), series, study)


# ---------------------------------------------------------------------- reading
class RegionReader:
    """Reads regions of content items.

    Parameters
    ----------
    canvas : Canvas or None
        What is known of the images, to tell slices from references.
    space : str or None
        ``"index"`` or ``"mm"`` to have every region in these coordinates; None for those of the file.

    array : Canvas, optional
        The volume whose indices regions shall be in, where it is not the whole series.

    Attributes
    ----------
    problems : list of str
        What could not be understood.
    """

    def __init__(self, canvas: Canvas | None, space: str | None, array: Canvas | None = None) -> None:
        self._canvas = canvas
        self._array = array
        self._space = space
        self.problems: list[str] = []

    def group_region(
        self, outlines: Sequence[ContentItem], references: Sequence[ContentItem], volumetric: bool
    ) -> Region | None:
        """The region of a group: of its outlines, else of the segmentation it refers to.

        Parameters
        ----------
        outlines : sequence of ContentItem
            SCOORD and SCOORD3D items of the group.
        references : sequence of ContentItem
            IMAGE items that name a segment or segmentation frame.
        volumetric : bool
            Whether the group says that it is volumetric.
        """
        found = [(item, shape) for item in outlines if (shape := self.shape(item)) is not None]
        if found:
            region = self._joined([shape for _, shape in found], volumetric)
            return region if any(self._is_elsewhere(item) for item, _ in found) else self._settle(region)
        for item in references:
            value: Reference | None = item.value
            if value is None:
                continue
            where = replace(value, frames=(), segments=())
            if item.name == c.REFERENCED_FRAME or (value.frames and not value.segments):
                if value.frames:
                    segment = value.segments[0] if value.segments else None
                    return SegmentationFrame(where, value.frames, segment)
            elif value.segments:
                return SegmentReference(where, value.segments[0])
        return None

    def shape(self, item: ContentItem) -> Shape | None:
        """The shape of one item, in the coordinates of the file."""
        graphic: Graphic | None = item.value
        if graphic is None or not len(graphic.points):
            self.problems.append(f"a {item.value_type} item has no coordinates")
            return None
        try:
            return self._flat(item, graphic) if item.value_type == "SCOORD" else self._solid(graphic)
        except GeometryError as error:
            self.problems.append(f"a {item.value_type} item of type {graphic.kind or '(none)'} is wrong: {error}")
            return None

    def settled(self, item: ContentItem) -> Region | None:
        """The shape of one item, in the coordinates asked for."""
        shape = self.shape(item)
        return shape if shape is None or self._is_elsewhere(item) else self._settle(shape)

    def _is_elsewhere(self, item: ContentItem) -> bool:
        """Whether the item lies in another frame of reference than the images."""
        own = "" if self._canvas is None else self._canvas.frame_of_reference_uid
        other = item.value.frame_of_reference_uid
        return bool(own and other and own != other)

    def _settle(self, region: Region) -> Region:
        if self._space is None or self._canvas is None:
            return region
        try:
            moved = convert(region, self._canvas, self._space)
            return moved if self._array is None else rebase(moved, self._canvas, self._array)
        except GeometryError as error:
            self.problems.append(str(error))
            return region

    def _flat(self, item: ContentItem, graphic: Graphic) -> Shape | None:
        image = next(
            (i.value for i in item.children if i.value_type == "IMAGE" and isinstance(i.value, Reference)), None
        )
        canvas = self._canvas
        d = None if canvas is None or canvas.is_slide else canvas.slice_of(image)
        points = graphic.points[:, ::-1]
        if image is not None and canvas is not None and canvas.is_slide:
            if graphic.origin == "FRAME":
                raise GeometryError("it counts pixels from the corner of a frame, which does not say where it lies")
            down = canvas.downsamples.get(image.sop_instance_uid)
            if down is not None:  # it was drawn on a coarser level: pixels of level 0 are what indices count
                points, image = points * np.array(down), canvas.references[0]
                if graphic.kind == "CIRCLE" and down[0] != down[1]:
                    raise GeometryError("a circle lies on a level whose pixels are not square in those of level 0")
        if graphic.kind == "CIRCLE":
            if len(points) != 2:
                raise GeometryError(f"a circle has 2 points, found {len(points)}")
            return Circle(points[0], float(np.linalg.norm(points[1] - points[0])), d, image)
        return self._common(graphic.kind, points, d, "index", image)

    def _solid(self, graphic: Graphic) -> Shape | None:
        points = graphic.points
        on_slide = self._canvas is not None and self._canvas.is_slide
        if on_slide and graphic.kind != "ELLIPSOID" and not points[:, 2].any():
            points = points[:, :2]
        if graphic.kind == "ELLIPSOID":
            return Ellipsoid(points, space="mm")
        return self._common(graphic.kind, points, None, "mm", None)

    def _common(
        self, kind: str, points: npt.NDArray[np.float64], d: int | None, space: str, image: Reference | None
    ) -> Shape | None:
        if kind == "POINT" or (kind == "MULTIPOINT" and len(points) == 1):
            return Point(points[:1], d, space, image)
        if kind == "MULTIPOINT":
            return MultiPoint(points, d, space, image)
        if kind == "ELLIPSE":
            return Ellipse(points, d, space, image)
        closed = len(points) > 3 and points[0].tolist() == points[-1].tolist()
        if kind == "POLYGON" or (kind == "POLYLINE" and closed):
            tolerance = 0.0 if space == "index" else 4e-7 * float(np.abs(points).max())
            return outline(Polygon(points, d, space, image), tolerance)
        if kind == "POLYLINE":
            return Polyline(points, d, space, image)
        self.problems.append(f"graphic type {kind or '(none)'} is not known")
        return None

    def _joined(self, shapes: Sequence[Shape], volumetric: bool) -> Region:
        first = shapes[0]
        if len(shapes) == 1 and not (volumetric and isinstance(first, Box) and first.slice is not None):
            return first if not volumetric or isinstance(first, Ellipsoid | Point) else Contours((first,))
        if len({s.space for s in shapes}) > 1:
            self.problems.append("a group has outlines both on images and in space; those on images are taken")
            shapes = [s for s in shapes if s.space == "index"]
        return body_of(shapes, self._canvas, shapes[0].space)
