"""Series of several images a place: echoes, time points, b-values, stacks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dicom_ml.errors import SeriesError
from dicom_ml.geometry import PlaneStack
from dicom_ml.reading.planes import PHASE_ATTRIBUTES, Plane

__all__ = ["Phases", "find_phases", "match_phase"]

Value: TypeAlias = "str | float | tuple[float, ...]"


@dataclass(frozen=True)
class Phases:
    """Parts of a series, told apart by the values of one or two attributes, in the order of these values."""

    keywords: tuple[str, ...]
    values: list[tuple[Value, ...]]
    groups: list[list[Plane]]

    def describe(self) -> str:
        """What tells the parts apart; dates and times are not shown."""
        if any(PHASE_ATTRIBUTES[keyword].vr in ("TM", "DT") for keyword in self.keywords):
            return f"they differ in {' and '.join(self.keywords)} ({len(self.groups)} values)"
        listed = ", ".join(
            f"{' and '.join(_shown(v) for v in values)} ({len(group)} images)"
            for values, group in itertools.islice(zip(self.values, self.groups, strict=True), 12)
        )
        more = f" and {len(self.groups) - 12} more" if len(self.groups) > 12 else ""
        return f"they differ in {' and '.join(self.keywords)}: {listed}{more}"

    def example(self) -> str:
        """How to ask for the first part."""
        if any(PHASE_ATTRIBUTES[keyword].vr in ("TM", "DT") for keyword in self.keywords):
            return "by number"
        pairs = ", ".join(f"{k!r}: {v!r}" for k, v in zip(self.keywords, self.values[0], strict=True))
        return f"phase={{{pairs}}}"


def _shown(value: Value) -> str:
    if isinstance(value, tuple):
        return "\\".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float | int) else value or "(none)"


def find_phases(
    planes: Sequence[Plane], stack: PlaneStack, fits: Callable[[list[Plane]], bool], *, interleaved: bool = False
) -> Phases | None:
    """The attribute, or pair of attributes, that divides planes into parts of which each ``fits``.

    Parameters
    ----------
    planes : sequence of Plane
    stack : PlaneStack
        Of all planes.
    fits : callable
        Whether a part can be a volume.
    interleaved : bool
        Parts lie between each other, not at the same places: then no number of parts is expected.
    """
    most = int(np.bincount(stack.slots).max())
    columns: dict[str, list[Value]] = {}
    for keyword in PHASE_ATTRIBUTES:
        column = [plane.attribute(keyword) for plane in planes]
        if len(set(column)) > 1:
            columns[keyword] = column
    pairs = [] if interleaved else list(itertools.combinations(columns, 2))
    for keywords in [(keyword,) for keyword in columns] + pairs:
        keys = list(zip(*(columns[keyword] for keyword in keywords), strict=True))
        distinct = set(keys)
        if len(distinct) > len(planes) // 2 if interleaved else len(distinct) != most:
            continue
        parts: dict[tuple[Value, ...], list[Plane]] = {}
        for key, plane in zip(keys, planes, strict=True):
            parts.setdefault(key, []).append(plane)
        if all(fits(part) for part in parts.values()):
            values = sorted(parts, key=lambda key: [_sortable(v) for v in key])
            return Phases(keywords, values, [parts[key] for key in values])
    return None


def _sortable(value: Value) -> tuple[int, Any]:
    """Absent values, then numbers, then sets of numbers, then texts."""
    if value == "":
        return 0, 0
    if isinstance(value, str):
        return 3, value
    return (2, value) if isinstance(value, tuple) else (1, value)


def match_phase(planes: Sequence[Plane], phase: Mapping[str, Any]) -> list[Plane]:
    """Planes whose attributes have the given values.

    Raises
    ------
    SeriesError
        If an attribute is not one that tells phases apart, or no plane has the values.
    """
    chosen = list(planes)
    for keyword, wanted in phase.items():
        if keyword not in PHASE_ATTRIBUTES:
            raise SeriesError(f"{keyword!r} does not tell phases apart; those that do: {', '.join(PHASE_ATTRIBUTES)}")
        left = [plane for plane in chosen if _equal(plane.attribute(keyword), wanted)]
        if not left:
            present = {plane.attribute(keyword) for plane in chosen}
            hidden = PHASE_ATTRIBUTES[keyword].vr in ("TM", "DT")
            shown = [_shown(value) for value in sorted(present, key=_sortable)[:20]]
            listed = f"{len(present)} others" if hidden else ", ".join(shown)
            raise SeriesError(f"no image has {keyword} {wanted!r}; found: {listed}")
        chosen = left
    return chosen


def _equal(value: Value, wanted: Any) -> bool:
    if isinstance(value, str):
        if isinstance(wanted, list | tuple):
            wanted = "\\".join(str(part) for part in wanted)
        return value == str(wanted)
    try:
        numbers = np.asarray(wanted, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return numbers.shape == np.shape(value) and bool(np.allclose(numbers, value, rtol=1e-6, atol=1e-9))
