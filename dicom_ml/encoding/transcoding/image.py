"""One image file in another lossless transfer syntax, proved frame by frame before it takes its name."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np

from dicom_ml.encoding.codecs import FrameInfo, encode_frame, is_encapsulated
from dicom_ml.encoding.codecs.base import Array
from dicom_ml.encoding.codecs.samples import fit_native
from dicom_ml.encoding.thread_pool import default_threads, parallel_for
from dicom_ml.encoding.writer import EncapsulatedFrames, NativeFrames, atomic_file, element_bytes, file_head
from dicom_ml.errors import CodecError, EncodingError

from .source import BITWISE, Image, opened_image

__all__ = ["encoded_info", "transcode_file"]

#: Decoded bytes that are held at a time.
_CHUNK = 64 << 20
_JPEG_2000 = frozenset(["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"])
_ENCAPSULATED_PIXELS = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
_ICON = 0x00880200
_MOST = 0xFFFFFFFF

Progress = Callable[[float], object]


def transcode_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    syntax: str,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write an image file in another lossless transfer syntax.

    The object stays the same, SOP Instance UID included: it has the same pixels, and only a lossy compression makes a
    new one of it (PS3.3 C.7.6.1.1.5). Elements around the pixel data are copied byte by byte from explicit VR little
    endian. Cells keep their unused bits where both transfer syntaxes hold them. The complete file is read back, and
    every frame decoded and compared by a digest of 128 bits, before it takes its name.

    Parameters
    ----------
    source, output
        Files.
    syntax
        UID of a transfer syntax that is written (see `dicom_ml.encoding.codecs.encodable_syntaxes`).
    threads
        Most threads to use; None takes one a core, 8 at most.
    progress
        Called, from any thread, with the share of the work that was done since the last call; 1 in all.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    EncodingError
        When the image cannot be held without loss in the transfer syntax; the message says why.
    CodecError
        When a frame cannot be decoded, or does not come back as it was.
    FileError
        When the source is damaged or no DICOM file.
    """
    with opened_image(source) as image:
        infos = encoded_info(image, syntax)
        for number, info in enumerate(infos):
            try:
                with atomic_file(output) as file:
                    digests = _write(image, info, file, threads, progress)
                    _verify(str(file.name), info, digests, threads, progress)
                return len(digests)
            except EncodingError:
                # harsh contrasts overflow the colour transform of JPEG 2000: such images stay RGB within
                if number + 1 == len(infos):
                    raise
        raise AssertionError("there is always a description to try")


