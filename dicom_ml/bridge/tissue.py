"""Where a slide holds tissue: a mask at low resolution, and the share of it under any rectangle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.tile_labels import sampled_labels
from dicom_ml.codes import parse_code
from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation import Algorithm, Segment, Segmentation

__all__ = ["BACKGROUND", "TissueMap", "tissue_mask", "tissue_segmentation"]

#: Grey value (0 to 255) from which a pixel is glass; the threshold that lung tissue studies on TCGA use.
BACKGROUND = 220
#: Saturation (0 to 255) that glass does not reach, however the rest of the slide looks.
_LEAST_SATURATION = 13

Mask = npt.NDArray[np.bool_]


def tissue_mask(slide: Any, size: int = 1024, background: int = BACKGROUND, *, method: str = "grey") -> Mask:
    """Where the slide's thumbnail shows tissue.

    Parameters
    ----------
    slide : Slide
    size : int
        Longer side of the thumbnail, in pixels.
    background : int
        Grey value (mean of red, green and blue) from which a pixel is background, whatever the method finds.
    method : {"grey", "otsu", "saturation"}
        ``"grey"``: darker than ``background``. ``"otsu"``: darker than the grey value that parts the thumbnail best
        (Otsu 1979). ``"saturation"``: more colourful, ``(max - min) / max`` of the channels, than the value that parts
        the thumbnail best; marks of a black pen are left out by it.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        It covers the whole of level 0.
    """
    if method not in ("grey", "otsu", "saturation"):
        raise ValueError(f"method is 'grey', 'otsu' or 'saturation', found {method!r}")
    picture = np.asarray(slide.thumbnail(size))
    if picture.dtype != np.uint8:
        picture = (picture >> (8 * picture.dtype.itemsize - 8)).astype(np.uint8)
    color = picture.ndim == 3
    grey = picture.mean(axis=-1) if color else picture.astype(np.float64)
    if method == "grey" or (method == "saturation" and not color):
        return np.asarray(grey < background)
    if method == "otsu":
        return np.asarray(grey < min(background, otsu(grey) + 1))
    high = picture.max(axis=-1).astype(np.float64)
    saturation = 255 * (high - picture.min(axis=-1)) / np.maximum(high, 1)
    return np.asarray((saturation > max(_LEAST_SATURATION, otsu(saturation))) & (grey < background))


def otsu(values: npt.NDArray[Any]) -> int:
    """The value from 0 to 255 up to which, and above which, values differ least among themselves (Otsu 1979)."""
    counts = np.bincount(np.clip(values, 0, 255).astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nanargmax(between)) if np.isfinite(between).any() else 0


def mask_affine(slide: Any, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Affine of a mask that covers the whole of level 0: ``(0, row, column)`` to slide millimetres."""
    base = slide.levels[0]
    factor = [n / m for n, m in zip(base.shape, shape, strict=True)]
    affine = np.array(base.affine, dtype=np.float64)
    affine[:, 3] = base.affine @ np.array([0, (factor[0] - 1) / 2, (factor[1] - 1) / 2, 1])
    affine[:, 1] *= factor[0]
    affine[:, 2] *= factor[1]
    return affine


