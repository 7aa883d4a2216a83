"""Figures of detectors: free-response curves (FROC) and average precision, with intervals by bootstrap over scans.

Pure functions of numpy arrays. A detection is a hit where it meets a target: its middle lies within the target's box,
or their boxes overlap enough. The detection with the highest score that meets a target is the hit; others that meet it
are neither hits nor false, as challenges on nodules have it. Detections that meet a finding that does not count (one
that too few readers marked) are neither, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FALSE_RATES",
    "OVERLAPS",
    "Froc",
    "Scan",
    "average_precision",
    "box_overlap",
    "bootstrap_detection",
    "froc",
    "mean_average_precision",
    "within",
]

FloatArray = npt.NDArray[np.float64]
#: False detections a scan at which sensitivity is stated.
FALSE_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
#: Intersections over union that the mean of average precision runs over.
OVERLAPS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


def _no_boxes() -> FloatArray:
    return np.zeros((0, 6))


@dataclass(frozen=True, eq=False)
class Scan:
    """Targets and detections of a scan.

    Attributes
    ----------
    truth : ndarray of shape (N, 2 * dimensions)
        Boxes, start then stop.
    boxes : ndarray of shape (M, 2 * dimensions)
    scores : ndarray of shape (M,)
    ignored : ndarray of shape (K, 2 * dimensions)
        Findings that do not count.
    """

    truth: npt.NDArray[Any]
    boxes: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    ignored: npt.NDArray[Any] = field(default_factory=_no_boxes)


@dataclass(frozen=True, eq=False)
class Froc:
    """A free-response curve.

    Attributes
    ----------
    rates : ndarray
        False detections a scan, rising, a point for each threshold, from no detection on.
    sensitivity : ndarray
    at : dict of float to float
        Sensitivity at each of :data:`FALSE_RATES`: that of the last threshold with at most so many false detections.
    mean : float
        Of these; NaN where there is no target.
    """

    rates: FloatArray
    sensitivity: FloatArray
    at: dict[float, float]
    mean: float


# ---------------------------------------------------------------------- matching
def box_overlap(boxes: npt.ArrayLike, others: npt.ArrayLike) -> FloatArray:
    """Intersection over union of ``(M, 2 d)`` and ``(N, 2 d)`` boxes, shape (M, N)."""
    a, b = np.asarray(boxes, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    half = a.shape[1] // 2
    low = np.maximum(a[:, None, :half], b[None, :, :half])
    high = np.minimum(a[:, None, half:], b[None, :, half:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [(x[:, half:] - x[:, :half]).prod(axis=1) for x in (a, b)]
    return np.asarray(shared / np.maximum(sizes[0][:, None] + sizes[1][None] - shared, 1e-12))


def within(boxes: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether the middle of each box lies within each of others, shape (M, N)."""
    a, b = np.asarray(boxes, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)), dtype=bool)
    half = a.shape[1] // 2
    middle = (a[:, None, :half] + a[:, None, half:]) / 2
    return np.asarray(((middle >= b[None, :, :half]) & (middle < b[None, :, half:])).all(axis=2))


