"""Phantoms are repeatable, plausible in Hounsfield units, and the same body whatever grid samples it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_ml.phantom import Acquisition, ChestPhantom, axial_affine, chest_phantom, random_anatomy

SHAPE = (36, 56, 56)
SPACING = (10.0, 8.0, 8.0)


def acquisition(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING) -> Acquisition:
    affine = axial_affine(shape, spacing, (0.0, 0.0, -20.0))
    return Acquisition(shape, affine, spacing[0], noise=10.0, sharpness=0.0, padding=None)


@pytest.fixture(scope="module")
def phantoms() -> list[ChestPhantom]:
    return [chest_phantom(seed, acquisition=acquisition()) for seed in range(6)]


def test_same_seed_same_phantom(phantoms: list[ChestPhantom]) -> None:
    again = chest_phantom(2, acquisition=acquisition())
    np.testing.assert_array_equal(again.array, phantoms[2].array)
    np.testing.assert_array_equal(again.labels, phantoms[2].labels)
    assert not np.array_equal(phantoms[1].array, phantoms[2].array)


def test_values_are_those_of_tissue(phantoms: list[ChestPhantom]) -> None:
    for phantom in phantoms:
        lungs, body = phantom.labels >= 2, phantom.labels == 1
        assert -960 < np.median(phantom.array[lungs]) < -500
        assert -130 < np.median(phantom.array[body]) < 110
        assert (phantom.array[body] > 250).mean() > 0.003, "no bone"
        assert np.median(phantom.array[phantom.labels == 0]) < -850


def test_lungs_have_the_size_of_lungs_and_their_sides(phantoms: list[ChestPhantom]) -> None:
    for phantom in phantoms:
        litres = np.prod(phantom.spacing) * 1e-6
        for label, sign in ((2, -1), (3, 1)):
            index = np.argwhere(phantom.labels == label)
            assert 0.4 < len(index) * litres < 5.0
            x = (index @ phantom.affine[:3, :3].T + phantom.affine[:3, 3])[:, 0]
            assert np.sign(x.mean()) == sign, "the right lung lies at negative x of LPS"


def test_the_grid_does_not_change_the_body() -> None:
    anatomy = replace(random_anatomy(np.random.default_rng(5)), prone=False)
    coarse = chest_phantom(5, acquisition=acquisition(), anatomy=anatomy)
    # The same region with twice the columns, and slices that run downwards.
    fine = acquisition((36, 56, 112), (10.0, 8.0, 4.0))
    affine = fine.affine.copy()
    affine[:3, 3] += affine[:3, 0] * 35
    affine[:3, 0] *= -1
    other = chest_phantom(5, acquisition=replace(fine, affine=affine), anatomy=anatomy)
    volumes = [[np.prod(p.spacing) * (p.labels == label).sum() for label in (1, 2, 3)] for p in (coarse, other)]
    np.testing.assert_allclose(volumes[0], volumes[1], rtol=0.04)
    agree = (other.labels[::-1, :, ::2] == coarse.labels).mean()
    assert agree > 0.97
