"""Segmentations as regions: a segment of one, or frames of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import GeometryError
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.regions import Region

__all__ = ["SegmentReference", "SegmentationFrame"]


@dataclass(frozen=True)
class SegmentReference(Region):
    """A segment of a segmentation as the region.

    Parameters
    ----------
    segmentation : Segmentation or Reference
        As made or read by this package; or where it is.
    segment : int or str
        Number of the segment, or its label where a segmentation is given.
    """

    segmentation: Any
    segment: int | str

    @property
    def kind(self) -> str:
        """``"segment"``."""
        return "segment"

    @property
    def number(self) -> int:
        """Number of the segment."""
        if isinstance(self.segment, str):
            found = [s for s in getattr(self.segmentation, "segments", ()) if s.label == self.segment]
            if len(found) != 1:
                raise GeometryError(f"{len(found)} segments have the label {self.segment!r}; give the number")
            return int(found[0].number or 0)
        return int(self.segment)

    @property
    def reference(self) -> Reference:
        """Where the segment is."""
        return _reference_to(self.segmentation, segments=(self.number,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SegmentReference) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)


@dataclass(frozen=True)
class SegmentationFrame(Region):
    """One or more frames of a segmentation as a flat region.

    Parameters
    ----------
    segmentation : Segmentation or Reference
    frames : int or sequence of int
        From 1.
    segment : int, optional
        Where other makers name it beside the frames; it is not written (PS3.3 Table 10-3).
    """

    segmentation: Any
    frames: tuple[int, ...]
    segment: int | None = None

    def __post_init__(self) -> None:
        given: Any = self.frames
        frames = (given,) if isinstance(given, int) else tuple(int(f) for f in given)
        if not frames or min(frames) < 1:
            raise GeometryError("a SegmentationFrame names frames, counted from 1")
        object.__setattr__(self, "frames", frames)

    @property
    def kind(self) -> str:
        """``"segmentation frame"``."""
        return "segmentation frame"

    @property
    def reference(self) -> Reference:
        """Where the frames are."""
        return _reference_to(self.segmentation, frames=self.frames)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SegmentationFrame) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)


def _reference_to(thing: Any, frames: tuple[int, ...] = (), segments: tuple[int, ...] = ()) -> Reference:
    if isinstance(thing, Reference):
        return Reference(
            thing.sop_class_uid,
            thing.sop_instance_uid,
            frames,
            segments,
            (),
            thing.series_instance_uid,
            thing.study_instance_uid,
        )
    if hasattr(thing, "SOPInstanceUID"):
        return Reference(
            str(thing.SOPClassUID),
            str(thing.SOPInstanceUID),
            frames,
            segments,
            (),
            str(thing.get("SeriesInstanceUID", "")),
            str(thing.get("StudyInstanceUID", "")),
        )
    if hasattr(thing, "sop_instance_uid"):
        return Reference(
            sop.LABEL_MAP_SEGMENTATION if getattr(thing, "kind", "") == "labelmap" else sop.SEGMENTATION,
            thing.sop_instance_uid,
            frames,
            segments,
            (),
            getattr(thing, "series_instance_uid", ""),
            getattr(thing, "study_instance_uid", ""),
        )
    raise GeometryError(f"a segmentation or a Reference was expected, found {type(thing).__name__}")
