from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.phantom import CTDescription, axial_affine, write_ct_series

SHAPE = (4, 24, 20)


class Archive:
    """Six series of two studies each way, one of them cut off in the middle of a slice, and their index."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "archive"
        rng = np.random.default_rng(0)
        for number in range(6):
            array = rng.integers(-1000, 400, SHAPE).astype(np.float32)
            affine = axial_affine(SHAPE, (2.5, 0.8, 0.9), (5.0, -7.0, 100.0))
            write_ct_series(self.folder / f"s{number}", array, affine, CTDescription(f"cohort {number}"))
        broken = sorted((self.folder / "s3").iterdir())[1]
        os.truncate(broken, broken.stat().st_size - 300)
        self.index = root / "archive.index"
        with dml.scan(self.folder, self.index, workers=1) as index:
            rows = index.series()
        self.series = [row.series_instance_uid for row in rows]
        (self.broken,) = [row.series_instance_uid for row in rows if "s3" in row.files[0]]
        self.patients = [row.patient_id for row in rows]

    def check(self, folder: Path) -> dict[str, str]:
        """Every good series has one object, on its grid, that refers to it; the bad one has none. UIDs by series."""
        files = sorted(folder.rglob("*.dcm"))
        assert list(folder.rglob("*.part")) == []
        found = {}
        for path in files:
            seg = dml.read_segmentation(path)
            (source,) = seg.referenced_series
            assert source not in found, "doubled"
            assert path.parent.name == source
            found[source] = str(seg.dataset.SOPInstanceUID)
        assert set(found) == set(self.series) - {self.broken}
        return found


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("cohorts"))
