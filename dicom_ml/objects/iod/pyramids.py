"""Checks of images of slides against each other: levels of one pyramid, and what was made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.iod.context import Findings, where
from dicom_ml.objects.iod.sources import Known, SlidePlane, Sources, known_of
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_matrix", "check_pyramid"]

#: Images of a slide that are no levels (PS3.3 C.8.12.4.1.1).
_BESIDE = ("LABEL", "OVERVIEW")
#: Share of its size that a level may be larger or smaller than the largest, beside two pixels of its own.
_SIZE = 0.01


def check_pyramid(subject: Subject, sources: Sources, out: Findings) -> None:
    """A level shows what the largest level of its pyramid shows, only coarser (PS3.3 C.7.6.34, C.8.12.14)."""
    if subject.sop_class != sop.VL_WHOLE_SLIDE_MICROSCOPY:
        return
    own = known_of(subject)
    if own.slide is None:
        return
    if own.slide.flavor in _BESIDE:
        if own.slide.pyramid:
            message = f"is present in an image of flavor {own.slide.flavor}, which is no level of a pyramid"
            out.error(where("", "PyramidUID"), message, "leave it out", "C.7.6.34")
        return
    levels = [k for k in sources.known.values() if _is_level_with(k, own)]
    if not levels:
        return
    base = max(levels, key=lambda k: k.size[0] * k.size[1])
    if base.slide is None or base.size[0] * base.size[1] <= own.size[0] * own.size[1]:
        return
    if own.frame_of_reference != base.frame_of_reference:
        message = "is not that of the largest level: nothing can be overlaid"
        out.error(where("", "FrameOfReferenceUID"), message, "all levels have one", "C.7.4.1")
        return
    if own.slide.pyramid != base.slide.pyramid:
        message = "is not that of the largest level of the same series"
        out.warning(where("", "PyramidUID"), message, "all levels of a pyramid have one", "C.7.6.34")
        return
    # without a UID of the pyramid, a series may hold images of several regions
    kind = out.error if own.slide.pyramid and own.slide.flavor == "VOLUME" else out.warning
    _compare(own, base, kind)


def _is_level_with(other: Known, own: Known) -> bool:
    if other.sop_class != sop.VL_WHOLE_SLIDE_MICROSCOPY or other.slide is None or own.slide is None:
        return False
    if other.slide.flavor in _BESIDE or 0 in other.size:
        return False
    same_uid = bool(own.slide.pyramid) and own.slide.pyramid == other.slide.pyramid
    return same_uid or (bool(own.series) and own.series == other.series)


def _compare(own: Known, base: Known, kind: Any) -> None:
    a, b = own.slide, base.slide
    assert a is not None and b is not None
    if not np.allclose(a.directions, b.directions, atol=1e-3):
        kind(where("", "ImageOrientationSlide"), "is not that of the largest level", "", "C.8.12.14")
        return
    for place, (axis, keyword) in enumerate((("high", "TotalPixelMatrixRows"), ("wide", "TotalPixelMatrixColumns"))):
        mine, whole = own.size[place] * a.spacing[place], base.size[place] * b.spacing[place]
        if abs(mine - whole) > _SIZE * whole + 2 * a.spacing[place]:
            kind(
                where("", keyword),
                f"by the pixel spacing the level is {mine:.6g} mm {axis}, the largest level {whole:.6g} mm",
                "size times pixel spacing is the same in all levels", "C.8.12.14",
            )  # fmt: skip
            return
    off = float(np.abs((a.origin - b.origin)[:2]).max())
    # by the corner or by the centre of the first pixel, which are half a pixel apart, and rounded
    if off > _SIZE * max(base.size[0] * b.spacing[0], base.size[1] * b.spacing[1]) + 2 * max(a.spacing):
        kind(
            where("", "TotalPixelMatrixOriginSequence"),
            f"lies {off:.6g} mm from that of the largest level", "all levels show one region", "C.8.12.14",
        )  # fmt: skip


def check_matrix(subject: Subject, referred: list[Known], out: Findings) -> None:
    """A tiled object lies within the images that it was made from, and on their pixels where it has as many."""
    own = known_of(subject)
    images = [k for k in referred if k.slide is not None and 0 not in k.size and k.segments is None]
    if own.slide is None or 0 in own.size or not images:
        return
    path = where("", "TotalPixelMatrixOriginSequence")
    same = [k for k in images if k.size == own.size]
    if same and not any(_lies_on(own, k) for k in same):
        message = "an image of as many pixels lies elsewhere on the slide, or is larger or turned"
        hint = "copy origin, orientation and pixel spacing of the image whose pixels these are"
        out.error(path, message, hint, "C.8.12.14")
        return
    boxes = np.array([_box(k.slide, k.size) for k in images])
    (left, top), (right, bottom) = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
    low, high = _box(own.slide, own.size)
    slack = 2 * max(own.slide.spacing)
    over = max(left - low[0], top - low[1], high[0] - right, high[1] - bottom)
    if high[0] < left or high[1] < top or low[0] > right or low[1] > bottom:
        out.error(
            path, "lies outside the images that this was made from", "give it the place of its source", "C.8.12.14"
        )
    elif over > slack + _SIZE * max(right - left, bottom - top):
        out.warning(path, f"reaches {over:.4g} mm beyond the images that this was made from", "", "C.8.12.14")


def _lies_on(own: Known, other: Known) -> bool:
    a, b = own.slide, other.slide
    assert a is not None and b is not None
    pixel = max(b.spacing)
    return (
        np.allclose(a.directions, b.directions, atol=1e-3)
        and np.allclose(a.spacing, b.spacing, rtol=1e-2)
        and float(np.abs((a.origin - b.origin)[:2]).max()) < 2 * pixel
    )


def _box(slide: SlidePlane | None, size: tuple[int, int]) -> Any:
    """Least and greatest x and y of a matrix, in millimetres of the slide."""
    assert slide is not None
    down, across = (slide.directions[n] * slide.spacing[n] * (size[n] - 1) for n in (0, 1))
    corners = np.stack([slide.origin, slide.origin + down, slide.origin + across, slide.origin + down + across])
    return corners.min(axis=0)[:2], corners.max(axis=0)[:2]
