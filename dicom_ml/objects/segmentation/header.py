"""The data set of a segmentation without its frames: modules, segments, functional groups (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.writer import element_bytes, sequence_bytes
from dicom_ml.geometry import Grid
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    declare_characters,
    frame_groups,
    plane_groups,
)
from dicom_ml.objects.segmentation.descriptions import Segment
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "Coding",
    "add_segmentation_image",
    "add_segments",
    "header_dataset",
    "segment_frame_groups",
]

_BACKGROUND = Code("125040", "DCM", "Background")
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_BY_SEGMENT = (0x0062000B, 0x0062000A, "Segment Number")
_BY_POSITION = (0x00200032, 0x00209113, "Image Position Patient")


@dataclass(frozen=True)
class Coding:
    """How values of a segmentation are stored.

    Parameters
    ----------
    kind : str
        ``"binary"``, ``"labelmap"`` or ``"fractional"``.
    bits : int
        Bits Allocated: 1, 8 or 16.
    fractional_type : str
        ``"PROBABILITY"`` or ``"OCCUPANCY"``.
    maximum : int
        Maximum Fractional Value, 1 to 255.
    overlap : bool or None
        Whether segments overlap; None where not known.
    """

    kind: str
    bits: int
    fractional_type: str = "PROBABILITY"
    maximum: int = 255
    overlap: bool | None = None

    @property
    def sop_class_uid(self) -> str:
        """SOP class of the object."""
        return sop.LABEL_MAP_SEGMENTATION if self.kind == "labelmap" else sop.SEGMENTATION


def header_dataset(
    source: SourceSeries,
    segments: Sequence[Segment],
    description: Description,
    coding: Coding,
    grid: Grid,
    on_source: bool,
    frame_count: int,
) -> Dataset:
    """The data set up to Per-Frame Functional Groups, but for the references that ``header_bytes`` adds.

    Parameters
    ----------
    source : SourceSeries
    segments : sequence of Segment
        Numbered.
    description : Description
    coding : Coding
    grid : Grid
        Of the mask.
    on_source : bool
        Whether the grid's slices are the source's.
    frame_count : int
    """
    ds = copied_dataset(source)
    ds.SOPClassUID = coding.sop_class_uid
    add_series(ds, source, description, "SEG")
    add_segmentation_image(ds, coding, frame_count)
    ds.Rows, ds.Columns = grid.shape[1], grid.shape[2]
    add_dimensions(ds, description, [_BY_POSITION] if coding.kind == "labelmap" else [_BY_SEGMENT, _BY_POSITION])
    add_segments(ds, source, segments, coding)
    ds.SharedFunctionalGroupsSequence = [plane_groups(source, grid, on_source, _SEGMENTATION)]
    declare_characters(ds)
    return ds


def add_segments(ds: Dataset, source: SourceSeries, segments: Sequence[Segment], coding: Coding) -> None:
    """Segment Sequence, with a background of its own for label maps."""
    ds.SegmentSequence = [s.to_dataset(int(s.number or 0), source.series_instance_uid) for s in segments]
    if coding.kind == "labelmap":
        ds.SegmentSequence = [_background(segments[0].algorithm), *ds.SegmentSequence]


def add_segmentation_image(ds: Dataset, coding: Coding, frame_count: int) -> None:
    """General Image, Image Pixel, Multi-frame and Segmentation Image modules (PS3.3 C.8.20.2)."""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    if "LossyImageCompression" not in ds:
        ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.NumberOfFrames = frame_count
    ds.BitsAllocated = ds.BitsStored = coding.bits
    ds.HighBit = coding.bits - 1
    ds.PixelRepresentation = 0
    ds.SegmentationType = coding.kind.upper()
    if coding.kind == "fractional":
        ds.SegmentationFractionalType = coding.fractional_type
        ds.MaximumFractionalValue = coding.maximum
    if coding.kind == "labelmap":
        ds.PixelPaddingValue = 0
    ds.SegmentsOverlap = "UNDEFINED" if coding.overlap is None else ("YES" if coding.overlap else "NO")


def _background(algorithm: Algorithm | None) -> Dataset:
    """Description of the value 0 of a label map, which stands for no segment."""
    item = Segment("Background", type=_BACKGROUND, category=_BACKGROUND, algorithm=algorithm).to_dataset(0, "")
    del item.TrackingID, item.TrackingUID
    return item


def segment_frame_groups(
    source: SourceSeries,
    grid: Grid,
    on_source: bool,
    numbers: Sequence[int] | None,
    segment_of: npt.NDArray[np.intp],
    slice_of: npt.NDArray[np.intp],
) -> bytes:
    """Per-Frame Functional Groups of all frames.

    Parameters
    ----------
    numbers : sequence of int or None
        Segment numbers; None for label maps, whose frames belong to no single segment.
    segment_of, slice_of : ndarray of int
        Index of the segment, and of the grid's slice, of each frame.
    """
    if numbers is None:
        return frame_groups(source, grid, on_source, _SEGMENTATION, slice_of)
    identities = [sequence_bytes(0x0062000A, [element_bytes(0x0062000B, "US", struct.pack("<H", n))]) for n in numbers]
    return frame_groups(source, grid, on_source, _SEGMENTATION, slice_of, segment_of, identities)
