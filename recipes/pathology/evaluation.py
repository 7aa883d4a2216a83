"""Figures, from the DICOM objects read back."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from recipes.common.metrics import bootstrap_auc, confusion_matrix
from recipes.common.page import interval
from recipes.common.run import Done, Run
from recipes.common.state import write_json, write_text
from recipes.pathology.classes import CLASSES, QUESTION, class_of_report
from recipes.pathology.data import slides_of
from recipes.pathology.learning import predicted_slides, tile_probabilities

__all__ = ["SlideResult", "evaluate", "slide_results"]

Array = npt.NDArray[Any]
_FINDING, _CERTAINTY = "DCM:121071", "DCM:111012"


@dataclass(frozen=True)
class SlideResult:
    """What the objects of a slide say.

    Attributes
    ----------
    series : str
    part : str
    label : int
        By the label report.
    tiles : ndarray of shape (C, rows, columns)
        By the fractional segmentation; all zero where no tile was looked at.
    classes : ndarray of shape (rows, columns)
        By the label map segmentation: class number and 1, 0 where no tile was looked at.
    scores : ndarray of shape (C,)
        Probabilities of the slide, by the report.
    predicted : int
        By the report's answer.
    regions : int
    """

    series: str
    part: str
    label: int
    tiles: Array
    classes: Array
    scores: Array
    predicted: int
    regions: int

    @property
    def seen(self) -> Array:
        """Which tiles were looked at."""
        return np.asarray(self.tiles.sum(axis=0) > 0)


def slide_results(run: Run) -> list[SlideResult]:
    """Read the results of all predicted slides."""
    known = {Path(one["image"]).name: one for one in slides_of(run.output)}
    labelmaps = predicted_slides(run, "classes")
    found = []
    for series, file in predicted_slides(run).items():
        tiles = tile_probabilities(dml.read_segmentation(file))
        seg = dml.read_segmentation(labelmaps[series])
        classes = seg.read_region((0, 0), seg.grid.shape[1:])
        report = dml.read_report(run.path("predict", "reports", f"{series}.sr.dcm"))
        scores, predicted = _said(report)
        regions = sum(group.region is not None for group in report.groups)
        one = known[series]
        found.append(SlideResult(series, one["part"], one["label"], tiles, classes, scores, predicted, regions))
    return found


def _said(report: dml.Report) -> tuple[Array, int]:
    """Probabilities of the classes, and the answer, of a slide's report."""
    group = next(group for group in report.groups if group.evaluation(QUESTION) is not None)
    scores = np.zeros(len(CLASSES))
    for measured in group.measurements:
        named = {value for name, value in measured.modifiers if f"{name.scheme}:{name.value}" == _FINDING}
        for number, one in enumerate(CLASSES):
            if measured.concept == _CERTAINTY and one.code in named and measured.value is not None:
                scores[number] = measured.value / 100
    return scores, class_of_report(report)


def evaluate(run: Run) -> Done:
    """Areas under ROC curves by tile and by slide, one class against the others, with intervals by slide."""
    found = slide_results(run)
    draws = int(run.setting("recipe.evaluate.bootstraps"))
    parts: dict[str, Any] = {}
    for part in sorted({one.part for one in found}):
        parts[part] = _figures([one for one in found if one.part == part], draws, run.seed)
        run.log.info(
            "evaluate: %s: AUC by slide %s, by tile %s, %d of %d slides right",
            part,
            interval(parts[part]["slide"]["mean"]),
            interval(parts[part]["tile"]["mean"]),
            np.trace(parts[part]["confusion"]),
            parts[part]["slide"]["items"],
        )
    metrics = {"classes": [one.name for one in CLASSES], "parts": parts}
    metrics["untrained"] = run.facts("predict")["untrained"]
    folder = run.path("evaluate")
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "slides.csv", _table(found))
    return Done([folder / "metrics.json", folder / "slides.csv"], {"metrics": metrics})


def _figures(found: list[SlideResult], draws: int, seed: int) -> dict[str, Any]:
    tiles = np.concatenate([one.tiles[:, one.seen].T for one in found])
    counts = [int(one.seen.sum()) for one in found]
    labels = np.array([one.label for one in found])
    slide = np.repeat(np.arange(len(found)), counts)
    means = np.array([one.tiles[:, one.seen].mean(axis=1) for one in found])
    scores = np.array([one.scores for one in found])
    return {
        "tile": bootstrap_auc(labels[slide], tiles, slide, count=draws, seed=seed),
        "slide": bootstrap_auc(labels, scores, count=draws, seed=seed),
        "confusion": confusion_matrix(labels, [one.predicted for one in found], len(CLASSES)).tolist(),
        # report and segmentation are two ways to the same numbers
        "largest_difference": float(np.abs(means / means.sum(axis=1, keepdims=True) - scores).max()),
        "regions": sum(one.regions for one in found),
    }


def _table(found: list[SlideResult]) -> str:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("series", "part", "label", "predicted", *(one.name for one in CLASSES), "tiles"))
    for one in found:
        scores = (f"{value:.6f}" for value in one.scores)
        names = CLASSES[one.label].name, CLASSES[one.predicted].name
        writer.writerow((one.series, one.part, *names, *scores, int(one.seen.sum())))
    return out.getvalue()
