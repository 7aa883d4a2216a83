"""The measured table as one HTML page with bars: no script, no style sheet and no picture from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from benchmarks.growth import Grown
from benchmarks.growth_chart import charts
from benchmarks.measure import Outcome, RowResult
from benchmarks.registry import FLOOR, OURS
from benchmarks.report import HEADINGS, cells, heading, memory_text, peers, ratio, remark, seconds

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #66727f; --line: #d9dee3; --paper: #ffffff;
  --floor: #9aa7b4; --ours: #0b7a75; --peer: #c58b3b; --wrong: #b3372f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --soft: #9aa5b1; --line: #38424d; --paper: #161b20;
  --floor: #6c7986; --ours: #3fb8b0; --peer: #d9a35c; --wrong: #e0736b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.4rem 0 0.2rem; }
p { margin: 0.2rem 0; } .soft { color: var(--soft); }
svg { display: block; width: 100%; height: auto; margin: 0.6rem 0; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg text.soft { fill: var(--soft); }
figure { margin: 0; } figure p { font-size: 12px; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0.5rem 1.5rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
td, th { padding: 0.15rem 0.7rem 0.15rem 0; text-align: right; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
td:first-child, td:last-child { text-align: left; } .met { color: var(--ours); } .unmet { color: var(--wrong); }
"""

_HOW_TO_READ = (
    "<p>A bar is the median in multiples of the row's floor, its whisker the fastest and slowest run; the scale is "
    "logarithmic. Only ratios inside one row mean anything.</p>"
)
_LEFT, _WIDTH, _BAR, _STEP, _RIGHT = 130, 900, 16, 26, 250


def page(results: Sequence[RowResult], machine: dict[str, Any], grown: Grown = ()) -> str:
    """Return the page."""
    at, versions = heading(machine)
    everyone = [*results, *(point.result for _, points in grown for point in points)]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>dicom_ml benchmarks</title><style>{_STYLE}</style></head><body>",
        "<h1>dicom_ml beside its peers and a floor</h1>",
        f"<p>{escape(at)}, interleaved.</p>",
        f"<p class='soft'>{escape(versions)}</p>",
        f"<p class='soft'>peers: {escape(peers(everyone) or 'none')}</p>",
        _HOW_TO_READ if results else "",
        f"<p>{escape(memory_text(results, machine).capitalize())}</p>",
    ]
    for result in results:
        parts += _section(result)
    parts.append(charts(grown, machine.get("growth_timeout")))
    parts.append("</body></html>")
    return "\n".join(parts)


def _section(result: RowResult) -> list[str]:
    row = result.row
    parts = [f"<h2 id='{escape(row.name)}'>{escape(row.title)}</h2>"]
    parts.append(f"<p class='soft'>floor: {escape(row.floor_text)}{_verdict(result)}</p>")
    if row.note:
        parts.append(f"<p class='soft'>{escape(row.note)}</p>")
    parts.append(_bars(result))
    head = "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS)
    parts.append(f"<div class='table'><table><tr>{head}</tr>")
    for outcome in result.outcomes:
        parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(result, outcome)) + "</tr>")
    parts.append("</table></div>")
    return parts


def _verdict(result: RowResult) -> str:
    row = result.row
    if row.goal is None:
        return ""
    own = next((outcome for outcome in result.outcomes if outcome.name == OURS), None)
    reached = None if own is None or own.status != "ok" else _reached(result, own)
    kind = "" if reached is None else ("met" if reached <= row.goal else "unmet")
    shown = "" if reached is None else f", here {seconds(reached) if _in_seconds(result) else ratio(reached)}"
    return f" &middot; goal {escape(row.goal_text)} ({row.compare})<span class='{kind}'>{shown}</span>"


def _in_seconds(result: RowResult) -> bool:
    """Whether the goal is in seconds: the row says so, or has no floor."""
    return result.row.goal_unit == "seconds" or not any(outcome.name == FLOOR for outcome in result.outcomes)


def _reached(result: RowResult, own: Outcome) -> float | None:
    """What is held against the goal: a ratio, or seconds."""
    if _in_seconds(result):
        return own.median(result.row.compare)
    return own.ratio_cpu if result.row.compare == "cpu" else own.ratio_wall


def _bars(result: RowResult) -> str:
    compare = result.row.compare
    measured = [outcome for outcome in result.outcomes if outcome.runs]
    if not measured:
        return "<p>Nothing was measured.</p>"
    floor = next((outcome for outcome in measured if outcome.name == FLOOR), None)
    unit = (floor.median(compare) if floor is not None else None) or 1.0
    values = {
        o.name: [(v or 0.0) / unit for v in (o.median(compare), o.lowest(compare), o.highest(compare))]
        for o in measured
    }
    low = min(0.5 if floor is not None else math.inf, *(value[1] for value in values.values())) * 0.8
    low = max(low, 1e-6)
    goal = None if result.row.goal is None else result.row.goal / (unit if _in_seconds(result) else 1.0)
    high = max(*(value[2] for value in values.values()), goal or 0.0, low * 2) * 1.1
    span = math.log(high / low)

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(max(value, low) / low) / span

    height = _STEP * len(result.outcomes) + 24
    parts = [f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='{escape(result.row.title)}'>"]
    lines = [(1.0, "floor", "--floor")] if floor is not None else []
    if goal is not None:
        lines.append((goal, "goal", "--ours"))
    for value, name, colour in lines:
        parts.append(
            f"<line x1='{x(value):.1f}' x2='{x(value):.1f}' y1='16' y2='{height}' stroke='var({colour})' "
            f"stroke-dasharray='3 3'/><text class='soft' x='{x(value):.1f}' y='11' text-anchor='middle'>{name}</text>"
        )
    for index, outcome in enumerate(result.outcomes):
        top = 22 + index * _STEP
        middle = top + _BAR / 2
        label = middle + 4.5
        parts.append(f"<text x='{_LEFT - 8}' y='{label}' text-anchor='end'>{escape(outcome.name)}</text>")
        if outcome.name not in values:
            parts.append(f"<text class='soft' x='{_LEFT + 6}' y='{label}'>{escape(remark(outcome))}</text>")
            continue
        median, least, most = values[outcome.name]
        colour = {FLOOR: "--floor", OURS: "--ours"}.get(outcome.name, "--peer")
        colour = "--wrong" if outcome.status != "ok" else colour
        parts.append(
            f"<rect x='{_LEFT}' y='{top}' width='{max(x(median) - _LEFT, 1):.1f}' height='{_BAR}' rx='2' "
            f"fill='var({colour})'/><path d='M{x(least):.1f} {middle}H{x(most):.1f}M{x(least):.1f} {middle - 4}v8"
            f"M{x(most):.1f} {middle - 4}v8' stroke='var(--ink)' fill='none'/>"
        )
        shown = seconds(outcome.median(compare))
        shown = f"{ratio(median)} ({shown})" if floor is not None else shown
        shown += "" if outcome.status == "ok" else f" {outcome.status}"
        parts.append(f"<text x='{x(most) + 8:.1f}' y='{label}'>{escape(shown)}</text>")
    parts.append("</svg>")
    return "".join(parts)
