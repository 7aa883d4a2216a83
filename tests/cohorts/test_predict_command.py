"""``dicom-ml predict --cohort``: Lightning models, checkpoints and MONAI bundles over an index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")
pytest.importorskip("monai")

import numpy as np
import torch

import dicom_ml as dml
from dicom_ml.cli import main
from tests.cohorts.nets import Bright

ROOT = Path(__file__).parents[2]
SETTINGS = """
seed_everything: 0
trainer:
  accelerator: cpu
  devices: 4
  default_root_dir: ROOT
  callbacks:
    - class_path: dicom_ml.callbacks.SegmentationWriter
      init_args:
        output_dir: unused
        segments:
          - {label: Bright, type: "SCT:10200004", category: "SCT:123037004", algorithm: {name: Toy, version: "1"}}
"""
MODEL = """
model:
  class_path: tests.cohorts.nets.Bright
data:
  class_path: dicom_ml.data.VolumeDataModule
  init_args: {train: nowhere}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS.replace("ROOT", str(tmp_path)) + MODEL)
    return path


def test_a_checkpoint_over_an_index_on_two_processes(archive, config, tmp_path, capsys):
    checkpoint = tmp_path / "best.ckpt"
    torch.save({"state_dict": Bright(level=-300.0).state_dict(), "pytorch-lightning_version": "2.0"}, checkpoint)
    out = tmp_path / "out"
    given = ["--cohort", str(archive.index), "--config", str(config), "--ckpt_path", str(checkpoint)]
    command = [sys.executable, "-m", "dicom_ml.cli", "predict", *given, "--output", str(out), "--workers", "2"]
    # as a job of a batch system that started four
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "RANK": "2"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    assert "5 of 6 series done (0 before), 1 failed" in run.stdout
    assert archive.broken in run.stderr and not any(patient in run.stderr for patient in archive.patients)
    uids = archive.check(out)
    with dml.open_index(archive.index) as index:
        rows = {row.series_instance_uid: row for row in index.series()}
    for path in out.rglob("*.dcm"):
        volume = dml.read_volume(rows[path.parent.name])
        found = dml.read_segmentation(path).label_map(on=volume)
        assert np.array_equal(found, volume.array > -300)
    # alone, elsewhere, and in two jobs: the same objects
    capsys.readouterr()
    for rank in range(2):
        main(["predict", *given, "--output", str(tmp_path / "two"), "--shard", f"{rank}/2", "--trainer.devices=1"])
    assert archive.check(tmp_path / "two") == uids
    # another model has other UIDs, and a folder of its own
    assert main(["predict", *given[:4], "--output", str(out)]) == 2
    assert "another model" in capsys.readouterr().err
    # done: nothing but the bad one is looked at again
    assert main(["predict", *given, "--output", str(out)]) == 1
    assert "5 of 6 series done (5 before), 1 failed" in capsys.readouterr().out


def test_a_model_that_fails_on_some_series_goes_on(archive, config, tmp_path, capsys):
    given = ["--cohort", str(archive.index), "--config", str(config), "--output", str(tmp_path / "out")]
    assert main(["predict", *given, "--model.refuse=-1e9"]) == 1
    failed = json.loads((tmp_path / "out" / "cohort.json").read_text())["failed"]
    assert len(failed) == 6
    reasons = {one["reason"] for one in failed if one["series_instance_uid"] != archive.broken}
    (reason,) = reasons
    assert "mat1 and mat2" in reason and "in predict_step" in reason and "Doe" not in reason


