"""How a phantom is scanned: field of view, slices, kernel, noise, and what lies around the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_ml.phantom.anatomy import Anatomy
from dicom_ml.phantom.shapes import Coordinates, Field, blend, occupancy, superellipse

__all__ = ["Acquisition", "random_acquisition", "scan", "table"]


@dataclass(frozen=True)
class Acquisition:
    """The grid and the image quality of a phantom.

    Attributes
    ----------
    shape : tuple of int
        (D, H, W).
    affine : numpy.ndarray
        4x4 float64, array index (d, h, w) to LPS millimetres.
    thickness : float
        Slice thickness in mm; may differ from the distance of the slices.
    noise : float
        Standard deviation in HU.
    sharpness : float
        -1 (smooth kernel) to 1 (sharp kernel with ringing).
    padding : float or None
        HU outside the round field of view; None when the field is square.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    thickness: float
    noise: float
    sharpness: float
    padding: float | None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along (d, h, w)."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)


def axial_affine(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    centre: tuple[float, float, float],
    rotation: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Affine of an axial grid (slices upwards, rows to the left, columns to the back), centred at an LPS point."""
    d, h, w = spacing
    axes = np.array([[0.0, 0.0, w], [0.0, h, 0.0], [d, 0.0, 0.0]])
    if rotation is not None:
        axes = rotation @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = np.asarray(centre) - axes @ ((np.asarray(shape) - 1) / 2)
    return affine


def random_acquisition(
    rng: np.random.Generator,
    anatomy: Anatomy,
    *,
    matrix: tuple[int, int] = (96, 144),
) -> Acquisition:
    """Draw a scan: mostly of the whole chest, sometimes cut at the top, the bottom or the sides.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    anatomy : Anatomy
        Decides how wide and how long the scan must be.
    matrix : tuple of int
        Bounds of the number of rows and columns.
    """
    n = int(rng.integers(matrix[0], matrix[1] + 1))
    wall = anatomy.muscle + anatomy.fat + anatomy.skin
    full = 2 * (anatomy.cage[0] + wall)
    field = full * (rng.uniform(0.66, 0.95) if rng.random() < 0.35 else rng.uniform(0.9, 1.35))
    base, top = min(anatomy.dome) - anatomy.recess, max(anatomy.apex)
    low, high = base - rng.uniform(10, 130), top + rng.uniform(10, 90)
    cut = rng.random()
    if cut < 0.12:
        low = rng.uniform(base + 20, top - 90)
    elif cut < 0.28:
        low, high = base - rng.uniform(30, 130), rng.uniform(base + 20, top - 40)
    elif cut < 0.45:
        low, high = base - rng.uniform(110, 200), base + rng.uniform(-40, 80)
    distance = float(rng.choice([1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0], p=[0.06, 0.12, 0.2, 0.24, 0.14, 0.16, 0.08]))
    slices = max(3, round((high - low) / distance))
    shift = (rng.normal(0, 12), rng.normal(0, 10), 0.5 * (low + high))
    rotation = _small_rotation(rng, degrees=7.0)
    shape = (slices, n, n)
    return Acquisition(
        shape=shape,
        affine=axial_affine(shape, (distance, field / n, field / n), shift, rotation),
        thickness=distance * rng.uniform(0.8, 1.3),
        noise=float(np.exp(rng.uniform(np.log(4), np.log(55)))),
        sharpness=rng.uniform(-1, 1),
        padding=float(rng.choice([-1024.0, -2000.0, -3024.0])) if rng.random() < 0.4 else None,
    )


def _small_rotation(rng: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """A patient never lies quite straight. The grid stays axial to within `degrees` about each axis."""
    angles = np.radians(rng.normal(0, degrees / 2, size=3) * (0.6, 0.6, 1.0))
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        out = out @ turn
    return out


def table(p: Coordinates, a: Anatomy, rng: np.random.Generator, edge: float) -> Field:
    """Air with the couch, its mattress and sheets: the background into which the patient is drawn."""
    hu = np.full(p.shape, -1000.0, dtype=np.float32)
    down = -1.0 if a.prone else 1.0
    wall = a.muscle + a.fat + a.skin
    bottom = (a.cage[1] + wall) * rng.uniform(0.98, 1.06)
    y = down * p.y - bottom
    curve = rng.uniform(0.0, 0.0012)
    y = y + curve * p.x**2 - 4
    thick, gap = rng.uniform(10, 35), rng.uniform(0, 25)
    width = rng.uniform(190, 280)
    mattress = np.maximum(np.abs(y - 0.5 * thick) - 0.5 * thick, np.abs(p.x) - 0.9 * width)
    blend(hu, rng.uniform(-980, -820), occupancy(mattress.astype(np.float32), edge))
    base = y - thick - gap
    core = np.maximum(np.abs(base - 22) - 22 + 0.0004 * p.x**2, np.abs(p.x) - width)
    blend(hu, rng.uniform(-980, -850), occupancy(core.astype(np.float32), edge))
    shell = np.abs(core) - rng.uniform(0.8, 2.5)
    blend(hu, rng.uniform(-600, 250), occupancy(shell.astype(np.float32), edge))
    # Hardware in and under the couch: frames, rails, a head rest.
    for _ in range(rng.integers(0, 4)):
        x0, z0, deep = rng.uniform(-110, 110), rng.uniform(-250, 250), rng.uniform(5, 60)
        half_x, half_y, half_z = rng.uniform(5, 80), rng.uniform(4, 25), rng.uniform(30, 300)
        block = np.maximum.reduce([np.abs(p.x - x0) - half_x, np.abs(base - deep) - half_y, np.abs(p.z - z0) - half_z])
        blend(hu, rng.uniform(-850, 900), occupancy(block, edge))
    # Clothes and blankets: thin, wrinkled, close to the skin.
    for _ in range(rng.integers(0, 4)):
        offset = rng.uniform(3, 40)
        wrinkle = 5 * np.sin(p.x / rng.uniform(12, 40) + rng.uniform(0, 6)) * np.cos(p.z / rng.uniform(30, 90))
        sheet = superellipse(p.x, p.y, a.cage[0] + wall + offset, a.cage[1] + wall + offset, 2.3) + wrinkle
        blend(hu, rng.uniform(-900, -300), occupancy(np.abs(sheet) - rng.uniform(0.4, 1.5), edge))
    return hu


def scan(hu: Field, acquisition: Acquisition, rng: np.random.Generator) -> tuple[Field, NDArray[np.bool_]]:
    """Blur along the slice profile, apply kernel and noise, and cut the round field of view.

    Returns the picture and, for one slice, which of its pixels (H, W) were reconstructed.
    """
    distance = acquisition.spacing[0]
    if hu.shape[0] > 2 and acquisition.thickness > 0.5 * distance:
        tail = 0.25 * min(1.0, acquisition.thickness / distance - 0.3)
        hu = _three_taps(hu, tail, axis=0)
    noise = rng.normal(size=hu.shape).astype(np.float32)
    if acquisition.sharpness < 0.3:
        weight = 0.3 * min(1.0, 0.3 - acquisition.sharpness)
        noise = _three_taps(_three_taps(noise, weight, 1), weight, 2)
    noise *= acquisition.noise / max(float(noise.std()), 1e-6)
    # Photons are scarcer behind dense tissue: the noise is stronger in the body than in air.
    hu = hu + noise * np.where(hu < -950, 0.5, 1.0).astype(np.float32)
    if acquisition.sharpness < 0:
        weight = -0.25 * acquisition.sharpness
        hu = _three_taps(_three_taps(hu, weight, 1), weight, 2)
    else:
        weight = 0.18 * acquisition.sharpness
        blurred = _three_taps(_three_taps(hu, 0.25, 1), 0.25, 2)
        hu = hu + weight * 2 * (hu - blurred)
    rows, columns = hu.shape[1:]
    seen = np.ones((rows, columns), dtype=bool)
    if acquisition.padding is not None:
        row, column = np.ogrid[:rows, :columns]
        seen = np.hypot((row - (rows - 1) / 2) / (rows / 2), (column - (columns - 1) / 2) / (columns / 2)) <= 1.0
        hu[:, ~seen] = acquisition.padding
    return np.asarray(np.clip(np.rint(hu), -3024, 3071), dtype=np.float32), seen


def _three_taps(field: Field, weight: float, axis: int) -> Field:
    """Convolve one axis with (weight, 1 - 2 weight, weight), the edge repeated."""
    padded = np.concatenate([field.take([0], axis), field, field.take([-1], axis)], axis)
    n = field.shape[axis]
    before, after = (padded.take(range(s, s + n), axis) for s in (0, 2))
    return np.asarray(field + np.float32(weight) * (before + after - 2 * field), dtype=np.float32)
