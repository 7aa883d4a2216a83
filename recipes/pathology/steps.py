"""From the cohort to labels as DICOM."""

from __future__ import annotations

import csv
from collections import Counter
from io import StringIO

import dicom_ml as dml
from dicom_ml.errors import CodeError, DicomMLError
from recipes.common.manifest import Row, chosen_rows, read_manifest, write_manifest
from recipes.common.run import Done, Run
from recipes.common.state import write_text
from recipes.pathology.classes import CLASSES, QUESTION, SITE, class_of_specimen, preparation_of
from recipes.pathology.cohort import MANIFEST
from recipes.pathology.standin import plan_generated, plan_real_tiles, real_tiles_folder, write_store

__all__ = ["cohort", "labels"]


def cohort(run: Run) -> Done:
    """Choose slides; stand-ins are made, into a store of their own."""
    store, workers = run.path("cohort", "store"), int(run.setting("recipe.cohort.workers", 0))
    seed = int(run.setting("recipe.cohort.seed", 0))
    if run.data == "stand-in":
        planned = plan_generated(
            int(run.setting("recipe.cohort.patients")),
            seed,
            size=int(run.setting("recipe.cohort.size")),
            least_share=float(run.setting("recipe.cohort.least_share")),
        )
        run.log.info("cohort: %d slides are generated", len(planned))
        rows = write_store(planned, store, seed, workers)
    elif run.data == "real-tiles":
        planned = plan_real_tiles(real_tiles_folder())
        run.log.info("cohort: %d slides are put together from real tiles", len(planned))
        rows = write_store(planned, store, seed, workers)
    else:
        wanted = str(run.setting("recipe.cohort.preparation"))
        rows = [row for row in read_manifest(MANIFEST) if row.preparation in (wanted, "") and row.label]
        rows = chosen_rows(
            rows,
            patients=run.setting("recipe.cohort.patients", None),
            most_bytes=run.setting("recipe.cohort.most_bytes", None),
            seed=seed,
        )
    files = write_manifest(run.path("cohort", "manifest.csv"), rows)
    counts = Counter(f"{row.split} {row.label}" for row in rows)
    run.log.info("cohort: %s", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return Done(files, {"slides": dict(sorted(counts.items())), "patients": len({row.patient for row in rows})})


def labels(run: Run) -> Done:
    """Write the class of each slide, which its specimen and its collection tell, as a structured report.

    Slides of another preparation than is wanted, or whose specimen says neither normal nor tumour, are left out.
    """
    folder, wanted = run.path("labels"), run.setting("recipe.labels.preparation", None)
    kept: list[tuple[str, str, str]] = []
    left: list[tuple[str, str, str]] = []
    for row in read_manifest(run.path("fetch", "manifest.csv")):
        why = _label(run, row, wanted)
        (left if why else kept).append((row.series, row.split, why))
    for name, rows in (("slides.csv", kept), ("left-out.csv", left)):
        out = StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("series", "split", "why"))
        writer.writerows(sorted(rows))
        write_text(folder / name, out.getvalue())
    reasons = Counter(why for _, _, why in left)
    for why, count in sorted(reasons.items()):
        run.log.info("labels: %d slides are left out: %s", count, why)
    run.log.info("labels: %d slides have a label", len(kept))
    outputs = [folder / "slides.csv", *sorted(folder.glob("*.sr.dcm"))]
    return Done(outputs, {"labelled": len(kept), "left_out": dict(sorted(reasons.items()))})


def _label(run: Run, row: Row, preparation: str | None) -> str:
    """Write the label report of a slide; what is given is why there is none."""
    try:
        slide = dml.open_slide(run.path("fetch", row.series))
        found = class_of_specimen(slide.source, row.collection)
        prepared = preparation_of(slide.source)
    except CodeError as error:
        return str(error)
    except DicomMLError as error:
        return f"not readable: {type(error).__name__}"
    if row.label and row.label != found.name:
        return f"the specimen says {found.name}, the cohort {row.label}"
    if preparation is not None and prepared != preparation:
        return f"the tissue is {prepared or 'of unknown preparation'}, wanted is {preparation}"
    answer = dml.Evaluation(QUESTION, next(one.code for one in CLASSES if one.name == found.name))
    group = dml.MeasurementGroup(site=(SITE,), tracking_id="Slide label", evaluations=(answer,))
    report = dml.Report(slide, [group], deterministic=True, series_description="Slide label")
    report.save(run.path("labels", f"{row.series}.sr.dcm"))
    return ""
