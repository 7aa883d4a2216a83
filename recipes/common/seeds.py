"""Figures of several seeds: how much a result owes to chance."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from dicom_ml.view.page import Page
from recipes.common.run import Run
from recipes.common.state import digest_of, write_json

__all__ = ["note_seed", "seeds_on_page"]

Figures = Mapping[str, float | None]


def note_seed(run: Run, figures: Figures) -> dict[int, dict[str, float | None]]:
    """Put a run's figures beside those of other seeds with the same settings, in ``seeds.json`` of its folder.

    Returns
    -------
    dict
        Figures of all these seeds.
    """
    settings = {name: value for name, value in run.settings.items() if name != "seed_everything"}
    path, key = run.path("seeds.json"), digest_of(settings)[:16]
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known.setdefault(key, {})[str(run.seed)] = dict(figures)
    write_json(path, known)
    return {int(seed): found for seed, found in sorted(known[key].items(), key=lambda item: int(item[0]))}


def seeds_on_page(page: Page, seeds: Mapping[int, Figures]) -> None:
    """A table of the figures of each seed, with their mean and range; nothing where there is one seed only."""
    if len(seeds) < 2:
        return
    names = list(next(iter(seeds.values())))
    rows: list[list[object]] = [[f"seed {seed}", *map(_said, found.values())] for seed, found in seeds.items()]
    columns = [[found[name] for found in seeds.values()] for name in names]
    for title, function in (("mean", np.mean), ("range", np.ptp)):
        known = [[value for value in column if value is not None] for column in columns]
        rows.append([title, *(f"{function(values):.3f}" if values else "not defined" for values in known)])
    page.heading(f"{len(seeds)} seeds")
    page.table(("", *names), rows, "The same settings and slides, trained with other seeds")


def _said(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
