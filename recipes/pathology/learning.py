"""Training, and predictions as DICOM."""

from __future__ import annotations

import copy
import csv
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from dicom_ml.bridge.outlines import outlines
from dicom_ml.callbacks import SegmentationWriter
from dicom_ml.callbacks.manifest import read_index
from dicom_ml.codes import parse_code, parse_unit
from dicom_ml.errors import GeometryError, SeriesError
from recipes.common.card import ModelCard, read_card, versions_of, weights_digest
from recipes.common.metrics import one_vs_rest_auc
from recipes.common.run import Done, Run
from recipes.common.state import write_json, write_text
from recipes.common.training import best_checkpoint, fit, learning_curve, load_weights, objects_of, quiet
from recipes.pathology.bundle import export_bundle
from recipes.pathology.classes import CLASSES, QUESTION, SITE
from recipes.pathology.data import slides_of

__all__ = ["predict", "predicted_slides", "slide_report", "tile_pixels", "tile_probabilities", "train"]

Array = npt.NDArray[Any]
_AREA, _CERTAINTY, _MEAN = (parse_code(x) for x in ("SCT:42798000", "DCM:111012", "SCT:373098007"))
_SQUARE_MM, _PERCENT = parse_unit("mm2"), parse_unit("%")
_CURVE = ("train_loss", "val_loss", "val_auc")


