"""How far regions reach on a grid: exact bounds, however the grid is turned against the images they were drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.image_grid import edge_change
from dicom_ml.errors import EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid, affine_from_plane
from dicom_ml.objects.report import (
    Box,
    Circle,
    Contours,
    Ellipse,
    MeasurementGroup,
    MultiPoint,
    Point,
    SegmentReference,
)
from dicom_ml.objects.report import SegmentationFrame as FrameReference
from dicom_ml.objects.report.regions import Region, Shape
from dicom_ml.objects.segmentation import Segmentation
from dicom_ml.source import SourceSeries

__all__ = [
    "Elsewhere",
    "RegionBounds",
    "filled_part",
    "point_diameter",
    "segment_masks",
    "segmentations_by_uid",
]

FloatArray = npt.NDArray[np.float64]
Bounds = tuple[FloatArray, FloatArray]


class Elsewhere(GeometryError):
    """A region that does not lie on the images at hand."""


class RegionBounds:
    """Bounds of the regions of reports on a series, in other coordinates.

    A flat region is as thick as its slice, and whatever is thinner than a voxel of the series is taken to be one voxel
    thick about its middle; boxes are as thick as they say.

    Parameters
    ----------
    source : SourceSeries
        The series that reports were read with: its regions' indices are those of the series' own planes.
    onto : Grid, ``"world"`` or None
        Where bounds are wanted: edge-based indices ``(d, h, w)`` of a grid, or RAS millimetres. None keeps the
        ``(row, column)`` of images that have no place in space.
    segmentations : mapping of str to Segmentation
        By SOP Instance UID, for regions that are segments.
    point_size : float or code, optional
        Diameter in mm that points stand for, or the group's measurement that says it.
    """

    def __init__(
        self,
        source: SourceSeries,
        onto: Grid | str | None,
        segmentations: Mapping[str, Segmentation] | None = None,
        point_size: Any = None,
    ) -> None:
        self.source = source
        self.onto = onto
        self.segmentations = dict(segmentations or {})
        self.point_size = point_size

    def of_group(self, group: MeasurementGroup) -> Bounds | None:
        """Lowest and highest coordinates of all that a group outlines; None where it outlines nothing.

        Raises
        ------
        Elsewhere
            If it lies on other images, or on a segmentation that is not at hand.
        GeometryError
            If it has no extent.
        """
        found = [self.of_region(region, group) for region in _outlines(group)]
        if not found:
            return None
        lows, highs = zip(*found, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def of_region(self, region: Region, group: MeasurementGroup | None = None) -> Bounds:
        """Lowest and highest coordinates of one region."""
        if isinstance(region, SegmentReference | FrameReference):
            return self._segment(region)
        pieces = region.pieces if isinstance(region, Contours) else (region,)
        found = [self._shape(piece, group) for piece in pieces if isinstance(piece, Shape)]
        lows, highs = zip(*found, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    # ------------------------------------------------------------------ shapes
    def _shape(self, shape: Shape, group: MeasurementGroup | None) -> Bounds:
        if shape.space == "mm":
            raise Elsewhere("a region lies in another frame of reference than the image")
        if shape.dimensions == 2 and shape.slice is None:
            if len(set(self.source.sop_instance_uids)) == 1 and shape.image is None:
                shape = shape.replaced(shape.points, slice=0)
            else:
                raise Elsewhere("a region lies on an image that is none of this series")
        if self.onto is None:
            return self._flat(shape)
        assert self.source.grid is not None
        matrix = edge_change(self.source.grid, self.onto)
        if isinstance(shape, Point | MultiPoint):
            size = point_diameter(self.point_size, group) if self.point_size is not None else None
            if size is None and isinstance(shape, Point):
                raise GeometryError(
                    "a Point has no extent: pass point_size=, its diameter in mm, or the code of the measurement of "
                    "its group that says it"
                )
            if size is not None:
                return self._balls(shape, matrix, size / 2)
        center, half = _extent(shape, matrix)
        return center - half, center + half

    def _flat(self, shape: Shape) -> Bounds:
        low, high = shape.bounds
        if shape.dimensions != 2 or shape.slice not in (0, None):
            raise Elsewhere("a region does not lie on the one image at hand")
        if isinstance(shape, Point):
            raise GeometryError("a Point has no extent, and this image no millimetres to give it one")
        grow = np.maximum(0.0, 1.0 - (high - low)) / 2 * (not isinstance(shape, Box))
        return low - grow, high + grow

    def _balls(self, shape: Shape, matrix: FloatArray, radius: float) -> Bounds:
        points = shape.points_3d @ matrix[:3, :3].T + matrix[:3, 3]
        half = np.full(3, radius)
        if isinstance(self.onto, Grid):
            half = radius * np.linalg.norm(np.linalg.inv(self.onto.affine)[:3, :3], axis=1)
        return points.min(axis=0) - half, points.max(axis=0) + half

    # ------------------------------------------------------------------ segments
    def _segment(self, region: SegmentReference | FrameReference) -> Bounds:
        if self.onto is None:
            raise Elsewhere("a region is a segment, and the image has no place in space to put it")
        found = segment_masks(region, self.segmentations, self.source)
        bounds = [_mask_bounds(mask, edge_change(grid, self.onto)) for grid, mask in found if mask.any()]
        if not bounds:
            uid = region.reference.sop_instance_uid
            raise GeometryError(f"a region is a segment of {uid} that holds no voxel")
        lows, highs = zip(*bounds, strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def of_mask(self, start: Sequence[int], mask: npt.NDArray[np.bool_]) -> Bounds:
        """Lowest and highest coordinates of voxels of the series, a part of it that begins at ``start``."""
        assert self.source.grid is not None and self.onto is not None
        moved = self.source.grid.crop([int(n) for n in start], mask.shape)
        return _mask_bounds(mask, edge_change(moved, self.onto))


def point_diameter(size: Any, group: MeasurementGroup | None) -> float:
    """Diameter in mm of what a point stands for.

    Raises
    ------
    GeometryError
        If the group has no such measurement, or it is no length.
    """
    if isinstance(size, (int, float)) and not isinstance(size, bool):
        return float(size)
    measured = None if group is None else group.measurement(size)
    if measured is None or measured.value is None:
        raise GeometryError(f"a group with a Point has no measurement of {size} that says its size")
    scale = {"mm": 1.0, "cm": 10.0, "um": 0.001, "m": 1000.0}.get(measured.unit.value)
    if scale is None:
        raise GeometryError(f"the measurement {measured.name} is in {measured.unit.value}, which is no length")
    return measured.value * scale


def segmentations_by_uid(files: Sequence[Segmentation]) -> dict[str, Segmentation]:
    """Segmentations by SOP Instance UID."""
    return {file.sop_instance_uid: file for file in files}


def _outlines(group: MeasurementGroup) -> list[Region]:
    """What a group outlines: its region, else those of its measurements."""
    return [group.region] if group.region is not None else group.regions


# ---------------------------------------------------------------------- extents
def _extent(shape: Shape, matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middle of a shape's bounds and half their size, after an affine change; exact for curved ones, too."""
    own_low, own_high = _own_bounds(shape)
    thin = np.maximum(0.0, 1.0 - (own_high - own_low)) / 2
    if isinstance(shape, Box):
        thin *= (float(shape.dimensions == 2), 0.0, 0.0)
    linear = matrix[:3, :3]
    if isinstance(shape, Circle | Ellipse):
        center = linear @ ((own_low + own_high) / 2) + matrix[:3, 3]
        half = np.sqrt(((_semi_axes(shape) @ linear.T) ** 2).sum(axis=0))
    else:
        moved = _corner_points(shape) @ linear.T + matrix[:3, 3]
        low, high = moved.min(axis=0), moved.max(axis=0)
        center, half = (low + high) / 2, (high - low) / 2
    return center, half + np.abs(linear) @ thin


