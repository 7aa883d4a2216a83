"""The data that the pages work on, made once as the page on installation says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of


def phantoms() -> Block:
    """The block of the page on installation that makes the data."""
    return next(b for b in blocks_of("docs/install.md") if "write_ct_series" in b.text)


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page's block of the phantoms makes."""
    folder = tmp_path_factory.mktemp("docs")
    block = phantoms()
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(block.text, block.page, "exec"), {"__name__": "__page__"})
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(tried: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with that data, to work in."""
    folder = tmp_path / "work"
    shutil.copytree(tried, folder)
    monkeypatch.chdir(folder)
    return folder
