"""Which part of an image is shown, how large, and which way up (PS3.3 C.10.4, C.10.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.derived import number_string

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DisplayedArea", "Orientation", "read_areas"]

MODES = {"fit": "SCALE TO FIT", "true size": "TRUE SIZE", "magnify": "MAGNIFY"}


@dataclass(frozen=True)
class Orientation:
    """How an image is turned for display: by ``rotation`` degrees clockwise, then flipped left to right if ``flipped``.

    Parameters
    ----------
    rotation : int
        0, 90, 180 or 270.
    flipped : bool
    """

    rotation: int = 0
    flipped: bool = False

    def __post_init__(self) -> None:
        if self.rotation not in (0, 90, 180, 270):
            raise EncodingError(f"an image is turned by 0, 90, 180 or 270 degrees, found {self.rotation}")

    def apply(self, picture: npt.NDArray[Any], color: bool = False) -> npt.NDArray[Any]:
        """Pictures ``(..., H, W)``, or ``(..., H, W, 3)`` with ``color``, turned as they are to be shown."""
        rows, columns = (-3, -2) if color else (-2, -1)
        turned = np.rot90(picture, -self.rotation // 90, axes=(rows, columns))
        return np.flip(turned, axis=columns) if self.flipped else turned

    @property
    def is_none(self) -> bool:
        """Whether nothing is turned."""
        return self.rotation == 0 and not self.flipped

    def corners(self, start: tuple[int, int], stop: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """The pixels, as (row, column) from 1, that are shown upper left and lower right of an area."""
        ends = [(start[0] + 1, start[1] + 1), (stop[0], stop[1])]
        square = np.array([[(ends[i][0], ends[j][1]) for j in (0, 1)] for i in (0, 1)])
        shown = np.rot90(square, -self.rotation // 90, axes=(0, 1))
        if self.flipped:
            shown = np.flip(shown, axis=1)
        (a, b), (c, d) = shown[0, 0].tolist(), shown[1, 1].tolist()
        return (a, b), (c, d)


@dataclass(frozen=True)
class DisplayedArea:
    """The part of images that is shown.

    Parameters
    ----------
    start, stop : (row, column)
        Array indices of the part, ``[start, stop)``; it may reach outside the image.
    mode : str
        ``"fit"``: as large as fits; ``"true size"``: as large as in life; ``"magnify"``: by ``magnification``.
    spacing : (float, float), optional
        Between rows and columns in mm; needed for true size.
    aspect : (int, int)
        Height to width of a pixel, where there is no spacing.
    magnification : float, optional
        Pixels of the display for each pixel of the image.
    images : tuple
        As of :class:`~dicom_ml.objects.presentation.VOI`; empty for all.
    matrix : bool
        On a slide: indices are those of the total pixel matrix.
    """

    start: tuple[int, int]
    stop: tuple[int, int]
    mode: str = "fit"
    spacing: tuple[float, float] | None = None
    aspect: tuple[int, int] = (1, 1)
    magnification: float | None = None
    images: tuple[Any, ...] = ()
    matrix: bool = False

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "images", tuple(self.images))
        for name in ("start", "stop"):
            set_(self, name, tuple(int(v) for v in getattr(self, name)))
        if any(a >= b for a, b in zip(self.start, self.stop, strict=True)):
            raise EncodingError(f"a displayed area's start lies below its stop, found {self.start} and {self.stop}")
        if self.mode not in MODES:
            raise EncodingError(f"a displayed area's mode is one of {', '.join(MODES)}, found {self.mode!r}")
        if self.mode == "true size" and self.spacing is None:
            raise EncodingError("true size needs the spacing of pixels, which is not known; use mode='fit'")
        if self.mode == "magnify" and not (self.magnification or 0) > 0:
            raise EncodingError("mode='magnify' needs a magnification above 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the area."""
        return self.stop[0] - self.start[0], self.stop[1] - self.start[1]

    def to_dataset(self, orientation: Orientation) -> Dataset:
        """An item of Displayed Area Selection Sequence, without images."""
        from pydicom import Dataset

        item = Dataset()
        first, last = orientation.corners(self.start, self.stop)
        if self.matrix:
            item.PixelOriginInterpretation = "VOLUME"
        item.DisplayedAreaTopLeftHandCorner = list(first[::-1])
        item.DisplayedAreaBottomRightHandCorner = list(last[::-1])
        item.PresentationSizeMode = MODES[self.mode]
        if self.spacing is not None:
            item.PresentationPixelSpacing = [number_string(v) for v in self.spacing]
        else:
            item.PresentationPixelAspectRatio = list(self.aspect)
        if self.mode == "magnify":
            item.PresentationPixelMagnificationRatio = self.magnification
        return item

    def to_pixels(self, fractions: npt.ArrayLike, orientation: Orientation) -> npt.NDArray[np.float64]:
        """Points ``(N, 2)`` as fractions of what is shown, ``(row, column)``, in edge-based indices of the image."""
        points = np.array(fractions, dtype=np.float64)
        rows, columns = points[:, 0], points[:, 1]
        if orientation.flipped:
            columns = 1 - columns
        for _ in range(orientation.rotation // 90):  # turn back, counter-clockwise
            rows, columns = 1 - columns, rows
        return np.stack([self.start[0] + rows * self.shape[0], self.start[1] + columns * self.shape[1]], axis=1)


def read_orientation(ds: Dataset) -> Orientation:
    """Spatial Transformation of any maker (PS3.3 C.10.6)."""
    rotation = int(ds.get("ImageRotation") or 0) % 360
    flipped = str(ds.get("ImageHorizontalFlip") or "N").upper() == "Y"
    if rotation % 90:
        raise FileError(f"Image Rotation is {rotation}; expected 0, 90, 180 or 270")
    return Orientation(rotation, flipped)


def read_areas(ds: Dataset, references: Any) -> list[DisplayedArea]:
    """Displayed areas of any maker.

    Raises
    ------
    FileError
        If one has no corners.
    """
    found = []
    for item in ds.get("DisplayedAreaSelectionSequence") or []:
        try:
            corners = np.array(
                [
                    [int(v) for v in item[f"DisplayedArea{name}HandCorner"].value][::-1]
                    for name in ("TopLeft", "BottomRight")
                ]
            )
            low, high = corners.min(axis=0) - 1, corners.max(axis=0)
            spacing = item.get("PresentationPixelSpacing")
            aspect = item.get("PresentationPixelAspectRatio")
            mode = {v: k for k, v in MODES.items()}.get(str(item.get("PresentationSizeMode")), "fit")
            magnification = item.get("PresentationPixelMagnificationRatio")
            ratio = None if magnification in (None, "") else float(magnification)
            if (mode == "true size" and not spacing) or (mode == "magnify" and not ratio):
                mode = "fit"  # without what it needs, there is nothing else that can be done
            found.append(
                DisplayedArea(
                    (int(low[0]), int(low[1])),
                    (int(high[0]), int(high[1])),
                    mode,
                    (float(spacing[0]), float(spacing[1])) if spacing else None,
                    (int(aspect[0]), int(aspect[1])) if aspect else (1, 1),
                    ratio,
                    references(item),
                    str(item.get("PixelOriginInterpretation") or "") == "VOLUME",
                )
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FileError("a displayed area has no corners of two integers") from error
    return found
