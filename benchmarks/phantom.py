"""Made-up anatomy: a CT of smooth structures under correlated noise, and organs with uneven, smooth outlines.

Everything is described in fractions of the volume, so that the same scene is rendered at any size, and follows
from fixed seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.registry import Size

SLOPE, INTERCEPT = 1.0, -1024.0
SPACING = (1.0, 0.78125, 0.78125)  # mm along slice, row, column
ORIGIN = (-199.609375, -189.609375, -149.5)  # LPS mm of the first voxel's centre
FILLED = 0.15  # share of the voxels that belong to an organ

# Names and codes of organs, used in turn: the benchmark needs well-formed codes, not a true atlas.
ORGAN_CODES = (
    ("10200004", "Liver"),
    ("64033007", "Kidney"),
    ("78961009", "Spleen"),
    ("15776009", "Pancreas"),
    ("28231008", "Gallbladder"),
    ("69695003", "Stomach"),
    ("15825003", "Aorta"),
    ("80891009", "Heart"),
    ("39607008", "Lung"),
    ("32849002", "Esophagus"),
    ("44567001", "Trachea"),
    ("89837001", "Urinary bladder"),
    ("41216001", "Prostate"),
    ("71854001", "Colon"),
    ("38848004", "Duodenum"),
    ("30315005", "Small intestine"),
    ("23451007", "Adrenal gland"),
    ("69748006", "Thyroid gland"),
    ("12738006", "Brain"),
    ("2748008", "Spinal cord"),
)
ANATOMICAL_STRUCTURE = ("123037004", "Anatomical Structure")


def segment_names(count: int) -> list[dict[str, str]]:
    """Label, code and meaning of each segment, in the order of their numbers."""
    names = []
    for index in range(count):
        value, meaning = ORGAN_CODES[index % len(ORGAN_CODES)]
        names.append({"label": f"{meaning} {index + 1}", "value": value, "scheme": "SCT", "meaning": meaning})
    return names


def ct_slices(size: Size, seed: int = 20240) -> Iterator[np.ndarray]:
    """Yield stored values, int16 >= 0, slice after slice: air, body, lungs, spine, texture and noise."""
    rng = np.random.default_rng(seed)
    depth, rows, columns = size.shape
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    waves = rng.uniform(1.0, 6.0, (12, 3)).astype(np.float32)
    phases = rng.uniform(0.0, 2 * np.pi, 12).astype(np.float32)
    reach = np.hypot(x, y)
    for d in range(depth):
        z = np.float32(2 * (d + 0.5) / depth - 1)
        wide = 0.80 + 0.05 * np.cos(3 * z)
        body = (x / wide) ** 2 + (y / 0.62) ** 2
        hu = np.where(body < 1, np.float32(45), np.float32(-1000))
        fat = (body > 0.86) & (body < 1)
        hu[fat] = -95
        lung = np.sqrt(max(0.0, 1 - ((z - 0.2) / 0.8) ** 2))
        if lung > 0:
            for side in (-0.38, 0.38):
                hu[((x - side) / (0.27 * lung)) ** 2 + ((y + 0.02) / (0.38 * lung)) ** 2 < 1] = -840
        hu[(x / 0.09) ** 2 + ((y - 0.38) / 0.09) ** 2 < 1] = 320
        texture = np.zeros((rows, columns), np.float32)
        for (a, b, c), phase in zip(waves, phases, strict=True):
            texture += np.sin(a * x * 3 + phase) * np.cos(b * y * 3 + c * z)
        noise = rng.standard_normal((rows + 2, columns + 2), dtype=np.float32)
        noise = noise[:-2] + 2 * noise[1:-1] + noise[2:]
        noise = noise[:, :-2] + 2 * noise[:, 1:-1] + noise[:, 2:]
        hu += np.where(body < 1, np.float32(4), np.float32(0)) * texture
        hu += noise * np.where(body < 1, np.float32(3.0), np.float32(1.5))
        hu[reach > 1] = INTERCEPT  # outside the reconstruction circle
        yield np.clip(np.rint((hu - INTERCEPT) / SLOPE), 0, 4095).astype(np.int16)


@dataclass(frozen=True)
class Organ:
    """An ellipsoid with a bumpy surface; centre and radii are fractions along (slice, row, column)."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    bumps: np.ndarray  # (5, 5, 5) in -1 ... 1, spread smoothly over the organ's box

    def render(self, size: Size) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """Return the organ's box and its field there: under 1 inside, 1 on the surface, above 1 outside."""
        box, axes, weights = [], [], []
        for n, centre, radius in zip(size.shape, self.centre, self.radii, strict=True):
            low = max(0, int(np.floor((centre - 1.35 * radius) * n)))
            high = min(n, int(np.ceil((centre + 1.35 * radius) * n)) + 1)
            if low >= high:
                return None
            at = (((np.arange(low, high) + 0.5) / n - centre) / radius).astype(np.float32)
            box.append(slice(low, high))
            axes.append(at)
            weights.append(_linear_weights(at, self.bumps.shape[0]))
        z, y, x = axes
        field = np.sqrt((z**2)[:, None, None] + (y**2)[None, :, None] + (x**2)[None, None, :])
        bumps = np.einsum("abc,za,yb,xc->zyx", self.bumps.astype(np.float32), *weights, optimize=True)
        return (box[0], box[1], box[2]), field + np.float32(0.22) * bumps


