"""The object that is checked: its header without the frames, its frames in columns, and its pixel data in place."""

from __future__ import annotations

import io
import mmap
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import UNDEFINED, Buffer, CutOff, FileView, NeedMore, NotLean
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.objects.iod.context import items_of, number, text
from dicom_ml.objects.iod.frame_items import COLUMNS, FrameItems, column_of, merged
from dicom_ml.objects.iod.items import Item

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Pixels", "Subject", "is_dicom", "open_subject", "subject_of_bytes", "subject_of_dataset"]

SHARED, PER_FRAME = 0x52009229, 0x52009230
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_STUBS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}


@dataclass(frozen=True)
class Pixels:
    """Where pixel data lies.

    Attributes
    ----------
    tag : int
    data : bytes-like
        The file, or the value.
    offset, length : int
        Length is that of the element; 0xFFFFFFFF where it is undefined.
    vr : str
        Empty where the file does not say.
    """

    tag: int
    data: Buffer
    offset: int
    length: int
    vr: str = ""


class Subject:
    """An object that is checked.

    Attributes
    ----------
    name : str
        Of its file.
    ds : Dataset or Item
        The header: per-frame functional groups are not in it, pixel data is a stub of two bytes.
    frames : FrameItems or None
    pixels : Pixels or None
    cut_off : bool
        Whether the file ends too early.
    unreadable : list of int
        Tags of elements of a data set in memory that cannot be decoded, which are not in ``ds``.

    The data set that is given becomes the header.
    """

    def __init__(self, name: str, ds: Any, frames: FrameItems | None, pixels: Pixels | None, meta: Any = None) -> None:
        self.name = name
        self.cut_off = False
        self.ds = ds
        self.unreadable: list[int] = []
        self.meta = meta
        self.syntax = "" if meta is None else text(meta, "TransferSyntaxUID")
        self.frames = frames
        self.pixels = pixels
        if PER_FRAME in self.ds:
            del self.ds[PER_FRAME]
        for tag in _PIXELS:
            if tag in self.ds:
                del self.ds[tag]
        if pixels is not None:
            if isinstance(ds, Item):
                ds.put(pixels.tag, _STUBS[pixels.tag], b"\0" * 8)
            else:
                ds.add_new(pixels.tag, _STUBS[pixels.tag], b"\0" * 8)

    @property
    def sop_class(self) -> str:
        return text(self.ds, "SOPClassUID")

    @cached_property
    def frame_count(self) -> int:
        """Number of Frames, 1 where it is absent."""
        value = number(self.ds, "NumberOfFrames")
        return int(value) if value and 0 < value < 1 << 31 else 1

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What all frames share, by the names of columns."""
        items = items_of(self.ds, "SharedFunctionalGroupsSequence")
        if not items:
            return {}
        return {name: column_of(items[0], name) for name in COLUMNS}

    def column(self, name: str) -> list[Any]:
        """A column of functional groups, shared ones included; one entry for each frame that there are groups of."""
        return merged(self.frames, self.shared, self.frame_count, name)

    @cached_property
    def is_tiled(self) -> bool:
        return "TotalPixelMatrixRows" in self.ds or "TotalPixelMatrixColumns" in self.ds

    @cached_property
    def frame_index(self) -> FrameIndex | None:
        """Frames of the pixel data.

        Raises
        ------
        DicomMLError
            If they are not all there.
        """
        if self.pixels is None:
            return None
        info = FrameInfo.from_dataset(self.ds, self.syntax or "1.2.840.10008.1.2.1")
        length = None if self.pixels.length == UNDEFINED else self.pixels.length
        return FrameIndex(
            self.pixels.data,
            self.pixels.offset,
            length,
            info,
            self.frame_count,
            self.ds.get("ExtendedOffsetTable"),
            self.ds.get("ExtendedOffsetTableLengths"),
        )


# ---------------------------------------------------------------------- opening
def open_subject(path: str | os.PathLike[str]) -> Subject:
    """Open a file (memory-mapped).

    Raises
    ------
    FileError
        If it is no DICOM file or cannot be parsed.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise FileError(f"{name}: the file is empty")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise FileError(f"{name}: cannot be opened: {error.strerror or error}") from error
    return subject_of_bytes(data, name)


