"""Checks of an object against the objects it was made from and refers to."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.iod.context import Findings, items_of, numbers, text, where
from dicom_ml.objects.iod.drawn import check_contours_on, check_points_in_space, check_shown_on
from dicom_ml.objects.iod.extent import Extent
from dicom_ml.objects.iod.frame_items import Leaf
from dicom_ml.objects.iod.placement import check_placement
from dicom_ml.objects.iod.pyramids import check_matrix, check_pyramid
from dicom_ml.objects.iod.references import Reference, references_of
from dicom_ml.objects.iod.reports import walk_content
from dicom_ml.objects.iod.sources import IDENTITY, Known, Sources
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_against"]

_OF_FRAMES = (*sop.SEGMENTATIONS, sop.PARAMETRIC_MAP)
_DERIVED = (*_OF_FRAMES, sop.BULK_ANNOTATIONS)
_SOURCE_IMAGE: Leaf = (0x00089124, 0x00082112, 0x00081155)
#: Millimetres that planes may be off, as decimal strings of few digits are.
_CLOSE = 0.02


def check_against(subject: Subject, sources: Sources, out: Findings) -> None:
    """Check references, patient, study, frame of reference and place."""
    others = sources.without(text(subject.ds, "SOPInstanceUID"))
    if not others.known:
        return
    check_pyramid(subject, others, out)
    referred = _check_references(subject, others, out)
    if not referred:
        return
    _check_identity(subject, referred, out)
    _check_frame_of_reference(subject, referred, out)
    images = [k for k in referred if k.size != (0, 0) and k.segments is None]
    if subject.sop_class in _OF_FRAMES and not subject.is_tiled:
        _check_planes(subject, others, images, out)
        if others.volumes and "SegmentSequence" in subject.ds:
            check_placement(subject, others.volumes, out)
    if subject.sop_class in _OF_FRAMES and subject.is_tiled:
        check_matrix(subject, referred, out)
    if subject.sop_class.startswith(sop.DOCUMENT_FAMILY):
        _check_coordinates(subject, others, out)
        check_points_in_space(subject, referred, out)
    if subject.sop_class.startswith(sop.PRESENTATION_FAMILY):
        check_shown_on(subject, others, out)
    if subject.sop_class == sop.RT_STRUCTURE_SET:
        check_contours_on(subject, others, out)
    if subject.sop_class == sop.BULK_ANNOTATIONS:
        _check_annotations(subject, others, out)


# ---------------------------------------------------------------------- references
def _check_references(subject: Subject, sources: Sources, out: Findings) -> list[Known]:
    """Every reference leads to an instance as it says; return those that are referred to."""
    referred: dict[str, Known] = {}
    dangling: dict[str, str] = {}
    for reference in references_of(subject):
        known = sources.known.get(reference.instance)
        if known is None:
            dangling.setdefault(reference.instance, reference.path)
            continue
        referred[reference.instance] = known
        _check_reference(reference, known, out)
    own = text(subject.ds, "SOPInstanceUID")
    shown = [(uid, path) for uid, path in dangling.items() if uid != own]
    derived = _is_derived(subject)
    if sources.extent == "some":
        return list(referred.values())
    if sources.extent == "all" or (derived and referred):
        kind = out.error if derived else out.warning
        for uid, path in shown[:5]:
            kind(path, f"{uid} is not among the sources", "give all sources, or refer to what exists", "C.12.2")
        if len(shown) > 5:
            kind("", f"{len(shown)} instances that are referred to are not among the sources", "", "C.12.2")
    elif derived and shown:
        out.warning("", f"none of the {len(shown)} instances that are referred to is at hand", "", "C.12.2")
    if derived and sources.extent == "all" and not referred and not shown:
        out.error("", "refers to none of the sources", "name what it was made from", "C.12.2")
    return list(referred.values())


def _is_derived(subject: Subject) -> bool:
    """Whether the object is of a kind that lives by what it refers to."""
    kinds = (*_DERIVED, sop.DOCUMENT_FAMILY, sop.PRESENTATION_FAMILY, sop.RT_STRUCTURE_SET)
    return subject.sop_class.startswith(kinds)


def _check_reference(reference: Reference, known: Known, out: Findings) -> None:
    if reference.sop_class and known.sop_class and reference.sop_class != known.sop_class:
        out.error(reference.path, "has another SOP class than is said here", "", "C.12.2")
    if reference.series and known.series and reference.series != known.series:
        out.error(reference.path, "belongs to another series than is said here", "", "C.12.2")
    if reference.study and known.study and reference.study != known.study:
        out.error(reference.path, "belongs to another study than is said here", "", "C.12.2")
    if known.frames and reference.frames and max(reference.frames) > known.frames:
        message = f"frame {max(reference.frames)} is referred to; the instance has {known.frames}"
        out.error(reference.path, message, "", "C.18.4")
    if known.segments is not None:
        unknown = sorted(set(reference.segments) - known.segments)
        if unknown:
            out.error(reference.path, f"segments {unknown} are referred to; they do not exist", "", "C.18.4")


# ---------------------------------------------------------------------- who and where
def _check_identity(subject: Subject, referred: list[Known], out: Findings) -> None:
    """Patient and study, whose values are not shown."""
    ds = subject.ds
    studies = {k.study for k in referred}
    own = text(ds, "StudyInstanceUID")
    if own not in studies and subject.sop_class != sop.KEY_OBJECT_SELECTION:
        out.error(
            where("", "StudyInstanceUID"), "is not the study of any source",
            "an object belongs to the study of what it was made from", "C.7.2.1",
        )  # fmt: skip
    same_study = [k for k in referred if k.study == own]
    for keyword in IDENTITY:
        value = text(ds, keyword)
        of_study = keyword.startswith(("Study", "Accession"))
        given = {k.identity[keyword] for k in (same_study if of_study else referred) if keyword in k.identity}
        given = {v for v in given if v.isascii()}  # others are read by the character set of each file
        if given and value not in given and value.isascii():
            # what is malformed in a source is not copied
            strict = value and (keyword.startswith("Patient") or keyword == "StudyID")
            kind = out.error if strict else out.warning
            state = "differs from that of the sources" if value else "is empty, but the sources have it"
            kind(where("", keyword), state, "copy it", "C.7.2.1" if of_study else "C.7.1.1")


def _check_frame_of_reference(subject: Subject, referred: list[Known], out: Findings) -> None:
    if subject.sop_class not in _DERIVED:
        return
    own = text(subject.ds, "FrameOfReferenceUID")
    given = {k.frame_of_reference for k in referred if k.frame_of_reference}
    if own and given and own not in given:
        out.error(
            where("", "FrameOfReferenceUID"), "is not that of the sources: nothing can be overlaid",
            "copy the sources' Frame of Reference UID", "C.7.4.1",
        )  # fmt: skip


# ---------------------------------------------------------------------- planes
def _check_planes(subject: Subject, sources: Sources, images: list[Known], out: Findings) -> None:
    """Planes lie where the source images that they name lie, and within the extent of all."""
    placed = [k for k in images if k.origins is not None and k.axes is not None]
    positions = subject.column("position")
    if not placed or not any(positions) or len(positions) < 1:
        return
    own = _own_axes(subject)
    if own is None or any(p is None or len(p) != 3 for p in positions):
        return
    if not _check_named(subject, sources, own, positions, out):
        return
    _check_extent(subject, placed, own, positions, out)


def _own_axes(subject: Subject) -> Any:
    cosines = next((v for v in subject.column("orientation") if v), None)
    spacing = next((v for v in subject.column("pixel_spacing") if v), None)
    if not cosines or not spacing or len(cosines) != 6 or len(spacing) != 2:
        return None
    return np.stack([np.array(cosines[3:]) * spacing[0], np.array(cosines[:3]) * spacing[1]])


def _check_named(subject: Subject, sources: Sources, own: Any, positions: list[Any], out: Findings) -> bool:
    """Frames that name one image of the same pixels lie on it; False where one does not."""
    rows, columns = int(subject.ds.get("Rows") or 0), int(subject.ds.get("Columns") or 0)
    for frame, uid in _named_images(subject).items():
        known = sources.known.get(uid)
        if known is None or known.origins is None or known.axes is None or len(known.origins) != 1:
            continue
        path = f"PerFrameFunctionalGroupsSequence[{frame + 1}].PlanePositionSequence[1]"
        if known.size == (rows, columns) and np.allclose(known.axes, own, atol=1e-3):
            off = float(np.linalg.norm(np.array(positions[frame]) - known.origins[0]))
            if off > _CLOSE + 0.01 * float(np.linalg.norm(own)):
                out.error(
                    where(path, "ImagePositionPatient"),
                    f"lies {off:.4g} mm from the source image that the frame names",
                    "name the image at the plane, or lay the plane on it", "C.7.6.16.2.6",
                )  # fmt: skip
                return False
        elif known.size != (0, 0) and known.size != (rows, columns):
            message = f"is {rows} x {columns}, the source image that frames name {known.size[0]} x {known.size[1]}"
            out.warning(
                where("", "Rows"), message, "name all source images of a resampled grid together", "C.7.6.16.2.6"
            )
            return False
        else:
            message = "differs from that of the source image that the frame names, though the size is the same"
            out.error(where("PixelMeasuresSequence[1]", "PixelSpacing"), message, "", "C.7.6.16.2.1")
            return False
    return True


def _named_images(subject: Subject) -> dict[int, str]:
    """The one source image of frames that name only one: those are laid on its pixels."""
    frames = subject.frames
    if frames is None:
        return {}
    values = frames.values.get(_SOURCE_IMAGE, {})
    several = {frame for frame, item in frames.examples if _count(item) != 1}
    if several:
        return {}
    return {frame: raw.decode("latin-1").strip("\0 ") for raw, frame in values.items()}


def _count(item: Any) -> int:
    return sum(len(items_of(d, "SourceImageSequence")) for d in items_of(item, "DerivationImageSequence"))


def _check_extent(subject: Subject, placed: list[Known], own: Any, positions: list[Any], out: Findings) -> None:
    """No plane lies wholly outside the box of all source images."""
    rows, columns = int(subject.ds.get("Rows") or 0), int(subject.ds.get("Columns") or 0)
    extent = Extent(placed)
    mine = np.array(positions)
    middle = mine + own[0] * (rows - 1) / 2 + own[1] * (columns - 1) / 2
    outside = extent.outside(middle, max(1.0, float(np.linalg.norm(own, axis=1).max())) + extent.gap)
    if outside.any():
        frame = int(np.flatnonzero(outside)[0])
        out.error(
            where(f"PerFrameFunctionalGroupsSequence[{frame + 1}].PlanePositionSequence[1]", "ImagePositionPatient"),
            f"{int(outside.sum())} of {len(outside)} planes lie outside the extent of the sources",
            "give the object the grid of its source", "C.7.6.16.2.3",
        )  # fmt: skip


# ---------------------------------------------------------------------- coordinates
def _check_coordinates(subject: Subject, sources: Sources, out: Findings) -> None:
    """Coordinates of reports lie on the images that they are selected from."""
    for path, item, _ in walk_content(subject.ds):
        if text(item, "ValueType") != "SCOORD":
            continue
        data = numbers(item, "GraphicData")
        for child in items_of(item, "ContentSequence"):
            for reference in items_of(child, "ReferencedSOPSequence"):
                known = sources.known.get(text(reference, "ReferencedSOPInstanceUID"))
                if known is None or known.size == (0, 0) or len(data) < 2:
                    continue
                columns, rows = data[0::2], data[1::2]
                if min(data) < -1 or max(rows) > known.size[0] + 1 or max(columns) > known.size[1] + 1:
                    out.error(
                        where(path, "GraphicData"),
                        f"reaches column {max(columns):g}, row {max(rows):g} of an image of "
                        f"{known.size[0]} x {known.size[1]}",
                        "column and row, from the upper left corner of the image", "C.18.6",
                    )  # fmt: skip
                    return


def _check_annotations(subject: Subject, sources: Sources, out: Findings) -> None:
    """Points of 2D annotations lie within the matrix of the image that they are on."""
    ds = subject.ds
    if text(ds, "AnnotationCoordinateType") != "2D":
        return
    images = [text(i, "ReferencedSOPInstanceUID") for i in items_of(ds, "ReferencedImageSequence")]
    known = next((sources.known[uid] for uid in images if uid in sources.known), None)
    if known is None or known.size == (0, 0):
        return
    for place, group in enumerate(items_of(ds, "AnnotationGroupSequence"), start=1):
        for keyword, dtype in (("PointCoordinatesData", "<f4"), ("DoublePointCoordinatesData", "<f8")):
            raw = group.get(keyword)
            if not isinstance(raw, bytes) or len(raw) % (2 * np.dtype(dtype).itemsize):
                continue
            points = np.frombuffer(raw, dtype).reshape(-1, 2)
            if len(points) and (points[:, 0].max() > known.size[1] + 1 or points[:, 1].max() > known.size[0] + 1):
                message = f"reaches column {points[:, 0].max():g}, row {points[:, 1].max():g} of a matrix of "
                message += f"{known.size[0]} x {known.size[1]}"
                out.error(where(f"AnnotationGroupSequence[{place}]", keyword), message, "", "C.37.1.2")