def encoded_info(image: Image, syntax: str) -> list[FrameInfo]:
    """What the header will say of a frame; the next where the one before turns out not to do.

    Raises
    ------
    EncodingError
        When the image cannot be held in the transfer syntax.
    """
    info = image.info
    if info.is_float:
        raise EncodingError("float pixel data is defined for uncompressed files only (PS3.5 8.2)")
    for tag, element in image.before:
        if tag == _ICON and _ENCAPSULATED_PIXELS in bytes(element):
            raise EncodingError("its icon is compressed in the transfer syntax of the file: remove the icon first")
    bitwise = image.transfer_syntax in BITWISE and syntax in BITWISE
    decoded = (image.frames.info if bitwise else info).replace(
        transfer_syntax_uid=syntax, planar_configuration=0, pixel_vr=""
    )
    model = {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB", "YBR_ICT": "RGB"}
    if info.samples_per_pixel > 1:
        decoded = decoded.replace(
            photometric_interpretation=model.get(info.photometric_interpretation, info.photometric_interpretation)
        )
    if syntax in _JPEG_2000 and decoded.photometric_interpretation == "RGB" and info.samples_per_pixel == 3:
        return [decoded.replace(photometric_interpretation="YBR_RCT"), decoded]
    return [decoded]


def _write(
    image: Image, info: FrameInfo, file: BinaryIO, threads: int | None, progress: Progress | None
) -> list[bytes]:
    """Write the file, and return a digest of each frame."""
    changed = {0x00280004: element_bytes(0x00280004, "CS", info.photometric_interpretation.encode())}
    if info.samples_per_pixel > 1:
        changed[0x00280006] = element_bytes(0x00280006, "US", struct.pack("<H", 0))
    file.write(file_head(image.sop_class, image.sop_instance, info.transfer_syntax_uid))
    file.write(b"".join(changed.get(tag, element) for tag, element in image.before))
    count = len(image.frames)
    sink = _sink(file, info, count)
    digests: list[bytes] = []
    for chunk in _chunks(count, info):
        encoded: list[bytes] = [b""] * len(chunk)
        found: list[bytes] = [b""] * len(chunk)

        def work(at: int, chunk: range = chunk, encoded: list[bytes] = encoded, found: list[bytes] = found) -> None:
            frame = _values(image, chunk[at], info)
            found[at] = _digest(frame, info)
            encoded[at] = np.ascontiguousarray(frame).tobytes() if _one_bit(info) else encode_frame(frame, info)

        parallel_for(work, range(len(chunk)), threads)
        if isinstance(sink, EncapsulatedFrames):
            for one in encoded:
                sink.append(one)
        elif _one_bit(info):
            # frames of one bit follow each other without padding; a chunk ends with a byte, but for the last
            bits = np.frombuffer(b"".join(encoded), np.uint8)
            sink.write(chunk.start * info.frame_bits // 8, np.packbits(bits, bitorder="little").data)
        else:
            sink.write_run(chunk.start * info.frame_bytes, encoded)
        digests += found
        if progress is not None:
            progress(len(chunk) / count / 2)
    sink.close()
    file.write(b"".join(element for _, element in image.after))
    return digests


def _one_bit(info: FrameInfo) -> bool:
    return info.bits_allocated == 1 and not is_encapsulated(info.transfer_syntax_uid)


def _sink(file: BinaryIO, info: FrameInfo, count: int) -> EncapsulatedFrames | NativeFrames:
    if not is_encapsulated(info.transfer_syntax_uid):
        return NativeFrames(file, "OW" if info.bits_allocated > 8 else "OB", (info.frame_bits * count + 7) // 8)
    # no encoder makes a frame larger than this; only where it could pass 4 GiB are long offsets needed
    largest = info.decoded_bytes * 2 + 2048
    return EncapsulatedFrames(file, count, extended=count > 1 and largest * count > _MOST)


def _chunks(count: int, info: FrameInfo) -> Sequence[range]:
    """Runs of frames whose decoded bytes fit in memory, each but the last of whole bytes if packed."""
    size = max(_CHUNK // max(info.decoded_bytes, 1), default_threads(), 8) // 8 * 8 or 8
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _values(image: Image, i: int, info: FrameInfo) -> Array:
    """A frame as it is to be encoded; where unused bits would be lost, an error says so."""
    cells = image.frames.decode(i)
    held = image.frames.info
    if info.bits_stored == held.bits_stored:
        return cells
    values = fit_native(cells, image.info)
    if not np.array_equal(values, cells):
        raise EncodingError(
            f"frame {i + 1} holds bits beyond Bits Stored, {image.info.bits_stored} (overlays, or padding), which "
            "the transfer syntax has no room for: 'rle', 'deflate' and 'raw' keep them"
        )
    return values


def _digest(frame: Array, info: FrameInfo) -> bytes:
    cells = np.ascontiguousarray(frame, info.dtype)
    return hashlib.blake2b(cells.data, digest_size=16).digest()


def _verify(
    name: str, info: FrameInfo, digests: Sequence[bytes], threads: int | None, progress: Progress | None
) -> None:
    """Read the complete file back and compare every frame."""
    with opened_image(name) as written:
        header = written.info
        same = (header.rows, header.columns, header.samples_per_pixel, header.bits_allocated, header.signed)
        if same != (info.rows, info.columns, info.samples_per_pixel, info.bits_allocated, info.signed):
            raise CodecError("the header did not come back as it was written; the file is not kept")
        if len(written.frames) != len(digests):
            raise CodecError(f"{len(digests)} frames were written, {len(written.frames)} came back; it is not kept")

        def check(i: int) -> None:
            if _digest(written.frames.decode(i), info) != digests[i]:
                raise CodecError(f"frame {i + 1} did not come back as it was; the file is not kept")
            if progress is not None:
                progress(1 / len(digests) / 2)

        parallel_for(check, range(len(digests)), threads)
