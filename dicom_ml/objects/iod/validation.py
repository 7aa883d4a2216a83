"""Validate objects: by the tables of the standard, by their own sense, and against the objects they refer to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.objects.iod.annotations import check_annotations
from dicom_ml.objects.iod.context import Findings, text, where
from dicom_ml.objects.iod.cross_checks import check_against
from dicom_ml.objects.iod.finding import Finding, sort_findings
from dicom_ml.objects.iod.frames import (
    check_dimensions,
    check_frame_count,
    check_pixel_data,
    check_pixel_header,
    check_plane_of_image,
    check_planes,
)
from dicom_ml.objects.iod.images import check_identifiers, check_image
from dicom_ml.objects.iod.parametric_maps import check_parametric_map, check_real_world_values
from dicom_ml.objects.iod.presentations import check_presentation
from dicom_ml.objects.iod.references import check_common_references
from dicom_ml.objects.iod.reports import (
    REPORTS,
    check_content,
    check_evidence,
    check_key_objects,
    check_measurement_report,
)
from dicom_ml.objects.iod.segmentations import check_label_values, check_segmentation_type, check_segments
from dicom_ml.objects.iod.sets import check_set
from dicom_ml.objects.iod.sources import Sources, known_of, read_sources
from dicom_ml.objects.iod.structure import check_structure
from dicom_ml.objects.iod.structure_sets import check_structure_set
from dicom_ml.objects.iod.subject import Subject, is_dicom, open_subject, subject_of_bytes, subject_of_dataset
from dicom_ml.objects.iod.tables import iod_of
from dicom_ml.objects.iod.tiles import check_tiles
from dicom_ml.objects.iod.values import check_values

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["findings_of", "validate"]

Check = Callable[[Subject, Findings], None]
Progress = Callable[[list[tuple[str, Any]], str], Iterable[tuple[str, Any]]]


def _in_silence(things: list[tuple[str, Any]], _: str) -> Iterable[tuple[str, Any]]:
    return things


def validate(x: Any, sources: Any = None) -> list[Finding]:
    """Say what of a DICOM object breaks the standard, contradicts itself, or contradicts what it was made from.

    Checked are modules and attributes (PS3.3 annexes A and C), values (PS3.5 6.2), functional groups, frames and
    dimensions, pixel data length, and what an object of its kind has to mean: segments, real-world values,
    coordinates, content items, references.

    Parameters
    ----------
    x : path, bytes, pydicom Dataset, an object of this package, or a list of these
        A folder stands for all DICOM files in it: each is checked, with all of them as its sources.
    sources : optional
        What the object was made from and may refer to: paths (also of folders), data sets, volumes, slides, source
        series, or a list of these. With them, patient, study, frame of reference, grids and every reference are
        checked; an instance that is not among them is reported.

    Returns
    -------
    list of Finding
        Sorted; empty where the object conforms.

    Raises
    ------
    FileError
        If ``x`` does not exist or is no DICOM object.
    """
    return findings_of(x, read_sources(sources) if sources is not None else Sources())


def findings_of(x: Any, known: Sources, progress: Progress = _in_silence) -> list[Finding]:
    """As :func:`validate`, with what is known of sources; ``progress`` wraps long loops and is told what they do."""
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom warns of is found here, too
        things = _things(x)
        several = len(things) > 1
        if several:
            members = []
            for name, thing in progress(things, "Reading"):
                subject = _opened(thing, name, several)
                if isinstance(subject, Subject):
                    members.append((name, text(subject.ds, "SOPInstanceUID"), known_of(subject)))
            for _, uid, record in members:
                known.known.setdefault(uid, record)
            found += check_set(members)
        for name, thing in progress(
            things, "Checking"
        ):  # opened anew: a folder may hold more files than may be open at once
            subject = _opened(thing, name, several)
            if isinstance(subject, Finding):
                found.append(subject)
                continue
            for finding in _check(subject, known):
                found.append(replace(finding, file=name) if several else finding)
    return sort_findings(found)


def _check(subject: Subject, known: Sources) -> list[Finding]:
    out = Findings()
    iod = iod_of(subject.sop_class)
    if subject.cut_off:
        out.error("", "the file ends before its last element does: it is truncated", "fetch it again", "7", "PS3.5")
    if iod is None:
        what = "is missing" if not subject.sop_class else "is of no object that this knows: only values are checked"
        kind = out.info if subject.sop_class else out.error
        kind(where("", "SOPClassUID"), what, "", "C.12.1")
    else:
        _guarded(lambda s, o: check_structure(s, iod, o), subject, out)
    for check in _checks(subject):
        _guarded(check, subject, out)
    _guarded(lambda s, o: check_against(s, known, o), subject, out)
    return out.found


def _guarded(check: Check, subject: Subject, out: Findings) -> None:
    """A check that stumbles over a damaged value says so, and the others go on."""
    try:
        check(subject, out)
    except DicomMLError as error:
        out.error("", str(error))
    except Exception as error:  # a damaged value may raise anything where it is decoded
        what = getattr(check, "__name__", "a check").replace("check_", "").replace("_", " ")
        out.warning("", f"{what} could not be checked: a value is not of its kind ({type(error).__name__})")


_OF_IMAGES: tuple[Check, ...] = (
    check_pixel_header, check_pixel_data, check_frame_count, check_dimensions, check_planes, check_tiles,
    check_plane_of_image, check_real_world_values, check_image,
)  # fmt: skip
_OF_KINDS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(
        sop.SEGMENTATIONS,
        (check_segmentation_type, check_segments, check_label_values, check_common_references),
    ),
    sop.PARAMETRIC_MAP: (check_parametric_map, check_common_references),
    sop.BULK_ANNOTATIONS: (check_annotations, check_common_references),
    **dict.fromkeys(REPORTS, (check_content, check_evidence, check_measurement_report)),
    sop.KEY_OBJECT_SELECTION: (check_content, check_evidence, check_key_objects),
    **{f"{sop.PRESENTATION_FAMILY}{n}": (check_presentation,) for n in (1, 2, 3, 4, 8)},
    sop.RT_STRUCTURE_SET: (check_structure_set,),
}


def _checks(subject: Subject) -> Sequence[Check]:
    images = _OF_IMAGES if "Rows" in subject.ds or subject.pixels is not None else ()
    return (check_values, check_identifiers, *images, *_OF_KINDS.get(subject.sop_class, ()))


# ---------------------------------------------------------------------- what is checked
def _things(x: Any) -> list[tuple[str, Any]]:
    """What is to be checked, one after another, with the names of it."""
    if isinstance(x, str | os.PathLike):
        path = Path(x)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            found: list[tuple[str, Any]] = [(str(p), p) for p in files if is_dicom(p)]
            if not found:
                raise FileError(f"{path} holds no DICOM file")
            return found
        if not path.exists():
            raise FileError(f"{path} does not exist")
        return [(str(path), path)]
    if isinstance(x, bytes | bytearray | memoryview):
        return [("<bytes>", bytes(x))]
    ds = _dataset_of(x)
    if ds is not None:
        return [(str(getattr(ds, "filename", None) or "<dataset>"), ds)]
    if isinstance(x, Iterable):
        listed: list[tuple[str, Any]] = []
        for number, item in enumerate(x, start=1):
            for name, thing in _things(item):
                listed.append((f"{name[:-1]} {number}>" if name in ("<bytes>", "<dataset>") else name, thing))
        return listed
    raise FileError(
        f"cannot validate a {type(x).__name__}: give a path, a pydicom data set, or an object of this package"
    )


def _opened(thing: Any, name: str, several: bool) -> Subject | Finding:
    """The object; where one of several cannot be opened, that is a finding."""
    try:
        if isinstance(thing, Path):
            return open_subject(thing)
        return subject_of_bytes(thing, name) if isinstance(thing, bytes) else subject_of_dataset(thing, name)
    except DicomMLError as error:
        if not several:
            raise
        return Finding("error", "", str(error), file=name)


def _dataset_of(x: Any) -> Dataset | None:
    from pydicom import Dataset

    if isinstance(x, Dataset):
        return x
    ds = getattr(x, "dataset", None)
    return ds if isinstance(ds, Dataset) else None
