"""What all objects derived from images share: modules copied or made anew, references, and frames in planes.

An object made from a series belongs to the same patient, study and frame of reference, names every image it was made
from (PS3.3 C.12.2, C.7.6.16.2.6), and identifies the equipment and time of its making (C.7.5.1, C.7.5.2).
"""

from __future__ import annotations

import datetime
import functools
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, code_to_dataset
from dicom_ml.encoding.uids import derived_uid, new_uid
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, item_bytes, sequence_bytes
from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "Description",
    "add_dimensions",
    "add_identity",
    "add_series",
    "copied_dataset",
    "date_time",
    "declare_characters",
    "derivation_of",
    "describe",
    "fit_to_source",
    "frame_groups",
    "header_bytes",
    "number_string",
    "plane_groups",
]

_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What identifies and describes a derived object as a whole, beside its content.

    Parameters
    ----------
    series_instance_uid, sop_instance_uid : str
    series_description, content_label, content_description, content_creator : str
    series_number, instance_number : int
    manufacturer, model, serial_number, software_versions : str
        Equipment that made the object.
    created : datetime
        Content and series date and time.
    pyramid_uid : str
        Of the pyramid that the object is a level of; empty where it is none (PS3.3 C.8.12.14).
    """

    series_instance_uid: str
    sop_instance_uid: str
    series_description: str = ""
    series_number: int = 300
    instance_number: int = 1
    content_label: str = "RESULT"
    content_description: str = ""
    content_creator: str = ""
    manufacturer: str = "dicom_ml"
    model: str = "dicom_ml"
    serial_number: str = "0"
    software_versions: str = ""
    pyramid_uid: str = ""
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now().astimezone())


def describe(given: dict[str, Any], defaults: dict[str, Any], seed: Sequence[Any] | None) -> Description:
    """Make a description of what a caller has given.

    Parameters
    ----------
    given : dict
        Fields of :class:`Description`.
    defaults : dict
        Fields for what was not given.
    seed : sequence, optional
        What UIDs that were not given are derived from, so that a repeated run gives the same ones; without it they
        are new.

    Raises
    ------
    EncodingError
        If a field is unknown.
    """
    known = {f.name for f in fields(Description)}
    if set(given) - known:
        raise EncodingError(f"unknown settings {sorted(set(given) - known)}; known are {sorted(known)}")
    if seed is not None:
        parts = [*seed, repr(sorted(given.items()))]
        uids = derived_uid("series", *parts), derived_uid("instance", *parts)
    else:
        uids = new_uid(), new_uid()
    return Description(**{"series_instance_uid": uids[0], "sop_instance_uid": uids[1], **defaults, **given})


def date_time(moment: datetime.datetime) -> str:
    """A moment as a DT value (PS3.5 6.2).

    Its offset from UTC, where there is one, has whole minutes and is one that DT allows, whatever zone and year a
    clock stands at: before a place had a standard time, its offset had seconds.
    """
    offset = moment.utcoffset()
    if offset is not None:
        minutes = round(offset.total_seconds() / 60)
        allowed = minutes if -12 * 60 <= minutes <= 14 * 60 else 0
        moment = moment.astimezone(datetime.timezone(datetime.timedelta(minutes=allowed)))
    return moment.strftime("%Y%m%d%H%M%S.%f%z")


def number_string(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2), rounded to 1e-8, without a negative zero."""
    from pydicom.valuerep import format_number_as_ds

    rounded = round(float(value), 8) + 0.0
    return format_number_as_ds(rounded) if rounded % 1 else str(int(rounded)) if abs(rounded) < 1e15 else repr(rounded)


# ---------------------------------------------------------------------- modules
def add_identity(ds: Dataset, source: SourceSeries, description: Description, modality: str) -> None:
    """What every object says of itself: instance, study, series, times, equipment (PS3.3 C.7.3, C.7.5, C.12.1)."""
    from dicom_ml import __version__

    now = description.created
    ds.SOPInstanceUID = description.sop_instance_uid
    ds.StudyInstanceUID = source.study_instance_uid
    ds.SeriesInstanceUID = description.series_instance_uid
    ds.Modality = modality
    ds.SeriesNumber = description.series_number
    ds.InstanceNumber = description.instance_number
    ds.SeriesDescription = description.series_description[:64]
    ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = now.strftime("%Y%m%d")
    ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = now.strftime("%H%M%S.%f")
    ds.Manufacturer = description.manufacturer
    ds.ManufacturerModelName = description.model
    ds.DeviceSerialNumber = description.serial_number
    ds.SoftwareVersions = description.software_versions or __version__


def add_series(ds: Dataset, source: SourceSeries, description: Description, modality: str) -> None:
    """Series, Frame of Reference, Equipment and content identification (PS3.3 C.7.3, C.7.4, C.7.5, 10.9)."""
    add_identity(ds, source, description, modality)
    ds.FrameOfReferenceUID = source.frame_of_reference_uid or derived_uid(
        "frame of reference", source.series_instance_uid
    )
    if description.pyramid_uid:
        ds.PyramidUID = description.pyramid_uid
    ds.ContentLabel = description.content_label
    ds.ContentDescription = description.content_description
    ds.ContentCreatorName = description.content_creator


