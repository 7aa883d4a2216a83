"""From the cohort to labels as DICOM."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

import dicom_ml as dml
from dicom_ml.bridge.consensus import Consensus
from dicom_ml.bridge.detections import Detections, ReportTargets
from dicom_ml.bridge.image_grid import PlacedImage
from dicom_ml.bridge.report_classes import ReportClasses
from dicom_ml.codes import parse_code
from dicom_ml.errors import DicomMLError, SeriesError
from recipes.common.idc import folds_by_patient, stratified_split
from recipes.common.manifest import Row, chosen_rows, read_manifest, write_manifest
from recipes.common.run import Done, Run
from recipes.common.state import write_text
from recipes.radiology.cohort import MANIFEST
from recipes.radiology.nodules import DIAMETER, LUNG, MM, NODULE
from recipes.radiology.real import link_real, real_series
from recipes.radiology.standin import plan_scans, write_store

__all__ = ["Found", "cohort", "labels", "others_file", "reference_standard"]

_MEAN = parse_code("SCT:373098007")
_SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}


# ---------------------------------------------------------------------- cohort
def cohort(run: Run) -> Done:
    """Choose scans; stand-ins are made, into a store of their own."""
    seed = int(run.setting("recipe.cohort.seed", 0))
    if run.data == "idc":
        rows = _of_fold(read_manifest(MANIFEST), int(run.setting("recipe.cohort.fold", 0)))
        rows = chosen_rows(
            rows,
            patients=run.setting("recipe.cohort.patients", None),
            most_bytes=run.setting("recipe.cohort.most_bytes", None),
            seed=seed,
        )
    else:
        rows = _stand_in(run, seed)
    if run.data == "real":
        found = real_series()
        run.log.info("cohort: %d real series are predicted", len(found))
        rows += link_real(found, run.path("cohort", "store"))
    files = write_manifest(run.path("cohort", "manifest.csv"), rows)
    counts = Counter(f"{row.split} {row.role}" for row in rows)
    run.log.info("cohort: %s", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return Done(files, {"series": dict(sorted(counts.items())), "patients": len({row.patient for row in rows})})


def _stand_in(run: Run, seed: int) -> list[Row]:
    planned = plan_scans(
        int(run.setting("recipe.cohort.scans")),
        seed,
        shape=run.setting("recipe.cohort.shape"),
        spacing=float(run.setting("recipe.cohort.spacing")),
        nodules=float(run.setting("recipe.cohort.nodules")),
    )
    run.log.info("cohort: %d scans are generated", len(planned))
    rows = write_store(planned, run.path("cohort", "store"), int(run.setting("recipe.cohort.workers", 0)))
    rows = folds_by_patient(rows, 10, seed)
    return stratified_split(rows, lambda own: any(row.role == "report" for row in own), _SHARES, seed)


def _of_fold(rows: Sequence[Row], fold: int) -> list[Row]:
    """Rows with the parts of a fold of the cross-validation: it is the test, the next one the validation part."""
    count = max(row.fold for row in rows) + 1
    if not 0 <= fold < count:
        raise SeriesError(f"the cohort has folds from 0 to {count - 1}, not {fold}")
    parts = {fold: "test", (fold + 1) % count: "val"}
    return [row.with_(split=parts.get(row.fold, "train")) for row in rows]


# ---------------------------------------------------------------------- labels
@dataclass(frozen=True)
class Found:
    """What the readers of a scan say together.

    Attributes
    ----------
    nodules : Detections
        The reference standard: large enough, and marked by enough readers.
    diameters : list of float
        Of these, the mean over the readers, in millimetres.
    others : Detections
        What else any reader marked; it does not count.
    """

    nodules: Detections
    diameters: list[float]
    others: Detections


def reference_standard(
    volume: dml.Volume,
    reports: Sequence[Path],
    segmentations: Sequence[Path],
    *,
    min_readers: int = 3,
    min_diameter: float = 3.0,
    agreement: float = 0.5,
) -> Found:
    """Nodules that enough readers marked, from their reports and segmentations.

    Parameters
    ----------
    volume : Volume
    reports : sequence of path
        One for each nodule and reader; the tracking UID says which are of one nodule.
    segmentations : sequence of path
    min_readers : int
    min_diameter : float
        Millimetres, of the mean over the readers.
    agreement : float
        Share of its readers who mark a voxel of the box.
    """
    measured: dict[str, list[tuple[Path, float]]] = {}
    for path in reports:
        for group in dml.read_report(path).groups:
            diameter = group.value(DIAMETER)
            measured.setdefault(group.tracking_uid or str(path), []).append(
                (path, float("nan") if diameter is None else diameter)
            )
    sizes = {uid: float(np.nanmean([d for _, d in own])) for uid, own in measured.items()}
    counted = {u for u, own in measured.items() if len(own) >= min_readers and sizes[u] >= min_diameter}
    image = PlacedImage.of(volume)
    agreed = Consensus(min_readers=min_readers, box="voxels", agreement=agreement)
    nodules = _boxes(image, [p for u in counted for p, _ in measured[u]], segmentations, agreed)
    left = set(measured) - set(nodules.tracking_uids)
    others = _boxes(image, [p for u in left for p, _ in measured[u]], segmentations, Consensus(box="union"))
    return Found(nodules, [sizes[uid] for uid in nodules.tracking_uids], others)


def _boxes(
    image: PlacedImage, reports: Sequence[Path], segmentations: Sequence[Path], consensus: Consensus
) -> Detections:
    if not reports:
        return Detections(np.zeros((0, 6), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    targets = ReportTargets(ReportClasses({NODULE: 0}), consensus=consensus)
    # the order of files decides that of findings
    return targets.boxes(sorted(set(reports)), image, segmentations)


def labels(run: Run) -> Done:
    """Write the reference standard of each scan as a structured report, and what does not count as another."""
    folder = run.path("labels")
    rows = read_manifest(run.path("fetch", "manifest.csv"))
    marks: dict[str, list[Row]] = {}
    for row in rows:
        if row.role != "image":
            marks.setdefault(row.study, []).append(row)
    counts: Counter[str] = Counter()
    kept: list[tuple[str, str, str]] = []
    left: list[tuple[str, str, str]] = []
    images = [row for row in rows if row.role == "image"]
    for number, row in enumerate(images, start=1):
        if row.split == "external":
            kept.append((row.series, row.split, "no"))
            continue
        why = _label(run, row, marks.get(row.study, []), counts)
        (left if why else kept).append((row.series, row.split, why or "yes"))
        if number % 100 == 0:
            run.log.info("labels: %d of %d scans", number, len(images))
    for name, column, found in (("scans.csv", "labelled", kept), ("left-out.csv", "why", left)):
        out = StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("series", "split", column))
        writer.writerows(sorted(found))
        write_text(folder / name, out.getvalue())
    for reason, count in sorted(Counter(why for _, _, why in left).items()):
        run.log.info("labels: %d scans are left out: %s", count, reason)
    run.log.info("labels: %d nodules count, %d do not", counts["nodules"], counts["others"])
    outputs = [folder / "scans.csv", *sorted(folder.glob("*.sr.dcm"))]
    return Done(outputs, {"scans": len(kept), "left_out": len(left), **dict(sorted(counts.items()))})


def others_file(folder: Path, series: str) -> Path:
    """The report of what does not count on a scan, in the folder of a run."""
    return folder / "labels" / f"{series}.others.sr.dcm"


def _label(run: Run, row: Row, marks: Sequence[Row], counts: Counter[str]) -> str:
    """Write the label reports of a scan; what is given is why there are none."""
    files: dict[str, list[Path]] = {"report": [], "segmentation": []}
    for one in marks:
        files[one.role] += sorted(run.path("fetch", one.series).iterdir())
    try:
        volume = dml.read_volume(run.path("fetch", row.series))
        found = reference_standard(
            volume,
            files["report"],
            files["segmentation"],
            min_readers=int(run.setting("recipe.labels.min_readers", 3)),
            min_diameter=float(run.setting("recipe.labels.min_diameter", 3.0)),
            agreement=float(run.setting("recipe.labels.agreement", 0.5)),
        )
    except DicomMLError as error:
        return f"not readable: {type(error).__name__}"
    diameters = [[dml.Measurement(DIAMETER, size, MM, derivation=_MEAN)] for size in found.diameters]
    report = _report(volume, found.nodules, "Nodules that readers agree on", measurements=diameters)
    report.save(run.path("labels", f"{row.series}.sr.dcm"))
    _report(volume, found.others, "Nodules that few readers marked").save(others_file(run.output, row.series))
    counts["nodules"] += len(found.nodules)
    counts["others"] += len(found.others)
    counts["marks"] += len(files["report"])
    return ""


def _report(volume: dml.Volume, found: Detections, description: str, **more: object) -> dml.Report:
    boxes = found.boxes.astype(np.float64).reshape(-1, 2, 3)[..., ::-1].reshape(-1, 6)  # as the array is: (d, h, w)
    return dml.Report.from_detections(
        boxes,
        None,
        [NODULE] * len(boxes),
        source=volume,
        site=LUNG,
        tracking_ids=[f"Nodule {number}" for number in range(1, len(boxes) + 1)],
        tracking_uids=[uid or None for uid in found.tracking_uids],
        series_description=description,
        deterministic=True,
        **more,
    )
