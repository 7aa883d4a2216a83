"""Pages of the documentation, and what of them can be run.

A comment right before a block says what is special of it::

    <!-- block: not run: network -->        it is parsed only, for one of the REASONS
    <!-- block: raises SeriesError -->      it has to end in that error
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "REASONS", "ROOT", "Block", "blocks_of", "commands_of", "page_text"]

ROOT = Path(__file__).parents[2]
#: Every page, and the README.
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
#: Why a block is not run.
REASONS = ("network", "GPU", "long training", "waits for a person")

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+) *(?P<language>[\w-]*)[^\n]*$")
_MARK = re.compile(r"^ *<!-- block: (?P<what>.*?) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page : str
    line : int
        Of its first line of text, from 1.
    language : str
    text : str
    reason : str
        Why it is not run; empty where it is.
    raises : str
        Name of the error that it ends in.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str = ""
    raises: str = ""


def page_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page_text(page).split("\n")
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        mark = _MARK.match(lines[at - 1]) if at else None
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == opened["ticks"])
        width = len(opened["indent"])
        text = "\n".join(line[width:] for line in lines[at + 1 : end])
        found.append(Block(page, at + 2, opened["language"], text, **_meaning(page, mark)))
        at = end + 1
    return found


def _meaning(page: str, mark: re.Match[str] | None) -> dict[str, str]:
    if mark is None:
        return {}
    kind, _, rest = mark["what"].partition(" ")
    if kind == "raises":
        return {"raises": rest}
    assert mark["what"].startswith("not run: "), f"{page}: a block is 'not run: ...' or 'raises ...', not {mark[0]}"
    reason = mark["what"].removeprefix("not run: ")
    assert reason in REASONS, f"{page}: {reason!r} is none of {REASONS}"
    return {"reason": reason}


def commands_of(block: Block) -> list[list[str]]:
    """Arguments of each ``dicom-ml`` of a block; remarks beside a command stand after a # or three spaces."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    found = []
    for line in joined.split("\n"):
        text = re.split(r" {3,}", line.strip())[0]
        if text.startswith("dicom-ml "):
            found.append(shlex.split(text, comments=True)[1:])
    return found
