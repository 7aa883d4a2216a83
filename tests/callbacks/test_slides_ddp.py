"""Slides over two real processes, and a run that is killed: every tile once, and the same object to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

from dicom_ml.data import TileDataset
from tests.data.slides import make

SCRIPT = Path(__file__).with_name("slide_ddp_run.py")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    root = tmp_path_factory.mktemp("slides")
    return [str(make(root, i + 1, shape, tile=(64, 64))[0]) for i, shape in enumerate([(200, 330), (130, 190)])]


def run(mode, folder, slides, form="dense", overlap=0, check=True):
    folder.mkdir(exist_ok=True)
    settings = folder.parent / f"{folder.name}.json"
    settings.write_text(json.dumps({"slides": slides, "form": form, "overlap": overlap}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "LOCAL_", "NODE_", "WORLD_"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), mode, str(folder), str(settings)],
        capture_output=True, text=True, timeout=300, env=environment, cwd=REPOSITORY,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def seen(folder, mode):
    return [[tuple(t) for t in json.loads(f.read_text())] for f in sorted(folder.glob(f"{mode}-rank*.json"))]


def flat(lists):
    return [one for many in lists for one in many]


def contents(folder):
    """UIDs and pixels of every object, by file name."""
    found = {}
    for file in folder.glob("*.dcm"):
        ds = pydicom.dcmread(file)
        pixels = ds.get("PixelData") or ds.get("FloatPixelData")
        places = [
            (f.PlanePositionSlideSequence[0].RowPositionInTotalImagePixelMatrix,
             f.PlanePositionSlideSequence[0].ColumnPositionInTotalImagePixelMatrix)
            for f in ds.get("PerFrameFunctionalGroupsSequence", [])
        ]  # fmt: skip
        found[file.name] = ds.SOPInstanceUID, ds.SeriesInstanceUID, places, bytes(pixels)
    return found


@pytest.mark.ddp
@pytest.mark.parametrize(("form", "overlap"), [("dense", 0), ("dense", 32), ("values", 0)])
def test_two_processes_and_one_write_the_same(slides, tmp_path, form, overlap):
    run("one", tmp_path / "one", slides, form, overlap)
    run("two", tmp_path / "two", slides, form, overlap)
    expected = contents(tmp_path / "one")
    assert len(expected) == 4 and contents(tmp_path / "two") == expected
    both = seen(tmp_path / "two", "two")
    assert len(both) == 2 and abs(len(both[0]) - len(both[1])) <= 1
    data = TileDataset(slides, 64, overlap=overlap)
    assert max(Counter(both[0] + both[1]).values()) == 1 and len(both[0] + both[1]) == len(data)
    if form == "dense" and not overlap:
        run("plain", tmp_path / "plain", slides, form, overlap)
        assert contents(tmp_path / "plain") == expected
        assert max(Counter(flat(seen(tmp_path / "plain", "plain"))).values()) == 1
    for name in ("segmentations.json", "parametric-maps.json"):
        assert len(json.loads((tmp_path / "two" / name).read_text())["files"]) == 2
    assert not list((tmp_path / "two").glob(".*"))


@pytest.mark.ddp
def test_a_killed_run_goes_on_where_it_stopped(slides, tmp_path):
    form, overlap = "dense", 32
    run("one", tmp_path / "one", slides, form, overlap)
    killed = run("killed", tmp_path / "parts", slides, form, overlap, check=False)
    assert killed.returncode == -9
    run("two", tmp_path / "parts", slides, form, overlap)  # with two processes now
    assert contents(tmp_path / "parts") == contents(tmp_path / "one")
    later = flat(seen(tmp_path / "parts", "two"))
    assert len(set(later)) == len(later) == len(TileDataset(slides, 64, overlap=overlap)) - 12
    assert not list((tmp_path / "parts").glob(".*"))


def test_a_torn_spool_is_believed_as_far_as_it_is_whole(slides, tmp_path):
    """What a crash of the machine leaves: an index that is longer than what reached the disk."""
    run("one", tmp_path / "one", slides)
    assert run("killed", tmp_path / "parts", slides, check=False).returncode == -9
    for frames in (tmp_path / "parts").glob(".*/*.frames"):
        with open(frames, "r+b") as file:
            file.truncate(max(0, frames.stat().st_size - 100))
    run("one", tmp_path / "parts", slides)
    assert contents(tmp_path / "parts") == contents(tmp_path / "one")
    assert 13 <= len(flat(seen(tmp_path / "parts", "one")))
