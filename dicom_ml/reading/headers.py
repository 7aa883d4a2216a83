"""One record a file: what has to be known of it before its pixels are read."""

from __future__ import annotations

import io
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs.base import FrameInfo
from dicom_ml.encoding.elements import FileView, Layouts, NeedMore, NotLean, items_of
from dicom_ml.encoding.untrusted import dcmread, reason_of
from dicom_ml.errors import FileError
from dicom_ml.reading.files import HEAD_BYTES, Candidate

__all__ = ["Header", "NotDicom", "parse_items", "read_header", "sop_class_name"]

_EXPLICIT_LE = "1.2.840.10008.1.2.1"
_PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}

#: What to do with objects that hold pixels or refer to images, but are no images of a volume.
_ADVICE = {
    sop.SEGMENTATION: "read it with dicom_ml.read_segmentation",
    sop.LABEL_MAP_SEGMENTATION: "read it with dicom_ml.read_segmentation",
    sop.PARAMETRIC_MAP: "a parametric map is no source image",
    sop.RT_DOSE: "a dose grid is no source image",
    sop.VL_WHOLE_SLIDE_MICROSCOPY: "a slide is no volume: open it with dicom_ml.open_slide",
}


class NotDicom(Exception):
    """The file is not DICOM at all."""


@dataclass(slots=True)
class Header:
    """A file's image attributes. ``None`` and empty values stand for absent ones."""

    candidate: Candidate
    view: FileView
    transfer_syntax: str
    #: Whether pixel data lies in the file at ``pixels``; else pydicom has to fetch it.
    in_place: bool
    #: VR, offset and length of the pixel data element's value.
    pixels: tuple[str, int, int] | None
    pixel_keyword: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    frame_of_reference: str
    modality: str
    image_type: tuple[str, ...]
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    _info: FrameInfo | None = None

    @property
    def name(self) -> str:
        """How messages call the file."""
        return self.candidate.name

    @property
    def is_localizer(self) -> bool:
        """Whether Image Type says that this is a scout image."""
        return any("LOCALIZER" in part for part in self.image_type)

    def refusal(self) -> str | None:
        """Why this file cannot be part of a volume; None when it can."""
        if "MOSAIC" in self.image_type:
            return "is a mosaic (many slices side by side in one image), which has to be converted to enhanced MR first"
        advice = _ADVICE.get(self.sop_class)
        if advice is not None:
            return f"is a {sop_class_name(self.sop_class)} ({advice})"
        if self.pixels is None or not self.pixel_keyword:
            kind = sop_class_name(self.sop_class) or self.modality
            return "holds no pixel data" + (f" ({kind})" if kind else "")
        if self.pixel_keyword != "PixelData":
            return "holds floating-point pixel data, which no image of CT, MR or PET has"
        if self.samples != 1:
            return f"is in colour ({self.photometric}, {self.samples} samples a pixel); a volume has one value a voxel"
        return None

    def numbers(self, tag: int, count: int | None = None) -> tuple[float, ...] | None:
        """Decimal values of a top-level element; None where absent or empty.

        Raises
        ------
        FileError
            If it holds no finite numbers, or not ``count`` of them.
        """
        text = self.view.text(tag)
        if not text:
            return None
        return decimals(text, tag, self.name, count)

    def number(self, tag: int) -> float | None:
        """First decimal value of a top-level element."""
        values = self.numbers(tag)
        return values[0] if values else None

    def attribute(self, tag: int) -> str | float | tuple[float, ...]:
        """Value of an element that may tell phases apart: a number, several, or a text; empty where absent."""
        place = self.view.places.get(tag)
        if place is None:
            return ""
        vr = place[0].decode("latin-1") if place[0] else pydicom.datadict.dictionary_VR(tag)
        return comparable(self.view.raw(tag), vr)

    def frame_info(self) -> FrameInfo:
        """Image Pixel attributes of one frame."""
        if self._info is None:
            self._info = self._read_frame_info()
        return self._info

    def _read_frame_info(self) -> FrameInfo:
        view = self.view
        allocated = view.integer(0x00280100)
        if allocated is None:
            raise FileError(f"{self.name}: Bits Allocated is missing, so its pixels cannot be read")
        assert self.pixels is not None
        try:
            return _frame_info(
                self.rows,
                self.columns,
                self.samples,
                allocated,
                view.integer(0x00280101, allocated) or allocated,
                -1 if view.integer(0x00280102) is None else int(view.integer(0x00280102) or 0),
                view.integer(0x00280103, 0) or 0,
                self.photometric or "MONOCHROME2",
                view.integer(0x00280006, 0) or 0,
                self.transfer_syntax,
                self.pixels[0],
            )
        except FileError as error:
            raise FileError(f"{self.name}: {error}") from error

    def items(self, tag: int) -> list[pydicom.Dataset]:
        """Items of a top-level sequence; empty where absent."""
        place = self.view.places.get(tag)
        if place is None or place[2] <= 0:
            return []
        return parse_items(self.view.data, place[1], place[2], self.view.implicit, self.name)

    def dataset(self, keywords: tuple[str, ...]) -> pydicom.Dataset:
        """Some top-level elements, parsed by pydicom."""
        tags: list[Any] = list(keywords)
        data = io.BytesIO(bytes(self.view.data))
        return dcmread(data, stop_before_pixels=True, force=True, specific_tags=tags)


