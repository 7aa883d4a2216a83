"""Charts of growth for the page: both axes logarithmic, a line a competitor, and its exponent."""

from __future__ import annotations

import math
from html import escape

from benchmarks.growth import Curve, Point, series, slope
from benchmarks.registry import FLOOR, OURS

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 430, 250, 62, 14, 34, 36


def charts(grown: list[tuple[Curve, list[Point]]]) -> str:
    """The section of the page; empty where nothing was measured."""
    drawn = [chart(curve, series(points)) for curve, points in grown]
    if not any(drawn):
        return ""
    said = (
        "Seconds at three sizes each, both axes logarithmic. The number behind a name is the exponent: 1 where cost "
        "grows in proportion, 0 where it does not grow."
    )
    return f"<h2 id='growth'>How cost grows</h2><p class='soft'>{said}</p><div class='charts'>{''.join(drawn)}</div>"


def chart(curve: Curve, lines: dict[str, list[tuple[int, float]]]) -> str:
    """One chart as SVG."""
    counts = [count for line in lines.values() for count, _ in line]
    times = [seconds for line in lines.values() for _, seconds in line]
    if not counts:
        return ""
    across, down = _axis(min(counts), max(counts), 1.15), _axis(min(times), max(times), 1.4)

    def x(count: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _share(across, count)

    def y(seconds: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * _share(down, seconds)

    parts = [
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='{escape(curve.name)} by {escape(curve.axis)}'>",
        f"<text x='{_LEFT}' y='14' font-weight='600'>{escape(curve.name)}</text>",
        f"<path d='M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}' stroke='var(--line)' fill='none'/>",
        f"<text class='soft' x='{(_LEFT + _WIDTH - _RIGHT) / 2}' y='{_HEIGHT - 4}' text-anchor='middle'>"
        f"{escape(curve.axis)}</text>",
    ]
    for count in sorted(set(counts)):
        parts.append(
            f"<text class='soft' x='{x(count):.1f}' y='{_HEIGHT - _BOTTOM + 14}' text-anchor='middle'>{count:,}</text>"
        )
    for power in range(math.ceil(math.log10(down[0])), math.floor(math.log10(down[1])) + 1):
        at = y(10.0**power)
        parts.append(
            f"<path d='M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}' stroke='var(--line)'/>"
            f"<text class='soft' x='{_LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{10.0**power:g} s</text>"
        )
    for number, (name, line) in enumerate(lines.items()):
        colour = {FLOOR: "--floor", OURS: "--ours"}.get(name, "--peer")
        path = " ".join(f"{x(count):.1f},{y(seconds):.1f}" for count, seconds in line)
        parts.append(f"<polyline points='{path}' fill='none' stroke='var({colour})' stroke-width='2'/>")
        parts += [
            f"<circle cx='{x(count):.1f}' cy='{y(seconds):.1f}' r='3' fill='var({colour})'>"
            f"<title>{escape(name)}: {count:,} {escape(curve.axis)}, {seconds:.4g} s</title></circle>"
            for count, seconds in line
        ]
        exponent = slope(line)
        told = escape(name) + ("" if exponent is None else f" {exponent:.2f}")
        parts.append(
            f"<circle cx='{_LEFT + 4 + number * 120}' cy='24' r='4' fill='var({colour})'/>"
            f"<text class='soft' x='{_LEFT + 12 + number * 120}' y='28'>{told}</text>"
        )
    parts.append("</svg>")
    return "".join(parts)


def _axis(low: float, high: float, room: float) -> tuple[float, float]:
    return low / room, high * room


def _share(axis: tuple[float, float], value: float) -> float:
    return math.log(value / axis[0]) / math.log(axis[1] / axis[0])
