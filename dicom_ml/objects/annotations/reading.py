"""Bulk annotations of any maker, read without a copy of their coordinates (PS3.3 A.87, C.37.1)."""

from __future__ import annotations

import io
import mmap
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_from_dataset
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.elements import Buffer, FileView, NotLean, elements_of, items_of
from dicom_ml.encoding.untrusted import dcmread, understood
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.annotations import Annotations
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup, AnnotationMeasurement
from dicom_ml.objects.annotations.tags import (
    DOUBLE_POINTS,
    GROUPS,
    MEASUREMENTS,
    POINT_INDICES,
    POINTS,
    VALUE_INDICES,
    VALUES,
    VALUES_SEQUENCE,
)

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_annotations"]

Array = npt.NDArray[Any]
_UNKNOWN = Code("UNKNOWN", "99UNKNOWN", "Unknown")


def read_annotations(path: str | os.PathLike[str]) -> Annotations:
    """Read bulk annotations of any maker; coordinates stay in the file, mapped into memory.

    Raises
    ------
    FileError
        If it is no such object, or contradicts itself.
    """
    name = Path(path).name
    try:
        with open(path, "rb") as file:
            data: Buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise FileError(f"{name}: cannot be opened: {error}") from error
    with understood(name):
        try:
            return _read(data, name)
        except NotLean:
            return _read(_lean(data), name)


def _lean(data: Buffer) -> bytes:
    """The file as pydicom writes it, where it is in an encoding that is not walked (deflated, big endian)."""
    from pydicom import dcmwrite
    from pydicom.uid import ExplicitVRLittleEndian

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(io.BytesIO(bytes(data)), force=True)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _read(data: Buffer, name: str) -> Annotations:
    view = FileView(data)
    sop_class = view.text(0x00080016)
    if sop_class != sop.BULK_ANNOTATIONS:
        raise FileError(
            f"{name}: holds no Microscopy Bulk Simple Annotations: its SOP class is {sop_class or 'missing'}"
        )
    place = view.places.get(GROUPS)
    if place is None:
        raise FileError(f"{name}: has no Annotation Group Sequence")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = dcmread(io.BytesIO(bytes(data[: place[1] - (8 if view.implicit else 12)])), force=True)
    kind = str(header.get("AnnotationCoordinateType") or "2D").upper()
    if kind not in ("2D", "3D"):
        raise FileError(f"{name}: has Annotation Coordinate Type {kind!r}; known are 2D and 3D")
    groups = []
    for start, end in items_of(data, place[1], place[2], view.implicit):
        try:
            groups.append(_read_group(data, start, end, view.implicit, kind))
        except (DicomMLError, ValueError) as error:
            raise FileError(f"{name}: annotation group {len(groups) + 1}: {error}") from error
    origin = str(header.get("PixelOriginInterpretation") or "VOLUME")
    return Annotations(groups, None, None, header, origin)


def _read_group(data: Buffer, start: int, end: int, implicit: bool, kind: str) -> AnnotationGroup:
    from pydicom.filereader import read_dataset

    places: dict[int, tuple[int, int]] = {}
    small = bytearray()
    position = start
    bulk = (POINTS, DOUBLE_POINTS, POINT_INDICES, MEASUREMENTS)
    for tag, (_, offset, length) in elements_of(data, start, end, implicit):
        after = offset + length
        if tag in bulk:
            places[tag] = offset, length
        else:
            small += data[position:after]
        position = after
    ds = read_dataset(io.BytesIO(bytes(small)), implicit, True)
    columns = 3 if kind == "3D" and ds.get("CommonZCoordinateValue") is None else 2
    points, doubles = places.get(POINTS), places.get(DOUBLE_POINTS)
    if points is None and doubles is None:
        raise FileError("has no point coordinates")
    flat = _array(data, points or doubles, "<f4" if points else "<f8")  # type: ignore[arg-type]
    if len(flat) % columns:
        raise FileError(f"its {len(flat)} coordinates are no points of {columns}")
    graphic = str(ds.get("GraphicType") or "").upper()
    offsets = None
    if GRAPHICS.get(graphic, 0) is None:
        if POINT_INDICES not in places:
            raise FileError(f"{graphic} items have no Long Primitive Point Index List")
        offsets = _first_points(_array(data, places[POINT_INDICES], "<u4"), columns)
    group = AnnotationGroup(
        label=str(ds.get("AnnotationGroupLabel") or "Group")[:64],
        type=_code(ds, "AnnotationPropertyTypeCodeSequence"),
        category=_code(ds, "AnnotationPropertyCategoryCodeSequence"),
        graphic=graphic,
        points=flat.reshape(-1, columns),
        offsets=offsets,
        algorithm=_algorithm(ds),
        description=str(ds.get("AnnotationGroupDescription") or ""),
        uid=str(ds.get("AnnotationGroupUID") or ""),
        z=None if ds.get("CommonZCoordinateValue") is None else float(ds.CommonZCoordinateValue),
    )
    announced = ds.get("NumberOfAnnotations")
    if announced is not None and int(announced) != len(group):
        raise FileError(f"announces {announced} annotations and holds {len(group)}")
    if MEASUREMENTS in places:
        measured = tuple(_read_measurements(data, places[MEASUREMENTS], implicit, len(group)))
        object.__setattr__(group, "measurements", measured)
    return group


