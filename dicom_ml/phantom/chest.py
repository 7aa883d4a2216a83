"""Seeded chest-like CT phantoms with the truth of what is lung and what is body.

They are made so that a network trained on nothing else works on real chest CT: what matters is not that one phantom
looks like one patient, but that the crowd of them is wider than the patients are. Gas outside the lungs (trachea,
stomach, bowel, folds of the mattress) and dense lung (vessels, consolidation, masses) are there because
threshold-like shortcuts fail on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_ml.phantom.anatomy import Anatomy, random_anatomy
from dicom_ml.phantom.scanner import Acquisition, random_acquisition, scan, table
from dicom_ml.phantom.shapes import (
    Coordinates,
    Field,
    blend,
    ellipsoid,
    occupancy,
    plane_waves,
    smooth_min,
    stamp_balls,
    superellipse,
)

__all__ = ["LABELS", "ChestPhantom", "chest_phantom"]

LABELS = {1: "Body outside the lungs", 2: "Right lung", 3: "Left lung"}
"""Values of a phantom's label map. The body includes the airways and all else under the skin that is not lung."""

_BODY, _RIGHT, _LEFT = 1, 2, 3


@dataclass(frozen=True)
class ChestPhantom:
    """A synthetic chest CT.

    Attributes
    ----------
    array : numpy.ndarray
        (D, H, W) float32, Hounsfield units.
    labels : numpy.ndarray
        (D, H, W) uint8 with the values of `LABELS`, 0 outside the body.
    affine : numpy.ndarray
        4x4 float64, array index (d, h, w) to LPS millimetres.
    anatomy, acquisition
        What was drawn at random to make it.
    seed : int
        The same seed gives the same phantom.
    """

    array: Field
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    anatomy: Anatomy
    acquisition: Acquisition
    seed: int

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along (d, h, w)."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)


def chest_phantom(
    seed: int,
    *,
    acquisition: Acquisition | None = None,
    anatomy: Anatomy | None = None,
    masses: bool = True,
) -> ChestPhantom:
    """Make a chest CT phantom.

    Parameters
    ----------
    seed : int
        Decides everything that is not given.
    acquisition : Acquisition, optional
        The grid, kernel and noise; drawn from the seed by default.
    anatomy : Anatomy, optional
        The patient; drawn from the seed by default.
    masses : bool
        Whether some lungs have lumps of soft tissue; without them nothing else changes.

    Returns
    -------
    ChestPhantom
        HU values and labels on the acquisition's grid.
    """
    patient_rng, scanner_rng, texture_rng, noise_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)
    )
    anatomy = anatomy or random_anatomy(patient_rng)
    acquisition = acquisition or random_acquisition(scanner_rng, anatomy)
    coords = Coordinates.of_grid(acquisition.shape, acquisition.affine)
    edge = float(np.clip(np.median(acquisition.spacing), 1.0, 5.0))

    bent = coords.warped(*(anatomy.warp * plane_waves(coords, texture_rng, (90.0, 260.0), 6) for _ in range(3)))
    hu = table(coords, anatomy, texture_rng, edge)
    skin = _skin(bent, anatomy)
    cage = _cage(bent, anatomy)
    body = occupancy(skin, edge)
    _fill_wall(hu, bent, anatomy, skin, cage, body, edge, texture_rng)
    diaphragm = _diaphragm(bent, anatomy)
    _fill_abdomen(hu, bent, anatomy, cage, diaphragm, edge, texture_rng)
    mediastinum = _mediastinum(bent, anatomy)
    right, left = _lungs(bent, anatomy, cage, diaphragm, mediastinum, edge, texture_rng)
    _fill_mediastinum(hu, bent, anatomy, cage, mediastinum, diaphragm, edge, texture_rng)
    _fill_bones(hu, bent, anatomy, cage, skin, edge, texture_rng)
    _fill_lungs(hu, bent, anatomy, right + left, edge, texture_rng, masses)
    airway = _fill_airways(hu, bent, anatomy, edge, texture_rng)

    hu, seen = scan(hu, acquisition, noise_rng)
    labels = np.where(body > 0.5, _BODY, 0).astype(np.uint8)
    lung = (right + left > 0.5) & (airway < 0.5)
    labels[lung] = np.where(right[lung] >= left[lung], _RIGHT, _LEFT)
    labels[:, ~seen] = 0  # nothing can be said of what was not reconstructed
    return ChestPhantom(hu, labels, acquisition.affine, anatomy, acquisition, seed)


