"""The measured table as text and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from benchmarks.measure import Outcome, RowResult, Settings
from benchmarks.processes import ROOT

#: Of the JSON: raised when what is in it changes.
FORMAT = 2
#: Peak memory that a path may take, in multiples of its array.
MEMORY_GOAL = 1.3

# What decides how fast a peer decodes, besides the peer itself.
_SHOWN = (
    "dicom-ml",
    "numpy",
    "pydicom",
    "imagecodecs",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "pylibjpeg-libjpeg",
    "pyjpegls",
    "python-gdcm",
    "pillow",
    "torch",
    "lightning",
)


def environment(settings: Settings) -> dict[str, Any]:
    """The machine and the packages that the numbers belong to."""
    packages = {}
    for name in _SHOWN:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = "not installed"
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": _processor(),
        "cores": affinity,
        "load_average_at_start": os.getloadavg()[0],
        "size": str(settings.size),
        "runs": settings.runs,
        "quick": settings.quick,
        "packages": packages,
    }


def _commit() -> str:
    """The commit that is measured, or nothing where git does not say."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def to_json(results: Sequence[RowResult], machine: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "environment": machine, "rows": [result.to_json() for result in results]}


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.3f} s"


def mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f} MiB"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def memory_ratio(result: RowResult, outcome: Outcome) -> str:
    return ratio(result.memory_ratio(outcome))


def remark(outcome: Outcome) -> str:
    """The last column: what went wrong, or that the result was checked."""
    if outcome.status == "ok":
        checked = sum(bool(run.get("checked")) for run in outcome.runs)
        said = f"right in {checked} of {len(outcome.runs)}" if checked else "nothing to check"
        rate = outcome.median("per_second")
        said = said if rate is None else f"{rate:.4g} a second; {said}"
        told = next((run["told"] for run in reversed(outcome.runs) if "told" in run), "")
        return "; ".join(part for part in (told, said, outcome.note) if part)
    if outcome.status == "not installed":
        return f"not installed ({outcome.error})"
    return f"{outcome.status.upper()}: {outcome.error}"


def cells(result: RowResult, outcome: Outcome) -> list[str]:
    return [
        outcome.name,
        ratio(outcome.ratio_wall),
        ratio(outcome.ratio_cpu),
        seconds(outcome.median("wall")),
        seconds(outcome.lowest("wall")),
        seconds(outcome.highest("wall")),
        seconds(outcome.median("cpu")),
        mebibytes(outcome.highest("memory")),
        memory_ratio(result, outcome),
        mebibytes(outcome.highest("memory_total")),
        remark(outcome),
    ]


HEADINGS = ["", "x floor", "x cpu", "median", "min", "max", "cpu", "memory", "x array", "total", ""]


def heading(machine: dict[str, Any]) -> list[str]:
    """When, what and where was measured."""
    at = f", commit {machine['commit']}" if machine.get("commit") else ""
    versions = (f"{name} {version}" for name, version in machine["packages"].items() if version != "not installed")
    return [
        f"{machine['date'][:16].replace('T', ' ')} UTC{at}, {machine['processor']}, {machine['cores']} cores, "
        f"Python {machine['python']}, size {machine['size']}, {machine['runs']} runs, "
        f"load {machine['load_average_at_start']:.1f} at start",
        ", ".join(versions),
    ]


def peers(results: Sequence[RowResult]) -> str:
    """The peers that ran, with the versions that their probes found."""
    found: dict[str, str] = {}
    for result in results:
        for outcome in result.outcomes:
            if not outcome.own and outcome.status != "not installed":
                found.setdefault(outcome.name, " ".join(f"{n} {v}".strip() for n, v in outcome.versions.items()))
    return ", ".join(f"{name} ({versions})" if versions else name for name, versions in sorted(found.items()))


def above_memory_goal(results: Sequence[RowResult]) -> list[str]:
    """Rows where this project's peak is above 1.3 times the array, the worst first."""
    found = []
    for result in results:
        for outcome in result.outcomes:
            times = result.memory_ratio(outcome) if outcome.own else None
            if times is not None and times > MEMORY_GOAL and outcome.name != "floor":
                name = result.row.name if outcome.name == "dicom_ml" else f"{result.row.name} ({outcome.name})"
                found.append((-times, f"{name} {times:.2f}"))
    return [said for _, said in sorted(found)]


def memory_text(results: Sequence[RowResult], machine: dict[str, Any]) -> str:
    """Which paths take more memory than they should; of forks and tiny arrays there is nothing to say."""
    if machine.get("quick") or not any(result.array for result in results):
        return ""
    above = above_memory_goal(results)
    return f"memory above {MEMORY_GOAL} times the array: " + (", ".join(above) if above else "none")


def text(results: Sequence[RowResult], machine: dict[str, Any]) -> str:
    """The table for a terminal: one block a row."""
    lines = [
        *heading(machine),
        f"peers: {peers(results) or 'none'}",
        "Only ratios inside one row of one run mean anything. memory: peak over what stood after imports; x array: in "
        "multiples of the array that is read or written.",
    ]
    for result in results:
        row = result.row
        goal = f"   goal {row.goal_text} ({row.compare})" if row.goal_text else ""
        lines += ["", f"{row.name}: {row.title}{goal}", f"  floor: {row.floor_text}"]
        table = [HEADINGS, *(cells(result, outcome) for outcome in result.outcomes)]
        widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS) - 1)]
        for line in table:
            shown = [line[0].ljust(widths[0])]
            shown += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
            lines.append("  " + "  ".join([*shown, line[-1]]).rstrip())
    if said := memory_text(results, machine):
        lines += ["", said]
    return "\n".join(lines)