def subject_of_bytes(data: Buffer, name: str) -> Subject:
    """The object in the bytes of a file."""
    try:
        view = FileView(data)
    except CutOff:
        made = _parsed(data, name)
        made.cut_off = True
        return made
    except (NotLean, NeedMore):
        return _parsed(data, name)
    pixels = None
    if view.pixels is not None:
        tag, (vr, offset, length) = view.pixels
        pixels = Pixels(tag, data, offset, length, (vr or b"").decode("latin-1"))
    try:
        frames = None
        place = view.places.get(PER_FRAME)
        if place is not None:
            frames = FrameItems.from_bytes(data, place[1], place[2], view.implicit)
        ds = Item(data, dict(view.places), view.implicit)
        _check_identified(ds, name)
        subject = Subject(name, ds, frames, pixels, Item(data, dict(view.meta), False))
        if length_of(pixels) > len(data):
            subject.cut_off = True
        return subject
    except NotLean:
        return _parsed(data, name)


def length_of(pixels: Pixels | None) -> int:
    """Where pixel data of defined length ends."""
    return 0 if pixels is None or pixels.length == UNDEFINED else pixels.offset + pixels.length


def _dcmread(data: bytes, name: str) -> Dataset:
    from dicom_ml.encoding.untrusted import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds: Dataset = dcmread(io.BytesIO(data), force=True)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise FileError(f"{name}: cannot be parsed as DICOM: {type(error).__name__}") from error
    _check_identified(ds, name)
    return ds


def _check_identified(ds: Any, name: str) -> None:
    if not any(k in ds for k in ("SOPClassUID", "SOPInstanceUID", "PatientID", "Modality", "Rows")):
        raise FileError(f"{name}: is no DICOM object: it has none of the attributes that identify one")


def _parsed(data: Buffer, name: str) -> Subject:
    return _of_own_dataset(_dcmread(bytes(data), name), name)


def subject_of_dataset(ds: Dataset, name: str = "") -> Subject:
    """A pydicom data set as a subject; it is left as it is."""
    from pydicom import Dataset

    own, unreadable = Dataset(), []
    meta = getattr(ds, "file_meta", None)
    if meta is not None:
        own.file_meta = meta
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in ds.keys():  # noqa: SIM118 - iterating over a data set decodes
            try:
                own[tag] = ds.get_item(tag)
            except Exception:  # pydicom decodes on access, and a damaged value may raise anything
                unreadable.append(int(tag))
    made = _of_own_dataset(own, name)
    made.unreadable = unreadable
    return made


def _of_own_dataset(ds: Dataset, name: str) -> Subject:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = None
        items = items_of(ds, "PerFrameFunctionalGroupsSequence")
        if PER_FRAME in ds:
            frames = FrameItems.from_items(items)
        pixels = None
        for tag in _PIXELS:
            if tag in ds:
                try:
                    element = ds[tag]
                    value = element.value
                except Exception as error:
                    raise FileError(f"{name or 'the data set'}: its pixel data cannot be read") from error
                if isinstance(value, bytes | bytearray | memoryview):
                    undefined = bool(getattr(element, "is_undefined_length", False)) or value[:4] == b"\xfe\xff\x00\xe0"
                    pixels = Pixels(tag, value, 0, UNDEFINED if undefined else len(value))
        return Subject(name, ds, frames, pixels, getattr(ds, "file_meta", None) or None)


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file has DICOM's preamble, or parses as a DICOM object without one."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
        if start[128:] == b"DICM":
            return Path(path).name != "DICOMDIR"
        if len(start) < 132 or start[1] not in (0, 8) or start[0] not in (8, 2):
            return False
        open_subject(path)
    except (OSError, DicomMLError):
        return False
    return True
