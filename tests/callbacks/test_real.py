"""Real CT series, found in their folders, through a pipeline and back."""

from __future__ import annotations

import warnings

import lightning.pytorch as L
import numpy as np
import pytest
from monai.transforms import Compose, CropForegroundd, Flipd, Orientationd

import dicom_ml as dml
from dicom_ml.callbacks import SegmentationWriter
from dicom_ml.data import VolumeDataModule, find_series
from tests.callbacks.nets import trainer


class Dense(L.LightningModule):
    """Calls dense what is denser than fat."""

    def predict_step(self, batch, batch_idx):
        return (batch["image"] > -500).float()


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["cip_chest64", "lungdx_A0002_8mm_B40f", "slicer_cthead64"])
def test_real_series(shared_data, tmp_path, folder):
    root = shared_data / "a_ct" / folder
    if not root.is_dir():
        pytest.skip(f"no {folder} in the data")
    records = [r for r in find_series(root, modalities=("CT",)) if 2 < len(r["image"]) < 100][:1]
    if not records:
        pytest.skip("no small CT series in the folder")
    pre = Compose(
        [Orientationd("image", axcodes="RAS", labels=None), Flipd("image", 1), CropForegroundd("image", "image", above)]
    )
    body = dml.Segment("Body", "SCT:123037004", "SCT:123037004", algorithm="manual")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = dml.read_volume(records[0]["image"])
        if volume.source.problems:
            pytest.skip("the series cannot be a source")
        writer = SegmentationWriter(tmp_path, [body], transform=pre)
        data = VolumeDataModule(predict=records, eval_transform=pre)
        trainer(tmp_path, [writer]).predict(Dense(), data, return_predictions=False)
    (written,) = writer.written
    found = dml.read_segmentation(written.path).label_map(on=volume)
    assert np.array_equal(found == 1, volume.array > -500)


def above(image):
    return image > -500
