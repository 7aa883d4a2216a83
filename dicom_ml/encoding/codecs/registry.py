"""Which codec serves which transfer syntax.

Codecs register themselves: every module of this package is imported on the first look-up, so a new codec is
one new file. The modules are light; decoding libraries are imported by the first frame that needs them.
"""

from __future__ import annotations

import importlib
import pkgutil
import threading
from typing import TypeVar

from dicom_ml.errors import CodecError, EncodingError

from .base import FrameCodec

__all__ = [
    "COMPRESSIONS",
    "decodable_syntaxes",
    "describe_syntax",
    "encodable_syntaxes",
    "get_decoder",
    "get_encoder",
    "is_encapsulated",
    "register_codec",
    "transfer_syntax",
]

#: Names for the lossless transfer syntaxes that are written, and their UIDs.
COMPRESSIONS: dict[str | None, str] = {
    None: "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "htjpeg2000": "1.2.840.10008.1.2.4.201",
    "deflate": "1.2.840.10008.1.2.8.1",
}

_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"})

_decoders: dict[str, FrameCodec] = {}
_encoders: dict[str, FrameCodec] = {}
_lock = threading.Lock()
_discovered = False

C = TypeVar("C", bound=type[FrameCodec])


def register_codec(codec: C) -> C:
    """Make a codec class known for its transfer syntaxes, in place of any earlier one. Use as a decorator."""
    instance = codec()
    _decoders.update(dict.fromkeys(codec.transfer_syntaxes, instance))
    _encoders.update(dict.fromkeys(codec.encodes, instance))
    return codec


def _discover() -> None:
    global _discovered
    if _discovered:
        return
    with _lock:
        package = importlib.import_module(__package__)
        own = dict(_decoders), dict(_encoders)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{__package__}.{module.name}")
        # What a user registered before the first look-up stays in place of the shipped codec.
        _decoders.update(own[0])
        _encoders.update(own[1])
        _discovered = True


def get_decoder(uid: str) -> FrameCodec:
    """Return the codec that decodes a transfer syntax.

    Raises
    ------
    CodecError
        When none does.
    """
    _discover()
    try:
        return _decoders[uid]
    except KeyError:
        raise CodecError(
            f"transfer syntax {describe_syntax(uid)} cannot be decoded: convert the file to a supported one first, "
            "for instance with dcmtk or gdcm"
        ) from None


def get_encoder(compression: str | None) -> FrameCodec:
    """Return the codec that encodes a transfer syntax, given by name (see `COMPRESSIONS`) or UID.

    Raises
    ------
    EncodingError
        When none does.
    """
    uid = transfer_syntax(compression)
    return _encoders[uid]


def transfer_syntax(compression: str | None) -> str:
    """Return the UID of a compression: one of the names of `COMPRESSIONS`, or the UID itself.

    Raises
    ------
    EncodingError
        When the name is unknown or the transfer syntax is not written.
    """
    _discover()
    uid = COMPRESSIONS.get(compression) if compression is None or compression[:1].isalpha() else compression
    if uid is None or uid not in _encoders:
        names = ", ".join(repr(name) for name in COMPRESSIONS if name)
        raise EncodingError(f"cannot write compression {compression!r}; expected one of {names}, or None")
    return uid


def is_encapsulated(uid: str) -> bool:
    """Whether pixel data of a transfer syntax is a sequence of fragments (PS3.5 section A.4)."""
    return uid not in _NATIVE


def decodable_syntaxes() -> tuple[str, ...]:
    """Return the UIDs of every transfer syntax that can be decoded."""
    _discover()
    return tuple(sorted(_decoders))


def encodable_syntaxes() -> tuple[str, ...]:
    """Return the UIDs of every transfer syntax that can be encoded."""
    _discover()
    return tuple(sorted(_encoders))


def describe_syntax(uid: str) -> str:
    """Return a transfer syntax UID together with its name, for messages."""
    from pydicom.uid import UID

    name = UID(uid).name
    return uid if name == uid else f"{uid} ({name})"
