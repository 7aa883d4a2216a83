"""Presentation states as data sets (PS3.3 A.33, C.11.8 to C.11.11)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_ml.errors import EncodingError
from dicom_ml.objects.color import srgb_profile
from dicom_ml.objects.derived import Description, add_series, copied_dataset, declare_characters
from dicom_ml.objects.key_objects.selecting import reference_to
from dicom_ml.objects.presentation.blending import BlendInput
from dicom_ml.objects.presentation.content import KINDS, Content
from dicom_ml.objects.presentation.lookup import VOI, LookupTable, Rescale, Window
from dicom_ml.objects.presentation.palettes import Palette
from dicom_ml.objects.report.items import Reference
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["state_dataset"]


def state_dataset(
    content: Content, source: SourceSeries, description: Description, records: Sequence[SourceSeries]
) -> Dataset:
    """The whole data set of a state.

    Parameters
    ----------
    content : Content
    source : SourceSeries
        Whose patient and study the state belongs to.
    description : Description
    records : sequence of SourceSeries
        Of the inputs of a blend, in order.
    """
    ds = copied_dataset(source)
    add_series(ds, source, description, "PR")
    _add_identity(ds, content, description)
    if content.is_blend:
        _add_inputs(ds, content, records)
    else:
        ds.ReferencedSeriesSequence = [_series_item(content.references)]
        del ds.FrameOfReferenceUID
        del ds.PositionReferenceIndicator
    _add_grey(ds, content)
    _add_geometry(ds, content)
    _add_graphics(ds, content)
    if content.shutter is not None:
        content.shutter.add_to(ds)
        if content.kind != "grayscale" and content.shutter.color is None:
            ds.ShutterPresentationColorCIELabValue = [0, 0x8080, 0x8080]
    if content.kind != "grayscale":
        ds.ICCProfile, ds.ColorSpace = srgb_profile(), "SRGB"
    declare_characters(ds)
    return ds


def _add_identity(ds: Dataset, content: Content, description: Description) -> None:
    """Presentation State Identification, which has its own date and time (PS3.3 C.11.10)."""
    ds.SOPClassUID = KINDS[content.kind]
    ds.PresentationCreationDate, ds.PresentationCreationTime = ds.ContentDate, ds.ContentTime
    del ds.ContentDate, ds.ContentTime
    label = description.content_label
    if not label or len(label) > 16 or not all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _" for c in label):
        raise EncodingError(
            f"a state's content_label has up to 16 capital letters, digits, spaces and underscores, found {label!r}"
        )


def _image_item(reference: Reference) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frames:
        item.ReferencedFrameNumber = list(reference.frames)
    return item


def _series_item(references: Iterable[Reference]) -> Dataset:
    from pydicom import Dataset

    listed = list(references)
    item = Dataset()
    item.ReferencedImageSequence = [_image_item(r) for r in listed]
    item.SeriesInstanceUID = listed[0].series_instance_uid
    return item


def _with_images(item: Dataset, images: Sequence[Reference]) -> Dataset:
    if images:
        item.ReferencedImageSequence = [_image_item(r) for r in images]
    return item


def _voi_item(voi: VOI) -> Dataset:
    transform = voi.transform
    item = transform.to_dataset() if isinstance(transform, Window) else transform.voi_dataset()
    return _with_images(item, voi.images)


def _add_grey(ds: Dataset, content: Content) -> None:
    """Modality LUT, Softcopy VOI LUT, Softcopy Presentation LUT or Palette Color LUT."""
    if content.kind not in ("grayscale", "pseudo-color"):
        return
    if isinstance(content.rescale, Rescale):
        content.rescale.add_to(ds)
    elif isinstance(content.rescale, LookupTable):
        ds.ModalityLUTSequence = [content.rescale.to_dataset()]
    if content.voi:
        ds.SoftcopyVOILUTSequence = [_voi_item(v) for v in content.voi]
    if content.palette is not None:
        content.palette.add_to(ds)
    elif isinstance(content.grey, LookupTable):
        ds.PresentationLUTSequence = [content.grey.to_dataset()]
    else:
        ds.PresentationLUTShape = content.grey


def _add_geometry(ds: Dataset, content: Content) -> None:
    """Displayed Area and Spatial Transformation (PS3.3 C.10.4, C.10.6)."""
    if content.areas:
        areas = [_with_images(area.to_dataset(content.orientation), area.images) for area in content.areas]
        ds.DisplayedAreaSelectionSequence = areas
    if not content.orientation.is_none:
        ds.ImageRotation = content.orientation.rotation
        ds.ImageHorizontalFlip = "Y" if content.orientation.flipped else "N"


def _add_graphics(ds: Dataset, content: Content) -> None:
    """Graphic Annotation and Graphic Layer (PS3.3 C.10.5, C.10.7)."""
    if content.annotations:
        ds.GraphicAnnotationSequence = [_with_images(a.to_dataset(), a.images) for a in content.annotations]
    if content.layers:
        ds.GraphicLayerSequence = [layer.to_dataset() for layer in content.layers]


# ---------------------------------------------------------------------- blends
def _add_inputs(ds: Dataset, content: Content, records: Sequence[SourceSeries]) -> None:
    """Advanced Blending, its display, and the references of all (PS3.3 C.11.33, C.11.34, C.12.2)."""
    from pydicom import Dataset

    ds.AdvancedBlendingSequence = [
        _input_item(one, record, str(ds.FrameOfReferenceUID))
        for one, record in zip(content.inputs, records, strict=True)
    ]
    ds.PixelPresentation = "TRUE_COLOR"
    ds.BlendingDisplaySequence = [blend.to_dataset() for blend in content.blends]
    studies: dict[str, dict[str, list[Reference]]] = {}
    for one in content.inputs:
        listed = [*one.references, *([] if one.registration is None else [reference_to(one.registration)])]
        for reference in listed:
            series = studies.setdefault(reference.study_instance_uid or str(ds.StudyInstanceUID), {})
            known = series.setdefault(reference.series_instance_uid, [])
            if all(r.sop_instance_uid != reference.sop_instance_uid for r in known):
                known.append(reference)
    own = studies.pop(str(ds.StudyInstanceUID), None)
    if own is not None:
        ds.ReferencedSeriesSequence = [_instances_item(uid, references) for uid, references in own.items()]
    if studies:
        ds.StudiesContainingOtherReferencedInstancesSequence = []
        for study, series in studies.items():
            other = Dataset()
            other.StudyInstanceUID = study
            other.ReferencedSeriesSequence = [_instances_item(uid, references) for uid, references in series.items()]
            ds.StudiesContainingOtherReferencedInstancesSequence.append(other)


def _instances_item(series: str, references: Iterable[Reference]) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedInstanceSequence = [_image_item(replace(r, frames=())) for r in references]
    item.SeriesInstanceUID = series
    return item


def _input_item(one: BlendInput, record: SourceSeries, frame_of_reference: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.BlendingInputNumber = one.number
    item.StudyInstanceUID, item.SeriesInstanceUID = record.study_instance_uid, record.series_instance_uid
    # named even where they are all of the series, to which others may be added
    _with_images(item, one.references)
    if one.voi:
        item.SoftcopyVOILUTSequence = [_voi_item(v) for v in one.voi]
    if isinstance(one.palette, Palette):
        palette = Dataset()
        one.palette.add_to(palette)
        item.PaletteColorLookupTableSequence = [palette]
    item.TimeSeriesBlending = "FALSE"
    item.GeometryForDisplay = "TRUE" if one.geometry else "FALSE"
    if one.threshold is not None:
        item.ThresholdSequence = [one.threshold.to_dataset()]
    if one.registration is not None:
        item.ReferencedSpatialRegistrationSequence = [_registration_item(reference_to(one.registration), record)]
    elif record.frame_of_reference_uid and record.frame_of_reference_uid != frame_of_reference:
        raise EncodingError(
            f"input {one.number} of the blend lies in another frame of reference than the state: give the spatial "
            "registration between them, registration=, or resample it and write the result as a derived object"
        )
    return item


def _registration_item(reference: Reference, record: SourceSeries) -> Dataset:
    from pydicom import Dataset

    item, series = Dataset(), Dataset()
    series.ReferencedSOPSequence = [_image_item(reference)]
    series.SeriesInstanceUID = reference.series_instance_uid
    item.ReferencedSeriesSequence = [series]
    item.StudyInstanceUID = reference.study_instance_uid or record.study_instance_uid
    return item