def tissue_segmentation(slide: Any, mask: npt.ArrayLike | None = None, **options: Any) -> Segmentation:
    """A tissue mask as a binary DICOM segmentation of its slide, at the mask's own resolution.

    Parameters
    ----------
    slide : Slide
    mask : array_like of bool, optional
        It covers the whole of level 0; by default :func:`tissue_mask` makes it.
    **options
        As of :func:`tissue_mask`, and of :meth:`dicom_ml.Segmentation.from_array`.
    """
    from dicom_ml import __version__

    how = {name: options.pop(name) for name in ("size", "background", "method") if name in options}
    found = np.asarray(tissue_mask(slide, **how) if mask is None else mask, dtype=bool)
    said = ", ".join(f"{k}={v}" for k, v in how.items())
    algorithm = Algorithm("dicom_ml tissue mask", version=__version__, parameters=said or None)
    kind = parse_code("SCT:85756007")
    segment = Segment("Tissue", type=kind, category=parse_code("SCT:123037004"), algorithm=algorithm)
    rows, columns = found.shape
    settings = {
        "deterministic": True,
        "series_description": "Tissue",
        "tile_size": (min(256, rows), min(256, -(-columns // 8) * 8)),
        **options,
    }
    affine = mask_affine(slide, (rows, columns))
    return Segmentation.from_array(found[None], source=slide, segments=[segment], affine=affine, **settings)


def as_tissue_mask(slide: Any, tissue: Any, index: int = 0, size: int = 1024) -> Mask:
    """The mask that a caller means.

    Parameters
    ----------
    tissue : None, str, mapping, callable, array_like of bool, or Segmentation
        Nothing or a method: :func:`tissue_mask`; a mapping from Series Instance UID or the slide's place to one of
        the others; a function of the slide; a mask over the whole of level 0; a segmentation, all of whose segments
        are tissue.
    """
    if isinstance(tissue, Mapping):
        keys = [key for key in (slide.source.series_instance_uid, index) if key in tissue]
        if not keys:
            raise GeometryError(f"no tissue mask was given for slide {slide.source.series_instance_uid}")
        tissue = tissue[keys[0]]
    if tissue is None or isinstance(tissue, str):
        return tissue_mask(slide, size, method=tissue or "grey")
    if isinstance(tissue, Segmentation):
        base = slide.levels[0]
        factor = max(1.0, max(base.shape) / (2 * size))
        shape = max(1, round(base.shape[0] / factor)), max(1, round(base.shape[1] / factor))
        return np.asarray(sampled_labels(tissue, Grid((1, *shape), mask_affine(slide, shape)), overlap="first") != 0)
    if isinstance(tissue, Callable):  # type: ignore[arg-type]
        return as_tissue_mask(slide, tissue(slide), index, size)
    mask = np.asarray(tissue, dtype=bool)
    if mask.ndim != 2 or mask.size == 0:
        raise GeometryError(f"a tissue mask is (rows, columns) over the whole slide, found shape {mask.shape}")
    return mask


class TissueMap:
    """Share of tissue under rectangles of a slide, by a summed table: any number of questions cost one look each.

    Parameters
    ----------
    slide : Slide
    tissue : optional
        See :func:`as_tissue_mask`.
    index : int
        Place of the slide, where ``tissue`` is a mapping by place.
    """

    def __init__(self, slide: Any, tissue: Any = None, index: int = 0) -> None:
        mask = as_tissue_mask(slide, tissue, index)
        self._scale = np.array(mask.shape) / np.array(slide.levels[0].shape)
        self._sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
        self._sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)

    def fraction(self, positions: npt.ArrayLike, size: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Share of tissue, 0 to 1, under rectangles of ``size`` (rows, columns of level 0) from ``positions`` on.

        What lies beyond the slide counts as background. Where rectangles begin inside of a pixel of the mask, its
        share counts.
        """
        starts = np.asarray(positions, dtype=np.float64).reshape(-1, 2) * self._scale
        ends = starts + np.array(size) * self._scale
        inside = self._under(ends[:, 0], ends[:, 1]) + self._under(starts[:, 0], starts[:, 1])
        inside -= self._under(starts[:, 0], ends[:, 1]) + self._under(ends[:, 0], starts[:, 1])
        return np.clip(inside / np.prod(np.array(size) * self._scale), 0.0, 1.0)

    def _under(self, row: npt.NDArray[np.float64], column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Tissue above and to the left of points of the mask, linear inside of its pixels."""
        s = self._sums
        row, column = np.clip(row, 0, s.shape[0] - 1), np.clip(column, 0, s.shape[1] - 1)
        r, c = row.astype(int), column.astype(int)
        r2, c2 = np.minimum(r + 1, s.shape[0] - 1), np.minimum(c + 1, s.shape[1] - 1)
        u, v = row - r, column - c
        return (s[r, c] * (1 - u) + s[r2, c] * u) * (1 - v) + (s[r, c2] * (1 - u) + s[r2, c2] * u) * v
