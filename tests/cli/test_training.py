"""LightningCLI over files: training, prediction with a writer of DICOM, evaluation."""

from __future__ import annotations

import pytest

pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")

import dicom_ml as dml
from dicom_ml.cli import main
from tests.data.slides import make

SETTINGS = """
seed_everything: 0
recipe: {data: toy}
trainer:
  accelerator: cpu
  devices: 1
  max_epochs: 1
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  default_root_dir: OUT
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: OUT, filename: last}
    - class_path: dicom_ml.callbacks.SegmentationWriter
      init_args:
        output_dir: OUT/out
        kind: fractional
        activation: softmax
        key: pred
        segments:
          - {label: A, type: "SCT:85756007", category: "SCT:85756007", algorithm: {name: Toy, version: "1"}}
          - {label: B, type: "SCT:108369006", category: "SCT:49755003", algorithm: {name: Toy, version: "1"}}
model:
  class_path: recipes.pathology.model.TileClassifier
  init_args:
    classes: [a, b]
    network:
      class_path: monai.networks.nets.DenseNet
      init_args:
        {spatial_dims: 2, in_channels: 3, out_channels: 2, init_features: 4, growth_rate: 2, block_config: [1]}
data:
  class_path: dicom_ml.data.TileDataModule
  init_args:
    train: [{image: SLIDE1, label: 0}, {image: SLIDE2, label: 1}]
    val: [{image: SLIDE1, label: 0}, {image: SLIDE2, label: 1}]
    test: [{image: SLIDE1, label: 0}, {image: SLIDE2, label: 1}]
    predict: [{image: SLIDE1}]
    tile_size: 64
    batch_size: 8
"""


def test_a_file_of_settings_trains_predicts_and_evaluates(tmp_path):
    pytest.importorskip("monai")
    text = SETTINGS.replace("OUT", str(tmp_path))
    for number in (1, 2):
        folder, _ = make(tmp_path, number, (130, 140), patient=str(number), tile=(64, 64))
        text = text.replace(f"SLIDE{number}", str(folder))
    config = tmp_path / "settings.yaml"
    config.write_text(text)
    assert main(["train", "--config", str(config), "--trainer.max_epochs", "2"]) == 0
    checkpoint = str(tmp_path / "last.ckpt")
    assert main(["predict", "--config", str(config), "--ckpt_path", checkpoint, "--return_predictions=false"]) == 0
    (file,) = (tmp_path / "out").glob("*.seg.dcm")
    seg = dml.read_segmentation(file)
    assert [segment.label for segment in seg.segments] == ["A", "B"] and seg.grid.shape[1:] == (3, 3)
    assert main(["evaluate", "--config", str(config), "--ckpt_path", checkpoint]) == 0


def test_other_commands_refuse_what_they_do_not_know(capsys):
    with pytest.raises(SystemExit):
        main(["info", "x", "--nothing", "1"])
    assert "--nothing" in capsys.readouterr().err
