"""Annotations as GeoJSON that QuPath and others read, and back (RFC 7946).

Coordinates are pixels of the slide's finest level, x (column) and y (row) from the top left corner of the first pixel,
as in QuPath and as bulk annotations have them.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.annotations import Annotations
from dicom_ml.objects.annotations.collecting import measure_name
from dicom_ml.objects.annotations.features import FeatureFile
from dicom_ml.objects.annotations.geometries import FeatureGroups
from dicom_ml.objects.annotations.group import AnnotationGroup
from dicom_ml.objects.annotations.text import point_text, value_texts
from dicom_ml.rasterize import ellipse_polygons
from dicom_ml.source import as_source

__all__ = ["annotations_from_geojson", "annotations_to_geojson", "pixel_points"]

Array = npt.NDArray[Any]
#: Points whose text is made at once.
_BLOCK = 1 << 17
#: Items of a group from which they are detections, which QuPath shows fast, rather than annotations.
_MANY = 5000
_KINDS = {
    "POINT": "Point",
    "POLYLINE": "LineString",
    "POLYGON": "Polygon",
    "ELLIPSE": "Polygon",
    "RECTANGLE": "Polygon",
}
#: Colours of groups, told apart by most eyes (Okabe and Ito).
_COLORS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66))


# ---------------------------------------------------------------------- writing
def annotations_to_geojson(
    annotations: Annotations,
    path: str | os.PathLike[str],
    *,
    source: Any = None,
    object_type: str | None = None,
    colors: Mapping[str, tuple[int, int, int]] | None = None,
) -> str:
    """Write annotations as a GeoJSON FeatureCollection, a feature an item.

    A feature's ``classification`` is its group's label; its ``measurements`` are named by meaning and unit, as in
    ``"Area (um2)"``. What GeoJSON has no place for stands in members of our own (``"dicom"`` of the collection,
    ``"group"`` and ``"ellipse"`` of properties), which other software passes over: with them
    :func:`annotations_from_geojson` gives back equal groups.

    Parameters
    ----------
    annotations : Annotations
    path : path
        It takes its name only when it is complete.
    source : Slide or SourceSeries, optional
        The slide, of which three-dimensional annotations that were read need the geometry: they are written as pixels.
    object_type : str, optional
        QuPath's ``"annotation"``, ``"detection"`` or ``"tile"``; by default groups of 5,000 items and more are
        detections, others annotations.
    colors : mapping, optional
        Label to red, green and blue, 0 to 255.

    Returns
    -------
    str
        The path.

    Raises
    ------
    GeometryError
        If coordinates cannot be brought to pixels of the finest level.
    """
    groups = [replace(g, points=pixel_points(annotations, g, source), z=None) for g in annotations.groups]
    header = {"groups": [_group_record(number, group) for number, group in enumerate(groups, start=1)]}
    with atomic_file(path) as raw:
        file = io.BufferedWriter(raw, 1 << 20)
        start = json.dumps({"type": "FeatureCollection", "dicom": header}, ensure_ascii=False)
        file.write(f'{start[:-1]}, "features": ['.encode())
        separator = b"\n"
        for number, group in enumerate(groups, start=1):
            kind = object_type or ("detection" if len(group) >= _MANY else "annotation")
            color = (colors or {}).get(group.label) or _COLORS[(number - 1) % len(_COLORS)]
            seed = group.uid or f"{annotations.sop_instance_uid}/{number}"
            for text in _features(group, number, kind, color, uuid.uuid5(uuid.NAMESPACE_OID, seed)):
                file.write(separator)
                file.write(text)
                separator = b",\n"
        file.write(b"\n]}\n")
        file.flush()
        file.detach()
    return os.fspath(path)


def pixel_points(annotations: Annotations, group: AnnotationGroup, source: Any = None) -> Array:
    """Points of a group as x and y in pixels of the slide's finest level, shape (P, 2).

    Raises
    ------
    GeometryError
        If they are relative to a frame, or in millimetres and the slide's geometry is not known.
    """
    if group.dimensions == 2:
        if annotations.pixel_origin == "FRAME":
            raise GeometryError("coordinates are relative to a single frame, not to the slide (Pixel Origin FRAME)")
        return group.points
    record = annotations.source if source is None else as_source(source)
    if record is None or not record.levels:
        raise GeometryError("coordinates are millimetres; pass source=slide to bring them to pixels of the slide")
    points = group.points.astype(np.float64)
    if group.z is not None:
        points = np.column_stack([points, np.full(len(points), group.z)])
    index = record.levels[0].grid.to_index(points)
    return np.ascontiguousarray(index[:, :0:-1] + 0.5)


def _group_record(number: int, group: AnnotationGroup) -> dict[str, Any]:
    algorithm = group.algorithm
    record: dict[str, Any] = {
        "number": number,
        "label": group.label,
        "type": str(group.type),
        "category": str(group.category),
        "graphic": group.graphic,
        "precision": "float32" if group.points.dtype.itemsize == 4 else "float64",
        "algorithm": None if algorithm is None else "manual" if algorithm.is_manual else _algorithm_record(algorithm),
        "description": group.description,
        "uid": group.uid,
        "measurements": {measure_name(m): [str(m.concept), str(m.unit)] for m in group.measurements},
    }
    return {k: v for k, v in record.items() if v not in (None, "", {})}


def _algorithm_record(algorithm: Algorithm) -> dict[str, Any]:
    record = {k: getattr(algorithm, k) for k in ("name", "version", "type", "source", "parameters")}
    return {k: v for k, v in record.items() if v} | {"family": str(algorithm.family)}


def _features(
    group: AnnotationGroup, number: int, object_type: str, color: tuple[int, int, int], base: uuid.UUID
) -> Iterator[bytes]:
    """Text of features, block after block."""
    identity = f'{{"type": "Feature", "id": "{str(base)[:24]}'
    properties: dict[str, Any] = {
        "objectType": object_type,
        "classification": {"name": group.label, "color": [int(c) for c in color]},
        "group": number,
    }
    middle, tail = _brackets(group.graphic)
    head = f'", "geometry": {{"type": "{_KINDS[group.graphic]}", "coordinates": {middle}'
    rest = f'}}, "properties": {json.dumps(properties, ensure_ascii=False)[:-1]}'
    assert group.offsets is not None
    bounds = np.append(group.offsets, len(group.points))
    cuts = np.searchsorted(bounds, np.arange(_BLOCK, len(group.points) + _BLOCK, _BLOCK))
    first = 0
    for last in np.unique(np.minimum(cuts, len(group))).tolist():
        part = group.select(np.arange(first, last)) if (first, last) != (0, len(group)) else group
        yield ",\n".join(_block(part, first, identity, head, (tail, rest))).encode()
        first = last


def _brackets(graphic: str) -> tuple[str, str]:
    return {"POINT": ("", ""), "POLYLINE": ("[", "]")}.get(graphic, ("[[", "]]"))


def _block(group: AnnotationGroup, first: int, identity: str, head: str, closing: tuple[str, str]) -> Iterator[str]:
    """Features of the items of a part of a group."""
    tail, rest = closing
    assert group.offsets is not None
    points, offsets = group.points, group.offsets
    axes, flags = [""] * len(group), [""] * len(group)
    if group.graphic == "ELLIPSE":
        raw, ends = point_text(points, "[", ",", "],")
        text = raw.decode()
        axes = [f', "ellipse": [{text[a : b - 1]}]' for a, b in itertools.pairwise([0, *ends[3::4]])]
        flags = [', "isEllipse": true' if upright else "" for upright in _upright(points)]
        outline, offsets = ellipse_polygons(points.reshape(-1, 4, 2).astype(np.float64))
        points = np.round(outline, 2)
    lengths = np.diff(np.append(offsets, len(points)))
    if group.graphic not in ("POINT", "POLYLINE"):
        points, lengths = _closed(points, offsets, lengths)
    raw, ends = point_text(points, "[", ",", "],")
    text = raw.decode()
    stops = [0, *np.asarray(ends)[np.cumsum(lengths) - 1].tolist()]
    measured = _measured(group)
    for i, (a, b) in enumerate(itertools.pairwise(stops)):
        yield f"{identity}{first + i:012x}{head}{text[a : b - 1]}{tail}{flags[i]}{rest}{axes[i]}{measured[i]}}}}}"


def _closed(points: Array, offsets: Array, lengths: Array) -> tuple[Array, Array]:
    """Outlines that end with their first point again."""
    ends = np.cumsum(lengths + 1)
    index = np.arange(int(ends[-1])) - np.repeat(np.arange(len(lengths)), lengths + 1)
    index[ends - 1] = offsets
    return points[index], lengths + 1


def _upright(points: Array) -> list[bool]:
    """Whether each ellipse's axes run along rows and columns, which is all that QuPath's ellipses can do."""
    ends = points.reshape(-1, 4, 2)
    first, second = ends[:, 1] - ends[:, 0], ends[:, 3] - ends[:, 2]
    level = (first[:, 0] == 0) & (second[:, 1] == 0) | (first[:, 1] == 0) & (second[:, 0] == 0)
    return list(map(bool, level))


def _measured(group: AnnotationGroup) -> list[str]:
    """The measurements member of each item; those that an item does not have are left out."""
    if not group.measurements:
        return [""] * len(group)
    columns = []
    for measured in group.measurements:
        name = json.dumps(measure_name(measured), ensure_ascii=False)
        columns.append([f"{name}: {v}" if v != "nan" else "" for v in value_texts(measured.values)])
    rows = (", ".join(filter(None, row)) for row in zip(*columns, strict=True))
    return [f', "measurements": {{{row}}}' if row else "" for row in rows]


# ---------------------------------------------------------------------- reading
def annotations_from_geojson(
    path: str | os.PathLike[str],
    *,
    source: Any,
    types: Mapping[str, Any] | Any = None,
    algorithm: Algorithm | str | None = None,
    measurements: Mapping[str, Any] | None = None,
    holes: str = "error",
    parts: str = "error",
    nuclei: bool = False,
    **settings: Any,
) -> Annotations:
    """Read GeoJSON of QuPath or others as annotations of a slide.

    Features of one class and one kind of geometry become a group: points (also each of a MultiPoint), lines, polygons,
    and ellipses where QuPath says so. A file that :func:`annotations_to_geojson` wrote gives groups equal to those it
    was written from, and needs ``source`` only.

    Parameters
    ----------
    path : path
        A FeatureCollection, a list of features, or features one a line. Features within others (``childObjects``)
        count by themselves.
    source : Slide, SourceSeries or str
        The slide, whose finest level the pixel coordinates refer to.
    types : mapping or code, optional
        What classes mean: ``{"Tumor": "SCT:108369006", "Ignore": None}``; None leaves a class out. Instead of a code
        ``{"type": code, "category": code, "label": text, ...}`` gives further fields of
        :class:`AnnotationGroup`. A class that is not named must be a known term. One code is the type of all.
    algorithm : Algorithm or ``"manual"``, optional
        Who or what made the items, where the file does not say.
    measurements : mapping, optional
        ``{name: (concept, unit)}``, with None for what is not wanted; names such as ``"Area µm^2"`` that are a known
        term and a unit need not be given. What remains is left out with a warning.
    holes : {"error", "drop", "bridge"}
        Of polygons with holes, which annotations cannot have: refuse them, fill the holes, or join each hole to the
        outline by two edges that lie on each other, which encloses the same area.
    parts : {"error", "split", "largest"}
        Of geometries in several parts: refuse them, make each part an item, which then has no measurements, or keep
        the largest one.
    nuclei : bool
        Of QuPath's cells, take the outlines of the nuclei.
    **settings
        As in :meth:`Annotations.from_groups`.

    Raises
    ------
    FileError
        If the file is no GeoJSON.
    EncodingError
        If a class has no known meaning, or geometries have holes or parts and no policy was given.
    """
    if holes not in ("error", "drop", "bridge") or parts not in ("error", "split", "largest"):
        raise EncodingError(
            f"holes is 'error', 'drop' or 'bridge', and parts 'error', 'split' or 'largest'; found {holes!r}, {parts!r}"
        )
    file = FeatureFile(path)
    found = FeatureGroups(file.name, holes, parts, nuclei)
    for feature in file:
        found.add(feature)
    groups = found.groups(file.header.get("dicom"), types, algorithm, measurements)
    return Annotations.from_groups(groups, source=source, **settings)