def _hits(scan: Scan) -> tuple[FloatArray, FloatArray]:
    """Score of the best detection of each target (-inf: missed), and scores of false detections."""
    scores = np.asarray(scan.scores, dtype=np.float64)
    meets = within(scan.boxes, scan.truth)
    best = np.where(meets, scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
    known = meets.any(axis=1) | within(scan.boxes, scan.ignored).any(axis=1)
    return best, scores[~known]


# ---------------------------------------------------------------------- FROC
def froc(scans: Sequence[Scan], times: npt.ArrayLike | None = None) -> Froc:
    """The free-response curve of scans; a detection whose middle lies within a target's box hits it.

    Parameters
    ----------
    scans : sequence of Scan
    times : array_like of int, optional
        How often each scan counts.
    """
    return _froc([_hits(scan) for scan in scans], times)


def _froc(hits: Sequence[tuple[FloatArray, FloatArray]], times: npt.ArrayLike | None = None) -> Froc:
    counts = np.ones(len(hits), dtype=int) if times is None else np.asarray(times, dtype=int)
    found = np.concatenate([np.zeros(0), *(np.repeat(best, n) for (best, _), n in zip(hits, counts, strict=True))])
    false = np.concatenate([np.zeros(0), *(np.repeat(wrong, n) for (_, wrong), n in zip(hits, counts, strict=True))])
    targets, total = len(found), max(1, int(counts.sum()))
    found = np.sort(found[np.isfinite(found)])
    false = np.sort(false)
    thresholds = np.unique(np.concatenate([found, false]))[::-1]
    rates = np.r_[0.0, (len(false) - np.searchsorted(false, thresholds)) / total]
    reached = np.r_[0.0, (len(found) - np.searchsorted(found, thresholds)) / max(1, targets)]
    if not targets:
        reached = np.full(len(rates), np.nan)
    at = {rate: float(reached[np.searchsorted(rates, rate + 1e-9, side="right") - 1]) for rate in FALSE_RATES}
    return Froc(rates, reached, at, float(np.mean(list(at.values()))))


# ---------------------------------------------------------------------- average precision
def average_precision(scans: Sequence[Scan], overlap: float, times: npt.ArrayLike | None = None) -> float:
    """Average precision of boxes, as COCO has it: precision at 101 recalls, each target met once.

    Parameters
    ----------
    scans : sequence of Scan
    overlap : float
        Intersection over union from which a box meets a target.
    times : array_like of int, optional
        How often each scan counts.

    Returns
    -------
    float
        NaN where there is no target.
    """
    return _precision([_matched(scan, overlap) for scan in scans], times)


def _matched(scan: Scan, overlap: float) -> tuple[FloatArray, npt.NDArray[np.bool_], int]:
    """Scores of detections that count, whether each is right, and how many targets there are.

    In the order of scores, each detection takes the free target that it overlaps most.
    """
    scores = np.asarray(scan.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    meets = box_overlap(scan.boxes, scan.truth)
    doubtful = box_overlap(scan.boxes, scan.ignored).max(axis=1, initial=0.0) >= overlap
    free = np.ones(len(scan.truth), dtype=bool)
    kept, right = [], []
    for number in order.tolist():
        own = np.where(free, meets[number], -1.0)
        best = int(own.argmax()) if len(own) else -1
        hit = best >= 0 and own[best] >= overlap
        if hit:
            free[best] = False
        elif doubtful[number]:
            continue
        kept.append(scores[number])
        right.append(hit)
    return np.array(kept), np.array(right, dtype=bool), len(scan.truth)


def _precision(
    matched: Sequence[tuple[FloatArray, npt.NDArray[np.bool_], int]], times: npt.ArrayLike | None = None
) -> float:
    counts = np.ones(len(matched), dtype=int) if times is None else np.asarray(times, dtype=int)
    targets = sum(n * int(c) for (_, _, n), c in zip(matched, counts, strict=True))
    if not targets:
        return float("nan")
    scores = np.concatenate([np.zeros(0), *(np.repeat(s, c) for (s, _, _), c in zip(matched, counts, strict=True))])
    right = np.concatenate(
        [np.zeros(0, bool), *(np.repeat(r, c) for (_, r, _), c in zip(matched, counts, strict=True))]
    )
    if not len(scores):
        return 0.0
    ranked = right[np.argsort(-scores, kind="stable")]
    true = np.cumsum(ranked)
    recall = true / targets
    precision = true / np.arange(1, len(ranked) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-9, side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())


def mean_average_precision(
    scans: Sequence[Scan], overlaps: Sequence[float] = OVERLAPS, times: npt.ArrayLike | None = None
) -> float:
    """Mean of the average precision over overlaps."""
    return float(np.mean([average_precision(scans, overlap, times) for overlap in overlaps]))


# ---------------------------------------------------------------------- intervals
def bootstrap_detection(
    scans: Sequence[Scan], *, count: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """Figures of a detector, and intervals by drawing scans with replacement.

    Returns
    -------
    dict
        ``"froc"``: mean sensitivity; ``"sensitivity"``: at each of :data:`FALSE_RATES`; ``"ap"``: at an overlap of 0.1;
        ``"map"``: mean over :data:`OVERLAPS`; each with ``"value"`` and ``"interval"``; draws without any target do not
        count. ``"scans"``, ``"targets"``, ``"detections"``, ``"draws"``, ``"level"``.
    """
    hits = [_hits(scan) for scan in scans]
    matched = [[_matched(scan, overlap) for scan in scans] for overlap in OVERLAPS]

    def figures(times: npt.ArrayLike | None) -> list[float]:
        curve = _froc(hits, times)
        precisions = [_precision(one, times) for one in matched]
        return [curve.mean, precisions[0], float(np.mean(precisions)), *curve.at.values()]

    rng = np.random.default_rng(seed)
    picks = rng.integers(0, max(1, len(scans)), (count, len(scans)))
    drawn = np.array([figures(np.bincount(row, minlength=len(scans))) for row in picks]).reshape(count, -1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    values = figures(None)

    def stated(number: int) -> dict[str, Any]:
        column = drawn[:, number] if count else np.zeros(0)
        column = column[~np.isnan(column)]
        bounds = [float(x) for x in np.quantile(column, tails)] if len(column) else [None, None]
        value = values[number]
        return {"value": float(value) if np.isfinite(value) else None, "interval": bounds}

    return {
        "froc": stated(0),
        "ap": stated(1),
        "map": stated(2),
        "sensitivity": {f"{rate:g}": stated(3 + place) for place, rate in enumerate(FALSE_RATES)},
        "scans": len(scans),
        "targets": int(sum(len(scan.truth) for scan in scans)),
        "detections": int(sum(len(scan.boxes) for scan in scans)),
        "draws": count,
        "level": level,
    }
