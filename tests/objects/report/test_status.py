"""Completion, preliminary and verification flags are written, read, and refused where they contradict themselves."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

import dicom_ml as dml
from dicom_ml.objects.report import Person, Status, Verification

from .scenes import NET, axial, group, source_on

WHEN = datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=timezone.utc)


def test_a_report_is_complete_and_unverified_unless_said_otherwise():
    report = dml.Report(source_on(axial()), [group()], NET)
    ds = report.dataset
    assert (ds.CompletionFlag, ds.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert "VerifyingObserverSequence" not in ds and "PreliminaryFlag" not in ds
    assert dml.read_report(report._bytes).status == Status() and not Status().verified


@pytest.mark.parametrize(
    "status",
    [
        Status(complete=False, reason="half of the slices", preliminary=True),
        Status(preliminary=False, verified_by=Verification("Doe^Jane", "Hospital", WHEN, "99TEST:7|Jane")),
        Status(verified_by=[Verification("Ärztin^Anna", "Praxis Süd", WHEN.replace(tzinfo=None)),
                            Verification("Doe^Jane", "Hospital", WHEN)]),
    ],
)  # fmt: skip
def test_what_is_said_comes_back(status):
    report = dml.Report(source_on(axial()), [group()], NET, status=status)
    assert dml.read_report(report._bytes).status == report.status == status
    ds = report.dataset
    assert ds.VerificationFlag == ("VERIFIED" if status.verified_by else "UNVERIFIED")
    assert [str(i.VerifyingObserverName) for i in ds.get("VerifyingObserverSequence", [])] == [
        v.name for v in status.verified_by
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Verification("^", "Hospital", WHEN), "a name"),
        (lambda: Verification("Doe^Jane", "", WHEN), "organization"),
        (lambda: Verification(Person("Doe^Jane"), "Hospital", WHEN), "found Person"),
        (lambda: Verification("Doe^Jane", "Hospital", "today"), "datetime"),
        (lambda: Status(verified_by=["Doe^Jane"]), "Verification"),
        (lambda: Status(preliminary=True, verified_by=Verification("Doe^Jane", "H", WHEN)), "not preliminary"),
        (lambda: Status(reason="x" * 65), "64"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(dml.EncodingError, match=message):
        make()
