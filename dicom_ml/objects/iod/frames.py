"""Checks of pixel data, of frames in space, and of dimensions (PS3.3 C.7.6.3, C.7.6.16, C.7.6.17)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import is_encapsulated
from dicom_ml.errors import DicomMLError, DicomMLWarning
from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.frame_items import COLUMNS
from dicom_ml.objects.iod.subject import Subject

__all__ = [
    "check_dimensions",
    "check_frame_count",
    "check_pixel_data",
    "check_pixel_header",
    "check_plane_of_image",
    "check_planes",
    "orientation_fault",
]

_FRAMES = "PerFrameFunctionalGroupsSequence"
_SHARED = "SharedFunctionalGroupsSequence"
_POSITION = 0x00200032
#: Millimetres that positions may be off, as decimal strings of few digits are.
_CLOSE = 1e-2


# ---------------------------------------------------------------------- pixel data
def check_pixel_header(subject: Subject, out: Findings) -> None:
    """Image Pixel attributes that contradict each other (C.7.6.3.1)."""
    ds, section = subject.ds, "C.7.6.3.1"
    allocated, stored, high = (number(ds, k) for k in ("BitsAllocated", "BitsStored", "HighBit"))
    samples, photometric = number(ds, "SamplesPerPixel"), text(ds, "PhotometricInterpretation")
    for keyword in ("Rows", "Columns"):
        if keyword in ds and not number(ds, keyword):
            out.error(where("", keyword), "is 0", "", section)
    if allocated and stored and stored > allocated:
        out.error(where("", "BitsStored"), f"is {stored:g}, more than the {allocated:g} allocated", "", section)
    if stored and high is not None and high != stored - 1:
        out.error(where("", "HighBit"), f"is {high:g}; expected Bits Stored - 1 = {stored - 1:g}", "", section)
    if samples is not None and photometric:
        one = photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
        if one != (samples == 1):
            out.error(where("", "SamplesPerPixel"), f"is {samples:g} of a {photometric} image", "", section)
    if subject.pixels is None:
        return
    compressed = is_encapsulated(subject.syntax) if subject.syntax else False
    tag = subject.pixels.tag
    if compressed and subject.pixels.vr not in ("", "OB"):
        message = f"is compressed and has VR {subject.pixels.vr}; expected OB"
        out.error(where("", tag), message, "", "A.4", "PS3.5")
    if not compressed and subject.pixels.vr == "OB" and (allocated or 0) > 8:
        out.error(where("", tag), f"has VR OB, but {allocated:g} bits a sample; expected OW", "", "8.2", "PS3.5")
    if (tag == 0x7FE00010) == ("FloatPixelData" in ds or "DoubleFloatPixelData" in ds):
        out.error(where("", tag), "stands beside other pixel data", "an image has one of them", "C.7.6.24")
    wanted = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag)
    if wanted and allocated != wanted:
        out.error(where("", "BitsAllocated"), f"is {allocated or 0:g}; these values have {wanted} bits", "", "C.7.6.24")
    if wanted and compressed:
        out.error(where("", tag), "is compressed; values in floating point are not", "", "A.4", "PS3.5")


def check_pixel_data(subject: Subject, out: Findings) -> None:
    """Length of the pixel data against the size and number of frames (PS3.5 8.1, A.4)."""
    if subject.pixels is None:
        return
    path = where("", subject.pixels.tag)
    hint = "write as many frames as Number of Frames says"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", DicomMLWarning)
        try:
            index = subject.frame_index
            if index is not None and index.encapsulated:
                index.frame(index.n_frames - 1)
        except DicomMLError as error:
            out.error(path, str(error), hint, "8.1.1", "PS3.5")
            return
    for warning in warned:
        out.error(path, str(warning.message), hint, "8.1.1", "PS3.5")
    if not warned and index is not None and not index.encapsulated:
        _check_native_length(subject, path, hint, out)


def _check_native_length(subject: Subject, path: str, hint: str, out: Findings) -> None:
    ds, pixels = subject.ds, subject.pixels
    assert pixels is not None
    size = [number(ds, k) for k in ("Rows", "Columns", "BitsAllocated")]
    if None in size or pixels.length % 2:
        if pixels.length % 2:
            out.error(path, f"has an odd length of {pixels.length} bytes", "pad it with a zero byte", "7.1.1", "PS3.5")
        return
    rows, columns, bits = (int(v or 0) for v in size)
    samples = int(number(ds, "SamplesPerPixel") or 1)
    needed = (rows * columns * samples * bits * subject.frame_count + 7) // 8
    if pixels.length > needed + needed % 2 and "422" not in text(ds, "PhotometricInterpretation"):
        out.error(
            path,
            f"has {pixels.length} bytes; {subject.frame_count} frames of {rows} x {columns} need {needed}",
            hint, "8.1.1", "PS3.5",
        )  # fmt: skip


# ---------------------------------------------------------------------- counts
def check_frame_count(subject: Subject, out: Findings) -> None:
    """Number of Frames against the items of functional groups, and their shares of space (C.7.6.16)."""
    frames = subject.frames
    if frames is not None and frames.count != subject.frame_count:
        out.error(
            where("", _FRAMES),
            f"has {frames.count} items; Number of Frames is {subject.frame_count}",
            "one item for each frame, in their order",
            "C.7.6.16.1.2",
        )


# ---------------------------------------------------------------------- dimensions
def check_dimensions(subject: Subject, out: Findings) -> None:
    """Dimension Index Values: from 1, as many as there are dimensions, telling frames apart, in order (C.7.6.17)."""
    ds, frames = subject.ds, subject.frames
    dimensions = items_of(ds, "DimensionIndexSequence")
    organized = {text(item, "DimensionOrganizationUID") for item in items_of(ds, "DimensionOrganizationSequence")}
    pointers = []
    for place, item in enumerate(dimensions, start=1):
        path = f"DimensionIndexSequence[{place}]"
        uid = text(item, "DimensionOrganizationUID")
        if uid and organized and uid not in organized:
            out.error(where(path, "DimensionOrganizationUID"), "is no organization that is listed", "", "C.7.6.17")
        pointer = item.get("DimensionIndexPointer")
        pointers.append(int(pointer) if isinstance(pointer, int) else 0)
    if frames is None or not dimensions:
        return
    column = frames.column("index")
    fault = _index_fault(column, len(dimensions))
    if fault is not None:
        frame, message = fault
        path = where(f"{_FRAMES}[{frame + 1}].FrameContentSequence[1]", "DimensionIndexValues")
        out.error(path, message, "count from 1; the values of a frame are its own", "C.7.6.17.1")
        return
    if any(v is None for v in column):
        return
    _check_pointed(subject, pointers, column, out)


def _index_fault(column: list[Any], count: int) -> tuple[int, str] | None:
    """The first frame (from 0) whose index values are wrong in themselves, and how."""
    if all(values is None for values in column):
        return None  # said by the functional groups
    seen: dict[tuple[int, ...], int] = {}
    for frame, values in enumerate(column):
        if values is None:
            return frame, "is missing"
        if len(values) != count:
            return frame, f"has {len(values)} values; there are {count} dimensions"
        if min(values) < 1:
            return frame, f"holds {min(values)}; values count from 1"
        if seen.setdefault(values, frame) != frame:
            return frame, f"is that of frame {seen[values] + 1}, too: {list(values)}"
    return None


def _check_pointed(subject: Subject, pointers: list[int], column: list[Any], out: Findings) -> None:
    """A dimension index stands for one value of what it points to; of positions, it follows their order."""
    names = {path[-1]: name for name, (path, _) in COLUMNS.items()}
    for place, pointer in enumerate(pointers):
        name = names.get(pointer)
        if name is None or name == "index":
            continue
        values = subject.column(name)
        if len(values) != len(column) or any(v is None for v in values):
            continue
        whole: dict[int, Any] = {}
        stacks: dict[tuple[int, ...], dict[int, Any]] = {}
        torn = -1
        for frame, (indices, value) in enumerate(zip(column, values, strict=True)):
            if not _same(whole.setdefault(indices[place], value), value) and torn < 0:
                torn = frame
            stacks.setdefault(indices[:place], {}).setdefault(indices[place], value)
        if torn >= 0:
            # some writers count anew within each value of the dimension before
            kind = out.warning if place else out.error
            kind(
                where(f"{_FRAMES}[{torn + 1}].FrameContentSequence[1]", "DimensionIndexValues"),
                f"value {place + 1} is {column[torn][place]} for frames whose {where('', pointer)} differs",
                "one index for each value, in their order",
                "C.7.6.17.1",
            )
        if pointer == _POSITION:
            for of_index in [whole] if torn < 0 else stacks.values():
                if not _check_order(subject, of_index, place, out):
                    break


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(abs(x - y) < _CLOSE for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _check_order(subject: Subject, of_index: dict[int, Any], place: int, out: Findings) -> bool:
    normal = _normal(subject)
    chosen = [of_index[i] for i in sorted(of_index)]
    if normal is None or len(chosen) < 3 or any(len(p) != 3 for p in chosen):
        return True
    steps = np.diff(np.array(chosen) @ normal)
    good = bool((steps > -_CLOSE).all() or (steps < _CLOSE).all())
    if not good:
        wrong = int(np.flatnonzero(np.sign(steps) != np.sign(np.median(steps)))[0])
        out.error(
            where("", _FRAMES),
            f"dimension {place + 1} does not follow the positions: index {sorted(of_index)[wrong + 1]} lies before "
            f"index {sorted(of_index)[wrong]} along the normal",
            "count the positions in the order in which they lie",
            "C.7.6.17.1",
        )
    return good


# ---------------------------------------------------------------------- planes
def _normal(subject: Subject) -> npt.NDArray[np.float64] | None:
    """Normal of the planes, where all frames share one orientation."""
    found = [v for v in set(subject.column("orientation")) if v is not None]
    if not found or len(found[0]) != 6 or any(not _near(found[0], other) for other in found):
        return None
    cosines = np.array(found[0])
    return np.cross(cosines[:3], cosines[3:])


def _near(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) == len(b) and all(abs(x - y) < 1e-3 for x, y in zip(a, b, strict=True))


def orientation_fault(cosines: tuple[float, ...] | list[float]) -> str:
    """What is wrong with six direction cosines; empty where nothing is."""
    if len(cosines) != 6 or not np.isfinite(cosines).all():
        return f"has {len(cosines)} numbers, expected 6 direction cosines"
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(v - 1) for v in lengths) > 1e-2:
        return f"has vectors of lengths {lengths[0]:.4g} and {lengths[1]:.4g}, expected 1"
    if abs(float(row @ column)) > 1e-2:
        return f"has rows and columns that are not at right angles (cosine {float(row @ column):.4g})"
    return ""


def check_planes(subject: Subject, out: Findings) -> None:
    """Positions, orientation and spacing of frames in patient space agree (C.7.6.16.2.1, .3, .4)."""
    if subject.is_tiled:
        return
    if _SHARED in subject.ds and _is_derived(subject):
        _check_placed(subject, out)
    for cosines in sorted({v for v in subject.column("orientation") if v is not None}):
        fault = orientation_fault(cosines)
        if fault:
            path = "PlaneOrientationSequence[1]"
            out.error(where(path, "ImageOrientationPatient"), fault, "", "C.7.6.16.2.4")
    for spacing in {v for v in subject.column("pixel_spacing") if v is not None}:
        if len(spacing) != 2 or min(spacing) <= 0:
            path = "PixelMeasuresSequence[1]"
            out.error(where(path, "PixelSpacing"), f"is {list(spacing)}; two positive numbers", "", "C.7.6.16.2.1")
    positions = [p for p in subject.column("position") if p is not None]
    if any(len(p) != 3 or not np.isfinite(p).all() for p in positions):
        path = f"{_FRAMES}[1].PlanePositionSequence[1]"
        out.error(where(path, "ImagePositionPatient"), "does not hold three numbers", "", "C.7.6.16.2.3")
        return
    normal = _normal(subject)
    if normal is None or len(positions) < 2:
        return
    places = np.unique(np.round(np.array(positions), 4), axis=0)
    _check_stack(subject, places, normal, out)


_PLACING = (
    ("pixel_spacing", "PixelMeasuresSequence", "PixelSpacing", "C.7.6.16.2.1"),
    ("position", "PlanePositionSequence", "ImagePositionPatient", "C.7.6.16.2.3"),
    ("orientation", "PlaneOrientationSequence", "ImageOrientationPatient", "C.7.6.16.2.4"),
)


def _check_placed(subject: Subject, out: Findings) -> None:
    """Frames of segmentations and maps say where they lie; only those on their source's pixels may leave it out."""
    named = subject.frames is not None and 0x00089124 in subject.frames.groups
    named = named or any(items_of(i, "DerivationImageSequence") for i in items_of(subject.ds, _SHARED))
    for column, sequence, keyword, section in _PLACING:
        if any(value is None for value in subject.column(column)):
            kind = out.warning if named and subject.sop_class.startswith(sop.STORAGE + "66.") else out.error
            path = f"{_SHARED}[1].{sequence}[1]"
            kind(where(path, keyword), "is missing: frames have no place", "write it for every frame", section)


