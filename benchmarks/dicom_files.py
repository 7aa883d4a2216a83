"""The DICOM files that the rows read, written with pydicom alone, so that no competitor made its own input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks.phantom import ANATOMICAL_STRUCTURE, INTERCEPT, ORIGIN, SLOPE, SPACING, segment_names
from benchmarks.registry import Size

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
ORIENTATION = [1, 0, 0, 0, 1, 0]


def uid(*parts: object) -> str:
    """A UID that is the same on every machine."""
    return str(generate_uid(entropy_srcs=["dicom_ml benchmark", *map(str, parts)]))


def position(d: int) -> list[float]:
    return [ORIGIN[0], ORIGIN[1], ORIGIN[2] + d * SPACING[0]]


def code(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def base(sop_class: str, sop_instance: str, series: str, size: Size, transfer_syntax: str) -> Dataset:
    """What every object of the made-up study has in common."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = sop_instance
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_instance
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "B1", "CT", "dicom_ml"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription, ds.SeriesDescription = "Benchmark", "Phantom"
    ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.SoftwareVersions = "Phantom", "1", "1"
    ds.PatientName, ds.PatientID = "Phantom^Benchmark", "BENCHMARK"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19700101", "O", "054Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", size), series
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, 1
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid("frame of reference", size), ""
    ds.Rows, ds.Columns = size.rows, size.columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    return ds


def _sixteen_bits(ds: Dataset) -> None:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1


def write_ct_slice(path: Path, d: int, size: Size, series: str, transfer_syntax: str, frame: bytes) -> tuple[int, int]:
    """Write one CT image; return where its pixels (or its code stream) begin and how long they are."""
    ds = base(CT_IMAGE, uid("ct", series, d), series, size, transfer_syntax)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber, ds.AcquisitionNumber = d + 1, 1
    ds.BodyPartExamined, ds.PatientPosition, ds.ScanOptions = "CHEST", "HFS", "HELICAL MODE"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure = 120, 200, 500, 100
    ds.SliceThickness, ds.GantryDetectorTilt, ds.TableHeight = SPACING[0], 0, 140
    ds.DataCollectionDiameter, ds.ReconstructionDiameter = 500, SPACING[2] * size.columns
    ds.DistanceSourceToDetector, ds.DistanceSourceToPatient = 949, 541
    ds.FilterType, ds.ConvolutionKernel, ds.FocalSpots = "BODY FILTER", "STANDARD", 1.2
    ds.ProcedureCodeSequence = [code("77477000", "Computed tomography")]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = position(d), ORIENTATION
    ds.SliceLocation, ds.PixelSpacing = position(d)[2], list(SPACING[1:])
    _sixteen_bits(ds)
    ds.WindowCenter, ds.WindowWidth = 40, 400
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, SLOPE, "HU"
    native = transfer_syntax == ExplicitVRLittleEndian
    ds.PixelData = frame if native else encapsulate([frame])
    ds["PixelData"].VR = "OW" if native else "OB"
    ds["PixelData"].is_undefined_length = not native
    ds.save_as(path, enforce_file_format=True)
    end = path.stat().st_size - (0 if native else 8)
    length = len(frame) + (0 if native else len(frame) % 2)
    return end - length, length


