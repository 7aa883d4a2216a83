"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import growth, page, report
from benchmarks.cache import Cache, default_folder
from benchmarks.measure import RowResult, Settings, default_scratch, measure
from benchmarks.registry import FLOOR, OURS, WARM_UP_SIZE, Row, Size, load_rows


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _peer_python(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    interpreter = Path(path).expanduser()
    if interpreter.is_dir():
        interpreter = interpreter / "bin" / "python"
    if not equals or not interpreter.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=INTERPRETER (or NAME=VIRTUAL_ENVIRONMENT)")
    return name, interpreter.absolute()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure dicom_ml, its installed peers and a floor side by side.",
        epilog="example: python -m benchmarks --rows 'ct-*' --runs 5 --html benchmarks.html "
        "--peer-python pydicom-seg=~/envs/pydicom-seg",
    )
    made.add_argument("--rows", action="append", metavar="NAMES", help="rows to measure: names or patterns, by comma")
    made.add_argument("--only", metavar="NAMES", help="competitors to run besides the floor, by comma")
    made.add_argument("--size", type=_size, default="full", help="full (default), medium, quick, tiny or 300x512x512")
    made.add_argument(
        "--quick",
        action="store_true",
        help="does it all work? Small data, one run, the floor and this project unless --only says otherwise, as many "
        "rows at a time as there are cores: every result is checked, the ratios mean nothing",
    )
    made.add_argument("--runs", type=int, help="runs of each competitor (default: 5)")
    made.add_argument("--growth", action="store_true", help="charts of how cost grows, too: three sizes each")
    made.add_argument("--timeout", type=float, default=900.0, help="seconds after which a run counts as failed")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every run as JSON")
    made.add_argument("--html", type=Path, metavar="FILE", help="write a page with bars")
    made.add_argument("--cache", type=Path, default=default_folder(), help="folder of the generated data")
    made.add_argument("--scratch", type=Path, default=default_scratch(), help="folder where competitors write")
    made.add_argument(
        "--peer-python",
        action="append",
        type=_peer_python,
        default=[],
        metavar="NAME=PATH",
        help="run a competitor in another interpreter or virtual environment",
    )
    made.add_argument("--verbose", action="store_true", help="show the whole error of a competitor that fails")
    made.add_argument("--list", action="store_true", help="list the rows and their competitors, and stop")
    return made


def _chosen(rows: dict[str, Row], patterns: list[str] | None, only: str | None) -> list[Row]:
    wanted = [part for pattern in patterns or ["*"] for part in pattern.split(",") if part]
    if not patterns:
        rows = {name: row for name, row in rows.items() if row.listed}
    for pattern in wanted:
        if not fnmatch.filter(rows, pattern):
            raise SystemExit(f"no row is named {pattern!r}; the rows are: {', '.join(rows)}")
    found = [row for name, row in rows.items() if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)]
    if only is None:
        return found
    names = {FLOOR, *only.split(",")}
    known = {competitor.name for row in rows.values() for competitor in row.competitors}
    if unknown := names - known:
        raise SystemExit(f"no competitor is named {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}")
    return [row.limited_to(names) for row in found]


def _list(rows: dict[str, Row]) -> None:
    for row in rows.values():
        goal = f"  (goal {row.goal_text})" if row.goal_text else ""
        print(f"{row.name}: {row.title}{goal}")
        print("   ", ", ".join(competitor.name for competitor in row.competitors))


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    rows = load_rows()
    if options.list:
        _list(rows)
        return 0
    if options.quick:
        options.size = Size.parse("quick")
        options.only = options.only or OURS
    if options.runs is None:
        options.runs = 1 if options.quick else 5
    if options.runs < 1:
        raise SystemExit("--runs must be at least 1")
    chosen = _chosen(rows, options.rows, options.only)
    # Registers the generators; only this process makes data, so only it needs pydicom and the encoders.
    from benchmarks import datasets  # noqa: F401

    settings = Settings(
        size=options.size,
        runs=options.runs,
        cache=Cache(options.cache),
        scratch=options.scratch,
        timeout=options.timeout,
        pythons=dict(options.peer_python),
        verbose=options.verbose,
    )
    machine = report.environment(settings)
    if machine["load_average_at_start"] > 0.3 * (os.cpu_count() or 1):
        print("warning: the machine is busy; the ratios will be noisy", file=sys.stderr)
    results: list[RowResult] = []
    grown: list[tuple[growth.Curve, list[growth.Point]]] = []

    def keep() -> None:
        if options.json:
            record = report.to_json(results, machine) | ({"growth": growth.to_json(grown)} if grown else {})
            options.json.write_text(json.dumps(record, indent=1))
        if options.html:
            options.html.write_text(page.page(results, machine, grown))

    for result in _measured(chosen, settings, at_once=os.cpu_count() or 1 if options.quick else 1):
        results.append(result)
        keep()  # after every row, so that a run that is cut short leaves what it measured
    if options.growth:
        named = {row.name for row in chosen}
        kept = {name: row for name, row in rows.items() if name in named or not row.listed}
        only = {FLOOR, *options.only.split(",")} if options.only else None
        grown = growth.grow(kept, settings, only)
        keep()
    print(report.text(results, machine) + (growth.text(grown) if grown else ""))
    unfit = [o for _, points in grown for p in points for o in p.result.outcomes if o.status in ("wrong", "failed")]
    own = [outcome for result in results for outcome in result.outcomes if outcome.name in (FLOOR, OURS)]
    return 0 if not unfit and all(outcome.status in ("ok", "not installed") for outcome in own) else 1


def _measured(rows: list[Row], settings: Settings, at_once: int) -> Iterator[RowResult]:
    """Results in the order of the rows, each as soon as it is there."""
    if at_once == 1:
        yield from (measure(row, settings) for row in rows)
        return
    for row in rows:  # one maker of data at a time
        for name in row.datasets:
            settings.cache.get(name, settings.size)
            settings.cache.get(name, WARM_UP_SIZE)
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda row: measure(row, settings), rows)


if __name__ == "__main__":
    sys.exit(main())
