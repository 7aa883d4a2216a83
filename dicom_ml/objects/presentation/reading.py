"""Presentation states of any maker, as they lie in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.objects.parsing import file_bytes, parse_file
from dicom_ml.objects.presentation.areas import read_areas, read_orientation
from dicom_ml.objects.presentation.blending import read_blends, read_inputs, read_rescale
from dicom_ml.objects.presentation.content import KINDS, Content
from dicom_ml.objects.presentation.graphics import read_annotation, read_layers
from dicom_ml.objects.presentation.lookup import read_table, read_voi_items
from dicom_ml.objects.presentation.palettes import Palette
from dicom_ml.objects.presentation.shutters import read_overlays, read_shutter
from dicom_ml.objects.report.items import Reference

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["StoredState", "open_state"]


class StoredState:
    """A presentation state as it lies in a file.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    data : bytes
        The whole file.
    dataset : Dataset
    content : Content
    problems : list of str
        What could not be understood and is left out.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name, self.data = name, data
        self.dataset, self.problems = parse_file(data, name)
        kind = str(self.dataset.get("SOPClassUID") or "")
        names = {uid: key for key, uid in KINDS.items()}
        if kind not in names:
            raise FileError(
                f"{name}: is no presentation state that is read here: its SOP class is {kind or 'missing'}; known are "
                + ", ".join(KINDS)
            )
        try:
            self.content = self._read(names[kind])
        except DicomMLError as error:
            raise FileError(f"{name}: {error}") from error
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            raise FileError(f"{name}: an attribute of the state cannot be used: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredState, (self.data, self.name)

    def _read(self, kind: str) -> Content:
        ds = self.dataset
        self._where = self._listed()
        annotations = [
            read_annotation(item, self._images(item), self.problems)
            for item in ds.get("GraphicAnnotationSequence") or []
        ]
        inputs = tuple(read_inputs(ds, self._input_references, self._images))
        if inputs:
            references = tuple(dict.fromkeys(r for one in inputs for r in one.references))
        else:
            references = self._relationship()
        return Content(
            kind=kind,
            references=references,
            rescale=read_rescale(ds),
            voi=tuple(
                v for item in ds.get("SoftcopyVOILUTSequence") or [] for v in read_voi_items(item, self._images(item))
            ),
            grey=self._grey(),
            palette=Palette.from_dataset(ds),
            orientation=read_orientation(ds),
            areas=tuple(read_areas(ds, self._images)),
            layers=tuple(read_layers(ds)),
            annotations=tuple(a for a in annotations if a is not None),
            shutter=read_shutter(ds),
            overlays=tuple(read_overlays(ds)),
            inputs=inputs,
            blends=tuple(read_blends(ds, inputs)),
            icc_profile=bytes(ds.ICCProfile) if ds.get("ICCProfile") else None,
        )

    def _grey(self) -> Any:
        table = self.dataset.get("PresentationLUTSequence")
        if table:
            return read_table(table[0])
        shape = str(self.dataset.get("PresentationLUTShape") or "IDENTITY").upper()
        if shape not in ("IDENTITY", "INVERSE"):
            raise FileError(f"Presentation LUT Shape is {shape!r}; expected IDENTITY or INVERSE")
        return shape

    # ------------------------------------------------------------------ references
    def _relationship(self) -> tuple[Reference, ...]:
        """Presentation State Relationship (PS3.3 C.11.11)."""
        study = str(self.dataset.get("StudyInstanceUID") or "")
        return tuple(
            _reference(item, str(series.get("SeriesInstanceUID") or ""), study)
            for series in self.dataset.get("ReferencedSeriesSequence") or []
            for item in series.get("ReferencedImageSequence") or []
        )

    def _listed(self) -> dict[str, tuple[str, str, str]]:
        """SOP Instance UID -> class, series and study, of all that the state lists."""
        studies = [(self.dataset, str(self.dataset.get("StudyInstanceUID") or ""))]
        studies += [
            (item, str(item.get("StudyInstanceUID") or ""))
            for item in self.dataset.get("StudiesContainingOtherReferencedInstancesSequence") or []
        ]
        found = {}
        for item, study in studies:
            for series in item.get("ReferencedSeriesSequence") or []:
                uid = str(series.get("SeriesInstanceUID") or "")
                for keyword in ("ReferencedImageSequence", "ReferencedInstanceSequence"):
                    for one in series.get(keyword) or []:
                        kind = str(one.get("ReferencedSOPClassUID") or "")
                        found[str(one.get("ReferencedSOPInstanceUID") or "")] = kind, uid, study
        return found

    def _images(self, item: Dataset) -> tuple[Reference, ...]:
        """Images that a part of the state is for; empty for all."""
        return tuple(
            _reference(one, *self._where.get(str(one.get("ReferencedSOPInstanceUID") or ""), ("", "", ""))[1:])
            for one in item.get("ReferencedImageSequence") or []
        )

    def _input_references(self, item: Dataset, study: str, series: str) -> tuple[Reference, ...]:
        """Images of an input: those it names, else all of its series that are listed."""
        named = item.get("ReferencedImageSequence")
        if named:
            return tuple(_reference(one, series, study) for one in named)
        return tuple(
            Reference(kind, uid, series_instance_uid=series, study_instance_uid=own)
            for uid, (kind, listed, own) in self._where.items()
            if listed == series
        )


def _reference(item: Dataset, series: str, study: str) -> Reference:
    value = item.get("ReferencedFrameNumber")
    if value is None or value == "":
        frames: tuple[int, ...] = ()
    else:
        frames = tuple(int(v) for v in value) if hasattr(value, "__iter__") else (int(value),)
    return Reference(
        str(item.get("ReferencedSOPClassUID") or ""),
        str(item.get("ReferencedSOPInstanceUID") or ""),
        frames,
        series_instance_uid=series,
        study_instance_uid=study,
    )


def open_state(source: str | os.PathLike[str] | bytes) -> StoredState:
    """Open a presentation state from a path or from the bytes of a file.

    Raises
    ------
    FileError
        If it is none, or damaged.
    """
    return StoredState(source, "presentation state") if isinstance(source, bytes) else StoredState(*file_bytes(source))
