"""Where tiles lie, to the pixel, and what stands for it in a text."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.bridge.tiles import TileGrid
from tests.data.slides import make


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return dml.open_slide(make(tmp_path_factory.mktemp("slide"), 1)[0])


@pytest.mark.parametrize("options", [{}, {"level": 1}, {"spacing": 0.0007}, {"spacing": 0.001}, {"overlap": 24}])
def test_text_and_matrices(slide, options):
    grid = TileGrid.cut(slide, 64, **options)
    assert TileGrid.from_string(grid.to_string()) == grid
    assert grid.count == len(grid.cells()) == np.prod(grid.counts)
    for cell in grid.cells()[[0, 3, -1]]:
        assert grid.cell(*grid.pixels(cell)[0]) == tuple(cell)
    # the centre of a tile in millimetres, by way of the slide and of the coarse matrix
    cell = grid.cells()[4]
    if grid.level is None:
        expected = slide.to_mm(grid.positions(cell)[0] + np.array(grid.footprint) / 2, corner=True)
    else:  # a level has a place of its own
        expected = slide.to_mm(grid.pixels(cell)[0] + 32, level=grid.level, corner=True)
    np.testing.assert_allclose(grid.coarse.to_lps([0, *cell])[:2], expected[:2], atol=1e-6)
    first = grid.pixels(cell)[0]
    middle = grid.matrix.to_lps([0, *(first + (np.array(grid.tile) - 1) / 2)])
    np.testing.assert_allclose(middle[:2], expected[:2], atol=1e-6)
    half = grid.reduced((2, 2))
    np.testing.assert_allclose(half.to_lps([0, *(first / 2 + 15.5)]), middle, atol=1e-6)


def test_levels_that_are_near_enough_are_taken_as_they_are(slide):
    near = TileGrid.cut(slide, 64, spacing=0.001 * (1 + 0.5 / 64))
    assert near.level == 1 and near.matrix == slide.levels[1].grid
    far = TileGrid.cut(slide, 64, spacing=0.001 * (1 + 2 / 64))
    assert far.level is None


def test_which_tiles_were_chosen_is_part_of_it(slide):
    grid = TileGrid.cut(slide, 64)
    some = grid.select(grid.cells()[3:])
    assert some.count == grid.count - 3 and some.digest != grid.digest
    assert some.select(grid.cells()[:2:-1]) == some


def test_refusals(slide):
    grid = TileGrid.cut(slide, 64)
    with pytest.raises(dml.GeometryError, match="no tile begins"):
        grid.cell(0, 63)
    with pytest.raises(dml.EncodingError, match="describes no tiles"):
        TileGrid.from_string("tiles1:[]")
    with pytest.raises(dml.SeriesError, match="levels 0 to 2"):
        TileGrid.cut(slide, 64, level=3)
