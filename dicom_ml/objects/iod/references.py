"""Checks of an object against itself: what it refers to is listed where readers look for it (PS3.3 C.12.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_ml.objects.iod.context import Findings, items_of, label, numbers, text, walk, where
from dicom_ml.objects.iod.structure import leaf_path
from dicom_ml.objects.iod.subject import Subject

__all__ = ["Reference", "check_common_references", "references_of"]

_INSTANCE, _CLASS, _FRAME, _SEGMENT = 0x00081155, 0x00081150, 0x00081160, 0x0062000B
#: References to other documents and steps, which a receiver need not have.
_ELSEWHERE = (
    "ReferencedStudySequence", "ReferencedPatientSequence", "ReferencedPerformedProcedureStepSequence",
    "RequestedProcedureCodeSequence", "ReferencedRequestSequence", "PredecessorDocumentsSequence",
    "IdenticalDocumentsSequence", "ReferencedVisitSequence", "RTReferencedStudySequence",
)  # fmt: skip
_REFERRING = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ReferencedImageSequence")
_LISTS = ("ReferencedSeriesSequence", "StudiesContainingOtherReferencedInstancesSequence")


@dataclass(frozen=True)
class Reference:
    """A reference to an instance.

    Attributes
    ----------
    path : str
    instance, sop_class : str
    series, study : str
        Said by the sequences around it; empty where they do not.
    frames, segments : tuple of int
    """

    path: str
    instance: str
    sop_class: str = ""
    series: str = ""
    study: str = ""
    frames: tuple[int, ...] = ()
    segments: tuple[int, ...] = ()


def references_of(subject: Subject) -> Iterator[Reference]:
    """References of the header and, each instance once, of the frames."""
    own_study = text(subject.ds, "StudyInstanceUID")
    series: dict[str, str] = {}
    studies: dict[str, str] = {}
    for path, item in walk(subject.ds):
        if "SeriesInstanceUID" in item and path:
            series[path] = text(item, "SeriesInstanceUID")
        if "StudyInstanceUID" in item and path:
            studies[path] = text(item, "StudyInstanceUID")
        uid = text(item, "ReferencedSOPInstanceUID") if _INSTANCE in item else ""
        if not path or not uid or any(name in path for name in _ELSEWHERE):
            continue
        in_series = _around(path, series)
        study = _around(path, studies) or (own_study if in_series and path.startswith(_LISTS[0]) else "")
        yield Reference(
            f"{path}.{label(_INSTANCE)} (0008,1155)",
            uid,
            text(item, "ReferencedSOPClassUID"),
            in_series,
            study,
            tuple(int(v) for v in numbers(item, "ReferencedFrameNumber")),
            tuple(int(v) for v in numbers(item, "ReferencedSegmentNumber")),
        )
    if subject.frames is not None:
        for leaf, values in subject.frames.values.items():
            if leaf[-1] == _INSTANCE:
                for raw, frame in values.items():
                    yield Reference(leaf_path(leaf, frame), raw.decode("latin-1").strip("\0 "))


def _around(path: str, known: dict[str, str]) -> str:
    while path:
        if path in known:
            return known[path]
        path = path.rpartition(".")[0]
    return ""


def check_common_references(subject: Subject, out: Findings) -> None:
    """What functional groups and annotations refer to is in the Common Instance Reference module (C.12.2)."""
    ds = subject.ds
    listed = set()
    for path, item in walk(ds):
        if path.startswith(_LISTS) and _INSTANCE in item:
            listed.add(text(item, "ReferencedSOPInstanceUID"))
    missing: dict[str, str] = {}
    for reference in references_of(subject):
        head = reference.path.split("[", 1)[0]
        if head in _REFERRING and reference.instance not in listed:
            missing.setdefault(reference.instance, reference.path)
    if not missing:
        return
    uid, path = next(iter(missing.items()))
    if not items_of(ds, _LISTS[0]) and not items_of(ds, _LISTS[1]):
        message = f"is missing, although {len(missing)} instances are referred to"
        hint = "list them by series, those of other studies by study"
        out.error(where("", "ReferencedSeriesSequence"), message, hint, "C.12.2")
        return
    others = f", and {len(missing) - 1} others" if len(missing) > 1 else ""
    out.error(path, f"{uid} is not in the Common Instance Reference module{others}", "list it there", "C.12.2")
