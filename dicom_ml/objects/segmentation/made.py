"""A segmentation of a volume made from a mask, which is encoded only when it is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import BinaryIO

from dicom_ml.encoding.codecs import transfer_syntax
from dicom_ml.encoding.writer import file_head
from dicom_ml.errors import EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.objects.derived import Description, header_bytes
from dicom_ml.objects.segmentation.descriptions import Segment
from dicom_ml.objects.segmentation.header import Coding, header_dataset, segment_frame_groups
from dicom_ml.objects.segmentation.masks import Mask
from dicom_ml.objects.segmentation.writing import FramePlan, plan_frames, write_frames
from dicom_ml.source import SourceSeries

__all__ = ["MadeSegmentation"]


class MadeSegmentation:
    """A segmentation made from a mask, which is encoded only when it is written."""

    def __init__(
        self,
        mask: Mask,
        source: SourceSeries,
        segments: list[Segment],
        description: Description,
        coding: Coding,
        grid: Grid,
        on_source: bool,
        keep_empty: bool,
    ) -> None:
        self.mask = mask
        self.source = source
        self.segments = segments
        self.description = description
        self.grid = grid
        self.on_source = on_source
        self.kind = coding.kind
        self.plan: FramePlan = plan_frames(mask, self.kind == "labelmap", keep_empty)
        self.frame_count = self.plan.count
        self.sop_instance_uid = description.sop_instance_uid
        self.series_instance_uid = description.series_instance_uid
        self.referenced_series = {source.series_instance_uid: list(source.instances)}
        self.coding = replace(coding, overlap=None if self.kind == "fractional" else mask.overlap())
        if self.kind == "labelmap" and self.coding.overlap:
            raise EncodingError(
                "channels overlap, which one number a voxel cannot say; pass kind='binary', which keeps overlapping "
                "segments, or decide each voxel first (argmax)"
            )

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID of the source."""
        return self.source.frame_of_reference_uid

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        head = header_dataset(
            self.source, self.segments, self.description, self.coding, self.grid, self.on_source, self.frame_count
        )
        numbers = None if self.kind == "labelmap" else [int(s.number or 0) for s in self.segments]
        groups = segment_frame_groups(
            self.source, self.grid, self.on_source, numbers, self.plan.segment_of, self.plan.slice_of
        )
        start = file_head(self.coding.sop_class_uid, self.sop_instance_uid, syntax)
        file.write(start + header_bytes(head, self.source) + groups)
        write_frames(file, self.mask, self.plan, self.coding, syntax)

    def in_memory(self) -> bytes:
        """The file, native, as bytes."""
        with tempfile.TemporaryFile(buffering=0) as file:
            self.write(file, transfer_syntax(None))
            file.seek(0)
            return file.read()
