"""Of objects broken in one way each, every one is found; and where a judge is asked, it is shown what it sees."""

from __future__ import annotations

from functools import cache

import pytest

import dicom_ml as dml
from tests.objects.segmentation.scenes import axial, source_on

from .broken import BROKEN
from .foreign import contours, presentation_state
from .made import dataset

FOREIGN = {"gsps": presentation_state, "rtstruct": contours}


def valid(kind, folder):
    if kind in FOREIGN:
        return FOREIGN[kind](), source_on(axial())
    ds, source = dataset(kind, folder)
    return ds, source_on(axial()) if kind == "selection slices" else source


def found_in(x, sources):
    return [f for f in dml.validate(x, sources=sources) if f.severity != "info"]


@cache
def found_before(kind, with_sources, folder):
    ds, source = valid(kind, folder)
    return {(f.path, f.message) for f in found_in(ds, source if with_sources else None)}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_objects_are_valid(kind):
    assert [str(f) for f in found_in(FOREIGN[kind](), None)] == []
    assert [str(f) for f in found_in(*valid(kind, None))] == []


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_found(name, made_folder, tmp_path):
    broken = BROKEN[name]
    ds, source = valid(broken.kind, made_folder)
    sources = source if source is not None and broken.with_sources else None
    before = found_before(broken.kind, sources is not None, made_folder)
    broken.change(ds)
    found = [f for f in found_in(ds, sources) if (f.path, f.message) not in before]
    text = "\n".join(map(str, found))
    assert broken.words in text, text or "nothing was found"
    path = tmp_path / "broken.dcm"
    ds.save_as(path, enforce_file_format=False)  # which would repair the head of the file
    in_file = "\n".join(map(str, found_in(path, sources)))
    assert broken.words in in_file, in_file or "nothing was found in the file"
