"""Which series there are, which patient each belongs to, and who goes into which part of an experiment.

A record is a mapping that names an ``"image"`` (a folder, a zip, a file or a list of files) and may name a
``"label"`` (files of segmentations or RT structure sets) and a ``"patient"``.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.folders import files_below
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.errors import DicomMLWarning, SeriesError
from dicom_ml.reading.index import open_index
from dicom_ml.source import SourceSeries, patient_digest

__all__ = ["Record", "as_record", "find_series", "find_slides", "patient_key", "split_by_patient"]

Record: TypeAlias = dict[str, Any]

#: Parametric maps, RT doses and slides have pixels, but are no series that a volume is read from.
_NO_VOLUMES = (sop.PARAMETRIC_MAP, sop.RT_DOSE, sop.VL_WHOLE_SLIDE_MICROSCOPY)
_VOLUMES = ("CT", "MR", "PT")
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "PatientID",
    "IssuerOfPatientID", "Rows", "SamplesPerPixel",
]  # fmt: skip


def as_record(item: Any) -> Record:
    """A record of what names one: a mapping as it is, anything else as the image."""
    return dict(item) if isinstance(item, Mapping) else {"image": item}


def find_series(
    folder: str | os.PathLike[str],
    *,
    modalities: Sequence[str] | None = None,
    labels: bool | str = True,
    reports: bool = False,
) -> list[Record]:
    """Find the image series under a folder, and the segmentations and reports that refer to them.

    Parameters
    ----------
    folder : path
        Walked with its subfolders; or an index file of :func:`dicom_ml.scan`, which is asked instead.
    modalities : sequence of str, optional
        Only these, such as ``("CT", "MR")``.
    labels : bool or "structure_sets"
        Look for segmentations of the series found, or for RT structure sets in their place.
    reports : bool
        Look for structured reports that refer to images of the series found.

    Returns
    -------
    list of dict
        One for each series, ordered by its first file: ``"image"`` (list of files), ``"label"`` (list of
        the labels' files, where there are any), ``"report"`` (list of reports, likewise), ``"patient"`` (a digest
        that tells patients apart and names none), ``"study_instance_uid"``, ``"series_instance_uid"``,
        ``"modality"``.

    Raises
    ------
    SeriesError
        If there is no series.
    """

    def wanted(head: Any) -> bool:
        if str(head.get("SOPClassUID", "")) in _NO_VOLUMES:
            return False
        if not head.get("Rows") or int(head.get("SamplesPerPixel") or 1) != 1:
            return False
        return modalities is None or str(head.get("Modality") or "") in modalities

    if labels not in (True, False, "structure_sets"):
        raise SeriesError(f"labels are True, False or 'structure_sets', found {labels!r}")
    if os.path.isfile(folder):
        if reports or labels == "structure_sets":
            raise SeriesError(
                f"reports and structure sets are looked for in a folder, found {os.fspath(folder)}, which is a file"
            )
        return _of_index(folder, modalities or _VOLUMES, bool(labels))
    found = _find(folder, wanted, labels, reports)
    if not found:
        raise SeriesError(f"{os.fspath(folder)} holds no image series" + (f" of {modalities}" if modalities else ""))
    return found


def find_slides(folder: str | os.PathLike[str], *, labels: bool = True) -> list[Record]:
    """Find the slides (slide microscopy series) under a folder, and the segmentations that refer to them.

    Parameters
    ----------
    folder : path
        Walked with its subfolders; or an index file of :func:`dicom_ml.scan`.
    labels : bool
        Look for segmentations of the slides found; they stand under ``"segmentations"``.

    Returns
    -------
    list of dict
        One for each series, as :func:`find_series` gives them.

    Raises
    ------
    SeriesError
        If there is no slide.
    """
    if os.path.isfile(folder):
        found = _of_index(folder, ("SM",), labels)
    else:
        found = _find(folder, lambda head: str(head.get("SOPClassUID", "")) == sop.VL_WHOLE_SLIDE_MICROSCOPY, labels)
    if not found:
        raise SeriesError(f"{os.fspath(folder)} holds no slide (SM, VL Whole Slide Microscopy Image)")
    for record in found:
        # what a segmentation means for the tiles of a slide is for SegmentationLabels to say
        if "label" in record:
            record["segmentations"] = record.pop("label")
    return found


def _of_index(path: str | os.PathLike[str], modalities: Sequence[str], labels: bool) -> list[Record]:
    """Records of an index, without secondary captures and what else is no image series of its own."""
    with open_index(path) as index:
        images = {
            row.series_instance_uid
            for row in index.series(modality=list(modalities))
            if row.sop_class_uid not in _NO_VOLUMES[:2] and not _is_capture(row.sop_class_uid)
        }
        if not images:
            raise SeriesError(f"the index {os.fspath(path)} holds no image series of {', '.join(modalities)}")
        return index.records(labels=labels, series_instance_uid=sorted(images))


def _is_capture(sop_class: str) -> bool:
    return sop_class == sop.SECONDARY_CAPTURE or sop_class.startswith(f"{sop.SECONDARY_CAPTURE}.")


def _find(
    folder: str | os.PathLike[str], wanted: Callable[[Any], bool], labels: bool | str, reports: bool = False
) -> list[Record]:
    """Records of the series whose heads are wanted."""
    series: dict[str, Record] = {}
    derived: list[tuple[str, str, set[str]]] = []
    broken: list[str] = []
    for path in _files(folder):
        head = _head(path)
        if head is None:
            continue
        try:
            kind = str(head.get("SOPClassUID", ""))
            if kind in sop.SEGMENTATIONS:
                if labels is True:
                    derived.append(("label", path, _referenced_series(path)))
                continue
            if kind == sop.RT_STRUCTURE_SET:
                if labels == "structure_sets":
                    derived.append(("label", path, _contoured_series(path)))
                continue
            if kind in sop.MEASUREMENT_REPORTS:
                if reports:
                    derived.append(("report", path, _evidence_series(path)))
                continue
            if not wanted(head):
                continue
            uid = str(head.get("SeriesInstanceUID") or "")
            record = series.setdefault(
                uid,
                {
                    "image": [],
                    "patient": _digest(head),
                    "study_instance_uid": str(head.get("StudyInstanceUID") or ""),
                    "series_instance_uid": uid,
                    "modality": str(head.get("Modality") or ""),
                },
            )
            record["image"].append(path)
        except Exception:
            broken.append(path)
    if broken:
        warnings.warn(
            f"{len(broken)} files cannot be understood and were left out; the first: {broken[0]}",
            DicomMLWarning,
            stacklevel=3,
        )
    for key, path, uids in derived:
        for uid in uids & series.keys():
            series[uid].setdefault(key, []).append(path)
    return list(series.values())


def _files(folder: str | os.PathLike[str]) -> Iterable[str]:
    root = Path(folder)
    if not root.is_dir():
        raise SeriesError(f"{root} is no folder")
    return files_below(root)


def _head(path: str) -> Any:
    """The few attributes that say what a file is; None where it is no DICOM."""

    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=False)
    except Exception:
        return None


def _referenced_series(path: str) -> set[str]:

    ds = dcmread(path, stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence", "SourceImageSequence"])
    return {str(item.get("SeriesInstanceUID", "")) for item in ds.get("ReferencedSeriesSequence") or ()}


def _contoured_series(path: str) -> set[str]:
    """Series that a structure set was drawn on."""

    ds = dcmread(path, specific_tags=["ReferencedFrameOfReferenceSequence"])
    return {
        str(series.get("SeriesInstanceUID", ""))
        for frame in ds.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    }


def _evidence_series(path: str) -> set[str]:
    """Series of the images that a report lists as evidence."""

    names = ["CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"]
    ds = dcmread(path, stop_before_pixels=True, specific_tags=list(names))
    return {
        str(series.get("SeriesInstanceUID", ""))
        for name in names
        for study in ds.get(name) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
    }


def _digest(head: Any) -> str:
    return patient_digest(str(head.get("PatientID") or ""), str(head.get("IssuerOfPatientID") or ""))


def _first_value(element: Any) -> Any:
    """Value of an element in the DICOM JSON model."""
    return ((element or {}).get("Value") or [""])[0]


def patient_key(record: Any) -> str:
    """What tells a record's patient from others: its ``"patient"``, else a digest of the images' Patient ID.

    Raises
    ------
    SeriesError
        If neither is known.
    """
    record = as_record(record)
    named = record.get("patient")
    if named not in (None, ""):
        return str(named)
    image = record.get("image")
    source = getattr(image, "source", None)
    if isinstance(source, SourceSeries):
        key = _digest({k: _first_value(source.attributes.get(k)) for k in ("PatientID", "IssuerOfPatientID")})
        if key:
            return key
        image = None
    first = next(iter(image), None) if isinstance(image, (list, tuple)) else image
    if first is not None and os.path.isdir(first):
        heads = (head for head in map(_head, _files(first)) if head is not None)
        head = next((h for h in heads if h.get("SeriesInstanceUID")), None)
    else:
        head = None if first is None else _head(os.fspath(first))
    key = "" if head is None else _digest(head)
    if not key:
        raise SeriesError(
            "a record's patient is not known: its images have no Patient ID; give it a 'patient' of your own, so that "
            "no patient can be in two parts"
        )
    return key


def split_by_patient(
    records: Sequence[Any],
    fractions: Sequence[float] | Mapping[str, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    *,
    patient: Callable[[Any], str] = patient_key,
    stable: bool = False,
) -> Any:
    """Split records so that no patient is in two parts.

    Patients are ordered by a hash of ``seed`` and their key, so the order of the records does not matter, and the
    same patients are split alike on every machine.

    Parameters
    ----------
    records : sequence of record or path
    fractions : sequence or mapping of str to float
        Share of the patients in each part; they add up to 1.
    seed : int
    patient : callable
        Gives the key of a record's patient.
    stable : bool
        Decide for each patient by its hash alone: a patient keeps its part when others join the cohort, but
        shares are met only on average. Otherwise shares are met to within one patient.

    Returns
    -------
    list of list, or dict of str to list, as ``fractions`` is

    Raises
    ------
    SeriesError
        If a patient is not known, or the fractions are none.
    """
    names = list(fractions) if isinstance(fractions, Mapping) else None
    shares = [float(v) for v in (fractions.values() if isinstance(fractions, Mapping) else fractions)]
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise SeriesError(f"fractions are not negative and add up to 1, found {shares}")
    keys = [str(patient(record)) for record in records]
    place = {key: hashlib.sha256(f"{seed}\0{key}".encode()).digest() for key in set(keys)}
    bounds = [sum(shares[: i + 1]) for i in range(len(shares))]
    if stable:
        part = {key: _part(int.from_bytes(h[:8], "big") / 2**64, bounds) for key, h in place.items()}
    else:
        order = sorted(place, key=lambda key: place[key])
        part = {key: _part((i + 0.5) / len(order), bounds) for i, key in enumerate(order)}
    parts: list[list[Any]] = [[] for _ in shares]
    for record, key in zip(records, keys, strict=True):
        parts[part[key]].append(record)
    return parts if names is None else dict(zip(names, parts, strict=True))


def _part(value: float, bounds: Sequence[float]) -> int:
    return next((i for i, bound in enumerate(bounds) if value < bound), len(bounds) - 1)
