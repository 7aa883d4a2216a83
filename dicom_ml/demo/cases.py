"""Chest cases made for the demo: each a CT series and its segmentation, as DICOM, like any cohort."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicom_ml.codes import parse_code
from dicom_ml.objects.segmentation import Algorithm, Segment, Segmentation
from dicom_ml.phantom import (
    Acquisition,
    Anatomy,
    CTDescription,
    axial_affine,
    chest_phantom,
    random_acquisition,
    random_anatomy,
    write_ct_series,
)
from dicom_ml.reading import read_volume

__all__ = ["PREDICTED_BY", "Case", "demo_segments", "make_cases", "make_held_out"]

PREDICTED_BY = Algorithm("dicom_ml demo network", "1")
"""Named in the segmentations that the demo predicts."""

_TRUTH = Algorithm("dicom_ml chest phantom", "1")
_MATRIX = (64, 100)
"""Columns of the training cases: they are resampled to 5 mm anyway, and small ones are made and read sooner."""


@dataclass(frozen=True)
class Case:
    """Where a case lies.

    Attributes
    ----------
    series : Path
        Folder of the CT series.
    labels : Path
        Its segmentation.
    """

    series: Path
    labels: Path

    def record(self) -> dict[str, str]:
        """What the data module takes."""
        return {"image": str(self.series), "label": str(self.labels)}


def demo_segments(algorithm: Algorithm = PREDICTED_BY) -> list[Segment]:
    """What labels 1, 2 and 3 mean: the values of `dicom_ml.phantom.LABELS`."""
    anatomical, lung = parse_code("SCT:123037004"), parse_code("SCT:39607008")
    right, left = parse_code("SCT:24028007"), parse_code("SCT:7771000")
    trunk = "Everything under the skin that is not lung; airways included"
    return [
        Segment("Body outside the lungs", parse_code("SCT:22943007"), anatomical, algorithm,
                color=(230, 168, 23), description=trunk),
        Segment("Right lung", lung, anatomical, algorithm, (right,), color=(26, 152, 255)),
        Segment("Left lung", lung, anatomical, algorithm, (left,), color=(50, 205, 90)),
    ]  # fmt: skip


def make_cases(folder: str | os.PathLike[str], count: int, seed: int, *, processes: int = 1) -> list[Case]:
    """Make the cases to train on. A case that is there already is kept: the same seed gives the same case.

    Parameters
    ----------
    folder : path
        Each case gets a folder of its own in it.
    count : int
    seed : int
    processes : int
        Made side by side in so many processes.
    """
    from tqdm import tqdm

    jobs = [(Path(folder) / f"case-{seed}-{number:03d}", seed * 100_003 + number) for number in range(count)]
    bar = tqdm(total=count, desc="Making chest cases", unit="case")
    with bar:
        if processes <= 1 or count < 4:
            cases = []
            for job in jobs:
                cases.append(_make_case(job))
                bar.update()
            return cases
        # Spawned, not forked: a fork after torch has started its threads can hang.
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            cases = []
            for case in pool.imap(_make_case, jobs):
                cases.append(case)
                bar.update()
            return cases


def _make_case(job: tuple[Path, int]) -> Case:
    folder, seed = job
    rng = np.random.default_rng([seed, 1])
    anatomy = random_anatomy(rng)
    return _write_case(folder, seed, random_acquisition(rng, anatomy, matrix=_MATRIX), anatomy)


def make_held_out(folder: str | os.PathLike[str], seed: int) -> Case:
    """The case that is predicted when the user brings none: finer than the training cases, with another patient."""
    rng = np.random.default_rng([seed, 2])
    anatomy = replace(random_anatomy(rng), prone=False)
    spacing, shape = (4.0, 1.7, 1.7), (88, 208, 224)
    middle = 0.5 * (max(anatomy.apex) + min(anatomy.dome) - 40)
    affine = axial_affine(shape, spacing, (3.0, -4.0, middle))
    acquisition = Acquisition(shape, affine, thickness=4.0, noise=14.0, sharpness=0.2, padding=None)
    return _write_case(Path(folder), seed * 100_003 + 99_991, acquisition, anatomy)


def _write_case(folder: Path, seed: int, acquisition: Acquisition, anatomy: Anatomy) -> Case:
    case = Case(folder / "ct", folder / "labels.seg.dcm")
    if case.labels.exists():  # written last
        return case
    phantom = chest_phantom(seed, acquisition=acquisition, anatomy=anatomy)
    about = CTDescription(
        f"demo case {seed}",
        thickness=acquisition.thickness,
        kernel="SHARP" if acquisition.sharpness > 0 else "SMOOTH",
        position="HFP" if anatomy.prone else "HFS",
        padding=acquisition.padding,
    )
    write_ct_series(case.series, phantom.array, phantom.affine, about)
    source = read_volume(case.series)
    Segmentation.from_array(
        phantom.labels, source=source, segments=demo_segments(_TRUTH), kind="labelmap", deterministic=True
    ).save(case.labels)
    return case
