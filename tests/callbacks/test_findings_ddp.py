"""Reports and annotations over two real processes, and after a kill: each series and tile once, the same objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")

import dicom_ml as dml
from dicom_ml.data import TileDataset
from dicom_ml.geometry import Grid
from tests.callbacks import finding_ddp_run
from tests.callbacks.finding_nets import TRUE
from tests.reading.slides._make import pyramid
from tests.series import write_series

SCRIPT = Path(__file__).with_name("finding_ddp_run.py")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    affine = np.array([[0, 0, 0.7, -80], [0, 0.8, 0, -120], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
    for name in "abc":
        write_series(root / name, Grid((12, 20, 16), affine), name=name, patient=f"P{name}")
    pixels = np.full((150, 200, 3), 250, np.uint8)
    for row, column, side in ((10, 20, 8), (57, 57, 12), (120, 122, 10), (57, 130, 14), (30, 180, 6)):
        pixels[row : row + side, column : column + side] = 20
    slide = pyramid(root / "slide", pixels, spacing=(0.0005, 0.0005), series=7, tile=(64, 64))
    return {"records": [{"image": str(root / n), "case": n} for n in "abc"], "slide": str(slide)}


@pytest.fixture(scope="module")
def one(told, tmp_path_factory):
    """What one process writes."""
    out = tmp_path_factory.mktemp("one")
    finding_ddp_run.main("one", out, told)
    return out


def run(mode, folder, told, check=True):
    folder.mkdir(exist_ok=True)
    settings = folder / "settings.json"
    settings.write_text(json.dumps(told))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "LOCAL_", "NODE_", "WORLD_"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), mode, str(folder), str(settings)],
        capture_output=True, text=True, timeout=300, env=environment, cwd=REPOSITORY,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def contents(folder):
    """All of every object but when it was made, by file name."""
    found = {}
    for file in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(file)
        for element in list(ds):
            if element.VR in ("DA", "TM", "DT"):
                del ds[element.tag]
        found[file.name] = ds.to_json()
    return found


def notes(folder, mode="two"):
    both = [json.loads((folder / f"{mode}-rank{rank}.json").read_text()) for rank in (0, 1)]
    return {key: [tuple(s) if isinstance(s, list) else s for one in both for s in one[key]] for key in both[0]}


def check(folder, told, one):
    ours, theirs = contents(folder), contents(one)
    assert sorted(ours) == sorted(theirs) and len(ours) == 5
    assert ours == theirs
    for record in told["records"]:
        volume = dml.read_volume(record["image"])
        (file,) = (folder / "series").glob(f"{volume.source.series_instance_uid}*.dcm")
        boxes, _, _ = dml.read_report(file, source=volume).boxes()
        np.testing.assert_array_equal(boxes.reshape(-1, 2, 3), TRUE[::-1])
    for name, count in (("series/reports", 3), ("slide/reports", 1), ("slide/annotations", 1)):
        index = json.loads((folder / f"{name}.json").read_text())
        assert len(index["files"]) == count and not index["failures"]
    assert not list(folder.glob("*/.*"))


@pytest.mark.ddp
def test_a_killed_run_goes_on_with_two_processes(told, one, tmp_path):
    assert run("killed", tmp_path, told, check=False).returncode == -9
    assert not list(tmp_path.rglob("*.dcm"))
    run("two", tmp_path, told)
    check(tmp_path, told, one)
    seen = notes(tmp_path)
    # one came twice, and was computed twice unless its report was there by then
    assert set(seen["series"]) == set("abc") and len(seen["series"]) in (3, 4)
    tiles = len(TileDataset([told["slide"]], 64, overlap=24))
    assert len(set(seen["slide"])) == tiles - 6  # the killed run had two batches of three