def add_dimensions(ds: Dataset, description: Description, indices: Sequence[tuple[int, int, str]]) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17) of ``(index pointer, functional group pointer, label)``."""
    from pydicom import Dataset

    uid = derived_uid("dimensions", description.sop_instance_uid)
    organization = Dataset()
    organization.DimensionOrganizationUID = uid
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = []
    for pointer, group, label in indices:
        item = Dataset()
        item.DimensionOrganizationUID = uid
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(item)


def copied_dataset(source: SourceSeries) -> Dataset:
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
    _complete_specimen(clean)
    if dropped:
        warnings.warn(
            f"attributes of the source are malformed and were not copied: {', '.join(dropped)}",
            DicomMLWarning,
            stacklevel=2,
        )
    return clean


def _complete_specimen(ds: Dataset) -> None:
    """Specimen module (PS3.3 C.7.6.22): whole, with what may be empty; or left out where the source's is not."""
    container = ("ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence")
    specimens = ds.get("SpecimenDescriptionSequence") or []
    named = all(item.get("SpecimenIdentifier") and item.get("SpecimenUID") for item in specimens)
    if not (specimens and named and ds.get("ContainerIdentifier")):
        for keyword in (*container, "SpecimenDescriptionSequence"):
            if keyword in ds:
                delattr(ds, keyword)
        return
    for keyword in container[1:]:
        if keyword not in ds:
            setattr(ds, keyword, [])
    for item in specimens:
        for keyword in ("IssuerOfTheSpecimenIdentifierSequence", "SpecimenPreparationSequence"):
            if keyword not in item:
                setattr(item, keyword, [])


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


def declare_characters(ds: Dataset) -> None:
    """UTF-8 where any text needs it (PS3.3 C.12.1.1.2); pydicom then encodes every string so."""
    texts = (e.value for e in ds.iterall() if e.VR in ("PN", "LO", "SH", "ST", "LT", "UC", "UT"))
    if not all(str(text).isascii() for text in texts):
        ds.SpecificCharacterSet = "ISO_IR 192"


# ---------------------------------------------------------------------- frames in planes
def fit_to_source(
    array: npt.NDArray[Any], source: SourceSeries, affine: npt.ArrayLike | None
) -> tuple[Grid, npt.NDArray[Any], bool]:
    """Decide on which planes an array ``(..., D, H, W)`` is written.

    Parameters
    ----------
    affine : array_like of shape (4, 4), optional
        Of an array on a grid of its own; where that shares the source's lattice, the array is brought to its planes.

    Returns
    -------
    grid : Grid
        Its slices increase along their normal.
    array : ndarray
        In the order of that grid; the one given, or a view of it, wherever that can be.
    on_source : bool
        Whether the grid's slices are the source's.

    Raises
    ------
    GeometryError
        If the shape is not the source's, or the axes of a grid of its own are not at right angles.
    """
    shape = array.shape[-3], array.shape[-2], array.shape[-1]
    if affine is None:
        if source.grid is None:
            raise GeometryError("the source has no grid of its own; pass affine= of the array")
        if shape != source.grid.shape:
            raise GeometryError(
                f"the array has shape (D, H, W) = {shape}, the source {source.grid.shape}; "
                "resample it to the source's grid, or pass affine= for an array on a grid of its own"
            )
        return source.grid, array, True
    grid = Grid(shape, np.asarray(affine, dtype=np.float64))
    if source.grid is not None and (placed := _on_lattice(array, grid, source.grid)) is not None:
        return source.grid, placed, True
    if not grid.is_orthogonal:
        raise GeometryError(
            "the axes of the array's affine are not at right angles, which stored planes must be; "
            "resample it to a grid that is not sheared"
        )
    if grid.affine[:3, 0] @ grid.normal < 0:
        return grid.flip([0]), np.flip(array, axis=-3), False
    return grid, array, False


def _on_lattice(array: npt.NDArray[Any], grid: Grid, source: Grid) -> npt.NDArray[Any] | None:
    """The array on the source's whole grid, zero around it, where it shares the lattice and lies within; else None."""
    alignment = grid.align(source)
    if alignment is None:
        return None
    start = alignment.start(grid.shape)
    moved = alignment.reorder(array)
    shape = moved.shape[-3:]
    if any(s < 0 or s + n > m for s, n, m in zip(start, shape, source.shape, strict=True)):
        return None
    if shape == source.shape:
        return moved
    whole = np.zeros((*moved.shape[:-3], *source.shape), dtype=moved.dtype)
    (d, h, w), (depth, height, width) = start, shape
    whole[..., d : d + depth, h : h + height, w : w + width] = moved
    return whole


def plane_groups(source: SourceSeries, grid: Grid, on_source: bool, derivation: Code) -> Dataset:
    """Shared functional groups of planes of a grid: pixel measures and orientation (PS3.3 C.7.6.16.2.1, .2.4).

    Frames that do not share the pixels of single source images are said to be derived from all of them together.
    """
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
        groups.DerivationImageSequence = [derivation_of(source.instances, derivation, "NO")]
    return groups


