"""The tables of the standard: small, whole, and understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import UID

import dicom_ml
from dicom_ml.objects.iod.conditions import Condition
from dicom_ml.objects.iod.tables import _stored, iod_of

PREFIX = "1.2.840.10008.5.1.4.1.1."
CLASSES = {
    "2": "A.3", "2.1": "A.38", "4": "A.4", "4.1": "A.36", "128": "A.21", "130": "A.56", "77.1.6": "A.32.8",
    "66.4": "A.51", "66.7": "A.51", "30": "A.75", "91.1": "A.87", "88.11": "A.35.1", "88.22": "A.35.2",
    "88.33": "A.35.3", "88.34": "A.35.13", "88.59": "A.35.4", "7": "A.8", "7.2": "A.8.3", "7.3": "A.8.4",
    "7.4": "A.8.5", "11.1": "A.33", "11.2": "A.33.2", "11.3": "A.33.3", "11.8": "A.33.7", "481.3": "A.19",
}  # fmt: skip


@pytest.mark.parametrize("suffix", CLASSES)
def test_every_object_that_is_read_or_written_has_a_definition(suffix):
    iod = iod_of(PREFIX + suffix)
    section = CLASSES[suffix]
    assert iod.section == section or iod.section.startswith(section + ".") or section.startswith(iod.section + ".")
    names = [m.name for m in iod.modules]
    assert {"Patient", "General Study", "SOP Common"} <= set(names)
    for module in iod.modules:
        assert module.section.startswith("C."), module.name
        assert module.rows or "Content" in module.name


def test_the_wheel_stays_small():
    assert (Path(dicom_ml.__file__).parent / "objects" / "iod" / "tables.json.z").stat().st_size < 50_000


def test_types_and_values_are_the_standards():
    seg = {row.tag: row for module in iod_of(PREFIX + "66.4").modules for row in module.rows}
    segment = seg[0x00620002]
    assert segment.kind == "1"
    inner = {row.tag: row for row in segment.items}
    assert inner[0x00620004].kind == "1" and inner[0x00620009].kind == "1C"
    assert dict(inner[0x00620008].values)[0] == {"AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"}
    assert dict(seg[0x00620001].values)[0] == {"BINARY", "FRACTIONAL", "LABELMAP"}
    assert inner[0x0062000F].items  # codes go on into their items
    groups = {group.tag: group.usage.kind for group in iod_of(PREFIX + "2.1").groups}
    assert groups[0x00289110] == "M" and groups[0x00209113] == "M" and groups[0x00189477] == "M"


def test_no_row_leads_nowhere():
    stored = _stored()
    for table in stored["tables"]:
        for tag, kind, condition, values, items in table:
            assert int(tag, 16) and kind in ("1", "1C", "2", "2C", "3")
            assert condition < len(stored["conditions"]) and values < len(stored["values"])
            assert items < len(stored["tables"])
    assert all(UID(uid).name != uid or uid.endswith("66.7") for uid in stored["sop"])


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        (["present", "00080008"], True),
        (["absent", "00080008"], False),
        (["absent", "00080022"], True),
        (["in", "00080008", 1, ["ORIGINAL", "MIXED"]], True),
        (["in", "00080008", 2, ["ORIGINAL"]], False),
        (["in", "00080008", 0, ["PRIMARY"]], True),
        (["notin", "00080008", 3, ["LOCALIZER"]], True),
        (["notin", "00080022", 0, ["A"]], False),  # of an absent attribute nothing is said
        (["more", "00280002", 0, 1], True),
        (["and", ["present", "00080008"], ["absent", "00080008"]], False),
        (["or", ["present", "00080008"], ["absent", "00080008"]], True),
    ],
)
def test_conditions(expression, holds):
    ds, inner = Dataset(), Dataset()
    ds.ImageType, ds.SamplesPerPixel = ["ORIGINAL", "PRIMARY", "AXIAL"], 3
    assert Condition(expression, False).holds([ds]) is holds
    assert Condition(expression, False).holds([ds, inner]) is holds  # looked for in what is around, too
