"""What anatomy knows better than a small network: one patient, lungs inside, one on each side.

Every rule is applied to probabilities on the network's own coarse grid, so that the boundary between
tissues stays where the network put it when they are brought back to the source.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["split_sides", "tidy"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

_OUTSIDE, _BODY, _LUNG = 0, 1, 2
_GAS = -945.0
"""HU of the median below which a small piece holds no tissue: gas in the bowel, not lung."""
_SMALL = 300_000.0
"""Cubic millimetres up to which a piece is judged by that; a lung destroyed by emphysema is larger."""


def tidy(probability: Floats, hu: Floats, spacing: float) -> Floats:
    """Clean a prediction and part the lungs.

    Parameters
    ----------
    probability : numpy.ndarray
        (3, X, Y, Z): outside, body, lung. Axes run towards right, anterior and superior.
    hu : numpy.ndarray
        (X, Y, Z), the image.
    spacing : float
        Millimetres of a voxel.

    Returns
    -------
    numpy.ndarray
        (4, X, Y, Z) float32: outside, body outside the lungs, right lung, left lung; sums to 1.
    """
    decided = probability.argmax(axis=0)
    patient = _patient(decided > _OUTSIDE, spacing)
    lung = _worthy((decided == _LUNG) & patient, probability[_LUNG], hu, spacing)
    out = np.zeros((4, *decided.shape), dtype=np.float32)
    # A margin of one voxel keeps the slopes of the probabilities, on which the finer boundary depends.
    near_lung = ndimage.binary_dilation(lung)
    near_patient = ndimage.binary_dilation(patient)
    lungs = np.where(near_lung, probability[_LUNG], 0)
    body = np.where(near_patient, probability[_BODY] + probability[_LUNG] - lungs, 0)
    # Gas inside the patient that is not lung is body, whatever the network made of it.
    core = ndimage.binary_erosion(patient, border_value=1) & ~near_lung
    body[core] = 1.0
    lungs[core] = 0.0
    right = split_sides(lung, patient)
    out[0] = 1.0 - body - lungs
    out[1] = body
    out[2] = np.where(right, lungs, 0)
    out[3] = np.where(right, 0, lungs)
    return np.clip(out, 0, 1)


def _patient(mask: Bools, spacing: float) -> Bools:
    """The largest piece with its holes filled. It is cut from couch and sheets by an opening."""
    if not mask.any():
        return mask
    flat = mask.shape[2] < 3
    ball = ndimage.generate_binary_structure(3, 1)
    if flat:
        ball[:, :, [0, 2]] = False
    opened = ndimage.binary_opening(np.pad(mask, 2, mode="edge"), ball, iterations=max(1, round(6 / spacing)))
    opened = opened[2:-2, 2:-2, 2:-2]
    pieces, count = ndimage.label(opened)
    if count == 0:
        return mask
    largest = pieces == 1 + int(np.argmax(ndimage.sum_labels(opened, pieces, range(1, count + 1))))
    grown: Bools = ndimage.binary_dilation(largest, ball, iterations=max(1, round(6 / spacing))) & mask
    for k in range(grown.shape[2]):
        grown[:, :, k] = ndimage.binary_fill_holes(grown[:, :, k])
    return grown


def _worthy(lung: Bools, probability: Floats, hu: Floats, spacing: float) -> Bools:
    """The pieces of lung that can be lung: neither crumbs nor pockets of gas.

    A piece must hold tissue, have a tenth of the size of the largest, a millilitre at least, and the network be sure.
    """
    pieces, count = ndimage.label(lung)
    if count == 0:
        return lung
    numbers = np.arange(1, count + 1)
    sizes = np.asarray(ndimage.sum_labels(lung, pieces, numbers))
    middle = np.asarray(ndimage.median(hu, pieces, numbers))
    tissue = (middle > _GAS) | (sizes * spacing**3 > _SMALL)
    if not tissue.any():
        return np.zeros_like(lung)
    sure = np.asarray(ndimage.mean(probability, pieces, numbers))
    least = max(0.1 * sizes[tissue].max(), 1000.0 / spacing**3)
    return np.isin(pieces, numbers[tissue & (sizes >= least) & (sure > 0.6)])


def split_sides(lung: Bools, patient: Bools) -> Bools:
    """Where the right lung is rather than the left; meaningful in and around the lungs only.

    Lungs touch in front of the heart. They are eroded until every large piece lies on one side of the patient's middle;
    each voxel then goes with the nearest piece.

    Parameters
    ----------
    lung, patient : numpy.ndarray
        (X, Y, Z) bool; x runs towards the patient's right.
    """
    x = np.arange(lung.shape[0])[:, None, None]
    if not lung.any():
        return np.broadcast_to(x > lung.shape[0] / 2, lung.shape).copy()
    base = patient if patient.any() else lung
    middle = float((x * base).sum() / base.sum())
    right_half = np.broadcast_to(x > middle, lung.shape)
    seeds = lung
    for _ in range(6):
        pieces, count = ndimage.label(seeds)
        if count == 0:
            break
        numbers = range(1, count + 1)
        share = np.asarray(ndimage.mean(right_half, pieces, numbers))
        sizes = np.asarray(ndimage.sum_labels(seeds, pieces, numbers))
        large = sizes >= 0.03 * sizes.sum()
        if np.all((share[large] > 0.85) | (share[large] < 0.15)):
            side = np.zeros(count + 1, dtype=bool)
            side[1:] = share > 0.5
            nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
            return np.asarray(side[pieces[tuple(nearest)]], dtype=bool)
        seeds = ndimage.binary_erosion(seeds)
    return right_half.copy()
