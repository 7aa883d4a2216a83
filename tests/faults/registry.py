"""Faults, what protects from them, and how it is seen that a check looks at the right thing.

A fault's check is a function: it lets the fault happen and looks at what is left. It runs as it is, and has to pass;
and once for every protection with that taken away, and has to say what is lost. So a check and its counterpart are one
and the same, and a protection that is renamed, moved or no longer needed makes its test fail.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import ROOT_FOR_EVER, Ended, run_apart, run_fresh

__all__ = ["FAULTS", "Changed", "Fault", "Lost", "Removal", "Scene", "Set", "fault", "holds", "without"]

Patch = pytest.MonkeyPatch


class Lost(AssertionError):
    """Something is lost, doubled, half-written or not told: what checks look for."""


def holds(condition: object, otherwise: str) -> None:
    """What has to be so whatever happens."""
    if not condition:
        raise Lost(otherwise)


@dataclass(frozen=True)
class Removal:
    """A protection, how it is taken away, and what the check then says."""

    protection: str
    removes: tuple[Callable[[Patch], None], ...]
    seen: str

    def apply(self, patch: Patch) -> None:
        for remove in self.removes:
            remove(patch)


@dataclass(frozen=True)
class Scene:
    """Where a check happens."""

    folder: Path
    removal: Removal | None

    def apart(self, action: Callable[..., Any], *values: Any, **fault: Any) -> Ended:
        """Run in a process of its own, which meets a fault (see :func:`run_apart`), and is as unprotected as this."""
        ended = run_apart(action, values, self.removal.apply if self.removal else None, **fault)
        if ended.error == ROOT_FOR_EVER:
            pytest.skip(ROOT_FOR_EVER)
        return ended

    def fresh(self, action: Callable[..., Any], *values: Any, environment: dict[str, str]) -> Ended:
        """Run in an interpreter of its own, started under an environment."""
        return run_fresh(action, values, self.removal.apply if self.removal else None, environment)


@dataclass(frozen=True)
class Fault:
    name: str
    check: Callable[[Scene], None]
    removals: tuple[Removal, ...]
    needs: tuple[str, ...] = ()


FAULTS: list[Fault] = []


def without(protection: str, *removes: Callable[[Patch], None], seen: str) -> Removal:
    """``protection`` in words for a table; ``seen``: what the check says without it (a regular expression)."""
    return Removal(protection, removes, seen)


def fault(title: str, /, *removals: Removal, needs: tuple[str, ...] = (), **values: Any) -> Callable[..., Any]:
    """Register a check; ``values`` are further arguments of it."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        FAULTS.append(Fault(title, partial(check, **values) if values else check, removals, needs))
        return check

    return register


# ---------------------------------------------------------------------- ways to take a protection away
@dataclass(frozen=True)
class Set:
    """A name of a module is given another value."""

    module: str
    name: str
    value: Any

    def __call__(self, patch: Patch) -> None:
        patch.setattr(f"{import_module(self.module).__name__}.{self.name}", self.value)


class Changed:
    """A function as if its source read otherwise; ``changes`` are pairs of what stands there, once, and what instead.

    The code is replaced, not the function, so wherever it was imported to it is the changed one.
    """

    def __init__(self, function: Callable[..., Any], *changes: tuple[str, str]) -> None:
        self.function, self.changes = function, changes

    def __call__(self, patch: Patch) -> None:
        function: Any = inspect.unwrap(self.function)
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in self.changes:
            if source.count(old) != 1:
                raise LookupError(
                    f"{function.__qualname__} holds {source.count(old)} times, not once: {old!r}; where the protection "
                    "reads otherwise now, change what its removal in tests/faults replaces"
                )
            source = source.replace(old, new)
        (definition,) = ast.parse(source).body
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list = []
        names = ", ".join(function.__code__.co_freevars)
        maker = ast.parse(f"def make({names}):\n    return {definition.name}")
        maker.body[0].body.insert(0, definition)  # type: ignore[attr-defined]
        namespace: dict[str, Any] = {}
        exec(compile(ast.fix_missing_locations(maker), inspect.getfile(function), "exec"), namespace)
        made = namespace["make"](*[None] * len(function.__code__.co_freevars))
        patch.setattr(function, "__code__", made.__code__)
