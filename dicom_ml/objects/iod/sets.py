"""Checks of files that lie together: each instance once, each series of one study, patient and frame of reference."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_ml.objects.iod.context import where
from dicom_ml.objects.iod.finding import Finding
from dicom_ml.objects.iod.sources import Known

__all__ = ["check_set"]


def check_set(members: Iterable[tuple[str, str, Known]]) -> list[Finding]:
    """What files contradict of each other (PS3.3 A.1.2, C.7.3.1, C.7.4.1).

    Parameters
    ----------
    members : iterable of (str, str, Known)
        File, SOP Instance UID, and what is known of it.
    """
    found: list[Finding] = []
    instances: dict[str, str] = {}
    series: dict[str, tuple[str, Known]] = {}
    patients: dict[str, tuple[str, str]] = {}
    for name, uid, known in members:
        if uid and uid in instances:
            message = f"is that of {instances[uid]}, too"
            found.append(_error(name, "SOPInstanceUID", message, "give each instance a UID of its own", "C.12.1"))
        instances.setdefault(uid, name)
        if known.series:
            found += _of_series(name, known, *series.setdefault(known.series, (name, known)))
        patient = known.identity.get("PatientID")
        if known.study and patient:
            first, other = patients.setdefault(known.study, (name, patient))
            if other != patient:
                message = f"differs from that of {first}, which is of the same study"
                found.append(_error(name, "PatientID", message, "a study is of one patient", "C.7.2.1"))
    return found


def _of_series(name: str, known: Known, first: str, other: Known) -> list[Finding]:
    found = []
    if known.study != other.study:
        message = f"differs from that of {first}, which is of the same series"
        found.append(_error(name, "StudyInstanceUID", message, "a series is of one study", "C.7.3.1"))
    if known.frame_of_reference and other.frame_of_reference and known.frame_of_reference != other.frame_of_reference:
        message = f"differs from that of {first}, which is of the same series"
        found.append(_error(name, "FrameOfReferenceUID", message, "a series has one", "C.7.4.1"))
    return found


def _error(name: str, keyword: str, message: str, hint: str, section: str) -> Finding:
    return Finding("error", where("", keyword), message, hint, "PS3.3", section, name)
