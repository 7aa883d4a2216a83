from __future__ import annotations

import numpy as np
import pytest

from recipes.common.metrics import bootstrap_auc, confusion_matrix, one_vs_rest_auc, roc_auc, roc_curve


def pairs(truth, score) -> float:
    """The definition: how often a positive scores above a negative, ties half."""
    pos, neg = score[truth], score[~truth]
    return float(((pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)).mean())


@pytest.mark.parametrize("seed", range(6))
def test_area_is_the_share_of_pairs(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(80) < 0.3
    score = np.round(rng.random(80) + 0.3 * truth, 1 + seed % 2)
    assert roc_auc(truth, score) == pytest.approx(pairs(truth, score))
    false, true = roc_curve(truth, score)
    assert np.trapezoid(true, false) == pytest.approx(pairs(truth, score))
    weight = rng.integers(0, 4, 80)
    many = np.repeat(np.arange(80), weight)
    assert roc_auc(truth, score, weight) == pytest.approx(pairs(truth[many], score[many]))


def test_one_against_the_rest_as_torchmetrics_has_it():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 3, 200), rng.dirichlet((1, 1, 1), 200)
    scores[np.arange(200), labels] += 0.2
    scores /= scores.sum(axis=1, keepdims=True)
    said = functional.multiclass_auroc(torch.tensor(scores), torch.tensor(labels), 3, average="none")
    assert one_vs_rest_auc(labels, scores) == pytest.approx(said.numpy(), abs=1e-6)
    table = functional.multiclass_confusion_matrix(torch.tensor(scores.argmax(1)), torch.tensor(labels), 3)
    assert (confusion_matrix(labels, scores.argmax(1), 3) == table.numpy()).all()


def test_extremes():
    assert roc_auc([True, True, False], [3, 2, 1]) == 1.0
    assert roc_auc([True, False], [0.5, 0.5]) == 0.5
    assert np.isnan(roc_auc([True, True], [1, 2]))


def test_intervals_hold_the_value_and_shrink_with_the_number_of_groups():
    rng = np.random.default_rng(0)

    def widths(slides: int) -> tuple[float, dict]:
        group = np.repeat(np.arange(slides), 10)
        labels = group % 3
        scores = rng.dirichlet((1, 1, 1), len(group))
        scores[np.arange(len(group)), labels] += 0.3
        found = bootstrap_auc(labels, scores, group, count=300, seed=5)
        again = bootstrap_auc(labels, scores, group, count=300, seed=5)
        assert found == again
        for value, (low, high) in zip(found["auc"], found["interval"], strict=True):
            assert low <= value <= high
        return found["mean_interval"][1] - found["mean_interval"][0], found

    few, facts = widths(9)
    many, _ = widths(120)
    assert many < few / 2
    assert facts["groups"] == 9 and facts["items"] == 90


def test_tiles_of_a_slide_are_drawn_together():
    # one slide of each class, all tiles of a slide alike: only how many slides there are can tell
    labels = np.repeat([0, 1], 50)
    scores = np.stack([1 - labels, labels], 1) * 0.5 + 0.25
    alone = bootstrap_auc(labels, scores, labels, count=200)
    assert alone["interval"][0] == [1.0, 1.0], "draws without both classes do not count"
