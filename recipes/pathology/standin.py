"""Stand-ins for the real cohort: slides that are generated, or put together from real tiles.

Both are written as DICOM series into a folder that is laid out as a bucket of IDC is, and have a manifest of the same
form; everything after that is the same code as for the real slides.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.uids import derived_uid
from dicom_ml.errors import FileError
from dicom_ml.phantom.slide import slide_phantom
from dicom_ml.phantom.sm_series import SlideDescription, write_sm_series
from dicom_ml.phantom.tissue import ALVEOLAR, GLANDULAR, SOLID
from recipes.common.idc import stratified_split
from recipes.common.manifest import Row

__all__ = ["PlannedSlide", "plan_generated", "plan_real_tiles", "real_tiles_folder", "write_store"]

_SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
_LEVELS = (1, 2, 4)
_GLASS = 243


@dataclass(frozen=True)
class PlannedSlide:
    """A slide to be written.

    Attributes
    ----------
    name : str
        Seeds its UIDs.
    patient, collection, label : str
    frozen : bool
    seed : int
    textures : tuple of (int, float)
        Of a generated slide: shares of its tissue.
    size : int
        Rows and columns of a generated slide.
    tiles : tuple of path
        Of a slide that is put together.
    """

    name: str
    patient: str
    collection: str
    label: str
    frozen: bool = True
    seed: int = 0
    textures: tuple[tuple[int, float], ...] = ()
    size: int = 0
    tiles: tuple[Path, ...] = ()


# ---------------------------------------------------------------------- plans
def plan_generated(patients: int, seed: int, *, size: int = 1280, least_share: float = 0.35) -> list[PlannedSlide]:
    """Plan generated slides: a tumour slide of each patient, and a normal one of every other.

    A tumour slide holds its own texture in a share from ``least_share`` up, and normal tissue beside it; every third
    has some of the other tumour's texture. Every fourth normal slide has some glands. So the class of a slide does not
    hold for each of its tiles. One patient's slides are embedded in paraffin, and are left out later for that.
    """
    rng = np.random.default_rng([seed, 17])
    planned = []
    for number in range(patients):
        subtype, own, other = (("luad", GLANDULAR, SOLID), ("lscc", SOLID, GLANDULAR))[number % 2]
        share = float(rng.uniform(least_share, 0.9))
        textures = {own: share, ALVEOLAR: 1 - share}
        if rng.random() < 1 / 3:
            textures[other] = 0.8 * share
        common = {"patient": f"STANDIN-{seed}-{number:03d}", "collection": f"standin_{subtype}", "size": size}
        frozen = number != patients - 1 or patients < 8
        first = int(rng.integers(0, 2**31))
        planned.append(_planned(f"{seed}/{number}/tumour", subtype, first, textures, frozen, common))
        if number % 4 < 2:
            textures = {ALVEOLAR: 1.0} if rng.random() > 1 / 4 else {ALVEOLAR: 0.8, GLANDULAR: 0.2}
            planned.append(_planned(f"{seed}/{number}/normal", "normal", first + 1, textures, frozen, common))
    return planned


def _planned(
    name: str, label: str, seed: int, textures: dict[int, float], frozen: bool, common: dict[str, Any]
) -> PlannedSlide:
    return PlannedSlide(name, label=label, seed=seed, textures=tuple(textures.items()), frozen=frozen, **common)


def real_tiles_folder() -> Path:
    """Where the real lung tiles are: below ``DICOM_ML_TEST_DATA``, else below ``../shared/data`` beside the checkout.

    Raises
    ------
    FileError
        If they are not there.
    """
    from recipes import CHECKOUT

    named = os.environ.get("DICOM_ML_TEST_DATA")
    root = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    folder = root / "c_histo" / "lc25000_lung224"
    if not (folder / "labels_clusters.csv").is_file():
        raise FileError(
            "the real tiles are not here: set DICOM_ML_TEST_DATA to a folder that holds c_histo/lc25000_lung224"
        )
    return folder


def plan_real_tiles(folder: Path) -> list[PlannedSlide]:
    """Plan a slide of each cluster of the real tiles: tiles of a cluster come from one image, so it is a patient."""
    classes = {"lung_n": ("normal", "luad"), "lung_aca": ("luad", "luad"), "lung_scc": ("lscc", "lscc")}
    clusters: dict[tuple[str, str], list[Path]] = {}
    with open(folder / "labels_clusters.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = folder / row["class"] / row["file"]
            if path.is_file():
                clusters.setdefault((row["class"], row["cluster"]), []).append(path)
    planned = []
    for (kind, cluster), tiles in sorted(clusters.items()):
        label, subtype = classes[kind]
        name = f"LC25000-{kind}-{cluster}"
        planned.append(PlannedSlide(name, name, f"lc25000_{subtype}", label, tiles=tuple(sorted(tiles))))
    return planned


# ---------------------------------------------------------------------- writing
def write_store(planned: Sequence[PlannedSlide], store: Path, seed: int, workers: int = 0) -> list[Row]:
    """Write the slides that are not there yet, and give their manifest.

    Parameters
    ----------
    planned : sequence of PlannedSlide
    store : path
        Gets a folder for each slide.
    seed : int
        Of the split by patient, stratified by collection and by having a normal slide.
    workers : int
        Processes.
    """
    store.mkdir(parents=True, exist_ok=True)
    jobs = [(one, store) for one in planned]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            rows = list(_shown(pool.map(_write, jobs), len(jobs)))
    else:
        rows = list(_shown(map(_write, jobs), len(jobs)))
    return stratified_split(rows, _stratum, _SHARES, seed)


def _shown(rows: Iterable[Row], count: int) -> Iterable[Row]:
    """With a progress bar on a terminal."""
    from tqdm import tqdm

    bar: Iterable[Row] = tqdm(rows, total=count, unit="slide", desc="cohort", disable=None)
    return bar


def _stratum(rows: Sequence[Row]) -> tuple[str, bool]:
    return rows[0].collection, any(row.label == "normal" for row in rows)


def _write(job: tuple[PlannedSlide, Path]) -> Row:
    planned, store = job
    folder = store / derived_uid("stand-in folder", planned.name).rsplit(".", 1)[1]
    if not folder.is_dir():
        partial = store / f".{folder.name}.part"
        shutil.rmtree(partial, ignore_errors=True)
        array, spacing = _mosaic(planned.tiles) if planned.tiles else _generated(planned)
        about = SlideDescription(
            planned.name,
            patient=planned.patient,
            neoplasm=planned.label != "normal",
            frozen=planned.frozen,
            collection=planned.collection,
            description=f"{'Frozen' if planned.frozen else 'FFPE'} HE {'NT' if planned.label == 'normal' else 'TP'}",
            attributes={} if not planned.tiles else {"ManufacturerModelName": "tiles put together"},
        )
        write_sm_series(partial, array, spacing, about, downsamples=_LEVELS)
        os.replace(partial, folder)
    files = sorted(folder.iterdir())
    study, series = _identity(files[0])
    return Row(
        planned.collection,
        planned.patient,
        study,
        series,
        "slide",
        label=planned.label,
        instances=len(files),
        size=sum(path.stat().st_size for path in files),
        url=f"s3://stand-in/{folder.name}/*",
    )


def _identity(path: Path) -> tuple[str, str]:
    import pydicom

    head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
    return str(head.StudyInstanceUID), str(head.SeriesInstanceUID)


def _generated(planned: PlannedSlide) -> tuple[npt.NDArray[np.uint8], float]:
    shape = planned.size, planned.size
    phantom = slide_phantom(planned.seed, shape, spacing=0.001, textures=dict(planned.textures))
    return phantom.array, phantom.spacing


def _mosaic(tiles: Sequence[Path]) -> tuple[npt.NDArray[np.uint8], float]:
    """Real tiles side by side, rows of up to four; their true spacing is not known, 0.001 mm is a name for it."""
    from PIL import Image

    pictures = []
    for path in tiles:
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    size = pictures[0].shape[0]
    across = min(4, len(pictures))
    down = -(-len(pictures) // across)
    whole = np.full((down * size, across * size, 3), _GLASS, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, across)
        whole[row * size : (row + 1) * size, column * size : (column + 1) * size] = picture
    return whole, 0.001
