"""Checks of images that are tiled over a total pixel matrix (PS3.3 C.7.6.17.3, C.8.12.4, C.8.12.14)."""

from __future__ import annotations

import math

from dicom_ml.objects.iod.conditions import texts_of
from dicom_ml.objects.iod.context import Findings, items_of, label, number, numbers, text, where
from dicom_ml.objects.iod.frames import orientation_fault
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_tiles"]

_FRAMES = "PerFrameFunctionalGroupsSequence"


def check_tiles(subject: Subject, out: Findings) -> None:
    """The total pixel matrix, its place on the slide, and the tiles in it."""
    ds = subject.ds
    if not subject.is_tiled:
        return
    rows, columns = (number(ds, k) for k in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns"))
    for keyword, value in (("TotalPixelMatrixRows", rows), ("TotalPixelMatrixColumns", columns)):
        if not value:
            out.error(where("", keyword), "is missing or 0 in a tiled image", "", "C.8.12.14")
    origin = items_of(ds, "TotalPixelMatrixOriginSequence")
    if not origin:
        out.error(where("", "TotalPixelMatrixOriginSequence"), "is missing: the matrix has no place", "", "C.8.12.14")
    elif len(origin) > 1:
        out.error(where("", "TotalPixelMatrixOriginSequence"), f"has {len(origin)} items", "", "C.8.12.14")
    if text(ds, "PositionReferenceIndicator") not in ("", "SLIDE_CORNER") and "FrameOfReferenceUID" in ds:
        # what was made of a slide has it from the slide
        kind = out.warning if "SegmentSequence" in ds or text(ds, "Modality") != "SM" else out.error
        kind(where("", "PositionReferenceIndicator"), "is not SLIDE_CORNER", "", "C.7.4.1.1.2")
    cosines = numbers(ds, "ImageOrientationSlide")
    fault = orientation_fault(cosines) if cosines else "is missing"
    if fault:
        out.error(where("", "ImageOrientationSlide"), fault, "", "C.8.12.14")
    measures = [v for v in set(subject.column("pixel_spacing")) if v]
    flavor = (texts_of(ds, 0x00080008) or [])[2:3]
    if not measures and "LABEL" not in flavor:  # which nobody measures on
        out.error(
            where("SharedFunctionalGroupsSequence[1].PixelMeasuresSequence[1]", "PixelSpacing"),
            "is missing: the tiles have no size",
            "",
            "C.7.6.16.2.1",
        )
    for spacing in measures:
        if len(spacing) != 2 or min(spacing) <= 0:
            path = "SharedFunctionalGroupsSequence[1].PixelMeasuresSequence[1]"
            out.error(where(path, "PixelSpacing"), "does not hold two positive numbers", "", "C.7.6.16.2.1")
    if not rows or not columns:
        return
    if text(ds, "DimensionOrganizationType") == "TILED_FULL":
        _check_full(subject, int(rows), int(columns), out)
    else:
        _check_sparse(subject, int(rows), int(columns), out)


def _check_full(subject: Subject, rows: int, columns: int, out: Findings) -> None:
    ds = subject.ds
    height, width = number(ds, "Rows"), number(ds, "Columns")
    if not height or not width:
        return
    tiles = math.ceil(rows / height) * math.ceil(columns / width)
    planes = int(number(ds, "TotalPixelMatrixFocalPlanes") or 1)
    if "SegmentSequence" in ds:
        labelmap = text(ds, "SegmentationType") == "LABELMAP"
        paths = 1 if labelmap else max(1, len(items_of(ds, "SegmentSequence")))
    else:
        paths = int(number(ds, "NumberOfOpticalPaths") or 0) or max(1, len(items_of(ds, "OpticalPathSequence")))
    concatenated = "ConcatenationUID" in ds
    if not concatenated and subject.frame_count != tiles * planes * paths:
        out.error(
            where("", "NumberOfFrames"),
            f"is {subject.frame_count}; TILED_FULL over {tiles} places, {planes} focal planes and {paths} "
            f"{'segments' if 'SegmentSequence' in ds else 'optical paths'} has {tiles * planes * paths}",
            "write every tile, or say TILED_SPARSE with the places of the tiles",
            "C.7.6.17.3",
        )
    if subject.frames is not None and "PlanePositionSlideSequence" in _groups(subject):
        where_ = where(f"{_FRAMES}[1]", "PlanePositionSlideSequence")
        out.warning(where_, "is present although TILED_FULL implies the places", "leave it out", "C.7.6.17.3")


def _groups(subject: Subject) -> set[str]:
    return set() if subject.frames is None else {label(tag) for tag in subject.frames.groups}


def _check_sparse(subject: Subject, rows: int, columns: int, out: Findings) -> None:
    frames = subject.frames
    if frames is None:
        return
    down, across = frames.column("row"), frames.column("column")
    name = f"{_FRAMES}[{{}}].PlanePositionSlideSequence[1]"
    seen: set[tuple[object, ...]] = set()
    identity = [frames.column(k) for k in ("segment", "z_offset", "optical_path", "index")]
    for frame, (row, column) in enumerate(zip(down, across, strict=True)):
        path = name.format(frame + 1)
        if not row or not column:
            if not any(down) and not any(across):
                where_ = where(path, "RowPositionInTotalImagePixelMatrix")
                out.error(where_, "is missing: tiles have no place in the matrix", "", "C.8.12.6.1")
                return
            out.error(where(path, "RowPositionInTotalImagePixelMatrix"), "is missing", "", "C.8.12.6.1")
            return
        if not (1 <= row[0] <= rows and 1 <= column[0] <= columns):
            out.error(
                where(path, "RowPositionInTotalImagePixelMatrix"),
                f"row {row[0]}, column {column[0]} lies outside the matrix of {rows} x {columns}",
                "rows and columns count from 1",
                "C.8.12.6.1",
            )
            return
        key = (row, column, *(values[frame] for values in identity))
        if key in seen:
            out.error(
                where(path, "RowPositionInTotalImagePixelMatrix"),
                f"two frames lie at row {row[0]}, column {column[0]}", "", "C.8.12.6.1",
            )  # fmt: skip
            return
        seen.add(key)
    _check_offsets(subject, down, across, name, out)


def _check_offsets(
    subject: Subject, down: list[tuple[int]], across: list[tuple[int]], name: str, out: Findings
) -> None:
    """Offsets in the slide's millimetres against places in the matrix."""
    ds, frames = subject.ds, subject.frames
    assert frames is not None
    origin = items_of(ds, "TotalPixelMatrixOriginSequence")
    cosines = numbers(ds, "ImageOrientationSlide")
    spacing = [v for v in set(subject.column("pixel_spacing")) if v and len(v) == 2]
    start = [number(origin[0], f"{a}OffsetInSlideCoordinateSystem") for a in "XY"] if origin else [None]
    x, y = frames.column("x_offset"), frames.column("y_offset")
    if len(spacing) != 1 or None in start or len(cosines) != 6:
        return
    (between_rows, between_columns), first = spacing[0], (start[0] or 0.0, start[1] or 0.0)
    tolerance = 0.6 * max(between_rows, between_columns) + 1e-6
    for frame, (row, column, a, b) in enumerate(zip(down, across, x, y, strict=True)):
        if not a or not b:
            continue
        along, below = (column[0] - 1) * between_columns, (row[0] - 1) * between_rows
        wanted = [first[i] + cosines[i] * along + cosines[3 + i] * below for i in (0, 1)]
        if abs(a[0] - wanted[0]) > tolerance or abs(b[0] - wanted[1]) > tolerance:
            out.error(
                where(name.format(frame + 1), "XOffsetInSlideCoordinateSystem"),
                f"({a[0]:.6g}, {b[0]:.6g}) mm is not where row {row[0]}, column {column[0]} lies: "
                f"({wanted[0]:.6g}, {wanted[1]:.6g}) mm",
                "count from the matrix' origin, along its orientation, by the pixel spacing",
                "C.8.12.6.1",
            )
            return
