"""Proof that planes form one volume: one shape, one orientation, one image a place, even steps."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicom_ml.errors import DicomMLWarning, GeometryError, SeriesError
from dicom_ml.geometry import FloatArray, PlaneStack, affine_from_plane, stack_planes, unit_orientation
from dicom_ml.reading.phases import Phases, find_phases, match_phase
from dicom_ml.reading.pixels import same_pixels
from dicom_ml.reading.planes import Plane

__all__ = ["Layout", "Policies", "lay_out"]

_COSINE_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Policies:
    """What to do with series that are not one plain volume; see :func:`dicom_ml.read_volume`."""

    gaps: str = "error"
    duplicates: str = "error"
    localizers: str = "skip"
    tilt: str = "error"
    phase: int | Mapping[str, Any] | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("gaps", ("error", "fill", "interpolate")),
            ("duplicates", ("error", "first", "last")),
            ("localizers", ("skip", "error")),
            ("tilt", ("error", "shear", "resample")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, found {getattr(self, name)!r}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance is a positive distance in mm, found {self.tolerance!r}")


@dataclass(frozen=True)
class Layout:
    """Planes at their places.

    Attributes
    ----------
    planes : list of Plane
        Sorted along the normal.
    slots : list of int
        The slice that each plane is; slices in between have no plane.
    count : int
        Number of slices.
    affine : ndarray of shape (4, 4)
    offsets : list of float
        Where each plane lies, counted in slices from the first; differs from ``slots`` where planes are uneven.
    """

    planes: list[Plane]
    slots: list[int]
    count: int
    affine: FloatArray
    offsets: list[float]


def lay_out(planes: Sequence[Plane], policies: Policies) -> Layout:
    """Prove that planes are one volume and find their places.

    Raises
    ------
    SeriesError
        Naming what stands against it and which policy would let it pass.
    """
    chosen = _without_localizers(list(planes), policies)
    chosen = _one_geometry(chosen, policies)
    if isinstance(policies.phase, Mapping):
        chosen = match_phase(chosen, policies.phase)
    stack = _stack(chosen, policies)
    if stack.duplicates:
        chosen = _without_copies(chosen, stack)
        stack = _stack(chosen, policies)
    if isinstance(policies.phase, int) and not isinstance(policies.phase, bool):
        chosen = _phase_by_index(chosen, stack, policies)
        stack = _stack(chosen, policies)
    if stack.duplicates:
        found = find_phases(chosen, stack, lambda part: not _stack(part, policies).duplicates)
        if found is not None and not isinstance(policies.phase, Mapping):
            raise SeriesError(
                f"the series holds several images of one place: {found.describe()}. "
                f"Choose with phase= (0 to {len(found.groups) - 1}, or {found.example()})"
            )
    if not stack.regular and policies.gaps != "interpolate":
        raise SeriesError(_uneven(chosen, stack, policies))
    if stack.duplicates:
        chosen = _one_a_place(chosen, stack, policies)
        stack = _stack(chosen, policies)
    if stack.gaps and policies.gaps == "error":
        raise SeriesError(_holes(chosen, stack, policies))
    if stack.tilt and policies.tilt == "error":
        lateral = stack.step - (stack.step @ _normal(chosen)) * _normal(chosen)
        raise SeriesError(
            f"the planes slide sideways by {np.linalg.norm(lateral):.4g} mm from slice to slice, a tilt of "
            f"{stack.tilt:.2f} degrees (gantry tilt): pass tilt='shear' for the voxels as they are, with a sheared "
            "affine, or tilt='resample' for a straight volume"
        )
    return _layout(chosen, stack)


# ---------------------------------------------------------------------- what belongs together
def _without_localizers(planes: list[Plane], policies: Policies) -> list[Plane]:
    scouts = [plane for plane in planes if plane.header.is_localizer]
    if not scouts or len(scouts) == len(planes):
        return planes
    _left_out(scouts, len(planes), "are localizers by their Image Type", policies)
    return [plane for plane in planes if not plane.header.is_localizer]


def _left_out(scouts: Sequence[Plane], total: int, why: str, policies: Policies) -> None:
    text = f"{len(scouts)} of {total} images of the series {why} (the first: {scouts[0].name})"
    if policies.localizers == "error":
        raise SeriesError(f"{text}; pass localizers='skip' to leave them out")
    warnings.warn(f"{text} and were left out", DicomMLWarning, stacklevel=5)


def _one_geometry(planes: list[Plane], policies: Policies) -> list[Plane]:
    for keyword, name in (
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "spacing"),
    ):
        lacking = [plane for plane in planes if getattr(plane, name) is None]
        if lacking:
            raise SeriesError(_lacking(keyword, lacking, planes))
    for cosines, plane in {plane.orientation or (): plane for plane in planes}.items():
        try:
            unit_orientation(cosines)
        except GeometryError as error:
            raise SeriesError(f"{plane.name}: {error}") from error
    parts = _grouped(planes, lambda p: (p.orientation, p.header.rows, p.header.columns), _alike)
    if len(parts) > 1:
        # a few images across the others are scouts, whatever their Image Type says
        main = max(parts, key=len)
        others = [plane for part in parts if part is not main for plane in part]
        angles = {tuple(np.round(part[0].orientation, 3).tolist()) for part in parts}  # type: ignore[arg-type]
        if len(main) < 4 * len(others) or len(angles) == 1:
            raise SeriesError(_different(parts, angles))
        _left_out(others, len(planes), "lie across the others, like localizers,", policies)
        planes = main
    spacings = _grouped(planes, lambda p: p.spacing, lambda a, b: _close(a, b, _SPACING_TOLERANCE * max(a)))
    if len(spacings) > 1:
        listed = ", ".join("\\".join(f"{v:g}" for v in part[0].spacing or ()) for part in spacings[:6])
        raise SeriesError(f"the images of the series differ in PixelSpacing: {listed}; they are not one volume")
    if min(planes[0].spacing or (0,)) <= 0:
        raise SeriesError(f"{planes[0].name}: PixelSpacing is {planes[0].spacing}; expected two positive numbers")
    frames = Counter(plane.header.frame_of_reference for plane in planes if plane.header.frame_of_reference)
    if len(frames) > 1:
        raise SeriesError(
            f"the images of the series lie in {len(frames)} frames of reference "
            f"({', '.join(f'{uid}: {n} images' for uid, n in frames.most_common(4))}): "
            "their positions cannot be compared"
        )
    return planes


def _lacking(keyword: str, lacking: Sequence[Plane], planes: Sequence[Plane]) -> str:
    header = lacking[0].header
    text = f"{keyword} is missing in {len(lacking)} of {len(planes)} images (the first: {lacking[0].name})"
    if keyword == "PixelSpacing" and 0x00181164 in header.view:
        return f"{text}; ImagerPixelSpacing is there, so it is a projection, which is no volume"
    kind = f"{header.modality} images without it have" if header.modality else "such images have"
    return f"{text}: {kind} no place in the patient and cannot become a volume"


def _alike(a: Any, b: Any) -> bool:
    return a[1:] == b[1:] and _close(a[0], b[0], _COSINE_TOLERANCE)


def _close(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return a == b or all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def _grouped(
    planes: Sequence[Plane], key: Callable[[Plane], Any], alike: Callable[[Any, Any], bool]
) -> list[list[Plane]]:
    """Planes with like keys together; the keys of a series are nearly always one and the same."""
    keys: list[Any] = []
    parts: list[list[Plane]] = []
    for plane in planes:
        own = key(plane)
        for number, known in enumerate(keys):
            if alike(known, own):
                parts[number].append(plane)
                break
        else:
            keys.append(own)
            parts.append([plane])
    return parts


def _different(parts: Sequence[Sequence[Plane]], angles: Any) -> str:
    counts = ", ".join(
        f"{len(part)} of {part[0].header.rows} x {part[0].header.columns}"
        + (" along " + "\\".join(f"{v:.3g}" for v in part[0].orientation or ()) if len(angles) > 1 else "")
        for part in parts[:6]
    )
    what = "orientations" if len(angles) > 1 else "image sizes (rows x columns)"
    return f"the images of the series have {len(parts)} different {what}: {counts}; they are not one volume"


# ---------------------------------------------------------------------- one image a place
def _stack(planes: Sequence[Plane], policies: Policies) -> PlaneStack:
    return stack_planes([plane.position or () for plane in planes], planes[0].orientation or (), policies.tolerance)


def _normal(planes: Sequence[Plane]) -> FloatArray:
    cosines = unit_orientation(planes[0].orientation or ())
    return np.cross(cosines[:3], cosines[3:])


def _without_copies(planes: list[Plane], stack: PlaneStack) -> list[Plane]:
    """Leave out further copies of one and the same image."""
    dropped: set[int] = set()
    for group in stack.duplicates:
        kept: list[int] = []
        for index in sorted(group):
            if any(_same_image(planes[index], planes[other]) for other in kept):
                dropped.add(index)
            else:
                kept.append(index)
    if dropped:
        first = planes[min(dropped)].name
        warnings.warn(
            f"{len(dropped)} images are there twice or more (the first copy: {first}); the copies were left out",
            DicomMLWarning,
            stacklevel=5,
        )
    return [plane for index, plane in enumerate(planes) if index not in dropped]


def _same_image(a: Plane, b: Plane) -> bool:
    if a.frame != b.frame or a.header.sop_instance != b.header.sop_instance:
        return False
    if a.header.sop_instance:
        return (a.header is not b.header) and a.modality_map() == b.modality_map() and same_pixels(a.header, b.header)
    return a.header.view.size == b.header.view.size and a.header.candidate.read() == b.header.candidate.read()


def _phase_by_index(planes: list[Plane], stack: PlaneStack, policies: Policies) -> list[Plane]:
    assert isinstance(policies.phase, int)
    found = _phases(planes, stack, policies)
    if found is None:
        if policies.phase == 0 and not stack.duplicates:
            return planes
        raise SeriesError(
            f"phase {policies.phase} was asked for, but no attribute divides the series into phases; "
            "pass phase={keyword: value} to name one yourself"
        )
    if not 0 <= policies.phase < len(found.groups):
        raise SeriesError(
            f"phase {policies.phase} was asked for, the series has phases 0 to {len(found.groups) - 1}: "
            f"{found.describe()}"
        )
    return found.groups[policies.phase]


def _phases(planes: list[Plane], stack: PlaneStack, policies: Policies) -> Phases | None:
    """Phases at the same places, or else stacks that interleave."""
    if stack.duplicates:
        return find_phases(planes, stack, lambda part: not _stack(part, policies).duplicates)
    if not stack.regular or stack.gaps:
        return find_phases(planes, stack, lambda part: _even(part, policies), interleaved=True)
    return None


def _even(planes: Sequence[Plane], policies: Policies) -> bool:
    stack = _stack(planes, policies)
    return len(planes) > 1 and stack.regular and not stack.gaps and not stack.duplicates


def _one_a_place(planes: list[Plane], stack: PlaneStack, policies: Policies) -> list[Plane]:
    groups = stack.duplicates
    if policies.duplicates == "error":
        a, b = (planes[index] for index in groups[0][:2])
        alike = a.header.sop_instance and a.header.sop_instance == b.header.sop_instance
        same = " under the same SOPInstanceUID" if alike else ""
        raise SeriesError(
            f"{len(groups)} places of the stack hold several different images{same} "
            f"(the first: {a.name} and {b.name}), "
            "and no attribute tells which belong together: pass duplicates='first' or 'last' (by instance number), "
            "or phase={keyword: value}"
        )
    dropped: set[int] = set()
    for group in groups:
        ranked = sorted(group, key=lambda index: _rank(planes[index]))
        dropped.update(ranked[1:] if policies.duplicates == "first" else ranked[:-1])
    return [plane for index, plane in enumerate(planes) if index not in dropped]


def _rank(plane: Plane) -> tuple[float, int, str]:
    try:
        number = float(plane.header.view.text(0x00200013) or "inf")
    except ValueError:
        number = math.inf
    return number, plane.frame, plane.header.name


# ---------------------------------------------------------------------- even steps
def _uneven(planes: list[Plane], stack: PlaneStack, policies: Policies) -> str:
    steps = np.diff(stack.offsets)
    usual = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 0.0
    odd = sorted(range(len(steps)), key=lambda i: -abs(steps[i] - usual))[:3]
    if usual and abs(steps[odd[0]] - usual) > stack.tolerance:
        names = "; ".join(
            f"{steps[i]:.4g} mm between slices {i} and {i + 1} ({planes[stack.order[i]].name}, "
            f"{planes[stack.order[i + 1]].name})"
            for i in sorted(odd)
            if abs(steps[i] - usual) > stack.tolerance
        )
        text = f"the slices are not evenly spaced: most are {usual:.4g} mm apart, but {names}"
    else:
        text = (
            f"the slices do not lie on a straight, even stack: one is {stack.residual:.3g} mm from its place "
            f"(allowed: {stack.tolerance:.3g} mm)"
        )
    hint = ". Pass gaps='interpolate' for an even volume by linear interpolation, or tolerance= in mm"
    return text + (_parts(planes, stack, policies) or hint)


def _holes(planes: list[Plane], stack: PlaneStack, policies: Policies) -> str:
    place = {int(index): slot for index, slot in zip(stack.order, stack.slots, strict=True)}
    missing = sum(count for _, _, count in stack.gaps)
    listed = "; ".join(
        f"{count} after slice {place[before]} ({planes[before].name}, {_apart(planes[before], planes[after]):.4g} mm "
        f"before {planes[after].name})"
        for before, after, count in stack.gaps[:5]
    )
    more = f"; and {len(stack.gaps) - 5} more holes" if len(stack.gaps) > 5 else ""
    text = f"{missing} slices are missing ({len(planes)} are there, {stack.spacing:.4g} mm apart): {listed}{more}"
    return text + (_parts(planes, stack, policies) or ". Pass gaps='fill' for slices of padding, or gaps='interpolate'")


def _parts(planes: list[Plane], stack: PlaneStack, policies: Policies) -> str:
    """A hint where the series is several stacks that interleave or follow each other."""
    found = _phases(planes, stack, policies)
    if found is None:
        return ""
    return f". Each part is even by itself: {found.describe()}. Choose with phase= ({found.example()})"


def _apart(a: Plane, b: Plane) -> float:
    return float(np.linalg.norm(np.subtract(b.position or (), a.position or ())))


def _layout(planes: list[Plane], stack: PlaneStack) -> Layout:
    ordered = [planes[int(index)] for index in stack.order]
    first = ordered[0]
    slots = [int(slot) for slot in stack.slots]
    step: Any = stack.step
    offsets = [float(slot) for slot in slots]
    if not stack.spacing:
        step = _lone_spacing(first)
    elif stack.duplicates or not stack.regular:
        # uneven planes: an even stack from the first to the last
        extent = float(stack.offsets[-1] - stack.offsets[0])
        places = max(1, round(extent / stack.spacing))
        step = (np.subtract(ordered[-1].position or (), first.position or ())) / places
        offsets = [float(v) for v in (stack.offsets - stack.offsets[0]) * places / extent]
        slots = [round(offset) for offset in offsets]
    else:
        _compare_spacing(first, stack.spacing)
        # a least-squares fit leaves noise in the last digits; a nanometre is none of the image's
        step = np.round(step, 9)
    affine = affine_from_plane(first.position or (), first.orientation or (), first.spacing or (), step)
    return Layout(ordered, slots, slots[-1] + 1, affine, offsets)


def _lone_spacing(plane: Plane) -> float:
    """Depth of a single slice: spacing between slices, else slice thickness, else 1 mm with a warning."""
    if plane.between or plane.thickness:
        return plane.between or plane.thickness or 1.0
    warnings.warn(
        f"{plane.name} is a single slice with neither SpacingBetweenSlices nor SliceThickness: "
        "1 mm is taken as its depth",
        DicomMLWarning,
        stacklevel=6,
    )
    return 1.0


def _compare_spacing(plane: Plane, spacing: float) -> None:
    """Warn where every second slice (or third ...) may be missing, which positions alone cannot show."""
    if not plane.between:
        return
    ratio = spacing / plane.between
    if ratio > 1.5 and abs(ratio - round(ratio)) < 0.02 * ratio:
        warnings.warn(
            f"the slices are {spacing:.4g} mm apart, SpacingBetweenSlices says {plane.between:.4g} mm: "
            f"if the series was thinned out, only every slice number {round(ratio)} is here",
            DicomMLWarning,
            stacklevel=6,
        )
