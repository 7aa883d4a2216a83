"""Contours that programs traced along the pixels of a mask give that mask back."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.structure_set.tracing import is_traced, line_pixels
from tests.objects.segmentation.scenes import axial, oblique, source_on
from tests.objects.structure_set.contours import on_slice, ring, structure_set

MASK = np.array(
    [
        [c == "#" for c in line]
        for line in (
            "....................",
            "..#######...........",
            ".##########.....#...",
            ".####...####........",
            ".###.....###....##..",
            ".###..#..###........",
            "..###...###...#.....",
            "..#########..###....",
            "....#####...#####...",
            ".....##......###....",
            "..............#.....",
            "....................",
        )
    ]
)
#: What OpenCV 5.0 makes of it: findContours(RETR_CCOMP, CHAIN_APPROX_SIMPLE), rows and columns.
TRACED = [
    [(6, 14), (8, 12), (10, 14), (8, 16)],
    [(5, 6)],
    [(4, 16), (4, 17)],
    [(2, 16)],
    [(1, 2), (2, 1), (5, 1), (6, 2), (7, 2), (7, 3), (9, 5), (9, 6), (8, 7), (8, 8), (7, 9), (7, 10), (6, 10), (5, 11),
     (3, 11), (2, 10), (2, 9), (1, 8)],
    [(2, 5), (2, 7), (4, 9), (5, 9), (7, 7), (7, 5), (5, 3), (4, 3)],
]  # fmt: skip


def drawn(grid, d=4, contours=TRACED):
    return [on_slice(grid, d, np.array(c, float) + 0.5) for c in contours]


@pytest.mark.parametrize(("grid", "digits"), [(axial(), None), (oblique(), None), (axial(), 2)])
@pytest.mark.filterwarnings("error::dicom_ml.errors.DicomMLWarning")
def test_the_mask_comes_back(grid, digits):
    """With its holes, its single pixels, and coordinates rounded to hundredths of a millimetre."""
    found = dml.read_structure_set(structure_set({"A": drawn(grid)}, digits=digits))
    expected = np.zeros(grid.shape, bool)
    expected[4, :12, :20] = MASK
    assert np.array_equal(found.mask("A", source_on(grid)), expected)
    assert np.array_equal(found.label_map(source_on(grid)) == 1, expected)


def test_it_can_be_said_that_they_are_not():
    grid = axial()
    found = dml.read_structure_set(structure_set({"A": drawn(grid)}))
    with pytest.warns(DicomMLWarning, match="3 of 6 contours are points, open lines, or closed ones of fewer"):
        plain = found.mask("A", grid, traced=False)
    assert 0 < plain.sum() < MASK.sum()
    assert not (plain[4, :12, :20] & ~MASK).any()


def test_single_pixels_alone():
    grid = axial()
    found = dml.read_structure_set(structure_set({"A": drawn(grid, contours=[[(2, 16)], [(4, 16), (4, 17)]])}))
    with pytest.raises(EncodingError, match="nothing to fill"):
        found.mask("A", grid)
    assert np.argwhere(found.mask("A", grid, traced=True)).tolist() == [[4, 2, 16], [4, 4, 16], [4, 4, 17]]


def test_which_contours_are_traced():
    def asked(*rings):
        points = np.concatenate([np.asarray(r, float) for r in rings])
        return is_traced(points, np.cumsum([0] + [len(r) for r in rings[:-1]]))

    whole = [np.array(c) + 0.5 for c in TRACED]
    assert asked(*whole)
    assert asked(*(c + np.random.default_rng(0).uniform(-0.09, 0.09, c.shape) for c in whole))
    assert not asked(*(c + 0.5 for c in whole))  # along edges of pixels
    assert not asked(*(c + (0.5, 0) for c in whole))  # between pixels, as others draw them
    assert not asked([(10.5, 10.5), (10.5, 40.5), (40.5, 40.5), (40.5, 10.5)])  # a box that someone drew
    assert not asked(np.floor(ring((50, 50), 40, 30)) + 0.5)  # corners on centres, edges in any direction
    assert not any(asked(ring((50, 50), 40, 30, 0.3, seed)) for seed in range(200))


def test_pixels_on_lines():
    contour, row, column = line_pixels(np.array([(1, 1), (1, 4), (3, 6), (9, 9), (9, 9)]) + 0.5, np.array([0, 3]))
    assert set(zip(contour.tolist(), row.tolist(), column.tolist(), strict=True)) == {
        (0, 1, 1), (0, 1, 2), (0, 1, 3), (0, 1, 4), (0, 2, 5), (0, 3, 6), (1, 9, 9),
    }  # fmt: skip
