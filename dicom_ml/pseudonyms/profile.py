"""What the Basic Application Level Confidentiality Profile does to each attribute (PS3.15 Table E.1-1)."""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from importlib.resources import files
from typing import Literal

__all__ = ["action_of", "edition"]

#: Dummy value, empty, removed, UID replaced.
Action = Literal["D", "Z", "X", "U"]

#: Where the table leaves a choice by the attribute's type, the choice that suits every type.
_CHOICE: dict[str, Action] = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U": "U"}


@lru_cache(maxsize=1)
def _table() -> tuple[str, dict[int, Action], list[tuple[int, int, Action]]]:
    content = json.loads(zlib.decompress(files(__package__).joinpath("profile.json.z").read_bytes()))
    single: dict[int, Action] = {}
    masked: list[tuple[int, int, Action]] = []
    for name, rows in content["actions"].items():
        action = _CHOICE.get(name, name)
        for row in rows:
            if isinstance(row, list):
                masked.append((row[0], row[1], action))
            else:
                single[row] = action
    return content["edition"], single, masked


def edition() -> str:
    """Edition of the standard that the table is from."""
    return _table()[0]


def action_of(tag: int) -> Action | None:
    """What is done to an attribute; None where it stays."""
    _, single, masked = _table()
    found = single.get(tag)
    if found is not None:
        return found
    return next((action for base, mask, action in masked if tag & mask == base & mask), None)