def _own_bounds(shape: Shape) -> Bounds:
    low, high = shape.bounds
    if shape.dimensions == 2:
        middle = (shape.slice or 0) + 0.5
        low, high = np.array([middle, *low]), np.array([middle, *high])
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def _semi_axes(shape: Circle | Ellipse) -> FloatArray:
    axes = np.eye(2) * shape.radius if isinstance(shape, Circle) else shape.semi_axes
    return np.column_stack([np.zeros(len(axes)), axes]) if axes.shape[1] == 2 else np.asarray(axes)


def _corner_points(shape: Shape) -> FloatArray:
    if isinstance(shape, Box):
        corners = shape.corners
        if shape.dimensions == 2:
            corners = np.column_stack([np.full(4, (shape.slice or 0) + 0.5), corners])
        return corners
    return shape.points_3d


def _mask_bounds(mask: npt.NDArray[Any], matrix: FloatArray) -> Bounds:
    """Bounds of a mask's voxels after an affine change: exact where axes stay axes, else those of their box."""
    part = filled_part(mask)
    assert part is not None
    center, half = _extent(Box([s.start for s in part], [s.stop for s in part]), matrix)
    return center - half, center + half


# ---------------------------------------------------------------------- masks of segments
def segment_masks(
    region: SegmentReference | FrameReference, segmentations: Mapping[str, Segmentation], source: SourceSeries
) -> list[tuple[Grid, npt.NDArray[np.bool_]]]:
    """Voxels of a region that is a segment, or frames of one, each on a lattice of its own.

    Raises
    ------
    Elsewhere
        If its segmentation is not at hand.
    """
    uid = region.reference.sop_instance_uid
    given = region.segmentation if isinstance(region.segmentation, Segmentation) else segmentations.get(uid)
    if given is None:
        raise Elsewhere(f"a region is a segment of {uid}; give that segmentation with the report")
    if isinstance(region, SegmentReference):
        return [_segment_mask(given, region.number, source)]
    return [_frame_mask(given, number) for number in region.frames]


