"""What became of each case: a marker in its folder, written at once and whole, and a file that tells of all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_ml.cohorts.cases import Case
from dicom_ml.encoding.halves import remove_left
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import EncodingError

__all__ = ["Outcome", "Results", "read_results"]

_DONE, _FAILED = ".done.json", ".failed.json"
_RUN, _ALL = ".cohort.json", "cohort.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes
    ----------
    name : str
        As :attr:`Case.name`.
    ok : bool
    reason : str
        Why it failed. It names no patient.
    """

    name: str
    ok: bool
    reason: str = ""


class Results:
    """The folder that a cohort's results go to: ``STUDY/SERIES/`` with the files of each series.

    Parameters
    ----------
    folder : path
    identity : str
        What model and settings the results come of. A folder takes those of one only.

    Raises
    ------
    EncodingError
        If the folder holds results of another model or other settings.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: str = "") -> None:
        self.folder = Path(folder)
        path = self.folder / _RUN
        if not path.exists():
            _write(path, {"identity": identity})
        known = (_read(path) or {}).get("identity")
        if known != identity:
            raise EncodingError(
                f"{self.folder} holds results of another model or of other settings; write elsewhere, or remove them"
            )

    def folder_of(self, case: Case) -> Path:
        """Where a case's files go."""
        return self.folder / case.name

    def is_done(self, case: Case) -> bool:
        """Whether the case was predicted from the files as they are now, and its results are whole."""
        marker = _read(self.folder_of(case) / _DONE)
        if marker is None or marker.get("stamp") != case.stamp():
            return False
        return all(_size(self.folder_of(case) / name) == size for name, size in marker["files"].items())

    def prepare(self, case: Case) -> Path:
        """The folder of a case that is to be predicted, without results of images that have changed."""
        folder = self.folder_of(case)
        marker = _read(folder / _DONE)
        if marker is not None:
            for name in marker["files"]:
                (folder / name).unlink(missing_ok=True)
            (folder / _DONE).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder)
        return folder

    def finish(self, case: Case, stamp: str, warned: Sequence[str] = ()) -> Outcome:
        """Note that a case is done: its files are those in its folder. ``warned`` is what deserves a look."""
        folder = self.folder_of(case)
        files = {name: _size(folder / name) for name in _visible(folder)}
        if not files:
            return self.fail(case, "the prediction wrote no file")
        about: dict[str, Any] = {
            "study_instance_uid": case.study_instance_uid,
            "series_instance_uid": case.series_instance_uid,
        }
        if warned:
            about["warnings"] = [_without_folders(text, case) for text in warned]
        _write(folder / _DONE, {**about, "stamp": stamp, "files": files})
        (folder / _FAILED).unlink(missing_ok=True)
        return Outcome(case.name, True)

    def fail(self, case: Case, reason: str) -> Outcome:
        """Note why a case could not be predicted; the next run tries it again."""
        about = {"study_instance_uid": case.study_instance_uid, "series_instance_uid": case.series_instance_uid}
        _write(self.folder_of(case) / _FAILED, {**about, "reason": _without_folders(reason, case)})
        return Outcome(case.name, False, reason)

    def summarize(self) -> dict[str, Any]:
        """Bring ``cohort.json`` up to date with the markers of all jobs that write here."""
        while True:
            found = read_results(self.folder)
            path = self.folder / _ALL
            if _read(path) == found:
                return found
            _write(path, found)  # and look again: another job may have finished meanwhile, and written before


def read_results(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What became of the cases whose results a folder holds, by their markers.

    Returns
    -------
    dict
        ``"done"`` and ``"failed"``, lists ordered by name; entries have ``"name"``, the UIDs of study and series, and
        ``"files"`` or ``"reason"``, and ``"warnings"`` where there were any.
    """
    done, failed = [], []
    for place in sorted(_folders(Path(folder))):
        name = place.relative_to(folder).as_posix()
        marker, failure = _read(place / _DONE), _read(place / _FAILED)
        if marker is not None:
            marker.pop("stamp", None)
            done.append({"name": name, **marker, "files": sorted(marker["files"])})
        elif failure is not None:
            failed.append({"name": name, **failure})
    return {"done": done, "failed": failed}


def _without_folders(text: str, case: Case) -> str:
    """A text with images by their file names only: the folders of an archive may be called after patients."""
    for folder in sorted({os.path.dirname(path) for path in case.image}, key=len, reverse=True):
        if folder.strip(os.sep):
            text = text.replace(folder + os.sep, "").replace(folder, "its folder")
    return text


def _folders(folder: Path) -> Iterable[Path]:
    for study in folder.iterdir() if folder.is_dir() else ():
        if study.is_dir() and not study.name.startswith("."):
            yield from (series for series in study.iterdir() if series.is_dir())


def _visible(folder: Path) -> list[str]:
    """Files below a folder, without hidden ones and those in hidden folders."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.relpath(os.path.join(where, name), folder) for name in names if not name.startswith(".")]
    return sorted(found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    save_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
