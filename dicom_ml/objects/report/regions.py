"""Regions of an image: points, lines, outlines and bodies, in array indices or in millimetres.

Index coordinates are those of the source's array with corners at pixel edges: pixel ``(i, j)`` covers ``i`` to
``i + 1`` and ``j`` to ``j + 1``, so that ``Box(start, stop)`` holds exactly ``array[start:stop]``, and the whole of a
volume is ``Box((0, 0, 0), (D, H, W))``. They are ``(slice, row, column)``, or ``(row, column)`` on the one slice that
:attr:`Region.slice` names, or on a slide. With ``space="mm"`` coordinates are ``(x, y, z)`` in LPS millimetres, or
``(x, y)`` in millimetres of the slide coordinate system.

DICOM stores coordinates in 32-bit floats: what is read back agrees to seven digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError
from dicom_ml.objects.report.items import Reference

__all__ = [
    "Box",
    "Circle",
    "Contours",
    "Ellipse",
    "Ellipsoid",
    "MultiPoint",
    "Point",
    "Polygon",
    "Polyline",
    "Region",
    "Shape",
]

FloatArray = npt.NDArray[np.float64]
S = TypeVar("S", bound="Shape")


class Region:
    """What a measurement group is about: a :class:`Shape`, :class:`Contours`, or a reference to a segmentation."""

    @property
    def kind(self) -> str:
        """Name of the kind of region, in lower case."""
        return type(self).__name__.lower()


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Shape(Region):
    """A region described by points.

    Attributes
    ----------
    points : ndarray of shape (N, 2) or (N, 3), float64, read-only
        What they stand for depends on the kind.
    slice : int or None
        The slice ``d`` on which 2-D index points lie; None on slides, and for 3-D points.
    space : str
        ``"index"`` or ``"mm"``.
    image : Reference or None
        The image that a region read from a file lies on.
    """

    points: FloatArray
    slice: int | None = None
    space: str = "index"
    image: Reference | None = None

    #: How many points there may be: fewest, and most where there is a limit.
    _counts: ClassVar[tuple[int, int | None]] = (1, None)

    def __init__(
        self, points: npt.ArrayLike, slice: int | None = None, space: str = "index", image: Reference | None = None
    ) -> None:
        array = np.array(points, dtype=np.float64)
        if array.ndim == 1 and self._counts == (1, 1):
            array = array[None]
        self._set(array, slice, space, image)

    def _set(self, array: FloatArray, slice: int | None, space: str, image: Reference | None) -> None:
        name = type(self).__name__
        if array.ndim != 2 or array.shape[1] not in (2, 3) or not np.isfinite(array).all():
            raise GeometryError(f"a {name}'s points have 2 or 3 finite coordinates each, found shape {array.shape}")
        fewest, most = self._counts
        if len(array) < fewest or (most is not None and len(array) > most):
            raise GeometryError(f"a {name} has {f'{fewest} or more' if most != fewest else fewest} points, found "
                                f"{len(array)}")  # fmt: skip
        if space not in ("index", "mm"):
            raise GeometryError(f"a region's space is 'index' or 'mm', found {space!r}")
        if slice is not None and (array.shape[1] == 3 or space == "mm"):
            raise GeometryError("slice= names the slice of 2-D index points; 3-D points and millimetres need none")
        array, slice = self._canonical(array, slice, space)
        array.setflags(write=False)
        set_ = object.__setattr__
        set_(self, "points", array)
        set_(self, "slice", None if slice is None else int(slice))
        set_(self, "space", space)
        set_(self, "image", image)

    def _canonical(self, array: FloatArray, slice: int | None, space: str) -> tuple[FloatArray, int | None]:
        """Points in the middle plane of one slice are points on that slice."""
        if space == "index" and array.shape[1] == 3:
            middle = np.floor(array[0, 0])
            if np.abs(array[:, 0] - middle - 0.5).max() < 1e-3:
                return array[:, 1:].copy(), int(middle)
        return array, slice

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.points.setflags(write=False)  # which copies of arrays forget

    # ------------------------------------------------------------------ facts
    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return int(self.points.shape[1])

    @property
    def points_3d(self) -> FloatArray:
        """Points with three coordinates: on a slice they lie in its middle plane, on a slide at slice 0, or z = 0."""
        if self.dimensions == 3:
            return self.points
        if self.space == "mm":
            return np.column_stack([self.points, np.zeros(len(self.points))])
        return np.column_stack([np.full(len(self.points), (self.slice or 0) + 0.5), self.points])

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest coordinates of the whole region."""
        return self.points.min(axis=0), self.points.max(axis=0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Shape):
            return NotImplemented
        same = type(self) is type(other) and (self.slice, self.space) == (other.slice, other.space)
        return same and np.array_equal(self.points, other.points)

    def __hash__(self) -> int:
        return hash((type(self), self.slice, self.space, self.points.tobytes()))

    def close_to(self, other: Region, tolerance: float = 1e-3) -> bool:
        """Whether both are the same kind of region with points at most ``tolerance`` apart."""
        if type(self) is not type(other) or not isinstance(other, Shape):
            return False
        same = (self.slice, self.space, self.points.shape) == (other.slice, other.space, other.points.shape)
        return same and float(np.abs(self.points - other.points).max()) <= tolerance

    def __repr__(self) -> str:
        shown = ", ".join("(" + ", ".join(f"{v:.6g}" for v in p) + ")" for p in self.points[:4])
        more = f", ... {len(self.points)} points" if len(self.points) > 4 else ""
        return f"{type(self).__name__}({shown}{more}{self._where()})"

    def _where(self) -> str:
        where = f", slice={self.slice}" if self.slice is not None else ""
        return where + (", space='mm'" if self.space == "mm" else "")

    def replaced(
        self: S, points: npt.ArrayLike, *, slice: int | None = None, space: str | None = None, image: Any = None
    ) -> S:
        """The same kind of region with other points."""
        made = object.__new__(type(self))
        made._set(np.array(points, dtype=np.float64), slice, space or self.space, image)
        return made


