"""Microscopy Bulk Simple Annotations: written from flat arrays, read without a copy (PS3.3 A.87, C.37.1)."""

from __future__ import annotations

import io
import mmap
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_from_dataset, code_to_dataset
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.elements import Buffer, FileView, NotLean, elements_of, items_of
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.untrusted import understood
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, file_head, sequence_bytes
from dicom_ml.errors import DicomMLError, EncodingError, FileError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations.group import GRAPHICS, AnnotationGroup, AnnotationMeasurement
from dicom_ml.objects.derived import Description, add_series, copied_dataset, declare_characters, describe, header_bytes
from dicom_ml.objects.saving import saved_file
from dicom_ml.objects.tiling import instances_of
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Annotations", "read_annotations"]

_GROUPS = 0x006A0002
_NUMBER, _POINTS, _DOUBLES, _INDICES, _MEASURES = 0x0040A180, 0x00660016, 0x00660022, 0x00660040, 0x00660121
_VALUES_SEQUENCE, _VALUES, _VALUE_INDICES = 0x00660132, 0x00660125, 0x006A0011
_UNITS, _NAME = 0x004008EA, 0x0040A043
_UNKNOWN = Code("UNKNOWN", "99UNKNOWN", "Unknown")
#: Bytes, or arrays that are written as they lie in memory.
Part = Any
Array = npt.NDArray[Any]