def _skin(p: Coordinates, a: Anatomy) -> Field:
    """Signed distance to the outer surface of trunk, neck and arms."""
    wall = a.muscle + a.fat + a.skin
    top = max(a.apex)
    # Control heights from the abdomen up to the neck; the shoulders are wide and shallow.
    heights = [-400, a.dome[0], a.shoulder, top - 25, top + 15, top + 45, top + 75, 500]
    shoulders = (1.42 if a.arms == "down" else 1.25) * a.cage[0] + 0.5 * a.fat
    trunk_x, trunk_y = a.cage[0] + wall, a.cage[1] + wall
    half_x = np.interp(p.z, heights, [trunk_x * 1.02, trunk_x, trunk_x * 1.05, shoulders, shoulders * 0.98, 85, 62, 62])
    half_y = np.interp(p.z, heights, [trunk_y * 1.03, trunk_y, trunk_y, trunk_y * 0.92, trunk_y * 0.78, 68, 62, 62])
    lean = np.interp(p.z, heights, [0, 0, 0, 6, 14, 18, 18, 18]).astype(np.float32)
    skin = superellipse(p.x, p.y - lean, half_x.astype(np.float32), half_y.astype(np.float32), 2.35)
    if a.breast:
        for side in (-1, 1):
            centre = (side * 0.55 * a.cage[0], -a.cage[1] - wall + 4, 0.5 * (a.dome[0] + a.shoulder) + 15)
            skin = smooth_min(skin, ellipsoid(p, centre, (1.1 * a.breast, 0.75 * a.breast, a.breast)), 12.0)
    if a.arms != "none":
        direction = -1 if a.arms == "down" else 1
        for side in (-1, 1):
            reach = a.cage[0] + wall + 55
            slant = np.clip((p.z - (top - 20)) * direction, 0, 400)
            x = p.x - side * (reach - (0.45 if a.arms == "up" else -0.02) * slant)
            arm = superellipse(x, p.y - 15, 42 + 0.3 * a.fat, 44 + 0.3 * a.fat)
            arm = np.maximum(arm, -(p.z - (top - 35)) * direction)
            skin = smooth_min(skin, arm.astype(np.float32), 10.0) if a.arms == "up" else np.minimum(skin, arm)
    return skin


def _cage(p: Coordinates, a: Anatomy) -> Field:
    """Signed distance to the inner surface of the chest wall, as a cylinder that narrows upwards."""
    rise = np.clip((p.z - a.shoulder) / (max(a.apex) - a.shoulder), 0, 1.6)
    half_x = a.cage[0] * (1 - 0.28 * rise**2)
    half_y = a.cage[1] * (1 - 0.22 * rise**2)
    return superellipse(p.x, p.y - 6 * rise, half_x.astype(np.float32), half_y.astype(np.float32), a.cage_power)


def _diaphragm(p: Coordinates, a: Anatomy) -> Field:
    """Height (mm) above the diaphragm, negative below."""
    domes = []
    for side, height in ((-1, a.dome[0]), (1, a.dome[1])):
        u = (p.x - side * 0.42 * a.cage[0]) / (0.62 * a.cage[0])
        v = (p.y + 0.18 * a.cage[1]) / (1.12 * a.cage[1])
        domes.append(height - a.recess * np.minimum((u * u + v * v) ** 1.25, 1.15))
    # The central tendon carries the heart: between the domes the diaphragm is low, yet no lung lies there.
    tendon = min(a.dome) - 12 - 0.5 * a.recess * ((p.x / (0.75 * a.cage[0])) ** 2 + ((p.y + 25) / a.cage[1]) ** 4)
    return np.asarray(p.z - np.maximum.reduce([*domes, tendon]), dtype=np.float32)


