"""Planes face the way radiologists look at them, however the voxels are stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.view import plane_of, plane_positions

# A volume in head-back-left order whose voxels hold 100 z + 10 y + x.
BASE = 100 * np.arange(4)[:, None, None] + 10 * np.arange(5)[None, :, None] + np.arange(6)[None, None, :]
GRID = Grid((4, 5, 6), np.array([[0, 0, 1.5, -3], [0, 2.0, 0, 7], [3.0, 0, 0, 11], [0, 0, 0, 1]]))


def stored_in_every_way() -> list[tuple[np.ndarray, np.ndarray]]:
    out = []
    for order in itertools.permutations(range(3)):
        for flips in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in range(4)):
            out.append((np.flip(BASE.transpose(order), flips), GRID.permute(order).flip(flips).affine))
    return out


@pytest.mark.parametrize(("array", "affine"), stored_in_every_way())
def test_radiological_convention(array: np.ndarray, affine: np.ndarray) -> None:
    axial = plane_of(array, affine, "axial", 1)
    np.testing.assert_array_equal(axial.pixels, BASE[1])
    assert axial.letters == ("A", "L", "P", "R")
    assert axial.spacing == pytest.approx((2.0, 1.5))
    assert axial.position == pytest.approx(14.0)
    coronal = plane_of(array, affine, "coronal", 2)
    np.testing.assert_array_equal(coronal.pixels, BASE[::-1, 2])
    assert coronal.letters == ("S", "L", "I", "R")
    assert coronal.spacing == pytest.approx((3.0, 1.5))
    sagittal = plane_of(array, affine, "sagittal", -1)
    np.testing.assert_array_equal(sagittal.pixels, BASE[::-1, :, 5])
    assert sagittal.letters == ("S", "P", "I", "A")
    assert sagittal.position == pytest.approx(-3 + 5 * 1.5)


def test_oblique_edges_have_two_letters() -> None:
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ GRID.affine[:3, :3]
    assert plane_of(BASE, affine, "axial").letters == ("AL", "LP", "PR", "RA")


def test_positions_follow_the_labels() -> None:
    labels = np.zeros((40, 8, 8), np.uint8)
    labels[10:31] = 1
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    chosen = plane_positions(labels, affine, "axial", 3)
    assert chosen == [13, 20, 27]
    assert plane_positions(labels, affine, "axial", 1) == [20]
    assert plane_positions(None, affine, "axial", 2, labels.shape) == [10, 30]
    assert plane_positions(np.zeros((2, 3, 3)), affine, "axial", 5) == [0, 1]


def test_errors_say_what_there_is() -> None:
    with pytest.raises(GeometryError, match="0 to 3"):
        plane_of(BASE, GRID.affine, "axial", 4)
    with pytest.raises(GeometryError, match="axial, coronal, sagittal"):
        plane_of(BASE, GRID.affine, "transverse")
    with pytest.raises(GeometryError, match="three axes"):
        plane_of(BASE[0], GRID.affine, "axial")
