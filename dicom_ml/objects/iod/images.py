"""Checks of single images: identity, frames, and what PS3.3 asks of CT, MR, PET and secondary capture."""

from __future__ import annotations

from dicom_ml.objects.iod.conditions import texts_of
from dicom_ml.objects.iod.content_items import SINGLE_FRAME
from dicom_ml.objects.iod.context import Findings, text, where
from dicom_ml.objects.iod.subject import Subject

__all__ = ["SAME_UID", "check_identifiers", "check_image"]

#: How findings of UIDs that are used twice begin.
SAME_UID = "is the same as "
_PREFIX = "1.2.840.10008.5.1.4.1.1."
_CT, _MR, _PET = _PREFIX + "2", _PREFIX + "4", _PREFIX + "128"
_POSITIONED = (_CT, _MR, _PREFIX + "2.1", _PREFIX + "4.1")
_SECONDARY = _PREFIX + "7"
_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


def check_identifiers(subject: Subject, out: Findings) -> None:
    """The object, its series, its study and its frame of reference have UIDs of their own (PS3.5 9)."""
    seen: dict[str, str] = {}
    for keyword in _UIDS:
        uid = text(subject.ds, keyword)
        if uid and uid in seen:
            out.error(where("", keyword), f"{SAME_UID}{seen[uid]}", "give each a UID of its own", "9", "PS3.5")
        seen.setdefault(uid, keyword)


def check_image(subject: Subject, out: Findings) -> None:
    """What the tables cannot say of images."""
    ds, of = subject.ds, subject.sop_class
    if of in SINGLE_FRAME and subject.frame_count > 1 and of != _PREFIX + "6.1":
        out.error(where("", "NumberOfFrames"), f"is {subject.frame_count} of an image of one frame", "", "A.8")
    values = texts_of(ds, 0x00080008) or []
    if of in (_CT, _MR) and 0 < len(values) < 3:
        hint = "AXIAL or LOCALIZER" if of == _CT else "such as OTHER"
        out.error(where("", "ImageType"), f"has {len(values)} values, expected 3", hint, "C.8.2.1.1.1")
    if of in _POSITIONED and "PatientPosition" not in ds and "PatientOrientationCodeSequence" not in ds:
        out.error(where("", "PatientPosition"), "is missing, of type 2C", "write it, empty if unknown", "C.7.3.1")
    if of == _SECONDARY and "PatientOrientation" not in ds and "ImageOrientationPatient" not in ds:
        out.error(where("", "PatientOrientation"), "is missing, of type 2C", "write it, empty if unknown", "C.7.6.1")
