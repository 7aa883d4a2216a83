"""Boxes between image and source: exact under MONAI's transforms, with MONAI's own box operations as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_ml.bridge.boxes import boxes_from_source, boxes_to_source
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid, monai_affine, to_monai

AFFINE = np.array([[0, 0, 0.7, -80], [0, 0.7, 0, -120], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
GRID = Grid((9, 14, 17), AFFINE)


def image(array: np.ndarray):
    from monai.data import MetaTensor

    moved, affine = to_monai(array, GRID.affine)
    return MetaTensor(np.ascontiguousarray(moved), affine=affine)


def test_image_of_the_source_itself():
    found = boxes_to_source([[2, 3, 4, 6, 9, 5]], monai_affine(AFFINE), GRID)
    assert found.tolist() == [[[4, 3, 2], [5, 9, 6]]]
    assert boxes_from_source(found, monai_affine(AFFINE), GRID).tolist() == [[2, 3, 4, 6, 9, 5]]


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAL", "PIR"])
def test_boxes_of_masks_come_back_exactly(axcodes):
    """A block of voxels, turned, flipped and cropped by MONAI, is found by MONAI and comes back to its voxels."""
    pytest.importorskip("monai")
    from monai.transforms import Compose, Flip, Orientation, SpatialCrop, SpatialPad

    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:6, 4:11, 5:7] = 1
    moves = Compose(
        [
            Orientation(axcodes, labels=None),
            SpatialCrop(roi_start=(1, 1, 2), roi_end=(40, 40, 40)),
            Flip(0),
            SpatialPad((20, 20, 20)),
        ]
    )
    moved = moves(image(mask))
    where = np.argwhere(np.asarray(moved[0]) > 0)
    box = [*where.min(axis=0), *(where.max(axis=0) + 1)]
    found = boxes_to_source([box], moved.affine.numpy(), GRID)
    assert found.tolist() == [[[3, 4, 5], [6, 11, 7]]]
    assert boxes_from_source(found, moved.affine.numpy(), GRID).tolist() == [box]


def test_agrees_with_monais_box_operations():
    """Edges: flips, masks and clipping of MONAI take boxes as they are here."""
    pytest.importorskip("monai")
    import torch
    from monai.apps.detection.transforms.box_ops import convert_box_to_mask, flip_boxes
    from monai.transforms import Flip

    boxes = np.array([[2.0, 3.0, 4.0, 6.0, 9.0, 5.0]])
    plain = image(np.zeros(GRID.shape, np.uint8))
    flipped = Flip(1)(plain)
    turned = flip_boxes(boxes, plain.shape[1:], 1)
    expected = boxes_to_source(boxes, plain.affine.numpy(), GRID)
    assert np.array_equal(boxes_to_source(turned, flipped.affine.numpy(), GRID), expected)
    mask = convert_box_to_mask(torch.as_tensor(boxes), torch.tensor([1]), plain.shape[1:], bg_label=0)
    where = np.argwhere(np.asarray(mask[0]) == 1)
    assert [*where.min(axis=0), *(where.max(axis=0) + 1)] == boxes[0].tolist()


def test_millimetres_of_monais_affine_boxes():
    """World boxes to the image and back by MONAI: corners="center" in the image, true millimetres outside."""
    pytest.importorskip("monai")
    from monai.apps.detection.transforms.array import AffineBox

    source = np.array([[[3, 4, 5], [6, 11, 7]]], float)
    world = boxes_from_source(source, None, GRID, space="world")
    voxel = np.abs(np.diff(world.reshape(2, 3), axis=0))[0]
    assert voxel == pytest.approx([2 * 0.7, 7 * 0.7, 3 * 2.5])
    # a voxel's edge lies half a voxel from its centre
    assert world[0, 2] == pytest.approx(40 + 2.5 * 3 - 1.25)
    affine = monai_affine(AFFINE)
    inside = AffineBox()(world, affine=np.linalg.inv(affine))
    assert np.allclose(boxes_to_source(inside, affine, GRID, corners="center"), source, atol=2e-4)
    back = AffineBox()(inside, affine=affine)
    assert np.allclose(boxes_to_source(back, None, GRID, space="world"), source, atol=2e-4)
    assert np.allclose(boxes_from_source(source, affine, GRID, corners="center"), inside, atol=2e-4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3),
    st.lists(st.floats(0.3, 4), min_size=3, max_size=3),
    st.lists(st.tuples(*[st.floats(-30, 30)] * 6), min_size=1, max_size=4),
    st.sampled_from(["edge", "center"]),
)
def test_turned_images_hold_the_box(angles, spacing, raw, corners):
    """Whatever the image's axes, all of a box lies within what it becomes, and it touches all sides."""
    a, b, c = angles
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = turn @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn = turn @ np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = 5, -7, 11
    pairs = np.sort(np.array(raw).reshape(-1, 2, 3), axis=1)
    found = boxes_to_source(pairs.reshape(-1, 6), affine, GRID, corners=corners)
    assert (found[:, 0] <= found[:, 1]).all()
    shift = 0.5 if corners == "edge" else 0.0
    ras = (pairs.mean(axis=1) - shift) @ affine[:3, :3].T + affine[:3, 3]
    center = GRID.to_index(ras * (-1, -1, 1)) + 0.5
    assert np.allclose(found.mean(axis=1), center, atol=2e-3)


def test_no_boxes_and_bad_boxes():
    assert boxes_to_source(np.zeros((0, 6)), np.eye(4), GRID).shape == (0, 2, 3)
    assert boxes_from_source([], np.eye(4), GRID).shape == (0, 6)
    with pytest.raises(EncodingError, match=r"\(N, 6\)"):
        boxes_to_source(np.zeros((2, 4)), np.eye(4), GRID)
    with pytest.raises(EncodingError, match="corners"):
        boxes_to_source(np.zeros((2, 6)), np.eye(4), GRID, corners="middle")
    with pytest.raises(GeometryError, match="affine"):
        boxes_to_source(np.zeros((2, 6)), None, GRID)
    with pytest.raises(GeometryError, match="4x4"):
        boxes_to_source(np.zeros((2, 6)), np.eye(3), GRID)
