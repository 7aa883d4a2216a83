"""Where a slide holds tissue: a mask at low resolution, and the share of it under any rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TissueMap", "tissue_mask"]

#: Grey value (0 to 255) from which a pixel is glass; the threshold that lung tissue studies on TCGA use.
BACKGROUND = 220


def tissue_mask(slide: Any, size: int = 1024, background: int = BACKGROUND) -> npt.NDArray[np.bool_]:
    """Where the slide's thumbnail is darker than glass.

    Parameters
    ----------
    slide : Slide
    size : int
        Longer side of the thumbnail, in pixels.
    background : int
        Grey value (mean of red, green and blue) from which a pixel counts as background.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        It covers the whole of level 0.
    """
    picture = np.asarray(slide.thumbnail(size))
    grey = picture.mean(axis=-1) if picture.ndim == 3 else picture.astype(np.float64)
    return np.asarray(grey < background)


class TissueMap:
    """Share of tissue under rectangles of a slide, by a summed table: any number of questions cost one look each."""

    def __init__(self, slide: Any, size: int = 1024, background: int = BACKGROUND) -> None:
        mask = tissue_mask(slide, size, background)
        self._scale = np.array(mask.shape) / np.array(slide.levels[0].shape)
        self._sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
        self._sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)

    def fraction(self, positions: npt.ArrayLike, size: tuple[float, float]) -> npt.NDArray[np.float64]:
        """Share of tissue, 0 to 1, under rectangles of ``size`` (rows, columns of level 0) from ``positions`` on.

        What lies beyond the slide counts as background.
        """
        starts = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
        limit = np.array(self._sums.shape) - 1
        low = np.clip(np.floor(starts * self._scale), 0, limit).astype(int)
        high = np.clip(np.ceil((starts + size) * self._scale), 0, limit).astype(int)
        s = self._sums
        inside = (
            s[high[:, 0], high[:, 1]] - s[low[:, 0], high[:, 1]] - s[high[:, 0], low[:, 1]] + s[low[:, 0], low[:, 1]]
        )
        area = np.maximum(1, np.prod(np.ceil(np.array(size) * self._scale), dtype=np.float64))
        return np.minimum(inside / area, 1.0)
