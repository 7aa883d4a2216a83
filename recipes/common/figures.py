"""Figures of a report page, as PNG."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import MissingPackageError

__all__ = ["confusion_figure", "curve_figure", "froc_figure", "png_of", "roc_figure"]


def _figure(width: float = 5.0, height: float = 4.0) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures need matplotlib: pip install 'dicom-ml[view]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def png_of(figure: Any, dpi: int = 100) -> bytes:
    """A matplotlib figure as PNG, without the time it was made."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def roc_figure(curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], title: str = "") -> bytes:
    """ROC curves: false and true positive rates by name."""
    figure = _figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for name, (false, true) in curves.items():
        axes.plot(false, true, label=name)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title, xlim=(0, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    axes.legend(loc="lower right", fontsize=8)
    return png_of(figure)


def froc_figure(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], rates: Sequence[float], title: str = ""
) -> bytes:
    """Free-response curves: false detections a scan and sensitivity by name; ``rates`` are marked."""
    figure = _figure(6.0, 4.0)
    axes = figure.add_subplot()
    for name, (false, sensitivity) in curves.items():
        x, y = np.asarray(false, dtype=np.float64), np.asarray(sensitivity, dtype=np.float64)
        # steps: a sensitivity is reached where its threshold is, and not before
        axes.step(np.r_[x, max(rates[-1], x[-1])], np.r_[y, y[-1]], where="post", label=name)
        reached = [y[np.searchsorted(x, rate + 1e-9, side="right") - 1] for rate in rates]
        axes.plot(rates, reached, linestyle="", marker="o", markersize=4, color="0.2")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="false detections a scan", ylabel="sensitivity", title=title, ylim=(0, 1.01))
    axes.set_xlim(rates[0] / 1.2, rates[-1] * 1.2)
    axes.set_xticks(list(rates), [f"1/{round(1 / rate)}" if rate < 1 else f"{rate:g}" for rate in rates])
    axes.grid(color="0.9")
    axes.legend(loc="lower right", fontsize=8)
    return png_of(figure)


def confusion_figure(table: npt.ArrayLike, names: Sequence[str]) -> bytes:
    """A confusion matrix: truth down, prediction across."""
    counts = np.asarray(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure()
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color)
    axes.set(xlabel="predicted", ylabel="truth", xticks=range(len(names)), yticks=range(len(names)))
    wrapped = [textwrap.fill(name, 14) for name in names]
    axes.set_xticklabels(wrapped, fontsize=8)
    axes.set_yticklabels(wrapped, fontsize=8)
    return png_of(figure)


def curve_figure(rows: Sequence[Mapping[str, float]], left: Sequence[str], right: Sequence[str] = ()) -> bytes:
    """Learning curves over epochs: losses on the left axis, scores on the right."""
    figure = _figure(6.0, 3.6)
    axes = figure.add_subplot()
    colors = iter(f"C{number}" for number in range(10))
    second = axes.twinx() if right else None
    for names, where in ((left, axes), (right, second)):
        for name in names:
            known = [(row["epoch"], row[name]) for row in rows if name in row]
            if known and where is not None:
                where.plot(*zip(*known, strict=True), label=name, color=next(colors), marker=".", markersize=3)
    axes.set(xlabel="epoch", ylabel=", ".join(left))
    if second is not None:
        second.set_ylabel(", ".join(right))
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return png_of(figure)
