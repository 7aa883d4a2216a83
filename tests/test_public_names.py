"""The public names: lazy, complete, and cheap to import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dicom_ml as dml

HEAVY = ("torch", "monai", "lightning", "matplotlib", "scipy", "nibabel", "SimpleITK", "imagecodecs")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_import_brings_in_nothing_heavy():
    loaded = json.loads(run_python("import sys, json, dicom_ml; print(json.dumps(sorted(sys.modules)))"))
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


@pytest.mark.parametrize("module", ["errors", "geometry", "codes", "source", "encoding", "objects", "reading"])
def test_core_never_imports_torch(module):
    loaded = json.loads(run_python(f"import sys, json, dicom_ml.{module}; print(json.dumps(sorted(sys.modules)))"))
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "monai", "lightning"}


def test_import_costs_less_than_a_twentieth_of_a_second():
    code = "import numpy, pydicom, time; t = time.perf_counter(); import dicom_ml; print(time.perf_counter() - t)"
    # The best of a few, because a busy machine says nothing about the import.
    assert min(float(run_python(code)) for _ in range(5)) < 0.05


def test_every_public_name_resolves():
    for name in dml.__all__:
        assert getattr(dml, name) is not None, name
        assert name in dir(dml)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(dml.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {a.asname: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert seen == dml._HOMES


def test_unknown_name():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = dml.no_such_thing
