"""The data set of a segmentation without its frames: modules, functional groups, references (PS3.3 A.51, A.51.6)."""

from __future__ import annotations

import datetime
import functools
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_to_dataset
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, item_bytes, sequence_bytes
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation.descriptions import Algorithm, Segment
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "BINARY_STORAGE",
    "LABELMAP_STORAGE",
    "Settings",
    "frame_groups",
    "header_bytes",
    "header_dataset",
    "number_string",
]

BINARY_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

_BACKGROUND = Code("125040", "DCM", "Background")
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What identifies and describes the object as a whole, beside its segments and its mask.

    Parameters
    ----------
    kind : str
        ``"binary"``, ``"labelmap"`` or ``"fractional"``.
    fractional_type : str
        ``"PROBABILITY"`` or ``"OCCUPANCY"``.
    maximum : int
        Maximum Fractional Value, 1 to 255.
    series_description, content_label, content_description, content_creator : str
    series_number, instance_number : int
    series_instance_uid, sop_instance_uid : str
    manufacturer, model, serial_number, software_versions : str
        Equipment that made the object.
    created : datetime
        Content and series date and time.
    """

    kind: str
    series_instance_uid: str
    sop_instance_uid: str
    fractional_type: str = "PROBABILITY"
    maximum: int = 255
    series_description: str = "Segmentation"
    series_number: int = 300
    instance_number: int = 1
    content_label: str = "SEGMENTATION"
    content_description: str = ""
    content_creator: str = ""
    manufacturer: str = "dicom_ml"
    model: str = "dicom_ml"
    serial_number: str = "0"
    software_versions: str = ""
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())


def number_string(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2), rounded to 1e-8, without a negative zero."""
    from pydicom.valuerep import format_number_as_ds

    rounded = round(float(value), 8) + 0.0
    return format_number_as_ds(rounded) if rounded % 1 else str(int(rounded)) if abs(rounded) < 1e15 else repr(rounded)


def header_dataset(
    source: SourceSeries,
    segments: Sequence[Segment],
    settings: Settings,
    grid: Grid,
    on_source: bool,
    bits: int,
    frame_count: int,
    overlap: bool | None,
) -> Dataset:
    """The data set up to Per-Frame Functional Groups, but for the references that :func:`header_bytes` adds.

    Parameters
    ----------
    source : SourceSeries
    segments : sequence of Segment
        Numbered.
    settings : Settings
    grid : Grid
        Of the mask.
    on_source : bool
        Whether the grid's slices are the source's.
    bits : int
        Bits Allocated: 1, 8 or 16.
    frame_count : int
    overlap : bool or None
        Whether segments overlap; None where not known.
    """
    from pydicom import Dataset

    ds = Dataset()
    ds.update(_copied(source))
    ds.SOPClassUID = LABELMAP_STORAGE if settings.kind == "labelmap" else BINARY_STORAGE
    ds.SOPInstanceUID = settings.sop_instance_uid
    _add_series(ds, source, settings)
    _add_image(ds, segments, settings, grid, bits, frame_count, overlap)
    _add_dimensions(ds, settings)
    ds.SegmentSequence = [s.to_dataset(int(s.number or 0), source.series_instance_uid) for s in segments]
    if settings.kind == "labelmap":
        ds.SegmentSequence = [_background(segments[0].algorithm), *ds.SegmentSequence]
    ds.SharedFunctionalGroupsSequence = [_shared_groups(source, grid, on_source)]
    _declare_characters(ds)
    return ds


def _add_series(ds: Dataset, source: SourceSeries, settings: Settings) -> None:
    """General Series, Segmentation Series, Frame of Reference and Equipment modules."""
    from dicom_ml import __version__

    now = settings.created
    ds.StudyInstanceUID = source.study_instance_uid
    ds.SeriesInstanceUID = settings.series_instance_uid
    ds.Modality = "SEG"
    ds.SeriesNumber = settings.series_number
    ds.SeriesDescription = settings.series_description[:64]
    ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = now.strftime("%Y%m%d")
    ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = now.strftime("%H%M%S.%f")
    ds.FrameOfReferenceUID = source.frame_of_reference_uid or derived_uid(
        "frame of reference", source.series_instance_uid
    )
    ds.Manufacturer = settings.manufacturer
    ds.ManufacturerModelName = settings.model
    ds.DeviceSerialNumber = settings.serial_number
    ds.SoftwareVersions = settings.software_versions or __version__