class Annotations:
    """Bulk annotations of a slide: made by :meth:`from_groups`, or read by :func:`read_annotations`.

    Attributes
    ----------
    groups : list of AnnotationGroup
    coordinate_type : str
        ``"2D"``: pixels of the total pixel matrix; ``"3D"``: slide millimetres.
    referenced_images : list of str
        SOP Instance UIDs of the images that coordinates refer to.
    """

    def __init__(
        self,
        groups: Sequence[AnnotationGroup],
        source: SourceSeries | None,
        description: Description | None,
        header: Dataset | None = None,
        origin: str = "VOLUME",
    ) -> None:
        self.groups = list(groups)
        self.source = source
        self.pixel_origin = origin
        self._description = description
        self._header = header

    @classmethod
    def from_groups(
        cls, groups: Sequence[AnnotationGroup], *, source: Any, deterministic: bool = False, **settings: Any
    ) -> Annotations:
        """Describe groups of annotations of a slide.

        Parameters
        ----------
        groups : sequence of AnnotationGroup
            All of two, or all of three dimensions. Their arrays are not copied.
        source : Slide, SourceSeries or str
            Two-dimensional coordinates are pixels of its finest level.
        deterministic : bool
            Derive the object's UIDs from source, groups' labels and settings.
        **settings
            As in :class:`dicom_ml.objects.derived.Description`.

        Raises
        ------
        EncodingError
            If there are no groups, they mix dimensions, or do not say how they were made.
        """
        record = as_source(source).check()
        if not groups:
            raise EncodingError("an annotation object holds at least one group")
        if len({g.dimensions for g in groups}) > 1:
            raise EncodingError("groups of one object have all two or all three dimensions; write two objects")
        for group in groups:
            if group.algorithm is None:
                raise EncodingError(
                    f"group {group.label!r} does not say how it was made; give it algorithm=Algorithm(name, version), "
                    "or algorithm='manual'"
                )
        seed = (record.series_instance_uid, *record.sop_instance_uids, *[(g.label, len(g)) for g in groups])
        defaults = {"series_description": "Annotations", "content_label": "ANNOTATIONS"}
        described = describe(settings, defaults, ("ann", repr(seed)) if deterministic else None)
        return cls(groups, record, described)

    # ------------------------------------------------------------------ facts
    @property
    def coordinate_type(self) -> str:
        """``"2D"`` or ``"3D"``."""
        return f"{self.groups[0].dimensions}D" if self.groups else "2D"

    @property
    def referenced_images(self) -> list[str]:
        """SOP Instance UIDs of the images that coordinates refer to."""
        if self._header is not None:
            return [str(i.ReferencedSOPInstanceUID) for i in self._header.get("ReferencedImageSequence") or []]
        return list(self._images()) if self.source is not None else []

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of reference of three-dimensional coordinates; empty where the file has none."""
        if self._header is not None:
            return str(self._header.get("FrameOfReferenceUID") or "")
        return self.source.frame_of_reference_uid if self.source is not None else ""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        if self._header is not None:
            return str(self._header.get("SOPInstanceUID", ""))
        return self._description.sop_instance_uid if self._description else ""

    def __len__(self) -> int:
        return len(self.groups)

    def __repr__(self) -> str:
        names = ", ".join(f"{g.label}: {len(g)} {g.graphic.lower()}s" for g in self.groups[:4])
        return f"Annotations({self.coordinate_type}; {names})"

    def find(self, *, label: str | None = None, type: Any = None, graphic: str | None = None) -> list[AnnotationGroup]:
        """Groups by label, property type and graphic."""
        from dicom_ml.codes import parse_code

        code = None if type is None else parse_code(type)
        return [
            g
            for g in self.groups
            if (label is None or g.label == label)
            and (code is None or g.type == code)
            and (graphic is None or g.graphic == graphic.upper())
        ]

    # ------------------------------------------------------------------ other formats
    def to_geojson(self, path: str | os.PathLike[str], **options: Any) -> str:
        """Write GeoJSON that QuPath reads; see :func:`dicom_ml.objects.annotations.annotations_to_geojson`."""
        from dicom_ml.objects.annotations.geojson import annotations_to_geojson

        return annotations_to_geojson(self, path, **options)

    @classmethod
    def from_geojson(
        cls, path: str | os.PathLike[str], *, source: Any, types: Any = None, **options: Any
    ) -> Annotations:
        """Read GeoJSON of QuPath and others; see :func:`dicom_ml.objects.annotations.annotations_from_geojson`."""
        from dicom_ml.objects.annotations.geojson import annotations_from_geojson

        return annotations_from_geojson(path, source=source, types=types, **options)

    def to_csv(self, path: str | os.PathLike[str], **options: Any) -> str:
        """Write a table; see :func:`dicom_ml.objects.annotations.annotations_to_csv`."""
        from dicom_ml.objects.annotations.tables import annotations_to_csv

        return annotations_to_csv(self, path, **options)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, source: Any, types: Any = None, **options: Any) -> Annotations:
        """Read a table; see :func:`dicom_ml.objects.annotations.annotations_from_csv`."""
        from dicom_ml.objects.annotations.tables import annotations_from_csv

        return annotations_from_csv(path, source=source, types=types, **options)

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], validate: bool = False) -> str:
        """Write the object; arrays go to the file as they lie in memory.

        Parameters
        ----------
        path : path
        validate : bool
            Check the complete file as :func:`dicom_ml.validate` does, and leave nothing where it has an error.

        Raises
        ------
        EncodingError
            If it was read from a file, an array passes 4 GiB, or the object does not conform.
        """
        head, parts = self._parts()
        with saved_file(path, self.source, validate) as file:
            file.write(head)
            for part in parts:
                view = memoryview(part).cast("B") if not isinstance(part, bytes) else memoryview(part)
                while len(view):
                    view = view[file.write(view) or 0 :]
        return os.fspath(path)

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        head, parts = self._parts()
        whole = io.BytesIO(b"".join([head, *(p if isinstance(p, bytes) else np.asarray(p).tobytes() for p in parts)]))
        ds: Dataset = dcmread(whole)
        return ds

    def _parts(self) -> tuple[bytes, list[Part]]:
        if self.source is None or self._description is None:
            raise EncodingError(
                "annotations that were read are written again with from_groups(ann.groups, source=slide)"
            )
        ds = copied_dataset(self.source)
        ds.SOPClassUID = sop.BULK_ANNOTATIONS
        add_series(ds, self.source, self._description, "ANN")
        ds.AnnotationCoordinateType = self.coordinate_type
        ds.ReferencedImageSequence = list(self._references())
        if self.coordinate_type == "2D":
            ds.PixelOriginInterpretation = "VOLUME"
            del ds.FrameOfReferenceUID
            if "PositionReferenceIndicator" in ds:
                del ds.PositionReferenceIndicator
        declare_characters(ds)
        groups: list[Part] = []
        length = 0
        for number, group in enumerate(self.groups, start=1):
            item = self._group_parts(group, number, ds.get("SpecificCharacterSet"))
            size = sum(map(_size, item))
            groups += [b"\xfe\xff\x00\xe0" + struct.pack("<I", _within(size)), *item]
            length += 8 + size
        start = file_head(sop.BULK_ANNOTATIONS, self._description.sop_instance_uid, "1.2.840.10008.1.2.1")
        sequence = struct.pack("<HH2sHI", 0x006A, 0x0002, b"SQ", 0, _within(length))
        before, after = ds[:_GROUPS], ds[_GROUPS:]
        tail = dataset_bytes(after, ds.get("SpecificCharacterSet"))
        return start + header_bytes(before, self.source, self._images()) + sequence, [*groups, tail]

    def _references(self) -> Iterator[Dataset]:
        from pydicom import Dataset

        for instance, sop_class in self._images().items():
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
            yield item

    def _images(self) -> dict[str, str]:
        """The image whose total pixel matrix coordinates refer to: the finest level's (first) instance."""
        assert self.source is not None
        base = instances_of(self.source, self.source.levels[0].grid) if self.source.levels else self.source.instances
        return dict(list(base.items())[:1])

    def _group_parts(self, group: AnnotationGroup, number: int, characters: str | None) -> list[Part]:
        """An item of the Annotation Group Sequence, in parts; tags ascend."""
        from pydicom import Dataset

        assert group.algorithm is not None
        assert group.offsets is not None
        parts: list[Part] = [element_bytes(_NUMBER, "US", struct.pack("<H", number))]
        single = group.points.dtype == np.dtype("<f4")
        parts += _bulk(_POINTS if single else _DOUBLES, "OF" if single else "OD", group.points)
        if GRAPHICS[group.graphic] is None:
            # counted from 1, in coordinates rather than points (PS3.3 C.37.1.2.3)
            parts += _bulk(_INDICES, "OL", (group.offsets * group.columns + 1).astype("<u4"))
        if group.measurements:
            measures = [_measurement_parts(m) for m in group.measurements]
            length = sum(8 + sum(map(_size, m)) for m in measures)
            parts.append(struct.pack("<HH2sHI", 0x0066, 0x0121, b"SQ", 0, _within(length)))
            for m in measures:
                parts += [b"\xfe\xff\x00\xe0" + struct.pack("<I", sum(map(_size, m))), *m]
        ds = Dataset()
        ds.AnnotationGroupUID = group.uid or derived_uid("annotation group", self.sop_instance_uid, number)
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


