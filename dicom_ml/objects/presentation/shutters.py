"""What is hidden, and bitmaps over the image: shutters and overlays (PS3.3 C.7.6.11, C.7.6.15, C.9.2, C.11.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.color import RGB, cielab_to_rgb, parse_color, rgb_to_cielab

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Overlay", "Shutter", "read_overlays", "read_shutter"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Shutter:
    """What of an image is hidden: all that lies outside any of its shapes.

    Parameters
    ----------
    rectangle : ((row, column), (row, column)), optional
        Array indices of what stays visible, ``[start, stop)``.
    circle : ((row, column), radius), optional
        Center, as the index of a pixel, and radius in pixels.
    polygon : sequence of (row, column), optional
        Vertices, as indices of pixels.
    bitmap : int, optional
        Group of the overlay that hides what it sets, such as ``0x6000``.
    value : int
        P-value, from 0 to 65535, that stands for what is hidden.
    color : ``"#rrggbb"`` or (r, g, b), optional
        In which it is hidden on displays in colour.
    """

    rectangle: tuple[tuple[int, int], tuple[int, int]] | None = None
    circle: tuple[tuple[int, int], int] | None = None
    polygon: tuple[tuple[int, int], ...] = ()
    bitmap: int | None = None
    value: int = 0
    color: RGB | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if self.color is not None:
            set_(self, "color", parse_color(self.color))
        set_(self, "polygon", tuple((int(r), int(c)) for r, c in self.polygon))
        if self.polygon and len(self.polygon) < 3:
            raise EncodingError("a polygonal shutter has three vertices or more")
        if not 0 <= self.value <= 65535:
            raise EncodingError(f"a shutter's value lies from 0 to 65535, found {self.value}")
        if self.rectangle is None and self.circle is None and not self.polygon and self.bitmap is None:
            raise EncodingError("a shutter has a rectangle, a circle, a polygon or a bitmap")
        if self.rectangle is not None and any(a >= b for a, b in zip(*self.rectangle, strict=True)):
            raise EncodingError("a rectangular shutter's start lies below its stop")

    def visible(self, shape: tuple[int, int]) -> BoolArray:
        """Which pixels of an image of that shape stay visible; a bitmap is not regarded."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        seen = np.ones(shape, dtype=bool)
        if self.rectangle is not None:
            (r0, c0), (r1, c1) = self.rectangle
            seen &= (rows >= r0) & (rows < r1) & (columns >= c0) & (columns < c1)
        if self.circle is not None:
            (row, column), radius = self.circle
            seen &= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        if self.polygon:
            seen &= _inside(np.array(self.polygon, dtype=np.float64), shape)
        return seen

    def add_to(self, ds: Dataset) -> None:
        """Write the Display Shutter and Presentation State Shutter modules; edges are those of the hidden part.

        Raises
        ------
        EncodingError
            If it is a bitmap, whose overlay this does not write.
        """
        if self.bitmap is not None:
            raise EncodingError("shutters by bitmap are read, not written; give a rectangle, circle or polygon")
        shapes = []
        if self.rectangle is not None:
            shapes.append("RECTANGULAR")
            (r0, c0), (r1, c1) = self.rectangle
            ds.ShutterLeftVerticalEdge, ds.ShutterRightVerticalEdge = c0 + 1, c1
            ds.ShutterUpperHorizontalEdge, ds.ShutterLowerHorizontalEdge = r0 + 1, r1
        if self.circle is not None:
            shapes.append("CIRCULAR")
            (row, column), radius = self.circle
            ds.CenterOfCircularShutter, ds.RadiusOfCircularShutter = [row + 1, column + 1], radius
        if self.polygon:
            shapes.append("POLYGONAL")
            ds.VerticesOfThePolygonalShutter = [v + 1 for vertex in self.polygon for v in vertex]
        ds.ShutterShape = shapes
        ds.ShutterPresentationValue = self.value
        if self.color is not None:
            ds.ShutterPresentationColorCIELabValue = list(rgb_to_cielab(self.color))