class Point(Shape):
    """One point.

    Examples
    --------
    >>> Point((12.5, 40, 31)) == Point((40, 31), slice=12)
    True
    """

    _counts = (1, 1)

    @property
    def point(self) -> FloatArray:
        """Its coordinates."""
        return np.asarray(self.points[0])


class MultiPoint(Shape):
    """Several points that belong together."""


class Polyline(Shape):
    """An open line through points."""

    _counts = (2, None)


class Polygon(Shape):
    """A closed outline; the first point is not repeated at the end."""

    _counts = (3, None)

    def _canonical(self, array: FloatArray, slice: int | None, space: str) -> tuple[FloatArray, int | None]:
        if len(array) > 3 and array[0].tolist() == array[-1].tolist():
            array = array[:-1].copy()
        return super()._canonical(array, slice, space)

    @property
    def area(self) -> float:
        """Area enclosed, in squares of the coordinates' unit."""
        points = self.points_3d - self.points_3d[0]
        return float(np.linalg.norm(np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)) / 2)


class Circle(Shape):
    """A circle in a plane of pixels.

    Parameters
    ----------
    center : sequence of 2 floats
        ``(row, column)``, or ``(slice, row, column)`` in the middle plane of a slice.
    radius : float
        In pixels.
    """

    _counts = (2, 2)

    def __init__(
        self, center: npt.ArrayLike, radius: float, slice: int | None = None, image: Reference | None = None
    ) -> None:
        middle = np.array(center, dtype=np.float64)
        if not radius > 0 or middle.shape not in ((2,), (3,)):
            raise GeometryError("a Circle has a center of 2 or 3 coordinates and a positive radius")
        edge = middle + np.eye(len(middle))[-1] * float(radius)
        self._set(np.stack([middle, edge]), slice, "index", image)
        if self.dimensions == 3:
            raise GeometryError("a Circle lies on a slice: its center is (row, column) with slice=, or (d + 0.5, h, w)")

    @property
    def center(self) -> FloatArray:
        """``(row, column)``."""
        return np.asarray(self.points[0])

    @property
    def radius(self) -> float:
        """In pixels."""
        return float(np.linalg.norm(self.points[1] - self.points[0]))

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest coordinates."""
        return self.center - self.radius, self.center + self.radius

    def close_to(self, other: Region, tolerance: float = 1e-3) -> bool:
        """Whether both are circles of the same center and radius, within ``tolerance``."""
        if not isinstance(other, Circle) or (self.slice, self.space) != (other.slice, other.space):
            return False
        return bool(np.abs(self.center - other.center).max() <= tolerance and
                    abs(self.radius - other.radius) <= tolerance)  # fmt: skip


class Ellipse(Shape):
    """An ellipse: ends of its major axis, then ends of its minor axis.

    Parameters
    ----------
    points : array_like of shape (4, 2) or (4, 3)

    See Also
    --------
    Ellipse.of : from center, radii and angle.
    """

    _counts = (4, 4)

    @classmethod
    def of(
        cls,
        center: Sequence[float],
        radii: tuple[float, float],
        angle: float = 0.0,
        slice: int | None = None,
        space: str = "index",
    ) -> Ellipse:
        """An ellipse from its center, its radii along the two coordinates, and a rotation in degrees.

        The angle turns from the first coordinate towards the second.
        """
        middle = np.asarray(center, dtype=np.float64)
        if middle.shape != (2,) or min(radii) <= 0:
            raise GeometryError("Ellipse.of needs a center of 2 coordinates and positive radii")
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        axes = sorted([(radii[0], np.array([c, s])), (radii[1], np.array([-s, c]))], key=lambda a: -a[0])
        ends = [middle + sign * r * axis for r, axis in axes for sign in (-1, 1)]
        return cls(np.array(ends), slice=slice, space=space)

    @property
    def center(self) -> FloatArray:
        """The middle."""
        return np.asarray(self.points.mean(axis=0))

    @property
    def semi_axes(self) -> FloatArray:
        """Vectors from the center to the ends of the axes, longest first."""
        return (self.points[1::2] - self.points[0::2]) / 2

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest coordinates."""
        reach = np.sqrt((self.semi_axes**2).sum(axis=0))
        return self.center - reach, self.center + reach

    def close_to(self, other: Region, tolerance: float = 1e-3) -> bool:
        """Whether both are the same body, whichever end of an axis is named first."""
        if not isinstance(other, Ellipse) or type(self) is not type(other) or self.dimensions != other.dimensions:
            return False
        if (self.slice, self.space) != (other.slice, other.space):
            return False
        forms = [shape.semi_axes.T @ shape.semi_axes for shape in (self, other)]
        scale = max(1.0, float(np.abs(forms[0]).max()) ** 0.5)
        near = np.abs(self.center - other.center).max() <= tolerance
        return bool(near and np.abs(forms[0] - forms[1]).max() <= 2 * tolerance * scale)


