"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import growth, report
from benchmarks.cache import Cache, default_folder
from benchmarks.measure import RowResult, Settings, default_scratch, measure
from benchmarks.processes import Hatcheries
from benchmarks.record import Record
from benchmarks.registry import FLOOR, NAMED_SIZES, Row, Size, load_rows


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
        help="does it all work? Small data, one run, all who are installed, as many rows at a time as there are cores: "
        "every result is checked, times and memory mean nothing",
    )
    made.add_argument("--runs", type=int, help="runs of each competitor (default: 5)")
    made.add_argument("--peer-runs", type=int, default=3, help="runs of each peer at most (default: 3)")
    made.add_argument(
        "--slow", type=float, default=5.0, metavar="SECONDS", help="a peer that takes longer runs once (default: 5)"
    )
    made.add_argument(
        "--row-seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="rows of training are repeated while they take less than this (default: 60)",
    )
    made.add_argument(
        "--growth",
        nargs="?",
        const="also",
        choices=("also", "only"),
        help="charts of how cost grows, three sizes each: beside the table, or only",
    )
    made.add_argument(
        "--growth-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="a run for a chart ends after this, and so does its line (default: 60)",
    )
    made.add_argument("--timeout", type=float, help="seconds after which a run is ended (default: 900; --quick: 60)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every run as JSON")
    made.add_argument("--html", type=Path, metavar="FILE", help="write a page with bars and charts")
    made.add_argument("--output", type=Path, metavar="FOLDER", help="write both there, named by the size")
    made.add_argument(
        "--resume", action="store_true", help="go on with the run whose rows are in --json; its finished rows stay"
    )
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
    if options.output:
        name = next((name for name, size in NAMED_SIZES.items() if size == options.size), str(options.size))
        options.json = options.json or options.output / f"{name}.json"
        options.html = options.html or options.output / f"{name}.html"
    if options.runs is None:
        options.runs = 1 if options.quick else 5
    if options.runs < 1:
        raise SystemExit("--runs must be at least 1")
    chosen = _chosen(rows, options.rows, options.only)
    # Registers the generators; only this process makes data, so only it needs pydicom and the encoders.
    from benchmarks import datasets  # noqa: F401

    with ExitStack() as stack:
        settings = Settings(
            size=options.size,
            runs=options.runs,
            cache=Cache(options.cache),
            scratch=options.scratch,
            timeout=options.timeout or (60.0 if options.quick else 900.0),
            peer_runs=options.peer_runs,
            slow=options.slow,
            row_seconds=options.row_seconds,
            pythons=dict(options.peer_python),
            verbose=options.verbose,
            hatcheries=stack.enter_context(Hatcheries()),
            quick=options.quick,
        )
        return _run(options, rows, chosen, settings)


def _run(options: argparse.Namespace, rows: dict[str, Row], chosen: list[Row], settings: Settings) -> int:
    """Measure, print, and say whether everything was right."""
    machine = report.environment(settings)
    if machine["load_average_at_start"] > 0.3 * (os.cpu_count() or 1) and not options.quick:
        print("warning: the machine is busy; the ratios will be noisy", file=sys.stderr)
    record = Record(machine, rows, options.json, options.html)
    if options.resume:
        record.resume()
    if options.growth != "only":
        at_once = os.cpu_count() or 1 if options.quick else 1
        for result in _measured([row for row in chosen if not record.has(row)], settings, at_once):
            record.add(result)
    if options.growth:
        machine["growth_timeout"] = options.growth_timeout
        named = {row.name: row for row in chosen}
        unlisted = {row.name: row for row in _chosen(rows, ["*"], options.only) if not row.listed}
        for grown in growth.grow(
            unlisted | named,
            replace(settings, timeout=options.growth_timeout, runs=min(settings.runs, 3), peer_runs=1),
            [*record.results, *record.known_growth],
        ):
            record.grown = grown
            record.save()
    print(report.text(record.results, machine) + (growth.text(record.grown) if record.grown else ""))
    measured = [*record.results, *(point.result for _, points in record.grown for point in points)]
    return 0 if all(result.right for result in measured) else 1


def _measured(rows: list[Row], settings: Settings, at_once: int) -> Iterator[RowResult]:
    """Results, each as soon as it is there."""
    if at_once == 1:
        yield from (measure(row, settings) for row in rows)
        return
    for row in rows:  # one maker of data at a time
        for name in row.datasets:
            settings.cache.get(name, settings.size)
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda row: measure(row, settings), rows)


if __name__ == "__main__":
    sys.exit(main())
