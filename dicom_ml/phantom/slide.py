"""Seeded synthetic slides of lung tissue in three textures, with the truth of which lies where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_ml.codes import parse_code
from dicom_ml.errors import EncodingError
from dicom_ml.objects.segmentation import Algorithm, Segment, Segmentation
from dicom_ml.phantom.sm_series import SlideDescription, write_sm_series
from dicom_ml.phantom.tissue import ALVEOLAR, GLANDULAR, SOLID, Field, TissuePlan, paint, smooth_noise

__all__ = ["TEXTURES", "SlidePhantom", "WrittenSlide", "slide_phantom", "texture_segments", "write_slide"]

TEXTURES = {ALVEOLAR: "Alveolar", GLANDULAR: "Glandular", SOLID: "Solid"}
"""Values of a phantom's label map: walls around air, rings around lumina, nests without."""

_PLAN = 2.0
"""Micrometres of the pixels on which tissue is laid out; nuclei are drawn on the slide's own."""
_TRUTH = 4
"""Pixels of the plan a pixel of the label map."""
_PLACE = 7.5
"""Micrometres between places for a nucleus."""
_ANGLES, _VARIANTS = 12, 8
_STRIP = 512

# Optical densities of haematoxylin and eosin for red, green and blue.
_HAEMATOXYLIN, _EOSIN = (0.65, 0.70, 0.29), (0.09, 0.95, 0.28)


@dataclass(frozen=True)
class SlidePhantom:
    """A synthetic slide.

    Attributes
    ----------
    array : numpy.ndarray
        (H, W, 3) uint8, RGB.
    labels : numpy.ndarray
        (h, w) uint8 with the values of `TEXTURES`, 0 on glass. It covers the whole of the array.
    spacing : float
        Millimetres a pixel of the array.
    factor : int
        Pixels of the array along each side of a pixel of the labels.
    seed : int
        The same seed gives the same phantom.
    """

    array: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    spacing: float
    factor: int
    seed: int

    def share(self, texture: int) -> float:
        """Share of the tissue that has a texture."""
        tissue = np.count_nonzero(self.labels)
        return float(np.count_nonzero(self.labels == texture) / tissue) if tissue else 0.0


@dataclass(frozen=True)
class WrittenSlide:
    """A slide on disk, and its truth.

    Attributes
    ----------
    folder : Path
        Of the SM series, and of nothing else.
    files : list of Path
        One a level, the finest first.
    phantom : SlidePhantom
    """

    folder: Path
    files: list[Path]
    phantom: SlidePhantom

    def truth(self, slide: Any, **options: Any) -> Segmentation:
        """The labels as a segmentation of the slide, on their own coarser grid.

        Parameters
        ----------
        slide : Slide
            The slide, opened from `folder`.
        **options
            As of :meth:`dicom_ml.Segmentation.from_array`; by default a binary one with `texture_segments`.
        """
        labels, factor = self.phantom.labels, self.phantom.factor
        base = np.array(slide.levels[0].affine, dtype=np.float64)
        affine = base.copy()
        affine[:, 1:3] *= factor
        affine[:, 3] = base @ np.array([0.0, (factor - 1) / 2, (factor - 1) / 2, 1.0])
        settings: dict[str, Any] = {"segments": texture_segments(), "kind": "binary", "deterministic": True, **options}
        return Segmentation.from_array(labels, source=slide, affine=affine, **settings)


def texture_segments(algorithm: Algorithm | None = None) -> list[Segment]:
    """What labels 1, 2 and 3 mean."""
    algorithm = algorithm or Algorithm("dicom_ml slide phantom", "1")
    tissue, morphology = parse_code("SCT:85756007"), parse_code("SCT:49755003")
    adeno = parse_code(("35917007", "SCT", "Adenocarcinoma"))
    squamous = parse_code(("28899001", "SCT", "Squamous cell carcinoma"))
    return [
        Segment(TEXTURES[ALVEOLAR], tissue, tissue, algorithm, color=(70, 160, 255)),
        Segment(TEXTURES[GLANDULAR], adeno, morphology, algorithm, color=(255, 150, 30)),
        Segment(TEXTURES[SOLID], squamous, morphology, algorithm, color=(60, 190, 80)),
    ]


