"""The page of a run."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from dicom_ml.view.picture import montage, png_bytes
from dicom_ml.view.regions import Mark
from recipes.common.card import read_card
from recipes.common.detection import FALSE_RATES, within
from recipes.common.figures import curve_figure, froc_figure
from recipes.common.page import begin_page, end_page, interval
from recipes.common.run import Done, Run
from recipes.common.seeds import note_seed, seeds_on_page
from recipes.radiology.evaluation import ScanResult, scan_results, score_at

__all__ = ["report"]

Array = npt.NDArray[Any]
_SHOWN = 3
_TRUE, _HIT, _FALSE, _OTHER = (80, 200, 120), (250, 200, 40), (240, 70, 60), (110, 160, 250)
_NAMES = (("froc", "Mean sensitivity (FROC)"), ("ap", "AP at IoU 0.1"), ("map", "mAP at IoU 0.1 to 0.5"))


def report(run: Run) -> Done:
    """Write ``report.html``, with its figures in it, and the model card with its results."""
    metrics = run.facts("evaluate")["metrics"]
    found = scan_results(run)
    page = begin_page(run, _summary(run, metrics))
    for part, figures in metrics["parts"].items():
        own = [one for one in found if one.part == part]
        page.heading(f"Results on the {part} part")
        _results(page, figures)
        curve = figures["curve"]
        points = {f"{part} part": (curve["rates"], curve["sensitivity"])}
        page.picture(froc_figure(points, FALSE_RATES), "Sensitivity by false detections a scan")
        for title, pictures in _overlays(run, own):
            page.heading(title)
            for picture, caption in pictures:
                page.picture(picture, caption)
    _unlabelled(run, page, [one for one in found if not one.labelled])
    headline = {f"{part}: {said}": figures[name]["value"] for part, figures in metrics["parts"].items()
                for name, said in _NAMES}  # fmt: skip
    seeds_on_page(page, note_seed(run, headline))
    page.heading("Training")
    with open(run.path("train", "curve.csv"), newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    losses = ("train_loss", "train_class_loss", "train_box_loss")
    page.picture(curve_figure(rows, losses, ("val_froc", "val_ap")), "Learning curves")
    card = read_card(run)
    for part, figures in metrics["parts"].items():
        for name, said in _NAMES:
            card.metrics[f"{part}: {said}"] = interval(figures[name]["value"], figures[name]["interval"])
    page.facts([("Model", card.name), ("Version", card.version), *card.settings.items()], "Model card")
    end_page(page, run)
    page.save(run.path("report.html"))
    return Done(card.save(run.path("report")), {})


def _summary(run: Run, metrics: dict[str, Any]) -> str:
    trained, labels = run.facts("train"), run.facts("labels")
    said = (
        f"Nodules of the lungs are found on chest CT. {labels['scans']} scans; {labels['marks']} marks of readers "
        f"make {labels['nodules']} nodules that count and {labels['others']} findings that do not, being too small or "
        f"marked by too few. The best of {trained['epochs']} epochs was chosen on the validation part. All figures "
        "are computed from the DICOM reports that prediction wrote, read back."
    )
    chance = metrics.get("untrained")
    if chance:
        said += f" Networks with random weights reach a mean sensitivity of {chance['froc']:.3f}."
    return said


def _results(page: Any, figures: dict[str, Any]) -> None:
    rows = [(said, interval(figures[name]["value"], figures[name]["interval"])) for name, said in _NAMES]
    for rate, one in figures["sensitivity"].items():
        rows.append((f"Sensitivity at {rate} false detections a scan", interval(one["value"], one["interval"])))
    page.table(
        ("", "Value"),
        rows,
        f"{figures['scans']} scans, {figures['targets']} nodules, {figures['detections']} detections; "
        f"{figures['others']} findings do not count either way; 95 % intervals by {figures['draws']} draws of scans",
    )
    sizes = [
        (f"{one['from']:g} mm and more" if one["to"] is None else f"{one['from']:g} to {one['to']:g} mm",
         one["nodules"], one["found"])
        for one in figures["by_size"]
    ]  # fmt: skip
    page.table(("Diameter", "Nodules", "Found"), sizes, "By size, at one false detection a scan")


# ---------------------------------------------------------------------- pictures
def _overlays(run: Run, found: list[ScanResult]) -> list[tuple[str, list[tuple[bytes, str]]]]:
    """Pictures of nodules that were found, that were missed, and of what was taken for one."""
    hits, missed, false = [], [], []
    for one in found:
        inside = within(one.scan.boxes, one.scan.truth)
        for number in range(len(one.scan.truth)):
            own = np.flatnonzero(inside[:, number])
            if len(own):
                best = int(own[one.scan.scores[own].argmax()])
                hits.append((float(one.scan.scores[best]), one, one.scan.truth[number], best))
            else:
                missed.append((float(one.sizes[number]), one, one.scan.truth[number], -1))
        known = inside.any(axis=1) | within(one.scan.boxes, one.scan.ignored).any(axis=1)
        for number in np.flatnonzero(~known).tolist():
            false.append((float(one.scan.scores[number]), one, one.scan.boxes[number], number))
    total = len(hits) + len(missed)
    titles = (
        (f"Hits: {len(hits)} of {total} nodules", hits, "Score {:.2f}"),
        (f"Misses: {len(missed)} of {total} nodules", missed, "A nodule of {:.1f} mm"),
        (f"False detections: {len(false)}", false, "Score {:.2f}"),
    )
    least = score_at([one.scan for one in found], 1.0)
    return [(title, [_shown(run, one, said, least) for one in _best(which)]) for title, which, said in titles]


def _best(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda one: -one[0])[:_SHOWN]


def _shown(run: Run, which: Any, said: str, least: float) -> tuple[bytes, str]:
    """The slice through a box's middle, along each axis, with all boxes on it."""
    value, one, box, _ = which
    middle = (box[:3] + box[3:]) / 2
    places = {"axial": [int(middle[2])], "coronal": [int(middle[1])], "sagittal": [int(middle[0])]}
    caption = f"{said.format(value)}. Green: nodule; yellow: detection on one; red: other detection; blue: counts not."
    caption += " Others than on a nodule are shown from the score on at which there is one false detection a scan."
    return _picture(run, one, places, min(least, value)), caption


