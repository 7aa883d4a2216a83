"""Areas under ROC curves, one class against the others, with intervals by bootstrap over patients or slides.

Pure functions of numpy arrays. The area is that of the Mann-Whitney statistic: ties count half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["bootstrap_auc", "confusion_matrix", "one_vs_rest_auc", "roc_auc", "roc_curve"]

FloatArray = npt.NDArray[np.float64]


def roc_auc(truth: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve.

    Parameters
    ----------
    truth : array_like of bool, shape (N,)
    score : array_like of float, shape (N,)
    weight : array_like of float, shape (N,), optional
        How often each counts.

    Returns
    -------
    float
        NaN where one of the two classes is absent.
    """
    order, starts = _grouped(np.asarray(score, dtype=np.float64))
    known = np.asarray(truth, dtype=bool)
    weights = np.ones(len(known)) if weight is None else np.asarray(weight, dtype=np.float64)
    return float(_areas(known[order], starts, weights[None, order])[0])


def _grouped(score: FloatArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The order of scores, and where each group of equal ones begins in it."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else np.zeros(0, np.intp)
    return order, starts


def _areas(truth: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp], weights: FloatArray) -> FloatArray:
    """Areas for several weightings ``(B, N)`` of the same ranked scores."""
    if not len(truth):
        return np.full(len(weights), np.nan)
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * ~truth, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * (below + negative / 2)).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def roc_curve(truth: npt.ArrayLike, score: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """False and true positive rates, from (0, 0) to (1, 1), a point for each different score."""
    known = np.asarray(truth, dtype=bool)
    order, starts = _grouped(-np.asarray(score, dtype=np.float64))
    ranked = known[order]
    ends = np.r_[starts[1:], len(ranked)] - 1
    true = np.cumsum(ranked)[ends] / max(1, ranked.sum())
    false = np.cumsum(~ranked)[ends] / max(1, (~ranked).sum())
    return np.r_[0.0, false], np.r_[0.0, true]


def one_vs_rest_auc(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> FloatArray:
    """Area of each class against all others.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
    probabilities : array_like of float, shape (N, C)

    Returns
    -------
    ndarray of float, shape (C,)
        NaN for a class that is absent, or alone.
    """
    known, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    return np.array([roc_auc(known == c, scores[:, c]) for c in range(scores.shape[1])])


def bootstrap_auc(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    count: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """One-against-the-rest areas, and intervals by drawing groups with replacement.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
    probabilities : array_like of float, shape (N, C)
    groups : array_like, shape (N,), optional
        What is drawn as one: the slide of each tile, for example. Without it each item.
    count, seed : int
    level : float

    Returns
    -------
    dict
        ``"auc"``: one number a class; ``"interval"``: lower and upper bound a class; ``"mean"`` and
        ``"mean_interval"``: of the mean over classes. Draws in which a class is absent do not count for it; what cannot
        be computed is None.
    """
    known, scores = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    names, group = np.unique(np.arange(len(known)) if groups is None else np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    classes = scores.shape[1]
    ranks = [_grouped(scores[:, c]) for c in range(classes)]
    drawn = np.full((count, classes), np.nan)
    # a few draws at a time, so that a million tiles fit into memory
    step = max(1, int(2e7 / max(1, len(known))))
    for first in range(0, count, step):
        size = min(step, count - first)
        picks = rng.integers(0, len(names), (size, len(names)))
        times = np.stack([np.bincount(row, minlength=len(names)) for row in picks]).astype(np.float64)
        for c, (order, starts) in enumerate(ranks):
            drawn[first : first + size, c] = _areas((known == c)[order], starts, times[:, group[order]])
    auc = one_vs_rest_auc(known, scores)
    tails = [(1 - level) / 2, (1 + level) / 2]
    whole = ~np.isnan(drawn).any(axis=1)
    return {
        "auc": [_number(value) for value in auc],
        "interval": [_quantiles(drawn[~np.isnan(drawn[:, c]), c], tails) for c in range(classes)],
        "mean": _number(auc.mean()),
        "mean_interval": _quantiles(drawn[whole].mean(axis=1), tails),
        "level": level,
        "draws": count,
        "items": len(known),
        "groups": len(names),
    }


def _quantiles(values: FloatArray, tails: Sequence[float]) -> list[float | None]:
    return [None, None] if not len(values) else [_number(v) for v in np.quantile(values, tails)]


def _number(value: Any) -> float | None:
    """A number that JSON can hold."""
    return float(value) if np.isfinite(value) else None


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> npt.NDArray[np.int64]:
    """How often a class (row) was taken for each (column)."""
    out = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(out, (np.asarray(labels, dtype=np.intp), np.asarray(predicted, dtype=np.intp)), 1)
    return out
