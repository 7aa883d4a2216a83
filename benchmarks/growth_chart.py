"""Charts of growth for the page: both axes logarithmic, a line a competitor, and its exponent."""

from __future__ import annotations

import math
from html import escape

from benchmarks.growth import Curve, Grown, Point, ended, series, slope
from benchmarks.registry import FLOOR, OURS

_WIDTH, _PLOT, _LEFT, _RIGHT, _TOP, _AXIS = 430, 190, 62, 14, 26, 40
_LEGEND_STEP, _LEGEND_COLUMNS = 17, 3
#: Peers have these in the order of their names, the same in every chart.
_PEERS = ("#c58b3b", "#8a5fb5", "#3f7fc4", "#b3527a", "#6f8f2f", "#a1623a", "#5b7f8f", "#c2655a", "#4f6d3a", "#7a6fd0")


def charts(grown: Grown, timeout: float | None = None) -> str:
    """The section of the page; empty where nothing was measured."""
    names = {name for _, points in grown for name in series(points)} - {FLOOR, OURS}
    colours = {name: _PEERS[number % len(_PEERS)] for number, name in enumerate(sorted(names))}
    drawn = [chart(curve, points, colours) for curve, points in grown]
    if not any(drawn):
        return ""
    said = (
        "Seconds at three sizes each, both axes logarithmic. The number behind a name is the exponent: 1 where cost "
        "grows in proportion, 0 where it does not grow."
    )
    if timeout is not None:
        said += (
            f" A run that took more than {timeout:g} s, imports and check included, was ended; its line stops before."
        )
    return f"<h2 id='growth'>How cost grows</h2><p class='soft'>{said}</p><div class='charts'>{''.join(drawn)}</div>"


def chart(curve: Curve, points: list[Point], colours: dict[str, str]) -> str:
    """One chart as SVG, its legend below it."""
    lines = series(points)
    counts = [count for line in lines.values() for count, _ in line]
    times = [seconds for line in lines.values() for _, seconds in line]
    if not counts:
        return ""
    across, down = (min(counts) / 1.15, max(counts) * 1.15), (min(times) / 1.4, max(times) * 1.4)
    bottom = _TOP + _PLOT

    def x(count: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _share(across, count)

    def y(seconds: float) -> float:
        return bottom - _PLOT * _share(down, seconds)

    why: dict[str, list[str]] = {}
    for name, (count, said) in ended(points).items():
        why.setdefault(f"At {count:,} {curve.axis} {said}", []).append(name)
    legend = -(-len(lines) // _LEGEND_COLUMNS) * _LEGEND_STEP
    height = bottom + _AXIS + legend + 4
    parts = [
        f"<figure><svg viewBox='0 0 {_WIDTH} {height}' role='img' "
        f"aria-label='{escape(curve.name)} by {escape(curve.axis)}'>",
        f"<text x='{_LEFT}' y='14' font-weight='600'>{escape(curve.name)}</text>",
        f"<path d='M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}' stroke='var(--line)' fill='none'/>",
        f"<text class='soft' x='{(_LEFT + _WIDTH - _RIGHT) / 2}' y='{bottom + 30}' text-anchor='middle'>"
        f"{escape(curve.axis)}</text>",
    ]
    for count in sorted(set(counts)):
        parts.append(f"<text class='soft' x='{x(count):.1f}' y='{bottom + 14}' text-anchor='middle'>{count:,}</text>")
    for power in range(math.ceil(math.log10(down[0])), math.floor(math.log10(down[1])) + 1):
        at = y(10.0**power)
        parts.append(
            f"<path d='M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}' stroke='var(--line)'/>"
            f"<text class='soft' x='{_LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{_told(10.0**power)}</text>"
        )
    order = sorted(lines, key=lambda name: (name != FLOOR, name != OURS))
    # this project and the floor are drawn last, over the others
    for number, name in reversed(list(enumerate(order))):
        line = lines[name]
        colour = {FLOOR: "var(--floor)", OURS: "var(--ours)"}.get(name) or colours[name]
        path = " ".join(f"{x(count):.1f},{y(seconds):.1f}" for count, seconds in line)
        wide = 2.5 if name == OURS else 1.6
        dashes = " stroke-dasharray='5 3'" if name == FLOOR else ""
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{wide}'{dashes}/>")
        parts += [
            f"<circle cx='{x(count):.1f}' cy='{y(seconds):.1f}' r='3' fill='{colour}'>"
            f"<title>{escape(name)}: {count:,} {escape(curve.axis)}, {seconds:.4g} s</title></circle>"
            for count, seconds in line
        ]
        exponent = slope(line)
        told = escape(name) + ("" if exponent is None else f" {exponent:.2f}")
        row, column = divmod(number, _LEGEND_COLUMNS)
        left, middle = 10 + column * (_WIDTH - 10) / _LEGEND_COLUMNS, bottom + _AXIS + 8 + row * _LEGEND_STEP
        parts.append(
            f"<circle cx='{left:.0f}' cy='{middle}' r='4' fill='{colour}'/>"
            f"<text class='soft' x='{left + 8:.0f}' y='{middle + 4}'>{told}</text>"
        )
    said = (f"<p class='soft'>{escape(what)}: {escape(', '.join(names))}</p>" for what, names in why.items())
    parts.append(f"</svg>{''.join(said)}</figure>")
    return "".join(parts)


def _told(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _share(axis: tuple[float, float], value: float) -> float:
    return math.log(value / axis[0]) / math.log(axis[1] / axis[0])
