"""Regions of a report as GeoJSON, which QuPath and others show on the image (RFC 7946).

Coordinates are pixels, x (column) and y (row) from the corner of the first pixel: of the slide's finest level, or of
the volume's slice that the member ``plane`` of a geometry numbers as QuPath does.
"""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.objects.report.descriptions import Measurement, MeasurementGroup
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
from dicom_ml.rasterize import ellipse_polygons
from dicom_ml.source import SourceSeries, as_source

__all__ = ["regions_to_geojson"]

Flat = tuple["int | None", npt.NDArray[np.float64]]
_KINDS = {Point: "Point", MultiPoint: "MultiPoint", Polyline: "LineString"}


def regions_to_geojson(
    groups: Sequence[MeasurementGroup], path: str | os.PathLike[str], source: SourceSeries | None, given: Any = None
) -> str:
    """Write the regions of groups; see :meth:`dicom_ml.Report.to_geojson`."""
    record = source if given is None else as_source(given)
    grid = None
    if record is not None:
        grid = record.levels[0].grid if record.levels else record.grid
    features: list[dict[str, Any]] = []
    left = 0
    for number, group in enumerate(groups, start=1):
        for region in group.regions:
            geometries = list(_geometries(region, grid))
            left += not geometries
            for geometry in geometries:
                features.append(_feature(group, geometry, f"{group.tracking_uid or number}/{len(features)}"))
    if left:
        warnings.warn(
            f"{left} regions are left out: they are bodies or references to segments, or lie in millimetres of images "
            "that are not known (pass source=)",
            DicomMLWarning,
            stacklevel=3,
        )
    if not features:
        raise EncodingError("the report has no regions that could be outlines on an image")
    text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, indent=1)
    save_bytes(path, text.encode())
    return os.fspath(path)


def _feature(group: MeasurementGroup, geometry: dict[str, Any], seed: str) -> dict[str, Any]:
    meaning = group.finding or group.category
    properties: dict[str, Any] = {"objectType": "annotation"}
    if group.tracking_id:
        properties["name"] = group.tracking_id
    if meaning is not None:
        properties["classification"] = {"name": meaning.meaning or str(meaning), "color": [0, 114, 178]}
    values = {_name(m): m.value for m in group.measurements if m.value is not None and np.isfinite(m.value)}
    if values:
        properties["measurements"] = values
    said = {e.name.meaning: e.text if e.value is None else e.value.meaning for e in group.evaluations}
    for site in group.site:
        sides = [site.laterality.meaning] if site.laterality else []
        said["Finding Site"] = ", ".join([site.location.meaning, *sides])
    if group.tracking_uid:
        said["Tracking Unique Identifier"] = group.tracking_uid
    if said:
        properties["metadata"] = said
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, seed))
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}


def _name(measured: Measurement) -> str:
    how = f" {measured.derivation.meaning}" if measured.derivation is not None else ""
    unit = "" if measured.unit.value == "1" else f" ({measured.unit.value})"
    return f"{measured.name.meaning or measured.concept}{how}{unit}"


# ---------------------------------------------------------------------- geometry
def _geometries(region: Region, grid: Grid | None) -> Iterator[dict[str, Any]]:
    """What a region is on each plane of pixels; nothing where it cannot be drawn on one."""
    pieces = region.pieces if isinstance(region, Contours) else (region,)
    for piece in pieces:
        if not isinstance(piece, Shape) or isinstance(piece, Ellipsoid):
            continue
        for plane, points in _planes(piece, grid):
            geometry = {"type": _KINDS.get(type(piece), "Polygon"), "coordinates": _coordinates(piece, points)}
            if isinstance(piece, Circle) or (isinstance(piece, Ellipse) and _upright(points)):
                geometry["isEllipse"] = True
            if plane is not None:
                geometry["plane"] = {"c": -1, "z": plane, "t": 0}
            yield geometry


def _planes(piece: Shape, grid: Grid | None) -> Iterator[Flat]:
    """Slice (None on a slide) and (row, column) of a shape's points, on each slice that it reaches."""
    points = piece.points
    if isinstance(piece, Box) and piece.dimensions == 2:
        points = piece.corners
    if isinstance(piece, Circle):
        (row, column), reach = piece.center, piece.radius
        points = np.array([(row, column - reach), (row, column + reach), (row - reach, column), (row + reach, column)])
    if piece.space == "mm":
        if grid is None or isinstance(piece, Box):
            return
        if points.shape[1] == 2:
            points = np.column_stack([points, np.zeros(len(points))])
        points = grid.to_index(points) + 0.5
        if grid.shape[0] == 1:
            yield None, points[:, 1:]
            return
    elif piece.dimensions == 2:
        yield piece.slice, points
        return
    if isinstance(piece, Box):
        for plane in range(int(np.ceil(piece.start[0] - 0.5)), int(np.ceil(piece.stop[0] - 0.5))):
            yield plane, piece.corners[:4, 1:]
        return
    depth = np.floor(points[:, 0])
    if (depth == depth[0]).all():
        yield int(depth[0]), points[:, 1:]


def _coordinates(piece: Shape, points: npt.NDArray[np.float64]) -> Any:
    ring = points[:, ::-1]
    if isinstance(piece, Point):
        return _rounded(ring)[0]
    if isinstance(piece, MultiPoint | Polyline):
        return _rounded(ring)
    if isinstance(piece, Circle | Ellipse):
        ring, _ = ellipse_polygons(ring)
    elif not isinstance(piece, Polygon | Box):
        raise EncodingError(f"a {piece.kind} has no outline")
    return [_rounded(np.concatenate([ring, ring[:1]]))]


def _rounded(points: npt.NDArray[np.float64]) -> list[list[float]]:
    """To a thousandth of a pixel, which is more than DICOM's 32-bit coordinates have on large images."""
    found: list[list[float]] = np.round(points, 3).tolist()
    return found


def _upright(ends: npt.NDArray[np.float64]) -> bool:
    axes = np.abs(ends[1::2] - ends[0::2])
    return bool((axes.min(axis=1) < 1e-3).all())
