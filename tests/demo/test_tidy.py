"""One patient, lungs inside, one on each side, and no gas taken for lung."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the demo needs SciPy")

from dicom_ml.demo.tidy import split_sides, tidy

SHAPE = (60, 40, 30)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Classes and HU of a body with two lungs that touch, a couch, and a pocket of gas. x runs to the right."""
    classes = np.zeros(SHAPE, np.int64)
    hu = np.full(SHAPE, -1000.0, np.float32)
    body, left, right = np.s_[8:52, 8:32, :], np.s_[12:28, 12:28, 8:], np.s_[32:48, 12:28, 8:]
    bridge, gas, couch = np.s_[28:32, 26:28, 16:20], np.s_[20:30, 14:20, 0:5], np.s_[5:55, 2:5, :]
    classes[body], hu[body] = 1, 40
    for part in (left, right, bridge):
        classes[part], hu[part] = 2, -800
    classes[gas], hu[gas] = 2, -980
    classes[couch], hu[couch] = 1, -300
    return classes, hu


def probabilities(classes: np.ndarray) -> np.ndarray:
    return np.stack([np.where(classes == k, 0.9, 0.05) for k in range(3)]).astype(np.float32)


def test_lungs_are_parted_and_the_rest_is_body() -> None:
    classes, hu = scene()
    out = tidy(probabilities(classes), hu, 5.0)
    np.testing.assert_allclose(out.sum(axis=0), 1, atol=1e-5)
    labels = out.argmax(axis=0)
    assert (labels[34:46, 14:26, 10:] == 2).all(), "right lung"
    assert (labels[14:26, 14:26, 10:] == 3).all(), "left lung"
    assert (labels[20:30, 14:20, 0:5] == 1).all(), "gas of the bowel is body"
    assert (labels[5:55, 2:5, :] == 0).all(), "the couch is outside"


def test_a_single_lung_keeps_its_side() -> None:
    classes, hu = scene()
    classes[12:32, 12:28, 8:] = 1
    labels = tidy(probabilities(classes), hu, 5.0).argmax(axis=0)
    assert (labels == 2).any() and not (labels == 3).any()


@pytest.mark.parametrize("depth", [1, 2, 30])
def test_thin_and_empty_volumes(depth: int) -> None:
    classes, hu = (a[:, :, :depth] for a in scene())
    assert tidy(probabilities(np.zeros_like(classes)), hu, 5.0)[0].min() > 0.99
    labels = tidy(probabilities(np.minimum(classes, 1)), hu, 5.0).argmax(axis=0)
    assert set(np.unique(labels)) == {0, 1}


def test_sides_without_a_patient() -> None:
    lung = np.zeros((10, 4, 4), bool)
    lung[7:9] = True
    assert split_sides(lung, np.ones_like(lung))[8].all()
    assert split_sides(np.zeros_like(lung), lung).shape == lung.shape