def test_a_bundle_over_a_cohort_undoes_its_own_preprocessing(archive, tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    steps = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.1, 1.1, 2.5], "mode": "bilinear"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 1000, "b_min": -1, "b_max": 1},
    ]
    inference = {
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 4], "overlap": 0.25},
        "preprocessing": {"_target_": "Compose", "transforms": steps},
    }
    (bundle / "configs" / "inference.json").write_text(json.dumps(inference))
    torch.save(Bright().layer.state_dict(), bundle / "models" / "model.pt")
    config = tmp_path / "writer.yaml"
    config.write_text(SETTINGS.replace("ROOT", str(tmp_path)))
    lines = tmp_path / "series.txt"
    lines.write_text(str(archive.folder / "s1"))
    given = [
        "--cohort",
        str(lines),
        "--bundle",
        str(bundle),
        "--config",
        str(config),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(["predict", *given]) == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    volume = dml.read_volume(archive.folder / "s1")
    found = dml.read_segmentation(path).label_map(on=volume)
    assert found.shape == volume.array.shape and 0.6 < ((volume.array > 0) == found).mean() < 1


def test_a_bundle_that_is_a_program_runs_by_itself(archive, tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    say = (
        "$dicom_ml.Segmentation.from_array(dicom_ml.read_volume(@series).array > 0, segments=[BRIGHT],"
        " source=dicom_ml.read_volume(@series)).save(@output)"
    )
    inference = {
        "imports": ["$import dicom_ml", "$from tests.cohorts.models import BRIGHT"],
        "series": "",
        "output": "x.seg.dcm",
    }
    (bundle / "configs" / "inference.json").write_text(json.dumps({**inference, "run": [say]}))
    given = ["--cohort", str(archive.index), "--bundle", str(bundle), "--output", str(tmp_path / "out")]
    assert main(["predict", *given, "--shard", "0/3"]) in (0, 1)
    assert {path.name for path in (tmp_path / "out").rglob("*.dcm")} == {"x.seg.dcm"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--shard", "3/2"], "a shard is"),
        (["--shard", "x"], "--shard is I/N"),
        (["--modality", "MR"], "no series of modality MR"),
        (["--ckpt_path", "nowhere.ckpt"], "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_at_once(archive, config, tmp_path, capsys, change, said):
    given = ["--cohort", str(archive.index), "--config", str(config), "--output", str(tmp_path / "out")]
    assert main(["predict", *given, *change]) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_would_write_nothing_is_refused(archive, config, tmp_path, capsys):
    config.write_text("trainer: {accelerator: cpu}\n" + MODEL)
    given = ["--cohort", str(archive.index), "--config", str(config), "--output", str(tmp_path / "out")]
    assert main(["predict", *given]) == 2
    assert "name a writer" in capsys.readouterr().err
    assert main(["predict", "--config", str(config), "--output", "x"]) == 2
    assert "--output goes with --cohort" in capsys.readouterr().err


def test_the_bundle_that_a_recipe_exports_predicts_a_cohort(tmp_path):
    from monai.networks.nets import DenseNet

    from recipes.common.card import ModelCard
    from recipes.pathology.bundle import export_bundle
    from tests.data.slides import make

    network = {"spatial_dims": 2, "in_channels": 3, "out_channels": 3, "init_features": 4, "growth_rate": 2}
    network |= {"block_config": [1]}
    settings = {
        "model": {"init_args": {"network": {"class_path": "monai.networks.nets.DenseNet", "init_args": network}}},
        "data": {"init_args": {"spacing": 0.0005, "tile_size": 64, "min_tissue": 0.1}},
    }
    card = ModelCard("Toy", "1", "tests", "none", "all", versions={"dicom_ml": dml.__version__})
    export_bundle(tmp_path / "bundle", DenseNet(**network), settings, card)
    for number in (1, 2):
        make(tmp_path / "archive", number, (130, 140), patient=str(number), tile=(64, 64))
    given = ["--cohort", str(tmp_path / "archive"), "--bundle", str(tmp_path / "bundle")]
    uids = []
    for name in ("one", "again"):
        assert main(["predict", *given, "--output", str(tmp_path / name)]) == 0
        found = sorted((tmp_path / name).rglob("*.dcm"))
        assert len(found) == 2 and all(dml.validate(path) == [] for path in found)
        uids.append([str(dml.read_segmentation(path).dataset.SOPInstanceUID) for path in found])
    assert uids[0] == uids[1]
