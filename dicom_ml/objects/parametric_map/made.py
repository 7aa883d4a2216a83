"""A parametric map of a volume on its way to a file: what it is described by, and how it is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames, file_head
from dicom_ml.errors import EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    declare_characters,
    frame_groups,
    header_bytes,
    plane_groups,
)
from dicom_ml.objects.parametric_map.header import (
    BY_POSITION,
    BY_QUANTITY,
    add_map_groups,
    add_map_image,
    check_syntax,
    mapping_elements,
    pixel_element,
)
from dicom_ml.objects.parametric_map.values import Quantity, Storage, store
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["MadeMap", "described", "seed_of"]


def described(
    quantities: Sequence[Quantity], algorithm: Algorithm | None, derivation: Any, qualification: str
) -> tuple[dict[str, Any], Code]:
    """Defaults of the description, and the derivation's code."""
    if qualification not in ("PRODUCT", "RESEARCH", "SERVICE"):
        raise EncodingError(f"qualification is PRODUCT, RESEARCH or SERVICE, found {qualification!r}")
    defaults = {"series_description": "Parametric map", "content_label": "PARAMETRIC_MAP"}
    if algorithm is not None:
        defaults |= {"model": algorithm.name, "software_versions": algorithm.version}
    return defaults, parse_code(derivation) if derivation is not None else quantities[0].concept


def seed_of(source: SourceSeries, quantities: Sequence[Quantity], storage: Storage, *more: Any) -> tuple[Any, ...]:
    """What deterministic UIDs are derived from."""
    names = [(q.concept.sct.scheme, q.concept.sct.value, q.unit.value, q.label) for q in quantities]
    return ("pm", source.series_instance_uid, *source.sop_instance_uids, repr(names), storage.dtype.name, *more)


class MadeMap:
    """A parametric map made from an array, which is encoded only when it is written."""

    def __init__(
        self,
        values: npt.NDArray[Any],
        source: SourceSeries,
        quantities: list[Quantity],
        storage: Storage,
        description: Description,
        grid: Grid,
        on_source: bool,
        derivation: Code,
        qualification: str,
    ) -> None:
        self.qualification = qualification
        self.values = values
        self.source = source
        self.quantities = quantities
        self.storage = storage
        self.description = description
        self.grid = grid
        self.on_source = on_source
        self.derivation = derivation
        self.frame_count = values.shape[0] * values.shape[1]
        self.sop_instance_uid = description.sop_instance_uid
        self.series_instance_uid = description.series_instance_uid
        self.frame_of_reference_uid = source.frame_of_reference_uid
        self.referenced_series = {source.series_instance_uid: list(source.instances)}

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        check_syntax(self.storage, syntax)
        channels, depth = self.values.shape[:2]
        slice_of = np.tile(np.arange(depth), channels)
        channel_of = np.repeat(np.arange(channels), depth)
        identities = mapping_elements(self.quantities, self.storage) if channels > 1 else []
        groups = frame_groups(
            self.source,
            self.grid,
            self.on_source,
            self.derivation,
            slice_of,
            channel_of if channels > 1 else None,
            identities,
        )
        start = file_head(sop.PARAMETRIC_MAP, self.sop_instance_uid, syntax)
        file.write(start + header_bytes(self._header(), self.source) + groups)
        self._write_frames(file, syntax)

    def _header(self) -> Dataset:
        ds = copied_dataset(self.source)
        add_series(ds, self.source, self.description, self.source.modality or "OT")
        add_map_image(ds, self.storage, self.qualification, self.frame_count)
        ds.Rows, ds.Columns = self.grid.shape[1], self.grid.shape[2]
        add_dimensions(ds, self.description, [BY_POSITION] if len(self.quantities) == 1 else [BY_QUANTITY, BY_POSITION])
        groups = plane_groups(self.source, self.grid, self.on_source, self.derivation)
        add_map_groups(groups, self.quantities, self.storage)
        ds.SharedFunctionalGroupsSequence = [groups]
        declare_characters(ds)
        return ds

    def _frames(self) -> Iterator[npt.NDArray[Any]]:
        for channel in range(self.values.shape[0]):
            for plane in self.values[channel]:
                yield store(plane, self.storage, channel)

    def _write_frames(self, file: BinaryIO, syntax: str) -> None:
        if is_encapsulated(syntax):
            bits = 8 * self.storage.dtype.itemsize
            info = FrameInfo(self.grid.shape[1], self.grid.shape[2], bits_allocated=bits, transfer_syntax_uid=syntax)
            raw = self.values.size * self.storage.dtype.itemsize
            sink = EncapsulatedFrames(file, self.frame_count, extended=raw > EXTENDED_FROM)
            for data in encode_ahead(lambda frame: encode_frame(frame, info), self._frames()):
                sink.append(data)
            sink.close()
            return
        tag, vr = pixel_element(self.storage)
        native = NativeFrames(file, vr, self.values.size * self.storage.dtype.itemsize, tag)
        offset = 0
        for frame in self._frames():
            native.write(offset, frame.data)
            offset += frame.nbytes
        native.close()