class Ellipsoid(Ellipse):
    """An ellipsoid: ends of its three axes, longest first.

    Parameters
    ----------
    points : array_like of shape (6, 3)

    See Also
    --------
    Ellipsoid.from_radii : from center and radii.
    """

    _counts = (6, 6)

    def _canonical(self, array: FloatArray, slice: int | None, space: str) -> tuple[FloatArray, int | None]:
        if array.shape[1] != 3:
            raise GeometryError("an Ellipsoid's points have 3 coordinates")
        return array, slice

    @classmethod
    def from_radii(cls, center: Sequence[float], radii: Sequence[float], space: str = "index") -> Ellipsoid:
        """An ellipsoid whose axes run along the coordinates."""
        middle, lengths = np.asarray(center, dtype=np.float64), np.asarray(radii, dtype=np.float64)
        if middle.shape != (3,) or lengths.shape != (3,) or lengths.min() <= 0:
            raise GeometryError("Ellipsoid.from_radii needs a center of 3 coordinates and 3 positive radii")
        axes = [(lengths[i], np.eye(3)[i]) for i in np.argsort(-lengths, kind="stable")]
        return cls(np.array([middle + sign * r * axis for r, axis in axes for sign in (-1, 1)]), space=space)


class Box(Shape):
    """A box along the axes.

    Parameters
    ----------
    start, stop : sequence of 2 or 3 floats
        Lowest and highest coordinates: ``Box((z0, y0, x0), (z1, y1, x1))`` holds ``array[z0:z1, y0:y1, x0:x1]``.
    slice : int, optional
        Of a flat box ``(row, column)`` on one slice of a volume.
    space : str
        ``"mm"`` for a box along the patient's or slide's axes.
    """

    _counts = (2, 2)

    def __init__(
        self,
        start: npt.ArrayLike,
        stop: npt.ArrayLike,
        slice: int | None = None,
        space: str = "index",
        image: Reference | None = None,
    ) -> None:
        try:
            points = np.array([start, stop], dtype=np.float64)
        except ValueError as error:
            raise GeometryError("a Box has a start and a stop of 2 or 3 coordinates each") from error
        self._set(points, slice, space, image)

    def _canonical(self, array: FloatArray, slice: int | None, space: str) -> tuple[FloatArray, int | None]:
        if (array[0] >= array[1]).any():
            raise GeometryError(f"a Box's start lies below its stop in every coordinate, found {array.tolist()}")
        return array, slice

    @property
    def start(self) -> tuple[float, ...]:
        """Lowest coordinates."""
        return tuple(float(v) for v in self.points[0])

    @property
    def stop(self) -> tuple[float, ...]:
        """Highest coordinates."""
        return tuple(float(v) for v in self.points[1])

    @property
    def corners(self) -> FloatArray:
        """Corners of a flat box in order round it, or the eight corners of a 3-D one."""
        (y0, x0), (y1, x1) = self.points[:, -2:]
        ring = np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)])
        if self.dimensions == 2:
            return ring
        return np.concatenate([np.column_stack([np.full(4, z), ring]) for z in self.points[:, 0]])


@dataclass(frozen=True)
class Contours(Region):
    """Flat outlines that together bound a body, each on its slice or plane.

    Parameters
    ----------
    pieces : sequence of Shape
        Closed: polygons, circles, ellipses or flat boxes.
    """

    pieces: tuple[Shape, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", tuple(self.pieces))
        if not self.pieces or len({p.space for p in self.pieces}) > 1:
            raise GeometryError("Contours have one piece or more, all in index coordinates or all in millimetres")

    @property
    def space(self) -> str:
        """``"index"`` or ``"mm"``."""
        return self.pieces[0].space

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest coordinates of all pieces, in three dimensions."""
        lows, highs = [], []
        for piece in self.pieces:
            low, high = piece.bounds
            if piece.dimensions == 2 and piece.space == "index":
                d = piece.slice or 0
                low, high = np.array([d, *low]), np.array([d + 1, *high])
            lows.append(low)
            highs.append(high)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def close_to(self, other: Region, tolerance: float = 1e-3) -> bool:
        """Whether the pieces of both are the same, in any order."""
        if not isinstance(other, Contours) or len(self.pieces) != len(other.pieces):
            return False
        left = list(other.pieces)
        for piece in self.pieces:
            match = next((i for i, p in enumerate(left) if piece.close_to(p, tolerance)), None)
            if match is None:
                return False
            left.pop(match)
        return True