def _first_points(indices: Array, columns: int) -> Array:
    """Number of each item's first point, from its first coordinate, which is counted from 1."""
    if columns == 2:  # all are odd, and half of them is the point
        sound = bool(np.bitwise_and.reduce(indices) & 1)
        offsets = (indices >> 1).astype(np.int64)
    else:
        offsets, rest = np.divmod(indices.astype(np.int64) - 1, columns)
        sound = not rest.any()
    if not sound:
        raise FileError("the Long Primitive Point Index List points into the middle of points")
    return offsets


def _array(data: Buffer, place: tuple[int, int], dtype: str) -> Array:
    item = np.dtype(dtype).itemsize
    return np.frombuffer(data, dtype, place[1] // item, place[0])


def _read_measurements(
    data: Buffer, place: tuple[int, int], implicit: bool, count: int
) -> Iterator[AnnotationMeasurement]:
    from pydicom.filereader import read_dataset

    for start, end in items_of(data, *place, implicit):
        small, position = bytearray(), start
        values = np.full(count, np.nan, dtype=np.float32)
        for tag, (_, offset, length) in elements_of(data, start, end, implicit):
            if tag == VALUES_SEQUENCE:
                _read_values(data, offset, length, implicit, values)
            else:
                small += data[position : offset + length]
            position = offset + length
        ds = read_dataset(io.BytesIO(bytes(small)), implicit, True)
        unit = _code(ds, "MeasurementUnitsCodeSequence")
        yield AnnotationMeasurement(_code(ds, "ConceptNameCodeSequence"), unit, values)


def _read_values(data: Buffer, offset: int, length: int, implicit: bool, values: Array) -> None:
    for start, end in items_of(data, offset, length, implicit):
        places = {tag: (o, n) for tag, (_, o, n) in elements_of(data, start, end, implicit)}
        if VALUES not in places:
            raise FileError("a measurement has no values")
        found = _array(data, places[VALUES], "<f4")
        if VALUE_INDICES in places:
            index = _array(data, places[VALUE_INDICES], "<u4").astype(np.int64) - 1
            if len(index) != len(found) or (len(index) and (index.min() < 0 or index.max() >= len(values))):
                raise FileError("a measurement's Annotation Index List does not fit its values or the annotations")
            values[index] = found
        elif len(found) != len(values):
            raise FileError(f"a measurement has {len(found)} values for {len(values)} annotations")
        else:
            values[:] = found
        return


def _code(ds: Dataset, keyword: str) -> Code:
    sequence = ds.get(keyword)
    try:
        return code_from_dataset(sequence[0]) if sequence else _UNKNOWN
    except DicomMLError:
        return _UNKNOWN


def _algorithm(ds: Dataset) -> Algorithm | None:
    kind = str(ds.get("AnnotationGroupGenerationType") or "").upper()
    if kind == "MANUAL":
        return Algorithm.manual()
    items = ds.get("AnnotationGroupAlgorithmIdentificationSequence")
    if kind not in ("AUTOMATIC", "SEMIAUTOMATIC"):
        return None
    item = items[0] if items else None
    name, version = (
        ("unknown", "unknown") if item is None else (item.get("AlgorithmName"), item.get("AlgorithmVersion"))
    )
    return Algorithm(str(name or "unknown")[:64], str(version or "unknown")[:64], type=kind)
