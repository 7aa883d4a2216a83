"""Soft-edged solids in patient millimetres, rendered on any voxel grid.

Everything here takes the LPS coordinates of the voxel centres, so the same body can be sampled on an axial, an
oblique or a very anisotropic grid and stays the same body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

__all__ = ["Coordinates", "blend", "ellipsoid", "occupancy", "plane_waves", "smooth_min", "stamp_balls", "superellipse"]


@dataclass(frozen=True)
class Coordinates:
    """LPS millimetres of the voxel centres of a grid.

    Attributes
    ----------
    x, y, z : numpy.ndarray
        Arrays of shape (D, H, W), or broadcastable to it, that grow towards the patient's left, back and head.
    affine : numpy.ndarray
        4x4, array index (d, h, w) to LPS millimetres.
    shape : tuple of int
        (D, H, W).
    """

    x: Field
    y: Field
    z: Field
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def of_grid(cls, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Coordinates:
        """Coordinates of every voxel centre of a grid of `shape` (D, H, W)."""
        index = np.ogrid[tuple(slice(0, n) for n in shape)]
        x, y, z = (
            np.asarray(
                np.broadcast_to(affine[r, 3] + sum(affine[r, a] * index[a] for a in range(3)), shape), dtype=np.float32
            )
            for r in range(3)
        )
        return cls(x, y, z, affine=affine, shape=shape)

    def warped(self, dx: Field, dy: Field, dz: Field) -> Coordinates:
        """The coordinates after a small displacement: bends every solid evaluated on the result."""
        return Coordinates(self.x + dx, self.y + dy, self.z + dz, self.affine, self.shape)


def plane_waves(
    coords: Coordinates,
    rng: np.random.Generator,
    wavelength: tuple[float, float],
    count: int = 8,
) -> Field:
    """A smooth random field of unit variance: a sum of plane waves with wavelengths (mm) between two bounds.

    Plane waves factor over the axes of any affine grid, so a field costs `count` outer products and no interpolation.
    """
    total = np.zeros(coords.shape, dtype=np.complex64)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.exp(rng.uniform(np.log(wavelength[0]), np.log(wavelength[1]), size=count))
    phases = rng.uniform(0, 2 * np.pi, size=count)
    for direction, length, phase in zip(directions, lengths, phases, strict=True):
        k = 2 * np.pi / length * direction
        step = k @ coords.affine[:3, :3]
        start = phase + k @ coords.affine[:3, 3]
        factors = [np.exp(1j * step[a] * np.arange(n)).astype(np.complex64) for a, n in enumerate(coords.shape)]
        plane = factors[1][:, None] * factors[2][None, :]
        total += (factors[0] * np.exp(1j * start).astype(np.complex64))[:, None, None] * plane[None]
    return np.asarray(total.real * np.sqrt(2.0 / count), dtype=np.float32)


def superellipse(x: Field, y: Field, half_x: Field | float, half_y: Field | float, power: float = 2.0) -> Field:
    """Approximate signed distance (mm, negative inside) to a superelliptic cylinder along z."""
    half_x = np.maximum(half_x, 1.0)
    half_y = np.maximum(half_y, 1.0)
    radius = (np.abs(x / half_x) ** power + np.abs(y / half_y) ** power) ** (1.0 / power)
    return np.asarray((radius - 1.0) * np.minimum(half_x, half_y), dtype=np.float32)


def ellipsoid(
    coords: Coordinates,
    centre: Sequence[float] | NDArray[np.float64],
    radii: Sequence[float] | NDArray[np.float64],
    yaw: float = 0.0,
) -> Field:
    """Approximate signed distance (mm, negative inside) to an ellipsoid, turned by `yaw` radians about z."""
    x, y, z = coords.x - centre[0], coords.y - centre[1], coords.z - centre[2]
    if yaw:
        c, s = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        x, y = c * x + s * y, c * y - s * x
    radius = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    return np.asarray((radius - 1.0) * min(radii), dtype=np.float32)


def smooth_min(a: Field, b: Field, width: float) -> Field:
    """Union of two signed distances with a fillet of about `width` mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return np.asarray(b + (a - b) * h - width * h * (1.0 - h), dtype=np.float32)


def occupancy(distance: Field, width: float) -> Field:
    """Fraction of a voxel inside a solid, from the signed distance to its surface and the edge width (mm)."""
    return np.asarray(np.clip(0.5 - distance / np.float32(width), 0.0, 1.0), dtype=np.float32)


def blend(hu: Field, value: Field | float, weight: Field) -> None:
    """Replace `hu` by `value` where `weight` is 1, in place, with partial volume between."""
    hu += (value - hu) * weight


def stamp_balls(
    coords: Coordinates,
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    width: float,
) -> Field:
    """Occupancy of a union of balls: `centres` (N, 3) in LPS mm, `radii` (N,) in mm."""
    out = np.zeros(coords.shape, dtype=np.float32)
    inverse = np.linalg.inv(coords.affine)
    spacing = np.linalg.norm(coords.affine[:3, :3], axis=0)
    index = centres @ inverse[:3, :3].T + inverse[:3, 3]
    for middle, radius in zip(index, radii, strict=True):
        reach = (radius + width) / spacing
        low = np.maximum(np.ceil(middle - reach), 0).astype(int)
        high = np.minimum(np.floor(middle + reach) + 1, coords.shape).astype(int)
        if np.any(high <= low):
            continue
        d, h, w = (((np.arange(low[a], high[a]) - middle[a]) * spacing[a]) ** 2 for a in range(3))
        distance = np.sqrt(d[:, None, None] + h[None, :, None] + w[None, None, :]) - radius
        # A vessel thinner than a voxel keeps its partial volume instead of vanishing.
        peak = min(1.0, (2.0 * radius / width) ** 2)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        np.maximum(out[window], peak * np.clip(0.5 - distance / width, 0, 1), out=out[window])
    return out
