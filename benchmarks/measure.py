"""Run the competitors of a row in turn, each run in a process of its own, and gather what they cost."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.registry import FLOOR, WARM_UP_SIZE, Case, Competitor, Row, Size

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Outcome:
    """What is known of one competitor in one row. Times in seconds, memory in bytes."""

    name: str
    status: str = "ok"  # ok | wrong | failed | not installed
    error: str = ""
    note: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    python: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    ratio_wall: float | None = None
    ratio_cpu: float | None = None

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
        record["median"] = {key: self.median(key) for key in ("wall", "cpu", "memory", "memory_total")}
        return record


@dataclass
class RowResult:
    """One row of the table, measured."""

    row: Row
    outcomes: list[Outcome]

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
            "competitors": [outcome.to_json() for outcome in self.outcomes],
        }


@dataclass
class Settings:
    """How to measure."""

    size: Size
    runs: int
    cache: Cache
    scratch: Path
    timeout: float = 900.0
    pythons: Mapping[str, Path] = field(default_factory=dict)
    verbose: bool = False
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
        settings.cache.get(name, WARM_UP_SIZE)
        Cache.read_through(folder)
    outcomes = []
    for competitor in row.competitors:
        outcome = Outcome(competitor.name, note=competitor.note)
        outcomes.append(outcome)
        probed = _probe(competitor, settings)
        outcome.status, outcome.error = probed["status"], probed.get("error", "")
        outcome.versions, outcome.python = probed.get("versions", {}), probed.get("python", "")
    for turn in range(settings.runs):
        for competitor, outcome in zip(row.competitors, outcomes, strict=True):
            if outcome.status in ("failed", "not installed"):
                continue
            answer = _run_once(row, competitor, settings)
            if "wall" in answer:
                outcome.runs.append(answer)
            if answer["status"] != "ok":
                outcome.status, outcome.error = answer["status"], answer.get("error", "")
            wall = f"{answer['wall']:.3f} s" if "wall" in answer else ""
            settings.say(f"{row.name} {turn + 1}/{settings.runs} {competitor.name}: {wall} {answer['status']}")
    floor = next((outcome for outcome in outcomes if outcome.name == FLOOR), None)
    for outcome in outcomes:
        outcome.ratio_wall = _ratio(outcome, floor, "wall")
        outcome.ratio_cpu = _ratio(outcome, floor, "cpu")
    return RowResult(row, outcomes)


def _probe(competitor: Competitor, settings: Settings) -> dict[str, Any]:
    """Whether a competitor is there; asked once for all rows."""
    key = (settings.python(competitor.name), competitor.modules, competitor.executables)
    if key not in settings.probed:
        request = {"action": "probe", "modules": competitor.modules, "executables": competitor.executables}
        settings.probed[key] = _ask(request, key[0], settings)
    return settings.probed[key]


def _ratio(outcome: Outcome, floor: Outcome | None, key: str) -> float | None:
    own = outcome.median(key)
    least = floor.median(key) if floor is not None else None
    return own / least if own is not None and least else None


def _run_once(row: Row, competitor: Competitor, settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="dicom_ml-benchmark-", dir=settings.scratch) as folder:
        cases = {}
        for key, size in (("case", settings.size), ("warm_up", WARM_UP_SIZE)):
            where = Path(folder, key)
            where.mkdir()
            folders = {name: settings.cache.get(name, size) for name in row.datasets}
            cases[key] = Case(size, folders, where / "output.dcm").to_json()
        request = {"action": "run", "row": row.name, "competitor": competitor.name, **cases}
        answer = _ask(request, settings.python(competitor.name), settings)
        if answer["status"] == "ok" and row.writes and competitor.check is None and row.check is not None:
            # Judged in this interpreter: a peer's environment may lack what the check needs.
            judged = _ask({"action": "check", "row": row.name, "case": cases["case"]}, sys.executable, settings)
            answer.update(checked=True, status=judged["status"], error=judged.get("error", ""))
            if judged["status"] == "failed":
                answer.update(status="wrong", error=f"the check could not read it: {judged['error']}")
        answer["load_average"] = os.getloadavg()[0]
        return answer


def _ask(request: Mapping[str, Any], python: str, settings: Settings) -> dict[str, Any]:
    if shutil.which(python) is None:
        return {"status": "not installed", "error": f"no interpreter {python!r}"}
    with tempfile.TemporaryDirectory(prefix="dicom_ml-benchmark-") as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(request))
        command = [python, "-m", "benchmarks.worker", str(question), str(answer)]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=settings.timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return {"status": "failed", "error": f"took more than {settings.timeout:g} s"}
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            how = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
            return {"status": "failed", "error": f"{how}: {last}"}
        record: dict[str, Any] = json.loads(answer.read_text())
        if record["status"] == "failed" and settings.verbose:
            settings.say(done.stderr)
        return record
