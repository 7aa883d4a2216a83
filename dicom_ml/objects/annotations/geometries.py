"""GeoJSON features gathered by class and geometry, and made into groups of annotations."""

from __future__ import annotations

import math
import warnings
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import DicomMLWarning, EncodingError, FileError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.collecting import Items, Meaning, find_meanings, find_measures, group_of
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup

__all__ = ["FeatureGroups", "bridged"]

Array = npt.NDArray[Any]
Pair = list[float]
#: Group number of our own files or 0, class, graphic.
Key = tuple[int, str, str]


class FeatureGroups:
    """Takes features one by one.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    holes, parts : str
        Policies; see :func:`dicom_ml.objects.annotations.annotations_from_geojson`.
    nuclei : bool
        Take a cell's nucleus where it has one.
    """

    def __init__(self, name: str, holes: str, parts: str, nuclei: bool) -> None:
        self._name = name
        self._holes = holes
        self._parts = parts
        self._nuclei = nuclei
        self._items: dict[Key, Items] = {}
        self._count = 0
        self._left: Counter[str] = Counter()

    def add(self, feature: Mapping[str, Any]) -> None:
        """Take one feature."""
        self._count += 1
        properties = feature.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        geometry = feature.get("nucleusGeometry") if self._nuclei else None
        geometry = geometry or feature.get("geometry")
        if not isinstance(geometry, dict):
            self._left["have no geometry"] += 1
            return
        try:
            shapes = list(self._shapes(geometry, properties))
        except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
            if isinstance(error, EncodingError):
                raise
            raise FileError(f"{self._name}: feature {self._count}: its coordinates are not those of a "
                            f"{geometry.get('type')!r}") from error  # fmt: skip
        number = properties.get("group")
        measured = _measured(properties.get("measurements"))
        self.take(number if isinstance(number, int) else 0, _class_of(properties), shapes, list(measured))

    def take(
        self,
        number: int,
        label: str,
        shapes: Sequence[tuple[str, Sequence[float]]],
        measured: Sequence[tuple[str, float]] = (),
    ) -> None:
        """Take an item, or several that were one: graphic and coordinates of each."""
        if len(shapes) > 1 and measured:
            self._left["are in parts, whose measurements cannot be shared out"] += 1
            measured = ()
        for graphic, values in shapes:
            size = GRAPHICS[graphic]
            if len(values) % 2 or (size is not None and len(values) != 2 * size):
                place = self._count or sum(map(len, self._items.values())) + 1
                points = f"{size} points" if size else "points"
                raise FileError(f"{self._name}: item {place}: {_a(graphic)} has {points} of x and y each, found "
                                f"{len(values)} numbers")  # fmt: skip
            key = (number, label, graphic)
            items = self._items.get(key)
            if items is None:
                items = self._items[key] = Items()
            items.add(values, measured)

    # ------------------------------------------------------------------ geometry
    def _shapes(
        self, geometry: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[float]]]:
        """Graphic and coordinates of the items that a geometry is."""
        kind: Any = geometry.get("type")
        coordinates: Any = geometry.get("coordinates")
        if kind == "Point":
            yield "POINT", _flat([coordinates])
        elif kind == "MultiPoint":
            for point in coordinates:
                yield "POINT", _flat([point])
        elif kind == "LineString":
            yield from self._line(coordinates)
        elif kind == "MultiLineString":
            for line in self._chosen(coordinates, _length):
                yield from self._line(line)
        elif kind == "Polygon":
            if properties.get("ellipse"):
                yield "ELLIPSE", _flat(properties["ellipse"])
            elif geometry.get("isEllipse"):
                yield "ELLIPSE", _axes(coordinates[0])
            else:
                yield from self._polygon(coordinates)
        elif kind == "MultiPolygon":
            for polygon in self._chosen(coordinates, lambda rings: _area(rings[0])):
                yield from self._polygon(polygon)
        else:
            raise FileError(f"{self._name}: feature {self._count}: a {kind!r} is no geometry of an annotation")

    def _line(self, coordinates: list[Pair]) -> Iterator[tuple[str, Sequence[float]]]:
        if len(coordinates) < 2:
            self._left["are lines of one point"] += 1
        else:
            yield "POLYLINE", _flat(coordinates)

    def _polygon(self, rings: list[list[Pair]]) -> Iterator[tuple[str, Sequence[float]]]:
        opened = [ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring for ring in rings]
        if not opened or len(opened[0]) < 3:
            self._left["are polygons of fewer than 3 points"] += 1
            return
        if len(opened) == 1 or self._holes == "drop":
            yield "POLYGON", _flat(opened[0])
        elif self._holes == "bridge":
            yield "POLYGON", bridged([np.array(_flat(ring)).reshape(-1, 2) for ring in opened]).ravel().tolist()
        else:
            raise EncodingError(
                f"{self._name}: feature {self._count} is a polygon with {len(opened) - 1} holes, which annotations "
                "cannot have; pass holes='bridge' to join each to the outline, or holes='drop' to fill them"
            )

    def _chosen(self, pieces: list[Any], size: Any) -> list[Any]:
        if len(pieces) < 2 or self._parts == "split":
            return pieces
        if self._parts == "largest":
            return [max(pieces, key=size)]
        raise EncodingError(
            f"{self._name}: feature {self._count} is in {len(pieces)} parts; pass parts='split' to make each an item, "
            "or parts='largest' to keep the largest"
        )

    # ------------------------------------------------------------------ groups
    def groups(
        self,
        header: Any,
        types: Mapping[str, Any] | Any,
        algorithm: Algorithm | str | None,
        measurements: Mapping[str, Any] | None,
        columns: Sequence[str] = (),
    ) -> list[AnnotationGroup]:
        """Groups of all features.

        ``header`` is the member in which our own files describe theirs; ``columns`` gives the order of measurements.
        """
        for reason, count in self._left.items():
            warnings.warn(f"{self._name}: {count} features {reason}; that is left out", DicomMLWarning, stacklevel=4)
        if not self._items:
            raise FileError(f"{self._name}: holds no features that could be annotations")
        described = {} if types is not None else _described(header)
        counts: Counter[str] = Counter()
        for (number, label, _), items in self._items.items():
            if number not in described:
                counts[label] += len(items)
        meanings = find_meanings(counts, types)
        keys = [k for k in sorted(self._items, key=lambda k: k[0]) if k[0] in described or meanings[k[1]] is not None]
        names = [n for key in keys for n in self._items[key].measured]
        own = {n: m for record in described.values() for n, m in record["measurements"].items()}
        names = [n for n in columns if n in set(names)] + names
        measures = find_measures(names, {**own, **(measurements or {})})
        made: list[AnnotationGroup] = []
        for key in keys:
            record = described.get(key[0])
            made.append(_group(self._items[key], key[2], record, meanings.get(key[1]), measures, algorithm))
        if not made:
            raise EncodingError(f"{self._name}: types leaves out every class, so that no items are left")
        return made


