"""Content items: every value type to bytes and back, in every encoding, and what cannot be written."""

from __future__ import annotations

import io
import math

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

import dicom_ml as dml
from dicom_ml.codes import Code
from dicom_ml.objects.report import read_sr_tree
from dicom_ml.objects.report.item_writing import Encoder, decimal_string
from dicom_ml.objects.report.items import VALUE_TYPES, ContentItem, Graphic, Number, Reference, TemporalExtent

from .scenes import axial, group, source_on

NAME = Code("1", "99T", "A name")
VALUES = {
    "CONTAINER": None,
    "TEXT": "Größe\nin Zeilen",
    "NUM": Number(7.25, Code("mm", "UCUM", "millimeter"), None, "7.25"),
    "CODE": Code("2", "99T", "Ä value"),
    "DATETIME": "20240102101010",
    "DATE": "20240102",
    "TIME": "101010",
    "UIDREF": "1.2.3.4",
    "PNAME": "Ärztin^Anna",
    "SCOORD": Graphic("POLYLINE", np.array([[1.5, 2], [3, 4]]), "", "VOLUME"),
    "SCOORD3D": Graphic("POINT", np.array([[1.5, 2, 3]]), "1.2.3"),
    "TCOORD": TemporalExtent("POINT", (), (1.5, 2.0), ()),
    "COMPOSITE": Reference("1.2.3", "1.2.4"),
    "IMAGE": Reference("1.2.3", "1.2.5", (2, 3), (), ()),
    "WAVEFORM": Reference("1.2.3", "1.2.6", (), (), (1, 2)),
}


def document(*items: ContentItem) -> bytes:
    """A report with these items at its end."""
    report = dml.Report(source_on(axial()), [group()], evidence=())
    known = [Reference(r.sop_class_uid, r.sop_instance_uid, (), (), (), "1.9", "1.8")
             for i in items for w in i.walk() if isinstance(r := w.value, Reference)]  # fmt: skip
    report._extra = tuple(known)
    report._root.children.extend(items)
    return report._bytes


def test_there_are_fifteen_value_types():
    assert set(VALUES) == set(VALUE_TYPES) and len(VALUE_TYPES) == 15


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_every_value_type_comes_back(value_type):
    child = ContentItem("TEXT", NAME, "below", "HAS CONCEPT MOD", observed="20240102101010")
    item = ContentItem(value_type, NAME, VALUES[value_type], "CONTAINS", [child])
    if value_type == "CONTAINER":
        item.template, item.continuity = "99", "CONTINUOUS"
    assert read_sr_tree(document(item)).children[-1] == item


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_pydicom_reads_the_same(value_type):
    item = ContentItem(value_type, NAME, VALUES[value_type], "CONTAINS")
    ds = pydicom.dcmread(io.BytesIO(document(item))).ContentSequence[-1]
    assert ds.ValueType == value_type and ds.ConceptNameCodeSequence[0].CodeMeaning == "A name"
    keyword = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATE": "Date"}.get(value_type)
    if keyword:
        assert str(ds[keyword].value) == VALUES[value_type]
    elements = [e.tag for e in ds]
    assert elements == sorted(elements)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_every_transfer_syntax_is_read(syntax, undefined, tmp_path):
    data = document(*(ContentItem(t, NAME, VALUES[t], "CONTAINS") for t in VALUE_TYPES))
    ds = pydicom.dcmread(io.BytesIO(data))
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "other.dcm", ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian
    )
    assert read_sr_tree(tmp_path / "other.dcm") == read_sr_tree(data)


def test_undefined_lengths_are_read(tmp_path):
    data = document(*(ContentItem(t, NAME, VALUES[t], "CONTAINS") for t in VALUE_TYPES))
    ds = pydicom.dcmread(io.BytesIO(data))
    for element in ds.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    ds.save_as(tmp_path / "undefined.dcm")
    assert b"\xff\xff\xff\xff" in (tmp_path / "undefined.dcm").read_bytes()
    assert read_sr_tree(tmp_path / "undefined.dcm") == read_sr_tree(data)


