"""Training, and predictions as DICOM."""

from __future__ import annotations

import csv
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import dicom_ml as dml
from dicom_ml.callbacks import ReportWriter
from dicom_ml.callbacks.manifest import read_index
from dicom_ml.errors import SeriesError
from recipes.common.card import ModelCard, read_card, versions_of, weights_digest
from recipes.common.detection import Scan, average_precision, froc
from recipes.common.run import Done, Run
from recipes.common.state import write_json, write_text
from recipes.common.training import best_checkpoint, fit, learning_curve, load_weights, objects_of, quiet
from recipes.radiology.bundle import export_bundle
from recipes.radiology.data import scans_of
from recipes.radiology.nodules import LUNG, NODULE

__all__ = ["predict", "predicted_scans", "train"]

_CURVE = ("train_loss", "train_class_loss", "train_box_loss", "val_froc", "val_ap")


# ---------------------------------------------------------------------- training
def train(run: Run) -> Done:
    """Train the detector; the best on the validation part is kept, and exported as a MONAI bundle."""
    parts = Counter(one["part"] for one in scans_of(run.output))
    if not parts["train"] or not parts["val"]:
        raise SeriesError(f"the parts train and val both need scans, found {dict(parts)}; choose more of them")
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
    bundle = export_bundle(folder / "bundle", made.model, run.settings, card)
    best = max((row for row in curve if "val_froc" in row), key=lambda row: row["val_froc"])
    run.log.info(
        "train: best of %d epochs is %d: mean sensitivity on the validation part %.3f",
        len(curve),
        best["epoch"],
        best["val_froc"],
    )
    weights = weights_digest(made.model)
    write_json(folder / "weights.json", {"sha256": weights})
    facts = {"epochs": len(curve), "best_epoch": int(best["epoch"]), "val_froc": best["val_froc"], "weights": weights}
    return Done([folder / "curve.csv", folder / "weights.json", *card.save(folder), *bundle], facts)


def _data(run: Run) -> dict[str, Any]:
    return {"folder": str(run.output), "seed": run.seed}


def _card(run: Run, model: Any, data: Any) -> ModelCard:
    counts = {name: len(data.records[name]) for name in ("train", "val")}
    what = "LIDC-IDRI of the Imaging Data Commons" if run.data == "idc" else "generated chest scans"
    detector = dict(model.hparams["detector"])
    return ModelCard(
        "dicom_ml lung nodules",
        f"{dml.__version__}+{weights_digest(model)[:12]}",
        "Research: boxes of lung nodules of 3 mm and more on chest CT. No medical device.",
        f"{what}; {counts['train']} scans to train on, {counts['val']} to choose the best epoch",
        "Nodules that fewer than three of four readers mark were not to be found. "
        + ("" if run.data == "idc" else "It has seen no patient's scan, and is of use for tests of the software only."),
        {
            "data": run.data,
            "size": run.size,
            "seed": run.seed,
            "network": "RetinaNet, 3D",
            "spacing": "as scanned" if data.spacing is None else " x ".join(f"{x:g}" for x in data.spacing) + " mm",
            "window": " x ".join(str(n) for n in detector.get("window", ())),
            "min_score": detector.get("min_score"),
            "nms": detector.get("nms"),
        },
        versions=versions_of(run),
    )


# ---------------------------------------------------------------------- prediction
def predict(run: Run) -> Done:
    """Predict the test scans: a report each, a group for each detection."""
    folder = run.path("predict")
    made = objects_of(run, folder, data=_data(run))
    untrained = _untrained(run, made) if run.leads and run.setting("recipe.predict.untrained", 0) else {}
    load_weights(made.model, best_checkpoint(run))
    made.trainer.callbacks.append(
        ReportWriter(
            folder / "reports",
            {0: NODULE},
            algorithm=read_card(run).algorithm(),
            site=LUNG,
            model=run.facts("train")["weights"],
            series_description="Nodule detections",
        )
    )
    with quiet():
        made.trainer.predict(made.model, datamodule=made.datamodule, return_predictions=False)
    if not run.leads:
        return Done()
    found = predicted_scans(run)
    run.log.info("predict: %d scans", len(found))
    return Done(sorted(found.values()), {"scans": len(found), "untrained": untrained})


def predicted_scans(run: Run) -> dict[str, Path]:
    """Report of each scan that was predicted, by the scan's series."""
    folder = run.path("predict", "reports")
    files = read_index(folder, "reports")["files"]
    return dict(sorted((entry["source_series_instance_uid"], folder / entry["file"]) for entry in files))


# ---------------------------------------------------------------------- what chance gives
def _untrained(run: Run, made: Any) -> dict[str, Any]:
    """Figures on the test scans of networks with random weights: the mean of several.

    Their scores are all low; so every box counts here, whatever its score.
    """
    import torch

    scans = made.datamodule.prepared("test")
    items = [scans[number] for number in range(len(scans))]
    settings = dict(run.setting("model.init_args", {}))
    chosen = dict(settings.get("detector", {}))
    figures = []
    for number in range(int(run.setting("recipe.predict.untrained"))):
        torch.manual_seed(run.seed * 1000 + number)
        model = type(made.model)(**settings)
        # the 100 best boxes of each level, whatever their scores
        model.detector.set_box_selector_parameters(0.0, 100, chosen.get("nms", 0.22), chosen.get("most", 100))
        model.eval()
        with torch.inference_mode():
            found = [model.found([item])[0] for item in items]
        judged = [
            Scan(item["box"].numpy().reshape(-1, 6), one["box"].numpy(), one["label_scores"].numpy())
            for item, one in zip(items, found, strict=True)
        ]
        figures.append((froc(judged).mean, average_precision(judged, 0.1)))
    means = np.nan_to_num(np.mean(figures, axis=0))
    run.log.info("predict: networks with random weights reach a mean sensitivity of %.3f", means[0])
    return {"froc": float(means[0]), "ap": float(means[1]), "each": [[float(x) for x in one] for one in figures]}
