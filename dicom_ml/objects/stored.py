"""Multi-frame objects of any maker, seen through their bytes: which plane and which pixels each frame has.

Nothing is decoded before it is asked for, and functional groups are read into columns. What segmentations,
parametric maps and other frames in patient space have in common stands here; each object's room adds its own.
"""

from __future__ import annotations

import io
import mmap
import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import Buffer, FileView, NotLean, decode_number_strings, items_of
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.functional_groups import GROUP_TAGS, read_frame_groups, read_item
from dicom_ml.encoding.functional_groups import Path as TagPath
from dicom_ml.encoding.untrusted import of_its_file, understood
from dicom_ml.encoding.writer import dataset_bytes, file_head
from dicom_ml.errors import DicomMLError, FileError, GeometryError
from dicom_ml.geometry import Grid, affine_from_plane, stack_planes

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["StoredFrames", "is_tiled", "open_stored"]

S = TypeVar("S", bound="StoredFrames")
T = TypeVar("T", bound="StoredFrames")
FloatArray = npt.NDArray[np.float64]

_SHARED_GROUPS, _FRAME_GROUPS = 0x52009229, 0x52009230
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_TOTAL_PIXEL_MATRIX_ROWS = 0x00480007


def is_tiled(view: FileView) -> bool:
    """Whether a file is tiled over a total pixel matrix."""
    return _TOTAL_PIXEL_MATRIX_ROWS in view


class StoredFrames:
    """A multi-frame file in patient space.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    rows, columns, frame_count : int
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid, frame_of_reference_uid : str
        Empty where the file has none.
    """

    #: What the object is called in messages.
    noun: ClassVar[str] = "multi-frame object"
    #: Values of functional groups that are read into columns.
    wanted: ClassVar[dict[str, TagPath]] = {
        name: GROUP_TAGS[name]
        for name in ("position", "orientation", "pixel_spacing", "slice_thickness", "slice_spacing")
    }

    def __init__(self, view: FileView, name: str, origin: str | bytes) -> None:
        self.name = name
        self._origin = origin
        self._view = view
        self._data = view.data
        self._check_kind()
        self.rows, self.columns = self._integer(0x00280010, "Rows"), self._integer(0x00280011, "Columns")
        self.frame_count = self._count()
        self.sop_class_uid = view.text(0x00080016)
        self.sop_instance_uid = view.text(0x00080018)
        self.study_instance_uid = view.text(0x0020000D)
        self.series_instance_uid = view.text(0x0020000E)
        self.frame_of_reference_uid = view.text(0x00200052)
        with understood(name):
            self._groups = self._read_groups()
            self._read_content()

    def __reduce__(self) -> tuple[Any, ...]:
        return open_stored, (type(self), self._origin, self.name)

    def _check_kind(self) -> None:
        """Refuse files that are not of this object's kind."""

    def _read_content(self) -> None:
        """Read what only this kind of object has."""

    # ------------------------------------------------------------------ header
    def _fail(self, what: str) -> FileError:
        return FileError(f"{self.name}: {what}")

    def _refuse_tiled(self) -> None:
        if is_tiled(self._view):
            raise self._fail(
                f"is a {self.noun} of a slide, tiled over a total pixel matrix; it has no volume, "
                "and this reads volumes"
            )

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
        view, wanted = self._view, self.wanted
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
    @of_its_file
    def _header(self) -> Dataset:
        """Everything but frames, by pydicom: only the small sequences are read from it."""
        from dicom_ml.encoding.untrusted import dcmread

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

    # ------------------------------------------------------------------ references
    @cached_property
    @of_its_file
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
    @of_its_file
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
    @of_its_file
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
    @of_its_file
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
        self._check_bits(bits)
        tag, (_, offset, length) = view.pixels
        high = view.integer(0x00280102)
        info = FrameInfo(
            self.rows,
            self.columns,
            bits_allocated=bits,
            bits_stored=view.integer(0x00280101, bits) or bits,
            high_bit=-1 if high is None else high,
            pixel_representation=view.integer(0x00280103, 0) or 0,
            transfer_syntax_uid=view.transfer_syntax,
            is_float=tag != 0x7FE00010,
        )
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

    def _check_bits(self, bits: int) -> None:
        """Refuse bits that this kind of object does not have."""

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        from dicom_ml.encoding.untrusted import dcmread

        ds: Dataset = dcmread(io.BytesIO(bytes(self._data)), force=True)
        return ds


# ---------------------------------------------------------------------- opening
def open_stored(
    kind: type[S], origin: str | os.PathLike[str] | bytes, name: str | None = None, tiled: type[T] | None = None
) -> S | T:
    """Open a file, by path (memory-mapped) or as bytes, as a kind of object.

    Parameters
    ----------
    kind : type
        Kind of object.
    tiled : type, optional
        What it is instead where the file is tiled over a total pixel matrix.

    Raises
    ------
    FileError
        If it is no such object, or contradicts itself.
    """
    data: Buffer
    if not isinstance(origin, bytes):
        origin = os.fspath(origin)
    if name is None:
        name = kind.noun if isinstance(origin, bytes) else Path(origin).name
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
        view = _view_of(data)
        chosen = tiled if tiled is not None and is_tiled(view) else kind
        return chosen(view, name, origin)
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
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    from dicom_ml.encoding.untrusted import dcmread

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