def test_latin_1_is_read(tmp_path):
    ds = pydicom.dcmread(io.BytesIO(document(ContentItem("TEXT", NAME, "Größe", "CONTAINS"))))
    assert sum(1 for _ in ds.iterall())  # decodes every text
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.save_as(tmp_path / "latin.dcm")
    assert b"Gr\xf6\xdfe" in (tmp_path / "latin.dcm").read_bytes()
    assert read_sr_tree(tmp_path / "latin.dcm").children[-1].value == "Größe"


def test_only_ascii_declares_no_character_set():
    assert "SpecificCharacterSet" not in dml.Report(source_on(axial()), [group()]).dataset
    named = dml.Report(source_on(axial()), [group(tracking_id="Größe")]).dataset
    assert named.SpecificCharacterSet == "ISO_IR 192"


# ---------------------------------------------------------------------- numbers
@given(st.floats(-1e300, 1e300))
def test_decimal_strings_have_at_most_16_characters(value):
    text = decimal_string(value)
    assert len(text) <= 16
    assert math.isclose(float(text), value, rel_tol=1e-8)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back_exactly(value):
    data = Encoder().item(ContentItem("NUM", NAME, Number(value, Code("1", "UCUM", "no units")), "CONTAINS"))
    ds = pydicom.filereader.read_dataset(io.BytesIO(data), False, True)
    measured = ds.MeasuredValueSequence[0]
    exact = measured.get("FloatingPointValue", float(str(measured.NumericValue)))
    assert exact == value


# ---------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ContentItem("TEXT", NAME, " ", "CONTAINS"), "is empty"),
        (ContentItem("TEXT", NAME, "a\0b", "CONTAINS"), "control characters"),
        (ContentItem("UIDREF", NAME, "1.2.x", "CONTAINS"), "no UID"),
        (ContentItem("CODE", NAME, "x", "CONTAINS"), "Code was expected"),
        (ContentItem("NUM", NAME, Number(1.0, None), "CONTAINS"), "has no unit"),
        (ContentItem("NUM", NAME, Number(None, None), "CONTAINS"), "no qualifier"),
        (ContentItem("NUM", NAME, Number(math.nan, None), "CONTAINS"), "no finite value"),
        (ContentItem("SCOORD", NAME, Graphic("POINT", np.array([[1.0, 2, 3]])), "CONTAINS"), "2 coordinates"),
        (ContentItem("SCOORD", NAME, Graphic("POINT", np.array([[1.0, np.nan]])), "CONTAINS"), "finite"),
        (ContentItem("SCOORD", NAME, Graphic("POLYLINE", np.zeros((9000, 2))), "CONTAINS"), "at most 8191"),
        (ContentItem("SCOORD3D", NAME, Graphic("POINT", np.zeros((1, 3))), "CONTAINS"), "frame of reference"),
        (ContentItem("TABLE", NAME, None, "CONTAINS"), "TABLE cannot be written"),
        (ContentItem("", None, (1, 2), "INFERRED FROM"), "cannot be written"),
    ],
)
def test_what_cannot_be_said_is_refused(item, message):
    with pytest.raises((dml.EncodingError, dml.CodeError), match=message):
        Encoder().item(item)


# ---------------------------------------------------------------------- looking around
def test_find_and_show():
    root = read_sr_tree(document(*(ContentItem(t, NAME, VALUES[t], "CONTAINS") for t in VALUE_TYPES)))
    assert len(root.find("99T:1")) == 15
    assert [i.value_type for i in root.find("99T:1", value="99T:2")] == ["CODE"]
    assert root.first("99T:1", value_type="NUM").value.value == 7.25
    assert root.find(value=7.25, value_type="NUM")[0].name == NAME
    assert root.find("99T:1", relationship="HAS CONCEPT MOD") == []
    assert len(root.find(deep=False)) == len(root.children)
    text = str(root)
    assert "A name: Ä value" in text and "A name: 7.25 mm" in text and "A name: polyline of 2 points" in text
    assert len(text.splitlines()) == len(list(root.walk()))
