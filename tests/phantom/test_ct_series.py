"""A phantom written as DICOM is conformant, repeatable, and reads back to the value and the millimetre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.geometry import Grid
from dicom_ml.phantom import CTDescription, axial_affine, write_ct_series
from tests import judges

SHAPE = (4, 12, 10)


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(3).integers(-3024, 3071, SHAPE).astype(np.float32)


@pytest.mark.parametrize("degrees", [0.0, 23.0])
def test_reads_back_equal(tmp_path: Path, array: np.ndarray, degrees: float) -> None:
    affine = axial_affine(SHAPE, (2.5, 0.7, 0.9), (10.0, -20.0, 33.3), turned(degrees))
    write_ct_series(tmp_path, array, affine, "case")
    volume = dml.read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.grid.matches(Grid(SHAPE, affine), 1e-4)
    assert not volume.source.problems


def test_same_name_same_bytes(tmp_path: Path, array: np.ndarray) -> None:
    affine = axial_affine(SHAPE, (2.5, 0.7, 0.9), (0.0, 0.0, 0.0))
    first = write_ct_series(tmp_path / "a", array, affine, "case")
    second = write_ct_series(tmp_path / "b", array, affine, "case")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_refuses_what_cannot_be_written(tmp_path: Path, array: np.ndarray) -> None:
    affine = axial_affine(SHAPE, (2.5, 0.7, 0.9), (0.0, 0.0, 0.0))
    with pytest.raises(dml.EncodingError, match="16 bits"):
        write_ct_series(tmp_path, array * 100, affine, "case")
    affine[1, 0] = 1.0
    with pytest.raises(dml.EncodingError, match="right angles"):
        write_ct_series(tmp_path, array, affine, "case")


@pytest.mark.judge
def test_conforms(tmp_path: Path, array: np.ndarray) -> None:
    affine = axial_affine(SHAPE, (2.5, 0.7, 0.9), (0.0, 0.0, 0.0), turned(5.0))
    for path in write_ct_series(tmp_path, array, affine, CTDescription("case", padding=-2000.0)):
        assert not judges.dciodvfy(path)
