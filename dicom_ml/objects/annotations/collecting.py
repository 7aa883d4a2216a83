"""Items of annotations gathered one by one from another format, and made into groups."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, find_code, parse_code, parse_unit
from dicom_ml.errors import CodeError, DicomMLWarning, EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup, AnnotationMeasurement

__all__ = ["Items", "Meaning", "group_of", "find_measures", "find_meanings", "measure_name"]

Array = npt.NDArray[Any]
Measure = tuple[Code, Code]


@dataclass(frozen=True)
class Meaning:
    """What the items of a class are: fields of the group they become."""

    label: str
    type: Any
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Items:
    """Items of one kind as they come: coordinates one after the other."""

    values: array[float] = field(default_factory=lambda: array("d"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    measured: dict[str, tuple[array[int], array[float]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, coordinates: Iterable[float], measurements: Iterable[tuple[str, float]] = ()) -> None:
        """Take an item: x and y of each of its points, and what was measured of it."""
        before = len(self.values)
        self.values.extend(coordinates)
        index = len(self.lengths)
        self.lengths.append((len(self.values) - before) // 2)
        for name, value in measurements:
            column = self.measured.get(name)
            if column is None:
                column = self.measured[name] = (array("q"), array("d"))
            column[0].append(index)
            column[1].append(value)

    @property
    def points(self) -> Array:
        """Points of all items, float32 where that says them exactly."""
        points = np.frombuffer(self.values, np.float64).reshape(-1, 2) if len(self.values) else np.zeros((0, 2))
        single = points.astype(np.float32)
        return single if np.array_equal(single, points) else points.copy()

    @property
    def offsets(self) -> Array:
        """First point of each item."""
        lengths = np.frombuffer(self.lengths, np.int64) if len(self.lengths) else np.zeros(0, np.int64)
        return np.cumsum(lengths) - lengths

    def column(self, name: str) -> Array:
        """Values of a measurement, NaN where an item has none."""
        values = np.full(len(self), np.nan, dtype=np.float32)
        if name in self.measured:
            index, given = self.measured[name]
            with np.errstate(over="ignore"):
                values[np.asarray(index)] = np.asarray(given)
        return values


def group_of(
    items: Items,
    graphic: str,
    meaning: Meaning,
    measures: Mapping[str, Measure],
    algorithm: Algorithm | str | None,
    points: Array | None = None,
) -> AnnotationGroup:
    """The group that items of one class and graphic make."""
    fields = {"algorithm": algorithm, **meaning.fields}
    measured = [AnnotationMeasurement(*measures[n], items.column(n)) for n in measures if n in items.measured]
    return AnnotationGroup(
        meaning.label,
        meaning.type,
        graphic,
        items.points if points is None else points,
        items.offsets if GRAPHICS[graphic] is None else None,
        measurements=measured,
        **fields,
    )


def find_meanings(counts: Mapping[str, int], types: Mapping[str, Any] | Any) -> dict[str, Meaning | None]:
    """What each class of a file means; None for those that are to be left out.

    Parameters
    ----------
    counts : mapping
        Number of items of each class; the class of items without one is ``""``.
    types : mapping, code or None
        ``{class: code}``, where a mapping such as ``{"type": code, "category": code, "label": text}`` may stand for
        the code, and None leaves the class out. One code is the type of all items. A class that is not named is
        looked up among known terms.

    Raises
    ------
    EncodingError
        If the meaning of a class is not known.
    """
    given: dict[Any, Any] = (
        dict(types) if isinstance(types, Mapping) else {} if types is None else dict.fromkeys(counts, types)
    )
    found: dict[str, Meaning | None] = {}
    unknown = []
    for name in counts:
        if name in given or (not name and None in given):
            entry = given[name] if name in given else given[None]
            found[name] = None if entry is None else _meaning(name, entry)
            continue
        code = find_code(name) if name else None
        if code is None:
            unknown.append(f"{name or '(no class)'!r} ({counts[name]} items)")
        else:
            found[name] = Meaning(name, code)
    if unknown:
        shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        raise EncodingError(
            f"what do the classes {shown} mean? Say so with types={{class: code}}, such as "
            "{'Tumor': 'SCT:108369006'}; the class of items without one is '', and None leaves a class out"
        )
    return found


def _meaning(name: str, entry: Any) -> Meaning:
    if isinstance(entry, Mapping):
        fields = dict(entry)
        if "type" not in fields:
            raise EncodingError(f"the meaning of class {name!r} has no type; give {{'type': code, 'category': code}}")
        code = parse_code(fields.pop("type"))
        label = str(fields.pop("label", "") or name or code.meaning)
        return Meaning(label[:64].strip(), code, fields)
    code = parse_code(entry)
    return Meaning((name or code.meaning)[:64].strip(), code)


def measure_name(measured: AnnotationMeasurement) -> str:
    """How a measurement is called in other formats: its meaning, and its unit in parentheses."""
    concept = measured.concept.meaning or str(measured.concept)
    return concept if measured.unit.value == "1" else f"{concept} ({measured.unit.value})"


def find_measures(names: Sequence[str], given: Mapping[str, Any] | None) -> dict[str, Measure]:
    """Concept and unit of each measurement of a file; those that cannot be known are left out, and said to be.

    Parameters
    ----------
    names : sequence of str
        As in the file.
    given : mapping, optional
        ``{name: (concept, unit)}``; None leaves a measurement out. A name that is not given is understood where it is
        a known term, followed by a UCUM unit: ``"Area (um2)"`` or ``"Area µm^2"``.
    """
    found: dict[str, Measure] = {}
    unknown = []
    for name in dict.fromkeys(names):
        if given is not None and name in given:
            entry = given[name]
            if entry is not None:
                concept, unit = entry
                found[name] = parse_code(concept), parse_unit(unit)
            continue
        measure = _known_measure(name)
        if measure is None:
            unknown.append(name)
        else:
            found[name] = measure
    if unknown:
        shown = ", ".join(map(repr, unknown[:6])) + (f" and {len(unknown) - 6} more" if len(unknown) > 6 else "")
        warnings.warn(
            f"{len(unknown)} measurements are left out, since no code says what they are: {shown}; pass "
            "measurements={name: (concept, unit)}, with None for those that are not wanted",
            DicomMLWarning,
            stacklevel=3,
        )
    return found


def _known_measure(name: str) -> Measure | None:
    text = name.strip()
    if text.endswith(")") and " (" in text:
        term, _, unit = text[:-1].rpartition(" (")
    else:
        term, _, unit = text.rpartition(" ")
    concept = find_code(term) if term else None
    if concept is None:
        return None
    try:
        return concept, parse_unit(unit)
    except CodeError:
        return None
