"""Segmentations of any maker, read into columns: which segment, which plane and which bytes each frame has."""

from __future__ import annotations

import io
import mmap
import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import Buffer, FileView, NotLean, decode_number_strings, items_of
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.functional_groups import GROUP_TAGS, read_frame_groups, read_item
from dicom_ml.encoding.writer import dataset_bytes, file_head
from dicom_ml.errors import DicomMLError, FileError, GeometryError
from dicom_ml.geometry import Grid, affine_from_plane, stack_planes
from dicom_ml.objects.segmentation.descriptions import Segment
from dicom_ml.objects.segmentation.header import BINARY_STORAGE, LABELMAP_STORAGE

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["StoredSegmentation", "read_stored"]

_COLUMNS = ("position", "orientation", "pixel_spacing", "slice_thickness", "slice_spacing", "segment")
_SHARED_GROUPS, _FRAME_GROUPS = 0x52009229, 0x52009230
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
FloatArray = npt.NDArray[np.float64]


class StoredSegmentation:
    """A segmentation file seen through its bytes; nothing is decoded before it is asked for.

    Attributes
    ----------
    kind : str
    rows, columns, frame_count, maximum : int
    padding : int or None
        Pixel Padding Value of a label map: its background.
    segments : list of Segment
    segment_of : ndarray of int, shape (N,)
        Index into :attr:`segments` of each frame; -1 for label maps.
    frames : FrameIndex
    """

    def __init__(self, data: Buffer, name: str, origin: str | bytes) -> None:
        self.name = name
        self._origin = origin
        self._data = data
        self._view = view = _view_of(data)
        self._data = view.data
        self.kind = self._kind()
        self.rows, self.columns = self._integer(0x00280010, "Rows"), self._integer(0x00280011, "Columns")
        self.frame_count = self._count()
        self.maximum = view.integer(0x0062000E, 255) or 255
        self.padding = view.integer(0x00280120)
        self.sop_class_uid = view.text(0x00080016)
        self.sop_instance_uid = view.text(0x00080018)
        self.study_instance_uid = view.text(0x0020000D)
        self.series_instance_uid = view.text(0x0020000E)
        self.frame_of_reference_uid = view.text(0x00200052)
        self.fractional_type = view.text(0x00620010)
        self._groups = self._read_groups()
        self.all_segments = self._read_segments()
        self.segments = [s for s in self.all_segments if not self._is_background(s)]
        self.segment_of = self._read_segment_of()

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self._origin, self.name)

    # ------------------------------------------------------------------ header
    def _fail(self, what: str) -> FileError:
        return FileError(f"{self.name}: {what}")

    def _kind(self) -> str:
        view = self._view
        sop_class, modality = view.text(0x00080016), view.text(0x00080060)
        if sop_class not in (BINARY_STORAGE, LABELMAP_STORAGE):
            raise self._fail(
                f"is no DICOM Segmentation: its SOP class is {sop_class or 'missing'}, modality {modality or 'missing'}"
            )
        kind = view.text(0x00620001).lower()
        if sop_class == LABELMAP_STORAGE and kind != "labelmap":
            if kind:
                raise self._fail(f"is a Label Map Segmentation but says its Segmentation Type is {kind.upper()}")
            kind = "labelmap"
        if not kind:
            bits = view.integer(0x00280100)
            if bits != 1:
                raise self._fail("has no Segmentation Type, so its 8-bit values cannot be understood")
            kind = "binary"
        if kind not in ("binary", "fractional", "labelmap"):
            raise self._fail(f"has Segmentation Type {kind.upper()}; known are BINARY, FRACTIONAL and LABELMAP")
        if 0x00480006 in view:
            raise self._fail(
                "is a segmentation of a slide, tiled over a total pixel matrix; it has no volume, "
                "and read_segmentation reads volumes"
            )
        return kind

    def _integer(self, tag: int, what: str) -> int:
        value = self._view.integer(tag)
        if not value:
            raise self._fail(f"{what} is missing or zero")
        return value

    def _count(self) -> int:
        text = self._view.text(0x00280008)
        try:
            return int(text) if text else 1
        except ValueError:
            raise self._fail(f"Number of Frames is {text!r}, no number") from None

    def _read_groups(self) -> dict[str, list[bytes | None]]:
        view, wanted = self._view, {name: GROUP_TAGS[name] for name in _COLUMNS}
        per_frame, shared = view.places.get(_FRAME_GROUPS), view.places.get(_SHARED_GROUPS)
        count, result = 0, {name: [] for name in wanted}  # type: tuple[int, dict[str, list[bytes | None]]]
        if per_frame is not None:
            count, result = read_frame_groups(self._data, per_frame[1], per_frame[2], view.implicit, wanted)
        if count != self.frame_count:
            if count == 0 and self.frame_count == 1:
                result = {name: [None] for name in wanted}
            else:
                raise self._fail(
                    f"has {self.frame_count} frames but functional groups of {count}: it cannot be said which is which"
                )
        if shared is not None:
            for start, end in items_of(self._data, shared[1], shared[2], view.implicit):
                for name, value in read_item(self._data, start, end, view.implicit, wanted).items():
                    if value is not None:
                        result[name] = [value if own is None else own for own in result[name]]
                break
        return result

    @cached_property
    def _header(self) -> Dataset:
        """Everything but frames, by pydicom: only the small sequences are read from it."""
        from pydicom import dcmread

        head = self._small_file()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds: Dataset = dcmread(head, force=True)
        return ds

    def _small_file(self) -> io.BytesIO:
        """The file without per-frame groups and pixel data, which pydicom would parse element by element."""
        view, data = self._view, self._data
        end = view.pixels[1][1] - 12 if view.pixels else len(data)
        place = view.places.get(_FRAME_GROUPS)
        if place is not None:
            end = min(end, place[1] - (8 if view.implicit else 12))
        return io.BytesIO(bytes(data[:end]))

    def _read_segments(self) -> list[Segment]:
        sequence = self._header.get("SegmentSequence")
        if not sequence:
            raise self._fail("describes no segments (Segment Sequence is missing or empty)")
        segments = []
        for place, item in enumerate(sequence, start=1):
            if item.get("SegmentNumber") is None:
                raise self._fail(f"the {place}. described segment has no Segment Number")
            segments.append(Segment.from_dataset(item))
        numbers = [s.number for s in segments]
        if len(set(numbers)) != len(numbers):
            raise self._fail(f"two segments share a Segment Number: {numbers}")
        return sorted(segments, key=lambda s: s.number or 0)

    def _is_background(self, segment: Segment) -> bool:
        """Whether a described label stands for the background of a label map."""
        if self.kind != "labelmap":
            return False
        if self.padding is not None and segment.number == self.padding:
            return True
        return segment.number == 0 and (segment.type.scheme, segment.type.value) == ("DCM", "125040")

    def _read_segment_of(self) -> npt.NDArray[np.intp]:
        if self.kind == "labelmap":
            return np.full(self.frame_count, -1, dtype=np.intp)
        place = {s.number: i for i, s in enumerate(self.segments)}
        known: dict[bytes | None, int] = {}
        for value in set(self._groups["segment"]):
            if value is None:
                if len(self.segments) != 1:
                    raise self._fail("a frame does not say which segment it belongs to")
                known[value] = 0
                continue
            number = int.from_bytes(value[:2], "little")
            if number not in place:
                raise self._fail(
                    f"frames refer to segment {number}, which is not described (described: {sorted(place, key=str)})"
                )
            known[value] = place[number]
        return np.array([known[v] for v in self._groups["segment"]], dtype=np.intp)

    # ------------------------------------------------------------------ references
    @cached_property
    def referenced_series(self) -> dict[str, list[str]]:
        """SOP Instance UIDs by series UID; those whose series is not named stand under an empty UID."""
        found: dict[str, list[str]] = {}
        header = self._header
        studies = [
            s.get("ReferencedSeriesSequence") or []
            for s in header.get("StudiesContainingOtherReferencedInstancesSequence") or []
        ]
        for series in [*(header.get("ReferencedSeriesSequence") or []), *(s for study in studies for s in study)]:
            listed = found.setdefault(str(series.get("SeriesInstanceUID") or ""), [])
            for item in [
                *(series.get("ReferencedInstanceSequence") or []),
                *(series.get("ReferencedSOPSequence") or []),
            ]:
                listed.append(str(item.get("ReferencedSOPInstanceUID") or ""))
        known = {uid for uids in found.values() for uid in uids}
        extra = [uid for uid in self.source_instances if uid and uid not in known]
        if extra:
            found.setdefault("", []).extend(dict.fromkeys(extra))
        return found

    @cached_property
    def source_instances(self) -> list[str]:
        """SOP Instance UID of the first source image of each frame; empty where a frame names none."""
        place = self._view.places.get(_FRAME_GROUPS)
        if place is None:
            return [""] * self.frame_count
        wanted = {"source": GROUP_TAGS["source_instance"]}
        _, columns = read_frame_groups(self._data, place[1], place[2], self._view.implicit, wanted)
        return [(v or b"").decode("latin-1").strip("\0 ") for v in columns["source"]]

    # ------------------------------------------------------------------ geometry
    def _numbers(self, column: str, count: int) -> list[tuple[float, ...] | None]:
        try:
            return decode_number_strings(self._groups[column], count)
        except NotLean as error:
            raise self._fail(f"{column.replace('_', ' ')} of a frame is malformed: {error}") from error

    @cached_property
    def planes(self) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray, FloatArray]:
        """Which distinct plane each frame lies on, and the planes' positions, orientations and pixel spacings.

        Raises
        ------
        FileError
            If a frame has no position, orientation or spacing.
        """
        columns = {"position": 3, "orientation": 6, "pixel_spacing": 2}
        values = {name: self._numbers(name, count) for name, count in columns.items()}
        for name, column in values.items():
            missing = sum(v is None for v in column)
            if missing:
                raise self._fail(
                    f"{missing} of {self.frame_count} frames have no {name.replace('_', ' ')}, "
                    "so the object has no place in patient space"
                )
        keys: dict[tuple[float, ...], int] = {}
        plane_of = np.empty(self.frame_count, dtype=np.intp)
        rows = zip(values["position"], values["orientation"], values["pixel_spacing"], strict=True)
        for i, (position, orientation, spacing) in enumerate(rows):
            key = (*(position or ()), *(orientation or ()), *(spacing or ()))
            plane_of[i] = keys.setdefault(key, len(keys))
        table = np.array(list(keys), dtype=np.float64)
        if not np.isfinite(table).all() or (table[:, 9:] <= 0).any():
            raise self._fail("positions, orientations or pixel spacings of frames are not finite positive numbers")
        return plane_of, table[:, :3], table[:, 3:9], table[:, 9:]

    def _first_number(self, column: str) -> float | None:
        value = self._numbers(column, 1)[0] if self._groups[column][0] else None
        return None if value is None or not value[0] > 0 else value[0]

    @cached_property
    def grid(self) -> Grid:
        """The object's own lattice, proved from the positions of its frames.

        Raises
        ------
        GeometryError
            If the frames do not lie on one regular stack.
        """
        _, positions, orientations, spacings = self.planes
        if np.abs(orientations - orientations[0]).max() > 1e-3 or np.abs(spacings - spacings[0]).max() > 1e-4:
            raise GeometryError(
                f"{self.name}: its frames have several orientations or pixel spacings and form no single grid; "
                "pass the grid of the images, label_map(on=volume)"
            )
        stack = stack_planes(positions, orientations[0])
        hint = self._first_number("slice_spacing") or self._first_number("slice_thickness")
        if stack.spacing == 0:
            step: float | FloatArray = hint or 1.0
            count, start = 1, positions[0]
        elif not stack.regular:
            raise GeometryError(
                f"{self.name}: its planes are not equally spaced (up to {stack.residual:.3f} mm off); "
                "pass the grid of the images, label_map(on=volume)"
            )
        else:
            # sparse frames may all lie several slices apart: then the stated spacing tells the slices between
            times = stack.spacing / hint if hint and self._first_number("slice_spacing") else 1.0
            whole = max(1, round(times))
            whole = whole if abs(times - whole) <= 0.02 * whole else 1
            step, count = stack.step / whole, (stack.count - 1) * whole + 1
            start = positions[int(stack.order[0])]
        affine = affine_from_plane(start, orientations[0], spacings[0], step)
        return Grid((count, self.rows, self.columns), affine)

    # ------------------------------------------------------------------ pixels
    @cached_property
    def frames(self) -> FrameIndex:
        """Where the frames are."""
        view = self._view
        if view.pixels is None:
            raise self._fail("has no pixel data")
        bits = self._integer(0x00280100, "Bits Allocated")
        if (self.kind == "binary") != (bits == 1):
            raise self._fail(f"is {self.kind.upper()} with {bits} bits allocated; BINARY has 1, the others 8 or 16")
        info = FrameInfo(
            self.rows,
            self.columns,
            bits_allocated=bits,
            bits_stored=view.integer(0x00280101, bits) or bits,
            high_bit=view.integer(0x00280102, bits - 1) or bits - 1,
            transfer_syntax_uid=view.transfer_syntax,
        )
        _, (_, offset, length) = view.pixels
        try:
            return FrameIndex.from_buffer(
                self._data,
                offset,
                length,
                info,
                self.frame_count,
                extended_offsets=view.raw(_EXTENDED_OFFSETS),
                extended_lengths=view.raw(_EXTENDED_LENGTHS),
            )
        except DicomMLError as error:
            raise self._fail(str(error)) from error

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        from pydicom import dcmread

        ds: Dataset = dcmread(io.BytesIO(bytes(self._data)), force=True)
        return ds


