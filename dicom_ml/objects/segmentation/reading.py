"""Segmentations of any maker, read into columns: which segment, which plane and which bytes each frame has."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.functional_groups import GROUP_TAGS
from dicom_ml.encoding.functional_groups import Path as TagPath
from dicom_ml.objects.segmentation.descriptions import Segment
from dicom_ml.objects.stored import StoredFrames

__all__ = ["SegmentedFrames", "StoredSegmentation"]


class SegmentedFrames(StoredFrames):
    """What segmentations of volumes and of slides have in common.

    Attributes
    ----------
    kind : str
    maximum : int
        Maximum Fractional Value.
    padding : int or None
        Pixel Padding Value of a label map: its background.
    segments : list of Segment
    segment_of : ndarray of int, shape (N,)
        Index into :attr:`segments` of each frame; -1 for label maps.
    """

    noun = "segmentation"

    def _check_kind(self) -> None:
        self.kind = self._kind()

    def _read_content(self) -> None:
        view = self._view
        self.maximum = view.integer(0x0062000E, 255) or 255
        self.padding = view.integer(0x00280120)
        self.fractional_type = view.text(0x00620010)
        self.all_segments = self._read_segments()
        self.segments = [s for s in self.all_segments if not self._is_background(s)]
        self.segment_of = self._read_segment_of()

    def _check_bits(self, bits: int) -> None:
        if (self.kind == "binary") != (bits == 1):
            raise self._fail(f"is {self.kind.upper()} with {bits} bits allocated; BINARY has 1, the others 8 or 16")

    def _kind(self) -> str:
        view = self._view
        sop_class, modality = view.text(0x00080016), view.text(0x00080060)
        if sop_class not in sop.SEGMENTATIONS:
            raise self._fail(
                f"is no DICOM Segmentation: its SOP class is {sop_class or 'missing'}, modality {modality or 'missing'}"
            )
        kind = view.text(0x00620001).lower()
        if sop_class == sop.LABEL_MAP_SEGMENTATION and kind != "labelmap":
            if kind:
                raise self._fail(f"is a Label Map Segmentation but says its Segmentation Type is {kind.upper()}")
            kind = "labelmap"
        if not kind:
            bits = view.integer(0x00280100)
            if bits != 1:
                raise self._fail("has no Segmentation Type, so its 8-bit values cannot be understood")
            kind = "binary"
        if kind not in ("binary", "fractional", "labelmap"):
            raise self._fail(f"has Segmentation Type {kind.upper()}; known are BINARY, FRACTIONAL and LABELMAP")
        return kind

    def _read_segments(self) -> list[Segment]:
        sequence = self._header.get("SegmentSequence")
        if not sequence:
            raise self._fail("describes no segments (Segment Sequence is missing or empty)")
        segments = []
        for place, item in enumerate(sequence, start=1):
            if item.get("SegmentNumber") is None:
                raise self._fail(f"the {place}. described segment has no Segment Number")
            segments.append(Segment.from_dataset(item))
        numbers = [s.number for s in segments]
        if len(set(numbers)) != len(numbers):
            raise self._fail(f"two segments share a Segment Number: {numbers}")
        return sorted(segments, key=lambda s: s.number or 0)

    def _is_background(self, segment: Segment) -> bool:
        """Whether a described label stands for the background of a label map."""
        if self.kind != "labelmap":
            return False
        if self.padding is not None and segment.number == self.padding:
            return True
        return segment.number == 0 and (segment.type.scheme, segment.type.value) == ("DCM", "125040")

    def _read_segment_of(self) -> npt.NDArray[np.intp]:
        if self.kind == "labelmap":
            return np.full(self.frame_count, -1, dtype=np.intp)
        place = {s.number: i for i, s in enumerate(self.segments)}
        known: dict[bytes | None, int] = {}
        for value in set(self._groups["segment"]):
            if value is None:
                if len(self.segments) != 1:
                    raise self._fail("a frame does not say which segment it belongs to")
                known[value] = 0
                continue
            number = int.from_bytes(value[:2], "little")
            if number not in place:
                raise self._fail(
                    f"frames refer to segment {number}, which is not described (described: {sorted(place, key=str)})"
                )
            known[value] = place[number]
        return np.array([known[v] for v in self._groups["segment"]], dtype=np.intp)


class StoredSegmentation(SegmentedFrames):
    """A segmentation of a volume seen through its bytes; nothing is decoded before it is asked for."""

    wanted: ClassVar[dict[str, TagPath]] = {**StoredFrames.wanted, "segment": GROUP_TAGS["segment"]}
