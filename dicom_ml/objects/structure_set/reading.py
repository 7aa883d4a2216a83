"""Structure sets of any maker, read from a dataset: names, meanings and contours brought together by ROI number."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_ml.codes import Code, code_from_dataset
from dicom_ml.errors import DicomMLError, DicomMLWarning, FileError
from dicom_ml.objects.structure_set.regions import Contour, FloatArray, RegionOfInterest

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_references", "read_regions"]

_CONTOUR_DATA = 0x30060050


def read_regions(ds: Dataset, name: str) -> list[RegionOfInterest]:
    """Regions of a structure set, by ROI Number; ``name`` is the file's, for messages.

    Raises
    ------
    FileError
        If regions or contours contradict themselves.
    """
    contours = _contours_by_number(ds, name)
    observed: dict[int, Dataset] = {}
    for item in ds.get("RTROIObservationsSequence") or []:
        place = _integer(item.get("ReferencedROINumber"))
        if place is not None:
            observed.setdefault(place, item)
    regions: dict[int, RegionOfInterest] = {}
    for item in ds.get("StructureSetROISequence") or []:
        number = _integer(item.get("ROINumber"))
        if number is None:
            raise FileError(f"{name}: a region of interest has no ROI Number")
        if number in regions:
            raise FileError(f"{name}: two regions of interest share ROI Number {number}")
        color, found = contours.pop(number, (None, ()))
        observation = observed.get(number)
        regions[number] = RegionOfInterest(
            number=number,
            name=str(item.get("ROIName") or "").strip() or f"ROI {number}",
            contours=found,
            interpreted_type="" if observation is None else str(observation.get("RTROIInterpretedType") or "").strip(),
            code=None if observation is None else _code(observation),
            color=color,
            description=str(item.get("ROIDescription") or "").strip(),
            generation=str(item.get("ROIGenerationAlgorithm") or "").strip().upper(),
            frame_of_reference_uid=str(item.get("ReferencedFrameOfReferenceUID") or "").strip(),
        )
    for number, (color, found) in contours.items():
        warnings.warn(
            f"{name}: contours of ROI Number {number} belong to no region of interest that is described; they are "
            f"kept as 'ROI {number}'",
            DicomMLWarning,
            stacklevel=4,
        )
        regions[number] = RegionOfInterest(number, f"ROI {number}", found, color=color)
    return [regions[n] for n in sorted(regions)]


def _contours_by_number(ds: Dataset, name: str) -> dict[int, tuple[tuple[int, int, int] | None, tuple[Contour, ...]]]:
    colors: dict[int, tuple[int, int, int] | None] = {}
    found: dict[int, list[Contour]] = defaultdict(list)
    for item in ds.get("ROIContourSequence") or []:
        number = _integer(item.get("ReferencedROINumber"))
        if number is None:
            raise FileError(f"{name}: contours do not say which region of interest they belong to")
        colors[number] = colors.get(number) or _color(item.get("ROIDisplayColor"))
        found[number] += _contours(item, f"{name}: ROI {number}")
    return {number: (color, tuple(found[number])) for number, color in colors.items()}


def _contours(item: Dataset, name: str) -> Iterator[Contour]:
    for place, entry in enumerate(item.get("ContourSequence") or [], start=1):
        points = _points(entry, f"{name}, contour {place}")
        if points is None:
            warnings.warn(f"{name}, contour {place}: has no points and is left out", DicomMLWarning, stacklevel=6)
            continue
        images = entry.get("ContourImageSequence") or []
        yield Contour(
            points,
            str(entry.get("ContourGeometricType") or "").strip().upper(),
            tuple(str(i.ReferencedSOPInstanceUID) for i in images if i.get("ReferencedSOPInstanceUID")),
            _integer(entry.get("ContourNumber")),
        )


def _points(entry: Dataset, name: str) -> FloatArray | None:
    """Contour Data, from its text: as elements of pydicom's own they take many times as long."""
    if _CONTOUR_DATA not in entry:
        return None
    value: Any = entry.get_item(_CONTOUR_DATA).value
    if value is None or len(value) == 0:
        return None
    try:
        if isinstance(value, bytes):
            values = np.array(value.strip(b"\0 ").split(b"\\"), dtype=np.float64)
        else:
            values = np.array([float(v) for v in (value if not isinstance(value, str | float | int) else [value])])
    except (TypeError, ValueError) as error:
        raise FileError(f"{name}: its Contour Data holds something that is no number") from error
    if values.size % 3 or not np.isfinite(values).all():
        raise FileError(f"{name}: its Contour Data holds {values.size} numbers, which are no points of x, y and z")
    points = values.reshape(-1, 3)
    stated = _integer(entry.get("NumberOfContourPoints"))
    if stated is not None and stated != len(points):
        warnings.warn(f"{name}: says it has {stated} points and has {len(points)}", DicomMLWarning, stacklevel=7)
    points.setflags(write=False)
    return points


def _integer(value: Any) -> int | None:
    """A whole number; None where there is none, or something else."""
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _color(value: Any) -> tuple[int, int, int] | None:
    try:
        r, g, b = (min(255, max(0, int(v))) for v in value)
    except (TypeError, ValueError):
        return None
    return r, g, b


def _code(observation: Dataset) -> Code | None:
    sequence = observation.get("RTROIIdentificationCodeSequence")
    if not sequence:
        return None
    try:
        return code_from_dataset(sequence[0])
    except DicomMLError:
        return None


def read_references(ds: Dataset) -> tuple[list[str], dict[str, list[str]]]:
    """Frames of reference, and the instances referenced in each series."""
    frames: list[str] = []
    series: dict[str, list[str]] = defaultdict(list)
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or []:
        frames.append(str(frame.get("FrameOfReferenceUID") or "").strip())
        for study in frame.get("RTReferencedStudySequence") or []:
            for entry in study.get("RTReferencedSeriesSequence") or []:
                images = entry.get("ContourImageSequence") or []
                uids = [str(i.get("ReferencedSOPInstanceUID") or "") for i in images]
                series[str(entry.get("SeriesInstanceUID") or "")] += [u for u in uids if u]
    return [f for f in dict.fromkeys(frames) if f], dict(series)