def _group(
    items: Items,
    graphic: str,
    record: Mapping[str, Any] | None,
    meaning: Meaning | None,
    measures: Mapping[str, Any],
    algorithm: Algorithm | str | None,
) -> AnnotationGroup:
    if record is None:
        assert meaning is not None
        return group_of(items, graphic, meaning, measures, algorithm)
    own: Meaning = record["meaning"]
    ours = {n: measures[n] for n in record["measurements"] if n in measures}
    rest = {n: m for n, m in measures.items() if n in items.measured and n not in ours}
    stated, points = record["graphic"], items.points
    if graphic == "POLYGON" and stated == "RECTANGLE" and set(items.lengths) == {4}:
        graphic = stated
    points = points.astype(np.float64 if record["precision"] == "float64" else np.float32)
    return group_of(items, graphic, own, {**ours, **rest}, algorithm, points)


def _described(header: Any) -> dict[int, dict[str, Any]]:
    """Groups by number, as our own files describe them; what is not so described is left to the classes."""
    found: dict[int, dict[str, Any]] = {}
    records = header.get("groups") if isinstance(header, dict) else None
    for record in records if isinstance(records, list) else ():
        try:
            algorithm = record.get("algorithm")
            fields = {k: record[k] for k in ("category", "description", "uid") if k in record}
            if algorithm is not None:
                fields["algorithm"] = algorithm if isinstance(algorithm, str) else Algorithm(**algorithm)
            found[int(record["number"])] = {
                "meaning": Meaning(record["label"], record["type"], fields),
                "graphic": record["graphic"],
                "precision": record.get("precision"),
                "measurements": {n: (str(c), str(u)) for n, (c, u) in record.get("measurements", {}).items()},
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


# ---------------------------------------------------------------------- parts of features
def _a(graphic: str) -> str:
    return f"an {graphic.lower()}" if graphic == "ELLIPSE" else f"a {graphic.lower()}"


def _class_of(properties: Mapping[str, Any]) -> str:
    """Class of a feature, as QuPath of any version and others say it; empty where it has none."""
    for key in ("classification", "class", "label", "category"):
        value = properties.get(key)
        if isinstance(value, dict):
            names = value.get("names")
            value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def _measured(given: Any) -> Iterator[tuple[str, float]]:
    """Measurements, from a mapping (QuPath 0.4 and later) or a list of names and values (earlier)."""
    if isinstance(given, dict):
        pairs: Iterable[tuple[Any, Any]] = given.items()
    elif isinstance(given, list):
        pairs = [(e.get("name"), e.get("value")) for e in given if isinstance(e, dict)]
    else:
        return
    for name, value in pairs:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield str(name), float(value)


def _flat(pairs: list[Pair]) -> Sequence[float]:
    values = list(chain.from_iterable(pairs))
    if len(values) != 2 * len(pairs) or any(len(p) != 2 for p in pairs):
        values = [v for p in pairs for v in (p[0], p[1])]  # a height, which slides do not have
    return array("d", values)


def _axes(ring: list[Pair]) -> list[float]:
    """Ends of the axes of an upright ellipse, from its outline; the longer axis first."""
    points = np.array([p[:2] for p in ring], dtype=np.float64)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    level, upright = [x0, y, x1, y], [x, y0, x, y1]
    return [float(v) for v in (level + upright if x1 - x0 >= y1 - y0 else upright + level)]


def _area(ring: list[Pair]) -> float:
    x, y = np.array([p[:2] for p in ring], dtype=np.float64).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _length(line: list[Pair]) -> float:
    points = np.array([p[:2] for p in line], dtype=np.float64)
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def bridged(rings: list[Array]) -> Array:
    """One outline round the same area as an outline and its holes, joined by edges that lie on each other."""
    outline = rings[0]
    for hole in rings[1:]:
        if not len(hole):
            continue
        i = int(((outline - hole[0]) ** 2).sum(axis=1).argmin())
        outline = np.concatenate([outline[: i + 1], hole, hole[:1], outline[i:]])
    return outline
