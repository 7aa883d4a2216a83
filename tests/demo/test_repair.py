"""A series without identifiers gets a copy that has them, and the same one each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.demo.repair import repair_series
from dicom_ml.phantom import axial_affine, write_ct_series
from tests import judges

SHAPE = (4, 16, 16)


def stripped(folder: Path) -> list[Path]:
    files = write_ct_series(folder, np.ones(SHAPE, np.float32), axial_affine(SHAPE, (2.0, 1.0, 1.0), (0, 0, 0)), "r")
    for file in files:
        ds = pydicom.dcmread(file)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            ds[keyword].value = ""
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.save_as(file)
    return files


def test_repaired_series_can_be_referred_to(tmp_path: Path) -> None:
    files = stripped(tmp_path / "bad")
    with pytest.warns(dml.DicomMLWarning, match="SOPInstanceUID"):
        before = dml.read_volume(tmp_path / "bad")
    repair_series(files, tmp_path / "good")
    after = dml.read_volume(tmp_path / "good")
    assert after.source is not None and not after.source.problems
    assert len(set(after.source.sop_instance_uids)) == SHAPE[0], "slices of equal pixels get UIDs of their own"
    np.testing.assert_array_equal(after.array, before.array)
    assert after.grid.matches(before.grid)
    again = repair_series(list(reversed(files)), tmp_path / "again")
    assert dml.read_volume(again).source == after.source


@pytest.mark.judge
def test_repaired_files_conform(tmp_path: Path) -> None:
    for path in repair_series(stripped(tmp_path / "bad"), tmp_path / "good"):
        assert not judges.dciodvfy(path)


def test_only_one_series_of_images(tmp_path: Path) -> None:
    with pytest.raises(dml.SeriesError, match="no files"):
        repair_series([], tmp_path / "out")
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(dml.FileError, match="no image"):
        repair_series([tmp_path / "x.txt"], tmp_path / "out")
    files = stripped(tmp_path / "bad")
    ds = pydicom.dcmread(files[0])
    ds.SeriesInstanceUID = "1.2.3.4"
    ds.save_as(files[0])
    with pytest.raises(dml.SeriesError, match="2 series"):
        repair_series(files, tmp_path / "out")
