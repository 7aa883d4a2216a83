"""The measured table as text and as JSON."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from benchmarks.measure import Outcome, RowResult, Settings

# What decides how fast a peer decodes, besides the peer itself.
_SHOWN = (
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
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": _processor(),
        "cores": affinity,
        "load_average_at_start": os.getloadavg()[0],
        "size": str(settings.size),
        "runs": settings.runs,
        "packages": packages,
    }


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
    return {"format": 1, "environment": machine, "rows": [result.to_json() for result in results]}


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.3f} s"


def mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 2**20:.0f} MiB"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def remark(outcome: Outcome) -> str:
    """The last column: what went wrong, or that the result was checked."""
    if outcome.status == "ok":
        checked = sum(bool(run.get("checked")) for run in outcome.runs)
        said = f"right in {checked} of {len(outcome.runs)}" if checked else "nothing to check"
        rate = outcome.median("per_second")
        said = said if rate is None else f"{rate:.4g} a second; {said}"
        return f"{said}; {outcome.note}" if outcome.note else said
    if outcome.status == "not installed":
        return f"not installed ({outcome.error})"
    return f"{outcome.status.upper()}: {outcome.error}"


def cells(outcome: Outcome) -> list[str]:
    return [
        outcome.name,
        ratio(outcome.ratio_wall),
        ratio(outcome.ratio_cpu),
        seconds(outcome.median("wall")),
        seconds(outcome.lowest("wall")),
        seconds(outcome.highest("wall")),
        seconds(outcome.median("cpu")),
        mebibytes(outcome.highest("memory")),
        mebibytes(outcome.highest("memory_total")),
        remark(outcome),
    ]


HEADINGS = ["", "x floor", "x cpu", "median", "min", "max", "cpu", "memory", "total", ""]


def text(results: Sequence[RowResult], machine: dict[str, Any]) -> str:
    """The table for a terminal: one block a row."""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"size {machine['size']}, {machine['runs']} runs, load {machine['load_average_at_start']:.1f} at start",
        "Only ratios inside one row of one run mean anything. memory: peak over what stood after imports.",
    ]
    for result in results:
        row = result.row
        goal = f"   goal {row.goal_text} ({row.compare})" if row.goal_text else ""
        lines += ["", f"{row.name}: {row.title}{goal}", f"  floor: {row.floor_text}"]
        table = [HEADINGS, *(cells(outcome) for outcome in result.outcomes)]
        widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS) - 1)]
        for line in table:
            shown = [line[0].ljust(widths[0])]
            shown += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
            lines.append("  " + "  ".join([*shown, line[-1]]).rstrip())
    return "\n".join(lines)