def _linear_weights(at: np.ndarray, knots: int) -> np.ndarray:
    """Interpolation matrix (samples, knots) for positions from -1.35 to 1.35."""
    place = np.clip((at + 1.35) / 2.7 * (knots - 1), 0, knots - 1)
    low = np.minimum(place.astype(int), knots - 2)
    weights = np.zeros((at.size, knots), np.float32)
    rows = np.arange(at.size)
    weights[rows, low] = 1 - (place - low)
    weights[rows, low + 1] = place - low
    return weights


def organs(count: int, seed: int = 7) -> list[Organ]:
    """``count`` organs that together fill 15 % of the voxels; the first, a column, crosses every slice."""
    rng = np.random.default_rng(seed * 1000 + count)
    places, extents, surfaces = [], [], []
    for index in range(count):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.02, 1))
        centre = (
            rng.uniform(0.08, 0.92),
            0.5 + 0.26 * distance * np.sin(angle),
            0.5 + 0.34 * distance * np.cos(angle),
        )
        extent = rng.lognormal(0.0, 0.35) * rng.uniform(0.7, 1.3, 3)
        if index == 0:
            centre, extent = (0.5, 0.69, 0.5), np.array([0.7, 0.7, 0.7])
        places.append(centre)
        extents.append(extent)
        surfaces.append(rng.uniform(-1, 1, (5, 5, 5)))

    def scaled(scale: float) -> list[Organ]:
        made = []
        for index, (centre, extent, bumps) in enumerate(zip(places, extents, surfaces, strict=True)):
            along = 1.2 if index == 0 else float(scale * extent[0])
            made.append(Organ(centre, (along, float(scale * extent[1]), float(scale * extent[2])), bumps))
        return made

    low, high = 0.005, 0.5
    coarse = Size(64, 96, 96)
    for _ in range(18):
        middle = (low + high) / 2
        if np.count_nonzero(label_map(scaled(middle), coarse, every=False)) < FILLED * np.prod(coarse.shape):
            low = middle
        else:
            high = middle
    return scaled(low)


def label_map(scene: list[Organ], size: Size, *, every: bool = True) -> np.ndarray:
    """Render organs as labels 1, 2, ...; small ones lie over large ones. ``every`` label is made to occur."""
    labels = np.zeros(size.shape, np.uint8)
    for number in sorted(range(len(scene)), key=lambda index: -np.prod(scene[index].radii)):
        rendered = scene[number].render(size)
        if rendered is None:
            continue
        box, field = rendered
        labels[box][field < 1] = number + 1
    if every:
        present = np.bincount(labels.ravel(), minlength=len(scene) + 1)
        for missing in np.flatnonzero(present[: len(scene) + 1] == 0).tolist():
            # Too small for a coarse grid, or hidden: it gets one voxel of the background.
            middle = labels[size.slices // 2].reshape(-1)
            middle[np.flatnonzero(middle == 0)[missing * 3]] = missing
    return labels


def probability_boxes(scene: list[Organ], size: Size) -> list[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """Probability of each organ in its box, float32: 1 inside, falling to 0 over a soft border."""
    boxes = []
    for organ in scene:
        rendered = organ.render(size)
        if rendered is None:
            raise ValueError("an organ lies outside the volume")
        box, field = rendered
        boxes.append((box, np.clip((1.12 - field) / 0.24, 0, 1).astype(np.float32)))
    return boxes
