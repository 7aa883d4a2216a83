"""The slides of a run as a Lightning data module: labels come from the label reports, parts from the manifest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dicom_ml as dml
from dicom_ml.data import TileDataModule
from dicom_ml.errors import SeriesError
from recipes.pathology.classes import class_of_report

__all__ = ["RunSlides", "slides_of"]


def slides_of(folder: Path, parts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Slides of a run: ``"image"`` (folder), ``"label"`` (class number, read from the slide's report), ``"part"``.

    Parameters
    ----------
    folder : path
        Of the run; its steps fetch and labels are done.
    parts : sequence of str, optional
        ``"train"``, ``"val"``, ``"test"``, ``"external"``; by default all.
    """
    listed = folder / "labels" / "slides.csv"
    if not listed.is_file():
        raise SeriesError(f"{folder} is no run whose slides have labels; do its steps cohort, fetch and labels first")
    found = []
    with open(listed, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if parts is None or row["split"] in parts:
                report = dml.read_report(folder / "labels" / f"{row['series']}.sr.dcm")
                if row["series"] not in {series for series, _ in report.evidence.values()}:
                    raise SeriesError(f"the label report of slide {row['series']} is about other images")
                image = str(folder / "fetch" / row["series"])
                found.append({"image": image, "label": class_of_report(report), "part": row["split"]})
    return found


class RunSlides(TileDataModule):
    """Tiles of a run's slides.

    Parameters
    ----------
    folder : str
        Of the run.
    tile_size, spacing, min_tissue, balanced, batch_size, num_workers
        As of :class:`dicom_ml.data.TileDataModule`.
    cache : str, optional
        ``"memory"``, or a folder, for decoded tiles.
    predict_parts : sequence of str
        Parts to predict.
    seed : int
    """

    def __init__(
        self,
        folder: str = "out/pathology",
        tile_size: int = 256,
        spacing: float = 0.001,
        min_tissue: float = 0.5,
        balanced: bool = True,
        batch_size: int = 32,
        num_workers: int = 0,
        cache: str | None = None,
        predict_parts: Sequence[str] = ("test", "external"),
        seed: int = 0,
    ) -> None:
        super().__init__(
            seed=seed,
            tile_size=tile_size,
            spacing=spacing,
            min_tissue=min_tissue,
            balanced=balanced,
            batch_size=batch_size,
            num_workers=num_workers,
            dataset={} if cache is None else {"cache": cache},
        )
        self.folder = Path(folder)
        self.predict_parts = tuple(predict_parts)

    @property
    def records(self) -> dict[str, list[Any]]:
        """Slides of each part; read on first use."""
        if self._records is None:
            parts = {"train": ("train",), "val": ("val",), "test": ("test",), "predict": self.predict_parts}
            found = slides_of(self.folder)
            self._records = {name: [one for one in found if one["part"] in own] for name, own in parts.items()}
        return self._records
