"""What every report page says: which data ran, with which settings, versions and seeds, and how long it took."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from dicom_ml.view.page import Page
from recipes.common.card import versions_of
from recipes.common.run import STEPS, Run

__all__ = ["begin_page", "end_page", "interval"]


def begin_page(run: Run, summary: str) -> Page:
    """A page with its title, what ran, and, for a stand-in, that its figures say nothing of patients."""
    page = Page(run.recipe.title)
    if run.data != "idc":
        page.text(
            f"These figures test the software only. They come from a stand-in ({run.recipe.data[run.data]}) and must "
            "not be set beside published ones.",
            note=True,
        )
    page.text(summary)
    if run.recipe.modelled_on:
        page.text(f"Modelled on: {'; '.join(run.recipe.modelled_on)}.")
    return page


def end_page(page: Page, run: Run) -> None:
    """Settings, versions, and times."""
    page.heading("How it was made")
    facts: list[tuple[str, Any]] = [
        ("Data", f"{run.data}: {run.recipe.data[run.data]}"),
        ("Size", run.size or "own settings"),
        ("Seed", run.seed),
        ("Machine", f"{platform.machine()}, Python {platform.python_version()}"),
        *versions_of(run).items(),
    ]
    page.facts(facts)
    rows = []
    for name in STEPS:
        marker = run.marker(name)
        if marker is not None and marker.status == "done":
            rows.append((name, marker.seconds, marker.starts))
    page.table(("Step", "Seconds", "Starts"), rows, "Times")
    page.heading("Settings")
    page.text("The settings of this run are in config.yaml beside this page; the same seed gives the same figures.")


def interval(value: float | None, bounds: Sequence[float | None] = ()) -> str:
    """A figure and its interval, as text."""
    if value is None:
        return "not defined"
    low, high = bounds or (None, None)
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"
