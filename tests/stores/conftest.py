"""A CT series with a segmentation, and slides, for servers to serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.stores import dicomweb
from tests.reading.slides import _make as make
from tests.stores.servers import JPEG


@pytest.fixture(scope="session")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "ct"
    array = np.random.default_rng(0).integers(-1000, 400, (6, 20, 24)).astype(np.float32)
    write_ct_series(folder, array, axial_affine(array.shape, (2.5, 0.8, 0.9), (5.0, -7.0, 100.0)), "stores")
    return folder


@pytest.fixture(scope="session")
def seg(ct: Path) -> Path:
    volume = dml.read_volume(ct)
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:4, 5:9, 6:12] = 1
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual")
    path = ct.parent / "liver.seg.dcm"
    dml.Segmentation.from_array(mask, source=volume, segments=[segment], kind="binary").save(path)
    return path


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.pyramid(tmp_path_factory.mktemp("slide") / "sm", make.picture((700, 900), 3), tile=(64, 48), **JPEG)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without long waits, and no credentials of the person who runs the tests."""
    monkeypatch.setattr(dicomweb, "_FIRST_WAIT", 0.01)
    for name in ("DICOM_ML_DICOMWEB_TOKEN", "DICOM_ML_DICOMWEB_USER", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
