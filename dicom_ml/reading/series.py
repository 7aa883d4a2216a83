"""Read one image series as a volume."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code, parse_unit
from dicom_ml.encoding.untrusted import reason_of
from dicom_ml.errors import CodeError, DicomMLWarning, FileError, SeriesError
from dicom_ml.geometry import Grid
from dicom_ml.reading.files import ReadableSource, expand
from dicom_ml.reading.headers import Header
from dicom_ml.reading.multiframe import frame_planes, is_multiframe
from dicom_ml.reading.pixels import PlaneJob, check_pixels, read_planes, stored_dtype
from dicom_ml.reading.planes import Plane, single_plane
from dicom_ml.reading.select import choose_series, read_headers
from dicom_ml.reading.stacking import Layout, Policies, lay_out
from dicom_ml.reading.values import LinearMap, ValueMap, modality_unit, pet_unit
from dicom_ml.reading.volume import Preset, Volume
from dicom_ml.source import (
    COPIED_KEYWORDS,
    DESCRIBED_KEYWORDS,
    SourceSeries,
    copied_attributes,
    described_attributes,
)

__all__ = ["read_volume"]


def read_volume(
    source: ReadableSource,
    *,
    series_uid: str | None = None,
    phase: int | Mapping[str, Any] | None = None,
    gaps: str = "error",
    duplicates: str = "error",
    localizers: str = "skip",
    tilt: str = "error",
    units: str | Code = "real",
    dtype: npt.DTypeLike | None = None,
    tolerance: float | None = None,
    threads: int | None = None,
) -> Volume:
    """Read one CT, MR, PET or other grayscale image series as a volume proved from its geometry.

    Slices are ordered by their position along the normal (the cross product of the row and column directions of
    Image Orientation (Patient)), never by instance number; the array index ``d`` grows along that normal. What does
    not form one regular volume is an error, unless a policy says what to do.

    Parameters
    ----------
    source : path, bytes, pydicom Dataset, or a sequence of these
        A folder (with its subfolders), a zip, a file, or a list of files of single-frame images or an enhanced
        multi-frame image. Files that are not DICOM and objects that are no images are left out with a warning.
    series_uid : str, optional
        Which series, where the files hold several.
    phase : int or mapping, optional
        Which images, where several share a place (echoes, time points, b-values, stacks): the number of the part,
        in the order of the attribute that divides them, or ``{keyword: value}``.
    gaps : {"error", "fill", "interpolate"}
        Missing slices: an error that names the places; slices of :attr:`Volume.fill_value`; or linear interpolation
        between the neighbours, which also makes unevenly spaced slices even. :attr:`Volume.gaps` tells which.
    duplicates : {"error", "first", "last"}
        Different images of one place that no attribute tells apart: an error, or the one of lowest or highest
        instance number. Copies of one image are left out with a warning in any case.
    localizers : {"skip", "error"}
        Scout images among the others (by Image Type, or by lying across most of them).
    tilt : {"error", "shear", "resample"}
        Planes that slide sideways (gantry tilt): an error; voxels as they are, with a sheared affine; or resampled
        onto planes stacked along the normal.
    units : str or Code
        ``"real"``: what the modality's rescale means (HU, PET activity), for MR the real-world value map where there
        is exactly one. ``"rescaled"``: rescale or modality lookup table only. ``"stored"``: stored integers. Else
        the unit (UCUM code or ``"UCUM:..."``) or label of one of the files' real-world value maps.
    dtype : dtype, optional
        By default float32, or the smallest integer type for stored values. Integers are rounded.
    tolerance : float, optional
        Millimetres that a plane may lie off its place on the even stack; by default 5 % of the spacing, at least
        0.05 mm.
    threads : int, optional
        Most threads to decode on; by default one a core, 8 at most.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If a file cannot be read, is truncated, or contradicts itself.
    SeriesError
        If the files are not one volume.
    CodecError
        If pixel data cannot be decoded.

    Examples
    --------
    >>> volume = read_volume("series/")  # doctest: +SKIP
    >>> volume.array.shape, volume.spacing, volume.unit  # doctest: +SKIP
    """
    policies = Policies(gaps, duplicates, localizers, tilt, phase, tolerance)
    headers = choose_series(read_headers(expand(source), series_uid, threads), series_uid)
    planes: list[Plane] = []
    for header in headers:
        planes += frame_planes(header) if is_multiframe(header) else [single_plane(header)]
    layout = lay_out(planes, policies)
    for header in {id(plane.header): plane.header for plane in layout.planes}.values():
        check_pixels(header)
    maps, unit, rescaled = _value_maps(layout.planes, units)
    target = _target_dtype(layout.planes, units, dtype)
    padding = _padding(layout.planes, maps, target)
    inverted = layout.planes[0].header.photometric == "MONOCHROME1"
    presets = _presets(layout, maps, rescaled) if rescaled else ()
    empty = Volume(
        np.zeros((1, 1, 1), target),
        layout.affine,
        _describe(layout),
        modality=layout.planes[0].header.modality,
        unit=unit,
        padding_value=padding,
        presets=presets,
        inverted=inverted,
        metadata={**_metadata(layout), "rescale": _one_rescale(layout.planes) if rescaled else None},
    )
    array, filled = _read(layout, maps, target, empty.fill_value, policies.gaps, threads)
    volume = replace(empty, array=array, gaps=filled)
    if tilt == "resample":
        return volume.straightened()
    return volume


# ---------------------------------------------------------------------- values
def _value_maps(planes: Sequence[Plane], units: str | Code) -> tuple[list[ValueMap], Code | None, bool]:
    """Map of each plane, the unit of all, and whether values are those of the modality's rescale."""
    _refuse_palette(planes, units)
    if units == "stored":
        identity = LinearMap()
        return [identity] * len(planes), None, all(plane.modality_map() == identity for plane in planes)
    found = [_value_map(plane, units) for plane in planes]
    named = {unit for _, unit, _ in found}
    if len(named) > 1:
        shown = ", ".join(sorted("none" if unit is None else unit.value for unit in named))
        raise SeriesError(
            f"the images of the series are in different units ({shown}), so their values cannot stand in one volume; "
            "pass units='stored' for the stored integers"
        )
    return [values for values, _, _ in found], found[0][1], all(rescaled for _, _, rescaled in found)


