"""An image file taken apart: what stands before the pixel data, its frames, and what stands after it."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dicom_ml.encoding.codecs import FrameInfo, is_encapsulated
from dicom_ml.encoding.elements import UNDEFINED, FileView, NotLean, Place, elements_of
from dicom_ml.encoding.fragments import read_item, scan_fragments
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.untrusted import understood
from dicom_ml.encoding.writer import dataset_bytes
from dicom_ml.errors import FileError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["BITWISE", "Image", "NoImage", "opened_image"]

#: Tag and bytes (header included, explicit VR little endian) of each top-level element, in their order.
Elements: TypeAlias = "list[tuple[int, bytes | memoryview]]"

_EXPLICIT, _IMPLICIT, _BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Transfer syntaxes whose frames hold cells bit by bit, unused ones too.
BITWISE = frozenset(
    [_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED] + ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"]
)
_PIXELS = frozenset([0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010])
_PADDING = 0xFFFCFFFC
_LONG_VRS = frozenset([b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"])
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class NoImage(FileError):
    """The file is a DICOM object without pixel data."""


@dataclass
class Image:
    """An image file, open for reading.

    Attributes
    ----------
    before, after : list of (int, bytes)
        Elements before and after the pixel data, offset tables and trailing padding left out.
    info : FrameInfo
        What the header says of a frame.
    frames : FrameIndex
        Decodes to cells with every bit in place where the transfer syntax holds them (:data:`BITWISE`), else to values.
    """

    transfer_syntax: str
    sop_class: str
    sop_instance: str
    before: Elements
    after: Elements
    info: FrameInfo
    frames: FrameIndex


@contextmanager
def opened_image(path: str | os.PathLike[str]) -> Iterator[Image]:
    """Open a file of an image; its frames are views of the mapped file, valid within the block.

    Raises
    ------
    NoImage
        If it is a DICOM object without pixel data.
    FileError
        If it is no DICOM file, or a damaged one.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        if os.fstat(file.fileno()).st_size < 132 or file.read(132)[128:] != b"DICM":
            raise FileError(f"{name} is no DICOM file: it has no preamble")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        with understood(name):
            image = _take_apart(name, memoryview(mapped))
        yield image
    finally:
        image = None  # type: ignore[assignment]
        try:
            mapped.close()
        except BufferError:
            pass  # a traceback still holds a view; the map goes with it


def _take_apart(name: str, data: memoryview) -> Image:
    try:
        view = FileView(data)
    except NotLean:
        return _by_pydicom(name)
    if view.pixels is None:
        raise _absent(0x00280010 in view)
    tag, (_, offset, length) = view.pixels
    end = offset + length if length != UNDEFINED else _end_of_fragments(name, data, offset)
    if view.implicit:
        from pydicom.filereader import read_dataset

        from dicom_ml.encoding.untrusted import dcmread

        before = _encoded(dcmread(name, stop_before_pixels=True))
        character_set = view.texts(0x00080005)
        rest = read_dataset(io.BytesIO(data[end:]), True, True)
        after = _encoded(rest, character_set[0] if character_set else None)
    else:
        before = [(t, data[_start(p) : p[1] + _stored(data, p)]) for t, p in view.places.items() if t not in _PIXELS]
        elements = elements_of(data, end, len(data), False)
        after = [(t, data[_start(p) : p[1] + _stored(data, p)]) for t, p in elements if t != _PADDING]
    allocated = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag, 8)
    allocated = view.integer(0x00280100, allocated) or allocated
    samples = view.integer(0x00280002, 1) or 1
    high = view.integer(0x00280102)
    info = FrameInfo(
        rows=view.integer(0x00280010, 0) or 0,
        columns=view.integer(0x00280011, 0) or 0,
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=view.integer(0x00280101, 0) or 0,
        high_bit=-1 if high is None else high,
        pixel_representation=view.integer(0x00280103, 0) or 0,
        photometric_interpretation=view.text(0x00280004) or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar_configuration=(view.integer(0x00280006, 0) or 0) if samples > 1 else 0,
        transfer_syntax_uid=view.transfer_syntax,
        is_float=tag != 0x7FE00010,
    )
    frames = FrameIndex.from_buffer(
        data,
        offset,
        None if is_encapsulated(view.transfer_syntax) else length,
        _bit_by_bit(info),
        int(view.text(0x00280008) or 1),
        extended_offsets=view.raw(0x7FE00001),
        extended_lengths=view.raw(0x7FE00002),
    )
    return Image(
        view.transfer_syntax, view.text(0x00080016), view.text(0x00080018),
        before, after, info, frames,
    )  # fmt: skip


