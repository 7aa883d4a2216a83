"""Annotations as tables (CSV), and back: points, boxes, outlines as well-known text, or a row a point."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import EncodingError, FileError, GeometryError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.annotations import Annotations
from dicom_ml.objects.annotations.collecting import measure_name
from dicom_ml.objects.annotations.geojson import pixel_points
from dicom_ml.objects.annotations.geometries import FeatureGroups
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup
from dicom_ml.objects.annotations.text import point_text, value_texts
from dicom_ml.rasterize import ellipse_polygons
from dicom_ml.source import as_source

__all__ = ["annotations_from_csv", "annotations_to_csv"]

Array = npt.NDArray[Any]
_FORMS = {
    "wkt": ["wkt"],
    "points": ["x", "y"],
    "boxes": ["xmin", "ymin", "xmax", "ymax"],
    "long": ["item", "x", "y"],
}
_WORDS = {"POINT": "POINT (", "POLYLINE": "LINESTRING (", "POLYGON": "POLYGON ((", "RECTANGLE": "POLYGON (("}
#: Points whose rows are made at once.
_BLOCK = 1 << 17
#: Headings under which each thing is looked for, in this order.
_HEADINGS: dict[str, tuple[str, ...]] = {
    "wkt": ("wkt", "geometry", "geom"),
    "item": ("item", "polygon_id", "object_id"),
    "x": ("x", "x_px", "centroid_x", "col", "column"),
    "y": ("y", "y_px", "centroid_y", "row"),
    "xmin": ("xmin", "x_min", "x0", "left"),
    "ymin": ("ymin", "y_min", "y0", "top"),
    "xmax": ("xmax", "x_max", "x1", "right"),
    "ymax": ("ymax", "y_max", "y1", "bottom"),
    "width": ("width", "w"),
    "height": ("height", "h"),
    "label": ("label", "class", "classification"),
    "group": ("group",),
    "type": ("type",),
    "category": ("category",),
    "graphic": ("graphic",),
    "precision": ("precision",),
    "ellipse": ("ellipse",),
}
_PART = re.compile(r"\(([^()]*)\)")


# ---------------------------------------------------------------------- writing
def annotations_to_csv(
    annotations: Annotations, path: str | os.PathLike[str], *, form: str = "wkt", source: Any = None
) -> str:
    """Write annotations as a table, with a column a measurement.

    Parameters
    ----------
    annotations : Annotations
    path : path
        It takes its name only when it is complete.
    form : {"wkt", "points", "boxes", "long"}
        An outline an item as well-known text; the middle of each item's box; its box; or a row a point. Coordinates
        are x (column) and y (row) in pixels of the slide's finest level.
    source : Slide or SourceSeries, optional
        The slide, for three-dimensional annotations that were read.

    Returns
    -------
    str
        The path.

    Raises
    ------
    EncodingError
        If there is no such form.
    GeometryError
        If coordinates cannot be brought to pixels of the finest level.
    """
    if form not in _FORMS:
        raise EncodingError(f"form is one of {', '.join(map(repr, _FORMS))}, found {form!r}")
    groups = [replace(g, points=pixel_points(annotations, g, source), z=None) for g in annotations.groups]
    names = list(dict.fromkeys(measure_name(m) for g in groups for m in g.measurements))
    ellipses = form == "wkt" and any(g.graphic == "ELLIPSE" for g in groups)
    columns = ["group", "label", "type", "category", "graphic", "precision", *_FORMS[form]]
    columns += ["ellipse"] * ellipses + names
    with atomic_file(path) as raw:
        file = io.BufferedWriter(raw, 1 << 20)
        file.write(_quoted(columns).encode() + b"\n")
        for number, group in enumerate(groups, start=1):
            graphic = {"points": "point", "boxes": "rectangle"}.get(form, group.graphic.lower())
            single = group.points.dtype.itemsize == 4 and (form != "points" or group.graphic == "POINT")
            precision = "float32" if single else "float64"
            what = [str(number), group.label, str(group.type), str(group.category), graphic, precision]
            start = _quoted(what) + ","
            for part, first in _parts(group):
                measured = _measured(part, names)
                for row in _rows(part, form, first, ellipses, measured):
                    file.write(f"{start}{row}\n".encode())
        file.flush()
        file.detach()
    return os.fspath(path)


def _quoted(values: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def _parts(group: AnnotationGroup) -> Iterator[tuple[AnnotationGroup, int]]:
    """Some items at a time, and the number of the first."""
    assert group.offsets is not None
    cuts = np.searchsorted(group.offsets, np.arange(_BLOCK, len(group.points) + _BLOCK, _BLOCK))
    first = 0
    for last in np.unique(np.minimum(cuts, len(group))).tolist():
        if last > first:
            yield group.select(np.arange(first, last)), first
            first = last


def _measured(group: AnnotationGroup, names: Sequence[str]) -> list[str]:
    """Columns of measurements of each item, with a comma before each."""
    if not names:
        return [""] * len(group)
    own = {measure_name(m): m.values for m in group.measurements}
    columns = [[v if v != "nan" else "" for v in value_texts(own[n])] if n in own else [""] * len(group) for n in names]
    return ["," + ",".join(row) for row in zip(*columns, strict=True)]


def _rows(group: AnnotationGroup, form: str, first: int, ellipses: bool, measured: list[str]) -> Iterator[str]:
    if form == "long":
        assert group.offsets is not None
        texts = _texts(group.points, ",", "\n")
        bounds = [*group.offsets.tolist(), len(group.points)]
        for i, (a, b) in enumerate(itertools.pairwise(bounds)):
            yield from (f"{first + i + 1},{texts[p]}{measured[i]}" for p in range(a, b))
    elif form == "wkt":
        for outline, axes, tail in zip(_outlines(group), _axes(group), measured, strict=True):
            yield f"{outline},{axes}{tail}" if ellipses else f"{outline}{tail}"
    else:
        low, high = group.boxes[:, 0], group.boxes[:, 1]
        if form == "points":
            middle = group.points if group.graphic == "POINT" else group.boxes.mean(axis=1, dtype=np.float64)
            texts = _texts(middle, ",", "\n")
        else:
            both = zip(_texts(low, ",", "\n"), _texts(high, ",", "\n"), strict=True)
            texts = [f"{a},{b}" for a, b in both]
        yield from (text + tail for text, tail in zip(texts, measured, strict=True))


def _texts(points: Array, between: str, closing: str) -> list[str]:
    raw, ends = point_text(points, "", between, closing)
    text = raw.decode()
    return [text[a : b - len(closing)] for a, b in itertools.pairwise([0, *ends])]


def _outlines(group: AnnotationGroup) -> Iterator[str]:
    """Well-known text of each item, quoted."""
    points, offsets, graphic = group.points, group.offsets, group.graphic
    assert offsets is not None
    if graphic == "ELLIPSE":
        outline, offsets = ellipse_polygons(points.reshape(-1, 4, 2).astype(np.float64))
        points, graphic = np.round(outline, 2), "POLYGON"
    closed = graphic in ("POLYGON", "RECTANGLE")
    raw, ends = point_text(points, "", " ", ",")
    text = raw.decode()
    word, end = _WORDS[graphic], "))" if closed else ")"
    stops = [0, *ends]
    for a, b in itertools.pairwise([*offsets.tolist(), len(points)]):
        inner = text[stops[a] : stops[b] - 1]
        again = "," + text[stops[a] : stops[a + 1] - 1] if closed else ""
        yield f'"{word}{inner}{again}{end}"'


def _axes(group: AnnotationGroup) -> list[str]:
    if group.graphic != "ELLIPSE":
        return [""] * len(group)
    texts = _texts(group.points, " ", ";")
    return [" ".join(texts[i : i + 4]) for i in range(0, len(texts), 4)]


# ---------------------------------------------------------------------- reading
def annotations_from_csv(
    path: str | os.PathLike[str],
    *,
    source: Any,
    types: Mapping[str, Any] | Any = None,
    algorithm: Algorithm | str | None = None,
    measurements: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    graphic: str = "polygon",
    unit: str = "px",
    holes: str = "error",
    parts: str = "error",
    **settings: Any,
) -> Annotations:
    """Read a table as annotations of a slide.

    Outlines are found in a column of well-known text (``wkt``, ``geometry``); boxes in ``xmin, ymin, xmax, ymax`` or
    ``x, y, width, height``; outlines a row a point in ``item, x, y``; points in ``x, y``. The class is in ``label`` or
    ``class``. Other columns of numbers are measurements. Commas, semicolons and tabs separate columns.

    Parameters
    ----------
    path : path
    source : Slide, SourceSeries or str
    types, algorithm, measurements, holes, parts
        As in :func:`annotations_from_geojson`.
    columns : mapping, optional
        Where headings are others: ``{"x": "Centroid X µm", "y": "Centroid Y µm", "label": "Class"}``.
    graphic : str
        Of outlines given a row a point: ``"polygon"`` or ``"polyline"``, unless a column ``graphic`` says it.
    unit : {"px", "um"}
        Of coordinates: pixels of the finest level, or micrometres from its top left corner.
    **settings
        As in :meth:`Annotations.from_groups`.

    Raises
    ------
    FileError
        If the table has no coordinates, or a row of it cannot be understood.
    EncodingError
        If a class has no known meaning, or geometries have holes or parts and no policy was given.
    """
    record = as_source(source)
    scale = _scale(unit, record)
    table = _Table(path, columns, graphic.upper())
    found = FeatureGroups(table.name, holes, parts, nuclei=False)
    for row in table.items():
        row.add_to(found, scale)
    groups = found.groups({"groups": table.described(scale)}, types, algorithm, measurements, table.others)
    return Annotations.from_groups(groups, source=source, **settings)


def _scale(unit: str, record: Any) -> tuple[float, float]:
    """Pixels a unit, along x and y."""
    if unit == "px":
        return 1.0, 1.0
    if unit != "um":
        raise EncodingError(f"unit is 'px' or 'um', found {unit!r}")
    if not record.levels:
        raise GeometryError("micrometres are brought to pixels of a slide; the source is none")
    _, height, width = record.levels[0].grid.spacing
    return 1 / (width * 1000), 1 / (height * 1000)


class _Row:
    """An item of a table."""

    def __init__(self, number: int, label: str, shapes: list[tuple[str, list[float]]], geometry: Any = None) -> None:
        self.number = number
        self.label = label
        self.shapes = shapes
        self.geometry = geometry
        self.measured: list[tuple[str, float]] = []

    def add_to(self, groups: FeatureGroups, scale: tuple[float, float]) -> None:
        if self.geometry is not None:
            groups.add(
                {
                    "geometry": _scaled(self.geometry, scale),
                    "properties": {
                        "group": self.number,
                        "classification": self.label,
                        "measurements": dict(self.measured),
                    },
                }
            )
            return
        shapes = self.shapes
        if scale != (1.0, 1.0):
            shapes = [(g, [v * scale[i % 2] for i, v in enumerate(values)]) for g, values in shapes]
        groups.take(self.number, self.label, shapes, self.measured)


def _scaled(geometry: dict[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if value and not isinstance(value[0], list):
            return [value[0] * scale[0], value[1] * scale[1]]
        return [walk(v) for v in value]

    return geometry if scale == (1.0, 1.0) else {**geometry, "coordinates": walk(geometry["coordinates"])}


class _Table:
    """Rows of a table as items."""

    def __init__(self, path: str | os.PathLike[str], columns: Mapping[str, str] | None, graphic: str) -> None:
        self._path = path
        self.name = Path(path).name
        self._named = dict(columns or {})
        self._graphic = graphic
        self._groups: dict[int, dict[str, str]] = {}
        self._at: dict[str, int] = {}
        self._others: list[tuple[str, int]] = []
        unknown = set(self._named) - set(_HEADINGS)
        if unknown:
            raise EncodingError(f"columns says where {', '.join(_HEADINGS)} are; found {', '.join(sorted(unknown))}")
        if graphic not in ("POLYGON", "POLYLINE"):
            raise EncodingError(f"graphic is 'polygon' or 'polyline', found {graphic.lower()!r}")

    @property
    def others(self) -> list[str]:
        """Headings of columns that may be measurements."""
        return [name for name, _ in self._others]

    def described(self, scale: tuple[float, float]) -> list[dict[str, Any]]:
        """Groups that the table itself describes."""
        records: list[dict[str, Any]] = []
        for number, row in self._groups.items():
            if row.get("type") and number:
                record: dict[str, Any] = {k: row[k] for k in ("label", "type", "category", "precision") if row.get(k)}
                record |= {"number": number, "graphic": row.get("graphic", "").upper()}
                if scale != (1.0, 1.0):
                    record["precision"] = "float64"
                records.append({"label": "", "precision": "float64", **record})
        return records

    def items(self) -> Iterator[_Row]:
        """Every item."""
        limit = csv.field_size_limit(1 << 30)  # an outline may be long
        try:
            with open(self._path, encoding="utf-8-sig", newline="") as file:
                line = file.readline()
                file.seek(0)
                rows = csv.reader(file, delimiter=max(",;\t", key=line.count))
                self._find_columns(next(rows, []))
                read = self._long if "item" in self._at else self._single
                yield from read(rows)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"{self.name}: cannot be read as a table: {error}") from error
        finally:
            csv.field_size_limit(limit)

    def _find_columns(self, headings: list[str]) -> None:
        known = {h.strip().lower(): i for i, h in reversed(list(enumerate(headings)))}
        for what, names in _HEADINGS.items():
            wanted = (self._named[what].strip().lower(),) if what in self._named else names
            at = next((known[n] for n in wanted if n in known), None)
            if at is not None:
                self._at[what] = at
            elif what in self._named:
                raise FileError(f"{self.name}: has no column {self._named[what]!r}; it has {', '.join(headings[:20])}")
        if "x1" in known and "x2" in known and "x0" not in known and "xmin" not in self._named:
            self._at |= {k: known[n] for k, n in zip(_FORMS["boxes"], ("x1", "y1", "x2", "y2"), strict=True)}
        used = set(self._at.values())
        self._others = [(h.strip(), i) for i, h in enumerate(headings) if i not in used and h.strip()]
        self._form = self._find_form(headings)

    def _find_form(self, headings: list[str]) -> str:
        at = self._at
        if "wkt" in at:
            return "wkt"
        if {"xmin", "ymin", "xmax", "ymax"} <= set(at):
            return "boxes"
        if {"x", "y", "width", "height"} <= set(at) and "item" not in at:
            return "sizes"
        if {"x", "y"} <= set(at):
            return "points"
        raise FileError(
            f"{self.name}: no coordinates were found among its columns ({', '.join(headings[:20])}); name them with "
            "columns={'x': ..., 'y': ...}, or 'wkt', or 'xmin', 'ymin', 'xmax', 'ymax'"
        )

    # ------------------------------------------------------------------ rows
    def _single(self, rows: Any) -> Iterator[_Row]:
        for line, row in enumerate(rows, start=2):
            if not any(row):
                continue
            try:
                yield self._item(row)
            except (ValueError, IndexError) as error:
                raise FileError(f"{self.name}: row {line}: its coordinates cannot be understood") from error

    def _item(self, row: list[str]) -> _Row:
        number, label = self._group(row)
        at = self._at
        shapes: list[tuple[str, list[float]]] = []
        geometry = None
        if self._form == "wkt":
            axes = row[at["ellipse"]].split() if "ellipse" in at else []
            if axes:
                shapes = [("ELLIPSE", [float(v) for v in axes])]
            else:
                geometry = _geometry(row[at["wkt"]])
        elif self._form == "points":
            shapes = [("POINT", [float(row[at["x"]]), float(row[at["y"]])])]
        else:
            if self._form == "boxes":
                x0, y0, x1, y1 = (float(row[at[k]]) for k in _FORMS["boxes"])
            else:
                x0, y0, wide, high = (float(row[at[k]]) for k in ("x", "y", "width", "height"))
                x1, y1 = x0 + wide, y0 + high
            shapes = [("RECTANGLE", [x0, y0, x1, y0, x1, y1, x0, y1])]
        item = _Row(number, label, shapes, geometry)
        item.measured = self._numbers(row)
        return item

    def _long(self, rows: Any) -> Iterator[_Row]:
        """Items of a table with a row a point; points of one item stand together."""
        item: _Row | None = None
        last: Any = None
        done = set()
        for line, row in enumerate(rows, start=2):
            if not any(row):
                continue
            try:
                number, label = self._group(row)
                key = (number, label, row[self._at["item"]])
                point = [float(row[self._at["x"]]), float(row[self._at["y"]])]
            except (ValueError, IndexError) as error:
                raise FileError(f"{self.name}: row {line}: its coordinates cannot be understood") from error
            if item is None or key != last:
                if item is not None:
                    yield item
                if key in done:
                    raise FileError(f"{self.name}: row {line}: the points of an item do not stand together; sort them")
                done.add(key)
                graphic = row[self._at["graphic"]].upper() if "graphic" in self._at else self._graphic
                if graphic not in GRAPHICS:
                    raise FileError(f"{self.name}: row {line}: {graphic!r} is no graphic of annotations")
                item, last = _Row(number, label, [(graphic, [])]), key
                item.measured = self._numbers(row)
            item.shapes[0][1].extend(point)
        if item is not None:
            yield item

    def _group(self, row: list[str]) -> tuple[int, str]:
        label = row[self._at["label"]].strip() if "label" in self._at else ""
        text = row[self._at["group"]].strip() if "group" in self._at else ""
        number = int(text) if text.isdigit() else 0
        if number not in self._groups:
            self._groups[number] = {k: row[i] for k, i in self._at.items() if i < len(row)}
        return number, label

    def _numbers(self, row: list[str]) -> list[tuple[str, float]]:
        found = []
        for name, i in self._others:
            if i < len(row) and row[i]:
                try:
                    value = float(row[i])
                except ValueError:
                    continue
                if np.isfinite(value):
                    found.append((name, value))
        return found


def _geometry(text: str) -> dict[str, Any]:
    """GeoJSON geometry of well-known text."""
    word, _, rest = text.strip().partition("(")
    kind = word.upper().removesuffix(" ").removesuffix(" Z").strip()
    lists = [[[float(v) for v in p.split()] for p in part.split(",")] for part in _PART.findall("(" + rest)]
    if not lists:
        raise ValueError("no coordinates")
    if kind == "POINT":
        return {"type": "Point", "coordinates": lists[0][0]}
    if kind == "MULTIPOINT":
        return {"type": "MultiPoint", "coordinates": [p for points in lists for p in points]}
    if kind == "LINESTRING":
        return {"type": "LineString", "coordinates": lists[0]}
    if kind == "MULTILINESTRING":
        return {"type": "MultiLineString", "coordinates": lists}
    if kind == "POLYGON":
        return {"type": "Polygon", "coordinates": lists}
    if kind == "MULTIPOLYGON":
        pieces = re.split(r"\)\s*\)\s*,\s*\(\s*\(", rest)
        rings = [_PART.findall(f"({piece.strip('() ')})") for piece in pieces]
        return {
            "type": "MultiPolygon",
            "coordinates": [[[[float(v) for v in p.split()] for p in r.split(",")] for r in piece] for piece in rings],
        }
    raise ValueError(f"no well-known text of an annotation: {text[:40]!r}")
