"""The table of the README, from the JSON of a run: ``python -m benchmarks.readme README.md bench.json ...``.

What stands between two comments in the file is replaced, so no figure is ever typed. Later files replace rows of
earlier ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Outcome, RowResult
from benchmarks.record import load
from benchmarks.registry import FLOOR, OURS, load_rows
from benchmarks.report import MEMORY_GOAL, above_memory_goal, memory_ratio, seconds

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def table(results: Sequence[RowResult], machines: Sequence[dict[str, Any]]) -> str:
    """Markdown of the rows with a goal, of training, and of what is repeated many times."""
    parts = [_heading(results, machines), "", _goals([one for one in results if one.row.goal is not None])]
    if training := [one for one in results if one.row.name.startswith("train-")]:
        parts += ["", _training(training)]
    said = []
    if any(one.array for one in results):
        above = above_memory_goal([one for one in results if one.row.goal is not None])
        said.append(f"Memory above {MEMORY_GOAL} times the array: {', '.join(above) or 'none'}.")
    if many := [one for one in results if one.row.name.startswith("many-")]:
        said.append(_many(many))
    if said:
        parts += ["", " ".join(said)]
    return "\n".join(parts)


def _heading(results: Sequence[RowResult], machines: Sequence[dict[str, Any]]) -> str:
    dates = sorted({one.measured[:10] for one in results if one.measured})
    commits = dict.fromkeys(machine["commit"] for machine in machines if machine.get("commit"))
    last = machines[-1]
    if any(machine["quick"] for machine in machines):
        raise SystemExit("a run with --quick has no times that mean anything")
    sizes = sorted({one.size for one in results if one.size})
    packages = ", ".join(f"{name} {last['packages'][name]}" for name in ("numpy", "pydicom", "imagecodecs"))
    runs = sorted({len(own.runs) for one in results if one.row.goal is not None and (own := one.outcome(OURS))})
    spread = f"{runs[0]} to {runs[-1]}" if len(set(runs)) > 1 else str(runs[0] if runs else 0)
    return (
        f"{' and '.join(dates)}, {last['cores']} cores ({last['processor']}), Python {last['python']}, {packages}, "
        f"commit {', '.join(commits) or 'unknown'}, CT of {' and '.join(sizes)}; median of {spread} runs, slow "
        "peers once, every result checked in the run."
    )


def _goals(results: Sequence[RowResult]) -> str:
    lines = ["| job | dicom_ml | goal | floor | best peer | other peers | memory |", "|---|---|---|---|---|---|---|"]
    for result in results:
        own, floor = result.outcome(OURS), result.outcome(FLOOR)
        if own is None or not own.runs:
            continue
        reached = _value(result, own)
        shown = _told(result, own)
        if own.status != "ok":
            shown = f"{own.status}: {shown}"
        elif reached is not None and result.row.goal is not None and reached > result.row.goal:
            shown = f"**{shown}**"
        peers = sorted(
            (one for one in result.outcomes if not one.own and one.status == "ok" and one.runs),
            key=lambda one: _value(result, one) or 0.0,
        )
        told = [f"{one.name} {_told(result, one)}" for one in peers]
        cpu = " (CPU time)" if result.row.compare == "cpu" else ""
        cells = [
            result.row.title + cpu,
            shown,
            result.row.goal_text.split(",")[0],
            "-" if floor is None else seconds(floor.median(result.row.compare)),
            told[0] if told else "-",
            ", ".join(told[1:]) or "-",
            memory_ratio(result, own),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _in_seconds(result: RowResult) -> bool:
    return result.row.goal_unit == "seconds" or result.outcome(FLOOR) is None


def _value(result: RowResult, outcome: Outcome) -> float | None:
    if _in_seconds(result):
        return outcome.median(result.row.compare)
    return outcome.ratio_cpu if result.row.compare == "cpu" else outcome.ratio_wall


def _told(result: RowResult, outcome: Outcome) -> str:
    value = _value(result, outcome)
    if value is None:
        return "-"
    return seconds(value) if _in_seconds(result) else f"{value:.2f}" if value < 10 else f"{value:.0f}"


_WAYS = {
    FLOOR: "decoding alone",
    OURS: "1 worker",
    "dicom_ml-2-workers": "2 workers",
    "dicom_ml-cold": "1 worker, cold",
    "dicom_ml-2-cold": "2 workers, cold",
    "dicom_ml-cached": "1 worker, own cache",
}


def _training(results: Sequence[RowResult]) -> str:
    head = "| delivered to a training loop, a second | " + " | ".join(_WAYS.values()) + " |"
    lines = [head, "|---|" + "---|" * len(_WAYS)]
    for result in results:
        rates = []
        for name in _WAYS:
            outcome = result.outcome(name)
            rate = outcome.median("per_second") if outcome is not None and outcome.status == "ok" else None
            rates.append("-" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}")
        what = result.row.title.partition(", from ")[0].replace("An epoch of ", "").replace(" in random order", "")
        lines.append(f"| {what} | " + " | ".join(rates) + " |")
    return "\n".join(lines)


def _many(results: Sequence[RowResult]) -> str:
    grown = [
        one.row.name.removeprefix("many-").replace("-", " ")
        for one in results
        if any(outcome.status != "ok" for outcome in one.outcomes)
    ]
    times = max(run.get("delivered", 0) for one in results for outcome in one.outcomes for run in outcome.runs)
    said = ", ".join(one.row.name.removeprefix("many-").replace("-", " ") for one in results)
    right = f"no memory stays of {times:,} times each: {said}" if len(grown) < len(results) else ""
    return right.capitalize() + "." + (f" It grows in: {', '.join(grown)}." if grown else "")


def replaced(text: str, made: str) -> str:
    """The text with what stands between the two comments replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the file has no {BEGIN} ... {END} for the table to stand between")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the file whose table is written, or - to print it")
    parser.add_argument("json", type=Path, nargs="+", help="what the benchmarks measured")
    options = parser.parse_args(arguments)
    made = table(*load(options.json, load_rows()))
    if str(options.file) == "-":
        print(made)
    else:
        options.file.write_text(replaced(options.file.read_text(), made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