def _mediastinum(p: Coordinates, a: Anatomy) -> Field:
    """Signed distance to everything between the lungs."""
    tall = np.interp(p.z, [a.dome[0] - 20, a.heart[2] + 50, max(a.apex) - 30, max(a.apex)], [1.1, 1.0, 1.0, 1.35])
    middle = superellipse(p.x - 2, p.y - 4, (a.mediastinum * tall).astype(np.float32), 0.5 * a.cage[1], 2.2)
    front = np.maximum(np.abs(p.x - 4) - a.junction - 0.12 * np.clip(-p.y - 0.75 * a.cage[1], 0, 60), p.y)
    back = superellipse(p.x, p.y - a.spine[0], a.spine[1] + 5, a.spine[2] + 8, 2.2)
    behind = np.maximum(np.abs(p.x) - 0.75 * a.spine[1], a.spine[0] - p.y)
    heart = ellipsoid(p, a.heart[:3], a.heart[3:], yaw=0.5)
    arch = ellipsoid(p, (10, 0, 28), (26, 34, 22), yaw=-0.5)
    aorta = superellipse(p.x - a.spine[1] - 3, p.y - a.spine[0] + 16, 13, 13)
    aorta = np.maximum(aorta, p.z - 35)
    root = ellipsoid(p, (0, 0, -14), (a.mediastinum + 16, 26, 24))
    total = smooth_min(middle, front.astype(np.float32), 9.0)
    for part in (back, behind.astype(np.float32), heart, arch, aorta.astype(np.float32), root):
        total = smooth_min(total, part, 6.0)
    return total


