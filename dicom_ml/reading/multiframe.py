"""Frames of enhanced multi-frame images: functional groups read to columns (PS3.3 C.7.6.16)."""

from __future__ import annotations

import struct
from typing import Any

from dicom_ml.encoding.elements import NotLean, items_of
from dicom_ml.encoding.functional_groups import GROUP_TAGS, read_frame_groups, read_item
from dicom_ml.encoding.untrusted import reason_of
from dicom_ml.errors import FileError, SeriesError
from dicom_ml.reading.headers import Header, decimals, sop_class_name
from dicom_ml.reading.planes import PHASE_ATTRIBUTES, Plane

__all__ = ["frame_planes", "is_multiframe"]

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_CT_TYPE, _MR_TYPE, _PET_TYPE = 0x00189329, 0x00189226, 0x00189751
_FRAME_TYPES = {
    "type_ct": (_CT_TYPE, 0x00089007),
    "type_mr": (_MR_TYPE, 0x00089007),
    "type_pet": (_PET_TYPE, 0x00089007),
}

_WANTED: dict[str, tuple[int, ...]] = {
    **{
        name: GROUP_TAGS[name]
        for name in (
            "position", "orientation", "pixel_spacing", "slice_thickness", "slice_spacing",
            "slope", "intercept", "rescale_type",
        )
    },
    **_FRAME_TYPES,
    **{keyword: wanted.path for keyword, wanted in PHASE_ATTRIBUTES.items() if wanted.path is not None},
    "window_center": (0x00289132, 0x00281050),
    "window_width": (0x00289132, 0x00281051),
    "window_name": (0x00289132, 0x00281055),
    "window_function": (0x00289132, 0x00281056),
    "voi_lut": (0x00289132, 0x00283010),
    "real_world": (0x00409096,),
}  # fmt: skip


def is_multiframe(header: Header) -> bool:
    """Whether frames, not the file, are the planes."""
    return header.frames > 1 or _PER_FRAME in header.view


def frame_planes(header: Header) -> list[Plane]:
    """The planes of a multi-frame file.

    Raises
    ------
    SeriesError
        If it has no functional groups, so that no frame has a place in the patient.
    FileError
        If they cannot be read, or do not fit the number of frames.
    """
    view = header.view
    per_frame, shared = view.places.get(_PER_FRAME), view.places.get(_SHARED)
    if per_frame is None:
        raise SeriesError(
            f"{header.name} is a multi-frame {sop_class_name(header.sop_class) or header.modality} of {header.frames} "
            "frames without functional groups, so its frames have no position; expected an enhanced image"
        )
    try:
        common: dict[str, bytes | None] = {}
        if shared is not None:
            for start, end in items_of(view.data, shared[1], shared[2], view.implicit):
                common = read_item(view.data, start, end, view.implicit, _WANTED)
                break
        count, columns = read_frame_groups(view.data, per_frame[1], per_frame[2], view.implicit, _WANTED)
    except (NotLean, struct.error, ValueError) as error:
        raise FileError(f"{header.name}: its functional groups cannot be read: {reason_of(error)}") from error
    if count != header.frames:
        raise FileError(f"{header.name} has {header.frames} frames, but functional groups for {count}")
    for name, value in common.items():
        if value is not None and all(own is None for own in columns[name]):
            columns[name] = [value] * count
        elif value is not None:
            columns[name] = [value if own is None else own for own in columns[name]]
    kinds = zip(*(columns[name] for name in _FRAME_TYPES), strict=True)
    columns["FrameType"] = [next((value for value in types if value), None) for types in kinds]
    positions = _numbers(columns["position"], 0x00200032, header, 3)
    orientations = _numbers(columns["orientation"], 0x00200037, header, 6)
    spacings = _numbers(columns["pixel_spacing"], 0x00280030, header, 2)
    thicknesses = _numbers(columns["slice_thickness"], 0x00180050, header, 1)
    between = _numbers(columns["slice_spacing"], 0x00180088, header, 1)
    kept = [name for name, values in columns.items() if any(value is not None for value in values)]
    planes = []
    for i in range(count):
        planes.append(
            Plane(
                header=header,
                frame=i,
                position=positions[i],
                orientation=orientations[i],
                spacing=spacings[i],
                thickness=abs(thicknesses[i][0]) or None if thicknesses[i] else None,  # type: ignore[index]
                between=abs(between[i][0]) or None if between[i] else None,  # type: ignore[index]
                groups={name: columns[name][i] for name in kept},
            )
        )
    return planes


def _numbers(values: list[bytes | None], tag: int, header: Header, count: int) -> list[tuple[float, ...] | None]:
    """Decimal strings to numbers, each distinct one once."""
    known: dict[Any, tuple[float, ...] | None] = {None: None}
    for value in set(values):
        text = value.decode("latin-1").strip("\0 ") if value else ""
        known[value] = decimals(text, tag, header.name, count) if text else None
    return [known[value] for value in values]