def _picture(run: Run, one: ScanResult, places: dict[str, Any], least: float) -> bytes:
    """Slices of a scan with its boxes; detections below a score are left out where they are of no nodule."""
    volume = dml.read_volume(run.path("fetch", one.series))
    marks = [Mark(_region(box), _OTHER, "does not count") for box in one.scan.ignored]
    marks += [Mark(_region(box), _TRUE, "nodule") for box in one.scan.truth]
    on_one = [bool(row.any()) for row in within(one.scan.boxes, one.scan.truth)]
    for box, score, hit in zip(one.scan.boxes, one.scan.scores, on_one, strict=True):
        if hit or score >= least:
            name = "detection on a nodule" if hit else "detection"
            marks.append(Mark(_region(box), _HIT if hit else _FALSE, name, f"{score:.2f}"))
    return png_bytes(montage(volume.array, volume.affine, planes=places, setting="lung", marks=marks, height=240))


def _region(box: Array) -> dml.Box:
    return dml.Box(box[:3][::-1], box[3:][::-1])


def _unlabelled(run: Run, page: Any, found: list[ScanResult]) -> None:
    """What was found on scans without labels: no figures, only pictures."""
    if not found:
        return
    page.heading(f"{len(found)} real scans without labels")
    page.text("Nothing is known of these scans here: the pictures show what was detected, not whether it is right.")
    for one in found:
        best = np.argsort(-one.scan.scores, kind="stable")[:4]
        caption = f"{len(one.scan.boxes)} detections; those with the highest scores are shown"
        page.picture(_picture(run, _some(one, best), {"axial": 4, "coronal": 1}, 0.0), caption)


def _some(one: ScanResult, kept: Array) -> ScanResult:
    """A result with some of its detections."""
    scan = replace(one.scan, boxes=one.scan.boxes[kept], scores=one.scan.scores[kept])
    return replace(one, scan=scan, diameters=one.diameters[kept])