def _lungs(
    p: Coordinates, a: Anatomy, cage: Field, diaphragm: Field, mediastinum: Field, edge: float, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Occupancy of the right and the left lung (vessels and disease included, airways still to be taken out)."""
    wobble = plane_waves(p, rng, (35.0, 110.0), 6) * rng.uniform(0.5, 2.5)
    out = []
    for side, apex in ((-1, a.apex[0]), (1, a.apex[1])):
        rise = np.clip((p.z - a.shoulder) / (apex - a.shoulder), 0, 3)
        hull = superellipse(
            p.x - side * 0.5 * a.cage[0],
            (p.y - 10 * rise),
            (0.66 * a.cage[0] * np.sqrt(np.clip(1 - rise**2.6, 0.0, 1))).astype(np.float32),
            (1.05 * a.cage[1] * np.sqrt(np.clip(1 - rise**2.6, 0.0, 1))).astype(np.float32),
            2.1,
        )
        hull = np.where(rise >= 1, np.maximum(hull, 2 * edge), hull)
        # Below the shoulder only the cage bounds the lung; the hull fades in over the taper.
        bound = np.maximum(cage, np.where(rise > 0, hull - 25 * np.clip(1 - 3 * rise, 0, 1), -50))
        inner = np.minimum.reduce([-bound, diaphragm * 0.7, mediastinum, side * p.x + 12]) + wobble
        fluid = _effusion(p, a, rng, side, apex)
        out.append(
            occupancy(-inner.astype(np.float32), edge) * (1 - occupancy(fluid, edge) if fluid is not None else 1)
        )
    right, left = out
    share = right >= left
    return np.where(share, right, 0).astype(np.float32), np.where(share, 0, left).astype(np.float32)


def _effusion(p: Coordinates, a: Anatomy, rng: np.random.Generator, side: int, apex: float) -> Field | None:
    """Signed distance to pleural fluid, which pools at the back (or the front of a prone patient)."""
    present, depth, tilt, low = rng.random(), rng.uniform(8, 55), rng.uniform(0.1, 0.35), rng.uniform(-0.2, 0.6)
    if present > 0.12:
        return None
    down = -1.0 if a.prone else 1.0
    level = a.cage[1] - depth + tilt * np.clip(p.z - a.dome[0], -80, 200)
    surface = level + 0.002 * (p.x - side * 0.5 * a.cage[0]) ** 2 * low
    return np.asarray(np.maximum(surface - down * p.y, -side * p.x), dtype=np.float32)


def _fill_wall(
    hu: Field, p: Coordinates, a: Anatomy, skin: Field, cage: Field, body: Field, edge: float, rng: np.random.Generator
) -> None:
    """Skin, subcutaneous fat, muscle with fat between its layers."""
    texture = plane_waves(p, rng, (8.0, 40.0), 8)
    fat = rng.uniform(-118, -88) + 8 * texture
    muscle = rng.uniform(35, 65) + rng.uniform(4, 14) * plane_waves(p, rng, (10.0, 60.0), 6)
    blend(hu, rng.uniform(-10, 40), body)
    blend(hu, fat, occupancy(skin + a.skin, edge))
    # Muscle reaches a fixed depth outside the ribs, and all of the neck and arms but a rind of fat.
    layer = np.minimum(cage - a.muscle, np.where(p.z > max(a.apex) - 20, skin + 0.7 * a.fat + a.skin, 500))
    limb = np.where(np.abs(p.x) > a.cage[0] + a.muscle + a.fat + 12, skin + 9 + 0.25 * a.fat, 500)
    layer = np.minimum(layer, limb)
    layer = np.maximum(layer + 2 * texture, skin + a.skin + 2)
    streaks = occupancy(1.4 - plane_waves(p, rng, (15.0, 60.0), 8), 0.5)
    blend(hu, muscle * (1 - streaks) + fat * streaks, occupancy(layer.astype(np.float32), edge))


def _fill_abdomen(
    hu: Field, p: Coordinates, a: Anatomy, cage: Field, diaphragm: Field, edge: float, rng: np.random.Generator
) -> None:
    """Liver, spleen, stomach, bowel and their gas, under the diaphragm."""
    below = np.maximum(cage + 4, diaphragm * 0.7 + rng.uniform(1.5, 5))
    inside = occupancy(below, edge)
    if not inside.any():
        return
    enhanced = 0.35 * a.contrast
    loops = plane_waves(p, rng, (35.0, 110.0), 10)
    blend(hu, rng.uniform(-110, -85) + 12 * plane_waves(p, rng, (10.0, 40.0), 6), inside)
    depth = np.clip(-diaphragm, 0, None)
    blend(hu, rng.uniform(15, 60), inside * occupancy(np.where(depth > 40, -loops * 18, 30), edge))
    # The muscle of the diaphragm itself.
    blend(hu, 45.0, inside * occupancy(depth - 5, edge))
    liver = np.maximum(below, np.maximum(p.x - rng.uniform(0, 55) + 0.35 * p.z - 0.35 * a.dome[0], -depth * 0 - 200))
    liver = np.maximum(liver, a.dome[0] - rng.uniform(110, 220) - p.z)
    blend(hu, rng.uniform(25, 70) + enhanced + 4 * loops, occupancy(liver.astype(np.float32), edge))
    spleen = ellipsoid(p, (0.62 * a.cage[0], 0.35 * a.cage[1], a.dome[1] - 45), (34, 40, 48), yaw=0.4)
    blend(hu, rng.uniform(40, 55) + 1.3 * enhanced, occupancy(np.maximum(spleen, below), edge))
    stomach_at = (0.42 * a.cage[0], -0.25 * a.cage[1], a.dome[1] - rng.uniform(30, 60))
    stomach = ellipsoid(p, stomach_at, (rng.uniform(25, 50), rng.uniform(30, 50), rng.uniform(25, 50)), yaw=-0.5)
    stomach = np.maximum(stomach + 3 * loops, below + rng.uniform(0, 3))
    blend(hu, rng.uniform(0, 60), occupancy(stomach.astype(np.float32), edge))
    down = -1.0 if a.prone else 1.0
    # Gas rises: fill the stomach above a level, horizontal whichever way the patient lies.
    level = down * stomach_at[1] + rng.uniform(-40, 30)
    gas = np.maximum(stomach + rng.uniform(2, 5), down * p.y - level)
    blend(hu, rng.uniform(-1005, -945), occupancy(gas.astype(np.float32), edge))
    _bowel_gas(hu, p, a, below, edge, rng)


def _bowel_gas(hu: Field, p: Coordinates, a: Anatomy, below: Field, edge: float, rng: np.random.Generator) -> None:
    """Pockets of gas and stool: the nearest thing to lung that is not lung."""
    down = -1.0 if a.prone else 1.0
    mottle = plane_waves(p, rng, (6.0, 25.0), 8)
    for _ in range(rng.integers(1, 9)):
        centre = (
            rng.uniform(-0.85, 0.85) * a.cage[0],
            down * rng.uniform(-0.95, 0.3) * a.cage[1],
            a.dome[1] - rng.uniform(15, 190),
        )
        radii = rng.uniform(7, 30, size=3)
        pocket = np.maximum(ellipsoid(p, centre, radii, yaw=rng.uniform(-1.5, 1.5)) + 2 * mottle, below + 2)
        value: Field | float = rng.uniform(-1005, -945)
        if rng.random() < 0.3:
            value = np.asarray(rng.uniform(-450, -50) + rng.uniform(80, 350) * mottle, dtype=np.float32)
        wall = occupancy(pocket.astype(np.float32) - 3, edge)
        blend(hu, 40.0, wall)
        blend(hu, value, occupancy(pocket.astype(np.float32), edge))
    inside = occupancy(below + 2, edge)
    for _ in range(rng.integers(1, 6)):
        centres, radii = _gut(a, rng, down)
        level = down * centres[:, 1].mean() + rng.uniform(-25, 25)
        loop = stamp_balls(p, centres, radii + 3, edge) * inside
        lumen = stamp_balls(p, centres, radii, edge) * inside
        stool = np.asarray(rng.uniform(-80, 60) - rng.uniform(0, 250) * (mottle > 0.2), dtype=np.float32)
        blend(hu, 35.0, loop)
        blend(hu, stool, lumen)
        blend(hu, rng.uniform(-1005, -945), lumen * occupancy(down * p.y - level, edge))


def _gut(a: Anatomy, rng: np.random.Generator, down: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A winding stretch of bowel with folds: points and radii along it."""
    n = 60
    start = np.array(
        [
            rng.uniform(-0.7, 0.7) * a.cage[0],
            down * rng.uniform(-0.95, 0.1) * a.cage[1],
            a.dome[1] - rng.uniform(0, 170),
        ]
    )
    heading = np.cumsum(rng.normal(scale=0.35, size=(n, 3)), axis=0) + rng.normal(size=3) * (1.5, 0.4, 0.6)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    path = start + np.cumsum(heading * rng.uniform(2, 5), axis=0)
    folds = 1 - rng.uniform(0, 0.35) * (np.sin(np.arange(n) * rng.uniform(0.5, 1.2)) > 0.6)
    return path, rng.uniform(9, 34) * folds


def _fill_mediastinum(
    hu: Field,
    p: Coordinates,
    a: Anatomy,
    cage: Field,
    mediastinum: Field,
    diaphragm: Field,
    edge: float,
    rng: np.random.Generator,
) -> None:
    """Fat between the lungs, then heart, great vessels, oesophagus, nodes, and the soft tissue of the upper chest."""
    inside = occupancy(np.maximum(cage + 1, -diaphragm), edge)
    fat = rng.uniform(-105, -60) + 15 * plane_waves(p, rng, (10.0, 50.0), 6)
    effusion = rng.uniform(0, 30)
    top = max(a.apex)
    blend(hu, np.where(mediastinum < 6, fat, np.where(p.z > top - 25, 40.0, effusion)), inside)
    blood = 45.0 + a.contrast
    heart = ellipsoid(p, a.heart[:3], [0.9 * r for r in a.heart[3:]], yaw=0.5)
    chamber = blood - rng.uniform(0, 0.4) * a.contrast * (plane_waves(p, rng, (60.0, 150.0), 4) > 0)
    vessels = [
        superellipse(p.x - a.spine[1] - 3, p.y - a.spine[0] + 16, 11, 11),
        np.maximum(superellipse(p.x + 14, p.y + 20, 14, 14), a.heart[2] - p.z),
        np.maximum(superellipse(p.x + 24, p.y + 4, 9, 9), a.heart[2] - p.z),
        ellipsoid(p, (8, -2, 28), (22, 32, 12), yaw=-0.5),
        ellipsoid(p, (6, -4, -14), (a.mediastinum + 8, 15, 11)),
        superellipse(p.x - 4, p.y - a.spine[0] + 26, 8, 6),
    ]
    limit = np.maximum(cage + 1, -diaphragm * 0.7)
    blend(hu, chamber.astype(np.float32), occupancy(np.maximum(heart, limit), edge))
    for number, vessel in enumerate(vessels):
        value = 35.0 if number == 5 else blood
        upper = top + 40 if number in (2, 5) else 42.0
        vessel = np.maximum(np.maximum(vessel, limit), p.z - upper).astype(np.float32)
        blend(hu, value, occupancy(vessel, edge))
    for _ in range(rng.integers(0, 8)):
        node = ellipsoid(p, rng.normal(size=3) * (18, 22, 40), rng.uniform(4, 11, size=3))
        blend(hu, rng.uniform(20, 80), occupancy(np.maximum(node, mediastinum + 2), edge))


def _fill_bones(
    hu: Field, p: Coordinates, a: Anatomy, cage: Field, skin: Field, edge: float, rng: np.random.Generator
) -> None:
    """Spine, ribs, sternum, shoulder blades, collar bones and arms, each with a dense shell."""
    marrow, cortex = rng.uniform(120, 260), rng.uniform(450, 1100)
    spacing, thick, slope = a.rib
    y, half_x, half_y = a.spine
    disc = np.abs(((p.z / spacing) % 1.0) - 0.5) * spacing - 0.5 * spacing + 4
    body = superellipse(p.x, p.y - y, half_x * (1 - 0.1 * (disc > 0)), half_y, 2.3)
    blend(hu, 75.0, occupancy(body, edge))
    bones = [np.maximum(body, disc)]
    canal = superellipse(p.x, p.y - y - half_y - 9, 9, 8)
    arch = np.maximum(superellipse(p.x, p.y - y - half_y - 10, 16, 15), -canal)
    spinous = np.maximum(np.abs(p.x) - 3.5, np.abs(p.y - y - half_y - 32) - 13)
    transverse = np.maximum(np.abs(p.y - y - half_y - 9) - 6, np.abs(p.x) - 32)
    beat = np.abs(((p.z / spacing + 0.3) % 1.0) - 0.5) * spacing - 9
    bones += [arch, np.maximum(np.maximum(spinous, beat), -canal), np.maximum(np.maximum(transverse, beat), -canal)]
    # Ribs run down towards the front; cartilage leaves a gap at the sternum.
    phase = (p.z - slope * (p.y - y) + 6 * np.abs(p.x) / a.cage[0]) / spacing
    rib = np.hypot((np.abs(phase % 1.0 - 0.5)) * spacing, 1.2 * (cage - 0.5 * thick - 1)) - thick
    rib = np.maximum(rib, -p.y - rng.uniform(0.5, 0.8) * a.cage[1])
    rib = np.maximum(rib, p.z - max(a.apex) + 8)
    sternum = np.maximum(superellipse(p.x, p.y + a.cage[1] + 7, rng.uniform(14, 22), 7, 2.6), np.abs(p.z - 5) - 85)
    bones += [rib, sternum]
    for side in (-1, 1):
        x = p.x - side * (0.72 * a.cage[0] + 6)
        blade = np.maximum(np.abs(p.y - 0.78 * a.cage[1] - 14 + side * 0.45 * x) - 3.5, np.abs(x) - 45)
        blade = np.maximum(blade, np.abs(p.z - max(a.apex) + 70) - 75)
        collar = np.hypot(p.y + 0.55 * a.cage[1] - 0.25 * np.abs(p.x), p.z - max(a.apex) + 4 - 0.1 * np.abs(p.x)) - 7
        collar = np.maximum(collar, np.maximum(18 - side * p.x, side * p.x - 165))
        humerus = ellipsoid(p, (side * (1.25 * a.cage[0] + 20), 12, max(a.apex) - 12), (25, 25, 27))
        bones += [np.maximum(blade, -cage + 3), np.maximum(collar, -cage + 2), humerus]
        if a.arms != "none":
            direction = -1 if a.arms == "down" else 1
            wall = a.muscle + a.fat + a.skin
            slant = np.clip((p.z - (max(a.apex) - 20)) * direction, 0, 400)
            x = p.x - side * (a.cage[0] + wall + 55 - (0.45 if a.arms == "up" else -0.02) * slant)
            shaft = np.maximum(superellipse(x, p.y - 15, 12, 12), -(p.z - (max(a.apex) - 35)) * direction)
            bones.append(shaft)
    distance = np.maximum(np.minimum.reduce(bones), skin + a.skin + 2).astype(np.float32)
    grain = 1 + 0.25 * plane_waves(p, rng, (6.0, 20.0), 6)
    blend(hu, cortex * grain, occupancy(distance, edge))
    blend(hu, marrow * grain, occupancy(distance + 2.5, edge))
    blend(hu, 30.0, occupancy(np.maximum(canal, p.z - 500), edge))


def _fill_lungs(
    hu: Field, p: Coordinates, a: Anatomy, lung: Field, edge: float, rng: np.random.Generator, masses: bool
) -> None:
    """Parenchyma, vessels that branch from the hilum, and disease."""
    inside = lung > 0
    if not inside.any():
        return
    down = -1.0 if a.prone else 1.0
    value = a.lung_hu + a.gravity_hu * (down * p.y / a.cage[1]) * 0.5
    value = value + rng.uniform(5, 30) * plane_waves(p, rng, (12.0, 90.0), 10)
    if rng.random() < 0.4:  # emphysema, in spots or in whole regions
        scale = float(rng.choice([1.0, 4.0]))
        holes = occupancy(rng.uniform(0.0, 1.2) - plane_waves(p, rng, (10.0 * scale, 40.0 * scale), 8), 0.6)
        value = value + (rng.uniform(-975, -945) - value) * holes
    if rng.random() < 0.45:
        glass = occupancy(rng.uniform(0.4, 1.6) - plane_waves(p, rng, (30.0, 120.0), 8), 0.8)
        value = value + rng.uniform(60, 450) * glass
    value = np.maximum(value, -990)
    centres, radii = _vessel_tree(a, rng)
    # Vessels bend with everything else: their points are given in the bent space, so unbend by the mean shift only.
    vessels = stamp_balls(p, centres, radii, edge)
    value = value + (rng.uniform(0, 60) + rng.uniform(0.3, 1.0) * a.contrast - value) * vessels
    for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.5, 0.25, 0.15, 0.1]))):
        middle = rng.uniform(-1, 1, size=3) * (a.cage[0], a.cage[1], 0.5 * max(a.apex)) * 0.85
        lump = ellipsoid(p, middle, rng.uniform(4, 26, size=3)) + rng.uniform(0.5, 4) * plane_waves(
            p, rng, (8.0, 30.0), 8
        )
        dense = rng.uniform(-60, 90)
        if masses:
            value = value + (dense - value) * occupancy(lump, edge)
    if rng.random() < 0.3:
        bound = rng.uniform(0.55, 0.95) * a.cage[1]
        sheet = (
            bound - down * p.y + 6 * plane_waves(p, rng, (15.0, 60.0), 8) + 0.12 * np.clip(p.z - a.dome[0], -50, 400)
        )
        value = value + (rng.uniform(-550, -50) - value) * occupancy(sheet.astype(np.float32), 3 * edge)
    blend(hu, value.astype(np.float32), lung)


