from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")

import dicom_ml as dml
from tests.series import blobs, write_series


@pytest.fixture(scope="session")
def segments():
    made_by = dml.Algorithm("TestNet", version="1")
    return [
        dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=made_by),
        dml.Segment("Spleen", type="SCT:78961009", category="SCT:123037004", algorithm=made_by),
    ]


class Case:
    """A series, a label map on its grid, and a SEG of that label map."""

    def __init__(self, folder: Path, name: str, segments, seed: int) -> None:
        self.series = folder / f"series_{name}"
        self.grid = write_series(self.series, name=name, patient=f"P{name}")
        self.volume = dml.read_volume(self.series)
        self.labels = blobs(self.grid, seed=seed)
        self.seg = folder / f"{name}.seg.dcm"
        dml.Segmentation.from_array(self.labels, source=self.volume, segments=segments).save(self.seg)

    @property
    def record(self) -> dict[str, str]:
        return {"image": str(self.series), "label": str(self.seg)}

    def read(self, path) -> np.ndarray:
        """A written SEG, on the series' grid."""
        return dml.read_segmentation(path).label_map(on=self.volume)


@pytest.fixture(scope="session")
def case(tmp_path_factory, segments) -> Case:
    return Case(tmp_path_factory.mktemp("case"), "a", segments, 0)


@pytest.fixture(scope="session")
def other(tmp_path_factory, segments) -> Case:
    return Case(tmp_path_factory.mktemp("other"), "b", segments, 5)
