"""The step that brings the series of a run's manifest here; the same in every recipe."""

from __future__ import annotations

from dicom_ml.errors import SeriesError
from recipes.common.fetch import Fetched, fetch_series, store_of
from recipes.common.manifest import read_manifest, write_manifest
from recipes.common.run import Done, Run

__all__ = ["fetch_step"]


def fetch_step(run: Run) -> Done:
    """Bring the series here."""
    rows = read_manifest(run.path("cohort", "manifest.csv"))
    store = store_of(run)
    count = 0

    def progress(one: Fetched) -> None:
        nonlocal count
        count += 1
        if one.problem:
            run.log.warning("fetch: series %d of %d: %s", count, len(rows), one.problem)
        elif count % 100 == 0:
            run.log.info("fetch: %d of %d series", count, len(rows))

    found = fetch_series(
        rows, store, run.path("fetch"), workers=int(run.setting("recipe.fetch.workers", 2)), progress=progress
    )
    here = [one.row for one in found if not one.problem]
    if not here:
        raise SeriesError(f"none of {len(rows)} series could be fetched; the log says why")
    if len(here) < len(rows) and not run.setting("recipe.fetch.allow_missing", False):
        raise SeriesError(
            f"{len(rows) - len(here)} of {len(rows)} series could not be fetched; run the step again, it goes on, or "
            "pass --recipe.fetch.allow_missing true to go on without them"
        )
    files = write_manifest(run.path("fetch", "manifest.csv"), here)
    return Done(files, {"series": len(here), "missing": len(rows) - len(here), "bytes": sum(r.size for r in here)})
