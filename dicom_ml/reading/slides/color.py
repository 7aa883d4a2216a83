"""Colour of slides: ICC profiles applied, and the colour of what was not imaged."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs.optional import library
from dicom_ml.errors import CodecError, MissingPackageError

__all__ = ["absent_color", "lab_to_srgb", "to_srgb"]

Array = npt.NDArray[Any]

# D50 white of the profile connection space, and from it to linear sRGB (Bradford-adapted to D65).
_WHITE = np.array([0.9642, 1.0, 0.8249])
_XYZ_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


def to_srgb(image: Array, profile: bytes) -> Array:
    """Bring colours from the space of an ICC profile to sRGB, with perceptual intent.

    Parameters
    ----------
    image : ndarray of shape (..., 3), uint8 or uint16
    profile : bytes
        ICC profile of an RGB device.

    Raises
    ------
    CodecError
        If the profile is damaged or of another kind.
    MissingPackageError
        If neither imagecodecs nor Pillow is installed.
    """
    pixels = np.ascontiguousarray(image).reshape(1, -1, 3)
    imagecodecs = library("imagecodecs")
    try:
        if imagecodecs is not None:
            srgb = imagecodecs.cms_profile("srgb")
            found = imagecodecs.cms_transform(pixels, profile, srgb, colorspace="rgb", outcolorspace="rgb")
        else:
            found = _with_pillow(pixels, profile)
    except MissingPackageError:
        raise
    except Exception as error:
        # both libraries raise errors of their own kinds
        raise CodecError(
            f"the ICC profile of the slide cannot be applied ({error}): read with color='rgb', which leaves it out"
        ) from error
    return np.asarray(found, image.dtype).reshape(image.shape)


def _with_pillow(pixels: Array, profile: bytes) -> Array:
    pillow, cms = library("PIL.Image"), library("PIL.ImageCms")
    if pillow is None or cms is None:
        raise MissingPackageError("color='srgb' needs imagecodecs or Pillow: install one of them")
    if pixels.dtype != np.uint8:
        raise CodecError("Pillow transforms 8-bit colour only; install imagecodecs")
    image = pillow.fromarray(pixels)
    return np.asarray(cms.applyTransform(image, _pillow_transform(profile)))


@lru_cache(maxsize=16)
def _pillow_transform(profile: bytes) -> Any:
    cms = library("PIL.ImageCms")
    source = cms.getOpenProfile(io.BytesIO(profile))
    return cms.buildTransform(source, cms.createProfile("sRGB"), "RGB", "RGB", renderingIntent=0)


def lab_to_srgb(lab: tuple[int, int, int]) -> tuple[float, float, float]:
    """Recommended Absent Pixel CIELab Value, as encoded (PS3.3 C.10.7.1.1), to sRGB from 0 to 1."""
    lightness = lab[0] / 65535 * 100
    if lab[0] == 65535:
        return 1.0, 1.0, 1.0  # nothing is lighter than white, whatever chroma is claimed
    a, b = (value / 65535 * 255 - 128 for value in lab[1:])
    y = (lightness + 16) / 116
    steps = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(steps > 6 / 29, steps**3, (steps - 16 / 116) * 3 * (6 / 29) ** 2) * _WHITE
    linear = np.clip(_XYZ_TO_SRGB @ xyz, 0, 1)
    r, g, b = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).tolist()
    return r, g, b


def absent_color(lab: tuple[int, int, int] | None, samples: int, top: int) -> Array:
    """Value of pixels that no frame shows.

    Parameters
    ----------
    lab : tuple of int, or None
        Recommended Absent Pixel CIELab Value.
    samples : int
        3 for colour, 1 for monochrome.
    top : int
        Largest value of a sample.

    Returns
    -------
    ndarray of shape (samples,)
        White, or for monochrome images, of which most are fluorescence, black; unless ``lab`` says otherwise.
    """
    if lab is None:
        return np.full(samples, top if samples > 1 else 0, np.float64)
    if samples == 1:
        return np.array([round(lab[0] / 65535 * top)], np.float64)
    return np.asarray(np.rint(np.array(lab_to_srgb(lab)) * top))
