"""The JSON file of a run: written after every row, so that a run that is ended can go on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import growth, page, report
from benchmarks.growth import Grown
from benchmarks.measure import RowResult
from benchmarks.registry import Row

#: What has to be the same for figures to stand in one table.
_SAME = ("python", "processor", "cores", "size", "packages")


class Record:
    """What was measured, and the files it is kept in.

    Parameters
    ----------
    machine : dict
        Of :func:`benchmarks.report.environment`.
    rows : mapping
        All rows, by their names, in the order of the table.
    """

    def __init__(self, machine: dict[str, Any], rows: Mapping[str, Row], json_file: Path | None, html: Path | None):
        self.machine, self._rows, self._json, self._html = machine, rows, json_file, html
        self._results: dict[str, RowResult] = {}
        self.grown: Grown = ()
        self.known_growth: list[RowResult] = []

    @property
    def results(self) -> list[RowResult]:
        """In the order of the table."""
        return [self._results[name] for name in self._rows if name in self._results]

    def resume(self) -> None:
        """Take over what the JSON file holds; raise :class:`SystemExit` where it belongs to something else."""
        if self._json is None:
            raise SystemExit("--resume needs --json FILE or --output FOLDER: the run that is to go on")
        if not self._json.is_file():
            return
        record = json.loads(self._json.read_text())
        if record.get("format") != report.FORMAT:
            raise SystemExit(f"{self._json} has another format; begin anew, without --resume")
        theirs = record["environment"]
        if other := [name for name in _SAME if theirs[name] != self.machine[name]]:
            raise SystemExit(
                f"{self._json} was measured with another {', '.join(other)}; figures of both do not belong in one "
                "table: begin anew, without --resume"
            )
        if theirs["commit"] != self.machine["commit"]:
            # Each row says when it was measured; the first line names all commits.
            known = [theirs["commit"], self.machine["commit"]]
            self.machine["commit"] = ", ".join(dict.fromkeys(part for one in known for part in one.split(", ")))
        for row in record["rows"]:
            if row["name"] in self._rows:
                self._results[row["name"]] = RowResult.from_json(row, self._rows[row["name"]])
        grown = growth.from_json(record.get("growth", ()), self._rows)
        self.known_growth = [result for result in grown if result.right]

    def has(self, row: Row) -> bool:
        """Whether a row is there with all its competitors, this project's right."""
        result = self._results.get(row.name)
        if result is None or not result.right:
            return False
        return {competitor.name for competitor in row.competitors} <= {outcome.name for outcome in result.outcomes}

    def add(self, result: RowResult) -> None:
        self._results[result.row.name] = result
        self.save()

    def save(self) -> None:
        if self._json:
            record = report.to_json(self.results, self.machine)
            if self.grown:
                record["growth"] = growth.to_json(self.grown)
            _write(self._json, json.dumps(record, indent=1))
        if self._html:
            _write(self._html, page.page(self.results, self.machine, self.grown))


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def load(files: Sequence[Path], rows: Mapping[str, Row]) -> tuple[list[RowResult], list[dict[str, Any]]]:
    """Rows of several files, later files first, and the machines they were measured on."""
    found: dict[str, RowResult] = {}
    machines = []
    for file in files:
        record = json.loads(file.read_text())
        if record.get("format") != report.FORMAT:
            raise SystemExit(f"{file} has another format; measure again")
        machines.append(record["environment"])
        for row in record["rows"]:
            if row["name"] in rows:
                found[row["name"]] = RowResult.from_json(row, rows[row["name"]])
    return [found[name] for name in rows if name in found], machines