def _check_stack(
    subject: Subject, places: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], out: Findings
) -> None:
    depth = places @ normal
    order = np.argsort(depth)
    places, depth = places[order], depth[order]
    gaps = np.diff(depth)
    path, hint = f"{_FRAMES}[1].PlanePositionSequence[1]", "one orientation, one spacing, positions along the normal"
    strict = out.error if _is_derived(subject) else out.warning
    if (gaps < _CLOSE).any():  # several stacks, or frames side by side
        if _is_derived(subject):
            message = "planes at one height lie beside each other"
            strict(where(path, "ImagePositionPatient"), message, hint, "C.7.6.16.2.3")
        return
    if len(places) > 2:
        # a gantry's tilt moves the planes within themselves, evenly
        inside = places - depth[:, None] * normal
        span = depth - depth[0]
        slope = (inside[-1] - inside[0]) / (span[-1] or 1)
        off = np.linalg.norm(inside - inside[0] - span[:, None] * slope, axis=1)
        if off.max() > max(_CLOSE * 10, 0.02 * float(np.median(gaps))):
            strict(
                where(path, "ImagePositionPatient"),
                f"a plane lies {off.max():.3g} mm beside the line of the others",
                hint, "C.7.6.16.2.3",
            )  # fmt: skip
    stated = {v for v in subject.column("slice_spacing") if v}
    if len(stated) != 1 or len(gaps) == 0:
        return
    spacing = next(iter(stated))[0]
    if spacing <= 0:
        out.error(where("PixelMeasuresSequence[1]", "SpacingBetweenSlices"), f"is {spacing:g}", "", "C.7.6.16.2.1")
        return
    counts = gaps / spacing
    off = np.abs(counts - np.rint(counts)) * spacing
    if off.max() > max(_CLOSE * 2, 0.02 * spacing) or (np.rint(counts) < 1).any():
        strict(
            where("PixelMeasuresSequence[1]", "SpacingBetweenSlices"),
            f"is {spacing:g} mm, but planes lie {gaps[int(off.argmax())]:.6g} mm apart",
            "write the distance of neighbouring planes", "C.7.6.16.2.1",
        )  # fmt: skip


