"""Checks of single images: identity, frames, and what PS3.3 asks of CT, MR, PET and secondary capture."""

from __future__ import annotations

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.iod.conditions import texts_of
from dicom_ml.objects.iod.content_items import SINGLE_FRAME
from dicom_ml.objects.iod.context import Findings, text, where
from dicom_ml.objects.iod.subject import Subject

__all__ = ["SAME_UID", "check_identifiers", "check_image"]

#: How findings of UIDs that are used twice begin.
SAME_UID = "is the same as "
_POSITIONED = (sop.CT_IMAGE, sop.MR_IMAGE, sop.ENHANCED_CT_IMAGE, sop.ENHANCED_MR_IMAGE)
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
    if of in SINGLE_FRAME and subject.frame_count > 1 and of != sop.ULTRASOUND_IMAGE:
        out.error(where("", "NumberOfFrames"), f"is {subject.frame_count} of an image of one frame", "", "A.8")
    values = texts_of(ds, 0x00080008) or []
    if of in (sop.CT_IMAGE, sop.MR_IMAGE) and 0 < len(values) < 3:
        hint = "AXIAL or LOCALIZER" if of == sop.CT_IMAGE else "such as OTHER"
        out.error(where("", "ImageType"), f"has {len(values)} values, expected 3", hint, "C.8.2.1.1.1")
    if of in _POSITIONED and "PatientPosition" not in ds and "PatientOrientationCodeSequence" not in ds:
        out.error(where("", "PatientPosition"), "is missing, of type 2C", "write it, empty if unknown", "C.7.3.1")
    if of == sop.SECONDARY_CAPTURE and "PatientOrientation" not in ds and "ImageOrientationPatient" not in ds:
        out.error(where("", "PatientOrientation"), "is missing, of type 2C", "write it, empty if unknown", "C.7.6.1")
