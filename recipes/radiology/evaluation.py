"""Figures, from the DICOM reports read back."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dicom_ml as dml
from dicom_ml.transforms import LoadReport
from recipes.common.detection import Scan, bootstrap_detection, box_overlap, froc, within
from recipes.common.page import interval
from recipes.common.run import Done, Run
from recipes.common.state import write_json, write_text
from recipes.radiology.data import scans_of
from recipes.radiology.learning import predicted_scans
from recipes.radiology.nodules import DIAMETER, NODULE
from recipes.radiology.steps import others_file

__all__ = ["ScanResult", "evaluate", "scan_results", "score_at"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ScanResult:
    """What the reports of a scan say; boxes are those of the scan's own voxels, ``xyzxyz``.

    Attributes
    ----------
    series, part : str
    labelled : bool
    scan : Scan
        Boxes and scores, targets, and what does not count.
    diameters : ndarray of shape (M,)
        Of the detections, in millimetres.
    sizes : ndarray of shape (N,)
        Of the targets.
    """

    series: str
    part: str
    labelled: bool
    scan: Scan
    diameters: Array
    sizes: Array


def scan_results(run: Run) -> list[ScanResult]:
    """Read the reports of all predicted scans, and those of their labels."""
    known = {one["series"]: one for one in scans_of(run.output)}
    found = []
    for series, file in predicted_scans(run).items():
        one = known[series]
        volume = dml.read_volume(one["image"])
        boxes, scores, diameters = _read(file, volume)
        truth, _, sizes = _read(Path(one["report"]), volume) if "report" in one else _nothing()
        others = _read(others_file(run.output, series), volume)[0] if "report" in one else _nothing()[0]
        scan = Scan(truth, boxes, scores, others)
        found.append(ScanResult(series, one["part"], "report" in one, scan, diameters, sizes))
    return found


def _nothing() -> tuple[Array, Array, Array]:
    return np.zeros((0, 6)), np.zeros(0), np.zeros(0)


def _read(path: Path, volume: dml.Volume) -> tuple[Array, Array, Array]:
    """Boxes, scores and diameters of a report."""
    loaded = LoadReport({NODULE: 0})(path, volume)
    groups = [group for group in dml.read_report(path).groups if group.regions]
    sizes = [group.value(DIAMETER) for group in groups]
    diameters = np.array([np.nan if size is None else size for size in sizes])
    return loaded["boxes"].numpy().astype(np.float64), loaded["scores"].numpy().astype(np.float64), diameters


def evaluate(run: Run) -> Done:
    """Free-response curve and average precision, with intervals by scan."""
    found = scan_results(run)
    draws = int(run.setting("recipe.evaluate.bootstraps"))
    parts: dict[str, Any] = {}
    for part in sorted({one.part for one in found if one.labelled}):
        own = [one for one in found if one.part == part]
        parts[part] = _figures(own, draws, run.seed)
        said = parts[part]
        run.log.info(
            "evaluate: %s: mean sensitivity %s, AP(0.1) %s, mAP(0.1-0.5) %s; %d scans, %d nodules",
            part,
            *(interval(said[name]["value"]) for name in ("froc", "ap", "map")),
            said["scans"],
            said["targets"],
        )
    unlabelled = [one for one in found if not one.labelled]
    counts = {"scans": len(unlabelled), "detections": int(sum(len(one.scan.boxes) for one in unlabelled))}
    metrics = {"parts": parts, "unlabelled": counts, "untrained": run.facts("predict")["untrained"]}
    folder = run.path("evaluate")
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "detections.csv", _table(found))
    return Done([folder / "metrics.json", folder / "detections.csv"], {"metrics": metrics})


def _figures(found: list[ScanResult], draws: int, seed: int) -> dict[str, Any]:
    scans = [one.scan for one in found]
    figures = bootstrap_detection(scans, count=draws, seed=seed)
    curve = froc(scans)
    figures["curve"] = {"rates": curve.rates.tolist(), "sensitivity": curve.sensitivity.tolist()}
    figures["others"] = int(sum(len(scan.ignored) for scan in scans))
    figures["by_size"] = _by_size(found)
    return figures


def _by_size(found: list[ScanResult]) -> list[dict[str, Any]]:
    """How many nodules of some sizes were found at all, at one false detection a scan."""
    threshold = score_at([one.scan for one in found], 1.0)
    bounds = (0.0, 6.0, 10.0, 15.0, np.inf)
    rows = []
    for low, high in itertools.pairwise(bounds):
        count = hits = 0
        for one in found:
            wanted = (one.sizes >= low) & (one.sizes < high)
            sure = one.scan.scores >= threshold
            inside = within(one.scan.boxes[sure], one.scan.truth[wanted])
            count += int(wanted.sum())
            hits += int(inside.any(axis=0).sum())
        rows.append({"from": low, "to": None if np.isinf(high) else high, "nodules": count, "found": hits})
    return rows


def score_at(scans: list[Scan], rate: float) -> float:
    """The lowest score at which there are at most so many false detections a scan."""
    scores = np.unique(np.concatenate([np.zeros(0), *(scan.scores for scan in scans)]))[::-1]
    last = np.inf
    for score in scores:
        cut = [Scan(s.truth, s.boxes[s.scores >= score], s.scores[s.scores >= score], s.ignored) for s in scans]
        if froc(cut).rates[-1] > rate + 1e-9:
            break
        last = float(score)
    return last


def _table(found: list[ScanResult]) -> str:
    """A row for each detection."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("series", "part", "score", "diameter", "x0", "y0", "z0", "x1", "y1", "z1", "overlap"))
    for one in found:
        best = box_overlap(one.scan.boxes, one.scan.truth).max(axis=1, initial=0.0)
        for box, score, size, overlap in zip(one.scan.boxes, one.scan.scores, one.diameters, best, strict=True):
            corners = (f"{x:.2f}" for x in box)
            measured = f"{overlap:.3f}" if one.labelled else ""
            writer.writerow((one.series, one.part, f"{score:.4f}", f"{size:.2f}", *corners, measured))
    return out.getvalue()
