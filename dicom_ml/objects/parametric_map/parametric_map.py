"""Parametric maps of volumes: real numbers a voxel, with what they mean (PS3.3 A.75, C.8.32)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated, transfer_syntax
from dicom_ml.encoding.writer import (
    EncapsulatedFrames,
    NativeFrames,
    atomic_file,
    dataset_bytes,
    file_head,
    sequence_bytes,
)
from dicom_ml.errors import CodeError, EncodingError
from dicom_ml.geometry import Grid
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.derived import (
    Description,
    add_dimensions,
    add_series,
    copied_dataset,
    declare_characters,
    describe,
    fit_to_source,
    frame_groups,
    header_bytes,
    plane_groups,
)
from dicom_ml.objects.parametric_map.reading import PARAMETRIC_MAP_STORAGE, StoredMap, place_values, read_stored
from dicom_ml.objects.parametric_map.values import Quantity, Storage, choose_storage, mapping_dataset, store, window
from dicom_ml.objects.pixels import EXTENDED_FROM, encode_ahead
from dicom_ml.objects.placing import target_of
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ParametricMap", "read_parametric_map"]

PARAMETRIC_MAP = PARAMETRIC_MAP_STORAGE
_BY_QUANTITY = (0x00409210, 0x00409096, "Quantity")
_BY_POSITION = (0x00200032, 0x00209113, "Image Position Patient")
_PIXEL_TAGS = {"f4": (0x7FE00008, "OF"), "f8": (0x7FE00009, "OD"), "u2": (0x7FE00010, "OW")}


class ParametricMap:
    """A DICOM Parametric Map: made by :meth:`from_array`, or read by :func:`read_parametric_map`."""

    def __init__(self, content: _Made | StoredMap) -> None:
        self._content = content

    # ------------------------------------------------------------------ making
    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        source: Any,
        quantity: Any,
        unit: Any = "1",
        dtype: str | None = None,
        value_range: Sequence[float] | None = None,
        padding: float | None = None,
        affine: npt.ArrayLike | None = None,
        algorithm: Algorithm | None = None,
        derivation: Any = None,
        qualification: str = "RESEARCH",
        deterministic: bool = False,
        **settings: Any,
    ) -> ParametricMap:
        """Describe an array of real values as a parametric map of its source.

        Parameters
        ----------
        array : numpy.ndarray or torch.Tensor
            Real values, ``(D, H, W)`` or ``(C, D, H, W)`` with a channel a quantity. It is not copied: it must not
            change before the object has been saved.
        source : Volume, SourceSeries, str or list of pydicom Dataset
            The images that the values were made from.
        quantity : code, Quantity or sequence of either
            What is measured; one for each channel.
        unit : code or sequence of code
            UCUM unit of each quantity that is given as a code; ``"1"`` for none.
        dtype : str, optional
            How values are stored: ``"float32"`` or ``"float64"`` as they are, ``"uint16"`` in even steps between the
            lowest and the highest value. By default integers that fit are stored as they are, the rest as float32.
        value_range : sequence of 2 floats, optional
            Real values that the lowest and highest stored integers stand for.
        padding : float, optional
            Number that stands for voxels without a value, which are NaN in the array; floating point maps only.
        affine : array_like of shape (4, 4), optional
            Of an array on a grid of its own, as in :meth:`Segmentation.from_array`.
        algorithm : Algorithm, optional
            What computed the values: written as the equipment's model and software version.
        derivation : code, optional
            How values were derived (PS3.16 CID 7203); by default the quantity itself.
        qualification : str
            Content Qualification: ``"PRODUCT"``, ``"RESEARCH"`` or ``"SERVICE"``; what no regulator has cleared is
            research.
        deterministic : bool
            Derive the object's UIDs from source, quantities and settings.
        **settings
            As in :class:`dicom_ml.objects.derived.Description`.

        Raises
        ------
        EncodingError
            If values are not finite, do not fit into ``dtype``, or quantities do not match the channels.
        GeometryError
            If the shape is not that of the source's grid.
        """
        record = as_source(source).check()
        values = as_array(array)
        if values.ndim == 3:
            values = values[None]
        if values.ndim != 4 or values.size == 0:
            raise EncodingError(f"a parametric map is (D, H, W) or (C, D, H, W), found shape {np.shape(array)}")
        quantities = _quantities(quantity, unit, len(values))
        storage = choose_storage(values, dtype, value_range, padding)
        grid, values, on_source = fit_to_source(values, record, affine)
        defaults = {"series_description": "Parametric map", "content_label": "PARAMETRIC_MAP"}
        if algorithm is not None:
            defaults |= {"model": algorithm.name, "software_versions": algorithm.version}
        names = [(q.concept.sct.scheme, q.concept.sct.value, q.unit.value, q.label) for q in quantities]
        seed = ("pm", record.series_instance_uid, *record.sop_instance_uids, repr(names), storage.dtype.name)
        described = describe(settings, defaults, seed if deterministic else None)
        if qualification not in ("PRODUCT", "RESEARCH", "SERVICE"):
            raise EncodingError(f"qualification is PRODUCT, RESEARCH or SERVICE, found {qualification!r}")
        code = parse_code(derivation) if derivation is not None else quantities[0].concept
        return cls(_Made(values, record, quantities, storage, described, grid, on_source, code, qualification))

    # ------------------------------------------------------------------ facts
    @property
    def quantities(self) -> list[Quantity]:
        """What each channel measures."""
        return list(self._content.quantities)

    @property
    def grid(self) -> Grid:
        """Lattice of the stored planes."""
        return self._content.grid

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return self._content.sop_instance_uid

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the object itself."""
        return self._content.series_instance_uid

    @property
    def referenced_series(self) -> dict[str, list[str]]:
        """Series UID of each referenced series, and the SOP Instance UIDs referenced in it."""
        return self._content.referenced_series

    @property
    def frame_count(self) -> int:
        """Number of stored frames."""
        return self._content.frame_count

    def __repr__(self) -> str:
        names = ", ".join(f"{q.label or q.concept.meaning} [{q.unit.value}]" for q in self.quantities)
        return f"ParametricMap({names}; {self.frame_count} frames)"

    # ------------------------------------------------------------------ values
    def channels(
        self,
        on: Any = None,
        quantities: Sequence[Any] | None = None,
        *,
        fill: float = 0.0,
        outside: str = "error",
        resample: bool = False,
    ) -> npt.NDArray[Any]:
        """Real values, one channel a quantity.

        Parameters
        ----------
        on : Volume, SourceSeries or Grid, optional
            Grid of the result; by default the object's own.
        quantities : sequence of int, str or code, optional
            Only these, by place from 0, label or concept.
        fill : float
            Value where no frame lies.
        outside, resample
            As in :meth:`Segmentation.label_map`.

        Returns
        -------
        ndarray of shape (C, D, H, W)
            float32 (float64 where so stored); NaN at the padding value.
        """
        stored = self._stored()
        chosen = _chosen(self.quantities, quantities)
        return place_values(stored, target_of(stored, on, outside, resample), chosen, fill)

    def array(self, on: Any = None, quantity: Any = None, **options: Any) -> npt.NDArray[Any]:
        """Real values of one quantity, ``(D, H, W)``; options as in :meth:`channels`.

        Raises
        ------
        EncodingError
            If there are several quantities and none was named.
        """
        if quantity is None and len(self.quantities) > 1:
            names = [q.label for q in self.quantities]
            raise EncodingError(f"the map has {len(names)} quantities, {names}; say which: array(quantity=...)")
        channel: npt.NDArray[Any] = self.channels(on, [0 if quantity is None else quantity], **options)[0]
        return channel

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], compression: str | None = None) -> str:
        """Write the object; the file takes its name only when it is complete.

        Parameters
        ----------
        path : path
        compression : str, optional
            As in :meth:`Segmentation.save`; maps of integers only, since the standard has no compressed floats.
        """
        if isinstance(self._content, StoredMap):
            raise EncodingError("an object that was read is saved as pydicom has it: pm.dataset.save_as(path)")
        with atomic_file(path) as file:
            self._content.write(file, transfer_syntax(compression))
        return os.fspath(path)

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        return self._stored().dataset

    def _stored(self) -> StoredMap:
        if isinstance(self._content, StoredMap):
            return self._content
        with tempfile.TemporaryFile(buffering=0) as file:
            self._content.write(file, transfer_syntax(None))
            file.seek(0)
            return read_stored(file.read())


