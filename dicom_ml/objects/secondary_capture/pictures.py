"""What a secondary capture is made of: pictures, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.key_objects.selecting import reference_to, value_type_of
from dicom_ml.objects.report.canvas import Canvas, array_canvas, rebase_slice
from dicom_ml.objects.report.items import Reference
from dicom_ml.source import SourceSeries

__all__ = ["CONVERSION_TYPES", "Pictures", "Provenance", "pictures_of", "slices_of"]

#: How pixels came to be (PS3.3 C.8.6.1).
CONVERSION_TYPES = ("DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN")


@dataclass(frozen=True)
class Pictures:
    """Frames ``(N, H, W)`` or ``(N, H, W, 3)`` of uint8 or uint16, and whether they were given as a stack."""

    frames: npt.NDArray[Any]
    is_stack: bool

    @property
    def is_color(self) -> bool:
        """Whether pixels are RGB."""
        return self.frames.ndim == 4

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return 8 * self.frames.dtype.itemsize


@dataclass(frozen=True)
class Provenance:
    """Where pictures come from, and what was done.

    Attributes
    ----------
    slices : list of int, optional
        The source's slice that each frame shows; None where frames show no single ones.
    images : list of Reference
        All images that the pictures show, in the order of the frames.
    shown : list of Reference
        Other image objects, such as a segmentation, that the pictures show.
    aligned : bool
        Whether frames have the pixels of their slices.
    derivation : Code
    description : str
        Derivation Description.
    algorithm : Algorithm or None
    conversion_type : str
    """

    slices: list[int] | None
    images: list[Reference]
    shown: list[Reference]
    aligned: bool
    derivation: Code
    description: str
    algorithm: Algorithm | None
    conversion_type: str


def pictures_of(array: Any) -> Pictures:
    """Check what a user gives as a picture or a stack of them.

    Parameters
    ----------
    array : array_like
        ``(H, W)``, ``(H, W, 3)``, ``(N, H, W)`` or ``(N, H, W, 3)``; a list of such pictures, or of Pillow images.

    Raises
    ------
    EncodingError
        If it is no picture of a kind that can be stored without changing its values.
    """
    if isinstance(array, list | tuple):
        parts = [as_array(part) for part in array]
        if len({(p.shape, p.dtype) for p in parts}) != 1:
            shapes = sorted({p.shape for p in parts})
            raise EncodingError(f"pictures of one object have one size and type, found {shapes}; write several objects")
        values = np.stack(parts)
        is_stack = True
        color = values.ndim == 4
    else:
        values = as_array(array)
        color = values.ndim in (3, 4) and values.shape[-1] == 3
        is_stack = values.ndim == (4 if color else 3)
        values = values if is_stack else values[None]
    if values.ndim != (4 if color else 3) or not values.size or (color and values.shape[-1] != 3):
        raise EncodingError(
            f"a picture has shape (H, W) or (H, W, 3), a stack (N, H, W) or (N, H, W, 3), found {np.shape(array)}"
            + ("; leave the transparency out" if values.shape[-1] == 4 else "")
        )
    if values.dtype.type not in (np.uint8, np.uint16) or (color and values.dtype != np.uint8):
        raise EncodingError(
            f"a picture in grey holds uint8 or uint16, one in colour uint8, found {values.dtype}; scale the values to "
            "that range yourself, so that it is known what they mean"
        )
    if max(values.shape[1:3]) > 0xFFFF:
        raise EncodingError(f"a picture has at most 65535 rows and columns, found {values.shape[1:3]}")
    return Pictures(np.ascontiguousarray(values), is_stack)


def slices_of(
    source: Any, record: SourceSeries, pictures: Pictures, images: Sequence[Any] | None, aligned: bool
) -> tuple[list[int] | None, list[Reference]]:
    """Which slice each frame shows, where that is known, and the references to all images that are shown.

    Raises
    ------
    EncodingError, GeometryError
        If images are not the source's, or frames that are said to be aligned cannot be.
    """
    canvas, array = Canvas.of(record), array_canvas(source, record)
    count = len(pictures.frames)
    if aligned and (record.grid is None or record.levels):
        raise EncodingError("aligned pictures need a source with slices in patient space")
    whole = images is None
    if images is None and aligned:
        depth = record.grid.shape[0] if array is None or array.grid is None else array.grid.shape[0]  # type: ignore[union-attr]
        if depth != count:
            raise EncodingError(f"{count} aligned pictures of {depth} slices: say which, images=[d, ...]")
        images = range(depth)
    if images is None:
        return None, _whole(canvas)
    chosen = [_place(image, canvas, array, record) for image in images]
    references = list(dict.fromkeys(canvas.image(d) for d in chosen))
    if len(chosen) != count and (pictures.is_stack or aligned):
        raise EncodingError(
            f"{count} pictures and {len(chosen)} images: name the one image that each picture shows, in order"
            + ("" if aligned else ", or leave images out, for pictures of all of them together")
        )
    if aligned:
        _check_aligned(pictures, record, array, whole)
    return (chosen if len(chosen) == count else None), references


def _whole(canvas: Canvas) -> list[Reference]:
    """All images, each as a whole."""
    found: dict[str, Reference] = {}
    for r in canvas.references:
        if r.sop_instance_uid:
            found.setdefault(
                r.sop_instance_uid,
                Reference(
                    r.sop_class_uid,
                    r.sop_instance_uid,
                    series_instance_uid=r.series_instance_uid,
                    study_instance_uid=r.study_instance_uid,
                ),
            )
    return list(found.values())


def _place(image: Any, canvas: Canvas, array: Canvas | None, record: SourceSeries) -> int:
    if isinstance(image, str):
        if image not in record.instances:
            raise EncodingError(f"the source has no instance {image}")
        image = Reference(record.instances[image], image)
    if isinstance(image, Reference):
        found = canvas.slice_of(image)
        if found is None:
            raise EncodingError(f"the source has no slice that is image {image.sop_instance_uid}")
        return found
    d = int(image)
    return d if array is None else rebase_slice(d, array, canvas)


def _check_aligned(pictures: Pictures, record: SourceSeries, array: Canvas | None, whole: bool) -> None:
    grid = record.grid
    assert grid is not None
    size = pictures.frames.shape[1:3]
    if array is not None:
        assert array.grid is not None
        alignment = array.grid.align(grid)
        same = alignment is not None and array.grid.shape[1:] == grid.shape[1:]
        if not same or not np.allclose(array.grid.affine[:3, 1:3], grid.affine[:3, 1:3], atol=1e-3):
            raise GeometryError(
                "aligned pictures have the pixels of the source's slices; those of a volume that was cropped, turned "
                "or resampled within its slices have not"
            )
    if size != grid.shape[1:]:
        raise GeometryError(
            f"aligned pictures have the pixels of the source's slices, {grid.shape[1:]}, found {size}; without "
            "aligned=True a picture may have any size"
        )


def shown_objects(things: Sequence[Any]) -> list[Reference]:
    """References to other image objects that pictures show.

    Raises
    ------
    EncodingError
        If one is no image.
    """
    found = [reference_to(thing) for thing in things]
    for reference in found:
        if value_type_of(reference) != "IMAGE":
            raise EncodingError(
                f"pictures show images: an object of class {reference.sop_class_uid} is none; name the algorithm, and "
                "refer to this capture from the report"
            )
    return found
