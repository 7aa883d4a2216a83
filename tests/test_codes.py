"""Coded concepts: what people write, what files hold, and which of them are the same."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as pydicom_codes
from pydicom.sr.coding import Code as PydicomCode

from dicom_ml.codes import (
    Code,
    code_from_dataset,
    code_to_dataset,
    find_code,
    lookup_meaning,
    parse_code,
    parse_unit,
)
from dicom_ml.errors import CodeError

LIVER = Code("10200004", "SCT", "Liver")


def item(**elements: str) -> Dataset:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


# --- parsing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "SCT:10200004",
        " sct : 10200004 ",
        "SCT:10200004|Liver",
        ("10200004", "SCT"),
        ("10200004", "SCT", "Liver"),
        ["10200004", "SCT", "Liver", None],
        PydicomCode("10200004", "SCT", "Liver"),
        pydicom_codes.SCT.Liver,
        LIVER,
        item(CodeValue="10200004", CodingSchemeDesignator="SCT", CodeMeaning="Liver"),
        item(CodeValue="10200004", CodingSchemeDesignator="SCT"),
    ],
    ids=repr,
)
def test_every_spelling_of_a_code(written):
    code = parse_code(written)
    assert (code.value, code.scheme, code.meaning, code.version) == ("10200004", "SCT", "Liver", None)


@pytest.mark.parametrize(
    ("short", "meaning"),
    [
        ("SCT:123037004", "Anatomical Structure"),
        ("SCT:39607008", "Lung"),
        ("SCT:44029006", "Left lung"),
        ("SCT:27925004", "Nodule"),
        ("SCT:84640000", "Nucleus"),
        ("SCT:955009", "Bronchus"),
        ("SCT:64033007", "Kidney"),
        ("SCT:86049000", "Neoplasm, Primary"),
        ("SCT:17621005", "Normal"),
        ("SCT:81827009", "Diameter"),
        ("SRT:T-28000", "Lung"),
        ("SRT:M-03010", "Nodule"),
        ("DCM:113076", "Segmentation"),
        ("NCIt:C45992", "Subtlety score"),
        ("RadLex:RID36042", "Malignancy"),
        ("99LIDCQIICR:903", "3 out of 5 (Indeterminate Likelihood)"),
        ("UCUM:mm2", "square millimeter"),
        ("LN:18748-4", "Diagnostic Imaging Report"),
    ],
)
def test_meanings_are_looked_up(short, meaning):
    assert parse_code(short).meaning == meaning


def test_a_private_code_brings_its_meaning():
    code = parse_code("99LAB:42|Odd: shadow")
    assert code == Code("42", "99LAB") and code.meaning == "Odd: shadow"


def test_a_version_is_kept():
    assert parse_code(("10200004", "SCT", "Liver", "2024")).version == "2024"


def test_a_value_may_hold_a_colon():
    assert parse_code("MDC:7:1289").value == "7:1289"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("liver", "did you mean 'SCT:10200004"),
        ("nonsense", "'SCHEME:VALUE' was expected"),
        ("SCT:", "'SCHEME:VALUE' was expected"),
        ("SCT:10200004|", "after the bar"),
        ("99LAB:42", "give its meaning"),
        ("SCT:1", "no meaning is known"),
        (("SCT", "10200004", "Liver"), "scheme first"),
        (("", "SCT", "Liver"), "needs a value"),
        ((10200004, "SCT", "Liver"), "value is text, found int"),
        (("1", "2", "3", "4", "5"), "found tuple"),
        (42, "found int"),
        (None, "found NoneType"),
        (Dataset(), "no code value"),
        ("UCUM:furlongs", "not a unit"),
    ],
)
def test_errors_teach(wrong, says):
    with pytest.raises(CodeError, match=says):
        parse_code(wrong)


def test_a_meaning_may_be_missing_when_reading():
    assert parse_code("99LAB:42", need_meaning=False).meaning == ""


# --- the same concept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [("T-62000", "10200004"), ("T-28000", "39607008"), ("M-03010", "27925004")])
@pytest.mark.parametrize("scheme", ["SRT", "SNM3", "99SDM"])
def test_srt_and_sct_are_one_concept(scheme, old, new):
    a, b = Code(old, scheme, "one"), Code(new, "SCT", "another")
    assert a == b and hash(a) == hash(b) and len({a, b}) == 1
    assert (a.sct.value, a.sct.scheme, a.sct.meaning) == (new, "SCT", "one")
    assert b.sct is b


def test_an_srt_code_without_a_successor_stays():
    code = Code("F-61FDB", "SRT", "Radiopharmaceutical agent")
    assert code.sct is code and code == Code("F-61FDB", "SNM3") and code != LIVER


def test_meaning_and_version_do_not_count():
    assert Code("10200004", "SCT", "Liver structure", "2020") == LIVER
    assert Code("10200004", "99SCT", "Liver") != LIVER
    assert LIVER != "SCT:10200004"


def test_scheme_spelling_does_not_count():
    assert Code("RID36042", "RadLex") == Code("RID36042", "RADLEX")


def test_equal_to_what_other_packages_hold():
    theirs = PydicomCode("T-62000", "SRT", "Liver")
    assert theirs == LIVER and LIVER == theirs
    assert hash(LIVER) == hash(PydicomCode("10200004", "SCT", "Liver"))
    assert item(CodeValue="T-62000", CodingSchemeDesignator="SRT") == LIVER
    assert LIVER != Dataset()


def test_two_spellings_of_an_annotated_unit():
    assert Code("{SUVbw}g/ml", "UCUM") == parse_unit("g/ml{SUVbw}")
    assert Code("{cells}/mm2", "UCUM") != Code("/mm2", "UCUM")


def test_codes_can_be_pickled():
    assert pickle.loads(pickle.dumps(LIVER)) == LIVER


# --- units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value", "meaning"),
    [
        ("mm", "mm", "millimeter"),
        ("UCUM:mm", "mm", "millimeter"),
        ("mm^2", "mm2", "square millimeter"),
        ("mm²", "mm2", "square millimeter"),
        ("µm", "um", "micrometer"),
        ("HU", "[hnsf'U]", "Hounsfield unit"),
        ("[hnsf'U]", "[hnsf'U]", "Hounsfield unit"),
        ("%", "%", "percent"),
        ("", "1", "no units"),
        ("1", "1", "no units"),
        ("millimeter", "mm", "millimeter"),
        ("{SUVbw}g/ml", "g/ml{SUVbw}", "Standardized Uptake Value body weight"),
        ("mL", "ml", "milliliter"),
        ("10*3/ul", "10*3/ul", "10*3/ul"),
        ("{cells}/mm2", "{cells}/mm2", "{cells}/mm2"),
        ("um2/ms", "um2/ms", "um2/ms"),
        ("mm|Millimetre", "mm", "Millimetre"),
        (("mm", "UCUM", "millimetre"), "mm", "millimetre"),
    ],
)
def test_units(written, value, meaning):
    unit = parse_unit(written)
    assert (unit.value, unit.scheme, unit.meaning) == (value, "UCUM", meaning)


@pytest.mark.parametrize("wrong", ["furlongs", "mm/ss", "mm mm", "mm2/", "{}", "kk", "mm\\cm"])
def test_not_a_unit(wrong):
    with pytest.raises(CodeError, match="not a unit"):
        parse_unit(wrong)


# --- by meaning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meaning", "short"),
    [
        ("liver", "SCT:10200004"),
        ("Lungs", "SCT:39607008"),
        ("left_lung", "SCT:44029006"),
        ("tumour", "SCT:108369006"),
        ("adrenal gland", "SCT:23451007"),
        ("nuclei", "SCT:84640000"),
        ("  Long   axis ", "SCT:103339001"),
    ],
)
def test_find_by_meaning(meaning, short):
    assert find_code(meaning) == parse_code(short)


def test_find_nothing():
    assert find_code("no such thing") is None
    assert find_code("") is None


def test_lookup_of_the_unknown():
    assert lookup_meaning("1", "SCT") is None
    assert lookup_meaning("T-XXXXX", "SRT") is None
    assert lookup_meaning("1", "99LAB") is None


# --- datasets -------------------------------------------------------------------------------------------------


def test_long_and_urn_values():
    long = code_to_dataset(("1" * 17, "99LAB", "Long"))
    assert long.LongCodeValue == "1" * 17 and "CodeValue" not in long
    urn = code_to_dataset("urn:oid:1.2.3|By name")
    assert urn.URNCodeValue == "urn:oid:1.2.3" and "CodeValue" not in urn and "CodingSchemeDesignator" not in urn
    assert code_from_dataset(long).value == "1" * 17
    assert code_from_dataset(urn) == Code("urn:oid:1.2.3", "", "By name")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (Code("1", "99LAB", "x" * 65), "65 characters, DICOM allows 64"),
        (Code("1", "9" * 17, "x"), "17 characters, DICOM allows 16"),
        (Code("1", "99LAB", "x", "9" * 17), "the version"),
        (Code("1", "", "x"), "no coding scheme"),
        (Code("1\\2", "99LAB", "x"), "backslash"),
        (Code("1", "99LAB", "a\nb"), "control character"),
        (Code("1", "99LAB"), "give its meaning"),
    ],
)
def test_what_cannot_be_written(code, says):
    with pytest.raises(CodeError, match=says):
        code_to_dataset(code)


def test_reading_is_tolerant():
    assert code_from_dataset(item(CodeValue="10200004 ", CodingSchemeDesignator="SCT")).meaning == "Liver"
    assert code_from_dataset(item(CodeValue="42", CodingSchemeDesignator="99LAB")).meaning == ""
    nameless = code_from_dataset(item(CodeValue="42", CodeMeaning="Something"))
    assert (nameless.scheme, nameless.meaning) == ("", "Something")


PRINTABLE = st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters="\\|:")
WORDS = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=64)
CODES = st.builds(
    Code,
    st.text(PRINTABLE, min_size=1, max_size=40),
    st.text(PRINTABLE, min_size=1, max_size=14).map("99".__add__),
    WORDS.filter(lambda s: s.strip()),
    st.none() | st.text(PRINTABLE, min_size=1, max_size=16),
)


def parts(code: Code) -> tuple[str, str, str, str | None]:
    return code.value, code.scheme, code.meaning, code.version


@given(CODES)
def test_round_trip_through_a_dataset(code):
    again = code_from_dataset(Dataset.from_json(code_to_dataset(code).to_json()))
    assert parts(again) == parts(code) and again == code


@given(CODES)
def test_round_trip_through_text(code):
    assert parts(parse_code(str(code)))[:3] == parts(code)[:3]


@given(CODES, CODES)
def test_equal_codes_hash_alike(a, b):
    assert (a == b) == ((a.value, a.scheme) == (b.value, b.scheme))
    assert a != b or hash(a) == hash(b)


def test_tables_load_only_when_asked():
    code = (
        "import sys; from dicom_ml.codes import Code; "
        "assert Code('1', 'SCT', 'x') == Code('1', 'SCT', 'y'); "
        "print('pydicom.sr._concepts_dict' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_known_meaning_can_be_written():
    from dicom_ml.codes import _table

    for scheme, value in _table():
        meaning = lookup_meaning(value, scheme)
        assert meaning and len(meaning) <= 64, (scheme, value, meaning)
    code = parse_code("SCT:28899001")
    assert code.meaning == "Squamous cell carcinoma, no ICD-O subtype"
    assert code_to_dataset(code).CodeMeaning == code.meaning
