"""Write an array of Hounsfield units as a conformant series of single-frame CT Image Storage files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_ml.encoding.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from dicom_ml.encoding.writer import save_dataset
from dicom_ml.errors import EncodingError
from dicom_ml.geometry import Grid

__all__ = ["CTDescription", "write_ct_series"]

_RESCALE_INTERCEPT = -8192
"""Far enough down that the padding values of scanners (-3024 and the like) stay representable in 16 unsigned bits."""


@dataclass(frozen=True)
class CTDescription:
    """What the files of a synthetic CT series say about themselves.

    Attributes
    ----------
    name : str
        Seeds every UID, the patient id and the accession: the same name, array and grid give the same files.
    description : str
        Series Description.
    thickness : float, optional
        Slice Thickness in mm; the distance of the slices when not given.
    kernel : str
        Convolution Kernel.
    position : str
        Patient Position: "HFS", "HFP", ...
    body_part : str
        Body Part Examined.
    padding : float, optional
        Value (HU) of the pixels outside the reconstructed field, recorded as Pixel Padding Value.
    """

    name: str
    description: str = "Synthetic chest"
    thickness: float | None = None
    kernel: str = "SYNTHETIC"
    position: str = "HFS"
    body_part: str = "CHEST"
    padding: float | None = None


def write_ct_series(
    folder: str | os.PathLike[str],
    array: npt.NDArray[np.floating],
    affine: npt.ArrayLike,
    description: CTDescription | str,
) -> list[Path]:
    """Write a CT series, one file a slice.

    Parameters
    ----------
    folder : path
        Made when missing.
    array : numpy.ndarray
        (D, H, W), Hounsfield units; rounded to integers.
    affine : array_like
        4x4, array index (d, h, w) to LPS millimetres. The three axes must be at right angles.
    description : CTDescription or str
        A string is the name of a description with defaults.

    Returns
    -------
    list of Path
        The files in slice order.

    Raises
    ------
    EncodingError
        The axes are not at right angles, or a value has no place in 16 bits.

    Notes
    -----
    Patient, study and equipment are plainly synthetic, and every UID is derived from the name: writing the series twice
    gives the same bytes. See PS3.3 A.3 for the CT Image IOD.
    """
    if isinstance(description, str):
        description = CTDescription(description)
    grid = Grid((int(array.shape[0]), int(array.shape[1]), int(array.shape[2])), np.asarray(affine, dtype=np.float64))
    if not grid.is_orthogonal:
        raise EncodingError("CT slices need axes at right angles; resample the array onto such a grid first")
    stored = np.rint(array) - _RESCALE_INTERCEPT
    if stored.min() < 0 or stored.max() > 65535:
        raise EncodingError(
            f"values from {array.min():.0f} to {array.max():.0f} HU do not fit into 16 bits "
            f"from {_RESCALE_INTERCEPT} HU up"
        )
    planes = stored.astype("<u2")
    common = _common(grid, description)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_slice(folder, common, planes[d], grid, description, d) for d in range(len(planes))]


def _common(grid: Grid, about: CTDescription) -> Dataset:
    """Everything that is the same in each file of the series."""
    ds = Dataset()
    for keyword, value in _patient_and_study(about):
        setattr(ds, keyword, value)
    spacing = grid.spacing
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SeriesInstanceUID = derived_uid("phantom series", about.name, about.description)
    ds.SeriesNumber = 1
    ds.SeriesDescription = about.description
    ds.BodyPartExamined = about.body_part
    ds.PatientPosition = about.position
    ds.FrameOfReferenceUID = derived_uid("phantom frame of reference", about.name)
    ds.PositionReferenceIndicator = ""
    ds.Manufacturer = "dicom_ml"
    ds.ManufacturerModelName = "chest phantom"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    ds.KVP = 120
    ds.ConvolutionKernel = about.kernel
    ds.AcquisitionNumber = 1
    ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    ds.AcquisitionDate, ds.AcquisitionTime = ds.StudyDate, ds.StudyTime
    ds.SliceThickness = _decimal(about.thickness or spacing[0])
    ds.SpacingBetweenSlices = _decimal(spacing[0])
    ds.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[2])]
    ds.ImageOrientationPatient = [_decimal(v) for v in grid.orientation]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = grid.shape[1:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _RESCALE_INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = [-600, 40], [1500, 400]
    ds.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    if about.padding is not None:
        ds.PixelPaddingValue = round(about.padding) - _RESCALE_INTERCEPT
    return ds


def _patient_and_study(about: CTDescription) -> Iterable[tuple[str, object]]:
    """Attributes that nobody can take for a person's."""
    short = derived_uid("phantom patient", about.name)[-10:]
    yield from (
        ("SpecificCharacterSet", "ISO_IR 192"),
        ("PatientName", "Phantom^Synthetic"),
        ("PatientID", f"PHANTOM-{short}"),
        ("PatientBirthDate", ""),
        ("PatientSex", "O"),
        ("PatientAge", "000D"),
        ("PatientIdentityRemoved", "YES"),
        ("DeidentificationMethod", "Synthetic image, no patient"),
        ("StudyInstanceUID", derived_uid("phantom study", about.name)),
        ("StudyDate", "20000101"),
        ("StudyTime", "120000"),
        ("StudyID", "1"),
        ("StudyDescription", "Synthetic phantom"),
        ("AccessionNumber", ""),
        ("ReferringPhysicianName", ""),
        ("InstitutionName", "Synthetic"),
    )


def _write_slice(
    folder: Path, common: Dataset, plane: npt.NDArray[np.uint16], grid: Grid, about: CTDescription, d: int
) -> Path:
    ds = Dataset()
    ds.update(common)
    ds.SOPInstanceUID = derived_uid("phantom instance", about.name, about.description, d)
    ds.InstanceNumber = d + 1
    position = grid.position(d)
    ds.ImagePositionPatient = [_decimal(v) for v in position]
    ds.SliceLocation = _decimal(float(position @ grid.normal))
    ds.PixelData = plane.tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    path = folder / f"ct_{d + 1:04d}.dcm"
    save_dataset(path, ds)
    return path


def _decimal(value: float) -> str:
    """The closest decimal string of at most 16 characters (PS3.5 6.2)."""
    value = float(value) + 0.0  # no negative zero
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.8e}"
