"""What is done of a run: one small file a step, written at once, that says from what it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import FileError

__all__ = ["Marker", "digest_of", "file_digests", "read_marker", "write_json", "write_marker", "write_text"]

BEGUN, DONE = "begun", "done"


@dataclass
class Marker:
    """What the state file of a step holds.

    Attributes
    ----------
    input : str
        Digest of all that the step was made from.
    status : str
        ``"begun"`` or ``"done"``.
    outputs : dict of str to str
        Digest of each file that it made, by its path in the run's folder.
    facts : dict
        What later steps, and the page, need to know of it.
    seconds : float
        How long it took, over all its starts.
    starts : int
    """

    input: str
    status: str = BEGUN
    outputs: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    starts: int = 1

    @property
    def result(self) -> str:
        """Digest of what came out."""
        return digest_of({"outputs": self.outputs, "facts": self.facts})


def digest_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def file_digests(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files, by their path below ``root``."""
    found = {}
    for path in sorted(files):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        found[path.relative_to(root).as_posix()] = digest.hexdigest()
    return found


def read_marker(path: Path) -> Marker | None:
    """The marker of a step; None where there is none.

    Raises
    ------
    FileError
        If the file holds something else.
    """
    if not path.exists():
        return None
    try:
        return Marker(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise FileError(f"{path} is no state of a step ({error}); remove it, and the step is done again") from error


def write_marker(path: Path, marker: Marker) -> None:
    """Write a marker; a reader sees the old one or the new one, never a part."""
    write_json(path, asdict(marker))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that reads well and is the same for the same value, all at once."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, all at once."""
    save_bytes(path, text.encode("utf-8"))
