"""Two real processes over gloo, and a run that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

SCRIPT = Path(__file__).with_name("ddp_run.py")
REPOSITORY = Path(__file__).resolve().parents[2]


def run(mode: str, folder: Path, cohort, check: bool = True) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    coded = {"category": "SCT:123037004", "algorithm": {"name": "TestNet", "version": "1"}}
    segments = [
        {"label": "Liver", "type": "SCT:10200004", **coded},
        {"label": "Spleen", "type": "SCT:78961009", **coded},
    ]
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"records": cohort.records, "segments": segments}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "LOCAL_", "NODE_", "WORLD_"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), mode, str(folder), str(settings)],
        capture_output=True, text=True, timeout=300, env=environment, cwd=REPOSITORY,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def notes(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def wanted(cohort) -> dict:
    return {n: (m if n != "b" else m * (m != 2)) for n, m in cohort.labels.items()}


def check_index(folder: Path) -> None:
    index = json.loads((folder / "segmentations.json").read_text())
    assert sorted(e["file"] for e in index["files"]) == sorted(f.name for f in folder.glob("*.dcm"))
    assert not list(folder.glob(".*"))


@pytest.mark.ddp
@pytest.mark.parametrize("mode", ["predict", "padded", "everything"])
def test_each_source_once(cohort, tmp_path, mode):
    run(mode, tmp_path, cohort)
    cohort.check(tmp_path, wanted(cohort))
    check_index(tmp_path)
    steps = [note["steps"] for note in notes(tmp_path)]
    assert set(steps[0]) | set(steps[1]) == set("abc")
    if mode == "predict":
        assert len(steps[0]) + len(steps[1]) == 3
    assert {note["backend"] for note in notes(tmp_path)} == {"gloo"}


@pytest.mark.ddp
def test_validation_pads_but_counts_once(cohort, tmp_path):
    run("validate", tmp_path, cohort)
    cohort.check(tmp_path, wanted(cohort))
    check_index(tmp_path)
    both = notes(tmp_path)
    assert sum(len(note["steps"]) for note in both) == 4  # three cases for two processes: one came twice
    for note in both:
        assert note["metrics"]["val_dice"] == pytest.approx((1 + 2 / 3) / 2)
        assert note["metrics"]["val_dice/Spleen"] == pytest.approx(2 / 3)


@pytest.mark.ddp
def test_one_process_and_two_write_the_same_uids(cohort, tmp_path):
    uids = []
    for mode, folder in (("predict", tmp_path / "two"), ("everything", tmp_path / "each")):
        run(mode, folder, cohort)
        uids.append({f.name: pydicom.dcmread(f).SOPInstanceUID for f in folder.glob("*.dcm")})
    assert uids[0] == uids[1]


def test_a_killed_run_goes_on_where_it_stopped(cohort, tmp_path):
    killed = run("killed", tmp_path, cohort, check=False)
    assert killed.returncode == -9
    (first,) = tmp_path.glob("*.dcm")
    before = first.stat().st_mtime_ns, pydicom.dcmread(first).SOPInstanceUID
    assert not (tmp_path / "segmentations.json").exists()
    run("predict", tmp_path, cohort)  # with two processes now
    cohort.check(tmp_path, wanted(cohort))
    check_index(tmp_path)
    assert (first.stat().st_mtime_ns, pydicom.dcmread(first).SOPInstanceUID) == before
    steps = [c for note in notes(tmp_path) for c in note["steps"]]
    assert sorted(steps) == ["b", "c"]
