"""Lung-like tissue under the microscope, in three textures. All lengths are micrometres.

The textures differ in how tissue is arranged, not in what it is made of: amounts of stain, of gaps and of nuclei
vary more from slide to slide and from patch to patch than from texture to texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALVEOLAR", "GLANDULAR", "SOLID", "Cells", "TissuePlan", "nests", "paint", "smooth_noise"]

Field = NDArray[np.float32]

ALVEOLAR, GLANDULAR, SOLID = 1, 2, 3
"""Walls around air; rings of cells around a lumen; nests of cells without one."""

_REACH = 1.7
"""Cell sizes up to which the nearest and the second nearest centre are looked for."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], step: float) -> Field:
    """A smooth random field of about unit variance that changes over `step` pixels: cubic B-splines on a lattice."""
    weights = []
    for n in shape:
        at = np.arange(n) / step
        first = np.floor(at).astype(np.intp)
        t = (at - first).astype(np.float32)
        basis = np.zeros((n, int(first[-1]) + 4), dtype=np.float32)
        rows = np.arange(n)
        for k, w in enumerate(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)):
            basis[rows, first + k] = w / 6
        weights.append(basis)
    lattice = rng.normal(size=(weights[0].shape[1], weights[1].shape[1])).astype(np.float32)
    return np.asarray(2.2 * (weights[0] @ lattice @ weights[1].T), dtype=np.float32)


@dataclass(frozen=True)
class Cells:
    """The plane, parted among centres.

    Attributes
    ----------
    near, next : numpy.ndarray
        (H, W) float32, distance to the nearest and to the second nearest centre.
    index : numpy.ndarray
        (H, W), which centre is the nearest.
    centres : numpy.ndarray
        (N, 2), row and column in pixels.
    """

    near: Field
    next: Field
    index: NDArray[np.intp]
    centres: NDArray[np.float64]


