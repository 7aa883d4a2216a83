"""Real CT series that are at hand: they have no labels here, and are predicted only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicom_ml.data import find_series
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.reading import read_volume
from recipes.common.manifest import Row

__all__ = ["link_real", "real_series"]

_FEWEST, _SHORTEST = 10, 120.0


def real_series() -> list[dict[str, Any]]:
    """CT series that show a chest at least in part, below ``DICOM_ML_TEST_DATA`` or ``../shared/data``.

    Those of at least 10 images and 120 mm that can be read as one volume.

    Raises
    ------
    FileError
        If there are none.
    """
    from recipes import CHECKOUT

    named = os.environ.get("DICOM_ML_TEST_DATA")
    root = (Path(named) if named else CHECKOUT.parent / "shared" / "data") / "a_ct"
    found = []
    if root.is_dir():
        for record in find_series(root, modalities=["CT"], labels=False):
            if len(record["image"]) >= _FEWEST and _is_chest(record["image"]):
                found.append(record)
    if not found:
        raise FileError("no real CT series are here: set DICOM_ML_TEST_DATA to a folder that holds a_ct")
    return found


def _is_chest(files: Sequence[str]) -> bool:
    """Whether it is long enough, and a tenth of it is as thin as lung while most around it is not air."""
    try:
        volume = read_volume(list(files))
    except DicomMLError:
        return False
    length = volume.grid.shape[0] * volume.grid.spacing[0]
    inner = volume.array[:, volume.array.shape[1] // 4 : -volume.array.shape[1] // 4]
    lung = ((inner > -980) & (inner < -500)).mean()
    return bool(length >= _SHORTEST and lung > 0.1)


def link_real(found: Sequence[dict[str, Any]], store: Path) -> list[Row]:
    """Put series into a store, a folder each, and give their rows, of the part ``"external"``."""
    rows = []
    for record in found:
        series = str(record["series_instance_uid"])
        name = derived_uid("real series", series).rsplit(".", 1)[1]
        folder = store / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(record["image"]):
            target = folder / f"{number:04d}.dcm"
            if not target.exists():
                shutil.copyfile(path, target)
        size = sum(path.stat().st_size for path in folder.iterdir())
        study, patient = str(record["study_instance_uid"]), str(record["patient"])
        row = Row("real_ct", patient, study, series, "image", split="external", instances=len(record["image"]))
        rows.append(row.with_(size=size, url=f"s3://stand-in/{name}/*"))
    return rows
