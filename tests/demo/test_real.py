"""Trained on phantoms as users train it, the demo's network finds the lungs of every real chest CT at hand.

This trains for minutes, so it runs only where DICOM_ML_FULL_DEMO is set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dicom_ml.cli import main
from tests import judges

for name in ("torch", "monai", "lightning", "scipy", "PIL", "nibabel", "SimpleITK"):
    pytest.importorskip(name, reason="the demo needs dicom-ml[all]")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("DICOM_ML_FULL_DEMO"), reason="takes minutes: set DICOM_ML_FULL_DEMO=1"),
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--output", str(folder)]) == 0
    assert json.loads((folder / "summary.json").read_text())["dice"]["Lungs"] > 0.9
    return folder / "network.pt"


def predicted(network: Path, source: Path, out: Path, *more: str) -> dict[str, Any]:
    if not source.is_dir():
        pytest.skip(f"no {source.name}")
    assert main(["demo", "--source", str(source), "--network", str(network), "--output", str(out), *more]) == 0
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    assert all(summary["checks"].values())
    assert not judges.dciodvfy(out / summary["segmentation"])
    return summary


def test_chest_with_lung_labels(network: Path, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "a_ct" / "cip_chest64"
    labels = str(folder / "nrrd" / "wholeLung-64.nrrd")
    assert predicted(network, folder / "ct-64Dicom", tmp_path, "--labels", labels)["dice"]["Lungs"] >= 0.85


def test_chest_with_thick_slices(network: Path, shared_data: Path, tmp_path: Path) -> None:
    found = predicted(network, shared_data / "a_ct" / "lungdx_A0002_8mm_B40f", tmp_path)
    litre = 8 * 0.646484375**2 * 1e-6
    assert 0.7 < found["voxels"]["Right lung"] * litre < 1.4
    assert 1.1 < found["voxels"]["Left lung"] * litre < 1.9


def test_two_slices_of_a_belly(network: Path, shared_data: Path, tmp_path: Path) -> None:
    found = predicted(network, shared_data / "a_ct" / "cip_chest64" / "simple_dicom", tmp_path)
    assert found["voxels"]["Right lung"] + found["voxels"]["Left lung"] == 0
    assert "No lung was found in this series." in found["notes"]


def test_upper_belly_without_identifiers(network: Path, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "a_ct"
    labels = str(folder / "totalseg_nifti" / "example_seg_dicom.nii.gz")
    found = predicted(network, folder / "totalseg_ct_dicom20", tmp_path, "--repair-uids", "--labels", labels)
    # The reference holds no voxel of lung here; a thimbleful of bowel gas may be taken for some.
    assert found["voxels"]["Right lung"] + found["voxels"]["Left lung"] < 6000
