"""Checks of segmentations (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

import numpy as np

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.frames import decode_frames
from dicom_ml.errors import DicomMLError
from dicom_ml.objects.iod.context import Findings, items_of, number, text, where
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_label_values", "check_segments", "check_segmentation_type"]

_FRAMES = "PerFrameFunctionalGroupsSequence"


def check_segmentation_type(subject: Subject, out: Findings) -> None:
    """Segmentation Type against the bits of its pixels and its SOP class (C.8.20.2.3)."""
    ds, section = subject.ds, "C.8.20.2.3"
    kind, bits = text(ds, "SegmentationType"), number(ds, "BitsAllocated")
    labelmap = subject.sop_class == sop.LABEL_MAP_SEGMENTATION
    if kind and labelmap != (kind == "LABELMAP"):
        out.error(where("", "SegmentationType"), f"is {kind} in an object of another SOP class", "", section)
    allowed = {"BINARY": (1,), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}.get(kind)
    if allowed and bits is not None and bits not in allowed:
        out.error(where("", "BitsAllocated"), f"is {bits:g} of a {kind} segmentation", "", section)
    if kind == "FRACTIONAL":
        fractional, most = text(ds, "SegmentationFractionalType"), number(ds, "MaximumFractionalValue")
        if fractional not in ("PROBABILITY", "OCCUPANCY"):
            out.error(
                where("", "SegmentationFractionalType"), "does not say what the fractions are",
                "PROBABILITY or OCCUPANCY", section,
            )  # fmt: skip
        if not most or not 1 <= most <= 255:
            out.error(
                where("", "MaximumFractionalValue"), "does not say which value is 1",
                "a number from 1 to 255", section,
            )  # fmt: skip
    if text(ds, "PhotometricInterpretation") == "PALETTE COLOR" and kind != "LABELMAP":
        out.error(where("", "PhotometricInterpretation"), f"is PALETTE COLOR of a {kind} one", "", section)
    if not items_of(ds, "SegmentSequence"):
        out.error(where("", "SegmentSequence"), "describes no segment", "", section)


def check_segments(subject: Subject, out: Findings) -> None:
    """Segments: numbered from 1 by ones, described, and each frame of one of them (C.8.20.2, C.8.20.3.1)."""
    ds, section = subject.ds, "C.8.20.2"
    kind, segments = text(ds, "SegmentationType"), items_of(ds, "SegmentSequence")
    listed = [number(item, "SegmentNumber") for item in segments]
    for place, (item, value) in enumerate(zip(segments, listed, strict=True), start=1):
        path = f"SegmentSequence[{place}]"
        if value is not None and listed.index(value) != place - 1:
            out.error(where(path, "SegmentNumber"), f"{value:g} is described twice", "", section)
        elif value is not None and kind in ("BINARY", "FRACTIONAL") and value != place:
            out.error(
                where(path, "SegmentNumber"), f"is {value:g}; expected {place}",
                "number segments from 1, by ones", "C.8.20.2.4",
            )  # fmt: skip
        if value is not None and value != 0 and not text(item, "SegmentLabel"):
            out.error(where(path, "SegmentLabel"), "is empty: the segment has no name", "", section)
        algorithm = text(item, "SegmentAlgorithmType")
        if algorithm in ("AUTOMATIC", "SEMIAUTOMATIC") and not text(item, "SegmentAlgorithmName"):
            out.error(where(path, "SegmentAlgorithmName"), f"is missing of an {algorithm} segment", "", section)
        if bool(text(item, "TrackingID")) != bool(text(item, "TrackingUID")):
            out.error(where(path, "TrackingUID"), "Tracking ID and Tracking UID go together", "", section)
    if kind == "LABELMAP" or subject.frames is None:
        return
    _check_frames(subject, {int(v) for v in listed if v is not None}, out)


def _check_frames(subject: Subject, described: set[int], out: Findings) -> None:
    section, used = "C.8.20.3.1", set()
    for frame, value in enumerate(subject.column("segment")):
        if value and value[0] in described:
            used.add(value[0])
            continue
        path = where(f"{_FRAMES}[{frame + 1}].SegmentIdentificationSequence[1]", "ReferencedSegmentNumber")
        if not value:
            if text(subject.ds, "DimensionOrganizationType") != "TILED_FULL":
                out.error(path, "is missing: the frame is of no segment", "", section)
        else:
            out.error(
                path, f"is {value[0]}, which is no segment that is described",
                f"described are {sorted(described)}", section,
            )  # fmt: skip
        return
    _check_duplicates(subject, out)
    missing = sorted(described - used)
    if missing:
        out.info(where("", "SegmentSequence"), f"segments {missing} have no frame: they are empty", "", section)


def _check_duplicates(subject: Subject, out: Findings) -> None:
    """A segment has one frame at each plane."""
    if subject.is_tiled:
        return
    seen: dict[object, int] = {}
    for frame, key in enumerate(zip(subject.column("segment"), subject.column("position"), strict=True)):
        if key[1] is None:
            return
        if key in seen:
            out.warning(
                where(f"{_FRAMES}[{frame + 1}].PlanePositionSequence[1]", "ImagePositionPatient"),
                f"segment {key[0][0]} has a frame at this plane already, frame {seen[key] + 1}", "", "C.8.20.3.1",
            )  # fmt: skip
            return
        seen[key] = frame


def check_label_values(subject: Subject, out: Findings) -> None:
    """Every value of a label map, and every fraction, is one that the header explains; frames are read one by one."""
    ds = subject.ds
    kind = text(ds, "SegmentationType")
    if subject.pixels is None or kind not in ("LABELMAP", "FRACTIONAL"):
        return
    most = int(number(ds, "MaximumFractionalValue") or 255)
    if kind == "FRACTIONAL" and most == 255:
        return
    try:
        index = subject.frame_index
        assert index is not None
        seen = np.zeros(1 << 16, dtype=bool)
        for start in range(0, index.n_frames, 16):
            chosen = range(start, min(start + 16, index.n_frames))
            for frame in decode_frames(index, chosen):
                seen[int(frame.max(initial=0)) if kind == "FRACTIONAL" else frame] = True
        found = set(np.flatnonzero(seen).tolist())
    except DicomMLError:
        return  # pixel data that is cut off or broken is reported by its length
    path = where("", "PixelData")
    if kind == "FRACTIONAL":
        if max(found, default=0) > most:
            out.error(path, f"holds {max(found)}, more than the Maximum Fractional Value {most}", "", "C.8.20.2.3")
        return
    described = {int(number(item, "SegmentNumber") or 0) for item in items_of(ds, "SegmentSequence")}
    padding = number(ds, "PixelPaddingValue")
    unknown = sorted(found - described - {0 if padding is None else int(padding)} - {0})
    if unknown:
        shown = ", ".join(map(str, unknown[:8])) + (" and others" if len(unknown) > 8 else "")
        out.error(path, f"holds {shown}, which no segment describes", "describe a segment for each value", "C.8.20.2.3")
