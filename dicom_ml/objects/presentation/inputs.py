"""The inputs of a blend that is made: which images each has, by which window, on whose planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dicom_ml.errors import EncodingError
from dicom_ml.objects.key_objects.selecting import Selector
from dicom_ml.objects.presentation.blending import BlendInput
from dicom_ml.objects.presentation.images import Images
from dicom_ml.source import SourceSeries

__all__ = ["prepared_inputs"]


def prepared_inputs(inputs: Sequence[BlendInput]) -> tuple[list[BlendInput], list[SourceSeries], Images]:
    """Inputs with their numbers, images and windows; the record of each; and the images of the first.

    Raises
    ------
    EncodingError
        If one has no window, is numbered otherwise than in order, or several give the geometry.
    """
    geometries = [one.geometry for one in inputs]
    if sum(bool(g) for g in geometries) > 1:
        raise EncodingError("a blend is shown on the planes of one input; geometry=True is said of several")
    shown = [_images_of(one) for one in inputs]
    made = []
    for place, (one, images) in enumerate(zip(inputs, shown, strict=True), start=1):
        if one.number not in (0, place):
            raise EncodingError(f"inputs of a blend are numbered from 1 in order, found {one.number}")
        voi = one.voi or (() if images.record.levels else tuple(images.voi()))
        made.append(
            replace(
                one,
                number=place,
                voi=tuple(replace(v, images=images.resolve(v.images)) for v in voi),
                geometry=bool(one.geometry) if any(geometries) else place == 1,
                references=tuple(images.references),
                study_instance_uid=images.record.study_instance_uid,
                series_instance_uid=images.record.series_instance_uid,
            )
        )
    return made, [images.record for images in shown], shown[0]


def _images_of(one: BlendInput) -> Images:
    """The images of an input: of a series, or an object of this package that is an image itself."""
    source = one.source
    if source is None:
        raise EncodingError("an input of a blend has a source")
    if hasattr(source, "sop_instance_uid") and hasattr(source, "dataset"):
        record = SourceSeries.from_datasets([source.dataset])
        return Images(source, record, Selector(record, record).references(None))
    return Images.of(source, one.images)
