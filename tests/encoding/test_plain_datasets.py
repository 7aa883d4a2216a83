"""Data sets of plain values as bytes, against pydicom's writer."""

from __future__ import annotations

import warnings
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.charset import default_encoding
from pydicom.dataset import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicom_ml.encoding.plain_datasets import plain_bytes
from dicom_ml.encoding.writer import dataset_bytes
from tests.conftest import data_folder


def by_pydicom(dataset: Dataset, character_set: Any = None) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset, character_set or default_encoding)
    return buffer.getvalue()


TEXT = st.text(st.characters(codec="ascii", exclude_characters="\\", min_codepoint=32), max_size=20)
WIDE = st.text(st.characters(codec="utf-8", exclude_characters="\\^=", min_codepoint=32), max_size=20)
UID = st.lists(st.integers(1, 999).map(str), min_size=2, max_size=6).map(".".join)


def some(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(values, st.lists(values, max_size=4), st.none(), st.just(""))


VALUES = {
    "AE": some(TEXT), "CS": some(st.sampled_from(["YES", "NO", "ORIGINAL"])), "DA": some(st.just("20260102")),
    "TM": some(st.just("101112.5")), "DT": st.just("20260102101112"), "UI": some(UID), "UR": st.just("http://a/b"),
    "LO": some(WIDE), "SH": some(WIDE), "PN": some(WIDE), "LT": WIDE, "ST": WIDE, "UT": WIDE, "UC": some(WIDE),
    "DS": some(st.one_of(st.integers(-99, 99), st.decimals(-99, 99, places=3).map(str))),
    "IS": some(st.integers(-9999, 9999)),
    "US": some(st.integers(0, 65535)), "SS": some(st.integers(-32768, 32767)), "UL": some(st.integers(0, 2**32 - 1)),
    "SL": some(st.integers(-(2**31), 2**31 - 1)), "FD": some(st.floats(allow_nan=False)),
    "FL": some(st.floats(width=32, allow_nan=False)), "OB": st.binary(max_size=9), "OW": st.binary(max_size=9),
    "UN": st.binary(max_size=8),
    "AT": st.sampled_from([0x00100010, [0x00100010, 0x00100020]]), "US or SS": some(st.integers(0, 100)),
}  # fmt: skip


@st.composite
def datasets(draw: Any, depth: int = 0) -> Dataset:
    made = Dataset()
    for number in draw(st.lists(st.integers(1, 200), max_size=6, unique=True)):
        vr = draw(st.sampled_from([*VALUES, "SQ"] if depth < 2 else [*VALUES]))
        if vr == "SQ":
            value = draw(st.lists(datasets(depth + 1), max_size=3))
        else:
            value = draw(VALUES[vr])
        made.add(DataElement(0x33340000 + number, vr, value))
    if draw(st.booleans()):
        made.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 192", "ISO_IR 100", ["", "ISO 2022 IR 87"]]))
    if draw(st.booleans()):
        made.PixelRepresentation = draw(st.sampled_from([0, 1]))
    return made


@settings(max_examples=300, deadline=None)
@given(datasets(), st.sampled_from([None, "ISO_IR 192", "ISO_IR 100", ["", "ISO 2022 IR 87"]]))
def test_as_pydicom_writes_them(dataset, character_set):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = by_pydicom(dataset, character_set)
        except Exception:
            expected = None
        found = plain_bytes(dataset, character_set)
        assert found is None or found == expected
        if expected is not None:
            assert dataset_bytes(dataset, character_set) == expected


def test_the_plain_is_not_left_to_pydicom():
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99A", "Größe"
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientBirthDate, dataset.Rows = "Ä^B", "", 5
    dataset.ImageType, dataset.PixelSpacing, dataset.InstanceNumber = ["DERIVED", "PRIMARY"], [0.5, "1.250"], 3
    dataset.PixelRepresentation, dataset.PixelPaddingValue = 1, -5
    dataset.SegmentedPropertyTypeCodeSequence = [item, item]
    assert plain_bytes(dataset, None) == by_pydicom(dataset)


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_headers_of_real_files(shared_data):
    """Parsed, so that no element is left as it lay in the file, and written as pydicom writes them."""
    compared = plain = 0
    for path in sorted(p for p in shared_data.rglob("*") if p.is_file() and p.stat().st_size < 1 << 20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
                for element in dataset.iterall():
                    element.is_undefined_length = False
                expected = by_pydicom(dataset)
            except Exception:
                continue
            found = plain_bytes(dataset, None)
            compared += 1
            plain += found is not None
            assert found is None or found == expected, path
    assert compared > 100 and plain > 50, (compared, plain)
