from __future__ import annotations

import pytest

pytest.importorskip("torch")

import dicom_ml as dml
from tests.series import blobs, write_series


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Four series of three patients, each with a segmentation beside it, in one folder."""
    root = tmp_path_factory.mktemp("cohort")
    organ = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual")
    for name, patient in (("a", "P1"), ("b", "P1"), ("c", "P2"), ("d", "P3")):
        folder = root / name
        grid = write_series(folder / "ct", name=name, patient=patient)
        seg = dml.Segmentation.from_array(
            blobs(grid, 1, seed=ord(name)), source=dml.read_volume(folder / "ct"), segments=[organ]
        )
        seg.save(folder / "liver.seg.dcm")
    return root


@pytest.fixture
def records(cohort):
    return [{"image": cohort / n / "ct", "label": cohort / n / "liver.seg.dcm", "patient": n} for n in "abcd"]