def _absent(image: bool) -> FileError:
    if image:
        return FileError("the header is that of an image, the pixel data is missing; the file is truncated")
    return NoImage("the file holds no pixel data")


def _bit_by_bit(info: FrameInfo) -> FrameInfo:
    if info.transfer_syntax_uid not in BITWISE or info.is_float:
        return info
    return info.replace(bits_stored=info.bits_allocated, high_bit=info.bits_allocated - 1)


def _start(place: Place) -> int:
    vr, offset, _ = place
    return offset - (12 if vr in _LONG_VRS else 8)


def _stored(data: memoryview, place: Place) -> int:
    """Length of a value as it is stored: a sequence of undefined length is measured without the delimiter."""
    vr, offset, length = place
    undefined = vr in _LONG_VRS and bytes(data[offset - 4 : offset]) == b"\xff\xff\xff\xff"
    return length + 8 if undefined else length


def _end_of_fragments(name: str, data: memoryview, offset: int) -> int:
    table = read_item(data, offset, len(data))
    if table < 0:
        raise FileError(f"{name}: the pixel data does not begin with an offset table; the file is damaged")
    found = scan_fragments(data, offset + 8 + table, len(data))
    if found.problem or not found.starts.size:
        raise FileError(f"{name}: its pixel data is incomplete: {found.problem or 'it has no fragments'}")
    return int(found.starts[-1] + found.lengths[-1]) + 8


def _encoded(dataset: Dataset, character_set: str | None = None) -> Elements:
    """Elements of a pydicom data set, each encoded by itself; pixel data is left out."""
    from pydicom import Dataset
    from pydicom.filewriter import correct_ambiguous_vr

    dataset = correct_ambiguous_vr(dataset, True)
    # what a data set says of itself holds for its elements
    encoding = dataset.get("SpecificCharacterSet") or character_set
    first = encoding if isinstance(encoding, str) or encoding is None else list(encoding)
    found: Elements = []
    for element in dataset:
        tag = int(element.tag)
        if tag in _PIXELS or tag == _PADDING or tag >> 16 == 2 or not tag & 0xFFFF:
            continue
        alone = Dataset()
        alone.add(element)
        found.append((tag, dataset_bytes(alone, first)))  # type: ignore[arg-type]
    return found


def _by_pydicom(name: str) -> Image:
    """Files in big endian, deflated, or out of order: parsed by pydicom, in memory."""
    from dicom_ml.encoding.untrusted import dcmread

    dataset = dcmread(name)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not any(tag in dataset for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)):
        raise _absent("Rows" in dataset)
    info = FrameInfo.from_dataset(dataset)
    frames = FrameIndex.from_dataset(dataset)
    frames.info = _bit_by_bit(info)
    if syntax == _BIG:
        dataset.walk(_swapped)
    elements = _encoded(dataset)
    return Image(
        syntax, str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", "")),
        [e for e in elements if e[0] < 0x7FE00010], [e for e in elements if e[0] > 0x7FE00010],
        info, frames,
    )  # fmt: skip


def _swapped(dataset: Dataset, element: object) -> None:
    """Bytes of words, which pydicom leaves in their order, in little endian."""
    size = _WORDS.get(element.VR)  # type: ignore[attr-defined]
    if size and int(element.tag) not in _PIXELS:  # type: ignore[attr-defined]
        value = bytes(element.value or b"")  # type: ignore[attr-defined]
        element.value = np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()  # type: ignore[attr-defined]
