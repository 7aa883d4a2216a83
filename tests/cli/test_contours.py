"""Structure sets at the command line: to segmentations, label maps and masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from tests.objects.structure_set.contours import on_slice, ring, structure_set

nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def contours(series: Path) -> Path:
    volume = dml.read_volume(series)
    regions = {
        ("Liver", 3): [on_slice(volume.grid, d, ring((9, 9), 5)) for d in (1, 2, 3)],
        ("ROI/x", 5): [on_slice(volume.grid, d, ring((9, 10), 2)) for d in (2, 3)],
        ("Isocentre", 9): [("POINT", on_slice(volume.grid, 2, [(3, 3)]))],
    }
    path = series.parent / "rt.dcm"
    structure_set(regions, frame=volume.source.frame_of_reference_uid).save_as(path, enforce_file_format=True)
    return path


def test_a_segmentation(contours: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["convert", str(contours), str(tmp_path / "s.dcm"), "--source", str(series)]
    assert main(run) == 2
    assert "what are the regions 'ROI/x'?" in capsys.readouterr().err
    assert main([*run, "--type", "ROI/x=SCT:86049000"]) == 2
    assert "kind='binary'" in capsys.readouterr().err
    assert main([*run, "--segment", "5=Tumour|SCT:86049000|SCT:49755003", "--kind", "binary"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "s.dcm")
    volume, found = dml.read_volume(series), dml.read_structure_set(contours)
    seg = dml.read_segmentation(tmp_path / "s.dcm")
    assert [(s.label, s.type.value) for s in seg.segments] == [("Liver", "10200004"), ("Tumour", "86049000")]
    assert np.array_equal(seg.channels(on=volume), found.channels(volume, [3, 5]))
    assert main([*run, "--type", "ROI/x="]) == 0
    assert [s.label for s in dml.read_segmentation(tmp_path / "s.dcm").segments] == ["Liver"]


def test_a_label_map_and_masks(
    contours: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, found = dml.read_volume(series), dml.read_structure_set(contours)
    run = ["convert", str(contours), str(tmp_path / "m.nii.gz"), "--on", str(series)]
    assert main(run) == 2
    assert "overlap" in capsys.readouterr().err
    assert main([*run, "--overlap", "last"]) == 0
    image = nibabel.load(tmp_path / "m.nii.gz")
    expected = found.label_map(volume, [3, 5], overlap="last")
    back = nibabel.as_closest_canonical(image).get_fdata()
    assert sorted(np.unique(back)) == [0, 3, 5] and (back > 0).sum() == (expected > 0).sum()
    assert main([*run, "--region", "5"]) == 0
    assert set(np.unique(nibabel.load(tmp_path / "m.nii.gz").get_fdata())) == {0, 5}
    assert main(["convert", str(contours), str(tmp_path / "all"), "--split", "--on", str(series)]) == 0
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["003_Liver.nii.gz", "005_ROI_x.nii.gz"]
    mask = nibabel.load(tmp_path / "all/003_Liver.nii.gz").get_fdata()
    assert mask.sum() == found.mask("Liver", volume).sum()


def test_what_cannot_be_done(contours: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        ([], "pass --source SERIES"),
        (["--source", str(series), "--region", "Kidney"], "no region is 'Kidney'"),
        (["--source", str(series), "--segment", "Liver"], "--segment is N=LABEL"),
        (["--source", str(series), "--type", "SCT:1"], "--type is NAME=CODE"),
    ):
        assert main(["convert", str(contours), str(tmp_path / "s.dcm"), *more]) == 2
        assert message in capsys.readouterr().err
    assert main(["convert", str(contours), str(tmp_path / "s.txt"), "--source", str(series)]) == 2
    assert "are converted to .dcm, .nii" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_regions_of_a_report(series: Path, tmp_path: Path) -> None:
    region = dml.Polygon([(4, 10), (4, 16), (9, 16)], slice=3)
    made = dml.Report(dml.read_volume(series), [dml.MeasurementGroup(finding="SCT:27925004", region=region)],
                      dml.Algorithm("Net", "1"))  # fmt: skip
    made.save(tmp_path / "r.sr.dcm")
    for more in ([], ["--on", str(series)]):
        assert main(["convert", str(tmp_path / "r.sr.dcm"), str(tmp_path / "r.geojson"), *more]) == 0
        (one,) = json.loads((tmp_path / "r.geojson").read_text())["features"]
        assert one["geometry"]["plane"]["z"] == 3
        np.testing.assert_allclose(one["geometry"]["coordinates"], [[[10, 4], [16, 4], [16, 9], [10, 4]]], atol=0.01)
