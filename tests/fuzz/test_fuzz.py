"""A short campaign of damaged files, the same every time; ``python -m tests.fuzz.campaign`` runs a long one."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.phantom import axial_affine, write_ct_series
from tests.conftest import data_folder
from tests.fuzz.campaign import run, seeds
from tests.fuzz.mutations import mutate
from tests.reading.slides import _make as make

pytestmark = pytest.mark.skipif(os.name != "posix", reason="watches a process by signals and limits")
SECONDS = 20
SMALL = 60_000


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small file of every kind that the project writes."""
    folder = tmp_path_factory.mktemp("fuzz")
    array = np.random.default_rng(0).integers(-1000, 400, (3, 12, 10)).astype(np.float32)
    write_ct_series(folder / "ct", array, axial_affine(array.shape, (2.5, 0.8, 0.9), (0, 0, 0)), "fuzz")
    volume = dml.read_volume(folder / "ct")
    made_by = dml.Algorithm("Net", "1.0")
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=made_by)
    mask = (array > 0).astype(np.uint8)
    for kind, compression in (("binary", None), ("labelmap", "rle"), ("fractional", None)):
        made = dml.Segmentation.from_array(mask, source=volume, segments=[segment], kind=kind)
        made.save(folder / f"{kind}.dcm", compression=compression)
    dml.ParametricMap.from_array(array, source=volume, quantity="DCM:113041", unit="mm2/s").save(folder / "pm.dcm")
    group = dml.MeasurementGroup(
        finding="SCT:27925004", tracking_id="Nodule 1", region=dml.Box((0, 1, 2), (2, 5, 6)),
        measurements=[dml.Measurement("SCT:81827009", 7.3, "mm")],
    )  # fmt: skip
    dml.Report(source=volume, algorithm=made_by, groups=[group]).save(folder / "sr.dcm")
    make.pyramid(folder / "sm", make.smooth((60, 70), 1), (1, 2))
    slide = dml.open_slide(folder / "sm")
    points = np.random.default_rng(1).random((30, 2)).astype(np.float32) * 50
    nuclei = dml.AnnotationGroup(
        "Nuclei", type="SCT:84640000", graphic="polygon", points=points, offsets=np.arange(0, 30, 3), algorithm=made_by
    )
    dml.Annotations.from_groups([nuclei], source=slide).save(folder / "ann.dcm")
    return folder


def test_damaged_files_are_read_or_refused(own):
    files = seeds(data_folder(), own, largest=SMALL)
    assert len({kind for _, kind in files}) >= 6
    # our own kinds first, then the world's, so that a slow machine has tried all that are written here
    mine = [(path, kind) for path, kind in files if own in path.parents]
    others = [(path, kind) for path, kind in files if own not in path.parents]
    jobs = [(path, kind, seed) for seed in range(12) for path, kind in mine]
    jobs += [(path, kind, seed) for seed in range(100, 103) for path, kind in others]
    found = run(jobs, time.monotonic() + SECONDS)
    assert found.tried > len(mine)
    assert found.refused and found.read  # both happen, or the damage is none, or all
    assert not found.findings, json.dumps(found.findings[:3], indent=1)


def test_the_watch_sees_what_it_watches_for(tmp_path, monkeypatch, own):
    """A reader that crashes, raises anything or eats memory is found."""
    good = own / "sr.dcm"
    changed = [seed for seed in range(40) if len(mutate(good.read_bytes(), seed)) != good.stat().st_size]
    monkeypatch.setenv("DICOM_ML_FUZZ_SIZE", str(good.stat().st_size))
    for target, expected in (
        ("crash", "process ended"), ("raise", "KeyError"), ("memory", "memory"), ("leak", "a long message"),
    ):  # fmt: skip
        monkeypatch.setenv("DICOM_ML_FUZZ_TEST", target)
        found = run([(good, "self test", changed[0]), (good, "self test", changed[1])])
        assert any(finding["result"].startswith(expected) for finding in found.findings), (target, found)


def test_damage_is_the_same_for_the_same_seed():
    data = bytes(range(256)) * 20
    assert mutate(data, 3) == mutate(data, 3)
    assert len({mutate(data, seed) for seed in range(50)}) > 40
