"""`info` says what there is and keeps the patient out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from dicom_ml.cli import main


def test_series_and_segmentation(series: Path, seg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(series.parent)]) == 0
    text = capsys.readouterr().out
    assert "CT Image Storage" in text and "6 x 24 x 20" in text and "2.5 x 0.8 x 0.9 mm" in text
    assert "Label Map Segmentation Storage" in text and "Liver" in text and "OrganNet" in text
    assert "(6 images)" in text


def test_json(seg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(seg), "--json"]) == 0
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert item["kind"] == "labelmap" and [s["label"] for s in item["segments"]] == ["Liver", "Right/upper lobe"]


def test_no_patient_data_unless_asked(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = pydicom.dcmread(sorted(series.iterdir())[0])
    ds.PatientName, ds.PatientID, ds.StudyDescription = "Secret^Name", "SECRET-1", "Secret study"
    ds.SeriesDescription, ds.InstitutionName, ds.StudyDate = "Secret series", "Secret house", "19700102"
    path = tmp_path / "one.dcm"
    ds.save_as(path)
    main(["info", str(path)])
    shown = capsys.readouterr().out.lower()
    assert "secret" not in shown and "19700102" not in shown
    main(["info", str(path), "--phi"])
    assert "Secret^Name" in capsys.readouterr().out


def test_says_why_a_series_is_no_volume(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, file in enumerate(sorted(series.iterdir())):
        if number != 3:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert main(["info", str(tmp_path)]) == 0
    assert "no: " in capsys.readouterr().out


def test_a_damaged_file_does_not_hide_the_others(
    series: Path, seg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.dcm").write_bytes(next(series.iterdir()).read_bytes())
    whole = seg.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: whole.index(b"\x62\x00\x02\x00SQ") + 40])
    assert main(["info", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "CT Image Storage" in text and "damaged" in text and "cut.dcm" in text
    assert main(["info", str(tmp_path / "cut.dcm")]) in (0, 2)
    assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.parametrize("folder", ["slicer_cthead64", "totalseg_ct_dicom20", "monai_ct4"])
def test_real_files(shared_data: Path, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data / "a_ct" / folder
    if not path.is_dir():
        pytest.skip(f"no {folder}")
    assert main(["info", str(path)]) == 0
    assert "modality" in capsys.readouterr().out
