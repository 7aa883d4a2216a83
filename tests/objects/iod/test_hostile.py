"""Damaged files: findings or one error that says why, never another exception."""

from __future__ import annotations

import random

import pytest

import dicom_ml as dml

from .made import written

KINDS = ("seg binary", "seg labelmap rle", "slide seg binary", "map", "annotations", "report regions", "capture color")


def damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(132, min(len(out), rng.choice([1000, 6000, len(out)])))
        how = rng.randrange(4)
        if how == 0:
            out[place] = rng.randrange(256)
        elif how == 1:
            out[place : place + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"])
        elif how == 2:
            del out[place : place + rng.randrange(1, 30)]
        else:
            out[place:place] = rng.randbytes(rng.randrange(1, 12))
    return bytes(out[: rng.randrange(200, len(out))] if rng.random() < 0.1 else out)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "seg labelmap rle"])
def test_no_damage_stops_it(kind, made_folder):
    path, source = written(kind, made_folder)
    data, rng = path.read_bytes(), random.Random(kind)
    outcomes = set()
    for _ in range(25):
        try:
            outcomes.add(bool(dml.validate(damaged(data, rng), sources=source)))
        except dml.DicomMLError:
            outcomes.add("refused")
    assert outcomes - {False}


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.95, 0.999])
def test_what_is_cut_off_is_an_error(cut, made_folder, tmp_path):
    path, _ = written("seg binary", made_folder)
    data = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: int(len(data) * cut)])
    try:
        found = dml.validate(tmp_path / "cut.dcm")
    except dml.FileError:
        return
    assert any(f.severity == "error" and ("truncated" in f.message or "cut" in f.message) for f in found)