def _one_rescale(planes: Sequence[Plane]) -> tuple[float, float] | None:
    """Slope and intercept that hold for the stored values of every plane; None where planes differ, or have a table."""
    maps = {plane.modality_map() for plane in planes}
    only = maps.pop() if len(maps) == 1 else None
    return (only.slope, only.intercept) if isinstance(only, LinearMap) else None


def _refuse_palette(planes: Sequence[Plane], units: str | Code) -> None:
    coloured = [plane for plane in planes if plane.header.photometric == "PALETTE COLOR"]
    if coloured and units != "stored":
        raise SeriesError(
            f"{coloured[0].name} is a palette colour image: its pixels are indices of colours, which measure nothing; "
            "pass units='stored' for the indices"
        )


def _value_map(plane: Plane, units: str | Code) -> tuple[ValueMap, Code | None, bool]:
    header = plane.header
    real_world = plane.real_world()
    if units not in ("real", "rescaled"):
        for label, unit, values in real_world:
            if _names(units, label, unit):
                return values, unit, False
        offered = ", ".join(f"{label!r} in {unit.value if unit else 'no unit'}" for label, unit, _ in real_world)
        raise SeriesError(
            f"{plane.name} has no real-world value map {units!r} (offered: {offered or 'none'}); "
            "units is 'real', 'rescaled', 'stored', or the unit or label of a map"
        )
    has_rescale = bool(plane.text("slope", 0x00281053)) or 0x00283000 in header.view
    if units == "real" and len(real_world) == 1 and (header.modality == "MR" or not has_rescale):
        _, unit, values = real_world[0]
        return values, unit, values == plane.modality_map()
    values = plane.modality_map()
    kind = plane.rescale_type()
    if header.modality == "PT" and header.view.text(0x00541001):
        unit = pet_unit(header.view.text(0x00541001), header.view.text(0x00541006))
    else:
        unit = modality_unit(header.modality, kind, header.is_localizer)
    if unit is None:
        # the map says in which unit the very same numbers are
        unit = next((u for _, u, one in real_world if one == values and u is not None), None)
    return values, unit, True


