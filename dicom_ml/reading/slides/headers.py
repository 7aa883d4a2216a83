"""One record a file of a slide: its image, where its tiles lie, what they show (PS3.3 A.32.8 and C.8.12.4)."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import FileView, NeedMore, NotLean, Place
from dicom_ml.encoding.untrusted import dcmread, reason_of, understood
from dicom_ml.errors import CodecError, FileError
from dicom_ml.reading.headers import decimals, parse_items, read_header
from dicom_ml.reading.slides.files import PixelPlace, SlideFile
from dicom_ml.reading.slides.frame_places import (
    MICRON,
    SHARED,
    FramePlaces,
    decoded,
    frame_places,
    matrix_of,
    shared_groups,
)
from dicom_ml.source import copied_attributes

__all__ = [
    "SLIDE_CLASSES",
    "Concatenation",
    "FramePlaces",
    "OpenedHeader",
    "OpticalPath",
    "SlideImage",
    "open_header",
    "opened_view",
    "read_slide_image",
]

#: SOP classes of tiled images in the slide coordinate system.
SLIDE_CLASSES = (sop.VL_WHOLE_SLIDE_MICROSCOPY, sop.CONFOCAL_MICROSCOPY_TILED)

_ORIGIN, _PATHS = 0x00480008, 0x00480105
_LONG_HEADERS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UN")
_COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class OpticalPath:
    """How light reached the sensor (PS3.3 C.8.12.5).

    Attributes
    ----------
    identifier : str
        Optical Path Identifier: how frames and users name it.
    description : str
    illumination : str
        Meaning of the illumination type or colour, such as ``"Brightfield illumination"``.
    wavelength : float or None
        Illumination wavelength in nm.
    icc_profile : bytes or None
        Of the colour of its frames.
    """

    identifier: str
    description: str = ""
    illumination: str = ""
    wavelength: float | None = None
    icc_profile: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Concatenation:
    """What a file says of the concatenation that it is a part of (PS3.3 C.7.6.16.2.2.4)."""

    uid: str
    number: int
    total: int | None
    offset: int | None


@dataclass(frozen=True)
class SlideImage:
    """What has to be known of a file before its pixels are read. Lengths are in mm."""

    file: SlideFile
    place: PixelPlace
    flavor: str
    sop_class: str
    sop_instance: str
    study: str
    series: str
    frame_of_reference: str
    modality: str
    instance_number: int
    matrix: tuple[int, int]
    organization: str
    spacing: tuple[float, float] | None
    thickness: float | None
    between: float | None
    origin: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    focal_planes: int | None
    shared_z: float | None
    shared_path: str | None
    optical_paths: tuple[OpticalPath, ...]
    concatenation: Concatenation | None
    pyramid: str
    background: tuple[int, int, int] | None
    places: FramePlaces | None
    #: Offset in the file at which the attributes to copy end; what follows is per frame.
    header_end: int

    @property
    def name(self) -> str:
        """How messages call the file."""
        return self.file.name

    @property
    def info(self) -> FrameInfo:
        """Image Pixel attributes of a frame."""
        return self.place.info

    @property
    def frames(self) -> int:
        """Number of frames in the file."""
        return self.place.frames

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.place.info.rows, self.place.info.columns

    @property
    def grid(self) -> tuple[int, int]:
        """Tile rows and tile columns that cover the total pixel matrix."""
        return -(-self.matrix[0] // self.tile[0]), -(-self.matrix[1] // self.tile[1])

    def copied(self) -> dict[str, Any]:
        """Attributes of patient, study and specimen that derived objects carry over."""
        content = self.file.head(self.header_end)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = io.BytesIO(bytes(content))
            return copied_attributes(dcmread(head, stop_before_pixels=True, force=True))


@dataclass(frozen=True)
class OpenedHeader:
    """The scanned header of a DICOM file of any kind."""

    view: FileView
    syntax: str
    in_place: bool
    pixels: tuple[str, int, int] | None
    keyword: str

    @property
    def sop_class(self) -> str:
        """SOP Class UID."""
        return self.view.text(0x00080016)

    @property
    def modality(self) -> str:
        """Modality."""
        return self.view.text(0x00080060)

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return self.view.text(0x0020000E)


def open_header(file: SlideFile) -> OpenedHeader:
    """Scan the header in place, or let pydicom parse what the scanner will not.

    Raises
    ------
    NotDicom
        If it is no DICOM file.
    FileError
        If it cannot be read.
    """
    if file.remote is not None:
        return file.remote.header()
    content = file.buffer()
    try:
        view = FileView(content)
    except NeedMore:
        raise FileError(f"{file.name} is truncated: its header goes on past its end") from None
    except NotLean:
        header = read_header(file.candidate(content))
        return OpenedHeader(header.view, header.transfer_syntax, header.in_place, header.pixels, header.pixel_keyword)
    return opened_view(view)


def opened_view(view: FileView) -> OpenedHeader:
    """The header of a file that was scanned in place."""
    pixels, keyword = None, ""
    if view.pixels is not None:
        tag, (vr, offset, length) = view.pixels
        pixels = (vr or b"OW").decode("latin-1"), offset, length
        keyword = "PixelData" if tag == 0x7FE00010 else "FloatPixelData"
    return OpenedHeader(view, view.transfer_syntax, True, pixels, keyword)


def read_slide_image(file: SlideFile, opened: OpenedHeader) -> SlideImage:
    """Read the header of a file that holds an image of a slide.

    Raises
    ------
    FileError
        If the file is damaged or contradicts itself.
    CodecError
        If its pixels are of a kind that is not read.
    """
    try:
        return _slide_image(file, opened)
    except (NotLean, struct.error, ValueError, OverflowError) as error:
        raise FileError(f"{file.name}: its header cannot be read: {reason_of(error)}") from error
    except (FileError, CodecError) as error:
        if file.name in str(error):
            raise
        raise type(error)(f"{file.name}: {error}") from error
    finally:
        opened.view.data = b""  # a traceback must not keep the file mapped


def _slide_image(file: SlideFile, opened: OpenedHeader) -> SlideImage:
    view = opened.view
    place = _pixel_place(opened)
    rows, columns = view.integer(0x00480007, 0) or 0, view.integer(0x00480006, 0) or 0
    image_type = view.texts(0x00080008)
    shared = shared_groups(view)
    organization = view.text(0x00209311)
    with understood(file.name):
        paths = _optical_paths(file, view)
    matrix_origin = _items(file, view, _ORIGIN)
    origin = _origin(matrix_origin[0]) if matrix_origin else None
    orientation = _numbers(view.text(0x00480102), 0x00480102, file.name, 6)
    spacing = _text_numbers(shared, "spacing", 0x00280030, file.name, 2) or _numbers(
        view.text(0x00280030), 0x00280030, file.name, 2
    )
    between = _text_numbers(shared, "between", 0x00180088, file.name, 1)
    thickness = _text_numbers(shared, "thickness", 0x00180050, file.name, 1)
    depth = _floats(view, 0x00480003)
    shared_z = _text_numbers(shared, "z", 0x0040074A, file.name, 1)
    places = frame_places(file, view, place, shared, organization, (rows, columns))
    if not (rows and columns):
        rows, columns = matrix_of(place, places)
    if spacing is None or min(spacing) <= 0:
        height, width = _floats(view, 0x00480002), _floats(view, 0x00480001)
        spacing = (height / rows, width / columns) if height and width else None
    return SlideImage(
        file=file,
        place=place,
        flavor=(image_type[2] if len(image_type) > 2 else "").upper() or "VOLUME",
        sop_class=view.text(0x00080016),
        sop_instance=view.text(0x00080018),
        study=view.text(0x0020000D),
        series=view.text(0x0020000E),
        frame_of_reference=view.text(0x00200052),
        modality=view.text(0x00080060),
        instance_number=_integer_text(view.text(0x00200013)),
        matrix=(rows, columns),
        organization=organization,
        spacing=(spacing[0], spacing[1]) if spacing else None,
        thickness=thickness[0] if thickness and thickness[0] > 0 else depth * MICRON if depth else None,
        between=between[0] if between else None,
        origin=origin,
        orientation=orientation,
        focal_planes=view.integer(0x00480303),
        shared_z=shared_z[0] * MICRON if shared_z else None,
        shared_path=decoded(shared.get("path")) or None,
        optical_paths=paths,
        concatenation=_concatenation(view),
        pyramid=view.text(0x00080019),
        background=_background(view),
        places=places,
        header_end=_header_end(view) if opened.in_place else 0,
    )


def _pixel_place(opened: OpenedHeader) -> PixelPlace:
    view, pixels = opened.view, opened.pixels
    if pixels is None or opened.keyword != "PixelData":
        raise FileError("it holds no pixel data; expected the frames of a slide: the file is truncated or was emptied")
    text = view.text(0x00280008)
    try:
        frames = int(text) if text else 1
    except ValueError:
        raise FileError(f"NumberOfFrames is {text!r}; expected a whole number") from None
    allocated = view.integer(0x00280100)
    if allocated is None:
        raise FileError("BitsAllocated is missing, so its pixels cannot be read")
    samples = view.integer(0x00280002, 1) or 1
    photometric = view.text(0x00280004) or ("RGB" if samples == 3 else "MONOCHROME2")
    high_bit = view.integer(0x00280102)
    info = FrameInfo(
        rows=view.integer(0x00280010, 0) or 0,
        columns=view.integer(0x00280011, 0) or 0,
        samples_per_pixel=samples,
        bits_allocated=allocated,
        bits_stored=view.integer(0x00280101, allocated) or allocated,
        high_bit=-1 if high_bit is None else high_bit,
        pixel_representation=view.integer(0x00280103, 0) or 0,
        photometric_interpretation=photometric,
        planar_configuration=view.integer(0x00280006, 0) or 0,
        transfer_syntax_uid=opened.syntax,
        pixel_vr=pixels[0],
    )
    if frames < 1:
        raise FileError(f"NumberOfFrames is {frames}; expected at least 1")
    if not (samples == 3 and photometric in _COLOR) and not (samples == 1 and photometric.startswith("MONOCHROME")):
        raise CodecError(
            f"{samples} samples a pixel of Photometric Interpretation {photometric} are no colour or monochrome "
            "image that a slide may hold (PS3.3 C.8.12.4.1.5): convert the file first"
        )
    tables: list[tuple[int, int] | None] = []
    for tag in (0x7FE00001, 0x7FE00002):
        found = view.places.get(tag)
        tables.append((found[1], found[2]) if found is not None and found[2] > 0 else None)
    return PixelPlace(pixels[1], pixels[2], info, frames, opened.in_place, (tables[0], tables[1]))


# -------------------------------------------------------------------------------------------------- values


def _numbers(text: str, tag: int, name: str, count: int) -> tuple[float, ...] | None:
    return decimals(text, tag, name, count) if text else None


def _text_numbers(
    values: dict[str, bytes | None], key: str, tag: int, name: str, count: int
) -> tuple[float, ...] | None:
    return _numbers(decoded(values.get(key)), tag, name, count)


def _floats(view: FileView, tag: int) -> float | None:
    """Value of an FL element; None where absent or no positive number."""
    raw = view.raw(tag)
    if not raw or len(raw) < 4:
        return None
    value = float(struct.unpack_from("<f", raw)[0])
    return value if np.isfinite(value) and value > 0 else None


def _integer_text(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _items(file: SlideFile, view: FileView, tag: int) -> list[pydicom.Dataset]:
    place: Place | None = view.places.get(tag)
    if place is None or place[2] <= 0:
        return []
    return parse_items(view.data, place[1], place[2], view.implicit, file.name)


def _origin(item: pydicom.Dataset) -> tuple[float, float, float] | None:
    x, y = item.get("XOffsetInSlideCoordinateSystem"), item.get("YOffsetInSlideCoordinateSystem")
    if x is None or y is None:
        return None
    return float(x), float(y), float(item.get("ZOffsetInSlideCoordinateSystem") or 0.0) * MICRON


def _optical_paths(file: SlideFile, view: FileView) -> tuple[OpticalPath, ...]:
    found = []
    for item in _items(file, view, _PATHS):
        kinds = item.get("IlluminationTypeCodeSequence") or item.get("IlluminationColorCodeSequence")
        wavelength = item.get("IlluminationWaveLength")
        found.append(
            OpticalPath(
                identifier=str(item.get("OpticalPathIdentifier") or "").strip(),
                description=str(item.get("OpticalPathDescription") or "").strip(),
                illumination=str(kinds[0].get("CodeMeaning", "")) if kinds else "",
                wavelength=float(wavelength) if wavelength else None,
                icc_profile=bytes(item.ICCProfile) if item.get("ICCProfile") else None,
            )
        )
    if not found:
        return (OpticalPath("", icc_profile=view.raw(0x00282000) or None),)
    return tuple(found)


def _concatenation(view: FileView) -> Concatenation | None:
    uid = view.text(0x00209161)
    number = view.integer(0x00209162)
    if not uid or number is None:
        return None
    return Concatenation(uid, number, view.integer(0x00209163), view.integer(0x00209228))


def _background(view: FileView) -> tuple[int, int, int] | None:
    raw = view.raw(0x00480015)
    if not raw or len(raw) < 6:
        return None
    l, a, b = struct.unpack_from("<3H", raw)  # noqa: E741
    return l, a, b


def _header_end(view: FileView) -> int:
    """Where the functional groups, or what comes after them, begin."""
    for tag, (vr, offset, _) in view.places.items():
        if tag >= SHARED:
            return offset - (12 if vr in _LONG_HEADERS else 8)
    assert view.pixels is not None
    vr, offset, _ = view.pixels[1]
    return offset - (8 if vr is None else 12)
