"""How cost grows: rows at three sizes each, and what grows in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.measure import RowResult, Settings, measure
from benchmarks.registry import Row, Size
from benchmarks.slide_phantom import Layout, side

__all__ = ["CURVES", "Curve", "Grown", "Point", "from_json", "grow", "series", "slope", "to_json"]


@dataclass(frozen=True)
class Curve:
    """One chart: what is on its horizontal axis, and the rows that make its points.

    ``steps`` are names of rows and the share of the full size along slices, and along rows and columns.
    """

    name: str
    axis: str
    steps: tuple[tuple[str, float, float], ...]
    count: Callable[[str, Size], int]


@dataclass(frozen=True)
class Point:
    """A row measured at one size; ``count`` is its place on the horizontal axis."""

    count: int
    result: RowResult


Grown = Sequence[tuple[Curve, list[Point]]]


def _scaled(row: str, slices: tuple[float, ...] = (), plane: tuple[float, ...] = ()) -> Any:
    steps = [(row, share, 1.0) for share in slices] or [(row, 0.1, share) for share in plane]
    return tuple(steps)


_THIRDS = (1 / 9, 1 / 3, 1.0)
_AREAS = (0.25, 0.5, 1.0)  # of rows and columns: a 16th and a quarter of the tiles and outlines


def _slices(_: str, size: Size) -> int:
    return size.slices


def _tiles(_: str, size: Size) -> int:
    return int(Layout(side(size)).along ** 2)


def _segments(row: str, _: Size) -> int:
    return int(row.rpartition("-")[2])


def _groups(_: str, size: Size) -> int:
    return max(12, round(500 * size.slices / 300))


def _polygons(_: str, size: Size) -> int:
    return max(500, round(1_000_000 * (size.rows / 512) ** 2))


CURVES = (
    *(Curve(name, "slices", _scaled(name, _THIRDS), _slices) for name in ("ct-raw", "ct-rle", "ct-enhanced")),
    *(
        Curve(name, "segments", tuple((f"{name}-{count}", 1.0, 1.0) for count in (20, 50, 104)), _segments)
        for name in ("seg-binary-write", "seg-binary-read")
    ),
    *(
        Curve(name, "tiles", _scaled(name, plane=_AREAS), _tiles)
        for name in ("sm-tiles-1", "seg-tiled-write", "seg-tiled-read")
    ),
    *(Curve(name, "groups", _scaled(name, _THIRDS), _groups) for name in ("sr-write", "sr-read")),
    *(Curve(name, "polygons", _scaled(name, plane=_AREAS), _polygons) for name in ("ann-write", "ann-read")),
)


def sized(full: Size, slices: float, plane: float) -> Size:
    """A share of a size that the generators take."""
    rows, columns = (max(32, round(length * plane / 8) * 8) for length in (full.rows, full.columns))
    return Size(max(4, round(full.slices * slices)), rows, columns)


def grow(
    rows: Mapping[str, Row], settings: Settings, known: Sequence[RowResult] = ()
) -> Iterator[list[tuple[Curve, list[Point]]]]:
    """Measure every curve whose rows are in ``rows``; yields all there is after each point.

    What is ``known`` at a size is not measured again. A competitor that was ended, or failed, is not asked for more.
    """
    found: list[tuple[Curve, list[Point]]] = []
    have = {(result.row.name, result.size): result for result in known}
    for curve in CURVES:
        if not all(name in rows for name, _, _ in curve.steps):
            continue
        points: list[Point] = []
        found.append((curve, points))
        out: set[str] = set()
        for name, slices, plane in curve.steps:
            at = replace(settings, size=sized(settings.size, slices, plane))
            row = rows[name].limited_to({competitor.name for competitor in rows[name].competitors} - out)
            result = have.get((name, str(at.size)))
            if result is None or not {one.name for one in row.competitors} <= {one.name for one in result.outcomes}:
                result = measure(row, at)
            out |= {outcome.name for outcome in result.outcomes if outcome.status in ("failed", "too slow")}
            points.append(Point(curve.count(name, at.size), result))
            yield found


def series(points: list[Point]) -> dict[str, list[tuple[int, float]]]:
    """Count and median seconds of each competitor that was right, in the order of the counts."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point in sorted(points, key=lambda one: one.count):
        for outcome in point.result.outcomes:
            seconds = outcome.median(point.result.row.compare)
            if outcome.status == "ok" and seconds:
                found.setdefault(outcome.name, []).append((point.count, seconds))
    return found


def slope(line: list[tuple[int, float]]) -> float | None:
    """Exponent of growth: 1 is in proportion, 0 not at all. None where fewer than two counts differ."""
    if len({count for count, _ in line}) < 2:
        return None
    counts, times = np.log(np.array(line, float)).T
    return float(np.polyfit(counts, times, 1)[0])


def to_json(grown: Grown) -> list[dict[str, Any]]:
    return [
        {
            "name": curve.name,
            "axis": curve.axis,
            "lines": {
                name: {"points": line, "exponent": slope(line)} for name, line in series(points).items()
            },
            "rows": [{"count": point.count, **point.result.to_json()} for point in points],
        }
        for curve, points in grown
    ]  # fmt: skip


def from_json(records: Sequence[Mapping[str, Any]], rows: Mapping[str, Row]) -> list[RowResult]:
    """The rows that :func:`to_json` wrote, for :func:`grow` to know."""
    points = (point for record in records for point in record["rows"])
    return [RowResult.from_json(point, rows[point["name"]]) for point in points if point["name"] in rows]


def ended(points: Sequence[Point]) -> dict[str, tuple[int, str]]:
    """Competitors that were not asked for every size: at which count they ended, and why."""
    found: dict[str, tuple[int, str]] = {}
    for point in points:
        for outcome in point.result.outcomes:
            if outcome.status in ("failed", "too slow", "wrong"):
                found.setdefault(outcome.name, (point.count, outcome.error))
    return found


def text(grown: Grown) -> str:
    """A line a competitor: its times at each count, and the exponent."""
    lines = ["", "growth: seconds at each count; the exponent is 1 where cost grows in proportion"]
    for curve, points in grown:
        for name, line in series(points).items():
            shown = ", ".join(f"{count:,} {curve.axis}: {seconds:.4g} s" for count, seconds in line)
            exponent = slope(line)
            lines.append(f"  {curve.name} {name}: {shown}" + ("" if exponent is None else f"; exponent {exponent:.2f}"))
        for name, (count, why) in ended(points).items():
            lines.append(f"  {curve.name} {name}: no point at {count:,} {curve.axis}: {why}")
    return "\n".join(lines)
