"""Every fault is survived, and every check is seen to fail as soon as what protects from the fault is taken away."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

if os.name != "posix":
    pytest.skip("needs signals and resource limits", allow_module_level=True)

from tests.faults.registry import FAULTS, Changed, Fault, Lost, Removal, Scene
from tests.faults.rooms import ROOMS
from tests.faults.table import table

PLAIN = [pytest.param(one, id=one.name) for one in FAULTS]
REMOVED = [pytest.param(one, r, id=f"{one.name} | without: {r.protection}") for one in FAULTS for r in one.removals]


def _need(one: Fault) -> None:
    for package in one.needs:
        pytest.importorskip(package)


@pytest.mark.parametrize("one", PLAIN)
def test_nothing_is_lost(one, tmp_path):
    _need(one)
    one.check(Scene(tmp_path, None))


@pytest.mark.parametrize(("one", "removal"), REMOVED)
def test_without_its_protection_the_check_fails(one: Fault, removal: Removal, tmp_path, monkeypatch):
    _need(one)
    removal.apply(monkeypatch)
    with pytest.raises(Lost) as seen:
        one.check(Scene(tmp_path, removal))
    assert re.search(removal.seen, str(seen.value)), f"it fails, but not as it should: {seen.value}"


def test_every_fault_has_a_protection_that_can_be_removed():
    assert {_room(one) for one in FAULTS} == {room.__name__ for room in ROOMS}
    names = [one.name for one in FAULTS]
    assert len(set(names)) == len(names)
    assert [one.name for one in FAULTS if not one.removals] == []
    assert all(removal.seen and removal.removes for one in FAULTS for removal in one.removals)


def _room(one: Fault) -> str:
    return getattr(one.check, "func", one.check).__module__


def test_the_page_of_the_documentation_has_them_all():
    page = Path(__file__).parents[2] / "docs" / "faults.md"
    assert table() in page.read_text(encoding="utf-8"), "put the output of 'python -m tests.faults' there"


def test_a_protection_that_is_not_there_cannot_be_removed(monkeypatch):
    """Else a check could pass for its own counterpart once the code has changed."""
    with pytest.raises(LookupError, match="0 times"):
        Changed(_need, ("no such line", ""))(monkeypatch)