def nests(rng: np.random.Generator, where: NDArray[np.bool_], size: float, pixel: float) -> Cells:
    """Cells of about `size` on a grid of `pixel`, wherever `where` is True."""
    shape = where.shape
    step = size / pixel
    rows, columns = (np.arange(-1, n / step + 1) for n in shape)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    grid[1::2, :, 1] += 0.5
    centres = ((grid + rng.uniform(-0.33, 0.33, grid.shape)) * step).reshape(-1, 2)
    reach = int(np.ceil(_REACH * step))
    near = np.full(shape, 2 * size, dtype=np.float32)
    second = np.full(shape, 2 * size, dtype=np.float32)
    index = np.zeros(shape, dtype=np.intp)
    for number, centre in enumerate(centres):
        low = np.maximum(np.floor(centre).astype(int) - reach, 0)
        high = np.minimum(np.floor(centre).astype(int) + reach + 1, shape)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        if (high <= low).any() or not where[window][:: max(reach // 4, 1), :: max(reach // 4, 1)].any():
            continue
        y, x = (((np.arange(low[a], high[a]) - centre[a]) * pixel).astype(np.float32) ** 2 for a in range(2))
        distance = np.sqrt(y[:, None] + x[None, :])
        first = near[window]
        closer = distance < first
        np.minimum(second[window], np.maximum(first, distance), out=second[window])
        np.minimum(first, distance, out=first)
        index[window][closer] = number
    return Cells(near, second, index, centres)


@dataclass
class TissuePlan:
    """What lies where, before it is stained.

    Attributes
    ----------
    pixel : float
        Of the arrays.
    eosin : numpy.ndarray
        (H, W) float32, how much is stained pink; 0 where there is none.
    nuclei : numpy.ndarray
        (H, W) float32, the share of places for a nucleus that hold one.
    angle : numpy.ndarray
        (H, W) float32, direction of nuclei in radians.
    texture : numpy.ndarray
        (H, W) uint8, `ALVEOLAR`, `GLANDULAR` or `SOLID`; 0 on glass.
    """

    pixel: float
    eosin: Field
    nuclei: Field
    angle: Field
    texture: NDArray[np.uint8]

    @classmethod
    def empty(cls, texture: NDArray[np.uint8], pixel: float) -> TissuePlan:
        """A plan of glass."""
        fields = [np.zeros(texture.shape, dtype=np.float32) for _ in range(3)]
        return cls(pixel, fields[0], fields[1], fields[2], texture)


def paint(plan: TissuePlan, rng: np.random.Generator) -> None:
    """Fill a plan with the textures that it asks for."""
    shape, pixel = plan.texture.shape, plan.pixel
    wobble = smooth_noise(rng, shape, 18 / pixel)
    fibres = smooth_noise(rng, shape, 7 / pixel)
    patches = smooth_noise(rng, shape, 260 / pixel)
    # Where lymphocytes gather, any texture is dark.
    crowd = np.clip(smooth_noise(rng, shape, 150 / pixel) - 1.1, 0, 1)
    for texture, draw in ((ALVEOLAR, _alveoli), (GLANDULAR, _glands), (SOLID, _solid)):
        where = plan.texture == texture
        if not where.any():
            continue
        solid, nuclei, angle, tint = draw(rng, where, pixel, wobble, patches)
        # The amount of stain says nothing of the texture.
        eosin = solid * np.float32(rng.uniform(0.8, 1.2)) * (tint + 0.10 * fibres + 0.12 * patches)
        dense = np.float32(rng.uniform(0.75, 1.3)) * (1 + 0.2 * patches)
        np.copyto(plan.eosin, np.maximum(eosin, 0), where=where)
        np.copyto(plan.nuclei, solid * np.clip(nuclei * dense + 0.7 * crowd, 0, 0.95), where=where)
        np.copyto(plan.angle, angle, where=where)


def _soft(distance: Field, width: float = 3.0) -> Field:
    """1 where a signed distance is negative, 0 where it is positive, and a slope between."""
    return np.asarray(np.clip(0.5 - distance / np.float32(width), 0, 1), dtype=np.float32)


def _each(rng: np.random.Generator, cells: Cells, low: float, high: float) -> Field:
    """A value a cell, at its pixels."""
    return np.asarray(rng.uniform(low, high, len(cells.centres)).astype(np.float32)[cells.index])


def _radial(cells: Cells) -> Field:
    """Direction from the nearest centre."""
    rows, columns = np.indices(cells.index.shape, dtype=np.float32)
    centre = cells.centres.astype(np.float32)[cells.index]
    return np.asarray(np.arctan2(rows - centre[..., 0], columns - centre[..., 1]))


_Drawn = tuple[Field, Field, Field, Field]


def _alveoli(rng: np.random.Generator, where: NDArray[np.bool_], pixel: float, wobble: Field, patches: Field) -> _Drawn:
    """Thin walls between rounded spaces of air, thicker where the lung is collapsed."""
    size = rng.uniform(50, 80)
    cells = nests(rng, where, size, pixel)
    wall = cells.next - cells.near  # twice the distance to the wall's middle, near it
    thick = np.clip(0.36 * size + 9 * patches + 5 * wobble, 8, 0.75 * size)
    filled = _soft(np.abs(patches - 0.9) - 0.25, 0.1) * _each(rng, cells, -0.4, 0.8)  # with fluid
    solid = np.maximum(_soft(0.6 * (wall - thick)), np.clip(filled, 0, 1) * 0.7)
    nuclei = 0.5 * _soft(0.6 * (wall - thick)) + np.float32(0.06)
    return solid, nuclei, _radial(cells) + np.float32(np.pi / 2), np.full(solid.shape, 0.52, dtype=np.float32)


def _glands(rng: np.random.Generator, where: NDArray[np.bool_], pixel: float, wobble: Field, patches: Field) -> _Drawn:
    """Rings of tall cells around lumina of every size, in a fibrous stroma."""
    size = rng.uniform(75, 110)
    cells = nests(rng, where, size, pixel)
    distance = cells.near + 3.5 * wobble
    outer = np.minimum(_each(rng, cells, 0.38, 0.62) * size - 5 * patches, 0.52 * size + 4)
    lumen = outer - _each(rng, cells, 11, 17)
    open_ = np.where(lumen > 4, _soft(distance - lumen), 0) * _each(rng, cells, 0.75, 1.0)
    ring = _soft(distance - outer)
    clefts = _soft(4.0 - (cells.next - cells.near) + 9 * (0.9 - patches) + 4 * wobble)
    base = np.clip((distance - lumen) / (outer - lumen), 0, 1)  # 0 at the lumen, 1 at the basement membrane
    nuclei = ring * (0.15 + 0.85 * (base > 0.35)) * 0.72 + (1 - ring) * 0.10
    solid = (1 - open_) * (1 - 0.8 * (1 - ring) * (1 - clefts) * (patches > 1.2))
    tint = 0.45 * ring + 0.62 * (1 - ring)
    return (
        solid.astype(np.float32),
        nuclei.astype(np.float32),
        _radial(cells),
        tint.astype(np.float32),
    )


def _solid(rng: np.random.Generator, where: NDArray[np.bool_], pixel: float, wobble: Field, patches: Field) -> _Drawn:
    """Packed nests with clefts around them, some with keratin or a hole of necrosis at an uneven place."""
    size = rng.uniform(120, 190)
    cells = nests(rng, where, size, pixel)
    edge = cells.next - cells.near
    stroma = _soft(edge - np.clip(16 + 8 * patches + 6 * wobble, 5, 50))
    cleft = _soft(np.abs(edge - 26 - 6 * wobble) - np.clip(3 + 5 * patches + 3 * wobble, 0, 16))
    pearl = _soft(cells.near - _each(rng, cells, -40, 0.22 * size) + 4 * wobble)
    hollow = _soft(28 - 26 * smooth_noise(rng, where.shape, 70 / pixel) + 8 * wobble, 14)
    waves = np.sin(cells.near * np.float32(2 * np.pi / 9) + wobble)
    solid = (1 - 0.95 * cleft) * (1 - 0.9 * hollow)
    nuclei = (1 - stroma) * (1 - pearl) * 0.5 + stroma * 0.12 + pearl * 0.04
    tint = 0.5 * (1 - stroma) * (1 - pearl) + 0.62 * stroma + pearl * (0.75 + 0.12 * waves)
    return (
        solid.astype(np.float32),
        nuclei.astype(np.float32),
        4 * wobble,
        tint.astype(np.float32),
    )
