"""Regions of reports as voxels: a label map on the grid of an image.

A voxel belongs to a region when its centre lies inside. Regions are drawn on the planes of the series that they were
read with; an image that was turned, cropped or resampled takes the nearest of these voxels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.region_bounds import Elsewhere, filled_part, point_diameter, segment_masks
from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.report import (
    Box,
    Circle,
    Contours,
    Ellipse,
    Ellipsoid,
    MeasurementGroup,
    MultiPoint,
    Point,
    Polygon,
    Polyline,
    SegmentReference,
)
from dicom_ml.objects.report import SegmentationFrame as FrameReference
from dicom_ml.objects.report.regions import Region, Shape
from dicom_ml.objects.segmentation import Segmentation
from dicom_ml.rasterize import ellipse_polygons, polygon_mask
from dicom_ml.source import SourceSeries

__all__ = ["RegionPainter", "nearest_labels"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
#: A part of an array: its first index, and which voxels of it.
Window = tuple[tuple[int, int, int], npt.NDArray[np.bool_]]
#: Slices by which an outline may lean and still count as lying on one.
_LEAN = 0.05


class RegionPainter:
    """Draws regions on the planes of a series.

    Parameters
    ----------
    source : SourceSeries
        With a grid.
    segmentations : mapping of str to Segmentation
        By SOP Instance UID, for regions that are segments.
    point_size : float or code, optional
        Millimetres that points and lines are wide, or the group's measurement that says it.
    """

    def __init__(
        self, source: SourceSeries, segmentations: Mapping[str, Segmentation] | None = None, point_size: Any = None
    ) -> None:
        if source.grid is None:
            raise GeometryError("the image has no patient geometry, so no region can be drawn on it")
        self.source = source
        self.grid: Grid = source.grid
        self.segmentations = dict(segmentations or {})
        self.point_size = point_size

    def windows(self, group: MeasurementGroup) -> Iterator[Window]:
        """Parts of the series that a group's regions cover.

        Raises
        ------
        Elsewhere
            If a region lies on other images, or on a segmentation that is not at hand.
        GeometryError
            If points or lines are to be drawn, and no size is known.
        """
        for region in [group.region] if group.region is not None else group.regions:
            yield from self._region(region, group)

    def _region(self, region: Region, group: MeasurementGroup) -> Iterator[Window]:
        if isinstance(region, SegmentReference | FrameReference):
            yield from self._segment(region)
            return
        pieces = region.pieces if isinstance(region, Contours) else (region,)
        outlines: dict[int, list[FloatArray]] = {}
        for piece in pieces:
            assert isinstance(piece, Shape)
            shape = self._on_slice(piece)
            if isinstance(shape, Point | MultiPoint | Polyline):
                yield from self._thick(shape, group)
            elif isinstance(shape, Box) and shape.dimensions == 3:
                yield from self._solid(shape)
            elif isinstance(shape, Ellipsoid):
                yield from self._ellipsoid(shape)
            else:
                d, points = self._outline(shape)
                outlines.setdefault(d, []).append(points)
        # outlines of one body on one slice go together: one within another is a hole
        for d, rings in outlines.items():
            yield from self._filled(d, rings)

    def _on_slice(self, shape: Shape) -> Shape:
        if shape.space == "mm":
            raise Elsewhere("a region lies in another frame of reference than the image")
        if shape.dimensions == 2 and shape.slice is None:
            if self.grid.shape[0] != 1 or shape.image is not None:
                raise Elsewhere("a region lies on an image that is none of this series")
            return shape.replaced(shape.points, slice=0)
        return shape

    # ------------------------------------------------------------------ flat
    def _outline(self, shape: Shape) -> tuple[int, FloatArray]:
        """Slice and corners ``(row, column)`` of a closed flat shape."""
        if shape.dimensions == 3:
            heights = shape.points[:, 0]
            if np.ptp(heights) > _LEAN:
                raise GeometryError(
                    f"a {shape.kind} leans against the slices and bounds no voxels by itself; its extent as a box is "
                    "known (kind='boxes')"
                )
            d, points = int(np.floor(heights.mean())), shape.points[:, 1:]
        else:
            d, points = int(shape.slice or 0), shape.points
        if isinstance(shape, Box):
            points = shape.corners
        elif isinstance(shape, Circle):
            points = shape.center + np.array([[-1, 0], [1, 0], [0, -1], [0, 1]]) * shape.radius
        if isinstance(shape, Circle | Ellipse):
            return d, ellipse_polygons(points.reshape(1, 4, 2))[0]
        if not isinstance(shape, Box | Polygon):
            raise GeometryError(f"a {shape.kind} bounds no voxels")
        return d, np.asarray(points)

    def _filled(self, d: int, rings: Sequence[FloatArray]) -> Iterator[Window]:
        every = np.concatenate(rings)
        start, stop = self._range(every.min(axis=0), every.max(axis=0), self.grid.shape[1:])
        if not 0 <= d < self.grid.shape[0] or (start >= stop).any():
            return
        offsets = np.cumsum([0, *(len(r) for r in rings)])[:-1]
        mask = polygon_mask(every, tuple(stop - start), tuple(start), offsets=offsets)
        yield (d, int(start[0]), int(start[1])), mask[None]

    @staticmethod
    def _range(low: FloatArray, high: FloatArray, shape: Sequence[int]) -> tuple[Any, Any]:
        """First index, and the one after the last, of pixels whose centres may lie between."""
        start = np.clip(np.ceil(low - 0.5), 0, shape).astype(int)
        stop = np.clip(np.floor(high - 0.5) + 1, 0, shape).astype(int)
        return start, stop

    # ------------------------------------------------------------------ bodies
    def _solid(self, box: Box) -> Iterator[Window]:
        low, high = box.points
        start = np.clip(np.ceil(low - 0.5), 0, self.grid.shape).astype(int)
        stop = np.clip(np.ceil(high - 0.5), 0, self.grid.shape).astype(int)
        if (start < stop).all():
            yield (int(start[0]), int(start[1]), int(start[2])), np.ones(stop - start, dtype=bool)

    def _ellipsoid(self, shape: Ellipsoid) -> Iterator[Window]:
        start, stop = self._range(*shape.bounds, self.grid.shape)
        if (start < stop).all():
            axes = np.linalg.inv(shape.semi_axes)  # index offsets to multiples of the axes
            inside = ((_centers(start, stop) - shape.center) @ axes) ** 2
            yield (int(start[0]), int(start[1]), int(start[2])), inside.sum(axis=-1) <= 1

    def _thick(self, shape: Shape, group: MeasurementGroup) -> Iterator[Window]:
        """Voxels within half of the size of points and lines, in millimetres; flat ones stay on their slice."""
        if self.point_size is None:
            raise GeometryError(
                f"a {shape.kind} covers no voxels: pass point_size=, the mm that it shall be wide, or the code of the "
                "measurement of its group that says it"
            )
        radius = point_diameter(self.point_size, group) / 2
        points = shape.points_3d
        reach = radius * np.linalg.norm(np.linalg.inv(self.grid.affine)[:3, :3], axis=1)
        start, stop = self._range(points.min(axis=0) - reach - 0.5, points.max(axis=0) + reach + 0.5, self.grid.shape)
        if shape.dimensions == 2:
            start[0], stop[0] = max(0, int(shape.slice or 0)), min(self.grid.shape[0], int(shape.slice or 0) + 1)
        if (start >= stop).any():
            return
        places = self.grid.to_lps(_centers(start, stop) - 0.5)
        ends = self.grid.to_lps(points - 0.5)
        lines = isinstance(shape, Polyline)
        pairs = itertools.pairwise(ends) if lines else zip(ends, ends, strict=True)
        inside = np.zeros(places.shape[:-1], dtype=bool)
        for a, b in pairs:
            inside |= _distance(places, a, b) <= radius
        own = np.floor(points).astype(int) - start  # the voxel that holds a point always belongs to it
        own = own[((own >= 0) & (own < inside.shape)).all(axis=1)]
        inside[own[:, 0], own[:, 1], own[:, 2]] = True
        yield (int(start[0]), int(start[1]), int(start[2])), inside

    # ------------------------------------------------------------------ segments
    def _segment(self, region: SegmentReference | FrameReference) -> Iterator[Window]:
        for grid, mask in segment_masks(region, self.segmentations, self.source):
            part = filled_part(mask)
            if part is None:
                continue
            inner = grid.crop([s.start for s in part], [s.stop - s.start for s in part])
            alignment = inner.align(self.grid)
            if alignment is not None:
                start = alignment.start(inner.shape)
                yield from self._clipped(start, alignment.reorder(mask[part]))
                continue
            # a lattice of its own: nearest neighbours, where it reaches
            corners = np.array([[(0, n)[b >> i & 1] for i, n in enumerate(inner.shape)] for b in range(8)]) - 0.5
            reach = self.grid.to_index(inner.to_lps(corners)) + 0.5
            low, high = self._range(reach.min(axis=0) - 0.5, reach.max(axis=0) + 0.5, self.grid.shape)
            if (low < high).all():
                first = int(low[0]), int(low[1]), int(low[2])
                onto = self.grid.crop(first, [int(n) for n in high - low])
                yield first, nearest_labels(mask[part].astype(np.uint8), inner, onto) != 0

    def _clipped(self, start: Sequence[int], mask: npt.NDArray[np.bool_]) -> Iterator[Window]:
        first = np.clip(start, 0, self.grid.shape)
        last = np.clip(np.add(start, mask.shape), 0, self.grid.shape)
        if (first < last).all():
            where = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
            yield (int(first[0]), int(first[1]), int(first[2])), mask[where]

    # ------------------------------------------------------------------ agreement
    def agreed(self, readers: Sequence[Sequence[MeasurementGroup]], share: float) -> Window | None:
        """Voxels that at least a share of several readers mark; None where there is none.

        Parameters
        ----------
        readers : sequence of sequence of MeasurementGroup
            What each of them outlined.
        share : float
        """
        per_reader = [[w for group in own for w in self.windows(group)] for own in readers]
        every = [window for own in per_reader for window in own]
        if not every:
            return None
        first = np.min([start for start, _ in every], axis=0)
        last = np.max([np.add(start, mask.shape) for start, mask in every], axis=0)
        counts = np.zeros(last - first, dtype=np.uint16)
        for own in per_reader:
            marked = np.zeros(counts.shape, dtype=bool)
            for start, mask in own:
                where = tuple(slice(a, a + n) for a, n in zip(np.subtract(start, first), mask.shape, strict=True))
                marked[where] |= mask
            counts += marked
        found = counts >= max(1e-9, share * len(readers) - 1e-9)
        return ((int(first[0]), int(first[1]), int(first[2])), found & (counts > 0)) if found.any() else None


def _centers(start: Array, stop: Array) -> FloatArray:
    """Centres of the voxels of a window, in edge-based indices, shape (d, h, w, 3)."""
    axes = [np.arange(a, b) + 0.5 for a, b in zip(start, stop, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _distance(places: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Distance of places from the line between two points."""
    along = b - a
    length = float(along @ along)
    share = np.clip((places - a) @ along / length, 0, 1) if length > 0 else np.zeros(places.shape[:-1])
    return np.asarray(np.linalg.norm(places - a - share[..., None] * along, axis=-1))


