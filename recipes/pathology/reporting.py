"""The page of a run."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from recipes.common.card import read_card
from recipes.common.figures import confusion_figure, curve_figure, roc_figure
from recipes.common.metrics import roc_curve
from recipes.common.page import begin_page, end_page, interval
from recipes.common.run import Done, Run
from recipes.common.seeds import note_seed, seeds_on_page
from recipes.pathology.classes import CLASSES
from recipes.pathology.evaluation import SlideResult, slide_results
from recipes.pathology.learning import predicted_slides, tile_pixels

__all__ = ["report"]

Array = npt.NDArray[Any]
_SHOWN = 3


def report(run: Run) -> Done:
    """Write ``report.html``, with its figures in it, and the model card with its results."""
    metrics = run.facts("evaluate")["metrics"]
    found = slide_results(run)
    page = begin_page(run, _summary(run, metrics))
    for part, figures in metrics["parts"].items():
        own = [one for one in found if one.part == part]
        page.heading(f"Results on the {part} part")
        _results(page, figures)
        page.picture(_roc(own, tiles=False), "By slide: each class against the others")
        page.picture(_roc(own, tiles=True), "By tile")
        page.picture(confusion_figure(figures["confusion"], [one.label for one in CLASSES]), "Slides, by their report")
        right = [one for one in own if one.predicted == one.label]
        wrong = [one for one in own if one.predicted != one.label]
        for title, shown in (("Hits", right), ("Misses", wrong)):
            page.heading(f"{title}: {len(shown)} of {len(own)} slides")
            for one in _chosen(shown):
                page.picture(_overlay(run, one), _caption(one))
    headline = {
        f"{part}: AUC by {kind}": figures[kind]["mean"]
        for part, figures in metrics["parts"].items()
        for kind in ("slide", "tile")
    }
    seeds_on_page(page, note_seed(run, headline))
    page.heading("Training")
    with open(run.path("train", "curve.csv"), newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    page.picture(curve_figure(rows, ("train_loss", "val_loss"), ("val_auc",)), "Learning curves")
    card = read_card(run)
    for part, figures in metrics["parts"].items():
        for kind in ("slide", "tile"):
            card.metrics[f"{part}: AUC by {kind}"] = interval(figures[kind]["mean"], figures[kind]["mean_interval"])
    page.facts([("Model", card.name), ("Version", card.version), *card.settings.items()], "Model card")
    end_page(page, run)
    page.save(run.path("report.html"))
    return Done(card.save(run.path("report")), {})


def _summary(run: Run, metrics: dict[str, Any]) -> str:
    trained = run.facts("train")
    said = (
        f"Tiles of lung slides are told apart as {', '.join(one.label.lower() for one in CLASSES)}. "
        f"{run.facts('labels')['labelled']} slides; the best of {trained['epochs']} epochs was chosen on the "
        "validation part. All figures are computed from the DICOM objects that prediction wrote, read back."
    )
    chance = metrics.get("untrained")
    if chance:
        said += f" Networks with random weights reach an AUC by tile of {chance['tile_auc']:.3f}."
    return said


def _results(page: Any, figures: dict[str, Any]) -> None:
    rows = []
    for number, one in enumerate(CLASSES):
        cells = [
            interval(figures[kind]["auc"][number], figures[kind]["interval"][number]) for kind in ("slide", "tile")
        ]
        rows.append((one.label, *cells))
    means = [interval(figures[kind]["mean"], figures[kind]["mean_interval"]) for kind in ("slide", "tile")]
    rows.append(("Mean", *means))
    slides, tiles, draws = figures["slide"]["items"], figures["tile"]["items"], figures["slide"]["draws"]
    page.table(
        ("Class", "AUC by slide", "AUC by tile"),
        rows,
        f"{slides} slides, {tiles} tiles; one against the others; 95 % intervals by {draws} draws of slides",
        colors=[*(one.color for one in CLASSES), None],
    )


def _roc(found: list[SlideResult], *, tiles: bool) -> bytes:
    if tiles:
        scores = np.concatenate([one.tiles[:, one.seen].T for one in found])
        labels = np.concatenate([np.full(int(one.seen.sum()), one.label) for one in found])
    else:
        scores, labels = np.array([one.scores for one in found]), np.array([one.label for one in found])
    return roc_figure({one.label: roc_curve(labels == n, scores[:, n]) for n, one in enumerate(CLASSES)})


def _chosen(found: list[SlideResult]) -> list[SlideResult]:
    """Few slides, of different classes, those that the model is most sure of first."""
    ordered = sorted(found, key=lambda one: -float(one.scores.max()))
    first = {one.label: one for one in reversed(ordered)}
    rest = [one for one in ordered if one not in first.values()]
    return (sorted(first.values(), key=lambda one: one.label) + rest)[:_SHOWN]


def _caption(one: SlideResult) -> str:
    said = ", ".join(f"{c.label} {100 * score:.0f} %" for c, score in zip(CLASSES, one.scores, strict=True))
    return f"Labelled {CLASSES[one.label].label}; report: {said}. Squares: class of each tile, by the segmentation."


def _overlay(run: Run, one: SlideResult, size: int = 420) -> bytes:
    """A thumbnail of the slide, and the same with the class of each tile, side by side."""
    from PIL import Image

    slide = dml.open_slide(run.path("fetch", one.series))
    picture = np.asarray(slide.thumbnail(size))[..., :3]
    rows, columns = picture.shape[:2]
    seg = dml.read_segmentation(predicted_slides(run, "classes")[one.series])
    # a tile of the segmentation covers so many pixels of the thumbnail
    pixels = tile_pixels(slide, seg)
    across = [pixels[axis] / slide.levels[0].shape[axis] * (rows, columns)[axis] for axis in range(2)]
    row = np.minimum((np.arange(rows) / across[0]).astype(int), one.classes.shape[0] - 1)
    column = np.minimum((np.arange(columns) / across[1]).astype(int), one.classes.shape[1] - 1)
    label = one.classes[np.ix_(row, column)]
    colors = np.array([(255, 255, 255), *(c.color for c in CLASSES)], dtype=np.float32)[label]
    tinted = np.where(label[..., None] > 0, 0.6 * picture + 0.4 * colors, picture).astype(np.uint8)
    gap = np.full((rows, 8, 3), 255, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(np.concatenate([picture, gap, tinted], axis=1)).save(out, format="PNG")
    return out.getvalue()
