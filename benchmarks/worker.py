"""The child process: one competitor, one run. Started by ``measure``, never by hand.

``python -m benchmarks.worker REQUEST ANSWER`` reads a JSON request and writes a JSON answer. Standard output is
left to the competitors, some of which are talkative. ``--serve`` is for :class:`benchmarks.processes.Hatchery`.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from benchmarks import process_memory, processes
from benchmarks.registry import Case, WrongResult, load_rows


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Tell whether what a competitor needs is there, and in which version."""
    from benchmarks.executables import find_executable

    versions: dict[str, str] = {}
    for name in request["modules"]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            return {"status": "not installed", "error": f"no module {missing!r}"}
        except Exception as error:
            return {"status": "failed", "error": f"importing {name}: {type(error).__name__}: {error}"}
        top = name.split(".")[0]
        versions[top] = _version(top) or str(getattr(module, "__version__", ""))
    for name in request["executables"]:
        if find_executable(name) is None:
            return {"status": "not installed", "error": f"no executable {name!r}"}
    return {"status": "ok", "versions": versions, "python": sys.version.split()[0]}


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # its distribution has another name, which takes a walk over all to find
        distributions = metadata.packages_distributions().get(package)
        return metadata.version(distributions[0]) if distributions else ""


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Warm up, prepare, time and check one competitor."""
    row = load_rows()[request["row"]]
    competitor = row.competitor(request["competitor"])
    case = Case.from_json(request["case"])
    if row.warm_up:
        for module in competitor.modules:
            importlib.import_module(module)
        # A run on very small data loads what the competitor imports lazily: imports are not part of the job.
        if request["warm_up"] is not None:
            competitor.prepare(Case.from_json(request["warm_up"]))()
    gc.collect()
    after_imports, own_after_imports = process_memory.resident(), process_memory.own()
    job = competitor.prepare(case)
    gc.collect()
    after_inputs = process_memory.resident()
    process_memory.reset_peak()
    cpu = process_memory.cpu_seconds()
    start = time.perf_counter()
    if request.get("sample"):
        with process_memory.sampled() as highest:
            result = job()
    else:
        result = job()
    wall = time.perf_counter() - start
    cpu = process_memory.cpu_seconds() - cpu
    own = process_memory.peak()
    # An executable's memory counts from nothing: nothing of it was there before the job.
    other = process_memory.children_peak() if competitor.executables else 0
    answer: dict[str, Any] = {
        "status": "ok",
        "wall": wall,
        "cpu": cpu,
        "memory": max(own - (after_imports if row.warm_up else after_inputs), other, 0),
        "memory_above_inputs": max(own - after_inputs, other, 0),
        "memory_total": max(own, other),
        "inputs": max(after_inputs - after_imports, 0),
    }
    if request.get("sample") and highest():
        answer["held"] = max(highest() - own_after_imports, 0)
    if delivered := getattr(result, "delivered", None):
        answer.update(delivered=delivered, per_second=delivered / wall)
    if told := getattr(result, "told", None):
        answer["told"] = told
    if case.output.is_file():
        answer["bytes"] = case.output.stat().st_size
    check = competitor.check or (None if row.writes else row.check)
    if check is not None:
        answer["checked"] = True
        try:
            check(case, competitor.view(result) if competitor.view else result)
        except WrongResult as wrong:
            answer.update(status="wrong", error=str(wrong))
    return answer


def check_output(request: dict[str, Any]) -> dict[str, Any]:
    """Look at a file that a competitor wrote."""
    row = load_rows()[request["row"]]
    assert row.check is not None
    try:
        row.check(Case.from_json(request["case"]), None)
    except WrongResult as wrong:
        return {"status": "wrong", "error": str(wrong)}
    return {"status": "ok"}


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, an error as one that failed."""
    action = {"probe": probe, "run": run, "check": check_output}[request["action"]]
    warnings.simplefilter("ignore")
    try:
        return action(request)
    except Exception as error:
        import traceback

        traceback.print_exc()
        first_line = (str(error).strip().splitlines() or [""])[0]
        return {"status": "failed", "error": f"{type(error).__name__}: {first_line}"}


def main() -> int:
    if sys.argv[1] == "--serve":
        load_rows()
        processes.serve(sys.argv[2], sys.argv[3:], answered)
        return 0
    answer = answered(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
