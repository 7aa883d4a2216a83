"""Content items from bytes: what the decoder remembers changes nothing of what it reads."""

from __future__ import annotations

import random

import pytest

import dicom_ml as dml
from dicom_ml.errors import DicomMLError
from dicom_ml.objects.report import item_reading, read_sr_tree

from .scenes import axial, full_measurement, group, source_on


@pytest.fixture(scope="module")
def content() -> bytes:
    groups = [
        group(dml.Box((1, 2 + i, 3), (2, 9 + i, 12)), tracking_id=f"Nodule {i}", measurements=[full_measurement()])
        for i in range(6)
    ]
    return dml.Report(source_on(axial()), groups, dml.Algorithm("Net", "1"))._bytes


def tree(data: bytes) -> str:
    """Everything that is read of a report, or the error."""
    try:
        root = read_sr_tree(data)
    except DicomMLError as error:
        return type(error).__name__
    return "\n".join(repr((i.value_type, i.name, i.value, i.relationship, len(i.children))) for i in root.walk())


def test_what_is_remembered_changes_nothing(content, monkeypatch):
    generator = random.Random(0)
    start = content.index(b"\x40\x00\x30\xa7")  # of the content
    cases = [content]
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(start, len(changed))] = generator.randrange(256)
        cases.append(bytes(changed))
    quick = [tree(case) for case in cases]
    monkeypatch.setattr(item_reading, "_TELLING", 1 << 30)
    monkeypatch.setattr(item_reading, "_SHORT", 0)
    assert quick == [tree(case) for case in cases]
    assert len(set(quick)) > 40
