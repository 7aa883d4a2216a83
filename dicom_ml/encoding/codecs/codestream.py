"""Headers of codestreams, read before a decoder is called.

They tell what a decoder would return, so that a frame which contradicts the DICOM header, or pretends to be
gigantic, is refused before memory is taken for it; and they tell bits, sign and colour model, which the
decoders do not report.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass

from dicom_ml.encoding.limits import UNPACKED, is_too_much
from dicom_ml.errors import CodecError, DicomMLWarning

from .base import Buffer, FrameInfo

__all__ = [
    "J2kHeader",
    "JpegHeader",
    "check_end",
    "check_expansion",
    "check_size",
    "check_tile_parts",
    "has_end",
    "read_j2k_header",
    "read_jpeg_header",
]

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
#: Decoded bytes that may come of any frame, however few bytes encode it.
_ALWAYS = 64 << 20
#: Decoded bytes that a byte encodes at most: two bytes of RLE are 128, a byte of deflate is 1032 (each perhaps 8
#: samples of one bit), four blocks of 64 samples take a byte of Huffman codes. The others have no bound, but a use.
_MOST_OF_A_BYTE = {
    "1.2.840.10008.1.2.5": 64,
    "1.2.840.10008.1.2.8.1": 8 * 1040,
    "1.2.840.10008.1.2.4.50": 512,
    "1.2.840.10008.1.2.4.57": 512,
    "1.2.840.10008.1.2.4.70": 512,
}
_USUALLY_MOST = 20_000


@dataclass(frozen=True)
class JpegHeader:
    """Frame header of a JPEG or JPEG-LS codestream (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2)."""

    process: int  # low byte of the start-of-frame marker: 0xC0 baseline ... 0xC3 lossless, 0xF7 JPEG-LS
    precision: int
    rows: int
    columns: int
    components: int
    component_ids: bytes
    subsampled: bool
    jfif: bool
    adobe_transform: int | None


@dataclass(frozen=True)
class J2kHeader:
    """SIZ and COD of a JPEG 2000 codestream (ISO 15444-1 A.5.1 and A.6.1)."""

    start: int  # where the codestream begins: 0, or after the boxes of a JP2 file
    precision: int
    signed: bool
    rows: int
    columns: int
    components: int
    component_transform: bool
    reversible: bool
    high_throughput: bool
    tiles: int  # where the first tile-part begins


# The header read last, and its bytes: frames of one file begin alike.
_last_jpeg: tuple[bytes, JpegHeader] = (b"", JpegHeader(0, 0, 0, 0, 0, b"", False, False, None))


def read_jpeg_header(data: Buffer) -> JpegHeader:
    """Read the markers of a JPEG or JPEG-LS frame up to its frame header."""
    global _last_jpeg
    known, header = _last_jpeg
    if known and bytes(data[: len(known)]) == known:
        return header
    header, end = _parse_jpeg_header(data)
    _last_jpeg = bytes(data[:end]), header
    return header


def _parse_jpeg_header(data: Buffer) -> tuple[JpegHeader, int]:
    size = len(data)
    if size < 4 or data[0] != 0xFF or data[1] != 0xD8:
        raise CodecError(f"the frame does not begin with a JPEG start of image (found {_hex(data)})")
    jfif = False
    adobe: int | None = None
    at = 2
    while at + 4 <= size:
        if data[at] != 0xFF:
            raise CodecError(f"the JPEG header is damaged at byte {at}: a marker was expected")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _SOF:
            if at + 10 > size:
                break
            precision, rows, columns, count = struct.unpack_from(">BHHB", data, at + 4)
            table = bytes(data[at + 10 : at + 10 + 3 * count])
            if len(table) < 3 * count:
                break
            subsampled = any(factor != 0x11 for factor in table[1::3]) and count > 1
            header = JpegHeader(marker, precision, rows, columns, count, table[::3], subsampled, jfif, adobe)
            return header, at + 10 + 3 * count
        if marker == 0xE0 and bytes(data[at + 4 : at + 8]) == b"JFIF":
            jfif = True
        elif marker == 0xEE and length >= 14 and bytes(data[at + 4 : at + 9]) == b"Adobe" and at + 15 < size:
            adobe = data[at + 15]
        at += 2 + length
    raise CodecError("the JPEG frame ends before its frame header: the file is truncated or damaged")


def read_j2k_header(data: Buffer) -> J2kHeader:
    """Read the main header of a JPEG 2000 or HTJ2K frame, bare or within the boxes of a JP2 file."""
    start = 0
    size = len(data)
    if size >= 12 and bytes(data[4:8]) == b"jP  ":
        start = _jp2_codestream(data)
    if size < start + 52 or bytes(data[start : start + 4]) != b"\xff\x4f\xff\x51":
        raise CodecError(f"the frame does not begin with a JPEG 2000 codestream (found {_hex(data)})")
    capabilities, x, y, x0, y0 = struct.unpack_from(">H4I", data, start + 6)
    (components,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    (siz_length,) = struct.unpack_from(">H", data, start + 4)
    transform = False
    reversible = True
    at = start + 4 + siz_length
    while at + 4 <= size and data[at] == 0xFF and data[at + 1] not in (0x90, 0x93):
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0x52 and at + 13 < size:
            transform = data[at + 8] == 1
            reversible = data[at + 13] == 1
        at += 2 + length
    return J2kHeader(
        start=start,
        precision=(depth & 0x7F) + 1,
        signed=depth >= 0x80,
        rows=y - y0,
        columns=x - x0,
        components=components,
        component_transform=transform,
        reversible=reversible,
        high_throughput=bool(capabilities & 0x4000),
        tiles=at,
    )


def _jp2_codestream(data: Buffer) -> int:
    at = 0
    size = len(data)
    while at + 8 <= size:
        length, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1 and at + 16 <= size:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if kind == b"jp2c":
            return at + header
        if length < header:
            break
        at += length
    raise CodecError("the frame is a JP2 file without a codestream: it is truncated or damaged")


def check_size(header: JpegHeader | J2kHeader, info: FrameInfo) -> None:
    """Raise CodecError unless the codestream has the size and samples of the DICOM header."""
    found = (header.rows, header.columns, header.components)
    expected = (info.rows, info.columns, info.samples_per_pixel)
    if found != expected:
        raise CodecError(
            f"the encoded frame is {found[0]} x {found[1]} with {found[2]} components, the header says "
            f"{expected[0]} x {expected[1]} with {expected[2]}: the frame belongs to another image or the "
            "header is wrong"
        )


def check_expansion(encoded: int, info: FrameInfo, frames: int = 1) -> None:
    """Raise CodecError where a header announces far more than its encoded frames can hold.

    Parameters
    ----------
    encoded
        Bytes of the frames as encoded.
    info
        What the header says of each.
    frames
        How many there are.
    """
    decoded = info.decoded_bytes * frames
    if is_too_much(decoded, encoded):
        raise CodecError(
            f"the header announces {decoded} bytes of pixels in {encoded} encoded bytes, as a bomb does; "
            f"{UNPACKED.advice}"
        )
    if decoded <= _ALWAYS * frames:
        return
    if decoded > encoded * _MOST_OF_A_BYTE.get(info.transfer_syntax_uid, _USUALLY_MOST):
        raise CodecError(
            f"the header announces {info.rows} x {info.columns} pixels, {decoded} bytes, in {encoded} encoded bytes, "
            "which cannot hold them: the header is wrong, or the file a bomb"
        )


def check_tile_parts(data: Buffer, header: J2kHeader) -> None:
    """Raise CodecError where a tile-part of a JPEG 2000 frame is cut off (ISO 15444-1 A.4.2).

    Some decoders make the best of what is there and return a blurred image.
    """
    at = header.tiles
    size = len(data)
    while at + 12 <= size and data[at] == 0xFF and data[at + 1] == 0x90:
        (length,) = struct.unpack_from(">I", data, at + 6)
        if length == 0:  # the last one, as long as the frame
            return
        at += max(length, 12)
    if at > size or at == header.tiles:
        raise CodecError("the JPEG 2000 frame breaks off within a tile: it is truncated or damaged")


def check_end(data: Buffer) -> None:
    """Warn where a JPEG frame has no end marker: the decoder fills what is missing with grey."""
    if not has_end(data):
        warnings.warn(
            "a JPEG frame has no end marker: it may be truncated, and its lower part grey",
            DicomMLWarning,
            stacklevel=5,
        )


def has_end(data: Buffer) -> bool:
    """Whether a JPEG or JPEG-LS frame ends with an end of image; padding may follow."""
    return b"\xff\xd9" in bytes(data[-4:]) or b"\xff\xd9" in bytes(data[-4096:])


def _hex(data: Buffer) -> str:
    return bytes(data[:4]).hex(" ").upper() or "nothing"