def filled_part(mask: npt.NDArray[Any]) -> tuple[slice, slice, slice] | None:
    """The smallest part of an array that holds all that is not empty; None where all is."""
    ends = []
    for axis in range(3):
        some = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(some):
            return None
        ends.append(slice(int(some[0]), int(some[-1]) + 1))
    return ends[0], ends[1], ends[2]


def _segment_mask(seg: Segmentation, number: int, source: SourceSeries) -> tuple[Grid, npt.NDArray[np.bool_]]:
    """Grid and voxels of a segment: on its own lattice, or where its frames form none, on that of the images."""
    if seg.is_tiled:
        raise EncodingError("a region is a segment of a slide; labels of slides go by tile, with SegmentationLabels")
    if all(s.number != number for s in seg.segments):
        raise FileError(f"a region is segment {number} of {seg.sop_instance_uid}, which has none of that number")
    try:
        return seg.grid, seg.label_map(segments=[number], overlap="first") != 0
    except GeometryError:
        assert source.grid is not None
        return source.grid, seg.label_map(on=source, segments=[number], overlap="first", outside="drop") != 0


def _frame_mask(seg: Segmentation, number: int) -> tuple[Grid, npt.NDArray[np.bool_]]:
    """Grid and pixels of one frame of a segmentation."""
    from pydicom.pixels.utils import pixel_array

    ds = seg.dataset
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    if not 1 <= number <= len(per_frame):
        raise FileError(f"a region is frame {number} of {seg.sop_instance_uid}, which has {len(per_frame)}")
    shared = (ds.get("SharedFunctionalGroupsSequence") or [{}])[0]

    def group(keyword: str) -> Any:
        sequence = per_frame[number - 1].get(keyword) or shared.get(keyword)
        if not sequence:
            raise FileError(f"frame {number} of {seg.sop_instance_uid} has no {keyword}")
        return sequence[0]

    measures = group("PixelMeasuresSequence")
    step = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0)
    affine = affine_from_plane(
        [float(v) for v in group("PlanePositionSequence").ImagePositionPatient],
        [float(v) for v in group("PlaneOrientationSequence").ImageOrientationPatient],
        [float(v) for v in measures.PixelSpacing],
        step,
    )
    pixels = pixel_array(ds, index=number - 1)
    mask = pixels != 0
    if str(ds.get("SegmentationType") or "") == "FRACTIONAL":
        mask = pixels >= int(ds.get("MaximumFractionalValue") or 1) / 2
    return Grid((1, *mask.shape), affine), np.asarray(mask[None])