def _vessel_tree(a: Anatomy, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and radii along branches that leave each hilum, thin out and fork."""
    centres, radii = [], []
    for side in (-1, 1):
        hilum = np.array([side * (a.mediastinum + 8), 4.0, -12.0])
        stack = []
        for _ in range(rng.integers(8, 16)):
            direction = rng.normal(size=3) * (0.6, 1.0, 1.2) + (side * 0.8, 0, -0.1)
            stack.append((hilum + rng.normal(size=3) * (2, 6, 10), direction, rng.uniform(2.5, 6.0), 0))
        while stack:
            point, direction, radius, depth = stack.pop()
            direction = direction / np.linalg.norm(direction)
            length = rng.uniform(18, 45) * (0.85**depth)
            steps = max(3, int(length / max(1.2 * radius, 1.0)))
            path = point + direction * np.linspace(0, length, steps)[:, None]
            path += np.cumsum(rng.normal(scale=0.35, size=path.shape), axis=0)
            centres.append(path)
            radii.append(np.linspace(radius, 0.8 * radius, steps))
            if radius > 0.9 and depth < 5:
                for _ in range(2):
                    stack.append((path[-1], direction + rng.normal(scale=0.45, size=3), radius * 0.72, depth + 1))
    return np.concatenate(centres), np.concatenate(radii)


def _fill_airways(hu: Field, p: Coordinates, a: Anatomy, edge: float, rng: np.random.Generator) -> Field:
    """Trachea and main bronchi, with walls; returns the occupancy of their lumen."""
    radius = rng.uniform(6.5, 10.5)
    sway = rng.uniform(-5, 5)
    heights = np.arange(0.0, 320.0, 3.0)
    back = np.interp(heights, [0, 90, 180, 320], [0.20 * a.cage[1], 0.05 * a.cage[1], -8, -12])
    trachea = np.stack([sway * np.sin(heights / 90), back, heights], axis=1)
    points, radii = [trachea], [np.full(len(trachea), radius)]
    for side, drop in ((-1, 0.9), (1, 0.55)):
        run = np.linspace(0, rng.uniform(35, 55), 20)
        bronchus = np.stack([side * 0.85 * run, back[0] + 0.1 * run, -drop * run], axis=1)
        points.append(bronchus)
        radii.append(np.linspace(0.75 * radius, 0.5 * radius, len(run)))
    centres, sizes = np.concatenate(points), np.concatenate(radii)
    wall = stamp_balls(p, centres, sizes + rng.uniform(1.0, 2.2), edge)
    lumen = stamp_balls(p, centres, sizes, edge)
    blend(hu, 10.0, wall)
    blend(hu, rng.uniform(-1000, -950), lumen)
    return lumen
