"""The random measurements of one synthetic patient. All lengths are millimetres, all values Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Anatomy", "random_anatomy"]


@dataclass(frozen=True)
class Anatomy:
    """One synthetic patient, lying in LPS with the carina near the origin.

    Attributes
    ----------
    cage : tuple of float
        Half width and half depth of the pleural cavity.
    cage_power : float
        Exponent of its superelliptic outline; 2 is an ellipse.
    apex : tuple of float
        Height of the right and left lung apex.
    shoulder : float
        Height at which the lungs begin to taper.
    dome : tuple of float
        Height of the right and left diaphragm dome.
    recess : float
        How far the costophrenic recess lies below the dome.
    muscle, fat, skin : float
        Thickness of the chest wall.
    mediastinum : float
        Half width of the middle mediastinum.
    junction : float
        Half width of the anterior junction, where the lungs nearly touch.
    heart : tuple of float
        Centre and radii of the heart: x, y, z, rx, ry, rz.
    spine : tuple of float
        Position y of the vertebral bodies and their half width and half depth.
    rib : tuple of float
        Spacing, thickness and slope of the ribs.
    arms : str
        "up", "down" or "none" (outside every field of view).
    breast : float
        Radius; 0 for none.
    lung_hu, gravity_hu : float
        Mean of the parenchyma and its increase from front to back.
    contrast : float
        Enhancement of the blood.
    prone : bool
        Lying face down: gas rises to the back and the table is in front.
    """

    cage: tuple[float, float]
    cage_power: float
    apex: tuple[float, float]
    shoulder: float
    dome: tuple[float, float]
    recess: float
    muscle: float
    fat: float
    skin: float
    mediastinum: float
    junction: float
    heart: tuple[float, float, float, float, float, float]
    spine: tuple[float, float, float]
    rib: tuple[float, float, float]
    arms: str
    breast: float
    lung_hu: float
    gravity_hu: float
    contrast: float
    prone: bool
    warp: float


def random_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a patient: small or large, slim or obese, breathed in or out."""
    size = rng.uniform(0.84, 1.15)
    width = size * rng.uniform(102, 136)
    depth = size * rng.uniform(74, 102)
    breath = rng.uniform(0.0, 1.0)
    height = size * rng.uniform(95, 125)
    dome_right = size * (-35 - 75 * breath)
    obese = rng.random()
    spine_y = depth * rng.uniform(0.62, 0.76)
    heart_size = size * rng.uniform(0.85, 1.25)
    return Anatomy(
        cage=(width, depth),
        cage_power=rng.uniform(2.0, 2.7),
        apex=(height + rng.uniform(-6, 6), height + rng.uniform(-6, 6)),
        shoulder=rng.uniform(-40, 20),
        dome=(dome_right, dome_right - rng.uniform(-5, 25)),
        recess=size * rng.uniform(55, 120),
        muscle=rng.uniform(12, 26),
        fat=4 + 45 * obese**2,
        skin=rng.uniform(1.5, 3.5),
        mediastinum=size * rng.uniform(19, 32),
        junction=rng.uniform(1.0, 12.0),
        heart=(
            size * rng.uniform(12, 30),
            -size * rng.uniform(12, 32),
            dome_right + size * rng.uniform(30, 45),
            heart_size * rng.uniform(52, 66),
            heart_size * rng.uniform(40, 52),
            heart_size * rng.uniform(44, 58),
        ),
        spine=(spine_y, size * rng.uniform(17, 23), size * rng.uniform(16, 20)),
        rib=(size * rng.uniform(22, 32), rng.uniform(5, 8), rng.uniform(0.25, 0.6)),
        arms=str(rng.choice(["up", "down", "none"], p=[0.45, 0.3, 0.25])),
        breast=float(rng.choice([0.0, 1.0])) * rng.uniform(30, 75),
        lung_hu=rng.uniform(-950, -750),
        gravity_hu=rng.uniform(-40, 150),
        contrast=float(rng.choice([0.0, 1.0])) * rng.uniform(60, 260),
        prone=bool(rng.random() < 0.12),
        warp=rng.uniform(2.0, 7.0),
    )
