"""The notebooks run from nothing, and show what they showed when they were committed."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ["quick_start", "ct_segmentation", "slide_classification", "reading_anybodys_objects"]
NEEDS = {"ct_segmentation": ["torch", "monai", "lightning"], "slide_classification": ["torch"]}
#: A picture's limit is what keeps the repository small.
MOST_PNG, MOST_TEXT = 60_000, 2_000
#: What would tell of the machine or of a person, and what has gone wrong.
PRIVATE = re.compile(
    r"/(tmp|home|root|work|Users|usr|opt|var)/|[A-Z]:\\|PatientName|PatientID|\^|\x1b|Traceback|Warning"
)


def load(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")


def pictures(cell):
    return [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_was_run_in_order_and_is_short(name):
    notebook = load(name)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(pictures(cell) for cell in cells)
    for cell in cells:
        assert not cell.metadata
        for out in cell.outputs:
            assert out.output_type in ("stream", "display_data", "execute_result")
            assert out.get("name", "stdout") == "stdout", out.text
            text = out.get("text", "") + out.get("data", {}).get("text/plain", "")
            assert not PRIVATE.search(text), text
            assert set(out.get("data", {})) <= {"text/plain", "image/png"}
        assert len(printed(cell)) <= MOST_TEXT
        assert all(len(base64.b64decode(data)) <= MOST_PNG for data in pictures(cell))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_the_same(name, tmp_path, monkeypatch):
    for package in NEEDS.get(name, []):
        pytest.importorskip(package)
    for variable in ("DICOM_ML_TEST_DATA", "PYTHONWARNINGS", "MPLBACKEND"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    committed, run = load(name), load(name)
    for cell in code_cells(run):
        cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(
        run, timeout=300, kernel_name="python3", resources=where
    ).execute()  # an error in a cell is one here
    for before, after in zip(code_cells(committed), code_cells(run), strict=True):
        assert words(printed(before)) == words(printed(after))
        assert len(pictures(before)) == len(pictures(after))


def words(text):
    """What is printed, without numbers, whose last figures differ between machines."""
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", "#", text)).strip()
