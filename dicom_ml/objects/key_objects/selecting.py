"""What a user selects, as references: slices, images, frames, segments, whole series, any object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, GeometryError, SeriesError
from dicom_ml.objects.report.canvas import Canvas, array_canvas, rebase_slice
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.segments import SegmentationFrame, SegmentReference
from dicom_ml.source import SourceSeries, as_source, copied_attributes

__all__ = ["Selector", "datasets_of", "record_of", "reference_to", "value_type_of"]

_WAVEFORMS = (sop.STORAGE + "9.",)
#: Objects without pixels: reports, presentation states, annotations, plans, structure sets, registrations, documents.
_OTHERS = tuple(
    sop.STORAGE + tail
    for tail in (
        "11.", "66", "67", "68.", "78.", "79.1", "80.1", "88.", "90.1", "91.1", "104.",
        "481.3", "481.4", "481.5", "481.6", "481.7", "481.8", "481.9",
    )
)  # fmt: skip


def value_type_of(reference: Reference) -> str:
    """``"IMAGE"``, ``"WAVEFORM"`` or ``"COMPOSITE"``: how content refers to objects of that class."""
    uid = reference.sop_class_uid
    if uid.startswith(_WAVEFORMS):
        return "WAVEFORM"
    if uid in sop.SEGMENTATIONS:
        return "IMAGE"
    return "COMPOSITE" if uid.startswith(_OTHERS) else "IMAGE"


def reference_to(thing: Any) -> Reference:
    """A reference to one object: a Reference, a data set, or anything of this package that was made or read.

    Raises
    ------
    EncodingError
        If it is none of these, or has no identity.
    """
    if isinstance(thing, Reference):
        return thing
    if isinstance(thing, SegmentReference | SegmentationFrame):
        return thing.reference
    if hasattr(thing, "segments") and hasattr(thing, "label_map"):  # a segmentation, which is not encoded for this
        found = replace(SegmentReference(thing, 1).reference, segments=())
        if found.series_instance_uid:
            return found
    dataset = thing if hasattr(thing, "SOPInstanceUID") else None
    if dataset is None and hasattr(thing, "sop_instance_uid") and hasattr(thing, "dataset"):
        dataset = thing.dataset
    if dataset is None:
        raise EncodingError(f"an object or a Reference to one was expected, found {type(thing).__name__}")
    found = Reference(
        str(dataset.get("SOPClassUID", "")),
        str(dataset.get("SOPInstanceUID", "")),
        series_instance_uid=str(dataset.get("SeriesInstanceUID", "")),
        study_instance_uid=str(dataset.get("StudyInstanceUID", "")),
    )
    if not (found.sop_class_uid and found.sop_instance_uid and found.series_instance_uid):
        raise EncodingError("an object without SOP class, SOP instance or series UID cannot be referred to")
    return found


def datasets_of(source: Any) -> list[Any]:
    """The pydicom data sets of images that a source was given as; none where it is something else."""
    given = [source] if hasattr(source, "SOPClassUID") else source
    if isinstance(given, list | tuple) and given and all(hasattr(ds, "Rows") for ds in given):
        return list(given)
    return []


def record_of(source: Any) -> SourceSeries:
    """As :func:`~dicom_ml.source.as_source`, and of data sets that form no stack a record without a grid.

    Images are marked, captured or shown wherever they lie: cine loops, localizers, projections.

    Raises
    ------
    EncodingError, SeriesError
        If the source is no source, or data sets are of several series or without UIDs.
    """
    datasets = datasets_of(source)
    try:
        return as_source(source).check()
    except (SeriesError, GeometryError):
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
        whole = datasets and all(ds.get(keyword) for ds in datasets for keyword in keywords)
        if not whole or any(len({str(ds.get(k)) for ds in datasets}) > 1 for k in keywords[:2]):
            raise
    counts = [max(1, int(ds.get("NumberOfFrames") or 1)) for ds in datasets]
    frames = len(datasets) == 1 and counts[0] > 1  # frames of one image count as its slices
    first = datasets[0]
    repeat = counts[0] if frames else 1
    return SourceSeries(
        modality=str(first.get("Modality") or ""),
        study_instance_uid=str(first.StudyInstanceUID),
        series_instance_uid=str(first.SeriesInstanceUID),
        frame_of_reference_uid=str(first.get("FrameOfReferenceUID") or ""),
        sop_class_uids=tuple(str(ds.SOPClassUID) for ds in datasets) * repeat,
        sop_instance_uids=tuple(str(ds.SOPInstanceUID) for ds in datasets) * repeat,
        frame_numbers=tuple(range(1, repeat + 1)) if frames else None,
        attributes=copied_attributes(first),
    )


class Selector:
    """Turns what a user selects into references.

    Parameters
    ----------
    source : Volume, Slide, SourceSeries, str or list of Dataset
    record : SourceSeries
        Of that source.

    Attributes
    ----------
    records : dict
        Study Instance UID to the record of a source of that study, in order of first use.
    """

    def __init__(self, source: Any, record: SourceSeries) -> None:
        self._record = record
        self._canvas = Canvas.of(record)
        self._array = array_canvas(source, record)
        self.records: dict[str, SourceSeries] = {record.study_instance_uid: record}

    def references(self, images: Sequence[Any] | None) -> list[Reference]:
        """Each selected object once, in order.

        Raises
        ------
        EncodingError, GeometryError
            Naming what is no object, or no slice of the source.
        """
        found: dict[Reference, Reference] = {}
        for chosen in [self._record] if images is None else images:
            for reference in self._each(chosen):
                if not reference.study_instance_uid:
                    reference = replace(reference, study_instance_uid=self._record.study_instance_uid)
                if not reference.series_instance_uid:
                    reference = self._known(reference)
                whole = replace(reference, frames=())
                held = found.get(whole)
                # frames of one image that are chosen one by one are one reference
                frames = () if held is None or not held.frames or not reference.frames else held.frames
                found[whole] = replace(reference, frames=tuple(dict.fromkeys((*frames, *reference.frames))))
                if held is not None and not held.frames:
                    found[whole] = held
        if not found:
            raise EncodingError("a selection holds at least one object")
        return list(found.values())

    def _each(self, chosen: Any) -> Iterator[Reference]:
        if isinstance(chosen, tuple) and len(chosen) == 2:
            state = reference_to(chosen[1])
            for reference in self._each(chosen[0]):
                yield replace(reference, presentation=state)
            return
        if isinstance(chosen, int) or hasattr(chosen, "__index__"):
            d = int(chosen)
            if self._array is not None:
                d = rebase_slice(d, self._array, self._canvas)
            yield self._canvas.image(d)
        elif isinstance(chosen, str) and not chosen.startswith("dml1:"):
            if chosen not in self._record.instances:
                raise EncodingError(f"the source has no instance {chosen}")
            yield self._of(self._record, chosen)
        elif isinstance(chosen, Reference | SegmentReference | SegmentationFrame) or (
            hasattr(chosen, "SOPInstanceUID") or (hasattr(chosen, "sop_instance_uid") and hasattr(chosen, "dataset"))
        ):
            yield reference_to(chosen)
        else:
            record = record_of(chosen)
            self.records.setdefault(record.study_instance_uid, record)
            for uid in record.instances:
                yield self._of(record, uid)

    def _of(self, record: SourceSeries, uid: str) -> Reference:
        kind = record.instances[uid]
        return Reference(
            kind,
            uid,
            series_instance_uid=record.series_instance_uid,
            study_instance_uid=record.study_instance_uid,
        )

    def _known(self, reference: Reference) -> Reference:
        if reference.sop_instance_uid not in self._record.instances:
            raise EncodingError(
                f"the series of the selected object {reference.sop_instance_uid} is not known, so that it cannot be "
                "listed as evidence; give the object itself, or a Reference with its series_instance_uid"
            )
        record = self._record
        return replace(
            reference, series_instance_uid=record.series_instance_uid, study_instance_uid=record.study_instance_uid
        )
