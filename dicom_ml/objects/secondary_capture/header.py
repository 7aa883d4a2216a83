"""Modules of secondary captures (PS3.3 A.8, C.8.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_to_dataset
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.color import srgb_profile
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    date_time,
    declare_characters,
    number_string,
    plane_groups,
)
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.secondary_capture.pictures import Pictures, Provenance
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["STORAGE", "Look", "header_of", "sop_class_of"]

#: Names of the SOP classes.
STORAGE = {
    sop.SECONDARY_CAPTURE: "single frame",
    sop.SECONDARY_CAPTURE + ".1": "multi-frame single bit",
    sop.SECONDARY_CAPTURE + ".2": "multi-frame grayscale byte",
    sop.SECONDARY_CAPTURE + ".3": "multi-frame grayscale word",
    sop.SECONDARY_CAPTURE + ".4": "multi-frame true color",
}
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_PROCESSING = Code("109102", "DCM", "Processing Equipment")
_BY_POSITION = (0x00200032, 0x00209113, "Image Position Patient")


@dataclass(frozen=True)
class Look:
    """What a reader has to know of the pixels.

    Attributes
    ----------
    spacing : tuple of float, optional
        Between rows and between columns, in mm.
    calibration : str
        What proves that spacing.
    window : tuple of float, optional
        Center and width.
    burned_in_annotation : bool
    recognizable_features : bool, optional
    """

    spacing: tuple[float, float] | None
    calibration: str
    window: tuple[float, float] | None
    burned_in_annotation: bool
    recognizable_features: bool | None


def sop_class_of(pictures: Pictures, multiframe: bool) -> str:
    """The SOP class for such pictures."""
    if not multiframe:
        return sop.SECONDARY_CAPTURE
    return sop.SECONDARY_CAPTURE + (".4" if pictures.is_color else ".2" if pictures.bits == 8 else ".3")


def header_of(
    pictures: Pictures,
    source: SourceSeries,
    provenance: Provenance,
    look: Look,
    description: Description,
    sop_class: str,
    photometric: str,
) -> Dataset:
    """The whole data set but for Per-Frame Functional Groups and pixel data."""
    ds = copied_dataset(source)
    add_series(ds, source, description, source.modality or "OT")
    for keyword in ("ContentLabel", "ContentDescription", "ContentCreatorName"):
        delattr(ds, keyword)
    if not provenance.aligned:
        for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            if keyword in ds:
                delattr(ds, keyword)
    ds.SOPClassUID = sop_class
    ds.ImageType = ["DERIVED", "SECONDARY"]
    _add_equipment(ds, provenance, description)
    _add_references(ds, provenance)
    _add_pixels(ds, pictures, look, photometric)
    if sop_class == sop.SECONDARY_CAPTURE:
        _add_single(ds, source, provenance, look)
    else:
        _add_frames(ds, pictures, source, provenance, look, description)
    declare_characters(ds)
    return ds


def _add_equipment(ds: Dataset, provenance: Provenance, description: Description) -> None:
    """SC Equipment, and the equipment that contributed (PS3.3 C.8.6.1, C.12.1)."""
    from pydicom import Dataset

    ds.ConversionType = provenance.conversion_type
    ds.SecondaryCaptureDeviceManufacturer = ds.Manufacturer
    ds.SecondaryCaptureDeviceManufacturerModelName = ds.ManufacturerModelName
    ds.SecondaryCaptureDeviceSoftwareVersions = ds.SoftwareVersions
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = ds.ContentDate, ds.ContentTime
    algorithm = provenance.algorithm
    if algorithm is not None and not algorithm.is_manual:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code_to_dataset(_PROCESSING)]
        item.Manufacturer = (algorithm.source or description.manufacturer)[:64]
        item.ManufacturerModelName = algorithm.name
        item.SoftwareVersions = algorithm.version
        item.ContributionDateTime = date_time(description.created)
        item.ContributionDescription = algorithm.family.meaning
        ds.ContributingEquipmentSequence = [item]


def _add_references(ds: Dataset, provenance: Provenance) -> None:
    """General Reference and Common Instance Reference (PS3.3 C.12.4, C.12.2)."""
    from pydicom import Dataset

    ds.DerivationDescription = provenance.description
    ds.DerivationCodeSequence = [code_to_dataset(provenance.derivation)]
    ds.SourceImageSequence = []
    series: dict[tuple[str, str], dict[str, str]] = {}
    for reference in (*provenance.images, *provenance.shown):
        item = _reference_item(reference)
        item.PurposeOfReferenceCodeSequence = [code_to_dataset(_SOURCE_IMAGE)]
        ds.SourceImageSequence.append(item)
        where = reference.study_instance_uid or str(ds.StudyInstanceUID), reference.series_instance_uid
        series.setdefault(where, {}).setdefault(reference.sop_instance_uid, reference.sop_class_uid)
    others: dict[str, list[Dataset]] = {}
    for (study, uid), instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [_reference_item(Reference(kind, one)) for one, kind in instances.items()]
        others.setdefault(study, []).append(item)
    own = others.pop(str(ds.StudyInstanceUID), None)
    if own:
        ds.ReferencedSeriesSequence = own
    if others:
        ds.StudiesContainingOtherReferencedInstancesSequence = []
        for study, items in others.items():
            other = Dataset()
            other.StudyInstanceUID, other.ReferencedSeriesSequence = study, items
            ds.StudiesContainingOtherReferencedInstancesSequence.append(other)


def _reference_item(reference: Reference) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reference.frames:
        item.ReferencedFrameNumber = list(reference.frames)
    if reference.segments:
        item.ReferencedSegmentNumber = list(reference.segments)
    return item


def _add_pixels(ds: Dataset, pictures: Pictures, look: Look, photometric: str) -> None:
    """Image Pixel, VOI LUT and ICC Profile (PS3.3 C.7.6.3, C.11.2, C.11.15)."""
    _, ds.Rows, ds.Columns = pictures.frames.shape[:3]
    ds.SamplesPerPixel = 3 if pictures.is_color else 1
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = ds.BitsStored = pictures.bits
    ds.HighBit, ds.PixelRepresentation = pictures.bits - 1, 0
    ds.BurnedInAnnotation = "YES" if look.burned_in_annotation else "NO"
    if look.recognizable_features is not None:
        ds.RecognizableVisualFeatures = "YES" if look.recognizable_features else "NO"
    if pictures.is_color:
        ds.PlanarConfiguration = 0
        ds.ICCProfile, ds.ColorSpace = srgb_profile(), "SRGB"
    if look.window is not None:
        ds.WindowCenter, ds.WindowWidth = (number_string(v) for v in look.window)


def _add_single(ds: Dataset, source: SourceSeries, provenance: Provenance, look: Look) -> None:
    """SC Image, and Image Plane where the picture lies in patient space (PS3.3 C.8.6.2, C.7.6.2)."""
    ds.PatientOrientation = []
    _add_spacing(ds, look)
    if provenance.aligned:
        grid = source.grid
        assert grid is not None
        assert provenance.slices is not None
        ds.ImagePositionPatient = [number_string(v) for v in grid.position(provenance.slices[0])]
        ds.ImageOrientationPatient = [number_string(v) for v in grid.orientation]
        ds.PixelSpacing = [number_string(v) for v in grid.spacing[1:]]
        ds.SliceThickness = number_string(abs(float(grid.affine[:3, 0] @ grid.normal)))
        ds.PatientOrientation = orientation_letters(grid.orientation)


def _add_spacing(ds: Dataset, look: Look) -> None:
    if look.spacing is not None:
        ds.PixelSpacing = [number_string(v) for v in look.spacing]
        ds.PixelSpacingCalibrationType = "GEOMETRY"
        ds.PixelSpacingCalibrationDescription = look.calibration


def orientation_letters(orientation: npt.ArrayLike) -> list[str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1) of rows and columns: directions that take part, strongest first."""
    letters = []
    for direction in np.asarray(orientation, dtype=np.float64).reshape(2, 3):
        order = sorted(range(3), key=lambda i: -abs(direction[i]))
        letters.append("".join("LPH"[i] if direction[i] > 0 else "RAF"[i] for i in order if abs(direction[i]) > 0.1))
    return letters


def _add_frames(
    ds: Dataset,
    pictures: Pictures,
    source: SourceSeries,
    provenance: Provenance,
    look: Look,
    description: Description,
) -> None:
    """Multi-frame, SC Multi-frame Image and Vector, and functional groups (PS3.3 C.7.6.6, C.8.6.3, C.8.6.4)."""
    count = len(pictures.frames)
    ds.NumberOfFrames = count
    ds.PatientOrientation = []
    _add_spacing(ds, look)
    if count > 1:
        ds.FrameIncrementPointer = 0x00182001
        ds.PageNumberVector = list(range(1, count + 1))
    if not pictures.is_color:
        ds.PresentationLUTShape = "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    if provenance.aligned:
        # the one set of functional groups that the IOD knows is that of frames in patient space
        assert source.grid is not None
        ds.SharedFunctionalGroupsSequence = [plane_groups(source, source.grid, True, provenance.derivation)]
        add_dimensions(ds, description, [_BY_POSITION])
        ds.PatientOrientation = orientation_letters(source.grid.orientation)
