"""Geometry: affines, grids, alignment, stacks; each law checked on random oblique grids."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.errors import GeometryError
from dicom_ml.geometry import (
    Grid,
    affine_from_plane,
    from_monai,
    monai_affine,
    stack_planes,
    to_monai,
    unit_orientation,
)


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] *= -1
    return q


def random_grid(seed: int) -> Grid:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * rng.uniform(0.3, 6, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return Grid(tuple(rng.integers(2, 9, 3)), affine)


grids = st.integers(0, 10**6).map(random_grid)


def test_affine_from_plane_keeps_row_and_column_spacing_apart():
    affine = affine_from_plane([10, 20, 30], [1, 0, 0, 0, 1, 0], [0.5, 0.8], 2.5)
    # index (d, h, w): one row down is 0.5 mm towards y, one column right is 0.8 mm towards x
    np.testing.assert_allclose(affine @ [0, 1, 0, 1], [10, 20.5, 30, 1])
    np.testing.assert_allclose(affine @ [0, 0, 1, 1], [10.8, 20, 30, 1])
    np.testing.assert_allclose(affine @ [1, 0, 0, 1], [10, 20, 32.5, 1])
    grid = Grid((4, 5, 6), affine)
    assert grid.spacing == (2.5, 0.5, 0.8)
    assert grid.axcodes == "SPL"
    np.testing.assert_allclose(grid.orientation, [1, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(grid.position(3), [10, 20, 37.5])


@pytest.mark.parametrize(
    "bad", [[1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0], [1, 0, 0, 0, np.nan, 0], [1, 0, 0, 0, 1]]
)
def test_bad_orientations_are_refused(bad):
    with pytest.raises(GeometryError):
        unit_orientation(bad)


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_bad_affines_are_refused(affine):
    with pytest.raises(GeometryError):
        Grid((1, 1, 1), affine)


@given(grids, st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])))
@settings(max_examples=60, deadline=None)
def test_permute_and_flip_move_no_voxel(grid, order, flips):
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    world = grid.to_lps(index)
    moved = np.flip(world.transpose(*order, 3), tuple(flips))
    changed = grid.permute(order).flip(sorted(flips))
    mine = changed.to_lps(np.stack(np.meshgrid(*map(np.arange, changed.shape), indexing="ij"), -1))
    np.testing.assert_allclose(mine, moved, atol=1e-8)


@given(grids, st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])), st.tuples(*[st.integers(-3, 3)] * 3))
@settings(max_examples=60, deadline=None)
def test_align_finds_permutations_flips_and_offsets(grid, order, flips, start):
    target = grid.permute(order).flip(sorted(flips)).pad([(4, 4)] * 3).crop(start, (30, 30, 30))
    alignment = grid.align(target)
    assert alignment is not None
    values = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    placed = alignment.reorder(values)
    begin = np.array(alignment.start(grid.shape))
    for index in itertools.product(*((0, n - 1) for n in placed.shape)):
        where = target.to_lps(begin + index)
        source = np.rint(grid.to_index(where)).astype(int)
        assert values[tuple(source)] == placed[index]


@given(grids)
@settings(max_examples=30, deadline=None)
def test_grids_off_the_lattice_do_not_align(grid):
    shifted = np.array(grid.affine)
    shifted[:3, 3] += 0.5 * shifted[:3, 1]
    assert grid.align(Grid(grid.shape, shifted)) is None
    stretched = np.array(grid.affine)
    stretched[:3, 2] *= 1.5
    assert grid.align(Grid(grid.shape, stretched)) is None
    assert not grid.matches(Grid(grid.shape, stretched))
    assert grid.matches(grid) and grid.align(grid).same_axes


@given(grids, st.sampled_from(["SPL", "RAS", "LPS", "IAR", "PSL"]))
@settings(max_examples=40, deadline=None)
def test_orient_reaches_the_named_orientation(grid, axcodes):
    assert grid.orient(axcodes).axcodes == axcodes


def test_orientation_names_are_checked():
    grid = Grid((2, 2, 2), np.eye(4))
    for bad in ("", "LL", "LRS", "XYZ", "LPSS", None):
        with pytest.raises(GeometryError):
            grid.orient(bad)


@given(grids)
@settings(max_examples=40, deadline=None)
def test_monai_convention_keeps_world_positions(grid):
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    moved, ras = to_monai(array, grid.affine)
    assert moved.shape == (1, *grid.shape[::-1])
    d, h, w = (n - 1 for n in grid.shape)
    lps = grid.to_lps([d, 0, w])
    np.testing.assert_allclose((ras @ [w, 0, d, 1])[:3], lps * [-1, -1, 1])
    assert moved[0, w, 0, d] == array[d, 0, w]
    back, affine = from_monai(moved, ras)
    np.testing.assert_array_equal(back[0], array)
    np.testing.assert_array_equal(affine, grid.affine)
    np.testing.assert_array_equal(monai_affine(monai_affine(grid.affine)), grid.affine)


@given(grids, st.lists(st.floats(0.4, 5), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_resized_keeps_the_centre(grid, spacing):
    new = grid.resized(spacing)
    np.testing.assert_allclose(new.spacing, spacing)
    middle = grid.to_lps((np.array(grid.shape) - 1) / 2)
    np.testing.assert_allclose(new.to_lps((np.array(new.shape) - 1) / 2), middle, atol=1e-8)


def test_grids_pickle_compare_and_hash():
    grid = random_grid(3)
    again = pickle.loads(pickle.dumps(grid))
    assert again == grid and hash(again) == hash(grid) and again != random_grid(4)
    with pytest.raises(ValueError):
        grid.affine[0, 0] = 1


# ---------------------------------------------------------------------- stacks
AXIAL = [1, 0, 0, 0, 1, 0]


def axial(z: list[float], y: float = 0.0) -> np.ndarray:
    return np.array([[0.0, y, v] for v in z])


@given(st.integers(0, 10**6), st.integers(2, 40))
@settings(max_examples=60, deadline=None)
def test_a_shuffled_oblique_stack_is_found(seed, count):
    rng = np.random.default_rng(seed)
    turn = rotation(rng)
    orientation = np.concatenate([turn[:, 0], turn[:, 1]])
    spacing = rng.uniform(0.4, 8)
    origin = rng.uniform(-300, 300, 3)
    positions = origin + np.arange(count)[:, None] * np.cross(turn[:, 0], turn[:, 1]) * spacing
    shuffle = rng.permutation(count)
    stack = stack_planes(np.round(positions[shuffle], 4), orientation)
    assert stack.regular and not stack.gaps and not stack.duplicates and stack.tilt == 0
    np.testing.assert_array_equal(shuffle[stack.order], np.arange(count))
    assert stack.spacing == pytest.approx(spacing, abs=1e-3)


def test_missing_slices_are_gaps_not_a_wider_spacing():
    z = [0, 2.5, 5, 12.5, 15, 17.5]
    stack = stack_planes(axial(z), AXIAL)
    assert stack.spacing == pytest.approx(2.5)
    assert stack.gaps == [(2, 3, 2)] and stack.count == 8 and stack.regular


def test_more_slices_missing_than_present_are_still_gaps():
    stack = stack_planes(axial([0, 1, 3, 5, 7, 9]), AXIAL)
    assert stack.spacing == pytest.approx(1) and len(stack.gaps) == 4


def test_duplicates_share_a_place():
    stack = stack_planes(axial([0, 1, 1, 2, 3]), AXIAL)
    assert stack.duplicates == [(1, 2)] and stack.count == 4


def test_irregular_spacing_is_seen():
    assert not stack_planes(axial([0, 1, 2.3, 3, 4.4, 5]), AXIAL).regular
    assert not stack_planes(axial([0, 1, 2, 3.3, 4.6, 5.9, 7.2]), AXIAL).regular


def test_positions_rounded_to_a_tenth_still_form_a_stack():
    z = [round(i * 0.625, 1) for i in range(200)]
    stack = stack_planes(axial(z), AXIAL)
    assert stack.regular and stack.spacing == pytest.approx(0.625, abs=1e-3) and not stack.gaps


def test_gantry_tilt_is_measured():
    z = np.arange(10) * 3.0
    positions = np.stack([np.zeros(10), z * np.tan(np.radians(15)), z], 1)
    stack = stack_planes(positions, AXIAL)
    assert stack.tilt == pytest.approx(15, abs=1e-6) and stack.regular
    np.testing.assert_allclose(stack.step, [0, 3 * np.tan(np.radians(15)), 3])
    assert stack.spacing == pytest.approx(3)


def test_planes_that_stray_sideways_are_irregular():
    positions = axial([0, 1, 2, 3, 4])
    positions[2, 0] = 30
    assert not stack_planes(positions, AXIAL).regular


def test_one_position_has_no_step():
    stack = stack_planes(axial([4, 4, 4]), AXIAL)
    assert stack.count == 1 and stack.spacing == 0 and stack.duplicates == [(0, 1, 2)]
    assert stack_planes(axial([4]), AXIAL).duplicates == []
