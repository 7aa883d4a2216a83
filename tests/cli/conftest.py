"""A small series and its segmentation for the commands to work on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.phantom import axial_affine, write_ct_series

SHAPE = (6, 24, 20)


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "ct"
    array = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.float32)
    write_ct_series(folder, array, axial_affine(SHAPE, (2.5, 0.8, 0.9), (5.0, -7.0, 100.0)), "cli tests")
    return folder


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    out[1:4, 4:12, 3:9] = 1
    out[3:5, 14:20, 10:16] = 2
    return out


@pytest.fixture(scope="session")
def seg(series: Path, labels: np.ndarray) -> Path:
    made_by = dml.Algorithm("OrganNet", "1.2")
    segments = [
        dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=made_by),
        dml.Segment("Right/upper lobe", type="SCT:45653009", category="SCT:123037004", algorithm=made_by),
    ]
    path = series.parent / "organs.seg.dcm"
    source = dml.read_volume(series)
    dml.Segmentation.from_array(labels, source=source, segments=segments, kind="labelmap").save(path)
    return path