@lru_cache(maxsize=256)
def _frame_info(*values: Any) -> FrameInfo:
    rows, columns, samples, allocated, stored, high, signed, photometric, planar, syntax, vr = values
    return FrameInfo(
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        pixel_representation=signed,
        photometric_interpretation=photometric,
        planar_configuration=planar,
        transfer_syntax_uid=syntax,
        pixel_vr=vr,
    )


def sop_class_name(uid: str) -> str:
    """Name of a SOP class, without the word Storage; the UID itself where unknown."""
    return UID(uid).name.removesuffix(" Storage") if uid else ""


def decimals(text: str, tag: int, name: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers of a decimal string; FileError where there are none, or not ``count``."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
        good = all(map(math.isfinite, values))
    except ValueError:
        values, good = (), False
    if not good or (count is not None and len(values) != count):
        keyword = pydicom.datadict.keyword_for_tag(tag)
        expected = f"{count} decimal numbers" if count else "decimal numbers"
        raise FileError(f"{name}: {keyword} holds {text[:80]!r}; expected {expected}")
    return values


_FLOATS = {"FD": "d", "FL": "f", "US": "H", "UL": "I", "SS": "h", "SL": "i"}


def comparable(raw: bytes | None, vr: str) -> str | float | tuple[float, ...]:
    """A raw value as something that can be compared, sorted and shown."""
    if not raw:
        return ""
    kind = _FLOATS.get(vr)
    if kind is not None:
        size = struct.calcsize(kind)
        values = struct.unpack(f"<{len(raw) // size}{kind}", raw[: len(raw) // size * size])
        return values[0] if len(values) == 1 else tuple(float(v) for v in values)
    text = raw.decode("latin-1").strip("\0 ")
    if vr in ("DS", "IS"):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def parse_items(data: Any, offset: int, length: int, implicit: bool, name: str) -> list[pydicom.Dataset]:
    """Items of a sequence value, parsed by pydicom."""
    try:
        found = []
        for start, end in items_of(data, offset, length, implicit):
            found.append(read_dataset(io.BytesIO(bytes(data[start:end])), implicit, True))
        return found
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise FileError(f"{name}: a sequence of its header cannot be read: {reason_of(error)}") from error


def read_header(candidate: Candidate, layouts: Layouts | None = None) -> Header:
    """Read the header of a file: by the lean scanner from its first bytes, by pydicom where that cannot.

    ``layouts`` are those of the other files that are read with it.

    Raises
    ------
    NotDicom
        If the file is not DICOM.
    FileError
        If it is, but its header cannot be read.
    """
    data, size = candidate.head()
    while True:
        try:
            view = FileView(data, size, layouts)
            if view.pixels is not None or len(data) >= size:
                break
            wanted = size  # the bytes at hand end between two elements
        except NeedMore as more:
            if len(data) >= size:
                raise FileError(f"{candidate.name} is truncated: its header goes on past its end") from None
            wanted = max(more.size + HEAD_BYTES, 4 * len(data))
        except (NotLean, struct.error) as reason:
            if bytes(data[128:132]) != b"DICM" and not _looks_like_dicom(data):
                raise NotDicom(candidate.name) from None
            header = _by_pydicom(candidate)
            if header.pixels is None and "past the end" in str(reason):
                raise FileError(f"{candidate.name} is truncated within its header") from None
            return header
        data, size = candidate.head(wanted)
    pixels, keyword = None, ""
    if view.pixels is not None:
        tag, (vr, offset, length) = view.pixels
        # what was read beyond the header would stay in memory for as long as the header does
        view.data = data[:offset]
        pixels, keyword = ((vr or b"OW").decode("latin-1"), offset, length), _PIXEL_KEYWORDS[tag]
    return _header(candidate, view, view.transfer_syntax, True, pixels, keyword)


def _by_pydicom(candidate: Candidate) -> Header:
    """Let pydicom parse what the scanner will not, and scan the header as pydicom writes it again."""
    dataset = parse_file(candidate.name, candidate.read())
    syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "") or "")
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = "1.2.840.10008.1.2" if implicit else _EXPLICIT_LE if little else "1.2.840.10008.1.2.2"
    try:
        with _quietly():
            pixels, keyword = _take_pixels(dataset)
            view = FileView(_encode_header(dataset))
    except Exception as error:
        raise FileError(f"{candidate.name}: its header cannot be read ({reason_of(error)})") from error
    return _header(candidate, view, syntax, False, pixels, keyword)


def _take_pixels(dataset: pydicom.Dataset) -> tuple[tuple[str, int, int] | None, str]:
    """Take the pixel data out of a data set: its VR, place and length, and its keyword."""
    for tag, name in _PIXEL_KEYWORDS.items():
        if tag in dataset:
            element = dataset[tag]
            del dataset[tag]
            return (str(element.VR), 0, len(element.value or b"")), name
    return None, ""


def _encode_header(dataset: pydicom.Dataset) -> bytes:
    for tag in filter(lambda tag: tag.group > 0x7FE0 or tag.group < 8, list(dataset.keys())):
        del dataset[tag]
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = UID(_EXPLICIT_LE)
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    content = buffer.getvalue()
    return content if content[128:132] == b"DICM" else b"\0" * 128 + b"DICM" + content


_WARNINGS_LOCK = threading.Lock()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without pydicom's remarks on values that are not used. Filters are global, so only one thread changes them."""
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse_file(name: str, content: bytes) -> pydicom.Dataset:
    """Parse a whole file with pydicom; NotDicom where it is none, FileError where it is broken."""
    if content[128:132] != b"DICM" and not _looks_like_dicom(content):
        raise NotDicom(name)
    try:
        with _quietly():
            dataset = dcmread(io.BytesIO(content), force=True)
            known = any(tag in dataset for tag in (0x00080016, 0x00080018, 0x00080060, 0x00280010, 0x00041220))
    except InvalidDicomError as error:
        raise NotDicom(name) from error
    except Exception as error:
        raise FileError(f"{name} is DICOM but cannot be parsed ({reason_of(error)})") from error
    if not known:
        if content[128:132] != b"DICM":
            raise NotDicom(name)
        raise FileError(f"{name} is DICOM but describes neither an image nor any other instance")
    return dataset


def _looks_like_dicom(content: bytes) -> bool:
    """Whether a file without preamble begins as a data set does: group 2 or 8, in either byte order."""
    if len(content) < 8:
        return False
    group, element = struct.unpack_from("<HH", content)
    return (group in (2, 8) and element < 0x2200) or (content[0] == 0 and content[1] in (2, 8) and content[2] < 0x22)


def _header(
    candidate: Candidate,
    view: FileView,
    syntax: str,
    in_place: bool,
    pixels: tuple[str, int, int] | None,
    keyword: str,
) -> Header:
    text, integer = view.text, view.integer
    frames = text(0x00280008)
    try:
        count = int(float(frames)) if frames else 1
        if count < 0:
            raise ValueError("it is negative")
    except (ValueError, OverflowError) as error:
        raise FileError(f"{candidate.name}: NumberOfFrames is {frames[:40]!r}; expected a whole number") from error
    return Header(
        candidate=candidate,
        view=view,
        transfer_syntax=syntax,
        in_place=in_place,
        pixels=pixels,
        pixel_keyword=keyword,
        sop_class=text(0x00080016),
        sop_instance=text(0x00080018),
        study=text(0x0020000D),
        series=text(0x0020000E),
        frame_of_reference=text(0x00200052),
        modality=text(0x00080060),
        image_type=tuple(view.texts(0x00080008)),
        frames=count,
        rows=integer(0x00280010, 0) or 0,
        columns=integer(0x00280011, 0) or 0,
        samples=integer(0x00280002, 1) or 1,
        photometric=text(0x00280004),
    )