def slide_phantom(
    seed: int,
    shape: tuple[int, int] = (4096, 4096),
    *,
    spacing: float = 0.0005,
    textures: Mapping[int, float] | Sequence[int] = (ALVEOLAR, GLANDULAR, SOLID),
    pieces: int | None = None,
) -> SlidePhantom:
    """Make a slide.

    Parameters
    ----------
    seed : int
        Decides everything that is not given: outline and parts of the tissue, stain, thickness, noise.
    shape : (rows, columns)
    spacing : float
        Millimetres a pixel. Structures keep their size in millimetres: with 0.001 as many pixels show four times the
        area.
    textures : sequence of int, or mapping to float
        What the tissue holds: of a mapping about these shares, of a sequence equal ones.
    pieces : int, optional
        Pieces of tissue; drawn, 1 to 3, by default.

    Returns
    -------
    SlidePhantom

    Raises
    ------
    EncodingError
        If a texture is unknown, or the slide is smaller than 64 micrometres.
    """
    weights = dict(textures) if isinstance(textures, Mapping) else dict.fromkeys(textures, 1.0)
    if not weights or set(weights) - set(TEXTURES) or min(weights.values()) <= 0:
        raise EncodingError(f"textures are of {', '.join(f'{k} {v}' for k, v in TEXTURES.items())}, found {textures!r}")
    micrometres = spacing * 1000
    if min(shape) * micrometres < 64:
        raise EncodingError(f"a slide of {shape[0]} x {shape[1]} pixels of {spacing} mm is too small to hold tissue")
    outline_rng, tissue_rng, nuclei_rng, stain_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)
    )
    step = max(1, round(_PLAN / micrometres))
    pixel = step * micrometres
    # Rounded up to whole pixels of the label map.
    size = tuple(_TRUTH * -(-n // (step * _TRUTH)) for n in shape)
    texture = _lay_out(outline_rng, (size[0], size[1]), pixel, weights, pieces)
    plan = TissuePlan.empty(texture, pixel)
    paint(plan, tissue_rng)
    nuclei = _nuclei(plan, shape, step, nuclei_rng)
    array = _stain(plan, nuclei, step, stain_rng)
    labels = texture[_TRUTH // 2 :: _TRUTH, _TRUTH // 2 :: _TRUTH]
    factor = step * _TRUTH
    return SlidePhantom(array, np.ascontiguousarray(labels), spacing, factor, seed)


def write_slide(
    folder: str | os.PathLike[str],
    *,
    seed: int,
    size: tuple[int, int] = (4096, 4096),
    spacing: float = 0.0005,
    textures: Mapping[int, float] | Sequence[int] = (ALVEOLAR, GLANDULAR, SOLID),
    description: SlideDescription | None = None,
    tile_size: int = 256,
    downsamples: Sequence[int] | None = None,
    quality: int = 85,
) -> WrittenSlide:
    """Make a slide and write it as a slide microscopy series: a pyramid of JPEG tiles, one file a level.

    Parameters
    ----------
    folder : path
        Made when missing.
    seed, size, spacing, textures
        As of :func:`slide_phantom`.
    description : SlideDescription, optional
        Of patient and specimen. By default a patient of its own whose specimen is said to be normal, or a primary
        neoplasm where there is any texture but the alveolar one.
    tile_size, downsamples, quality
        As of :func:`dicom_ml.phantom.write_sm_series`.

    Returns
    -------
    WrittenSlide
        Its files, and the phantom with the truth.
    """
    phantom = slide_phantom(seed, size, spacing=spacing, textures=textures)
    about = description or SlideDescription(f"slide {seed}", neoplasm=set(textures) != {ALVEOLAR})
    files = write_sm_series(
        folder, phantom.array, phantom.spacing, about, tile_size=tile_size, downsamples=downsamples, quality=quality
    )
    return WrittenSlide(Path(folder), files, phantom)


# ---------------------------------------------------------------------- where tissue lies
def _lay_out(
    rng: np.random.Generator, shape: tuple[int, int], pixel: float, weights: Mapping[int, float], pieces: int | None
) -> NDArray[np.uint8]:
    """Texture of each pixel: uneven pieces on glass, parted into patches."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    count = pieces or int(rng.integers(1, 4))
    along = int(shape[1] > shape[0])
    edge = smooth_noise(rng, shape, min(shape) / 7) + 0.4 * smooth_noise(rng, shape, min(shape) / 22)
    tissue = np.zeros(shape, dtype=bool)
    for number in range(count):
        middle = [n * rng.uniform(0.45, 0.55) for n in shape]
        middle[along] = shape[along] * (number + rng.uniform(0.45, 0.55)) / count
        half = [n * rng.uniform(0.40, 0.50) for n in shape]
        half[along] /= count
        radius = np.sqrt(((rows - middle[0]) / half[0]) ** 2 + ((columns - middle[1]) / half[1]) ** 2)
        tissue |= radius + 0.11 * edge < 0.97
    names = list(weights)
    step = 0.22 * min(shape)
    fields = np.stack([smooth_noise(rng, shape, step) for _ in names])
    return np.where(tissue, np.array(names, np.uint8)[_parted(fields, tissue, list(weights.values()))], 0).astype(
        np.uint8
    )


def _parted(fields: Field, tissue: NDArray[np.bool_], weights: Sequence[float]) -> NDArray[np.intp]:
    """The largest field at each pixel, after offsets that give each about its share of the tissue."""
    wanted = np.array(weights) / sum(weights)
    sample = fields[:, ::4, ::4][:, tissue[::4, ::4]]
    offsets = np.zeros(len(fields), dtype=np.float32)
    if sample.shape[1]:
        for _ in range(60):
            counts = np.bincount((sample + offsets[:, None]).argmax(axis=0), minlength=len(fields))
            offsets += (0.6 * (wanted - counts / sample.shape[1])).astype(np.float32)
    return np.asarray((fields + offsets[:, None, None]).argmax(axis=0))


# ---------------------------------------------------------------------- nuclei
def _nuclei(plan: TissuePlan, shape: tuple[int, int], step: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Density of nuclei (0 to 255) on the slide's own pixels."""
    canvas = np.zeros(shape, dtype=np.uint8)
    place = _PLACE / plan.pixel
    rows, columns = (np.arange(0.5, n / place) for n in plan.texture.shape)
    spots = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    spots[1::2, :, 1] += 0.5
    spots = ((spots + rng.uniform(-0.36, 0.36, spots.shape)) * place).reshape(-1, 2)
    index = np.minimum(spots.astype(np.intp), np.array(plan.texture.shape) - 1)
    held = rng.random(len(spots)) < plan.nuclei[index[:, 0], index[:, 1]]
    spots, index = spots[held], index[held]
    kinds = plan.texture[index[:, 0], index[:, 1]]
    turn = plan.angle[index[:, 0], index[:, 1]] + rng.normal(0, 0.35, len(spots))
    turn = np.rint(turn * _ANGLES / np.pi).astype(np.intp) % _ANGLES
    stamps = {int(k): _stamps(int(k), plan.pixel / step, rng) for k in np.unique(kinds)}
    variants = rng.integers(0, _VARIANTS, len(spots))
    corners = np.floor(spots * step).astype(np.intp)
    for kind, angle, variant, (row, column) in zip(
        kinds.tolist(), turn.tolist(), variants.tolist(), corners.tolist(), strict=True
    ):
        stamp = stamps[kind][angle][variant]
        top, left = row - stamp.shape[0] // 2, column - stamp.shape[1] // 2
        under = canvas[max(top, 0) : top + stamp.shape[0], max(left, 0) : left + stamp.shape[1]]
        cut = stamp[max(-top, 0) :, max(-left, 0) :][: under.shape[0], : under.shape[1]]
        np.maximum(under, cut, out=under)
    return canvas


def _stamps(kind: int, pixel: float, rng: np.random.Generator) -> list[list[NDArray[np.uint8]]]:
    """Nuclei to be stamped, by direction."""
    long_, short, spread = {ALVEOLAR: (4.2, 2.8, 0.2), GLANDULAR: (4.7, 2.9, 0.18), SOLID: (4.6, 3.6, 0.28)}[kind]
    out = []
    for turn in range(_ANGLES):
        angle = turn * np.pi / _ANGLES
        row = []
        for _ in range(_VARIANTS):
            a, b = long_ * np.exp(rng.normal(0, spread)), short * np.exp(rng.normal(0, spread))
            half = int(np.ceil(max(a, b) / pixel)) + 1
            y, x = np.mgrid[-half : half + 1, -half : half + 1] * pixel
            u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            distance = (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1) * min(a, b)
            grain = smooth_noise(rng, (2 * half + 1, 2 * half + 1), max(1.2 / pixel, 1.0))
            level = rng.uniform(0.65, 1.0) * (1 + 0.15 * grain - 0.25 * (distance < -1.5))
            row.append(np.rint(255 * np.clip(level * np.clip(0.5 - distance / pixel, 0, 1), 0, 1)).astype(np.uint8))
        out.append(row)
    return out


# ---------------------------------------------------------------------- light
def _stain(plan: TissuePlan, nuclei: NDArray[np.uint8], step: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB of a plan under a stain and a scanner drawn at random."""
    blue = _tilted(_HAEMATOXYLIN, rng) * rng.uniform(0.9, 2.0)
    pink = _tilted(_EOSIN, rng) * rng.uniform(0.45, 1.25)
    haze = rng.uniform(0.06, 0.25)  # haematoxylin in the cytoplasm
    glass = np.array([rng.uniform(238, 250)] * 3) + rng.uniform(-3, 3, 3)
    shape = nuclei.shape
    out = np.empty((*shape, 3), dtype=np.uint8)
    noise = rng.normal(0, rng.uniform(1.0, 3.0), (_STRIP + 61, shape[1] + 53, 3)).astype(np.float32)
    for start in range(0, shape[0], _STRIP):
        stop = min(start + _STRIP, shape[0])
        cytoplasm = _enlarged(plan.eosin, step, start, stop, shape[1])
        nuclear = nuclei[start:stop].astype(np.float32) / 255
        y, x = int(rng.integers(0, 61)), int(rng.integers(0, 53))
        for band in range(3):
            density = cytoplasm * np.float32(pink[band] + haze * blue[band]) * (1 - 0.6 * nuclear)
            density += nuclear * np.float32(blue[band])
            np.exp(-density, out=density)
            density *= np.float32(glass[band])
            density += noise[y : y + stop - start, x : x + shape[1], band]
            out[start:stop, :, band] = np.clip(density, 0, 255)
    return out


def _tilted(vector: tuple[float, float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """A stain as another laboratory has it."""
    return np.asarray(np.clip(np.array(vector) * np.exp(rng.normal(0, 0.18, 3)), 0.02, None))


def _enlarged(field: Field, step: int, start: int, stop: int, columns: int) -> Field:
    """Rows `start` to `stop` of a field, interpolated to pixels of a `step`-th."""

    def places(begin: int, end: int, count: int) -> tuple[NDArray[np.intp], Field]:
        at = np.clip((np.arange(begin, end) + 0.5) / step - 0.5, 0, count - 1)
        low = np.minimum(np.floor(at).astype(np.intp), max(count - 2, 0))
        return low, (at - low).astype(np.float32)

    low, part = places(start, stop, field.shape[0])
    rows = field[low] * (1 - part[:, None]) + field[np.minimum(low + 1, field.shape[0] - 1)] * part[:, None]
    low, part = places(0, columns, field.shape[1])
    return np.asarray(rows[:, low] * (1 - part) + rows[:, np.minimum(low + 1, field.shape[1] - 1)] * part)
