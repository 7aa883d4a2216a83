"""The conformance statement says what the code does."""

from __future__ import annotations

import os
import re
import sys
import warnings
from importlib import util
from pathlib import Path

import pytest
from pydicom import Dataset

import dicom_ml as dml
from dicom_ml.encoding import limits
from dicom_ml.encoding.codecs.jpeg2000 import _high_throughput
from dicom_ml.encoding.sop_classes import STORAGE
from dicom_ml.errors import DicomMLWarning
from dicom_ml.source import COPIED_KEYWORDS
from tests.docs.pages import ROOT, page_text
from tests.reading._make import Series, enhanced, ramp, write


def tool():
    spec = util.spec_from_file_location("conformance_tables", ROOT / "tools" / "conformance_tables.py")
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    return tool()


@pytest.fixture(scope="module")
def objects(tables) -> list[Dataset]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DicomMLWarning)
        return [made.dataset for made in tables.made_objects()]


#: The table of what is written is that of the newest codecs, which have HTJ2K (none for Python 3.10).
newest = pytest.mark.skipif(_high_throughput() is None, reason="this imagecodecs knows no HTJ2K")


@newest
def test_tables_are_those_that_the_code_makes(tables):
    text = page_text("docs/conformance.md")
    assert tables.renewed(text) == text, "run python tools/conformance_tables.py"


@newest
def test_a_table_that_differs_is_seen(tables):
    text = page_text("docs/conformance.md")
    changed = text.replace("| SEG binary | yes |", "| SEG binary |  |")
    assert changed != text and tables.renewed(changed) != changed


def test_no_object_holds_private_attributes(objects):
    assert [element for ds in objects for element in ds.iterall() if element.tag.is_private] == []


def test_no_attribute_of_patient_or_trial_is_written_that_the_table_lacks(objects):
    found = {element.keyword for ds in objects for element in ds if element.tag.group in (0x0010, 0x0012)}
    assert found and found <= set(COPIED_KEYWORDS)


def test_every_written_class_has_a_definition_that_validates(tables):
    for line in tables.sop_classes().split("\n")[2:]:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert not cells[3] or cells[4], f"{cells[0]} is written, and nothing says what it must hold"


@pytest.mark.parametrize("multiframe", ["2.1", "2.2", "4.1", "4.4", "130", "128.1"])
def test_multiframe_images_of_every_listed_class_are_read(tables, tmp_path, multiframe):
    uid = STORAGE + multiframe
    assert uid in tables._VOLUMES
    modality = {"2": "CT", "4": "MR"}.get(multiframe[0], "PT")
    stored = ramp()
    ds = enhanced(Series(stored, modality=modality, rescale=(2.0, 1.0)), frames=[3, 0, 4, 1, 2])
    ds.SOPClassUID = uid
    volume = dml.read_volume(write(ds, tmp_path / "image.dcm"), units="rescaled")
    assert (volume.array == 2 * stored.astype("float32") + 1).all()


def test_characters_beyond_the_default_repertoire_are_declared(tables):
    segment = dml.Segment("Os médian", "SCT:272673000", "SCT:123037004", dml.Algorithm("Net", "1"))
    mask = (tables.volume().array > 0).astype("uint8")
    said = dml.Segmentation.from_array(mask, source=tables.volume(), segments=[segment]).dataset
    assert said.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in tables.segmentation("binary").dataset


def test_limits_are_told_with_their_defaults():
    told = dict(re.findall(r"^\| `(DICOM_ML_\w+)` \| (\d+) \|", page_text("docs/hostile.md"), re.MULTILINE))
    known = {x.variable: str(x.default) for x in vars(limits).values() if isinstance(x, limits.Limit)}
    assert told == known


def test_every_variable_of_the_environment_is_told():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")) + page_text("README.md")
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "dicom_ml").rglob("*.py")))
    used = set(re.findall(r"\"(DICOM_ML_[A-Z_]+)\"", code)) - {"DICOM_ML_0"}
    assert used and not [name for name in used if name not in text]


def test_extras_are_told():
    if sys.version_info < (3, 11):
        pytest.skip("needs tomllib")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = set(re.findall(r"^\| `(\w+)` \|", page_text("docs/install.md"), re.MULTILINE))
    assert told == set(project["optional-dependencies"]) - {"all", "test", "judges", "dev"}


def test_pages_name_no_machine():
    home = os.path.expanduser("~")
    for path in (ROOT / "docs").rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert home not in text.split() and not re.search(r"(?<![\w.:/-])/(tmp|home|work|root)/", text), path


@newest
def test_the_tool_checks_without_writing(tables, monkeypatch, capsys):
    before = Path(tables.PAGE).read_bytes()
    monkeypatch.setattr(sys, "argv", ["conformance_tables.py", "--check"])
    assert tables.main() == 0
    assert Path(tables.PAGE).read_bytes() == before