def _add_image(
    ds: Dataset,
    segments: Sequence[Segment],
    settings: Settings,
    grid: Grid,
    bits: int,
    frame_count: int,
    overlap: bool | None,
) -> None:
    """General Image, Image Pixel, Multi-frame and Segmentation Image modules (PS3.3 C.8.20.2)."""
    ds.InstanceNumber = settings.instance_number
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel = settings.content_label
    ds.ContentDescription = settings.content_description
    ds.ContentCreatorName = settings.content_creator
    if "LossyImageCompression" not in ds:
        ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = frame_count
    ds.Rows, ds.Columns = grid.shape[1], grid.shape[2]
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.SegmentationType = settings.kind.upper()
    if settings.kind == "fractional":
        ds.SegmentationFractionalType = settings.fractional_type
        ds.MaximumFractionalValue = settings.maximum
    if settings.kind == "labelmap":
        ds.PixelPaddingValue = 0
    ds.SegmentsOverlap = "UNDEFINED" if overlap is None else ("YES" if overlap else "NO")


def _add_dimensions(ds: Dataset, settings: Settings) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17): by segment, then by position; a label map by position only."""
    from pydicom import Dataset

    uid = derived_uid("dimensions", settings.sop_instance_uid)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    ds.DimensionOrganizationSequence = [organization]
    indices = [] if settings.kind == "labelmap" else [(0x0062000B, 0x0062000A, "Segment Number")]
    indices.append((0x00200032, 0x00209113, "Image Position Patient"))
    ds.DimensionIndexSequence = []
    for pointer, group, label in indices:
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(item)


def _background(algorithm: Algorithm | None) -> Dataset:
    """Description of the value 0 of a label map, which stands for no segment."""
    item = Segment("Background", type=_BACKGROUND, category=_BACKGROUND, algorithm=algorithm).to_dataset(0, "")
    del item.TrackingID, item.TrackingUID
    return item


def _shared_groups(source: SourceSeries, grid: Grid, on_source: bool) -> Dataset:
    from pydicom import Dataset

    groups, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [number_string(grid.spacing[1]), number_string(grid.spacing[2])]
    # of a sheared stack (gantry tilt) the planes are closer than neighbouring voxels
    between = abs(float(grid.affine[:3, 0] @ grid.normal))
    measures.SliceThickness = measures.SpacingBetweenSlices = number_string(between)
    orientation.ImageOrientationPatient = [number_string(v) for v in grid.orientation]
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [orientation]
    if not on_source:
        groups.DerivationImageSequence = [_derivation(source)]
    return groups


def _derivation(source: SourceSeries) -> Dataset:
    """Derivation Image of a mask on a grid of its own: from all images together (PS3.3 C.7.6.16.2.6)."""
    from pydicom import Dataset

    item = Dataset()
    item.DerivationCodeSequence = [code_to_dataset(_SEGMENTATION)]
    item.SourceImageSequence = []
    for instance, sop_class in source.instances.items():
        image = Dataset()
        image.ReferencedSOPClassUID = sop_class
        image.ReferencedSOPInstanceUID = instance
        image.PurposeOfReferenceCodeSequence = [code_to_dataset(_SOURCE_IMAGE)]
        image.SpatialLocationsPreserved = "NO"
        item.SourceImageSequence.append(image)
    return item


# ---------------------------------------------------------------------- what is repeated often, as bytes
def header_bytes(dataset: Dataset, source: SourceSeries) -> bytes:
    """The data set in explicit VR little endian, with the references to the source's series put in their place."""
    references = sequence_bytes(
        0x0008114A,
        (_reference_bytes(instance, sop_class, None) for instance, sop_class in source.instances.items()),
    )
    series = references + element_bytes(0x0020000E, "UI", source.series_instance_uid.encode())
    before, after = dataset[:0x00081115], dataset[0x00081115:]
    characters = dataset.get("SpecificCharacterSet")
    return dataset_bytes(before) + sequence_bytes(0x00081115, [series]) + dataset_bytes(after, characters)


def _reference_bytes(instance: str, sop_class: str, frame: int | None) -> bytes:
    """SOP Instance Reference, with a frame number where there is one (PS3.3 10.8, 10.3)."""
    reference = element_bytes(0x00081150, "UI", sop_class.encode()) + element_bytes(0x00081155, "UI", instance.encode())
    return reference + (element_bytes(0x00081160, "IS", str(frame).encode()) if frame is not None else b"")


