"""Slides made for the demo: each an SM series and the segmentation of its textures, as DICOM."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_ml.phantom import SlideDescription, write_slide
from dicom_ml.reading.slides import open_slide

__all__ = ["SPACING", "SlideCase", "make_held_out_slide", "make_slides"]

SPACING = 0.001
"""Millimetres of the pixels that the network sees: about 10x."""


@dataclass(frozen=True)
class SlideCase:
    """Where a slide lies.

    Attributes
    ----------
    series : Path
        Folder of the SM series.
    truth : Path
        Segmentation of its textures.
    """

    series: Path
    truth: Path


def make_slides(folder: str | os.PathLike[str], count: int, seed: int, *, processes: int = 1) -> list[SlideCase]:
    """Make the slides to train on: small ones, since each has a stain and sizes of its own.

    One that is there already is kept: the same seed gives the same slide.
    """
    from tqdm import tqdm

    jobs: list[tuple[Path, int, dict[str, Any]]] = [
        (
            Path(folder) / f"slide-{seed}-{number:03d}",
            seed * 100_019 + number,
            {"size": (896, 1280), "spacing": SPACING, "downsamples": (1, 8)},
        )
        for number in range(count)
    ]
    with tqdm(total=count, desc="Making slides", unit="slide") as bar:
        made = []
        if processes <= 1 or count < 4:
            for job in jobs:
                made.append(_make(job))
                bar.update()
            return made
        # Spawned, not forked: a fork after torch has started its threads can hang.
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for case in pool.imap(_make, jobs):
                made.append(case)
                bar.update()
        return made


def make_held_out_slide(folder: str | os.PathLike[str], seed: int) -> SlideCase:
    """The slide that is predicted: twice as fine as those of the training, of another patient and stain."""
    options = {"size": (3072, 4608), "spacing": SPACING / 2, "downsamples": (1, 2, 8)}
    return _make((Path(folder), seed * 100_019 + 99_989, options))


def _make(job: tuple[Path, int, dict[str, Any]]) -> SlideCase:
    folder, seed, options = job
    case = SlideCase(folder / "sm", folder / "textures.seg.dcm")
    if not case.truth.exists():  # written last
        about = SlideDescription(f"demo slide {seed}", neoplasm=True)
        written = write_slide(case.series, seed=seed, description=about, **options)
        with open_slide(written.files) as slide:
            written.truth(slide).save(case.truth)
    return case