# ---------------------------------------------------------------------- opening
def read_stored(source: str | os.PathLike[str] | bytes) -> StoredSegmentation:
    """Open a segmentation from a path or from the bytes of a file.

    Raises
    ------
    FileError
        If it is no segmentation, or contradicts itself.
    """
    if isinstance(source, bytes):
        return _open(source, "segmentation")
    return _open(os.fspath(source), Path(source).name)


def _open(origin: str | bytes, name: str) -> StoredSegmentation:
    data: Buffer
    if isinstance(origin, bytes):
        data = origin
    else:
        try:
            with open(origin, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise FileError(f"{name}: the file is empty")
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise FileError(f"{name}: cannot be opened: {error.strerror or error}") from error
    try:
        return StoredSegmentation(data, name, origin)
    except FileError as error:
        raise error if str(error).startswith(name) else FileError(f"{name}: {error}") from error
    except NotLean as error:
        raise FileError(f"{name}: its elements cannot be walked ({error}); the file is damaged") from error


def _view_of(data: Buffer) -> FileView:
    try:
        return FileView(data)
    except NotLean:
        return FileView(_rewritten(data))


def _rewritten(data: Buffer) -> bytes:
    """The file in explicit VR little endian, where only pydicom can parse it."""
    from pydicom import dcmread
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(io.BytesIO(bytes(data)), force=True)
            if "SOPClassUID" not in ds:
                raise FileError("no DICOM file: it has neither a preamble nor a SOP Class UID")
            syntax = getattr(ds.file_meta, "TransferSyntaxUID", None)
            if syntax == ExplicitVRBigEndian and ds["PixelData"].VR == "OW":
                ds.PixelData = np.frombuffer(ds.PixelData, ">u2").astype("<u2").tobytes()
            if syntax is None or syntax in (
                ImplicitVRLittleEndian,
                DeflatedExplicitVRLittleEndian,
                ExplicitVRBigEndian,
            ):
                syntax = ExplicitVRLittleEndian
            for _ in ds.iterall():
                pass  # decodes every value, so that none is written back in its old byte order
            head = file_head(str(ds.SOPClassUID), str(ds.get("SOPInstanceUID", "")), str(syntax))
            return head + dataset_bytes(ds)
    except DicomMLError:
        raise
    except Exception as error:
        raise FileError(f"cannot be parsed as DICOM: {type(error).__name__}: {error}") from error
