"""Validation cases and their Dice, while training goes on."""

from __future__ import annotations

import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import dicom_ml as dml
from dicom_ml.callbacks import SegmentationWriter, ValidationWriter
from dicom_ml.callbacks.validation import dice_scores
from dicom_ml.data import VolumeDataModule
from dicom_ml.errors import EncodingError
from tests.callbacks.nets import Oracle, trainer


class HalfRight(Oracle):
    """Leaves the spleen out of case b."""

    def forward(self, batch):
        out = super().forward(batch)
        for number, name in enumerate(batch["case"]):
            if name == "b":
                out[number, 2] = -99
        return out


def data(cohort):
    return VolumeDataModule(train=cohort.records[:1], val=cohort.records)


def test_dice_and_files_of_a_validation(cohort, segments, tmp_path):
    writer = ValidationWriter(tmp_path, segments)
    (metrics,) = trainer(tmp_path, [writer]).validate(HalfRight(), data(cohort), verbose=False)
    assert metrics["val_dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["val_dice/Liver"] == 1 and metrics["val_dice/Spleen"] == pytest.approx(2 / 3)
    cohort.check(tmp_path, {n: (m if n != "b" else m * (m != 2)) for n, m in cohort.labels.items()})


def test_training_has_a_folder_an_epoch_and_no_sanity_files(cohort, segments, tmp_path):
    writer = ValidationWriter(tmp_path / "val", segments, every_n_epochs=2)
    keep = ModelCheckpoint(tmp_path / "ckpt", monitor="val_dice", mode="max")
    run = trainer(tmp_path, [writer, keep], max_epochs=4, enable_checkpointing=True, num_sanity_val_steps=2)
    run.fit(Oracle(), data(cohort))
    assert sorted(p.name for p in (tmp_path / "val").iterdir()) == ["epoch-0001", "epoch-0003"]
    cohort.check(tmp_path / "val" / "epoch-0003")
    assert keep.best_model_score == 1
    checkpoint = torch.load(keep.best_model_path, weights_only=True)
    assert "state_dict" in checkpoint
    Oracle.load_from_checkpoint(keep.best_model_path, weights_only=True)


@pytest.mark.parametrize("kind", ["labelmap", "fractional"])
def test_kinds_of_files_do_not_change_dice(cohort, segments, tmp_path, kind):
    activation = "softmax" if kind == "fractional" else None
    writer = ValidationWriter(tmp_path, segments, kind, activation=activation)
    (metrics,) = trainer(tmp_path, [writer]).validate(Oracle(), data(cohort), verbose=False)
    assert metrics["val_dice"] == 1
    cohort.check(tmp_path)


def test_selected_cases(cohort, segments, tmp_path):
    first = cohort.uid("a")
    for number, (cases, wanted) in enumerate(
        [
            ([first], "a"),
            (first, "a"),
            (lambda source: source.series_instance_uid != first, "bc"),
            ((), ""),
            (1.0, "abc"),
        ]
    ):
        folder = tmp_path / str(number)
        writer = ValidationWriter(folder, segments, cases=cases)
        (metrics,) = trainer(tmp_path, [writer]).validate(HalfRight(), data(cohort), verbose=False)
        assert len(list(folder.glob("*.dcm"))) == len(wanted)
        assert metrics["val_dice"] == pytest.approx((1 + 2 / 3) / 2)  # of all cases, written or not


def test_without_labels_or_dice(cohort, segments, tmp_path):
    class FromImage(Oracle):
        def validation_step(self, batch, batch_idx):
            return (batch["image"] > 500).float()

    plain = VolumeDataModule(val=[r["image"] for r in cohort.records])
    body = [dml.Segment("Body", "SCT:123037004", "SCT:123037004", algorithm="manual")]
    (metrics,) = trainer(tmp_path, [ValidationWriter(tmp_path / "a", body)]).validate(
        FromImage(), plain, verbose=False
    ) or [{}]
    assert "val_dice" not in metrics and len(list((tmp_path / "a").glob("*.dcm"))) == 3
    writer = ValidationWriter(tmp_path / "b", segments, dice=False)
    (metrics,) = trainer(tmp_path, [writer]).validate(Oracle(), data(cohort), verbose=False) or [{}]
    assert "val_dice" not in metrics


def test_segmentation_writer_in_validation(cohort, segments, tmp_path):
    writer = SegmentationWriter(tmp_path, segments, stages="validate")
    trainer(tmp_path, [writer]).validate(Oracle(), data(cohort), verbose=False)
    cohort.check(tmp_path)


def test_step_that_returns_its_loss_only(cohort, segments, tmp_path):
    class Loss(Oracle):
        def validation_step(self, batch, batch_idx):
            return self.weight * 0

    with pytest.raises(EncodingError, match="'loss': loss"):
        trainer(tmp_path, [ValidationWriter(tmp_path, segments)]).validate(Loss(), data(cohort), verbose=False)


def test_dice_scores():
    pred = torch.tensor([[0, 1, 1, 2]])
    label = torch.tensor([[0, 1, 2, 2]])
    scores = dice_scores(pred, label, [1, 2, 3])
    assert scores[:2] == [pytest.approx(2 / 3), pytest.approx(2 / 3)] and math.isnan(scores[2])
    channels = torch.stack([label[0] == i for i in range(4)])
    assert dice_scores(pred, channels, [1, 2, 3])[:2] == scores[:2]
    assert dice_scores(channels[1:], channels, [1, 2, 3])[:2] == [1, 1]
    with pytest.raises(EncodingError, match="channels for 3 segments"):
        dice_scores(channels[:2], label, [1, 2, 3])
