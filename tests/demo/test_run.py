"""The whole demo, with next to no training: every part runs and the file that comes out is right, if not good."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from tests import judges

for name in ("torch", "monai", "lightning", "scipy", "PIL"):
    pytest.importorskip(name, reason="the demo needs dicom-ml[all]")

SHORT = ["--cases", "2", "--steps", "4", "--slides", "2", "--slide-steps", "2"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same demo twice: once from nothing, once more in another folder."""
    folders = [tmp_path_factory.mktemp("demo") / str(n) for n in range(2)]
    for folder in folders:
        assert main(["demo", "--output", str(folder), "--seed", "3", *SHORT]) == 0
    return folders


@pytest.mark.slow
def test_the_path_ends_in_a_page(outputs: list[Path]) -> None:
    summary = json.loads((outputs[0] / "summary.json").read_text())
    assert all(summary["checks"].values()) and len(summary["checks"]) == 6
    assert {"Lungs", "Right lung", "Left lung", "Body outside the lungs"} == set(summary["dice"])
    page = (outputs[0] / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5
    names = {"overview.png", "lungs.png", "reference.png", "slide.png", "probability.png"}
    assert {p.name for p in (outputs[0] / "images").iterdir()} == names
    slide = summary["slide"]
    assert all(slide["checks"].values()) and len(slide["checks"]) == 5
    assert set(slide["accuracy"]) == {"All", "Alveolar", "Glandular", "Solid"}
    assert "Parametric map" in page and "Alveolar" in page


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(outputs: list[Path]) -> None:
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in outputs]
    assert summaries[0]["voxels"] == summaries[1]["voxels"]
    assert summaries[0]["segmentation"] == summaries[1]["segmentation"], "names follow from the weights"
    labels = [dml.read_segmentation(f / s["segmentation"]).label_map() for f, s in zip(outputs, summaries, strict=True)]
    np.testing.assert_array_equal(*labels)
    assert summaries[0]["slide"] == summaries[1]["slide"]
    maps = [dml.read_parametric_map(f / s["slide"]["map"]).channels() for f, s in zip(outputs, summaries, strict=True)]
    np.testing.assert_array_equal(*maps)


@pytest.mark.slow
@pytest.mark.judge
def test_what_it_writes_conforms(outputs: list[Path]) -> None:
    slide = outputs[0] / "slide"
    written = [*(outputs[0] / "segmentations").glob("*.dcm"), *(outputs[0] / "cases").rglob("*.seg.dcm")]
    written += [*(slide / "parametric-maps").glob("*.dcm"), *(slide / "held-out").rglob("*.dcm")]
    assert len(written) >= 8
    for path in written:
        assert not judges.dciodvfy(path)


@pytest.mark.slow
def test_a_network_can_be_used_again(outputs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, network = outputs[0] / "held-out" / "ct", outputs[0] / "network.pt"
    command = ["demo", "--source", str(series), "--output", str(tmp_path / "again"), "--network"]
    assert main([*command, str(network)]) == 0
    before, after = (json.loads((f / "summary.json").read_text()) for f in (outputs[0], tmp_path / "again"))
    assert before["voxels"] == after["voxels"] and "training" not in after["seconds"]
    assert "slide" not in after, "a demo of one's own series has no slide"
    capsys.readouterr()
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    assert main([*command, str(tmp_path / "bad.pt")]) == 2
    assert "network.pt" in capsys.readouterr().err


def test_a_series_without_identifiers_is_told_how_to_go_on(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "a_ct" / "totalseg_ct_dicom20"
    if not source.is_dir():
        pytest.skip("no totalseg_ct_dicom20")
    assert main(["demo", "--source", str(source), "--output", str(tmp_path), *SHORT]) == 2
    assert "--repair-uids" in capsys.readouterr().err


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--labels", "x.nii.gz", "--output", str(tmp_path)]) == 2
    assert "--source" in capsys.readouterr().err
    assert main(["demo", "--steps", "0", "--output", str(tmp_path)]) == 2
    assert main(["demo", "--slides", "-1", "--output", str(tmp_path)]) == 2
    assert main(["demo", "--source", str(tmp_path / "none"), "--output", str(tmp_path)]) == 2
