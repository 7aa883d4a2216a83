"""Codecs of single frames: one module each, found without a central list.

>>> import numpy as np
>>> from dicom_ml.encoding.codecs import COMPRESSIONS, FrameInfo, decode_frame, encode_frame
>>> info = FrameInfo(rows=2, columns=3, transfer_syntax_uid=COMPRESSIONS["rle"])
>>> encoded = encode_frame(np.arange(6).reshape(2, 3), info)
>>> decode_frame(encoded, info).tolist()
[[0, 1, 2], [3, 4, 5]]
"""

from __future__ import annotations

from dicom_ml.errors import CodecError, DicomMLError

from .base import Array, Buffer, FrameCodec, FrameInfo
from .codestream import check_expansion
from .registry import (
    COMPRESSIONS,
    decodable_syntaxes,
    describe_syntax,
    encodable_syntaxes,
    get_decoder,
    get_encoder,
    is_encapsulated,
    register_codec,
    transfer_syntax,
)

__all__ = [
    "COMPRESSIONS",
    "FrameCodec",
    "FrameInfo",
    "decodable_syntaxes",
    "decode_frame",
    "describe_syntax",
    "encodable_syntaxes",
    "encode_frame",
    "get_decoder",
    "get_encoder",
    "is_encapsulated",
    "register_codec",
    "transfer_syntax",
]


def decode_frame(
    data: Buffer,
    info: FrameInfo,
    *,
    frame: int | None = None,
    color: str = "stored",
    out: Array | None = None,
) -> Array:
    """Decode one frame with the codec of its transfer syntax.

    Parameters
    ----------
    data
        The encoded frame.
    info
        What the header says of it.
    frame
        Index of the frame from 0, for error messages.
    color
        ``"stored"`` keeps the colour model of the photometric interpretation, ``"rgb"`` converts to RGB.
    out
        Array of ``info.shape`` to decode into.

    Returns
    -------
    numpy.ndarray
        Stored values of ``info.shape`` and ``info.dtype``; perhaps a read-only view of ``data``. ``out``
        where it was given.

    Raises
    ------
    CodecError
        Whatever goes wrong; the message names the transfer syntax and the frame.
    """
    if color not in ("stored", "rgb"):
        raise ValueError(f"color is {color!r}; expected 'stored' or 'rgb'")
    codec = get_decoder(info.transfer_syntax_uid)
    try:
        if is_encapsulated(info.transfer_syntax_uid):
            check_expansion(len(data), info)
        if out is not None:
            codec.decode_into(data, info, out, rgb=color == "rgb")
            return out
        return codec.decode_rgb(data, info) if color == "rgb" else codec.decode(data, info)
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise errors of their own kinds, which the caller should not have to know.
        which = "the frame" if frame is None else f"frame {frame + 1}"
        reason = str(error) if isinstance(error, DicomMLError) else f"the decoder says: {error}"
        raise CodecError(
            f"{which} in transfer syntax {describe_syntax(info.transfer_syntax_uid)} cannot be decoded: {reason}"
        ) from error


def encode_frame(frame: Array, info: FrameInfo) -> bytes:
    """Encode one frame without loss in ``info.transfer_syntax_uid``.

    Raises
    ------
    EncodingError
        When such a frame cannot be written in the transfer syntax.
    CodecError
        When the encoder fails.
    """
    codec = get_encoder(info.transfer_syntax_uid)
    try:
        return codec.encode(frame, info)
    except (DicomMLError, MemoryError):
        raise
    except Exception as error:
        raise CodecError(
            f"a frame cannot be encoded in {describe_syntax(info.transfer_syntax_uid)}: the encoder says: {error}"
        ) from error
