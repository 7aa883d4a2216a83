"""The images on which regions lie: which instance holds a slice, and where indices are in millimetres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.regions import (
    Box,
    Circle,
    Contours,
    Ellipse,
    Ellipsoid,
    Polygon,
    Region,
    Shape,
)
from dicom_ml.source import SourceSeries

__all__ = ["Canvas", "array_canvas", "body_of", "convert", "outline", "rebase", "rebase_slice"]

FloatArray = npt.NDArray[np.float64]
_FLOAT32 = 4e-7  # what rounding to 32 bits and a change of coordinates leave, relative to the coordinates


@dataclass(frozen=True)
class Canvas:
    """The images of one series, slice by slice.

    Parameters
    ----------
    references : sequence of Reference
        The image or frame that holds each slice; of a slide, its level 0.
    grid : Grid, optional
        Of the slices; of a slide, the total pixel matrix of level 0.
    is_slide : bool
    frame_of_reference_uid, series_instance_uid : str
    """

    references: tuple[Reference, ...]
    grid: Grid | None = None
    is_slide: bool = False
    frame_of_reference_uid: str = ""
    series_instance_uid: str = ""
    #: Of a slide's coarser images: pixels of level 0 that one of theirs stands for, along rows and columns.
    downsamples: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: SourceSeries) -> Canvas:
        """The canvas that a source is."""
        level = source.levels[0] if source.levels else None
        classes = level.sop_class_uids if level else source.sop_class_uids
        instances = level.sop_instance_uids if level else source.sop_instance_uids
        frames = source.frame_numbers if source.frame_numbers is not None and not level else None
        references = tuple(
            Reference(
                kind,
                uid,
                (frames[i],) if frames is not None else (),
                (),
                (),
                source.series_instance_uid,
                source.study_instance_uid,
            )
            for i, (kind, uid) in enumerate(zip(classes, instances, strict=True))
        )
        grid = level.grid if level else source.grid
        coarser = {uid: source.downsamples_of(uid) for other in source.levels[1:] for uid in other.sop_instance_uids}
        return cls(
            references,
            grid,
            bool(level),
            source.frame_of_reference_uid,
            source.series_instance_uid,
            {uid: down for uid, down in coarser.items() if down is not None},
        )

    @cached_property
    def _index(self) -> dict[tuple[str, int], int]:
        return {(r.sop_instance_uid, r.frames[0] if r.frames else 0): d for d, r in enumerate(self.references)}

    def slice_of(self, reference: Reference | None) -> int | None:
        """The slice that an image or frame is; None where it is none of these."""
        if reference is None:
            return None
        frames = reference.frames or (0,)
        for frame in (frames[0], 0) if len(frames) == 1 else ():
            if (reference.sop_instance_uid, frame) in self._index:
                return self._index[reference.sop_instance_uid, frame]
        return None

    def image(self, d: int | None) -> Reference:
        """The image that holds slice ``d``; on a slide, its level 0.

        Raises
        ------
        GeometryError
            If there is no such slice, or the slice has to be named.
        """
        if self.is_slide:
            return self.references[0]
        if d is None:
            if len(self.references) != 1:
                raise GeometryError(
                    f"the source has {len(self.references)} slices: name the one that a flat region lies on with "
                    "slice=, or give its points three coordinates (slice, row, column)"
                )
            d = 0
        if not 0 <= d < len(self.references):
            raise GeometryError(f"a region lies on slice {d}; the source has slices 0 to {len(self.references) - 1}")
        if not self.references[d].sop_instance_uid:
            raise GeometryError(f"slice {d} of the source is a filled gap, which no image holds")
        return self.references[d]

    # ------------------------------------------------------------------ coordinates
    def need_grid(self) -> Grid:
        """The grid.

        Raises
        ------
        GeometryError
            If the images have no place in space.
        """
        if self.grid is None:
            raise GeometryError("the source has no patient geometry, so its regions have no millimetres")
        return self.grid

    def to_mm(self, index: npt.ArrayLike) -> FloatArray:
        """Millimetres of edge-based indices ``(..., 3)``."""
        points = np.asarray(index, dtype=np.float64) - 0.5
        if self.is_slide:
            points[..., 0] = 0.0
        return self.need_grid().to_lps(points)

    def to_index(self, mm: npt.ArrayLike) -> FloatArray:
        """Edge-based indices of points ``(..., 3)`` in millimetres."""
        points = self.need_grid().to_index(mm) + 0.5
        if self.is_slide:
            points[..., 0] = 0.5
        return points

    def tolerance(self, points: FloatArray, space: str) -> float:
        """How far coordinates may be off for having been millimetres in 32-bit floats."""
        grid = self.need_grid()
        if space == "mm":
            return _FLOAT32 * max(1e-3, float(np.abs(points).max()))
        return _FLOAT32 * max(1.0, float(np.abs(self.to_mm(points)).max())) / min(grid.spacing[1:]) + 1e-6


def array_canvas(source: Any, record: SourceSeries) -> Canvas | None:
    """The canvas of a volume whose array is no longer that of its series: cropped, turned, or resampled; else None."""
    grid = None if source is record else getattr(source, "grid", None)
    if not isinstance(grid, Grid) or record.grid is None or record.levels or grid.matches(record.grid, 1e-3):
        return None
    return Canvas((), grid, False, record.frame_of_reference_uid, record.series_instance_uid)


def rebase(region: Region, old: Canvas, new: Canvas) -> Region:
    """A region in indices of one array, in those of another over the same frame of reference."""
    if not isinstance(region, Shape | Contours) or region.space != "index":
        return region
    return convert(convert(region, old, "mm"), new, "index")


def rebase_slice(d: int, old: Canvas, new: Canvas) -> int:
    """The slice of another array that is slice ``d``.

    Raises
    ------
    GeometryError
        If none is.
    """
    grid = old.need_grid()
    corners = [(d + 0.5, h, w) for h in (0, grid.shape[1]) for w in (0, grid.shape[2])]
    place = new.to_index(old.to_mm(corners))[:, 0]
    found = int(np.floor(place[0]))
    if np.abs(place - found - 0.5).max() > 1e-2:
        raise GeometryError(f"slice {d} of the volume is no slice of the series it was made from")
    return found


# ---------------------------------------------------------------------- between the spaces
def convert(region: Region, canvas: Canvas, space: str) -> Region:
    """A region in the other coordinates; references to segmentations have none and stay as they are.

    Raises
    ------
    GeometryError
        If the canvas has no geometry.
    """
    if isinstance(region, Contours):
        if region.space == space:
            return region
        pieces = [convert(piece, canvas, space) for piece in region.pieces]
        return body_of([p for p in pieces if isinstance(p, Shape)], canvas, space)
    if not isinstance(region, Shape) or region.space == space:
        return region
    if isinstance(region, Box):
        if region.dimensions == 3:
            low, high = region.corners[:4], region.corners[4:]
            faces = [Polygon(face, space=region.space) for face in (low, high)]
            return body_of([_moved(face, canvas, space) for face in faces], canvas, space)
        return _moved(Polygon(region.corners, region.slice, region.space, region.image), canvas, space)
    if isinstance(region, Circle):
        a, b = region.center, np.eye(2) * region.radius
        ends = np.array([a - b[0], a + b[0], a - b[1], a + b[1]])
        region = Ellipse(ends, region.slice, "index", region.image)
    return _moved(region, canvas, space)


def _moved(shape: Shape, canvas: Canvas, space: str) -> Shape:
    change = canvas.to_mm if space == "mm" else canvas.to_index
    points = change(shape.points_3d)
    if isinstance(shape, Ellipse):
        points = _principal_ends(points)
    if canvas.is_slide and not isinstance(shape, Ellipsoid):
        flat = points[:, :2] if space == "mm" else points[:, 1:]
        moved = shape.replaced(flat, space=space, image=shape.image)
    else:
        moved = shape.replaced(points, space=space, image=shape.image)
    if isinstance(moved, Polygon):
        return outline(moved, canvas.tolerance(points, space))
    if type(moved) is Ellipse and space == "index" and moved.dimensions == 2:
        lengths = np.linalg.norm(moved.semi_axes, axis=1)
        if lengths[0] - lengths[1] <= 4 * canvas.tolerance(points, space):  # space has no other name for a circle
            return Circle(moved.center, float(lengths.mean()), moved.slice, moved.image)
    return moved


def _principal_ends(points: FloatArray) -> FloatArray:
    """Ends of the axes of an ellipse or ellipsoid whose conjugate diameters are given."""
    center = points.mean(axis=0)
    half = (points[1::2] - points[0::2]) / 2
    _, lengths, axes = np.linalg.svd(half)
    count = len(half)
    lengths, axes = lengths[:count], axes[:count]
    gram = half @ half.T
    if np.abs(gram - np.diag(np.diag(gram))).max() <= 1e-6 * gram.max():  # they are at right angles already
        order = np.argsort(-np.diag(gram), kind="stable")
        vectors = half[order]
    else:
        vectors = axes * lengths[:, None]
    ends = np.stack([center - vectors, center + vectors], axis=1)
    return np.asarray(ends.reshape(-1, points.shape[1]))


# ---------------------------------------------------------------------- boxes among outlines
def _rectangle(points: FloatArray, tolerance: float) -> tuple[FloatArray, FloatArray] | None:
    """Lowest and highest corner of four points that form a rectangle along the axes, else None."""
    if len(points) != 4:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    wide = high - low > 4 * tolerance
    if wide.sum() != 2:
        return None
    at_low, at_high = np.abs(points - low) <= tolerance, np.abs(points - high) <= tolerance
    if not (at_low | at_high).all():
        return None
    sides = at_high[:, wide]
    # neighbours round the outline differ in one coordinate
    if (np.abs(np.diff(np.vstack([sides, sides[:1]]).astype(int), axis=0)).sum(axis=1) != 1).any():
        return None
    if len({tuple(s) for s in sides.tolist()}) != 4:
        return None
    return low, high


def outline(polygon: Polygon, tolerance: float = 0.0) -> Shape:
    """The polygon, as a flat box where it is one."""
    if polygon.dimensions != 2:
        return polygon
    found = _rectangle(polygon.points, tolerance)
    return polygon if found is None else Box(*found, polygon.slice, polygon.space, polygon.image)


def body_of(pieces: Sequence[Shape], canvas: Canvas | None, space: str) -> Region:
    """What several outlines bound: a box where all are one rectangle moved along an axis, else contours."""
    found = _stack_of_boxes(pieces) if space == "index" else None
    return found or _stack_of_faces(pieces, canvas, space) or Contours(tuple(pieces))


def _stack_of_boxes(pieces: Sequence[Shape]) -> Box | None:
    """A box of whole slices, of equal flat boxes on successive slices."""
    if not all(isinstance(p, Box) and p.dimensions == 2 and p.slice is not None for p in pieces):
        return None
    slices = sorted(p.slice for p in pieces if p.slice is not None)
    if slices != list(range(slices[0], slices[0] + len(slices))):
        return None
    if any(not np.array_equal(p.points, pieces[0].points) for p in pieces):
        return None
    (y0, x0), (y1, x1) = pieces[0].points
    return Box((slices[0], y0, x0), (slices[-1] + 1, y1, x1))


def _stack_of_faces(pieces: Sequence[Shape], canvas: Canvas | None, space: str) -> Box | None:
    """A box whose faces, or sections between them, are polygons in space."""
    if len(pieces) < 2 or not all(isinstance(p, Polygon) or (isinstance(p, Box) and p.dimensions == 2) for p in pieces):
        return None
    outlines = [_corners_3d(p) if isinstance(p, Box) else p.points_3d for p in pieces]
    every = np.concatenate(outlines)
    tolerance = (
        canvas.tolerance(every, space)
        if canvas is not None and canvas.grid is not None
        else _FLOAT32 * float(np.abs(every).max())
    )
    boxes = [_rectangle(points, tolerance) for points in outlines]
    if any(b is None for b in boxes):
        return None
    lows, highs = (np.array([b[i] for b in boxes if b is not None]) for i in (0, 1))
    flat = (highs - lows <= 4 * tolerance).all(axis=0)
    if flat.sum() != 1:
        return None
    around = ~flat
    if np.ptp(lows[:, around], axis=0).max() > 2 * tolerance or np.ptp(highs[:, around], axis=0).max() > 2 * tolerance:
        return None
    start, stop = lows.min(axis=0), highs.max(axis=0)
    if (start >= stop).any():
        return None
    return Box(start, stop, space=space)


def _corners_3d(box: Box) -> FloatArray:
    if box.space == "mm":
        return np.column_stack([box.corners, np.zeros(4)])
    return np.column_stack([np.full(4, (box.slice or 0) + 0.5), box.corners])
