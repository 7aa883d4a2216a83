"""Files of images in another lossless transfer syntax: the same object, the same pixels, other bytes."""

from __future__ import annotations

from .folder import TARGETS, Transcoded, transcode
from .image import transcode_file

__all__ = ["TARGETS", "Transcoded", "transcode", "transcode_file"]