# ---------------------------------------------------------------------- other grids
def nearest_labels(labels: Array, grid: Grid, onto: Grid) -> Array:
    """A label map on another grid, by nearest neighbour; 0 outside.

    Parameters
    ----------
    labels : ndarray of shape (D, H, W)
        On ``grid``.
    grid, onto : Grid

    Returns
    -------
    ndarray of shape ``onto.shape``
    """
    if grid.shape == onto.shape and np.array_equal(grid.affine, onto.affine):
        return labels
    change = np.linalg.inv(grid.affine) @ onto.affine
    linear, shift = change[:3, :3], change[:3, 3]
    axis_of = np.abs(linear).argmax(axis=1)
    rest = np.abs(linear).copy()
    rest[np.arange(3), axis_of] = 0
    if len(set(axis_of.tolist())) == 3 and float((rest * np.array(onto.shape)).max()) < 1e-3:
        return _along_axes(labels, linear, shift, axis_of, onto.shape)
    out = np.zeros(onto.shape, dtype=labels.dtype)
    rows, columns = np.meshgrid(*map(np.arange, onto.shape[1:]), indexing="ij")
    plane = rows[..., None] * linear[:, 1] + columns[..., None] * linear[:, 2] + shift
    for d in range(onto.shape[0]):
        place = np.floor(plane + d * linear[:, 0] + 0.5 + 1e-6).astype(np.intp)
        inside = ((place >= 0) & (place < labels.shape)).all(axis=-1)
        found = place[inside]
        out[d][inside] = labels[found[:, 0], found[:, 1], found[:, 2]]
    return out


def _along_axes(labels: Array, linear: FloatArray, shift: FloatArray, axis_of: Array, shape: Sequence[int]) -> Array:
    """The same where axes stay axes: one lookup along each."""
    part = labels
    for axis in range(3):
        to = int(axis_of[axis])
        place = np.floor(linear[axis, to] * np.arange(shape[to]) + shift[axis] + 0.5 + 1e-6).astype(np.intp)
        inside = (place >= 0) & (place < labels.shape[axis])
        part = np.take(part, np.where(inside, place, 0), axis=axis)
        keep = [1, 1, 1]
        keep[axis] = len(place)
        part = np.where(inside.reshape(keep), part, 0)
    # part's axis i is the target's axis axis_of[i]
    return np.ascontiguousarray(part.transpose(np.argsort(axis_of)).astype(labels.dtype))
