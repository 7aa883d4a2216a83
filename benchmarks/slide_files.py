"""The slides, and the segmentation of one, that the rows read: headers by pydicom, repeated items by their bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from benchmarks.dicom_files import SEGMENTATION, base, code, item, uid
from benchmarks.registry import Size
from benchmarks.slide_phantom import MORPHOLOGY, ORIENTATION, ORIGIN, REGIONS, SPACING, TILE

VL_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def _tiled(sop_class: str, name: str, side: int, size: Size, transfer_syntax: str) -> Dataset:
    """What tiled objects of the made-up slide have in common; ``name`` tells series and instances apart."""
    ds = base(sop_class, uid(name, size), uid(f"{name} series", size), size, transfer_syntax)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = uid("slide", size), "SLIDE_CORNER"
    ds.ContainerIdentifier = "B1"
    ds.IssuerOfTheContainerIdentifierSequence = []
    ds.ContainerTypeCodeSequence = [code("433466003", "Microscope slide")]
    ds.SpecimenDescriptionSequence = [
        item(
            SpecimenIdentifier="B1",
            SpecimenUID=uid("specimen", size),
            IssuerOfTheSpecimenIdentifierSequence=[],
            SpecimenPreparationSequence=[],
        )
    ]
    ds.AcquisitionContextSequence = []
    ds.Rows = ds.Columns = TILE
    ds.TotalPixelMatrixRows = ds.TotalPixelMatrixColumns = side
    ds.TotalPixelMatrixFocalPlanes = 1
    ds.ImageOrientationSlide = ORIENTATION
    ds.TotalPixelMatrixOriginSequence = [
        item(XOffsetInSlideCoordinateSystem=ORIGIN[0], YOffsetInSlideCoordinateSystem=ORIGIN[1])
    ]
    return ds


def _measures() -> Dataset:
    return item(PixelSpacing=[SPACING, SPACING], SliceThickness=0.001, SpacingBetweenSlices=0.001)


def _dimensions(ds: Dataset, name: str, size: Size, pointers: Sequence[tuple[int, int]]) -> None:
    organization = uid(name, "dimensions", size)
    ds.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in pointers
    ]


def _slide_header(name: str, side: int, size: Size, frames: int) -> Dataset:
    ds = _tiled(VL_WHOLE_SLIDE, name, side, size, JPEGBaseline8Bit)
    ds.Modality, ds.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.AcquisitionDateTime = "20240102101112"
    ds.ImagedVolumeWidth = ds.ImagedVolumeHeight = side * SPACING
    ds.ImagedVolumeDepth = 1.0
    ds.VolumetricProperties, ds.BurnedInAnnotation, ds.SpecimenLabelInImage = "VOLUME", "NO", "NO"
    ds.FocusMethod, ds.ExtendedDepthOfField = "AUTO", "NO"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 10
    ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.NumberOfOpticalPaths, ds.NumberOfFrames = 1, frames
    ds.OpticalPathSequence = [
        item(
            OpticalPathIdentifier="1",
            OpticalPathDescription="brightfield",
            IlluminationTypeCodeSequence=[code("111744", "Brightfield illumination", "DCM")],
            IlluminationColorCodeSequence=[code("414298005", "Full Spectrum")],
        )
    ]
    kind = item(FrameType=ds.ImageType)
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[_measures()],
            WholeSlideMicroscopyImageFrameTypeSequence=[kind],
            OpticalPathIdentificationSequence=[item(OpticalPathIdentifier="1")],
        )
    ]
    return ds


def write_slide(path: Path, side: int, size: Size, frames: Sequence[bytes]) -> np.ndarray:
    """Write a TILED_FULL slide; return offset and length of each frame, ``(n, 2)``."""
    ds = _slide_header("slide image", side, size, len(frames))
    ds.DimensionOrganizationType = "TILED_FULL"
    return _finish_encapsulated(path, ds, b"", frames)


def write_sparse_slide(
    path: Path, side: int, size: Size, places: np.ndarray, frames: Sequence[bytes]
) -> tuple[np.ndarray, int]:
    """Write a TILED_SPARSE slide; ``places`` are tile rows and columns, ``(n, 2)``.

    Return offset and length of each frame, and the length of the header up to its Pixel Data.
    """
    ds = _slide_header("sparse image", side, size, len(frames))
    ds.DimensionOrganizationType = "TILED_SPARSE"
    _dimensions(ds, "sparse image", size, _BY_PLACE)
    group = item(
        FrameContentSequence=[item(DimensionIndexValues=[_COLUMN_INDEX, _ROW_INDEX])],
        PlanePositionSlideSequence=[_position()],
    )
    groups = _per_frame(group, _place_values(places))
    where = _finish_encapsulated(path, ds, groups, frames)
    return where, int(where[0, 0]) - 8 - 4 * len(frames) - 8


def write_tiled_seg(
    path: Path, side: int, size: Size, places: np.ndarray, segments: np.ndarray, frames: bytes, source: Path
) -> int:
    """Write a sparse BINARY segmentation of the slide; return where its bits begin.

    ``places`` are tile rows and columns, ``segments`` numbers, of each frame.
    """
    from pydicom import dcmread

    image = dcmread(source, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"], stop_before_pixels=True)
    ds = _tiled(SEGMENTATION, "tiled seg", side, size, ExplicitVRLittleEndian)
    ds.Modality, ds.SeriesNumber, ds.ImageType = "SEG", 100, ["DERIVED", "PRIMARY"]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "REGIONS", "Regions", "Benchmark"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    ds.LossyImageCompression, ds.SegmentationType, ds.SegmentsOverlap = "00", "BINARY", "NO"
    ds.DimensionOrganizationType, ds.NumberOfFrames = "TILED_SPARSE", len(places)
    _dimensions(ds, "tiled seg", size, [(0x0062000B, 0x0062000A), *_BY_PLACE])
    ds.SegmentSequence = [
        item(
            SegmentNumber=number,
            SegmentLabel=name["label"],
            SegmentAlgorithmType="AUTOMATIC",
            SegmentAlgorithmName="Benchmark",
            SegmentedPropertyCategoryCodeSequence=[code(*MORPHOLOGY)],
            SegmentedPropertyTypeCodeSequence=[code(name["value"], name["meaning"])],
        )
        for number, name in enumerate(REGIONS, start=1)
    ]
    reference = item(ReferencedSOPClassUID=VL_WHOLE_SLIDE, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    ds.ReferencedSeriesSequence = [
        item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedInstanceSequence=[reference])
    ]
    ds.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[_measures()])]
    group = item(
        FrameContentSequence=[item(DimensionIndexValues=[_SEGMENT_INDEX, _COLUMN_INDEX, _ROW_INDEX])],
        PlanePositionSlideSequence=[_position()],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=_SEGMENT)],
    )
    numbers = {_SEGMENT_INDEX: segments.astype("<u4"), _SEGMENT: segments.astype("<u2")}
    groups = _per_frame(group, _place_values(places) | numbers)
    padded = frames + b"\0" * (len(frames) % 2)
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, len(padded))
    _save(path, ds, groups + element + padded)
    return path.stat().st_size - len(padded)


# ---- repeated items: one is encoded, its values are set in as many copies as there are frames

# Values that occur once in the encoded item, by which their places are found.
_SEGMENT, _SEGMENT_INDEX = 0xBEEF, 0x7F01C0D1
_COLUMN_INDEX, _ROW_INDEX, _COLUMN, _ROW = 0x7F01C0D2, 0x7F01C0D3, 0x7F01C0D4, 0x7F01C0D5
_X, _Y = "1111.11111", "2222.22222"
_BY_PLACE = [(0x0048021E, 0x0048021A), (0x0048021F, 0x0048021A)]


def _position() -> Dataset:
    return item(
        XOffsetInSlideCoordinateSystem=_X,
        YOffsetInSlideCoordinateSystem=_Y,
        ZOffsetInSlideCoordinateSystem="0",
        ColumnPositionInTotalImagePixelMatrix=_COLUMN,
        RowPositionInTotalImagePixelMatrix=_ROW,
    )


def _place_values(places: np.ndarray) -> dict[int | str, np.ndarray]:
    row, column = places[:, 0], places[:, 1]
    return {
        _ROW_INDEX: (row + 1).astype("<u4"),
        _COLUMN_INDEX: (column + 1).astype("<u4"),
        _ROW: (row * TILE + 1).astype("<i4"),
        _COLUMN: (column * TILE + 1).astype("<i4"),
        # Orientation (0, -1, 0) along a row, (-1, 0, 0) along a column.
        _X: np.char.mod("%10.5f", ORIGIN[0] - row * TILE * SPACING).astype("S10"),
        _Y: np.char.mod("%10.5f", ORIGIN[1] - column * TILE * SPACING).astype("S10"),
    }


def _per_frame(group: Dataset, values: dict[int | str, np.ndarray]) -> bytes:
    """The Per-Frame Functional Groups Sequence of equal items with these values."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, group)
    encoded = buffer.getvalue()
    template = struct.pack("<HHI", 0xFFFE, 0xE000, len(encoded)) + encoded
    count = len(next(iter(values.values())))
    items = np.tile(np.frombuffer(template, np.uint8), (count, 1))
    for mark, column in values.items():
        width = column.dtype.itemsize
        wanted = mark.encode() if isinstance(mark, str) else mark.to_bytes(width, "little")
        at = template.index(wanted)
        if template.count(wanted) != 1:
            raise ValueError(f"mark {mark!r} is not in the item once")
        items[:, at : at + width] = np.ascontiguousarray(column).view(np.uint8).reshape(count, width)
    return struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, items.nbytes) + items.tobytes()


def _save(path: Path, ds: Dataset, rest: bytes) -> None:
    ds.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(rest)


def _finish_encapsulated(path: Path, ds: Dataset, groups: bytes, frames: Sequence[bytes]) -> np.ndarray:
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    _save(path, ds, groups + element)
    table = path.stat().st_size
    with path.open("ab") as file:
        file.write(encapsulate(list(frames)))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    lengths = np.array([len(frame) for frame in frames])
    padded = lengths + lengths % 2 + 8
    starts = table + 8 + 4 * len(frames) + 8 + np.concatenate([[0], np.cumsum(padded[:-1])])
    return np.stack([starts, lengths], axis=1)
