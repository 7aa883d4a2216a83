"""Microscopy Bulk Simple Annotations, made or read, and written from flat arrays (PS3.3 A.87)."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.writer import dataset_bytes, file_head
from dicom_ml.errors import EncodingError
from dicom_ml.objects.annotations.group import AnnotationGroup
from dicom_ml.objects.annotations.tags import GROUPS
from dicom_ml.objects.annotations.writing import Part, group_parts, size_of, within
from dicom_ml.objects.derived import Description, add_series, copied_dataset, declare_characters, describe, header_bytes
from dicom_ml.objects.saving import saved_file
from dicom_ml.objects.tiling import instances_of
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Annotations"]


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
            item = group_parts(group, number, self.sop_instance_uid, ds.get("SpecificCharacterSet"))
            size = sum(map(size_of, item))
            groups += [b"\xfe\xff\x00\xe0" + struct.pack("<I", within(size)), *item]
            length += 8 + size
        start = file_head(sop.BULK_ANNOTATIONS, self._description.sop_instance_uid, "1.2.840.10008.1.2.1")
        sequence = struct.pack("<HH2sHI", 0x006A, 0x0002, b"SQ", 0, within(length))
        before, after = ds[:GROUPS], ds[GROUPS:]
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