def _names(units: str | Code, label: str, unit: Code | None) -> bool:
    if isinstance(units, Code):
        return unit == units
    if label and units == label:
        return True
    if unit is None:
        return False
    try:
        return unit == (parse_code(units) if ":" in units else parse_unit(units))
    except CodeError:
        return unit.value == units


def _target_dtype(planes: Sequence[Plane], units: str | Code, dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    if dtype is None:
        return stored_dtype(planes) if units == "stored" else np.dtype(np.float32)
    found = np.dtype(dtype)
    if found.kind not in "iuf":
        raise ValueError(f"dtype is an integer or floating type, found {found}")
    return found


def _padding(planes: Sequence[Plane], maps: Sequence[ValueMap], dtype: np.dtype[Any]) -> float | None:
    """Padding value in the units of the array; None where there is none that holds for all slices."""
    found: set[float] = set()
    for plane, values in zip(planes, maps, strict=True):
        header = plane.header
        raw = header.view.integer(0x00280120)
        if raw is None:
            return None
        bits = header.view.integer(0x00280100, 16) or 16
        stored = raw & ((1 << bits) - 1)
        if header.view.integer(0x00280103) == 1 and stored >> (bits - 1):
            stored -= 1 << bits
        found.add(values.at(stored))
    value = found.pop() if len(found) == 1 else None
    return None if value is None else float(np.float32(value)) if dtype == np.float32 else value


def _presets(layout: Layout, maps: Sequence[ValueMap], rescaled: bool) -> tuple[tuple[Preset, ...], ...]:
    own = [plane.presets() for plane in layout.planes]
    if all(one == own[0] for one in own):
        return (own[0],) if own[0] else ()
    nearest = np.searchsorted(layout.slots, np.arange(layout.count), side="right") - 1
    return tuple(own[int(index)] for index in nearest)


# ---------------------------------------------------------------------- pixels
def _read(
    layout: Layout, maps: Sequence[ValueMap], dtype: np.dtype[Any], fill: float, gaps: str, threads: int | None
) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """The array, and the slices that no plane holds."""
    header = layout.planes[0].header
    size = (header.rows, header.columns)
    even = all(offset == slot for offset, slot in zip(layout.offsets, layout.slots, strict=True))
    filled = tuple(sorted(set(range(layout.count)) - set(layout.slots)))
    if gaps != "interpolate" or (even and not filled):
        out = _room((layout.count, *size), dtype)
        for slot in filled:
            out[slot] = np.clip(fill, np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else fill
        slots = layout.slots
        jobs = [PlaneJob(p, v, s) for p, v, s in zip(layout.planes, maps, slots, strict=True)]
        read_planes(jobs, out, threads)
        return out, filled
    measured = _room((len(layout.planes), *size), np.dtype(np.float64 if dtype.itemsize > 4 else np.float32))
    jobs = [PlaneJob(p, v, i) for i, (p, v) in enumerate(zip(layout.planes, maps, strict=True))]
    read_planes(jobs, measured, threads)
    out = _room((layout.count, *size), dtype)
    made = []
    for slot in range(layout.count):
        after = min(int(np.searchsorted(layout.offsets, slot - 1e-6)), len(layout.planes) - 1)
        before = max(after - 1, 0)
        low, high = layout.offsets[before], layout.offsets[after]
        if abs(high - slot) < 1e-6 or high == low:
            mixed = measured[after]
        else:
            share = (slot - low) / (high - low)
            mixed = measured[before] * (1 - share) + measured[after] * share
            made.append(slot)
        out[slot] = np.rint(mixed) if dtype.kind in "iu" else mixed
    return out, tuple(made)


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An empty array, or an error that says how much was wanted."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        wanted = math.prod(shape) * dtype.itemsize
        raise SeriesError(
            f"a volume of {' x '.join(map(str, shape))} {dtype} values needs {wanted / 1e9:.1f} GB of memory, which "
            "are not to be had; read fewer files, or pass a smaller dtype"
        ) from error


# ---------------------------------------------------------------------- the record
def _describe(layout: Layout) -> SourceSeries:
    """The source record: one entry a slice, empty where no file holds the slice."""
    headers = list({id(plane.header): plane.header for plane in layout.planes}.values())
    first = headers[0]
    held: dict[int, Plane] = {}
    for plane, slot, offset in zip(layout.planes, layout.slots, layout.offsets, strict=True):
        if abs(offset - slot) < 1e-6:
            held.setdefault(slot, plane)
    slices = [held.get(slot) for slot in range(layout.count)]
    problems = _problems(headers)
    if problems:
        warnings.warn(
            "the series can be read but cannot serve as the source of a DICOM object: " + "; ".join(problems),
            DicomMLWarning,
            stacklevel=4,
        )
    try:
        described = (*DESCRIBED_KEYWORDS, "SharedFunctionalGroupsSequence")
        header = first.dataset((*COPIED_KEYWORDS, *described))
        others = [] if len(headers) == 1 else [headers[-1].dataset(described)]
        attributes = copied_attributes(header)
    except Exception as error:
        raise FileError(f"{first.name}: its patient and study attributes cannot be read: {reason_of(error)}") from error
    numbers: tuple[int, ...] | None = None
    if any(plane.groups is not None for plane in layout.planes):
        numbers = tuple(0 if plane is None else plane.frame + 1 for plane in slices)
    return SourceSeries(
        modality=first.modality,
        study_instance_uid=first.study,
        series_instance_uid=first.series,
        frame_of_reference_uid=next((h.frame_of_reference for h in headers if h.frame_of_reference), ""),
        sop_class_uids=tuple("" if plane is None else plane.header.sop_class for plane in slices),
        sop_instance_uids=tuple("" if plane is None else plane.header.sop_instance for plane in slices),
        frame_numbers=numbers,
        grid=Grid((layout.count, first.rows, first.columns), layout.affine),
        attributes=attributes,
        problems=problems,
        described=described_attributes([header, *others]),
    )


def _problems(headers: Sequence[Header]) -> tuple[str, ...]:
    """Why derived objects could not refer to these files."""
    found = []
    for keyword, name in (
        ("SOPClassUID", "sop_class"),
        ("SOPInstanceUID", "sop_instance"),
        ("StudyInstanceUID", "study"),
        ("SeriesInstanceUID", "series"),
    ):
        count = sum(not getattr(header, name) for header in headers)
        if count:
            found.append(f"{keyword} is missing in {count} of {len(headers)} files")
    shared = [uid for uid, n in Counter(h.sop_instance for h in headers).items() if n > 1 and uid]
    if shared:
        found.append(f"{len(shared)} SOPInstanceUIDs stand in several files (the first: {shared[0]})")
    for keyword, tag in (("StudyInstanceUID", 0x0020000D), ("PatientID", 0x00100020), ("PatientName", 0x00100010)):
        if len({(header.view.raw(tag) or b"").strip(b"\0 ") for header in headers}) > 1:
            found.append(f"the files disagree in {keyword}")
    return tuple(found)


def _metadata(layout: Layout) -> dict[str, Any]:
    """Facts of acquisition that concern no person."""
    headers = list({id(plane.header): plane.header for plane in layout.planes}.values())
    first = layout.planes[0]
    return {
        "image_type": first.header.image_type,
        "sop_class_uid": first.header.sop_class,
        "photometric_interpretation": first.header.photometric,
        "transfer_syntax_uids": tuple(sorted({header.transfer_syntax for header in headers})),
        "bits_stored": first.header.frame_info().bits_stored,
        "slice_thickness": first.thickness,
        "rescale_type": first.rescale_type(),
        "files": len(headers),
    }
