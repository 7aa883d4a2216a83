"""Run the competitors of a row in turn, each run in a process of its own, and gather what they cost."""

from __future__ import annotations

import datetime
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.processes import Answer, Hatcheries, ask_new
from benchmarks.registry import FLOOR, OURS, WARM_UP_SIZE, Case, Competitor, Row, Size


@dataclass
class Outcome:
    """What is known of one competitor in one row. Times in seconds, memory in bytes."""

    name: str
    status: str = "ok"  # ok | wrong | failed | too slow | not installed
    error: str = ""
    note: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    python: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    ratio_wall: float | None = None
    ratio_cpu: float | None = None
    #: Highest memory of its own, inputs included: what the system cannot take back, as it can pages of mapped files.
    held: int | None = None

    @property
    def own(self) -> bool:
        """Whether it is the floor or a way to use this project, not a peer."""
        return self.name == FLOOR or self.name.startswith(OURS)

    def _values(self, key: str) -> list[float]:
        return [run[key] for run in self.runs if key in run]

    def median(self, key: str) -> float | None:
        values = self._values(key)
        return statistics.median(values) if values else None

    def lowest(self, key: str) -> float | None:
        return min(self._values(key), default=None)

    def highest(self, key: str) -> float | None:
        return max(self._values(key), default=None)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["median"] = {key: self.median(key) for key in ("wall", "cpu", "memory", "memory_total", "per_second")}
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Outcome:
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})


@dataclass
class RowResult:
    """One row of the table, measured: when, and how many bytes the array has that it reads or writes."""

    row: Row
    outcomes: list[Outcome]
    size: str = ""
    measured: str = ""
    array: int | None = None

    def outcome(self, name: str) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.name == name), None)

    @property
    def right(self) -> bool:
        """Whether the floor and this project did the job, or were not there to do it."""
        return all(outcome.status in ("ok", "not installed") for outcome in self.outcomes if outcome.own)

    def memory_ratio(self, outcome: Outcome) -> float | None:
        """Peak memory, inputs included, in multiples of the array; without mapped files, where that was measured."""
        peak = outcome.highest("memory") if outcome.held is None else outcome.held
        return peak / self.array if peak is not None and self.array else None

    def to_json(self) -> dict[str, Any]:
        row = self.row
        return {
            "name": row.name,
            "title": row.title,
            "floor": row.floor_text,
            "compare": row.compare,
            "goal": row.goal,
            "goal_text": row.goal_text,
            "note": row.note,
            "size": self.size,
            "measured": self.measured,
            "array": self.array,
            "competitors": [outcome.to_json() for outcome in self.outcomes],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], row: Row) -> RowResult:
        outcomes = [Outcome.from_json(outcome) for outcome in record["competitors"]]
        return cls(row, outcomes, record["size"], record["measured"], record["array"])


@dataclass
class Settings:
    """How to measure.

    Peers have ``peer_runs``, and one whose run took more than ``slow`` seconds is not run again; rows that say ``long``
    are not begun anew when they would take more than ``row_seconds``. ``hatcheries`` are for rows whose runs are forks
    of a process with their packages; when ``quick``, all runs are, and none warms up: what they return is right or
    wrong as ever, what they cost means nothing.
    """

    size: Size
    runs: int
    cache: Cache
    scratch: Path
    timeout: float = 900.0
    peer_runs: int = 3
    slow: float = 5.0
    row_seconds: float = 60.0
    pythons: Mapping[str, Path] = field(default_factory=dict)
    verbose: bool = False
    hatcheries: Hatcheries | None = None
    quick: bool = False
    probed: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)

    def python(self, competitor: str) -> str:
        return str(self.pythons.get(competitor, sys.executable))


