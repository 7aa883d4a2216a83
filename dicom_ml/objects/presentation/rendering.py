"""Images as a presentation state shows them: values to grey or colour, shutters, orientation (PS3.4 annex N)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.frames import FrameIndex, decode_frames
from dicom_ml.errors import EncodingError
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.presentation.content import Content
from dicom_ml.objects.presentation.lookup import LookupTable, Transform
from dicom_ml.objects.report.items import Reference

__all__ = ["render", "transform_for"]

Array = npt.NDArray[Any]


def render(
    content: Content, image: Any, sop_instance_uid: str | None, stored: bool | None, oriented: bool
) -> npt.NDArray[np.uint8]:
    """What :meth:`PresentationState.apply` returns."""
    values, names, is_stored, limits, color = _values_of(image, sop_instance_uid)
    if stored is not None:
        is_stored = stored
    if color != (content.kind == "color"):
        raise EncodingError(f"a state of kind {content.kind!r} is not for images {'in colour' if color else 'in grey'}")
    shape = values.shape[:-1] if color else values.shape
    planes = values.reshape(-1, *values.shape[-3:]) if color else values.reshape(-1, *shape[-2:])
    if len(names) not in (1, len(planes)):
        raise EncodingError(f"{len(names)} images are named for {len(planes)} planes")
    names = list(names) * len(planes) if len(names) == 1 else names
    colored = color or content.palette is not None
    out = np.empty((*planes.shape[:3], 3) if colored else planes.shape, np.uint8)
    visible = None if content.shutter is None else content.shutter.visible((shape[-2], shape[-1]))
    for place, (plane, name) in enumerate(zip(planes, names, strict=True)):
        picture = plane if color else _grey(content, plane, name, is_stored, limits)
        if visible is not None:
            picture = np.where(visible[..., None] if colored else visible, picture, _hidden(content, colored))
        out[place] = picture
    out = out.reshape(*shape, 3) if colored else out.reshape(shape)
    return np.ascontiguousarray(content.orientation.apply(out, colored)) if oriented else out


def _hidden(content: Content, colored: bool) -> Any:
    shutter = content.shutter
    assert shutter is not None
    if colored:
        return np.array(shutter.color or (round(shutter.value / 257),) * 3, np.uint8)
    return np.uint8(round(shutter.value / 257))


def _grey(
    content: Content, plane: Array, name: tuple[str, int], stored: bool, limits: tuple[float, float] | None
) -> npt.NDArray[np.uint8]:
    values: Array = plane.astype(np.float64)
    if stored and isinstance(content.rescale, LookupTable):
        values = content.rescale.look_up(values).astype(np.float64)
        limits = 0.0, float((1 << content.rescale.bits) - 1)
    elif stored and content.rescale is not None:
        values = content.rescale.apply(values)
        if limits is not None:
            ends = content.rescale.apply(np.array(limits))
            limits = float(ends.min()), float(ends.max())
    transform = transform_for(content, name)
    if transform is not None:
        unit = transform.apply(values)
    elif limits is None:
        raise EncodingError(
            "the state has no window, and which range the values have is not known; apply it to a data set, or to an "
            "array of stored integers"
        )
    else:
        unit = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    if content.palette is not None:
        return content.palette.apply(unit)
    if isinstance(content.grey, LookupTable):
        unit = content.grey.apply_unit(unit)
    elif content.grey == "INVERSE":
        unit = 1 - unit
    return np.asarray(np.rint(unit * 255), dtype=np.uint8)


def transform_for(content: Content, name: tuple[str, int]) -> Transform | None:
    """The window or table for an image, given by SOP Instance UID and frame (0 for any); None where it has none.

    Raises
    ------
    EncodingError
        If the state is not for that image, or the image has to be named.
    """
    uid, frame = name
    if uid and not any(_is_for(r, uid, frame) for r in content.references):
        raise EncodingError(
            f"the state is not for image {uid}" + (f", frame {frame}" if frame else "") + "; it is for "
            f"{len(content.references)} other images"
        )
    for voi in content.voi:
        if not voi.images:
            return voi.transform
        if uid and any(_is_for(r, uid, frame) for r in voi.images):
            return voi.transform
    if content.voi and not uid:
        if len({v.transform for v in content.voi}) == 1:
            return content.voi[0].transform
        raise EncodingError("the state has windows for single images: say which image this is, sop_instance_uid=")
    return None


def _is_for(reference: Reference, uid: str, frame: int) -> bool:
    return reference.sop_instance_uid == uid and (not reference.frames or frame == 0 or frame in reference.frames)


Names = list[tuple[str, int]]


def _values_of(image: Any, uid: str | None) -> tuple[Array, Names, bool, tuple[float, float] | None, bool]:
    """Values, the image of each plane, whether values are stored ones, their range, and whether they are colours."""
    if hasattr(image, "SOPClassUID"):
        return _of_dataset(image)
    array = getattr(image, "array", None)
    if isinstance(array, np.ndarray) and hasattr(image, "grid"):
        return array, _slices_of(image, uid), False, None, False
    values = as_array(image)
    color = values.ndim in (3, 4) and values.shape[-1] == 3 and values.dtype == np.uint8
    limits = None
    if values.dtype.kind in "iu":
        limits = float(np.iinfo(values.dtype).min), float(np.iinfo(values.dtype).max)
    return values, [(uid or "", 0)], values.dtype.kind in "iu", limits, color


def _of_dataset(ds: Any) -> tuple[Array, Names, bool, tuple[float, float] | None, bool]:
    index = FrameIndex.from_dataset(ds)
    frames = decode_frames(index, color="rgb")
    info = index.info
    bits = info.bits_stored - (1 if info.signed else 0)
    limits = (float(-(1 << bits)), float((1 << bits) - 1)) if info.signed else (0.0, float((1 << bits) - 1))
    many = len(frames) > 1
    names = [(str(ds.SOPInstanceUID), place + 1 if many else 0) for place in range(len(frames))]
    color = frames.ndim == 4
    return (frames if many else frames[0]), names, True, limits, color


def _slices_of(volume: Any, uid: str | None) -> Names:
    """The image of each slice of a volume's array."""
    from dicom_ml.errors import GeometryError
    from dicom_ml.objects.report.canvas import Canvas, array_canvas, rebase_slice

    if uid is not None or volume.source is None:
        return [(uid or "", 0)]
    canvas, array = Canvas.of(volume.source), array_canvas(volume, volume.source)
    names: Names = []
    for d in range(volume.array.shape[0]):
        place = d
        if array is not None:
            try:
                place = rebase_slice(d, array, canvas)
            except GeometryError:
                return [("", 0)]  # resampled: its slices are no images
        reference = canvas.references[place] if 0 <= place < len(canvas.references) else None
        if reference is None:
            return [("", 0)]
        names.append((reference.sop_instance_uid, reference.frames[0] if reference.frames else 0))
    return names
