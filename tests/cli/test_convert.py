"""Conversions keep every voxel where it is, and back again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.geometry import lps_to_ras

nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel")


def test_series_to_nifti(series: Path, tmp_path: Path) -> None:
    assert main(["convert", str(series), str(tmp_path / "ct.nii.gz")]) == 0
    image = nibabel.load(tmp_path / "ct.nii.gz")
    volume = dml.read_volume(series)
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), volume.array)
    index = np.array([2, 5, 7, 1.0])
    lps = volume.affine @ index
    np.testing.assert_allclose(image.affine @ index[[2, 1, 0, 3]], np.diag([-1, -1, 1, 1]) @ lps, atol=1e-4)
    assert lps_to_ras(volume.affine).shape == (4, 4)


def test_segmentation_to_nifti_and_back(series: Path, seg: Path, labels: np.ndarray, tmp_path: Path) -> None:
    nifti, again = tmp_path / "organs.nii.gz", tmp_path / "again.dcm"
    assert main(["convert", str(seg), str(nifti), "--on", str(series)]) == 0
    np.testing.assert_array_equal(np.asarray(nibabel.load(nifti).dataobj).transpose(2, 1, 0), labels)
    described = ["--segment", "1=Liver|SCT:10200004", "--segment", "2=Lobe|SCT:45653009", "--algorithm", "manual"]
    for kind in ("labelmap", "binary"):
        assert main(["convert", str(nifti), str(again), "--source", str(series), "--kind", kind, *described]) == 0
        back = dml.read_segmentation(again)
        np.testing.assert_array_equal(back.label_map(on=dml.read_volume(series)), labels)
        assert [s.label for s in back.segments] == ["Liver", "Lobe"]


def test_a_flipped_label_map_lands_where_it_was(series: Path, labels: np.ndarray, tmp_path: Path) -> None:
    volume = dml.read_volume(series)
    image = dml.Volume(labels, volume.affine).flip((0, 2)).to_nibabel()
    nibabel.save(image, tmp_path / "flipped.nii.gz")
    (tmp_path / "s.json").write_text(json.dumps([
        {"label": "Liver", "type": "SCT:10200004", "category": "SCT:123037004", "algorithm": "manual"},
        {"label": "Lobe", "type": "SCT:45653009", "category": "SCT:123037004", "algorithm": "manual"},
    ]))  # fmt: skip
    out = tmp_path / "out.dcm"
    command = ["convert", str(tmp_path / "flipped.nii.gz"), str(out), "--source", str(series)]
    assert main([*command, "--segments-file", str(tmp_path / "s.json")]) == 0
    np.testing.assert_array_equal(dml.read_segmentation(out).label_map(on=volume), labels)


def test_split(seg: Path, labels: np.ndarray, tmp_path: Path) -> None:
    assert main(["convert", str(seg), str(tmp_path / "parts"), "--split"]) == 0
    names = sorted(p.name for p in (tmp_path / "parts").iterdir())
    assert names == ["001_Liver.nii.gz", "002_Right_upper_lobe.nii.gz"]
    total = sum(int(np.asarray(nibabel.load(tmp_path / "parts" / n).dataobj).sum()) for n in names)
    assert total == np.count_nonzero(labels)


def test_refusals_say_what_to_do(
    series: Path, seg: Path, labels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = dml.read_volume(series)
    nifti, far = tmp_path / "l.nii.gz", tmp_path / "far.nii.gz"
    nibabel.save(dml.Volume(labels, volume.affine).to_nibabel(), nifti)
    elsewhere = np.array(volume.affine)
    elsewhere[0, 3] += 900
    nibabel.save(dml.Volume(labels, elsewhere).to_nibabel(), far)
    said = ["--segment", "1=A|SCT:10200004", "--segment", "2=B|SCT:45653009", "--algorithm", "manual"]
    out = str(tmp_path / "o.dcm")
    for command, what in [
        (["convert", str(nifti), out], "--source"),
        (["convert", str(nifti), out, "--source", str(series)], "values 1, 2 mean"),
        (["convert", str(nifti), out, "--source", str(series), *said[:4]], "--algorithm"),
        (["convert", str(far), out, "--source", str(series), *said], "beside the series"),
        (["convert", str(series), str(tmp_path / "ct.mha")], ".nii"),
        (["convert", str(seg), out, "--source", str(series)], "input is DICOM"),
        (["convert", str(tmp_path / "nothing"), out], "does not exist"),
    ]:
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert what in error and error.strip().count("\n") == 0, error
    assert not Path(out).exists()