class _Made:
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
        self.referenced_series = {source.series_instance_uid: list(source.instances)}

    def write(self, file: BinaryIO, syntax: str) -> None:
        """Write the whole file."""
        if is_encapsulated(syntax) and self.storage.is_float:
            raise EncodingError(
                "floating point pixel data cannot be compressed (PS3.5 8.2); leave compression out, or store the map "
                "with dtype='uint16'"
            )
        channels, depth = self.values.shape[:2]
        slice_of = np.tile(np.arange(depth), channels)
        channel_of = np.repeat(np.arange(channels), depth)
        identities = self._mappings() if channels > 1 else []
        groups = frame_groups(
            self.source,
            self.grid,
            self.on_source,
            self.derivation,
            slice_of,
            channel_of if channels > 1 else None,
            identities,
        )
        start = file_head(PARAMETRIC_MAP, self.sop_instance_uid, syntax)
        file.write(start + header_bytes(self._header(), self.source) + groups)
        self._write_frames(file, syntax)

    def _mappings(self) -> list[bytes]:
        """Real World Value Mapping of each channel, for its frames."""
        items = (mapping_dataset(q, self.storage, c) for c, q in enumerate(self.quantities))
        return [sequence_bytes(0x00409096, [dataset_bytes(item)]) for item in items]

    def _header(self) -> Dataset:
        from pydicom import Dataset

        ds = copied_dataset(self.source)
        ds.SOPClassUID = PARAMETRIC_MAP
        add_series(ds, self.source, self.description, self.source.modality or "OT")
        ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
        ds.PixelPresentation = "MONOCHROME"
        ds.ContentQualification = self.qualification
        ds.AcquisitionContextSequence = []
        if "LossyImageCompression" not in ds:
            ds.LossyImageCompression = "00"
        ds.BurnedInAnnotation = ds.RecognizableVisualFeatures = "NO"
        ds.PresentationLUTShape = "IDENTITY"
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.NumberOfFrames = self.frame_count
        ds.Rows, ds.Columns = self.grid.shape[1], self.grid.shape[2]
        bits = 8 * self.storage.dtype.itemsize
        ds.BitsAllocated = bits
        if self.storage.is_float:
            if self.storage.padding is not None:
                prefix = "Float" if bits == 32 else "DoubleFloat"
                setattr(ds, f"{prefix}PixelPaddingValue", self.storage.padding)
                # the range of values that stand for no value holds just this one
                setattr(ds, f"{prefix}PixelPaddingRangeLimit", self.storage.padding)
        else:
            ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
        indices = [_BY_POSITION] if len(self.quantities) == 1 else [_BY_QUANTITY, _BY_POSITION]
        add_dimensions(ds, self.description, indices)
        groups = plane_groups(self.source, self.grid, self.on_source, self.derivation)
        kind, transformation, voi = Dataset(), Dataset(), Dataset()
        kind.FrameType = list(ds.ImageType)
        groups.ParametricMapFrameTypeSequence = [kind]
        transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = "0", "1", "US"
        groups.PixelValueTransformationSequence = [transformation]
        voi.WindowCenter, voi.WindowWidth = window(self.storage)
        voi.VOILUTFunction = "LINEAR_EXACT"
        groups.FrameVOILUTSequence = [voi]
        if len(self.quantities) == 1:
            groups.RealWorldValueMappingSequence = [mapping_dataset(self.quantities[0], self.storage, 0)]
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
        tag, vr = _PIXEL_TAGS[self.storage.dtype.str[1:]]
        native = NativeFrames(file, vr, self.values.size * self.storage.dtype.itemsize, tag)
        offset = 0
        for frame in self._frames():
            native.write(offset, frame.data)
            offset += frame.nbytes
        native.close()