# ---------------------------------------------------------------------- training
def train(run: Run) -> Done:
    """Train the classifier; the best on the validation part is kept, and exported as a MONAI bundle."""
    parts = Counter(one["part"] for one in slides_of(run.output))
    if not parts["train"] or not parts["val"]:
        raise SeriesError(f"the parts train and val both need slides, found {dict(parts)}; choose more patients")
    made = fit(run, data=_data(run))
    if not run.leads:
        return Done()
    folder = run.path("train")
    curve = learning_curve(folder, _CURVE)
    out = StringIO()
    writer = csv.DictWriter(out, ("epoch", *_CURVE), lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    write_text(folder / "curve.csv", out.getvalue())
    card = _card(run, made.model, made.datamodule)
    bundle = export_bundle(folder / "bundle", made.model.network, run.settings, card)
    best = max((row for row in curve if "val_auc" in row), key=lambda row: row["val_auc"])
    run.log.info("train: best of %d epochs is %d: validation AUC %.3f", len(curve), best["epoch"], best["val_auc"])
    weights = weights_digest(made.model)
    write_json(folder / "weights.json", {"sha256": weights})
    facts = {"epochs": len(curve), "best_epoch": int(best["epoch"]), "val_auc": best["val_auc"], "weights": weights}
    return Done([folder / "curve.csv", folder / "weights.json", *card.save(folder), *bundle], facts)


def _data(run: Run) -> dict[str, Any]:
    return {"folder": str(run.output), "seed": run.seed}


def _card(run: Run, model: Any, data: Any) -> ModelCard:
    kinds = {"stand-in": "generated slides", "real-tiles": "slides put together from real tiles (LC25000)"}
    counts = {name: len(data.records[name]) for name in ("train", "val")}
    cut = data.cut
    return ModelCard(
        "dicom_ml lung tiles",
        f"{dml.__version__}+{weights_digest(model)[:12]}",
        "Research: normal tissue, adenocarcinoma or squamous cell carcinoma on lung slides stained with haematoxylin "
        "and eosin. No medical device.",
        f"{kinds.get(run.data, 'TCGA-LUAD and TCGA-LUSC of the Imaging Data Commons')}; {counts['train']} slides to "
        f"train on, {counts['val']} to choose the best epoch",
        "Labels are those of whole slides. "
        + (
            "It has seen no patient's tissue, and is of use for tests of the software only."
            if run.data != "idc"
            else ""
        ),
        {
            "data": run.data,
            "size": run.size,
            "seed": run.seed,
            "network": type(model.network).__name__,
            "tile": f"{cut['tile_size']} px at {cut['spacing']} mm",
            "min_tissue": cut["min_tissue"],
        },
        versions=versions_of(run),
    )


# ---------------------------------------------------------------------- prediction
def predict(run: Run) -> Done:
    """Predict the test slides: probabilities of tiles (fractional SEG), classes (label map SEG), a report a slide."""
    folder = run.path("predict")
    made = objects_of(run, folder, data=_data(run))
    untrained = _untrained(run, made) if run.leads and run.setting("recipe.predict.untrained", 0) else {}
    load_weights(made.model, best_checkpoint(run))
    card = read_card(run)
    algorithm = card.algorithm()
    segments = [one.segment(algorithm) for one in CLASSES]
    common: dict[str, Any] = {"model": run.facts("train")["weights"]}
    made.trainer.callbacks += [
        SegmentationWriter(
            folder / "probabilities",
            segments,
            "fractional",
            key="pred",
            activation="softmax",
            series_description="Class probabilities",
            **common,
        ),
        SegmentationWriter(
            folder / "classes", segments, "labelmap", key="label", series_description="Classes", **common
        ),
    ]
    with quiet():
        made.trainer.predict(made.model, datamodule=made.datamodule, return_predictions=False)
    if not run.leads:
        return Done()
    for series, file in predicted_slides(run).items():
        report = folder / "reports" / f"{series}.sr.dcm"
        if not report.exists():
            slide = dml.open_slide(run.path("fetch", series))
            slide_report(slide, dml.read_segmentation(file), algorithm).save(report)
    count = len(predicted_slides(run))
    run.log.info("predict: %d slides", count)
    outputs = sorted(folder.glob("*/*.dcm"))
    return Done(outputs, {"slides": count, "untrained": untrained})


def predicted_slides(run: Run, what: str = "probabilities") -> dict[str, Path]:
    """File of each slide that was predicted, by the slide's series: of ``"probabilities"`` or of ``"classes"``."""
    folder = run.path("predict", what)
    files = read_index(folder)["files"]
    return dict(sorted((entry["source_series_instance_uid"], folder / entry["file"]) for entry in files))


def tile_probabilities(seg: dml.Segmentation) -> Array:
    """Probabilities ``(C, rows, columns)`` on the grid of tiles; all zero where a tile was not looked at."""
    rows, columns = seg.grid.shape[1:]
    return seg.read_region((0, 0), (rows, columns), channels=True)


def slide_report(slide: dml.Slide, seg: dml.Segmentation, algorithm: dml.Algorithm) -> dml.Report:
    """What is said of a slide: its class, the mean probability of each class, and where tumour is seen.

    A region is a part of the slide whose tiles are taken for the slide's tumour; its outline runs along tiles.
    """
    grid = tile_probabilities(seg)
    seen = grid.sum(axis=0) > 0
    mean = grid[:, seen].mean(axis=1)
    mean = mean / mean.sum()
    best = int(mean.argmax())
    codes = [one.code for one in CLASSES]
    whole = dml.Report.from_classification(
        mean, classes=codes, question=QUESTION, site=SITE, tracking_id="Slide", source=slide
    ).groups
    groups = list(whole)
    square = float(seg.grid.spacing[1] * seg.grid.spacing[2])
    for number, one in enumerate(CLASSES[1:], start=1):
        if number != best:
            continue
        area = seen & (grid.argmax(axis=0) == number)
        for place, (ring, part) in enumerate(_parts(area), start=1):
            certainty = 100 * float(grid[number][part].mean())
            groups.append(
                dml.MeasurementGroup(
                    finding=one.code,
                    site=(SITE,),
                    tracking_id=f"{one.label} {place}",
                    region=dml.Polygon(_on_slide(ring, slide, seg)),
                    measurements=(
                        dml.Measurement(_AREA, float(part.sum()) * square, _SQUARE_MM),
                        dml.Measurement(_CERTAINTY, certainty, _PERCENT, derivation=_MEAN),
                    ),
                )
            )
    return dml.Report(slide, groups, algorithm, deterministic=True, series_description="Slide classification")


def tile_pixels(slide: dml.Slide, seg: dml.Segmentation) -> tuple[float, float]:
    """Rows and columns of level 0 that a tile covers."""
    spacing = _spacing(slide)
    return seg.grid.spacing[1] / spacing[0], seg.grid.spacing[2] / spacing[1]


def _spacing(slide: dml.Slide) -> tuple[float, float]:
    found = slide.levels[0].spacing
    if found is None:
        raise GeometryError("the slide does not say how large its pixels are; results cannot be placed on it")
    return found


def _on_slide(ring: Array, slide: dml.Slide, seg: dml.Segmentation) -> Array:
    """Corners on the grid of tiles as row and column of level 0, none beyond the slide."""
    return np.clip(ring * np.array(tile_pixels(slide, seg)), 0, np.array(slide.levels[0].shape))


def _parts(mask: Array) -> Iterator[tuple[Array, Array]]:
    """Outline and mask of each connected part."""
    from matplotlib.path import Path as Outline

    middles = np.argwhere(mask) + 0.5
    for ring in outlines(mask):
        part = np.zeros_like(mask)
        inside = Outline(ring).contains_points(middles)
        part[tuple((middles[inside] - 0.5).astype(int).T)] = True
        yield ring, part


# ---------------------------------------------------------------------- what chance gives
def _untrained(run: Run, made: Any) -> dict[str, Any]:
    """Areas over test tiles of networks with random weights: the mean of several."""
    import torch

    made.datamodule.setup("predict")
    data = made.datamodule.datasets["predict"]
    batches = [data.__getitems__(list(range(n, min(n + 64, len(data))))) for n in range(0, len(data), 64)]
    labels = np.array([item["label"] for batch in batches for item in batch])
    areas = []
    for number in range(int(run.setting("recipe.predict.untrained"))):
        torch.manual_seed(run.seed * 1000 + number)
        model = copy.deepcopy(made.model).eval()
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        with torch.inference_mode():
            scores = [model(torch.stack([item["image"] for item in batch])).softmax(1) for batch in batches]
        areas.append(float(np.nanmean(one_vs_rest_auc(labels, torch.cat(scores).numpy()))))
    run.log.info("predict: networks with random weights reach a tile AUC of %.3f", np.mean(areas))
    return {"tile_auc": float(np.mean(areas)), "each": areas}
