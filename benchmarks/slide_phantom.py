"""A made-up slide: stained tissue, and regions drawn on it.

Both are a square that repeats without a seam, so that a slide of any size needs a few hundred different tiles to be
made, encoded and kept. Nobody who reads the slide can tell: each frame is stored by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.registry import Size

TILE = 256
SPACING = 0.0005  # mm, from pixel to pixel
ORIGIN = (20.0, 40.0)  # x, y in mm of the first pixel's centre
ORIENTATION = [0, -1, 0, -1, 0, 0]
QUALITY = 80
MORPHOLOGY = ("49755003", "Morphologically Abnormal Structure")
REGIONS = (
    {"label": "Tumour", "value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"},
    {"label": "Necrosis", "value": "6574001", "scheme": "SCT", "meaning": "Necrosis"},
    {"label": "Fibrosis", "value": "112674009", "scheme": "SCT", "meaning": "Fibrosis"},
)
_REPEATS_AFTER = 16  # tiles
_FULL_SIDE, _FULL_SPARSE = 20_000, 180_000


def side(size: Size) -> int:
    """Rows, and columns, of the slide: 20,000 at full size."""
    return max(600, round(_FULL_SIDE * (size.rows / 512) ** 2))


def sparse_frames(size: Size) -> int:
    """Frames of the sparse level: 180,000 at full size."""
    return max(500, round(_FULL_SPARSE * (size.rows / 512) ** 2))


def tiles_along(length: int) -> int:
    return -(-length // TILE)


@dataclass(frozen=True)
class Layout:
    """Which of the different tiles lies where."""

    side: int

    @property
    def along(self) -> int:
        """Tiles in a row, and in a column."""
        return tiles_along(self.side)

    @property
    def period(self) -> int:
        return min(_REPEATS_AFTER, self.along)

    def which(self) -> np.ndarray:
        """Number of the different tile at each place, in the order of TILED_FULL."""
        at = np.arange(self.along) % self.period
        return (at[:, None] * self.period + at).ravel()

    def cut(self, block: np.ndarray) -> np.ndarray:
        """The different tiles of a repeating square, ``(n, TILE, TILE, ...)``."""
        n, rest = self.period, block.shape[2:]
        parts = block.reshape(n, TILE, n, TILE, *rest).swapaxes(1, 2)
        return np.ascontiguousarray(parts).reshape(n * n, TILE, TILE, *rest)

    def whole(self, tiles: np.ndarray) -> np.ndarray:
        """The matrix that tiles make, cut at the slide's edge."""
        matrix = np.empty((self.side, self.side, *tiles.shape[3:]), tiles.dtype)
        for index, which in enumerate(self.which().tolist()):
            row, column = (part * TILE for part in divmod(index, self.along))
            part = matrix[row : row + TILE, column : column + TILE]
            part[...] = tiles[which, : part.shape[0], : part.shape[1]]
        return matrix

    def read(self, tiles: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
        """A rectangle of the matrix, which has to lie inside of it."""
        rows, columns = (np.arange(start, start + length) for start, length in ((row, height), (column, width)))
        which = rows[:, None] // TILE % self.period * self.period + columns // TILE % self.period
        return tiles[which, rows[:, None] % TILE, columns % TILE]


def _smooth_noise(rng: np.random.Generator, length: int, scale: float) -> np.ndarray:
    """Noise without details finer than ``scale`` pixels, of unit deviation, that repeats after ``length``."""
    waves = np.fft.rfft2(rng.standard_normal((length, length), dtype=np.float32))
    down, across = np.fft.fftfreq(length)[:, None], np.fft.rfftfreq(length)
    waves *= np.exp(-2 * (np.pi * scale) ** 2 * (down**2 + across**2)).astype(np.float32)
    noise = np.fft.irfft2(waves, (length, length)).astype(np.float32)
    return noise / noise.std()


def tissue(layout: Layout, seed: int = 11) -> np.ndarray:
    """Tiles of stained tissue, uint8 RGB: eosin, nuclei, lumina and the grain of a camera."""
    rng = np.random.default_rng(seed)
    length = layout.period * TILE
    dense = 0.8 * _smooth_noise(rng, length, 90) + 0.5 * _smooth_noise(rng, length, 14)
    eosin = np.clip(0.55 + 0.18 * dense + 0.1 * _smooth_noise(rng, length, 3), 0.02, 1.2)
    nuclei = np.clip((_smooth_noise(rng, length, 4.5) - 1.15) * 2.2, 0, 1)
    inside = 1 - np.clip((dense - 1.3) * 4, 0, 1)
    eosin *= (1 - 0.6 * nuclei) * inside
    nuclei *= inside
    grain = 5 * _smooth_noise(rng, length, 0.6)
    block = np.empty((length, length, 3), np.uint8)
    for channel, (by_eosin, by_nuclei) in enumerate(((0.16, 0.82), (0.88, 1.12), (0.32, 0.45))):
        light = np.exp(-by_eosin * eosin - by_nuclei * nuclei)
        block[..., channel] = np.clip(243 * light + grain, 0, 255)
    return layout.cut(block)


def regions(layout: Layout, seed: int = 12) -> np.ndarray:
    """Tiles of a label map of three regions, uint8; about half of the tiles hold none."""
    rng = np.random.default_rng(seed)
    length = layout.period * TILE
    reach = _smooth_noise(rng, length, length / 12)
    kind = _smooth_noise(rng, length, length / 24)
    outline = reach + 0.12 * _smooth_noise(rng, length, 12)
    block = np.zeros((length, length), np.uint8)
    block[outline > np.quantile(outline, 0.80)] = 1
    block[(block > 0) & (kind > 0.4)] = 2
    block[(block > 0) & (kind < -0.6)] = 3
    return layout.cut(block)