def default_scratch() -> Path:
    """Memory where there is a file system in it, so that the disk is no part of what is compared."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def measure(row: Row, settings: Settings) -> RowResult:
    """Measure one row: every competitor once, then again, ``runs`` times."""
    for name in row.datasets:
        folder = settings.cache.get(name, settings.size)
        if not settings.quick:
            settings.cache.get(name, WARM_UP_SIZE)
            Cache.read_through(folder)
    outcomes = []
    for competitor in row.competitors:
        outcome = Outcome(competitor.name, note=competitor.note)
        outcomes.append(outcome)
        probed = _probe(competitor, settings)
        outcome.status, outcome.error = probed["status"], probed.get("error", "")
        outcome.versions, outcome.python = probed.get("versions", {}), probed.get("python", "")
    start = time.monotonic()
    turns = min(settings.runs, row.most_runs or settings.runs)
    for turn in range(turns):
        if row.long and turn and (time.monotonic() - start) * (turn + 1) / turn > settings.row_seconds:
            break
        for competitor, outcome in zip(row.competitors, outcomes, strict=True):
            if outcome.status in ("failed", "too slow", "not installed"):
                continue
            if not outcome.own and (turn >= settings.peer_runs or (outcome.highest("wall") or 0) > settings.slow):
                continue
            answer = _run_once(row, competitor, settings)
            if "wall" in answer:
                outcome.runs.append(answer)
            if answer["status"] != "ok":
                outcome.status, outcome.error = answer["status"], answer.get("error", "")
            wall = f"{answer['wall']:.3f} s" if "wall" in answer else ""
            settings.say(f"{row.name} {turn + 1}/{turns} {competitor.name}: {wall} {answer['status']}")
    floor = next((outcome for outcome in outcomes if outcome.name == FLOOR), None)
    for outcome in outcomes:
        outcome.ratio_wall = _ratio(outcome, floor, "wall")
        outcome.ratio_cpu = _ratio(outcome, floor, "cpu")
    array = None
    if row.array is not None and not settings.quick:
        array = row.array(_case(row, settings.size, settings, Path("unused")))
        for competitor, outcome in zip(row.competitors, outcomes, strict=True):
            if outcome.own and outcome.status == "ok":  # a run by itself: to look at its memory takes time
                outcome.held = _run_once(row, competitor, settings, sample=True).get("held")
    measured = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return RowResult(row, outcomes, str(settings.size), measured, array)


def _probe(competitor: Competitor, settings: Settings) -> dict[str, Any]:
    """Whether a competitor is there; asked once for all rows."""
    key = (settings.python(competitor.name), competitor.modules, competitor.executables)
    if key not in settings.probed:
        request = {"action": "probe", "modules": competitor.modules, "executables": competitor.executables}
        settings.probed[key] = _ask(request, key[0], competitor.modules, settings, settings.quick)
    return settings.probed[key]


def _ratio(outcome: Outcome, floor: Outcome | None, key: str) -> float | None:
    own = outcome.median(key)
    least = floor.median(key) if floor is not None else None
    return own / least if own is not None and least else None


def _case(row: Row, size: Size, settings: Settings, folder: Path) -> Case:
    return Case(size, {name: settings.cache.get(name, size) for name in row.datasets}, folder / "output.dcm")


def _run_once(row: Row, competitor: Competitor, settings: Settings, sample: bool = False) -> Answer:
    with tempfile.TemporaryDirectory(prefix="dicom_ml-benchmark-", dir=settings.scratch) as folder:
        cases: dict[str, Any] = {"case": None, "warm_up": None}
        for key, size in (("case", settings.size), ("warm_up", WARM_UP_SIZE)):
            if key == "warm_up" and settings.quick:
                continue
            where = Path(folder, key)
            where.mkdir()
            cases[key] = _case(row, size, settings, where).to_json()
        request = {"action": "run", "row": row.name, "competitor": competitor.name, "sample": sample, **cases}
        python = settings.python(competitor.name)
        # where nothing warms up, imports are the job
        forked = row.forked or (settings.quick and row.warm_up)
        answer = _ask(request, python, competitor.modules, settings, forked)
        if answer["status"] == "ok" and row.writes and competitor.check is None and row.check is not None:
            # Judged in this interpreter: a peer's environment may lack what the check needs.
            request = {"action": "check", "row": row.name, "case": cases["case"]}
            judged = _ask(request, sys.executable, ("pydicom",), settings, settings.quick)
            answer.update(checked=True, status=judged["status"], error=judged.get("error", ""))
            if judged["status"] == "failed":
                answer.update(status="wrong", error=f"the check could not read it: {judged['error']}")
        answer["load_average"] = os.getloadavg()[0]
        return answer


def _ask(request: Mapping[str, Any], python: str, modules: tuple[str, ...], settings: Settings, forked: bool) -> Answer:
    if forked and settings.hatcheries is not None:
        return settings.hatcheries.ask(python, modules, request, settings.timeout)
    return ask_new(python, request, settings.timeout, settings.say if settings.verbose else None)
