"""What the package writes has no fault that validation knows."""

from __future__ import annotations

import pydicom
import pytest

import dicom_ml as dml

from .made import KINDS, written


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_found_in_what_is_written(name, made_folder):
    path, source = written(name, made_folder)
    found = [str(f) for f in dml.validate(path, sources=source) if f.severity != "info"]
    assert found == []


@pytest.mark.parametrize("name", ["seg binary", "slide seg binary", "map", "report regions", "annotations"])
def test_data_sets_in_memory_are_as_files(name, made_folder):
    path, source = written(name, made_folder)
    ds = pydicom.dcmread(path)
    before = ds.to_json_dict()
    assert dml.validate(ds, sources=source) == dml.validate(path, sources=source)
    assert dml.validate(path.read_bytes()) == dml.validate(path)
    assert ds.to_json_dict() == before  # and are left as they were
