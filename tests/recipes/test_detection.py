"""Figures of detectors, against MONAI's and against slow and plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.common.detection import (
    FALSE_RATES,
    OVERLAPS,
    Scan,
    average_precision,
    bootstrap_detection,
    box_overlap,
    froc,
    mean_average_precision,
    within,
)


def scans_of(seed: int, count: int = 6, ignored: bool = False) -> list[Scan]:
    """Scans with targets, and detections around some of them and elsewhere; scores with ties."""
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> np.ndarray:
        low = rng.uniform(0, 60, (n, 3))
        return np.concatenate([low, low + rng.uniform(4, 12, (n, 3))], axis=1)

    made = []
    for _ in range(count):
        truth = boxes(int(rng.integers(0, 4)))
        near = np.repeat(truth, rng.integers(0, 3, len(truth)), axis=0)
        near = near + rng.normal(0, 1.5, near.shape)
        found = np.concatenate([near, boxes(int(rng.integers(0, 4)))])
        scores = np.round(rng.uniform(0, 1, len(found)), 1)
        others = boxes(2) if ignored else np.zeros((0, 6))
        made.append(Scan(truth, found, scores, others))
    return made


def plain_froc(scans: list[Scan]) -> list[tuple[float, float]]:
    """Sensitivity and false detections a scan at each threshold, by counting."""
    thresholds = sorted({s for scan in scans for s in scan.scores.tolist()}, reverse=True)
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        hits = false = targets = 0
        for scan in scans:
            sure = scan.scores >= threshold
            middles = (scan.boxes[:, :3] + scan.boxes[:, 3:]) / 2
            targets += len(scan.truth)
            for box in scan.truth:
                hits += any(
                    all(box[k] <= m[k] < box[k + 3] for k in range(3)) for m, s in zip(middles, sure, strict=True) if s
                )
            for m, s in zip(middles, sure, strict=True):
                known = [*scan.truth, *scan.ignored]
                false += bool(s) and not any(all(b[k] <= m[k] < b[k + 3] for k in range(3)) for b in known)
        points.append((false / len(scans), hits / targets))
    return points


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ignored", [False, True])
def test_froc_is_what_counting_gives(seed, ignored):
    scans = scans_of(seed, ignored=ignored)
    curve, points = froc(scans), plain_froc(scans)
    # thresholds at which a nodule is found once more change nothing, and have no point of their own
    changes = [one for one, before in zip(points, [None, *points], strict=False) if one != before]
    np.testing.assert_allclose(np.c_[curve.rates, curve.sensitivity], changes)
    for rate in FALSE_RATES:
        assert curve.at[rate] == max(s for f, s in points if f <= rate + 1e-9)
    assert curve.mean == pytest.approx(np.mean(list(curve.at.values())))


@pytest.mark.parametrize("seed", range(4))
def test_froc_agrees_with_monai(seed):
    froc_of = pytest.importorskip("monai.metrics.froc")
    scans = scans_of(seed)
    best, false = [], []
    for scan in scans:
        inside = within(scan.boxes, scan.truth)
        best += [scan.scores[inside[:, n]].max(initial=0.0) for n in range(len(scan.truth))]
        false += scan.scores[~inside.any(axis=1)].tolist()
    best, false = np.array(best), np.array(false)
    rates, sensitivity = froc_of.compute_froc_curve_data(false, best, len(best), len(scans))
    own = froc(scans)
    # MONAI's thresholds exclude a score itself, and it begins with all detections: the points are the same
    theirs = {(round(float(f), 9), round(float(s), 9)) for f, s in zip(rates, sensitivity, strict=True)}
    mine = {(round(float(f), 9), round(float(s), 9)) for f, s in zip(own.rates, own.sensitivity, strict=True)}
    assert mine - {max(mine)} <= theirs | {(0.0, 0.0)}
    # its score lies on lines between points, ours on the steps below them
    score = froc_of.compute_froc_score(own.rates[::-1], own.sensitivity[::-1], FALSE_RATES)
    assert own.mean <= score + 1e-9 and score - own.mean < 0.25


@pytest.mark.parametrize("seed", range(6))
def test_precision_agrees_with_coco_as_monai_has_it(seed):
    coco = pytest.importorskip("monai.apps.detection.metrics.coco")
    matching = pytest.importorskip("monai.apps.detection.metrics.matching")
    scans = scans_of(seed, 8)
    # without ties, whose order is nobody's
    scores = np.random.default_rng(seed).permutation(sum(len(s.scores) for s in scans)) / 1000 + 0.1
    given = iter(scores.tolist())
    scans = [Scan(s.truth, s.boxes, np.array([next(given) for _ in s.scores])) for s in scans]
    metric = coco.COCOMetric(["nodule"], iou_list=OVERLAPS, iou_range=(0.1, 0.5, 0.05), max_detection=[100])
    results = matching.matching_batch(
        iou_fn=box_overlap,
        iou_thresholds=metric.iou_thresholds,
        pred_boxes=[s.boxes for s in scans],
        pred_classes=[np.zeros(len(s.boxes), int) for s in scans],
        pred_scores=[s.scores for s in scans],
        gt_boxes=[s.truth for s in scans],
        gt_classes=[np.zeros(len(s.truth), int) for s in scans],
    )
    theirs = metric(results)[0]
    # MONAI's recall is in single precision: whether 7 of 10 reach a recall of 0.7 is chance there
    assert average_precision(scans, 0.1) == pytest.approx(theirs["AP_IoU_0.10_MaxDet_100"], abs=5e-3)
    assert mean_average_precision(scans) == pytest.approx(theirs["mAP_IoU_0.10_0.50_0.05_MaxDet_100"], abs=5e-3)


def test_known_cases():
    box, other = [0, 0, 0, 4, 4, 4], [10, 10, 10, 14, 14, 14]
    perfect = [Scan(np.array([box]), np.array([box]), np.array([0.9]))] * 2
    assert froc(perfect).mean == 1 and mean_average_precision(perfect) == 1
    nothing = [Scan(np.array([box]), np.zeros((0, 6)), np.zeros(0))]
    assert froc(nothing).mean == 0 and average_precision(nothing, 0.1) == 0
    none = [Scan(np.zeros((0, 6)), np.array([box]), np.array([0.5]))]
    assert np.isnan(froc(none).mean) and np.isnan(average_precision(none, 0.1))
    assert np.isnan(froc([]).mean)
    # a second detection of a nodule is neither found nor false; one on a finding that does not count, too
    twice = [Scan(np.array([box]), np.array([box, box, other]), np.array([0.9, 0.8, 0.7]), np.array([other]))]
    assert froc(twice).rates.max() == 0 and froc(twice).mean == 1
    # but it lowers the precision of those after it, as COCO has it
    late = [Scan(np.array([box, other]), np.array([box, box, other]), np.array([0.9, 0.8, 0.7]))]
    assert average_precision(late, 0.1) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_intervals_hold_their_value_and_are_the_same_every_time():
    scans = scans_of(3, 12)
    figures = bootstrap_detection(scans, count=200, seed=5)
    assert figures == bootstrap_detection(scans, count=200, seed=5)
    for one in (figures["froc"], figures["ap"], figures["map"], *figures["sensitivity"].values()):
        low, high = one["interval"]
        assert low <= one["value"] <= high
    assert figures["froc"]["value"] == froc(scans).mean
    # drawing a scan twice is having it twice
    assert froc(scans[:2], [2, 1]).mean == froc([scans[0], scans[0], scans[1]]).mean
    doubled = [scans[0], scans[0], scans[1]]
    assert average_precision(scans[:2], 0.1, [2, 1]) == pytest.approx(average_precision(doubled, 0.1), nan_ok=True)