def _size(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else int(part.nbytes)


def _within(length: int) -> int:
    if length > 0xFFFFFFFE:
        raise EncodingError("annotations of one object pass 4 GiB; write several objects")
    return length


def _bulk(tag: int, vr: str, array: Array) -> list[Part]:
    """An element whose value is an array, written as it lies in memory."""
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, _within(array.nbytes))
    return [head, array]


def _measurement_parts(measured: AnnotationMeasurement) -> list[Part]:
    values, missing = measured.values, np.isnan(measured.values)
    inner: list[Part] = []
    if missing.any():
        present = np.flatnonzero(~missing)
        inner += _bulk(_VALUES, "OF", np.ascontiguousarray(values[present]))
        inner += _bulk(_VALUE_INDICES, "OL", (present + 1).astype("<u4"))
    else:
        inner += _bulk(_VALUES, "OF", values)
    size = sum(map(_size, inner))
    return [
        sequence_bytes(_UNITS, [dataset_bytes(code_to_dataset(measured.unit))])
        + sequence_bytes(_NAME, [dataset_bytes(code_to_dataset(measured.concept))])
        + struct.pack("<HH2sHI", _VALUES_SEQUENCE >> 16, _VALUES_SEQUENCE & 0xFFFF, b"SQ", 0, size + 8)
        + b"\xfe\xff\x00\xe0"
        + struct.pack("<I", size),
        *inner,
    ]


# ---------------------------------------------------------------------- reading
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

    from dicom_ml.encoding.untrusted import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(io.BytesIO(bytes(data)), force=True)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _read(data: Buffer, name: str) -> Annotations:
    from dicom_ml.encoding.untrusted import dcmread

    view = FileView(data)
    sop_class = view.text(0x00080016)
    if sop_class != sop.BULK_ANNOTATIONS:
        raise FileError(
            f"{name}: holds no Microscopy Bulk Simple Annotations: its SOP class is {sop_class or 'missing'}"
        )
    place = view.places.get(_GROUPS)
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
    bulk = (_POINTS, _DOUBLES, _INDICES, _MEASURES)
    for tag, (_, offset, length) in elements_of(data, start, end, implicit):
        after = offset + length
        if tag in bulk:
            places[tag] = offset, length
        else:
            small += data[position:after]
        position = after
    ds = read_dataset(io.BytesIO(bytes(small)), implicit, True)
    columns = 3 if kind == "3D" and ds.get("CommonZCoordinateValue") is None else 2
    points, doubles = places.get(_POINTS), places.get(_DOUBLES)
    if points is None and doubles is None:
        raise FileError("has no point coordinates")
    flat = _array(data, points or doubles, "<f4" if points else "<f8")  # type: ignore[arg-type]
    if len(flat) % columns:
        raise FileError(f"its {len(flat)} coordinates are no points of {columns}")
    graphic = str(ds.get("GraphicType") or "").upper()
    offsets = None
    if GRAPHICS.get(graphic, 0) is None:
        if _INDICES not in places:
            raise FileError(f"{graphic} items have no Long Primitive Point Index List")
        offsets = _first_points(_array(data, places[_INDICES], "<u4"), columns)
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
    if _MEASURES in places:
        measured = tuple(_read_measurements(data, places[_MEASURES], implicit, len(group)))
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
            if tag == _VALUES_SEQUENCE:
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
        if _VALUES not in places:
            raise FileError("a measurement has no values")
        found = _array(data, places[_VALUES], "<f4")
        if _VALUE_INDICES in places:
            index = _array(data, places[_VALUE_INDICES], "<u4").astype(np.int64) - 1
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
