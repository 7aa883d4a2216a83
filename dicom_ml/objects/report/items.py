"""Content items of structured reports as plain records: a tree of them is the content of any report (PS3.3 C.17.3).

A :class:`ContentItem` has a value type, a coded name, a value, and children. Its value is plain too:

==========================  ===========================================================================
value type                  value
==========================  ===========================================================================
CONTAINER                   None
TEXT, DATE, TIME, DATETIME  str
UIDREF, PNAME               str
CODE                        :class:`~dicom_ml.codes.Code`
NUM                         :class:`Number`
SCOORD, SCOORD3D            :class:`Graphic`
TCOORD                      :class:`TemporalExtent`
IMAGE, COMPOSITE, WAVEFORM  :class:`Reference`
==========================  ===========================================================================

What could not be understood in a file stays None, and never stops the rest from being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import CodeError

__all__ = [
    "VALUE_TYPES",
    "ContentItem",
    "Graphic",
    "Number",
    "Reference",
    "TemporalExtent",
    "code_item",
    "container",
    "number_item",
    "reference_item",
    "text_item",
    "uid_item",
]

#: All value types (PS3.3 Table C.17.3-7 without TABLE, which belongs to no template here).
VALUE_TYPES = (
    "CONTAINER", "TEXT", "NUM", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME",
    "SCOORD", "SCOORD3D", "TCOORD", "COMPOSITE", "IMAGE", "WAVEFORM",
)  # fmt: skip


@dataclass(slots=True)
class Number:
    """Value of a NUM item (PS3.3 C.18.1).

    Parameters
    ----------
    value : float or None
        None where there is no value; ``qualifier`` then says why.
    unit : Code or None
    qualifier : Code, optional
        Why the value is missing or not finite (PS3.16 CID 42).
    text : str, optional
        The decimal string as it stands in a file.
    """

    value: float | None
    unit: Code | None = None
    qualifier: Code | None = None
    text: str | None = None


@dataclass(slots=True, eq=False)
class Graphic:
    """Coordinates of a SCOORD or SCOORD3D item (PS3.3 C.18.6, C.18.9).

    Parameters
    ----------
    kind : str
        Graphic Type, such as ``"POLYLINE"``.
    points : ndarray of shape (N, 2) or (N, 3)
        Column and row from the upper left corner of an image, or x, y, z in millimetres.
    frame_of_reference_uid : str
        Of SCOORD3D.
    origin : str
        Pixel Origin Interpretation of SCOORD: ``"VOLUME"`` where points lie in a total pixel matrix.
    """

    kind: str
    points: npt.NDArray[np.float64]
    frame_of_reference_uid: str = ""
    origin: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graphic):
            return NotImplemented
        mine = (self.kind, self.frame_of_reference_uid, self.origin)
        same = mine == (other.kind, other.frame_of_reference_uid, other.origin)
        return same and np.array_equal(self.points, other.points)


@dataclass(slots=True)
class TemporalExtent:
    """Value of a TCOORD item (PS3.3 C.18.7): samples, offsets in seconds, or date-times."""

    kind: str
    samples: tuple[int, ...] = ()
    offsets: tuple[float, ...] = ()
    datetimes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an object, or to a part of it (PS3.3 C.18.3 to C.18.5).

    Parameters
    ----------
    sop_class_uid, sop_instance_uid : str
    frames : tuple of int
        Frame numbers, from 1; empty for all.
    segments : tuple of int
        Segment numbers; empty for all.
    channels : tuple of int
        Pairs of multiplex group and channel of a waveform.
    series_instance_uid, study_instance_uid : str
        Where the object belongs, needed to list it as evidence; content items do not hold them.
    presentation : Reference, optional
        The presentation state that an image is to be shown with.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frames: tuple[int, ...] = ()
    segments: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    series_instance_uid: str = field(default="", compare=False)
    study_instance_uid: str = field(default="", compare=False)
    presentation: Reference | None = None


@dataclass(slots=True)
class ContentItem:
    """One content item and what lies below it.

    Parameters
    ----------
    value_type : str
        One of :data:`VALUE_TYPES`; empty for a by-reference relationship, whose value is the position of its target.
    name : Code or None
        Concept name; None where an item has none.
    value : object
        See the module.
    relationship : str
        To the parent, such as ``"CONTAINS"``; empty for the root.
    children : list of ContentItem
    template : str
        Template identifier, of containers only.
    continuity : str
        ``"SEPARATE"`` or ``"CONTINUOUS"``, of containers only.
    observed : str
        Observation DateTime.
    """

    value_type: str
    name: Code | None = None
    value: Any = None
    relationship: str = ""
    children: list[ContentItem] = field(default_factory=list)
    template: str = ""
    continuity: str = ""
    observed: str = ""

    # ------------------------------------------------------------------ looking around
    def walk(self) -> Iterator[ContentItem]:
        """This item and all below it, in document order."""
        stack = [self]
        while stack:
            item = stack.pop()
            yield item
            stack.extend(reversed(item.children))

    def find(
        self,
        name: Any = None,
        *,
        value_type: str | None = None,
        value: Any = None,
        relationship: str | None = None,
        deep: bool = True,
    ) -> list[ContentItem]:
        """Items below this one that fit everything asked for.

        Parameters
        ----------
        name : code, optional
            Concept name, as :func:`dicom_ml.codes.parse_code` takes it; SNOMED's two codings are one.
        value_type : str, optional
        value : object, optional
            A code for CODE items, a number for NUM items, else what the value equals.
        relationship : str, optional
        deep : bool
            Look at all depths; otherwise at the children only.
        """
        named = None if name is None else parse_code(name, need_meaning=False)
        wanted = _matcher(value)
        items = self.walk() if deep else iter([self, *self.children])
        next(items)
        return [
            item
            for item in items
            if (value_type is None or item.value_type == value_type)
            and (relationship is None or item.relationship == relationship)
            and (named is None or item.name == named)
            and (wanted is None or wanted(item))
        ]

    def first(self, name: Any, **conditions: Any) -> ContentItem | None:
        """The first of :meth:`find`, or None."""
        found = self.find(name, **conditions)
        return found[0] if found else None

    # ------------------------------------------------------------------ showing
    def describe(self) -> str:
        """The value in one line of text."""
        value = self.value
        if not self.value_type:
            return "-> item " + ".".join(str(n) for n in value or ())
        if value is None:
            return ""
        if isinstance(value, Code):
            return value.meaning or str(value)
        if isinstance(value, Number):
            unit = "" if value.unit is None or value.unit.value == "1" else f" {value.unit.value}"
            if value.value is None:
                return value.qualifier.meaning if value.qualifier is not None else "no value"
            return f"{value.text or format(value.value, 'g')}{unit}"
        if isinstance(value, Graphic):
            return f"{value.kind.lower()} of {len(value.points)} points"
        if isinstance(value, Reference):
            parts = [f"frames {list(value.frames)}"] if value.frames else []
            parts += [f"segments {list(value.segments)}"] if value.segments else []
            return " ".join([value.sop_instance_uid, *parts])
        if isinstance(value, TemporalExtent):
            return f"{value.kind.lower()} of {len(value.samples or value.offsets or value.datetimes)}"
        return " ".join(str(value).split())

    def lines(self, indent: int = 0) -> Iterator[str]:
        """The tree as lines of text, indented by depth."""
        stack = [(self, indent)]
        while stack:
            item, depth = stack.pop()
            name = "" if item.name is None else item.name.meaning or str(item.name)
            text = item.describe()
            head = name or (item.value_type or "by reference").lower()
            yield "  " * depth + (f"{head}: {text}" if text else head)
            stack.extend((child, depth + 1) for child in reversed(item.children))

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _matcher(value: Any) -> Callable[[ContentItem], bool] | None:
    if value is None:
        return None
    try:
        code: Code | None = parse_code(value, need_meaning=False)
    except CodeError:
        code = None

    def fits(item: ContentItem) -> bool:
        if isinstance(item.value, Code):
            return code is not None and item.value == code
        if isinstance(item.value, Number):
            return bool(item.value.value == value)
        return bool(item.value == value)

    return fits


# ---------------------------------------------------------------------- short ways to make items
def container(name: Code, children: Sequence[ContentItem], template: str = "", rel: str = "CONTAINS") -> ContentItem:
    """A CONTAINER, whose content is separate."""
    return ContentItem("CONTAINER", name, None, rel, list(children), template, "SEPARATE")


def code_item(name: Code, value: Code, rel: str, children: Sequence[ContentItem] = ()) -> ContentItem:
    """A CODE item."""
    return ContentItem("CODE", name, value, rel, list(children))


def text_item(name: Code, value: str, rel: str) -> ContentItem:
    """A TEXT item."""
    return ContentItem("TEXT", name, value, rel)


def uid_item(name: Code, value: str, rel: str) -> ContentItem:
    """A UIDREF item."""
    return ContentItem("UIDREF", name, value, rel)


def number_item(name: Code, value: float, unit: Code, rel: str) -> ContentItem:
    """A NUM item."""
    return ContentItem("NUM", name, Number(value, unit), rel)


def reference_item(
    name: Code | None, value: Reference, rel: str = "CONTAINS", value_type: str = "IMAGE"
) -> ContentItem:
    """An IMAGE, COMPOSITE or WAVEFORM item."""
    return ContentItem(value_type, name, value, rel)
