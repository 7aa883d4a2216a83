"""The index of what a run wrote: a line a file while it goes on, one JSON file at its end.

Every process appends to a journal of its own, so none waits for another and a killed run loses nothing. At the end
one process merges the journals into the index. Neither holds patient data: file names, UIDs and names of algorithms.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_ml.bridge.results import Written
from dicom_ml.encoding.writer import save_bytes

__all__ = ["INDEX_NAME", "Journal", "merge_journals", "read_index"]

#: Name of the index of segmentations.
INDEX_NAME = "segmentations.json"
_JOURNALS = ".{}-rank-{}.jsonl"


class Journal:
    """What one process has to say of the files of a folder."""

    def __init__(self, folder: Path, rank: int, facts: Mapping[str, Any], name: str = "segmentations") -> None:
        self.folder = folder
        self.path = folder / _JOURNALS.format(name, rank)
        self.facts = dict(facts)

    def add(self, written: Written) -> None:
        """Note a file that is complete."""
        self._append(
            {
                "file": os.path.relpath(written.path, self.folder),
                "sop_instance_uid": written.sop_instance_uid,
                "series_instance_uid": written.series_instance_uid,
                "source_series_instance_uid": written.source_series_instance_uid,
                **self.facts,
            }
        )

    def add_failure(self, source_series_instance_uid: str, why: str) -> None:
        """Note a prediction that could not be written."""
        self._append({"failed": source_series_instance_uid, "why": why})

    def add_empty(self, source_series_instance_uid: str) -> None:
        """Note a source on which nothing was found, of a kind of object that cannot say so."""
        self._append({"empty": source_series_instance_uid})

    def _append(self, entry: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")


def read_index(folder: str | os.PathLike[str], name: str = "segmentations") -> dict[str, Any]:
    """The index of a folder: ``{"files": [...], "failures": [...]}``; empty lists where there is none.

    Where there are any, ``"empty"`` lists sources on which nothing was found, and that have no file therefore.
    """
    path = Path(folder) / f"{name}.json"
    if not path.exists():
        return {"files": [], "failures": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def merge_journals(folder: Path, name: str = "segmentations") -> dict[str, Any]:
    """Bring the index of a folder up to date with all journals in it, and remove these; without any, do nothing."""
    before = read_index(folder, name)
    journals = sorted(folder.glob(_JOURNALS.format(name, "*")))
    if not journals:
        return before
    files = {entry["file"]: entry for entry in before["files"]}
    failures = {entry["failed"]: entry for entry in before["failures"]}
    empty = set(before.get("empty", ()))
    for journal in journals:
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a run that was killed
            if "failed" in entry:
                failures[entry["failed"]] = entry
            elif "empty" in entry:
                empty.add(entry["empty"])
                failures.pop(entry["empty"], None)
            else:
                files[entry["file"]] = entry
                failures.pop(entry["source_series_instance_uid"], None)
    index: dict[str, Any] = {
        "files": [files[one] for one in sorted(files) if (folder / one).exists()],
        "failures": [failures[one] for one in sorted(failures)],
    }
    empty -= {entry["source_series_instance_uid"] for entry in index["files"]}
    if empty:
        index["empty"] = sorted(empty)
    save_bytes(folder / f"{name}.json", (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
    for journal in journals:
        journal.unlink(missing_ok=True)
    return index
