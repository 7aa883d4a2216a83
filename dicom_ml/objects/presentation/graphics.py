"""Graphic layers, and the points, lines, outlines and texts on them (PS3.3 C.10.5, C.10.7).

Coordinates are ``(row, column)``: of pixels with corners at pixel edges, as regions count them, or fractions of the
displayed area with ``units="display"``. DICOM has the column first, which only this module knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError
from dicom_ml.objects.color import RGB, cielab_to_rgb, parse_color, rgb_to_cielab

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Annotation", "Graphic", "GraphicLayer", "Text", "read_annotation", "read_layers"]

FloatArray = npt.NDArray[np.float64]
UNITS = {"pixel": "PIXEL", "display": "DISPLAY", "matrix": "MATRIX"}
#: Kinds of graphics, and how many points each has: fewest, and most where there is a limit.
KINDS: dict[str, tuple[int, int | None]] = {
    "point": (1, 1),
    "polyline": (2, None),
    "interpolated": (2, None),
    "circle": (2, 2),
    "ellipse": (4, 4),
}
_JUSTIFICATIONS = ("LEFT", "CENTER", "RIGHT")
_MOST_POINTS = 65532 // 8  # the 16-bit length of an FL element


def _units(units: str) -> str:
    if units not in UNITS:
        raise EncodingError(f"units are one of {', '.join(UNITS)}, found {units!r}")
    return units


def _points(points: npt.ArrayLike, what: str, units: str) -> FloatArray:
    array = np.array(points, dtype=np.float64)
    if array.ndim == 1 and array.size == 2:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise EncodingError(f"{what} has points of two finite coordinates (row, column), found shape {array.shape}")
    if units == "display" and (array.min() < 0 or array.max() > 1):
        raise EncodingError(f"{what} in units of the display has coordinates from 0 to 1, found {array.tolist()[:4]}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Graphic:
    """A point, a line or an outline.

    Parameters
    ----------
    kind : str
        ``"point"``, ``"polyline"``, ``"interpolated"`` (a smooth curve through the points), ``"circle"`` (its center
        and a point on it) or ``"ellipse"`` (the ends of its major, then of its minor axis).
    points : array_like of shape (N, 2)
        ``(row, column)``. An outline is closed by its first point, repeated at the end.
    filled : bool
        Whether a closed one is filled.
    units : str
        ``"pixel"``, ``"display"`` or, on a slide, ``"matrix"`` (of the total pixel matrix).
    """

    kind: str
    points: FloatArray
    filled: bool = False
    units: str = "pixel"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EncodingError(f"a graphic is one of {', '.join(KINDS)}, found {self.kind!r}")
        points = _points(self.points, f"a {self.kind}", _units(self.units))
        fewest, most = KINDS[self.kind]
        if len(points) < fewest or (most is not None and len(points) > most) or len(points) > _MOST_POINTS:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most or _MOST_POINTS}"
            raise EncodingError(f"a {self.kind} has {wanted} points, found {len(points)}")
        object.__setattr__(self, "points", points)
        if self.filled and not self.is_closed:
            raise EncodingError("only a closed graphic is filled: repeat the first point at the end")

    @property
    def is_closed(self) -> bool:
        """Whether it bounds an area."""
        if self.kind in ("circle", "ellipse"):
            return True
        return len(self.points) > 3 and np.array_equal(self.points[0], self.points[-1])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Graphic)
            and (self.kind, self.filled, self.units) == (other.kind, other.filled, other.units)
            and np.array_equal(self.points, other.points)
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.points.tobytes()))

    def __repr__(self) -> str:
        return f"Graphic({self.kind}, {len(self.points)} points in {self.units} units)"

    def to_dataset(self) -> Dataset:
        """An item of Graphic Object Sequence."""
        from pydicom import Dataset

        item = Dataset()
        item.GraphicAnnotationUnits = UNITS[self.units]
        item.GraphicDimensions = 2
        item.NumberOfGraphicPoints = len(self.points)
        item.GraphicData = self.points[:, ::-1].ravel().tolist()
        item.GraphicType = self.kind.upper()
        if self.is_closed:
            item.GraphicFilled = "Y" if self.filled else "N"
        return item


@dataclass(frozen=True)
class Text:
    """A text at a place.

    Parameters
    ----------
    text : str
        Lines are parted by a line feed.
    anchor : (row, column), optional
        The point that the text is about.
    box : ((row, column), (row, column)), optional
        Upper left and lower right corner of where it is written; an anchor, a box, or both.
    anchor_visible : bool
        Whether a line leads to the anchor.
    justification : str
        ``"LEFT"``, ``"CENTER"`` or ``"RIGHT"``, within the box.
    units, box_units : str
        Of the anchor and of the box: ``"pixel"``, ``"display"`` or ``"matrix"``; the box's are the anchor's by default.
    """

    text: str
    anchor: tuple[float, float] | None = None
    box: tuple[tuple[float, float], tuple[float, float]] | None = None
    anchor_visible: bool = True
    justification: str = "LEFT"
    units: str = "pixel"
    box_units: str = ""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not self.text.strip() or any(ord(c) < 32 and c not in "\r\n\f\t" for c in self.text):
            raise EncodingError("a text holds something to read, and no control characters")
        if len(self.text) > 1024:
            raise EncodingError(f"a text has at most 1024 characters, found {len(self.text)}")
        if self.anchor is None and self.box is None:
            raise EncodingError("a text needs a place: anchor=(row, column), or box=((row, column), (row, column))")
        if self.justification not in _JUSTIFICATIONS:
            raise EncodingError(f"a text's justification is one of {', '.join(_JUSTIFICATIONS)}")
        set_(self, "box_units", _units(self.box_units or self.units))
        if self.anchor is not None:
            set_(self, "anchor", tuple(_points(self.anchor, "a text's anchor", _units(self.units))[0].tolist()))
        if self.box is not None:
            corners = _points(self.box, "a text's box", self.box_units)
            if len(corners) != 2:
                raise EncodingError("a text's box has two corners")
            set_(self, "box", tuple(tuple(corner) for corner in corners.tolist()))

    def to_dataset(self) -> Dataset:
        """An item of Text Object Sequence."""
        from pydicom import Dataset

        item = Dataset()
        item.UnformattedTextValue = self.text.replace("\r\n", "\n").replace("\n", "\r\n")
        if self.box is not None:
            item.BoundingBoxAnnotationUnits = UNITS[self.box_units]
            item.BoundingBoxTopLeftHandCorner = list(self.box[0][::-1])
            item.BoundingBoxBottomRightHandCorner = list(self.box[1][::-1])
            item.BoundingBoxTextHorizontalJustification = self.justification
        if self.anchor is not None:
            item.AnchorPointAnnotationUnits = UNITS[self.units]
            item.AnchorPoint = list(self.anchor[::-1])
            item.AnchorPointVisibility = "Y" if self.anchor_visible else "N"
        return item


@dataclass(frozen=True)
class Annotation:
    """Graphics and texts of one layer, on some images or on all.

    Parameters
    ----------
    graphics : sequence of Graphic
    texts : sequence of Text
    layer : str
        Name of its layer.
    images : sequence
        As of :class:`~dicom_ml.objects.presentation.VOI`; empty for all.
    tracking_id, tracking_uid : str, optional
        What the graphics delineate, as a segment or a report's group names it.
    """

    graphics: tuple[Graphic, ...] = ()
    texts: tuple[Text, ...] = ()
    layer: str = "ANNOTATIONS"
    images: tuple[Any, ...] = ()
    tracking_id: str | None = None
    tracking_uid: str | None = None

    def __post_init__(self) -> None:
        for name in ("graphics", "texts", "images"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, Graphic | Text) else tuple(value))
        if not self.graphics and not self.texts:
            raise EncodingError("an annotation holds a graphic or a text")
        if (self.tracking_id is None) != (self.tracking_uid is None):
            raise EncodingError("a tracking identifier and its UID go together")
        _check_name(self.layer)

    def to_dataset(self) -> Dataset:
        """An item of Graphic Annotation Sequence, without images."""
        from pydicom import Dataset

        item = Dataset()
        item.GraphicLayer = self.layer
        parts = [(text.to_dataset(), "TextObjectSequence") for text in self.texts]
        parts += [(graphic.to_dataset(), "GraphicObjectSequence") for graphic in self.graphics]
        for part, keyword in parts:
            if self.tracking_id is not None:
                part.TrackingID, part.TrackingUID = self.tracking_id, self.tracking_uid
            if keyword not in item:
                setattr(item, keyword, [])
            getattr(item, keyword).append(part)
        return item


@dataclass(frozen=True)
class GraphicLayer:
    """A layer of annotations: those of a higher order lie above.

    Parameters
    ----------
    name : str
        Up to 16 capital letters, digits, spaces and underscores.
    order : int
    color : ``"#rrggbb"`` or (r, g, b), optional
        To show it in, in sRGB.
    description : str
    """

    name: str
    order: int = 1
    color: RGB | None = None
    description: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.color is not None:
            object.__setattr__(self, "color", parse_color(self.color))

    def to_dataset(self) -> Dataset:
        """An item of Graphic Layer Sequence."""
        from pydicom import Dataset

        item = Dataset()
        item.GraphicLayer, item.GraphicLayerOrder = self.name, self.order
        if self.color is not None:
            lab = rgb_to_cielab(self.color)
            item.GraphicLayerRecommendedDisplayGrayscaleValue = lab[0]
            item.GraphicLayerRecommendedDisplayCIELabValue = list(lab)
        if self.description:
            item.GraphicLayerDescription = self.description[:64]
        return item


def _check_name(name: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _")
    if not name.strip() or len(name) > 16 or not set(name) <= allowed:
        raise EncodingError(
            f"a layer's name has up to 16 capital letters, digits, spaces and underscores, found {name!r}"
        )


def layers_for(annotations: Iterable[Annotation], layers: Sequence[GraphicLayer]) -> list[GraphicLayer]:
    """The given layers, and one for each name that annotations use beside them.

    Raises
    ------
    EncodingError
        If two layers have one name.
    """
    found = {layer.name: layer for layer in layers}
    if len(found) != len(layers):
        raise EncodingError(f"layers need names that differ, found {[layer.name for layer in layers]}")
    highest = max((layer.order for layer in layers), default=0)
    for annotation in annotations:
        if annotation.layer not in found:
            highest += 1
            found[annotation.layer] = GraphicLayer(annotation.layer, highest)
    return list(found.values())


# ---------------------------------------------------------------------- reading
def _pair(value: Any) -> tuple[float, float] | None:
    """A point as (row, column)."""
    try:
        column, row = (float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return row, column


def _known_units(item: Dataset, keyword: str) -> str:
    return {v: k for k, v in UNITS.items()}.get(str(item.get(keyword) or "PIXEL").upper(), "pixel")


def read_annotation(item: Dataset, images: tuple[Any, ...], problems: list[str]) -> Annotation | None:
    """An item of any maker; what cannot be understood is told in ``problems`` and left out."""
    graphics, texts = [], []
    for part in item.get("GraphicObjectSequence") or []:
        try:
            graphics.append(_read_graphic(part))
        except (EncodingError, ValueError, TypeError) as error:
            problems.append(f"a graphic of layer {item.get('GraphicLayer')!r}: {error}")
    for part in item.get("TextObjectSequence") or []:
        try:
            texts.append(_read_text(part))
        except (EncodingError, ValueError, TypeError) as error:
            problems.append(f"a text of layer {item.get('GraphicLayer')!r}: {error}")
    if not graphics and not texts:
        return None
    first = next(
        (part for part in [*(item.get("GraphicObjectSequence") or []), *(item.get("TextObjectSequence") or [])]
         if part.get("TrackingUID") and part.get("TrackingID")), None)  # fmt: skip
    made = object.__new__(Annotation)  # a layer's name may be any text of another maker
    for name, value in {
        "graphics": tuple(graphics),
        "texts": tuple(texts),
        "layer": str(item.get("GraphicLayer") or ""),
        "images": images,
        "tracking_id": None if first is None else str(first.TrackingID),
        "tracking_uid": None if first is None else str(first.TrackingUID),
    }.items():
        object.__setattr__(made, name, value)
    return made


def _read_graphic(part: Dataset) -> Graphic:
    data = part.get("GraphicData")
    values = np.atleast_1d(np.asarray([] if data is None else data, dtype=np.float64))
    points = values[: values.size // 2 * 2].reshape(-1, 2)[:, ::-1]
    kind = str(part.get("GraphicType") or "").lower()
    made = Graphic(kind, points, False, _known_units(part, "GraphicAnnotationUnits"))
    if str(part.get("GraphicFilled") or "N").upper() == "Y" and made.is_closed:
        object.__setattr__(made, "filled", True)
    return made


def _read_text(part: Dataset) -> Text:
    corners = [_pair(part.get(f"BoundingBox{name}HandCorner")) for name in ("TopLeft", "BottomRight")]
    box = None if corners[0] is None or corners[1] is None else (corners[0], corners[1])
    justification = str(part.get("BoundingBoxTextHorizontalJustification") or "LEFT").upper()
    return Text(
        str(part.get("UnformattedTextValue") or "").replace("\r\n", "\n"),
        _pair(part.get("AnchorPoint")),
        box,
        str(part.get("AnchorPointVisibility") or "Y").upper() == "Y",
        justification if justification in _JUSTIFICATIONS else "LEFT",
        _known_units(part, "AnchorPointAnnotationUnits" if "AnchorPoint" in part else "BoundingBoxAnnotationUnits"),
        _known_units(part, "BoundingBoxAnnotationUnits"),
    )


def read_layers(ds: Dataset) -> list[GraphicLayer]:
    """Layers of any maker, lowest first."""
    found = []
    for item in ds.get("GraphicLayerSequence") or []:
        lab = item.get("GraphicLayerRecommendedDisplayCIELabValue")
        grey = item.get("GraphicLayerRecommendedDisplayGrayscaleValue")
        color: RGB | None = None
        if lab is not None and len(lab) == 3:
            color = cielab_to_rgb((int(lab[0]), int(lab[1]), int(lab[2])))
        elif grey not in (None, ""):
            color = (round(int(grey) / 257),) * 3
        made = object.__new__(GraphicLayer)
        values: dict[str, Any] = {
            "name": str(item.get("GraphicLayer") or ""),
            "order": int(item.get("GraphicLayerOrder") or 0),
            "color": color,
            "description": str(item.get("GraphicLayerDescription") or ""),
        }
        for name, value in values.items():
            object.__setattr__(made, name, value)
        found.append(made)
    return sorted(found, key=lambda layer: layer.order)