def _derivation_bytes(instance: str, sop_class: str, frame: int | None) -> bytes:
    """Derivation Image of one source image whose pixels the frame shares (PS3.3 C.7.6.16.2.6)."""
    image = (
        _reference_bytes(instance, sop_class, frame)
        + element_bytes(0x0028135A, "CS", b"YES")
        + _code_bytes(0x0040A170, _SOURCE_IMAGE)
    )
    return sequence_bytes(0x00089124, [sequence_bytes(0x00082112, [image]) + _code_bytes(0x00089215, _SEGMENTATION)])


@functools.cache
def _code_bytes(tag: int, code: Code) -> bytes:
    return sequence_bytes(tag, [dataset_bytes(code_to_dataset(code))])


def frame_groups(
    source: SourceSeries,
    grid: Grid,
    on_source: bool,
    numbers: Sequence[int] | None,
    segment_of: npt.NDArray[np.intp],
    slice_of: npt.NDArray[np.intp],
) -> bytes:
    """Per-Frame Functional Groups of all frames, put together from parts that are made once a slice or segment.

    Parameters
    ----------
    numbers : sequence of int or None
        Segment numbers; None for label maps, whose frames belong to no single segment.
    segment_of, slice_of : ndarray of int
        Index of the segment, and of the grid's slice, of each frame.
    """
    used = np.unique(slice_of)
    rank = {int(d): i for i, d in enumerate(used, start=1)}
    tails: dict[int, tuple[bytes, bytes]] = {}
    positions = grid.positions()
    for d in rank:
        derivation = b""
        if on_source and source.sop_instance_uids[d]:
            frame = source.frame_numbers[d] if source.frame_numbers is not None else None
            derivation = _derivation_bytes(source.sop_instance_uids[d], source.sop_class_uids[d], frame)
        text = "\\".join(number_string(v) for v in positions[d]).encode()
        tails[d] = derivation, sequence_bytes(0x00209113, [element_bytes(0x00200032, "DS", text)])
    identity = [
        sequence_bytes(0x0062000A, [element_bytes(0x0062000B, "US", struct.pack("<H", n))]) for n in numbers or ()
    ]
    content: list[bytes] = []
    for s, d in zip(segment_of.tolist(), slice_of.tolist(), strict=True):
        index = struct.pack("<I", rank[d]) if numbers is None else struct.pack("<II", s + 1, rank[d])
        derivation, position = tails[d]
        frame_content = sequence_bytes(0x00209111, [element_bytes(0x00209157, "UL", index)])
        content.append(item_bytes(derivation + frame_content + position + (identity[s] if identity else b"")))
    return element_bytes(0x52009230, "SQ", b"".join(content))


# ---------------------------------------------------------------------- what is copied from the source
def _copied(source: SourceSeries) -> Dataset:
    """The source's patient and study attributes: values that the standard forbids are left out, with a warning."""
    from pydicom import Dataset

    found = source.attribute_dataset()
    clean = Dataset()
    dropped = []
    for element in found:
        if element.keyword == "SpecificCharacterSet":
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                _validate(element)
        except Exception:
            dropped.append(element.keyword)
            continue
        clean.add(element)
    for keyword in _TYPE_2:
        if keyword not in clean:
            setattr(clean, keyword, "")
    if dropped:
        warnings.warn(
            f"attributes of the source are malformed and were not copied: {', '.join(dropped)}",
            DicomMLWarning,
            stacklevel=2,
        )
    return clean


def _validate(element: Any) -> None:
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if element.VR == "SQ":
        for item in element.value:
            for inner in item:
                _validate(inner)
        return
    values = element.value if element.VM > 1 else [element.value]
    for value in values:
        if value not in (None, ""):
            validate_value(element.VR, value if isinstance(value, int | float) else str(value), RAISE)
    if element.keyword == "PatientSex" and element.value not in ("M", "F", "O", "", None):
        raise EncodingError("Patient's Sex is M, F or O")


def _declare_characters(ds: Dataset) -> None:
    """UTF-8 where any text needs it (PS3.3 C.12.1.1.2); pydicom then encodes every string so."""
    texts = (e.value for e in ds.iterall() if e.VR in ("PN", "LO", "SH", "ST", "LT", "UC", "UT"))
    if not all(str(text).isascii() for text in texts):
        ds.SpecificCharacterSet = "ISO_IR 192"