def derivation_of(instances: Mapping[str, str], code: Code, preserved: str) -> Dataset:
    """An item of Derivation Image: whole images that frames were made from (PS3.3 C.7.6.16.2.6).

    Parameters
    ----------
    instances : mapping
        SOP class UID by SOP instance UID.
    code : Code
        How frames were derived.
    preserved : str
        Spatial Locations Preserved: ``"YES"`` or ``"NO"``.
    """
    from pydicom import Dataset

    item = Dataset()
    item.DerivationCodeSequence = [code_to_dataset(code)]
    item.SourceImageSequence = []
    for instance, sop_class in instances.items():
        image = Dataset()
        image.ReferencedSOPClassUID = sop_class
        image.ReferencedSOPInstanceUID = instance
        image.PurposeOfReferenceCodeSequence = [code_to_dataset(_SOURCE_IMAGE)]
        image.SpatialLocationsPreserved = preserved
        item.SourceImageSequence.append(image)
    return item


def frame_groups(
    source: SourceSeries,
    grid: Grid,
    on_source: bool,
    derivation: Code,
    slice_of: npt.NDArray[np.intp],
    identity_of: npt.NDArray[np.intp] | None = None,
    identities: Sequence[bytes] = (),
) -> bytes:
    """Per-Frame Functional Groups of all frames, put together from parts that are made once a slice or identity.

    Parameters
    ----------
    slice_of : ndarray of int
        Index of the grid's slice of each frame.
    identity_of : ndarray of int, optional
        What else tells frames apart, such as the segment: an index into ``identities``, which also becomes the first
        dimension index. Without it the position is the only one.
    identities : sequence of bytes
        Functional group elements, of tags above (0020,9113), that say so.
    """
    rank = {d: i for i, d in enumerate(sorted(set(slice_of.tolist())), start=1)}
    tails: dict[int, tuple[bytes, bytes]] = {}
    positions = grid.positions()
    for d in rank:
        image = b""
        if on_source and source.sop_instance_uids[d]:
            frame = source.frame_numbers[d] if source.frame_numbers is not None else None
            image = _derivation_bytes(source.sop_instance_uids[d], source.sop_class_uids[d], frame, derivation)
        text = "\\".join(number_string(v) for v in positions[d]).encode()
        tails[d] = image, sequence_bytes(0x00209113, [element_bytes(0x00200032, "DS", text)])
    content: list[bytes] = []
    others = [0] * len(slice_of) if identity_of is None else identity_of.tolist()
    for s, d in zip(others, slice_of.tolist(), strict=True):
        index = struct.pack("<I", rank[d]) if identity_of is None else struct.pack("<II", s + 1, rank[d])
        image, position = tails[d]
        frame_content = sequence_bytes(0x00209111, [element_bytes(0x00209157, "UL", index)])
        content.append(item_bytes(image + frame_content + position + (identities[s] if identities else b"")))
    return element_bytes(0x52009230, "SQ", b"".join(content))


# ---------------------------------------------------------------------- what is repeated often, as bytes
def header_bytes(dataset: Dataset, source: SourceSeries, instances: Mapping[str, str] | None = None) -> bytes:
    """The data set in explicit VR little endian, with the references to the source's series put in their place.

    ``instances`` (SOP class UID by SOP instance UID) are those that the content refers to: by default, all.
    """
    listed = source.instances if instances is None else instances
    references = sequence_bytes(0x0008114A, (_reference_bytes(uid, kind, None) for uid, kind in listed.items()))
    series = references + element_bytes(0x0020000E, "UI", source.series_instance_uid.encode())
    before, after = dataset[:0x00081115], dataset[0x00081115:]
    characters = dataset.get("SpecificCharacterSet")
    return dataset_bytes(before) + sequence_bytes(0x00081115, [series]) + dataset_bytes(after, characters)


def _reference_bytes(instance: str, sop_class: str, frame: int | None) -> bytes:
    """SOP Instance Reference, with a frame number where there is one (PS3.3 10.8, 10.3)."""
    reference = element_bytes(0x00081150, "UI", sop_class.encode()) + element_bytes(0x00081155, "UI", instance.encode())
    return reference + (element_bytes(0x00081160, "IS", str(frame).encode()) if frame is not None else b"")


def _derivation_bytes(instance: str, sop_class: str, frame: int | None, code: Code) -> bytes:
    """Derivation Image of one source image whose pixels the frame shares (PS3.3 C.7.6.16.2.6)."""
    image = (
        _reference_bytes(instance, sop_class, frame)
        + element_bytes(0x0028135A, "CS", b"YES")
        + _code_bytes(0x0040A170, _SOURCE_IMAGE)
    )
    return sequence_bytes(0x00089124, [sequence_bytes(0x00082112, [image]) + _code_bytes(0x00089215, code)])


@functools.cache
def _code_bytes(tag: int, code: Code) -> bytes:
    return sequence_bytes(tag, [dataset_bytes(code_to_dataset(code))])
