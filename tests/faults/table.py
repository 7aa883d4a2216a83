"""The faults as a table in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.faults.registry import FAULTS, Changed, Fault, Removal, Set
from tests.faults.rooms import ROOMS

__all__ = ["table"]


def table() -> str:
    """A row for each protection of each fault; the same for several kinds of files makes one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    order = [room.__name__ for room in ROOMS]
    for one in sorted(FAULTS, key=lambda one: order.index(_check(one).__module__)):
        title, _, kind = one.name.partition(": ")
        for removal in one.removals:
            rows.setdefault((title, removal.protection, _removed(removal)), []).append(kind)
    lines = ["| Fault | Protection | Taken away in | Test |", "|---|---|---|---|"]
    for (title, protection, removed), kinds in rows.items():
        kinds = [kind for kind in kinds if kind]
        named = f"{title} ({', '.join(kinds)})" if kinds else title
        lines.append(f"| {named} | {protection} | {removed} | {_test(title)} |")
    return "\n".join(lines)


def _removed(removal: Removal) -> str:
    return ", ".join(dict.fromkeys(f"`{_place(remove)}`" for remove in removal.removes))


def _place(remove: Callable[..., Any]) -> str:
    if isinstance(remove, Changed):
        module = remove.function.__module__.removeprefix("dicom_ml.")
        return f"{module}: {remove.function.__qualname__}"
    if isinstance(remove, Set):
        return f"{remove.module.removeprefix('dicom_ml.')}: {remove.name}"
    return str(remove.__doc__ or remove.__name__).strip().partition(",")[0]


def _test(title: str) -> str:
    one: Fault = next(one for one in FAULTS if one.name.partition(": ")[0] == title)
    check = _check(one)
    return f"`{check.__module__.rpartition('.')[2]}.{check.__name__.lstrip('_')}`"


def _check(one: Fault) -> Any:
    return getattr(one.check, "func", one.check)
