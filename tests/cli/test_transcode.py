"""``dicom-ml transcode``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.cli.commands import transcode as command
from dicom_ml.encoding.transcoding import TARGETS


def test_a_series_stays_what_it_is(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcode", str(series), str(tmp_path / "out"), "--to", "htj2k", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"transcoded": 6}
    assert told["bytes_after"] == sum(file["bytes_after"] for file in told["files"]) > 0 < told["bytes_before"]
    before, after = dml.read_volume(series), dml.read_volume(tmp_path / "out")
    assert np.array_equal(before.array, after.array)
    assert before.source.sop_instance_uids == after.source.sop_instance_uids
    assert main(["transcode", str(series), str(tmp_path / "out"), "--to", "htj2k"]) == 0
    assert "6 there" in capsys.readouterr().out


def test_segmentations_too(seg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcode", str(seg), str(tmp_path / "a.dcm"), "--to", "rle"]) == 0
    before, after = dml.read_segmentation(seg), dml.read_segmentation(tmp_path / "a.dcm")
    assert np.array_equal(before.label_map(), after.label_map())
    assert main(["transcode", str(seg), str(tmp_path / "b.dcm"), "--to", "jpeg-ls", "--unsuitable", "refuse"]) in (0, 1)
    assert main(["transcode", str(tmp_path / "none"), str(tmp_path / "c"), "--to", "rle"]) == 2


def test_its_choices_are_those_of_the_function() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (action,) = [a for a in parser._actions if a.dest == "to"]
    assert set(action.choices or ()) == set(TARGETS)
