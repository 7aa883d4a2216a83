"""Groups of bulk annotations as elements: arrays go out as they lie in memory (PS3.3 C.37.1.2)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import code_to_dataset
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, sequence_bytes
from dicom_ml.errors import EncodingError
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup, AnnotationMeasurement
from dicom_ml.objects.annotations.tags import (
    CONCEPT_NAME,
    DOUBLE_POINTS,
    GROUP_NUMBER,
    POINT_INDICES,
    POINTS,
    UNITS,
    VALUE_INDICES,
    VALUES,
    VALUES_SEQUENCE,
)

__all__ = ["Part", "group_parts", "size_of", "within"]

Array = npt.NDArray[Any]
#: Bytes, or arrays that are written as they lie in memory.
Part = Any


def group_parts(group: AnnotationGroup, number: int, instance: str, characters: str | None) -> list[Part]:
    """An item of the Annotation Group Sequence of an object, in parts; tags ascend."""
    from pydicom import Dataset

    assert group.algorithm is not None
    assert group.offsets is not None
    parts: list[Part] = [element_bytes(GROUP_NUMBER, "US", struct.pack("<H", number))]
    single = group.points.dtype == np.dtype("<f4")
    parts += _bulk(POINTS if single else DOUBLE_POINTS, "OF" if single else "OD", group.points)
    if GRAPHICS[group.graphic] is None:
        # counted from 1, in coordinates rather than points (PS3.3 C.37.1.2.3)
        parts += _bulk(POINT_INDICES, "OL", (group.offsets * group.columns + 1).astype("<u4"))
    if group.measurements:
        measures = [_measurement_parts(m) for m in group.measurements]
        length = sum(8 + sum(map(size_of, m)) for m in measures)
        parts.append(struct.pack("<HH2sHI", 0x0066, 0x0121, b"SQ", 0, within(length)))
        for m in measures:
            parts += [b"\xfe\xff\x00\xe0" + struct.pack("<I", sum(map(size_of, m))), *m]
    ds = Dataset()
    ds.AnnotationGroupUID = group.uid or derived_uid("annotation group", instance, number)
    ds.AnnotationGroupLabel = group.label
    if group.description:
        ds.AnnotationGroupDescription = group.description
    ds.AnnotationGroupGenerationType = group.algorithm.type
    if not group.algorithm.is_manual:
        ds.AnnotationGroupAlgorithmIdentificationSequence = [group.algorithm.to_dataset()]
    ds.AnnotationPropertyCategoryCodeSequence = [code_to_dataset(group.category)]
    ds.AnnotationPropertyTypeCodeSequence = [code_to_dataset(group.type)]
    ds.NumberOfAnnotations = len(group)
    ds.AnnotationAppliesToAllOpticalPaths = "YES"
    if group.dimensions == 3:
        ds.AnnotationAppliesToAllZPlanes = "NO"
        if group.z is not None:
            ds.CommonZCoordinateValue = float(group.z)
    ds.GraphicType = group.graphic
    return [*parts, dataset_bytes(ds, characters)]


def size_of(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else int(part.nbytes)


def within(length: int) -> int:
    if length > 0xFFFFFFFE:
        raise EncodingError("annotations of one object pass 4 GiB; write several objects")
    return length


def _bulk(tag: int, vr: str, array: Array) -> list[Part]:
    """An element whose value is an array, written as it lies in memory."""
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, within(array.nbytes))
    return [head, array]


def _measurement_parts(measured: AnnotationMeasurement) -> list[Part]:
    values, missing = measured.values, np.isnan(measured.values)
    inner: list[Part] = []
    if missing.any():
        present = np.flatnonzero(~missing)
        inner += _bulk(VALUES, "OF", np.ascontiguousarray(values[present]))
        inner += _bulk(VALUE_INDICES, "OL", (present + 1).astype("<u4"))
    else:
        inner += _bulk(VALUES, "OF", values)
    size = sum(map(size_of, inner))
    return [
        sequence_bytes(UNITS, [dataset_bytes(code_to_dataset(measured.unit))])
        + sequence_bytes(CONCEPT_NAME, [dataset_bytes(code_to_dataset(measured.concept))])
        + struct.pack("<HH2sHI", VALUES_SEQUENCE >> 16, VALUES_SEQUENCE & 0xFFFF, b"SQ", 0, size + 8)
        + b"\xfe\xff\x00\xe0"
        + struct.pack("<I", size),
        *inner,
    ]