def write_enhanced_ct(path: Path, size: Size, pixels: np.ndarray) -> int:
    """Write the volume as one enhanced CT image; return where its pixels begin."""
    series = uid("enhanced series", size)
    ds = base(ENHANCED_CT_IMAGE, uid("enhanced", size), series, size, ExplicitVRLittleEndian)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.PixelPresentation, ds.VolumetricProperties = "MONOCHROME", "VOLUME"
    ds.VolumeBasedCalculationTechnique, ds.PresentationLUTShape = "NONE", "IDENTITY"
    ds.ContentQualification, ds.BurnedInAnnotation, ds.LossyImageCompression = "RESEARCH", "NO", "00"
    ds.AcquisitionDateTime, ds.AcquisitionDuration, ds.AcquisitionNumber = "20240102101112", 1.0, 1
    organization = uid("enhanced dimensions", size)
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
        )
        for pointer in (0x00209056, 0x00209057)
    ]
    ds.NumberOfFrames = size.slices
    anatomy = item(FrameLaterality="U", AnatomicRegionSequence=[code("51185008", "Chest")])
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[
                item(PixelSpacing=list(SPACING[1:]), SliceThickness=SPACING[0], SpacingBetweenSlices=SPACING[0])
            ],
            PlaneOrientationSequence=[item(ImageOrientationPatient=ORIENTATION)],
            PixelValueTransformationSequence=[item(RescaleIntercept=INTERCEPT, RescaleSlope=SLOPE, RescaleType="HU")],
            FrameAnatomySequence=[anatomy],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[
                item(
                    FrameAcquisitionNumber=1,
                    FrameAcquisitionDateTime="20240102101112",
                    FrameReferenceDateTime="20240102101112",
                    FrameAcquisitionDuration=1.0,
                    StackID="1",
                    InStackPositionNumber=d + 1,
                    DimensionIndexValues=[1, d + 1],
                )
            ],
            PlanePositionSequence=[item(ImagePositionPatient=position(d))],
            CTImageFrameTypeSequence=[
                item(
                    FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
                    PixelPresentation="MONOCHROME",
                    VolumetricProperties="VOLUME",
                    VolumeBasedCalculationTechnique="NONE",
                )
            ],
            FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=400)],
        )
        for d in range(size.slices)
    ]
    _sixteen_bits(ds)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path.stat().st_size - pixels.nbytes


def write_binary_seg(path: Path, labels: np.ndarray, count: int, size: Size, source_series: str) -> dict[str, Any]:
    """Write a label map as a sparse BINARY segmentation; return its frames and where their bits begin."""
    ds = base(SEGMENTATION, uid("seg", count, size), uid("seg series", count, size), size, ExplicitVRLittleEndian)
    ds.Modality, ds.SeriesNumber, ds.ImageType = "SEG", 100, ["DERIVED", "PRIMARY"]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "ORGANS", "Organs", "Benchmark"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.LossyImageCompression, ds.SegmentationType, ds.SegmentsOverlap = "00", "BINARY", "NO"
    organization = uid("seg dimensions", count, size)
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
    ]
    ds.SegmentSequence = [
        item(
            SegmentNumber=number,
            SegmentLabel=name["label"],
            SegmentAlgorithmType="AUTOMATIC",
            SegmentAlgorithmName="Benchmark",
            SegmentedPropertyCategoryCodeSequence=[code(*ANATOMICAL_STRUCTURE)],
            SegmentedPropertyTypeCodeSequence=[code(name["value"], name["meaning"])],
        )
        for number, name in enumerate(segment_names(count), start=1)
    ]
    instances = [uid("ct", source_series, d) for d in range(size.slices)]
    references = [item(ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=instance) for instance in instances]
    ds.ReferencedSeriesSequence = [item(SeriesInstanceUID=source_series, ReferencedInstanceSequence=references)]
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[
                item(PixelSpacing=list(SPACING[1:]), SliceThickness=SPACING[0], SpacingBetweenSlices=SPACING[0])
            ],
            PlaneOrientationSequence=[item(ImageOrientationPatient=ORIENTATION)],
        )
    ]
    frames: list[tuple[int, int]] = []
    groups: list[Dataset] = []
    packed = bytearray()
    for number in range(1, count + 1):
        mask = labels == number
        for d in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
            packed += np.packbits(mask[d], bitorder="little").tobytes()
            frames.append((number, d))
            source = item(
                ReferencedSOPClassUID=CT_IMAGE,
                ReferencedSOPInstanceUID=instances[d],
                PurposeOfReferenceCodeSequence=[code("121322", "Source image for image processing operation", "DCM")],
            )
            derivation = item(
                SourceImageSequence=[source], DerivationCodeSequence=[code("113076", "Segmentation", "DCM")]
            )
            groups.append(
                item(
                    DerivationImageSequence=[derivation],
                    FrameContentSequence=[item(DimensionIndexValues=[number, d + 1])],
                    PlanePositionSequence=[item(ImagePositionPatient=position(d))],
                    SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                )
            )
    ds.NumberOfFrames = len(frames)
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.PixelData = bytes(packed)
    ds["PixelData"].VR = "OB"
    ds.save_as(path, enforce_file_format=True)
    # Rows times columns is a multiple of 8 (Size.parse sees to it), so frames begin on whole bytes.
    return {"frames": frames, "offset": path.stat().st_size - len(packed) - len(packed) % 2}
