"""Groups of bulk annotations: millions of points, lines and outlines as flat arrays (PS3.3 C.37.1.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code, parse_unit
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm, check_text

__all__ = ["GRAPHICS", "AnnotationGroup", "AnnotationMeasurement"]

Array = npt.NDArray[Any]
#: Graphic types and how many points each of their items has; None where that varies (PS3.3 C.37.1.2.2).
GRAPHICS: dict[str, int | None] = {"POINT": 1, "POLYLINE": None, "POLYGON": None, "ELLIPSE": 4, "RECTANGLE": 4}
_LEAST = {"POLYLINE": 2, "POLYGON": 3}
_LARGEST = 1e12  # coordinate, pixels or mm; damaged files hold larger ones, whose squares are no numbers
_BLOCK = 1 << 18
_ANATOMY = Code("91723000", "SCT", "Anatomical structure")


def _check_coordinates(points: Array) -> None:
    """Refuse coordinates that are no numbers, or beyond all slides; a block that stays in the cache at a time."""
    flat = points.reshape(-1)

    def check(start: int) -> None:
        block = flat[start : start + _BLOCK]
        for extreme in (float(block.min()), float(block.max())):
            if not math.isfinite(extreme):
                raise EncodingError("points hold values that are not finite numbers")
            if abs(extreme) > _LARGEST:
                raise EncodingError(f"points hold coordinates of up to {abs(extreme):g}: no slide is that large")

    parallel_for(check, range(0, len(flat), _BLOCK), None if len(flat) > 16 * _BLOCK else 1)


@dataclass(frozen=True)
class AnnotationMeasurement:
    """A measurement of the items of a group.

    Parameters
    ----------
    concept, unit : code
        What is measured, and its UCUM unit.
    values : ndarray of float32, shape (N,)
        NaN where an item has none.
    """

    concept: Code
    unit: Code
    values: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class AnnotationGroup:
    """Items of one kind: same meaning, same graphic type.

    Parameters
    ----------
    label : str
        Up to 64 characters.
    type : code
        What the items are: Annotation Property Type, such as ``"SCT:84640000"`` (Nucleus).
    graphic : str
        ``"point"``, ``"polyline"``, ``"polygon"`` (closed by itself), ``"ellipse"`` (ends of the major, then of the
        minor axis) or ``"rectangle"`` (four corners).
    points : array of shape (P, 2) or (P, 3)
        All points of all items, one item after the other. Two columns: x (column) and y (row) in pixels of the
        slide's total pixel matrix, the corner of the first pixel at 0, 0. Three: x, y, z in slide millimetres.
        float32 is kept as such, everything else is stored as float64.
    offsets : array of int, shape (N,), optional
        Index of the first point of each item; needed for polylines and polygons.
    category : code
        Kind of thing: Annotation Property Category; anatomical structure unless said otherwise.
    measurements : mapping or sequence
        ``{(concept, unit): values}``, or :class:`AnnotationMeasurement` objects; NaN marks items without a value.
    algorithm : Algorithm or ``"manual"``
        Who or what made the items; must be known when they are written.
    description : str, optional
    uid : str, optional
        Annotation Group UID; by default derived from the object's when it is written.
    z : float, optional
        Z in slide millimetres that all points share; points are then x and y in slide millimetres, two columns.

    Raises
    ------
    EncodingError
        If points, offsets and measurements do not go together.
    """

    label: str
    type: Code
    graphic: str
    points: Array = field(repr=False)
    offsets: Array | None = field(default=None, repr=False)
    category: Code = _ANATOMY
    measurements: Any = ()
    algorithm: Algorithm | None = None
    description: str = ""
    uid: str = ""
    z: float | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        check_text("group's label", str(self.label), 64)
        set_(self, "type", parse_code(self.type))
        set_(self, "category", parse_code(self.category))
        graphic = str(self.graphic).upper()
        if graphic not in GRAPHICS:
            raise EncodingError(f"a graphic is one of {', '.join(GRAPHICS).lower()}, found {self.graphic!r}")
        set_(self, "graphic", graphic)
        algorithm: Any = self.algorithm
        if isinstance(algorithm, str):
            if algorithm.lower() != "manual":
                raise EncodingError(f"an algorithm is an Algorithm(name, version) or 'manual', found {algorithm!r}")
            set_(self, "algorithm", Algorithm.manual())
        points = np.asarray(self.points)
        if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) == 0 or points.dtype.kind not in "iuf":
            raise EncodingError(f"points are numbers of shape (P, 2) or (P, 3), found {points.shape}, {points.dtype}")
        points = np.ascontiguousarray(points, dtype="<f4" if points.dtype == np.float32 else "<f8")
        _check_coordinates(points)
        if self.z is not None and points.shape[1] == 3:
            raise EncodingError("points with a z of their own do not share one; leave z out, or the third column")
        set_(self, "points", points)
        set_(self, "offsets", self._check_offsets(len(points)))
        set_(self, "measurements", tuple(self._measurements()))

    def _check_offsets(self, count: int) -> Array:
        size = GRAPHICS[self.graphic]
        if size is not None:
            if count % size:
                raise EncodingError(f"{self.graphic} items have {size} points each, {count} points are given")
            offsets = np.arange(0, count, size, dtype=np.int64)
            if self.offsets is not None and not np.array_equal(np.asarray(self.offsets), offsets):
                raise EncodingError(f"{self.graphic} items have {size} points each; leave offsets out")
            return offsets
        if self.offsets is None:
            raise EncodingError(f"{self.graphic} items vary in length; pass offsets: the first point of each")
        offsets = np.ascontiguousarray(self.offsets, dtype=np.int64)
        shortest = 0
        if offsets.ndim == 1 and len(offsets):
            shortest = count - int(offsets[-1])
            if len(offsets) > 1:
                shortest = min(shortest, int(np.diff(offsets).min()))
        if shortest < _LEAST[self.graphic] or offsets[0] != 0:
            raise EncodingError(
                f"offsets begin at 0 and rise by at least {_LEAST[self.graphic]} points an item, up to {count} points; "
                f"found {offsets[:5].tolist()}..., the shortest item has {shortest}"
            )
        return offsets

    def _measurements(self) -> Iterator[AnnotationMeasurement]:
        given = self.measurements
        listed = given.items() if isinstance(given, Mapping) else given
        for entry in listed:
            if isinstance(entry, AnnotationMeasurement):
                concept, unit, values = entry.concept, entry.unit, entry.values
            else:
                (concept, unit), values = entry
            array = np.ascontiguousarray(values, dtype="<f4")
            if array.shape != (len(self),):
                raise EncodingError(f"a measurement has a value for each of {len(self)} items, found {array.shape}")
            if np.isinf(array).any():
                raise EncodingError("a measurement holds infinite values; NaN marks items without one")
            yield AnnotationMeasurement(parse_code(concept), parse_unit(unit), array)

    # ------------------------------------------------------------------ items
    def __len__(self) -> int:
        return len(self.offsets if self.offsets is not None else self.points)

    @property
    def dimensions(self) -> int:
        """2 for pixels of the total pixel matrix, 3 for slide millimetres."""
        return 2 if self.z is None and self.points.shape[1] == 2 else 3

    @property
    def columns(self) -> int:
        """Coordinates stored a point: 2 or 3."""
        return int(self.points.shape[1])

    def _bounds(self) -> Array:
        assert self.offsets is not None
        return np.append(self.offsets, len(self.points))

    def __getitem__(self, index: int) -> Array:
        """Points of one item, a view of shape (n, 2) or (n, 3)."""
        index = range(len(self))[index]
        bounds = self._bounds()
        return self.points[bounds[index] : bounds[index + 1]]

    def __iter__(self) -> Iterator[Array]:
        bounds = self._bounds().tolist()
        for start, stop in itertools.pairwise(bounds):
            yield self.points[start:stop]

    @property
    def boxes(self) -> Array:
        """Smallest and largest coordinates of each item's points, shape (N, 2, dimensions)."""
        assert self.offsets is not None
        low = np.minimum.reduceat(self.points, self.offsets)
        high = np.maximum.reduceat(self.points, self.offsets)
        return np.stack([low, high], axis=1)

    def select(self, items: npt.ArrayLike) -> AnnotationGroup:
        """The group with some of its items, given by index or as a mask.

        Raises
        ------
        EncodingError
            If none are left.
        """
        from dataclasses import replace

        chosen = np.arange(len(self))[np.asarray(items)]
        if not len(chosen):
            raise EncodingError("no items are left; an annotation group holds at least one")
        bounds = self._bounds()
        lengths = bounds[chosen + 1] - bounds[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        index = np.repeat(bounds[chosen] - starts, lengths) + np.arange(int(lengths.sum()))
        measured = [AnnotationMeasurement(m.concept, m.unit, m.values[chosen]) for m in self.measurements]
        offsets = starts if GRAPHICS[self.graphic] is None else None
        return replace(self, points=self.points[index], offsets=offsets, measurements=measured)

    def in_region(self, low: Sequence[float], high: Sequence[float]) -> Array:
        """Indices of the items whose boxes touch the box from ``low`` to ``high`` (x, y[, z])."""
        boxes = self.boxes
        inside = (boxes[:, 0] <= np.asarray(high)) & (boxes[:, 1] >= np.asarray(low))
        return np.flatnonzero(inside.all(axis=1))

    def measurement(self, concept: Any) -> Array:
        """Values of the measurement of a concept.

        Raises
        ------
        KeyError
            If the group has none.
        """
        code = parse_code(concept)
        for measured in self.measurements:
            if measured.concept == code:
                values: Array = measured.values
                return values
        raise KeyError(f"the group has no measurement of {code}")
