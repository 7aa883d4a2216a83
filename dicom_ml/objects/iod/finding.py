"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["SEVERITIES", "Finding", "sort_findings"]

#: From what a receiver may refuse to what is only worth knowing.
SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that a DICOM object does not do as the standard, or as sense, asks.

    Parameters
    ----------
    severity : {"error", "warning", "info"}
        ``error`` where the object breaks the standard or contradicts itself or its sources; ``warning`` where a reader
        may be misled; ``info`` otherwise.
    path : str
        The attribute by its keywords, items counted from 1, and its tag:
        ``SegmentSequence[2].SegmentLabel (0062,0005)``.
    message : str
        What was found. It names no patient.
    hint : str
        What to do.
    part, section : str
        Where the standard says so, such as ``PS3.3`` and ``C.8.20.2``.
    file : str
        The file, where several are checked.
    """

    severity: str
    path: str
    message: str
    hint: str = ""
    part: str = "PS3.3"
    section: str = ""
    file: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        text = f"{self.severity}: {where}{self.message}"
        if self.hint:
            text += f"; {self.hint}"
        if self.section:
            text += f" [{self.part} {self.section}]"
        return f"{self.file}: {text}" if self.file else text

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, by file, severity, path and message."""
    order = {name: rank for rank, name in enumerate(SEVERITIES)}
    return sorted(set(findings), key=lambda f: (f.file, order.get(f.severity, 9), f.path, f.message))
