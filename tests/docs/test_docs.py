"""Every Python block and every command of every page runs, in the order of the page."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import dicom_ml as dml
from dicom_ml.cli.program import _commands, _parser, main
from dicom_ml.encoding.codecs.jpeg2000 import _high_throughput
from dicom_ml.errors import DicomMLWarning
from tests.docs import pages
from tests.docs.conftest import phantoms
from tests.docs.given import write_structure_set
from tests.docs.pages import PAGES, ROOT, Block, blocks_of, commands_of, page_text

PYTHON = ("python", "py")
SHELL = ("sh", "")
NEEDS = {
    "README.md": ["monai", "lightning"],
    "docs/monai.md": ["monai"],
    "docs/lightning.md": ["monai", "lightning"],
    "docs/cohorts.md": ["torch"],
    "docs/slides.md": ["torch"],
    "docs/volumes.md": ["scipy"],
    "docs/segmentations.md": ["scipy"],
    "docs/command-line.md": ["matplotlib", "nibabel"],
}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


# ---------------------------------------------------------------------- running
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(page, place, monkeypatch, capsys):
    for name in NEEDS.get(page, []):
        pytest.importorskip(name)
    names = {"__name__": "__page__"}
    if page == "README.md":
        from tests.docs import readme

        names.update(readme.names(place, monkeypatch))
    if page == "docs/other-objects.md":
        write_structure_set(place / "rtstruct.dcm", dml.read_volume("series/"))
    if page == "docs/command-line.md" and _high_throughput() is None:
        pytest.skip("this imagecodecs knows no HTJ2K")
    monkeypatch.setenv("COLUMNS", "120")
    with warnings.catch_warnings():
        # what a page does not speak of has nothing to be warned of
        warnings.simplefilter("error", DicomMLWarning)
        for block in blocks_of(page):
            if block == phantoms():
                continue  # that has made what the pages work on
            if block.language in PYTHON:
                run_python(block, names)
            elif block.language in SHELL:
                run_commands(block, capsys)


def run_python(block: Block, names: dict) -> None:
    # lines of the page, so that a failure names them
    code = compile("\n" * (block.line - 1) + block.text, str(ROOT / block.page), "exec")
    if block.reason:
        return
    if block.raises:
        with pytest.raises(getattr(dml, block.raises)):
            exec(code, names)
        return
    exec(code, names)


def run_commands(block: Block, capsys) -> None:
    for arguments in commands_of(block):
        if block.reason or block.page == "README.md":
            if not {"...", "COMMAND"} & set(arguments):
                parse(arguments, block)
            continue
        status = main(arguments)
        said = capsys.readouterr()
        expected = 1 if "# ends with 1" in block.text else 0
        assert status == expected, f"{where(block)}: {arguments} ended with {status}: {said.err[-2000:]}"


def parse(arguments: list[str], block: Block) -> None:
    try:
        found, rest = _parser().parse_known_args(arguments)
    except SystemExit:
        raise AssertionError(f"{where(block)}: dicom-ml does not take {arguments}") from None
    assert not rest or getattr(found, "passes_on", False), f"{where(block)}: {rest} is not known"


# ---------------------------------------------------------------------- what is there
def test_every_command_has_an_example():
    shown = {arguments[0] for block in blocks_of("docs/command-line.md") for arguments in commands_of(block)}
    assert shown == {name for name, _ in _commands()}


def test_the_program_that_is_installed_is_the_one_that_pages_call():
    from dicom_ml import cli

    installed = [point.value for point in entry_points(group="console_scripts") if point.name == "dicom-ml"]
    if not installed:
        pytest.skip("dicom-ml is not installed")
    assert set(installed) == {"dicom_ml.cli:main"}

    assert cli.main is main


def test_every_public_name_is_spoken_of():
    text = "\n".join(page_text(page) for page in PAGES)
    unnamed = [name for name in dml.__all__ if not name.startswith("_") and not re.search(rf"\b{name}\b", text)]
    assert unnamed == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    for target in LINK.findall(page_text(page)):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path, _, part = target.partition("#")
        assert (folder / path).exists(), f"{page}: {target}"
        if part:
            assert part in anchors(os.path.relpath(folder / path, ROOT)), f"{page}: {target}"


def anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page_text(page), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_left_out_by_mistake(page):
    for block in blocks_of(page):
        assert block.language in (*PYTHON, *SHELL, "json", "yaml", "text", "sql"), where(block)
        if block.language in PYTHON:
            ast.parse(block.text)


def test_the_reference_holds_every_public_name_and_no_other():
    pytest.importorskip("monai")
    pytest.importorskip("lightning")
    listed = re.findall(r"^::: (\S+)$", page_text("docs/reference.md"), re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert {f"dicom_ml.{name}" for name in dml.__all__ if not name.startswith("_")} <= set(listed)
    for path in listed:
        module, _, name = path.rpartition(".")
        assert importlib.util.find_spec(module) is not None, path
        found = ast.parse(Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8"))
        assert module == "dicom_ml" or name in {getattr(node, "name", "") for node in found.body}, path


@pytest.mark.parametrize("module", ["transforms", "data", "callbacks", "cohorts"])
def test_the_reference_holds_the_names_of(module):
    pytest.importorskip("monai")
    pytest.importorskip("lightning")
    listed = set(re.findall(r"^::: \S+\.(\w+)$", page_text("docs/reference.md"), re.MULTILINE))
    names = set(importlib.import_module(f"dicom_ml.{module}").__all__)
    assert {name for name in names if not re.search(r"(D|Dict)$", name)} <= listed


def test_pages_are_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert page.removeprefix("docs/") in navigation, page


# ---------------------------------------------------------------------- the way of looking
def page_of(monkeypatch, text: str) -> list[Block]:
    monkeypatch.setattr(pages, "page_text", lambda page: text)
    return blocks_of("made up")


def test_a_block_that_fails_is_seen(monkeypatch):
    (block,) = page_of(monkeypatch, "text\n```python\nassert 1 == 2\n```\n")
    with pytest.raises(AssertionError):
        run_python(block, {})


def test_an_error_that_does_not_come_is_seen(monkeypatch):
    (block,) = page_of(monkeypatch, "<!-- block: raises SeriesError -->\n```python\n1\n```")
    with pytest.raises(pytest.fail.Exception):
        run_python(block, {})


def test_a_block_that_is_not_run_is_parsed(monkeypatch):
    (block,) = page_of(monkeypatch, "<!-- block: not run: network -->\n```python\nthis is no Python\n```")
    with pytest.raises(SyntaxError):
        run_python(block, {})


def test_only_known_reasons_keep_a_block_from_running(monkeypatch):
    with pytest.raises(AssertionError):
        page_of(monkeypatch, "<!-- block: not run: it is slow -->\n```python\n1\n```")


def test_a_command_that_fails_is_seen(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (block,) = page_of(monkeypatch, "```sh\ndicom-ml info nothing/\n```")
    with pytest.raises(AssertionError):
        run_commands(block, capsys)


def test_a_command_with_an_unknown_option_is_seen(monkeypatch, capsys):
    (block,) = page_of(monkeypatch, "<!-- block: not run: network -->\n```sh\ndicom-ml send out/ a --fast\n```")
    with pytest.raises(AssertionError):
        run_commands(block, capsys)