def _inside(vertices: npt.NDArray[np.float64], shape: tuple[int, int]) -> BoolArray:
    """Pixels whose index lies in a polygon of pixel indices, or on its edge."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    inside, edges = np.zeros((2, *shape), dtype=bool)
    for (r0, c0), (r1, c1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if r0 != r1:
            at = c0 + (rows - r0) * (c1 - c0) / (r1 - r0)
            inside ^= ((r0 <= rows) != (r1 <= rows)) & (columns < at)
        cross = (columns - c0) * (r1 - r0) - (rows - r0) * (c1 - c0)
        within = (rows >= min(r0, r1)) & (rows <= max(r0, r1)) & (columns >= min(c0, c1)) & (columns <= max(c0, c1))
        edges |= within & (np.abs(cross) < 1e-9)
    return inside | edges


def read_shutter(ds: Dataset) -> Shutter | None:
    """The shutter of any maker; None where there is none.

    Raises
    ------
    FileError
        If a shape lacks its values.
    """
    kinds = ds.get("ShutterShape")
    if not kinds:
        return None
    shapes = {str(k).upper() for k in ([kinds] if isinstance(kinds, str) else kinds)}
    values: dict[str, Any] = {}
    try:
        if "RECTANGULAR" in shapes:
            left, right, upper, lower = (
                int(ds[name].value)
                for name in (
                    "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge",
                    "ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge",
                )
            )  # fmt: skip
            values["rectangle"] = (upper - 1, left - 1), (lower, right)
        if "CIRCULAR" in shapes:
            row, column = (int(v) - 1 for v in ds.CenterOfCircularShutter)
            values["circle"] = (row, column), int(ds.RadiusOfCircularShutter)
        if "POLYGONAL" in shapes:
            numbers = [int(v) - 1 for v in ds.VerticesOfThePolygonalShutter]
            values["polygon"] = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        if "BITMAP" in shapes:
            values["bitmap"] = int(ds.ShutterOverlayGroup)
        lab = ds.get("ShutterPresentationColorCIELabValue")
        if lab is not None and len(lab) == 3:
            values["color"] = cielab_to_rgb((int(lab[0]), int(lab[1]), int(lab[2])))
        return Shutter(**values, value=int(ds.get("ShutterPresentationValue") or 0)) if values else None
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise FileError(f"a {' and '.join(sorted(shapes)).lower()} shutter lacks its values: {error}") from error


@dataclass(frozen=True, eq=False)
class Overlay:
    """A bitmap over images.

    Attributes
    ----------
    group : int
        Of its elements, from 0x6000.
    layer : str
        Layer that shows it; empty where it is not shown.
    mask : ndarray of shape (H, W), bool, or None
        None where the bitmap lies in the image rather than in the state.
    origin : (row, column)
        Index of the image's pixel that the bitmap's first one lies on.
    label : str
    """

    group: int
    layer: str
    mask: BoolArray | None
    origin: tuple[int, int] = (0, 0)
    label: str = ""


def read_overlays(ds: Dataset) -> list[Overlay]:
    """Overlays of any maker that a data set holds or activates.

    Raises
    ------
    FileError
        If a bitmap is shorter than its rows and columns.
    """
    found = []
    for group in sorted({e.tag.group for e in ds if 0x6000 <= e.tag.group <= 0x601E and e.tag.group % 2 == 0}):

        def value(element: int, default: Any = None, group: int = group) -> Any:
            return ds[group, element].value if (group, element) in ds else default

        mask = None
        if value(0x3000) is not None:
            shape = int(value(0x0010, 0) or 0), int(value(0x0011, 0) or 0)
            data = value(0x3000)
            raw = data if isinstance(data, bytes) else np.asarray(data, "<u2").tobytes()
            bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
            if bits.size < shape[0] * shape[1]:
                raise FileError(f"the overlay of group {group:04X} holds {bits.size} bits of {shape[0]} x {shape[1]}")
            mask = bits[: shape[0] * shape[1]].reshape(shape).astype(bool)
        row, column = value(0x0050, None) or (1, 1)
        found.append(
            Overlay(
                group,
                str(value(0x1001, "") or ""),
                mask,
                (int(row) - 1, int(column) - 1),
                str(value(0x1500, "") or value(0x0022, "") or ""),
            )
        )
    return found
