"""Small image series for the tests of reading: any geometry, any oddity, known values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom import Sequence as DicomSequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

CT, MR, PT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
ENHANCED = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
}
CLASSES = {"CT": CT, "MR": MR, "PT": PT, "OT": "1.2.840.10008.5.1.4.1.1.7"}
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
ROOT = "1.2.826.0.1.3680043.10.999."

AXIAL = (1.0, 0, 0, 0, 1, 0)
SAGITTAL = (0.0, 1, 0, 0, 0, -1)
#: No axis is parallel to the patient's.
OBLIQUE = (0.9541666, -0.2080757, 0.2151061, 0.2785886, 0.880128, -0.3843997)


@dataclass
class Series:
    """How to write a single-frame series."""

    stored: np.ndarray
    orientation: Sequence[float] = AXIAL
    origin: Sequence[float] = (-50.0, -60.0, -70.0)
    pixel_spacing: tuple[float, float] = (0.75, 0.5)
    step: float = 2.5
    #: Sideways slide from slice to slice, mm along (row direction, column direction).
    slide: tuple[float, float] = (0.0, 0.0)
    modality: str = "CT"
    syntax: str = EXPLICIT
    number: int = 1
    bits_stored: int = 0
    rescale: Sequence[tuple[float, float]] | tuple[float, float] | None = (1.0, -1024.0)
    positions: Sequence[Sequence[float]] | None = None
    #: Attributes of all files, and a function of (dataset, index) that may change any.
    attributes: dict[str, Any] = field(default_factory=dict)
    change: Callable[[Dataset, int], Any] | None = None

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, d: float) -> np.ndarray:
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        step = self.normal * self.step + row * self.slide[0] + column * self.slide[1]
        return np.asarray(self.origin) + d * step

    @property
    def affine(self) -> np.ndarray:
        affine = np.eye(4)
        affine[:3, 0] = self.position(1) - self.position(0)
        affine[:3, 1] = np.array(self.orientation[3:]) * self.pixel_spacing[0]
        affine[:3, 2] = np.array(self.orientation[:3]) * self.pixel_spacing[1]
        affine[:3, 3] = self.origin
        return affine

    @property
    def uid(self) -> str:
        return f"{ROOT}2.{self.number}"

    def datasets(self) -> list[Dataset]:
        return [self.dataset(d) for d in range(len(self.stored))]

    def dataset(self, d: int) -> Dataset:
        pixels = self.stored[d]
        ds = image_dataset(self.modality, pixels, self.bits_stored, self.number)
        ds.SOPInstanceUID = f"{ROOT}3.{self.number}.{d + 1}"
        # instance numbers run against the positions, so that whoever sorts by them is found out
        ds.InstanceNumber = len(self.stored) - d
        position = self.position(d) if self.positions is None else self.positions[d]
        ds.ImagePositionPatient = [f"{v:.10g}" for v in position]
        ds.ImageOrientationPatient = [f"{v:.10g}" for v in self.orientation]
        ds.PixelSpacing = [f"{v:.10g}" for v in self.pixel_spacing]
        ds.SliceThickness = f"{self.step:.10g}"
        if self.rescale is not None:
            pair = self.rescale if np.ndim(self.rescale) == 1 else self.rescale[d]
            ds.RescaleSlope, ds.RescaleIntercept = (f"{v:.10g}" for v in pair)
        for keyword, value in self.attributes.items():
            setattr(ds, keyword, value)
        if self.change is not None:
            self.change(ds, d)
        return ds

    def datasets_written(self) -> list[Dataset]:
        """Data sets with file meta information, as pydicom holds them after reading."""
        found = self.datasets()
        for ds in found:
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        return found

    def write(self, folder: Path) -> Path:
        """Write the files, whose names are in no order of anything."""
        folder.mkdir(parents=True, exist_ok=True)
        for d in range(len(self.stored)):
            write(self.dataset(d), folder / f"{(d * 7919) % 1009:04d}-{self.number}-{d}", self.syntax)
        return folder


def image_dataset(modality: str, pixels: np.ndarray, bits_stored: int = 0, number: int = 1) -> Dataset:
    """What any grayscale image has, of the last two dimensions of ``pixels``."""
    ds = Dataset()
    ds.SOPClassUID = CLASSES[modality]
    ds.Modality = modality
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientName, ds.PatientID = "Phantom^Anna", "P-1"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "F"
    ds.StudyInstanceUID = f"{ROOT}1.1"
    ds.SeriesInstanceUID = f"{ROOT}2.{number}"
    ds.FrameOfReferenceUID = f"{ROOT}4.1"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", "A1"
    ds.SeriesNumber = number
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored = bits, bits_stored or bits
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    return ds


def write(ds: Dataset, path: Path, syntax: str = EXPLICIT) -> Path:
    """Write a data set whose pixel data is little endian, in any transfer syntax."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = UID(EXPLICIT)
    ds.file_meta = meta
    if syntax in (RLE, JPEG_LS, JPEG_2000):
        ds.compress(UID(syntax), generate_instance_uid=False)
    elif syntax == BIG and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    meta.TransferSyntaxUID = UID(syntax)
    dcmwrite(path, ds, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return path


def ramp(shape: tuple[int, int, int] = (5, 6, 8), dtype: Any = np.int16, bits: int = 12) -> np.ndarray:
    """Stored values that all differ and use the range."""
    count = int(np.prod(shape))
    top = 1 << bits
    values = (np.arange(count) * 37 + 11) % top
    if np.dtype(dtype).kind == "i":
        values = values - top // 2
    return values.reshape(shape).astype(dtype)


def item(**values: Any) -> DicomSequence:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return DicomSequence([ds])


def enhanced(
    series: Series,
    frames: Sequence[int] | None = None,
    *,
    per_frame: Callable[[Dataset, int], Any] | None = None,
    shared_rescale: bool = True,
) -> Dataset:
    """The series as one enhanced multi-frame image, its frames in the order of ``frames``."""
    order = list(range(len(series.stored))) if frames is None else list(frames)
    pixels = np.ascontiguousarray(series.stored[order])
    ds = image_dataset(series.modality, pixels, series.bits_stored, series.number)
    ds.SOPClassUID = ENHANCED[series.modality]
    ds.SOPInstanceUID = f"{ROOT}3.{series.number}.0"
    ds.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(
        PixelSpacing=list(series.pixel_spacing), SliceThickness=series.step, SpacingBetweenSlices=series.step
    )
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[f"{v:.10g}" for v in series.orientation])
    pairs = series.rescale or (1.0, 0.0)
    kind = "HU" if series.modality == "CT" else "US"
    if shared_rescale:
        shared.PixelValueTransformationSequence = item(
            RescaleSlope=pairs[0], RescaleIntercept=pairs[1], RescaleType=kind
        )
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    items = []
    for number, d in enumerate(order):
        groups = Dataset()
        groups.FrameContentSequence = item(
            StackID="1", InStackPositionNumber=d + 1, DimensionIndexValues=[1, d + 1], FrameAcquisitionNumber=1
        )
        groups.PlanePositionSequence = item(ImagePositionPatient=[f"{v:.10g}" for v in series.position(d)])
        if not shared_rescale:
            slope, intercept = pairs[d]  # type: ignore[index, misc]
            groups.PixelValueTransformationSequence = item(
                RescaleSlope=slope, RescaleIntercept=intercept, RescaleType=kind
            )
        if per_frame is not None:
            per_frame(groups, number)
        items.append(groups)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(items)
    for keyword, value in series.attributes.items():
        setattr(ds, keyword, value)
    return ds


def fresh(counter: Any = itertools.count()) -> str:  # noqa: B008
    """A name not used before."""
    return f"part-{next(counter)}"
