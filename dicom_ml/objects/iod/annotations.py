"""Checks of microscopy bulk simple annotations (PS3.3 A.87, C.37.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_annotations"]

_SECTION = "C.37.1.2"
#: Points of each annotation; 0 where an index list says how many.
_POINTS = {"POINT": 1, "ELLIPSE": 4, "RECTANGLE": 4, "POLYLINE": 0, "POLYGON": 0}


def check_annotations(subject: Subject, out: Findings) -> None:
    """Groups of annotations: numbers, coordinates, index lists, measurements, and the image that they are on."""
    ds = subject.ds
    if not items_of(ds, "ReferencedImageSequence"):
        kind = out.error if text(ds, "AnnotationCoordinateType") != "3D" else out.warning
        message = "is missing: nobody knows on which image the coordinates are"
        kind(where("", "ReferencedImageSequence"), message, "refer to the slide's image", "C.37.1.1")
    groups = items_of(ds, "AnnotationGroupSequence")
    uids: dict[str, int] = {}
    for place, group in enumerate(groups, start=1):
        path = f"AnnotationGroupSequence[{place}]"
        value = number(group, "AnnotationGroupNumber")
        if value != place:
            shown = "missing" if value is None else f"{value:g}"
            out.error(where(path, "AnnotationGroupNumber"), f"is {shown}; expected {place}", "count from 1", _SECTION)
        uid = text(group, "AnnotationGroupUID")
        if not uid:
            out.error(where(path, "AnnotationGroupUID"), "is missing: nothing can refer to the group", "", _SECTION)
        elif uid in uids:
            out.error(where(path, "AnnotationGroupUID"), f"is that of group {uids[uid]}, too", "", _SECTION)
        uids.setdefault(uid, place)
        if not text(group, "AnnotationGroupLabel"):
            out.error(where(path, "AnnotationGroupLabel"), "is missing or empty", "", _SECTION)
        _check_group(ds, group, path, out)


def _array(ds: Dataset, keyword: str, dtype: str) -> npt.NDArray[Any]:
    raw = ds.get(keyword)
    if not isinstance(raw, bytes) or len(raw) % np.dtype(dtype).itemsize:
        return np.empty(0, dtype)
    return np.frombuffer(raw, dtype)


def _check_group(ds: Dataset, group: Dataset, path: str, out: Findings) -> None:
    flat = text(ds, "AnnotationCoordinateType") == "2D"
    both = "PointCoordinatesData" in group and "DoublePointCoordinatesData" in group
    keyword = "DoublePointCoordinatesData" if "DoublePointCoordinatesData" in group else "PointCoordinatesData"
    here = where(path, keyword)
    if both:
        out.error(here, "stands beside Point Coordinates Data", "write one of them", _SECTION)
    points = _array(group, keyword, "<f8" if keyword.startswith("Double") else "<f4")
    common = "CommonZCoordinateValue" in group
    size = 2 if flat or common else 3
    if not len(points) or len(points) % size:
        out.error(here, f"holds {len(points)} numbers, which are no points of {size} coordinates", "", _SECTION)
        return
    if not np.isfinite(points).all():
        out.error(here, "holds numbers that are not finite", "", _SECTION)
    count, graphic = int(number(group, "NumberOfAnnotations") or 0), text(group, "GraphicType")
    each = _POINTS.get(graphic, 0)
    n_points = len(points) // size
    if each and n_points != each * count:
        out.error(
            where(path, "NumberOfAnnotations"), f"is {count}; {n_points} points are {n_points / each:g} of {graphic}",
            "", _SECTION,
        )  # fmt: skip
    if graphic in ("POLYLINE", "POLYGON"):
        _check_index(group, path, count, len(points), size, graphic, out)
    elif "LongPrimitivePointIndexList" in group:
        here = where(path, "LongPrimitivePointIndexList")
        out.error(here, f"is present of {graphic}, whose points are counted", "leave it out", _SECTION)
    if flat:
        _check_matrix(ds, points.reshape(-1, size), here, out)
    _check_measurements(group, path, count, out)
    _check_algorithm(group, path, out)


def _check_index(group: Dataset, path: str, count: int, n_numbers: int, size: int, graphic: str, out: Findings) -> None:
    here, hint = where(path, "LongPrimitivePointIndexList"), "where each begins, in numbers of the flat list, from 1"
    index = _array(group, "LongPrimitivePointIndexList", "<u4").astype(np.int64)
    if len(index) != count:
        message = f"is {count}; the index list has {len(index)}"
        out.error(where(path, "NumberOfAnnotations"), message, hint, _SECTION)
        return
    if not len(index):
        return
    if index[0] != 1:
        out.error(here, f"begins with {index[0]}; the first number is counted 1", hint, _SECTION)
        return
    steps = np.diff(np.append(index, n_numbers + 1))
    if (steps <= 0).any():
        wrong = int(np.flatnonzero(steps <= 0)[0])
        out.error(here, f"entry {wrong + 1}, {index[wrong]}, is followed by no later one", hint, _SECTION)
        return
    if (steps % size).any():
        wrong = int(np.flatnonzero(steps % size)[0])
        out.error(here, f"annotation {wrong + 1} has {steps[wrong]} numbers, no points of {size}", hint, _SECTION)
        return
    least = 2 if graphic == "POLYLINE" else 3
    if (steps < least * size).any():
        wrong = int(np.flatnonzero(steps < least * size)[0])
        out.warning(here, f"annotation {wrong + 1} has fewer than {least} points", "", _SECTION)


def _check_matrix(ds: Dataset, points: npt.NDArray[Any], path: str, out: Findings) -> None:
    if len(points) and float(points.min()) < 0:
        out.warning(path, "holds negative coordinates, outside the matrix", "", _SECTION)


def _check_measurements(group: Dataset, path: str, count: int, out: Findings) -> None:
    for place, item in enumerate(items_of(group, "MeasurementsSequence"), start=1):
        inner = f"{path}.MeasurementsSequence[{place}]"
        if not items_of(item, "MeasurementUnitsCodeSequence"):
            out.error(where(inner, "MeasurementUnitsCodeSequence"), "is missing: the values have no unit", "", _SECTION)
        for values in items_of(item, "MeasurementValuesSequence"):
            here = f"{inner}.MeasurementValuesSequence[1]"
            measured = _array(values, "FloatingPointValues", "<f4")
            if not len(measured):
                measured = np.array(numbers(values, "FloatingPointValues"))
            if "AnnotationIndexList" not in values:
                if len(measured) != count:
                    out.error(
                        where(here, "FloatingPointValues"), f"has {len(measured)} values of {count} annotations",
                        "one for each, or an index list", _SECTION,
                    )  # fmt: skip
                continue
            index = _array(values, "AnnotationIndexList", "<u4").astype(np.int64)
            if len(index) != len(measured):
                message = f"has {len(measured)} values, its index list {len(index)}"
                out.error(where(here, "FloatingPointValues"), message, "", _SECTION)
            if len(index) and (index.min() < 1 or index.max() > count):
                message = f"refers to annotations {index.min()} to {index.max()} of {count}"
                out.error(where(here, "AnnotationIndexList"), message, "count from 1", _SECTION)


def _check_algorithm(group: Dataset, path: str, out: Findings) -> None:
    kind = text(group, "AnnotationGroupGenerationType")
    if kind in ("AUTOMATIC", "SEMIAUTOMATIC") and not items_of(group, "AnnotationGroupAlgorithmIdentificationSequence"):
        here = where(path, "AnnotationGroupAlgorithmIdentificationSequence")
        out.error(here, f"is missing of an {kind} group", "name the algorithm", _SECTION)
