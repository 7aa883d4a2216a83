"""What a frame is, and what a codec of frames must do (PS3.5 sections 8.1 and 8.2)."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dicom_ml.errors import DicomMLWarning, EncodingError, FileError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Array", "Buffer", "FrameCodec", "FrameInfo"]

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = "bytes | bytearray | memoryview"

EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

# 24 and 40 occur in JPEG 2000 only, where the container is the next power of two.
_CONTAINERS = {1: 1, 8: 1, 16: 2, 24: 4, 32: 4, 40: 8, 64: 8}


@dataclass(frozen=True)
class FrameInfo:
    """The Image Pixel attributes that say how the bytes of one frame become numbers (PS3.3 C.7.6.3).

    Parameters
    ----------
    rows, columns
        Size of a frame in pixels.
    samples_per_pixel
        1 for monochrome and palette images, 3 for colour.
    bits_allocated
        Bits of a sample's cell: 1, 8, 16, 24, 32, 40 or 64.
    bits_stored
        Bits of the cell that hold the value; 0 stands for ``bits_allocated``.
    high_bit
        The cell's most significant used bit; -1 stands for ``bits_stored - 1``.
    pixel_representation
        1 where samples are two's complement, else 0.
    photometric_interpretation
        Colour model of the encoded samples, e.g. ``"MONOCHROME2"`` or ``"YBR_FULL_422"``.
    planar_configuration
        1 where native colour is stored plane after plane, else 0.
    transfer_syntax_uid
        How the frame is encoded.
    is_float
        True for Float and Double Float Pixel Data (of 32 and 64 bits).
    pixel_vr
        VR of the pixel data element. It matters for big endian files only, where ``OW`` swaps byte pairs.

    Raises
    ------
    FileError
        When the values contradict each other or the standard so that no frame can be read.
    """

    rows: int
    columns: int
    samples_per_pixel: int = 1
    bits_allocated: int = 8
    bits_stored: int = 0
    high_bit: int = -1
    pixel_representation: int = 0
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN
    is_float: bool = False
    pixel_vr: str = ""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise FileError(
                f"Rows is {self.rows} and Columns is {self.columns}; both must be at least 1: "
                "the file describes no image"
            )
        if self.samples_per_pixel < 1:
            raise FileError(f"Samples per Pixel is {self.samples_per_pixel}; expected 1 or 3")
        allowed = (32, 64) if self.is_float else tuple(_CONTAINERS)
        if self.bits_allocated not in allowed:
            raise FileError(
                f"Bits Allocated is {self.bits_allocated}; expected one of "
                f"{', '.join(map(str, allowed))}: other cell sizes cannot be read"
            )
        if self.pixel_representation not in (0, 1):
            raise FileError(f"Pixel Representation is {self.pixel_representation}; expected 0 or 1")
        stored = self.bits_stored or self.bits_allocated
        if self.is_float:
            stored = self.bits_allocated
        if not 1 <= stored <= self.bits_allocated:
            raise FileError(f"Bits Stored is {stored}; expected 1 to Bits Allocated, {self.bits_allocated}")
        high = stored - 1 if self.high_bit < 0 or self.is_float else self.high_bit
        if not stored - 1 <= high < self.bits_allocated:
            warnings.warn(
                f"High Bit is {high}, which {stored} stored bits of {self.bits_allocated} do not allow; "
                f"{stored - 1} is used",
                DicomMLWarning,
                stacklevel=3,
            )
            high = stored - 1
        object.__setattr__(self, "bits_stored", stored)
        object.__setattr__(self, "high_bit", high)

    @classmethod
    def from_dataset(cls, dataset: Dataset, transfer_syntax_uid: str | None = None) -> FrameInfo:
        """Take the values from a pydicom data set.

        Parameters
        ----------
        dataset
            The data set of an image; its pixel data need not be loaded.
        transfer_syntax_uid
            Stands in for the file meta information's value where that is absent.

        Raises
        ------
        FileError
            When a required attribute is missing.
        """
        uid = transfer_syntax_uid
        if uid is None:
            meta = getattr(dataset, "file_meta", None)
            uid = str(getattr(meta, "TransferSyntaxUID", "") or "")
            if not uid:
                raise FileError(
                    "the file has no Transfer Syntax UID, so its pixel data cannot be decoded: pass transfer_syntax_uid"
                )
        keyword = next(
            (k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), "PixelData"
        )
        is_float = keyword != "PixelData"
        vr = str(dataset[keyword].VR) if keyword in dataset else ""

        def integer(name: str, default: int | None) -> int:
            value = dataset.get(name)
            if value is None or value == "":
                if default is None:
                    raise FileError(f"{name} is missing: the file describes no image")
                return default
            return int(value)

        samples = integer("SamplesPerPixel", 1)
        allocated = integer("BitsAllocated", None if not is_float else 64 if keyword == "DoubleFloatPixelData" else 32)
        photometric = str(dataset.get("PhotometricInterpretation") or "")
        return cls(
            rows=integer("Rows", None),
            columns=integer("Columns", None),
            samples_per_pixel=samples,
            bits_allocated=allocated,
            bits_stored=integer("BitsStored", allocated),
            high_bit=integer("HighBit", -1),
            pixel_representation=integer("PixelRepresentation", 0),
            photometric_interpretation=photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
            planar_configuration=integer("PlanarConfiguration", 0) if samples > 1 else 0,
            transfer_syntax_uid=uid,
            is_float=is_float,
            pixel_vr=vr,
        )

    def replace(self, **changes: Any) -> FrameInfo:
        """Return a copy with some values changed."""
        return replace(self, **changes)

    @property
    def signed(self) -> bool:
        """Whether decoded samples are signed integers."""
        return self.pixel_representation == 1 and not self.is_float

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a decoded sample, in the machine's byte order; 1-bit samples are uint8 of 0 and 1."""
        if self.is_float:
            return np.dtype(f"f{self.bits_allocated // 8}")
        kind = "i" if self.signed and self.bits_allocated > 1 else "u"
        return np.dtype(f"{kind}{_CONTAINERS[self.bits_allocated]}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a decoded frame: (rows, columns), or (rows, columns, samples) for colour."""
        if self.samples_per_pixel == 1:
            return (self.rows, self.columns)
        return (self.rows, self.columns, self.samples_per_pixel)

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame. Frames of 1-bit samples follow each other without padding."""
        samples = self.samples_per_pixel
        if self.photometric_interpretation == "YBR_FULL_422" and samples == 3:
            samples = 2  # two pixels share one Cb and one Cr (PS3.3 C.7.6.3.1.2)
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        """Bytes of one native frame, rounded up to a whole byte."""
        return (self.frame_bits + 7) // 8

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one decoded frame in memory."""
        return self.rows * self.columns * self.samples_per_pixel * self.dtype.itemsize


class FrameCodec(ABC):
    """Decodes, and perhaps encodes, single frames of some transfer syntaxes.

    A codec is stateless: one instance serves all threads. To add one, put a module into
    ``dicom_ml.encoding.codecs`` that decorates its class with ``@register_codec``, or call
    :func:`dicom_ml.encoding.codecs.register_codec` from elsewhere.
    `dicom_ml.testing.codecs.CodecConformance` checks one.
    """

    #: UIDs that the codec decodes.
    transfer_syntaxes: ClassVar[tuple[str, ...]] = ()
    #: UIDs that the codec encodes, always without loss.
    encodes: ClassVar[tuple[str, ...]] = ()
    #: Whether `decode_into` spares an array and a copy, so that a buffer used again and again is worthwhile.
    writes_into: ClassVar[bool] = False

    @abstractmethod
    def decode(self, data: Buffer, info: FrameInfo) -> Array:
        """Decode one frame into stored values.

        Parameters
        ----------
        data
            The whole encoded frame; bytes of padding may follow it.
        info
            What the header says of the frame.

        Returns
        -------
        numpy.ndarray
            Of ``info.shape`` and ``info.dtype``, in the colour model of the photometric interpretation
            (``YBR_FULL_422`` comes upsampled, as ``YBR_FULL``; ``YBR_RCT`` and ``YBR_ICT`` come as ``RGB``).

        Raises
        ------
        CodecError
            When the frame cannot be decoded or is not what the header says.
        """

    def decode_rgb(self, data: Buffer, info: FrameInfo) -> Array:
        """Decode one frame into RGB; as `decode`, but for the colour model. Monochrome stays monochrome."""
        from .color import to_rgb

        return to_rgb(self.decode(data, info), info.photometric_interpretation, info.bits_stored)

    def decode_into(self, data: Buffer, info: FrameInfo, out: Array, *, rgb: bool = False) -> None:
        """Decode one frame into ``out``, which has ``info.shape`` and a type that holds ``info.dtype``."""
        out[...] = self.decode_rgb(data, info) if rgb else self.decode(data, info)

    def check_encodable(self, info: FrameInfo) -> None:
        """Raise EncodingError where the standard, or the codec, does not allow such frames."""
        if info.transfer_syntax_uid not in self.encodes:
            raise EncodingError(f"{type(self).__name__} cannot write transfer syntax {info.transfer_syntax_uid}")

    def encode(self, frame: Array, info: FrameInfo) -> bytes:
        """Encode one frame without loss.

        Parameters
        ----------
        frame
            Stored values of ``info.shape``. Any integer or bool type whose values fit in ``info.bits_stored``.
        info
            What the header will say of the frame, ``transfer_syntax_uid`` included.

        Returns
        -------
        bytes
            The frame as one fragment, not yet padded to even length.

        Raises
        ------
        EncodingError
            When such a frame cannot be written in the transfer syntax.
        """
        raise EncodingError(f"transfer syntax {info.transfer_syntax_uid} can be read but not written")
