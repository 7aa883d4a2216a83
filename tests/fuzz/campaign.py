"""Damaged files by the thousand, read in a process that is watched: no crash, no hang, no memory out of proportion.

Run a long one with ``python -m tests.fuzz.campaign --minutes 10``; a finding is told by file, target and seed, and
``--file F --seed N`` reads that one again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import data_folder

__all__ = ["Outcome", "run", "seeds"]

LARGEST_SEED = 400_000
#: Seconds that a file may take, and bytes that it may take above what the process had.
MOST_SECONDS = 20
MOST_BYTES = 3 << 29


@dataclass
class Outcome:
    """What a campaign found."""

    tried: int = 0
    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0


def seeds(folder: Path | None = None, extra: Path | None = None, largest: int = LARGEST_SEED) -> list[tuple[Path, str]]:
    """Small good files, each with its target."""
    from tests.fuzz.targets import kind_of

    found = []
    for place in (folder or data_folder(), extra):
        for path in sorted(place.rglob("*")) if place is not None else ():
            if path.is_file() and 200 < path.stat().st_size <= largest:
                content = path.read_bytes()
                if content[128:132] == b"DICM" and (kind := kind_of(content)) is not None:
                    found += [(path, kind), (path, "validate")]
    return found


def run(jobs: list[tuple[Path, str, int]], deadline: float | None = None) -> Outcome:
    """Read damaged copies: ``(file, target, seed)`` each."""
    outcome = Outcome()
    start = 0
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "jobs.json"
        listing.write_text(json.dumps([[str(path), kind, seed] for path, kind, seed in jobs]))
        while start < len(jobs) and (deadline is None or time.monotonic() < deadline):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.campaign", "--jobs", str(listing), "--start", str(start)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=Path(__file__).resolve().parents[2],
                text=True,
            )
            assert process.stdout is not None
            last = start - 1
            for line in process.stdout:
                report = json.loads(line)
                last = report.pop("number")
                outcome.tried += 1
                outcome.slowest = max(outcome.slowest, report["seconds"])
                if report["result"] == "read":
                    outcome.read += 1
                elif report["result"] == "refused":
                    outcome.refused[report["error"]] += 1
                else:
                    outcome.findings.append(_named(jobs[last], report))
                if deadline is not None and time.monotonic() > deadline:
                    process.kill()
                    break
            status = process.wait()
            if last + 1 < len(jobs) and status not in (0, -signal.SIGKILL):
                assert process.stderr is not None
                words = process.stderr.read()[-1500:]
                outcome.tried += 1
                outcome.findings.append(
                    _named(jobs[last + 1], {"result": f"process ended with {status}", "error": words})
                )
                last += 1
            elif deadline is not None and time.monotonic() > deadline:
                break
            start = last + 1
    return outcome


def _named(job: tuple[Path, str, int], report: dict[str, Any]) -> dict[str, Any]:
    return {"file": str(job[0]), "target": job[1], "seed": job[2], **report}


# ---------------------------------------------------------------------- in the watched process
class _TooLong(BaseException):
    pass


def _alarm(*_: Any) -> None:
    raise _TooLong


def _work(listing: Path, start: int) -> None:
    from dicom_ml.errors import DicomMLError
    from tests.fuzz.mutations import mutate
    from tests.fuzz.targets import TARGETS

    warnings.simplefilter("ignore")
    import logging

    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _alarm)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs = json.loads(listing.read_text())
    with contextlib.suppress(Exception):  # what is loaded on first use counts as the program's own
        TARGETS[jobs[start][1]](Path(jobs[start][0]).read_bytes())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    kept: dict[str, bytes] = {}
    for number, (name, kind, seed) in enumerate(jobs):
        if number < start:
            continue
        content = kept.get(name) or kept.setdefault(name, Path(name).read_bytes())
        damaged = mutate(content, seed)
        begun = time.perf_counter()
        report: dict[str, Any] = {"number": number}
        signal.alarm(MOST_SECONDS)
        try:
            TARGETS[kind](damaged)
            report["result"] = "read"
        except DicomMLError as error:
            report |= {"result": "refused", "error": type(error).__name__}
            if not str(error).isprintable() or len(str(error)) > 1300:
                report |= {"result": "a long message", "error": str(error)[:500]}
        except _TooLong:
            report |= {"result": f"more than {MOST_SECONDS} s", "error": traceback.format_exc(limit=-6)}
        except MemoryError:
            report |= {"result": "memory", "error": traceback.format_exc(limit=-6)}
        except Exception as error:
            report |= {"result": f"{type(error).__name__}: {error}"[:300], "error": traceback.format_exc(limit=-6)}
        finally:
            signal.alarm(0)
        report["seconds"] = round(time.perf_counter() - begun, 3)
        print(json.dumps(report), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--target")
    parser.add_argument("--extra", type=Path)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=Path)
    parser.add_argument("--start", type=int, default=0)
    args = parser.parse_args()
    if args.jobs:
        _work(args.jobs, args.start)
        return
    if args.file:
        from tests.fuzz.mutations import mutate
        from tests.fuzz.targets import TARGETS, kind_of

        content = args.file.read_bytes()
        print(
            TARGETS[args.target or str(kind_of(content))](
                mutate(content, args.seed) if args.seed is not None else content
            )
        )
        return
    files = [(path, kind) for path, kind in seeds(extra=args.extra) if args.target in (None, kind)]
    deadline = time.monotonic() + 60 * args.minutes
    total, seed = Outcome(), args.first_seed
    seen: set[str] = set()
    while time.monotonic() < deadline:
        found = run([(path, kind, seed + i) for i in range(5) for path, kind in files], deadline)
        total.tried += found.tried
        total.read += found.read
        total.refused += found.refused
        total.slowest = max(total.slowest, found.slowest)
        for finding in found.findings:
            key = finding["target"] + finding["error"][-300:]
            if key not in seen:
                seen.add(key)
                total.findings.append(finding)
                print(json.dumps(finding, indent=1), flush=True)
        seed += 5
    print(f"{len(files)} files, {total.tried} damaged copies: {total.read} read, {dict(total.refused)} refused,")
    print(f"{len(total.findings)} kinds of findings, slowest {total.slowest:.1f} s")


if __name__ == "__main__":
    main()