def read_parametric_map(path: str | os.PathLike[str] | bytes) -> ParametricMap:
    """Read a parametric map of a volume, of any maker.

    Raises
    ------
    FileError
        If it is no parametric map of a volume, or contradicts itself.
    """
    return ParametricMap(read_stored(path))


def _quantities(quantity: Any, unit: Any, channels: int) -> list[Quantity]:
    several = isinstance(quantity, list) or (
        isinstance(quantity, tuple) and not all(isinstance(part, str) for part in quantity)
    )
    listed = list(quantity) if several else [quantity]
    units = list(unit) if isinstance(unit, list) else [unit] * len(listed)
    if len(listed) != channels or len(units) != len(listed):
        raise EncodingError(f"the map has {channels} channels, {len(listed)} quantities and {len(units)} units")
    found = [q if isinstance(q, Quantity) else Quantity(q, u) for q, u in zip(listed, units, strict=True)]
    labels = [q.label for q in found]
    if len(set(labels)) != len(labels):
        raise EncodingError(f"quantities need labels that differ, found {labels}; pass Quantity(..., label=...)")
    return found


def _chosen(quantities: Sequence[Quantity], wanted: Sequence[Any] | None) -> list[int]:
    if wanted is None:
        return list(range(len(quantities)))
    found = []
    for want in wanted:
        if isinstance(want, int):
            hits = [want] if 0 <= want < len(quantities) else []
        else:
            hits = [i for i, q in enumerate(quantities) if isinstance(want, str) and q.label == want]
            if not hits:
                try:
                    code = parse_code(want)
                    hits = [i for i, q in enumerate(quantities) if q.concept == code]
                except CodeError:
                    hits = []
        if len(hits) != 1:
            raise CodeError(f"{len(hits)} quantities are {want!r}; the map has {[q.label for q in quantities]}")
        found.append(hits[0])
    return found