def _is_derived(subject: Subject) -> bool:
    return text(subject.ds, "Modality") in ("SEG", "OT") or "SegmentSequence" in subject.ds


# ---------------------------------------------------------------------- single-frame images
def check_plane_of_image(subject: Subject, out: Findings) -> None:
    """Image Plane of a single-frame image (C.7.6.2)."""
    ds = subject.ds
    if "ImageOrientationPatient" in ds:
        fault = orientation_fault(numbers(ds, "ImageOrientationPatient"))
        if fault:
            out.error(where("", "ImageOrientationPatient"), fault, "", "C.7.6.2.1.1")
    if ds.get("PixelSpacing"):
        spacing = numbers(ds, "PixelSpacing")
        if len(spacing) != 2 or min(spacing) <= 0:
            out.error(where("", "PixelSpacing"), "does not hold two positive numbers", "", "C.7.6.2")
    if ds.get("ImagePositionPatient") and len(numbers(ds, "ImagePositionPatient")) != 3:
        out.error(where("", "ImagePositionPatient"), "does not hold three numbers", "", "C.7.6.2")
    if "RescaleSlope" in ds and number(ds, "RescaleSlope") == 0:
        out.error(where("", "RescaleSlope"), "is 0: every value is the same", "", "C.7.6.16.2.9")
