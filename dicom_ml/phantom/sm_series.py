"""Write RGB pixels as a conformant slide microscopy series: a pyramid of JPEG tiles, one file a level."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, JPEGBaseline8Bit

from dicom_ml.codes import Code, parse_code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from dicom_ml.encoding.writer import save_dataset
from dicom_ml.errors import EncodingError
from dicom_ml.phantom.icc import rgb_profile

__all__ = ["SlideDescription", "write_sm_series"]

_THICKNESS = 0.005
"""Millimetres of the section."""


@dataclass(frozen=True)
class SlideDescription:
    """What the files of a synthetic slide say about themselves.

    Attributes
    ----------
    name : str
        Seeds every UID, and the patient where none is given: the same name and pixels give the same files.
    patient : str, optional
        Patient ID. Slides of one patient share their study.
    neoplasm : bool
        Whether the specimen is a primary neoplasm, or normal (modifier of its anatomic structure).
    frozen : bool
        Whether it was frozen, or fixed in formalin and embedded in paraffin.
    collection : str
        Clinical Trial Protocol ID, such as an archive gives for a collection; none where empty.
    description : str
        Series Description.
    origin : (float, float)
        Slide coordinates (x, y) of the first pixel's centre in mm.
    attributes : dict
        Others, by keyword, that replace those written.
    """

    name: str
    patient: str | None = None
    neoplasm: bool = False
    frozen: bool = True
    collection: str = ""
    description: str = "Synthetic slide"
    origin: tuple[float, float] = (21.0, 52.0)
    attributes: dict[str, Any] = field(default_factory=dict)


def write_sm_series(
    folder: str | os.PathLike[str],
    array: npt.NDArray[np.uint8],
    spacing: float,
    description: SlideDescription | str,
    *,
    tile_size: int = 256,
    downsamples: Sequence[int] | None = None,
    quality: int = 85,
) -> list[Path]:
    """Write a slide microscopy series.

    Parameters
    ----------
    folder : path
        Made when missing.
    array : numpy.ndarray
        (rows, columns, 3) uint8, RGB.
    spacing : float
        Millimetres a pixel.
    description : SlideDescription or str
        A string is the name of a description with defaults.
    tile_size : int
        Rows and columns of a tile.
    downsamples : sequence of int, optional
        Of the levels; by default 1, 4, 16, ... until a level has one tile. Each is made of means of squares.
    quality : int
        Of the JPEG tiles, 1 to 100; chroma has half the resolution along rows (YBR_FULL_422).

    Returns
    -------
    list of Path
        The files, level by level.

    Raises
    ------
    EncodingError
        If the array is no RGB image, or a downsample leaves no pixel.

    Notes
    -----
    Patient, study and equipment are plainly synthetic. See PS3.3 A.32.8 for the VL Whole Slide Microscopy Image IOD;
    tiles are TILED_FULL (C.7.6.17.3).
    """
    about = SlideDescription(description) if isinstance(description, str) else description
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise EncodingError(f"a slide is (rows, columns, 3) of uint8, found {array.shape} of {array.dtype}")
    if downsamples is None:
        downsamples = [1]
        while max(array.shape[:2]) > downsamples[-1] * tile_size:
            downsamples.append(downsamples[-1] * 4)
    if min(array.shape[:2]) < max(downsamples) or min(downsamples) < 1:
        raise EncodingError(f"downsamples {list(downsamples)} leave no pixel of {array.shape[0]} x {array.shape[1]}")
    common = _common(about)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, factor in enumerate(downsamples):
        level = array if factor == 1 else _means(array, factor)
        ds = _level(common, about, level, spacing, factor, number)
        _put_tiles(ds, level, tile_size, quality)
        path = folder / f"sm_{number}.dcm"
        save_dataset(path, ds)
        files.append(path)
    return files


def _means(array: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Means of squares; what is left over at the lower and right edge is dropped."""
    rows, columns = (n // factor for n in array.shape[:2])
    cut = array[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    return np.asarray(np.rint(cut.mean(axis=(1, 3), dtype=np.float32)), dtype=np.uint8)


# ---------------------------------------------------------------------- header
def _common(about: SlideDescription) -> Dataset:
    """Everything that is the same in each file of the series."""
    ds = Dataset()
    for keyword, value in _patient_and_study(about):
        setattr(ds, keyword, value)
    ds.SOPClassUID = sop.VL_WHOLE_SLIDE_MICROSCOPY
    ds.Modality = "SM"
    ds.SeriesInstanceUID = derived_uid("phantom slide series", about.name)
    ds.SeriesNumber = 1
    ds.SeriesDescription = about.description
    ds.FrameOfReferenceUID = derived_uid("phantom slide frame of reference", about.name)
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.Manufacturer = "dicom_ml"
    ds.ManufacturerModelName = "slide phantom"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    ds.AcquisitionDateTime = ds.StudyDate + ds.StudyTime
    ds.AcquisitionContextSequence = DicomSequence([])
    ds.VolumetricProperties = "VOLUME"
    ds.BurnedInAnnotation = "NO"
    ds.SpecimenLabelInImage = "NO"
    ds.FocusMethod = "AUTO"
    ds.ExtendedDepthOfField = "NO"
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    ds.PyramidUID = derived_uid("phantom slide pyramid", about.name)
    ds.SamplesPerPixel = 3
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.DimensionOrganizationType = "TILED_FULL"
    organization = derived_uid("phantom slide dimensions", about.name)
    ds.DimensionOrganizationSequence = _items(DimensionOrganizationUID=organization)
    ds.DimensionIndexSequence = DicomSequence(
        [
            _item(DimensionOrganizationUID=organization, DimensionIndexPointer=tag, FunctionalGroupPointer=0x0048021A)
            for tag in (0x0048021F, 0x0048021E)
        ]
    )
    ds.NumberOfOpticalPaths = 1
    ds.OpticalPathSequence = _items(
        OpticalPathIdentifier="1",
        IlluminationTypeCodeSequence=_coded("DCM:111744"),
        IlluminationColorCodeSequence=_coded("SCT:371251000"),
        ObjectiveLensPower=20,
        ICCProfile=rgb_profile(),
    )
    _add_specimen(ds, about)
    return ds


def _patient_and_study(about: SlideDescription) -> Iterable[tuple[str, object]]:
    """Attributes that nobody can take for a person's."""
    patient = about.patient or f"PHANTOM-{derived_uid('phantom slide patient', about.name)[-10:]}"
    yield from (
        ("SpecificCharacterSet", "ISO_IR 192"),
        ("PatientName", "Phantom^Synthetic"),
        ("PatientID", patient),
        ("PatientBirthDate", ""),
        ("PatientSex", "O"),
        ("PatientAge", "000D"),
        ("PatientIdentityRemoved", "YES"),
        ("DeidentificationMethod", "Synthetic image, no patient"),
        ("StudyInstanceUID", derived_uid("phantom slide study", patient)),
        ("StudyDate", "20000101"),
        ("StudyTime", "120000"),
        ("StudyID", "1"),
        ("StudyDescription", "Synthetic phantom"),
        ("AccessionNumber", ""),
        ("ReferringPhysicianName", ""),
        ("InstitutionName", "Synthetic"),
    )
    if about.collection:
        yield from (
            ("ClinicalTrialSponsorName", "Synthetic"),
            ("ClinicalTrialProtocolID", about.collection),
            ("ClinicalTrialProtocolName", ""),
            ("ClinicalTrialSiteID", ""),
            ("ClinicalTrialSiteName", ""),
            ("ClinicalTrialSubjectID", patient),
        )


def _add_specimen(ds: Dataset, about: SlideDescription) -> None:
    """Lung, normal or a primary neoplasm, frozen or embedded in paraffin, stained with haematoxylin and eosin."""
    ds.ContainerIdentifier = derived_uid("phantom slide container", about.name)[-12:]
    ds.IssuerOfTheContainerIdentifierSequence = DicomSequence([])
    ds.ContainerTypeCodeSequence = _coded("SCT:433466003")
    name = ds.ContainerIdentifier + "-1"
    embedding = "SCT:433469005" if about.frozen else "SCT:311731000"
    fixation = [] if about.frozen else [("SCT:430864009", "SCT:434162003")]
    steps = [
        [("DCM:111701", "SCT:9265001"), *fixation, ("SCT:430863003", embedding)],
        [("DCM:111701", "SCT:127790008"), ("SCT:424361007", "SCT:12710003"), ("SCT:424361007", "SCT:36879007")],
    ]
    modifier = "SCT:86049000" if about.neoplasm else "SCT:17621005"
    structure = _code("SCT:39607008")
    structure.PrimaryAnatomicStructureModifierSequence = _coded(modifier)
    specimen = _item(
        SpecimenIdentifier=name,
        SpecimenUID=derived_uid("phantom slide specimen", about.name),
        IssuerOfTheSpecimenIdentifierSequence=DicomSequence([]),
        SpecimenShortDescription="Lung, synthetic",
        SpecimenPreparationSequence=DicomSequence(
            [_item(SpecimenPreparationStepContentItemSequence=_step(name, step)) for step in steps]
        ),
        PrimaryAnatomicStructureSequence=DicomSequence([structure]),
    )
    ds.SpecimenDescriptionSequence = DicomSequence([specimen])


def _step(name: str, values: Sequence[tuple[str, str]]) -> DicomSequence:
    """Content items of a preparation step (TID 8001)."""
    identifier = _item(ValueType="TEXT", ConceptNameCodeSequence=_coded("DCM:121041"), TextValue=name)
    coded = [
        _item(ValueType="CODE", ConceptNameCodeSequence=_coded(concept), ConceptCodeSequence=_coded(value))
        for concept, value in values
    ]
    return DicomSequence([identifier, *coded])


# ---------------------------------------------------------------------- a level
def _level(
    common: Dataset, about: SlideDescription, level: npt.NDArray[np.uint8], spacing: float, factor: int, number: int
) -> Dataset:
    ds = Dataset()
    ds.update(common)
    rows, columns = level.shape[:2]
    ds.SOPInstanceUID = derived_uid("phantom slide instance", about.name, number)
    ds.InstanceNumber = number + 1
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"] if factor == 1 else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    ds.ImageType = kind
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = rows, columns
    ds.TotalPixelMatrixFocalPlanes = 1
    pixel = spacing * factor
    ds.ImagedVolumeWidth, ds.ImagedVolumeHeight, ds.ImagedVolumeDepth = columns * pixel, rows * pixel, _THICKNESS
    # The first pixel's centre moves inwards with the size of pixels; rows run along -x, columns along -y.
    inwards = spacing * (factor - 1) / 2
    ds.TotalPixelMatrixOriginSequence = _items(
        XOffsetInSlideCoordinateSystem=_decimal(about.origin[0] - inwards),
        YOffsetInSlideCoordinateSystem=_decimal(about.origin[1] - inwards),
    )
    measures = _items(PixelSpacing=[_decimal(pixel)] * 2, SliceThickness=_THICKNESS)
    shared = _item(
        PixelMeasuresSequence=measures,
        WholeSlideMicroscopyImageFrameTypeSequence=_items(FrameType=kind),
        OpticalPathIdentificationSequence=_items(OpticalPathIdentifier="1"),
    )
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    for keyword, value in about.attributes.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return ds


def _put_tiles(ds: Dataset, level: npt.NDArray[np.uint8], tile: int, quality: int) -> None:
    from imagecodecs import jpeg8_encode

    frames = []
    for row in range(0, level.shape[0], tile):
        for column in range(0, level.shape[1], tile):
            part = level[row : row + tile, column : column + tile]
            if part.shape[:2] != (tile, tile):
                missing = [(0, tile - n) for n in part.shape[:2]]
                part = np.pad(part, (*missing, (0, 0)), mode="edge")
            frames.append(bytes(jpeg8_encode(np.ascontiguousarray(part), level=quality, subsampling="422")))
    ds.Rows = ds.Columns = tile
    ds.NumberOfFrames = len(frames)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.LossyImageCompressionRatio = _decimal(round(len(frames) * tile * tile * 3 / sum(map(len, frames)), 2))
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


# ---------------------------------------------------------------------- small parts
def _item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _items(**values: Any) -> DicomSequence:
    return DicomSequence([_item(**values)])


def _code(code: str | Code) -> Dataset:
    found = parse_code(code)
    return _item(CodeValue=found.value, CodingSchemeDesignator=found.scheme, CodeMeaning=found.meaning)


def _coded(code: str | Code) -> DicomSequence:
    return DicomSequence([_code(code)])


def _decimal(value: float) -> str:
    """The closest decimal string of at most 16 characters (PS3.5 6.2)."""
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.8e}"
