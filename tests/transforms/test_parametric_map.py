"""Numbers a voxel on the image's own voxels; the same in Lightning."""

from __future__ import annotations

import pickle

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Invertd, Orientationd, Spacingd, SpatialCropd

import dicom_ml as dml
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.transforms import LoadDicomd, SaveParametricMap, SaveParametricMapd

ADC = dml.Quantity("DCM:113041", "mm2/s", label="ADC")
PROBABILITY = dml.Quantity("DCM:122157", label="probability")


def read(path, case) -> np.ndarray:
    return dml.read_parametric_map(path).channels(on=case.volume)


def two_channels(item):
    """The image, scaled in two ways, as a prediction."""
    image = item["image"]
    item["pred"] = MetaTensor(torch.cat([image / 1000, image / 4096 + 0.5]), meta=dict(image.meta))
    return item


@pytest.mark.parametrize("options", [{}, {"dtype": "uint16", "value_range": (-2, 4), "compression": "rle"}])
def test_round_trip(case, tmp_path, options):
    item = two_channels(LoadDicomd("image")({"image": str(case.series)}))
    out = SaveParametricMapd("pred", [ADC, PROBABILITY], tmp_path, **options)(item)
    (file,) = tmp_path.glob("*.pm.dcm")
    assert out["pred"].meta["saved_to"] == str(file)
    assert out["pred"].meta["saved_sop_instance_uid"] == pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID
    found = read(file, case)
    tolerance = 1e-6 if not options else 6 / 65535
    np.testing.assert_allclose(found[0], case.volume.array / 1000, atol=tolerance)
    np.testing.assert_allclose(found[1], case.volume.array / 4096 + 0.5, atol=tolerance)
    # again, the very same file
    before = file.name, pydicom.dcmread(file).SOPInstanceUID
    SaveParametricMapd("pred", [ADC, PROBABILITY], tmp_path, **options)(item)
    assert [(f.name, pydicom.dcmread(f).SOPInstanceUID) for f in tmp_path.glob("*.dcm")] == [before]


def test_preprocessing_is_undone(case, tmp_path):
    pre = Compose([LoadDicomd("image"), Orientationd("image", axcodes="RAS", labels=None), Flipd("image", 0)])
    post = Compose(
        [
            two_channels,
            Invertd("pred", transform=pre, orig_keys="image", nearest_interp=False),
            SaveParametricMapd("pred", PROBABILITY, tmp_path, channels=[1]),
        ]
    )
    out = post(pre({"image": str(case.series)}))
    np.testing.assert_allclose(read(out["pred"].meta["saved_to"], case)[0], case.volume.array / 4096 + 0.5, atol=1e-6)


def test_parts_and_other_grids(case, tmp_path):
    cut = Compose([LoadDicomd("image"), SpatialCropd("image", roi_start=(2, 3, 1), roi_end=(12, 15, 9))])
    image = cut({"image": str(case.series)})["image"]
    path = SaveParametricMap(ADC, tmp_path, unit="mm2/s")(image).meta["saved_to"]
    found = read(path, case)[0]
    inside = np.zeros(found.shape, bool)
    inside[1:9, 3:15, 2:12] = True
    np.testing.assert_allclose(found[inside], case.volume.array[inside], rtol=1e-6)
    assert not found[~inside].any()
    coarse = Compose([LoadDicomd("image"), Spacingd("image", (1.5, 1.5, 3.0))])({"image": str(case.series)})["image"]
    with pytest.raises(GeometryError, match="does not lie on its source's voxels"):
        SaveParametricMap(ADC, tmp_path)(coarse)
    path = SaveParametricMap(ADC, tmp_path / "own", on_mismatch="own-grid")(coarse).meta["saved_to"]
    assert dml.read_parametric_map(path).grid.shape == tuple(coarse.shape[:0:-1])


def test_two_keys_settings_and_refusals(case, tmp_path):
    item = LoadDicomd("image")({"image": str(case.series)})
    item["a"] = item["image"] * 1
    item["b"] = item["image"] * 2
    pickle.loads(pickle.dumps(SaveParametricMapd(["a", "b"], ADC, tmp_path)))(item)
    assert len(list(tmp_path.glob("*.dcm"))) == 2
    from_text = SaveParametricMap({"concept": "DCM:113041", "unit": "mm2/s", "label": "ADC"}, tmp_path / "c")
    assert from_text.output.quantities == (ADC,)
    with pytest.raises(EncodingError, match="1 channels, 2 quantities"):
        SaveParametricMap([ADC, PROBABILITY], tmp_path)(item["image"])
    with pytest.raises(EncodingError, match="which series"):
        SaveParametricMap(ADC, tmp_path)(torch.zeros(1, 4, 4, 4), affine=np.eye(4))
    plain = {"image": item["image"], "pred": item["image"].as_tensor() / 10}
    out = SaveParametricMapd("pred", ADC, tmp_path / "plain")(plain)
    np.testing.assert_allclose(read(out["pred_meta_dict"]["saved_to"], case)[0], case.volume.array / 10, rtol=1e-5)


def test_writer_of_volumes(case, tmp_path):
    pytest.importorskip("lightning.pytorch")
    import lightning.pytorch as L

    from dicom_ml.callbacks import ParametricMapWriter
    from dicom_ml.data import VolumeDataModule

    class Net(L.LightningModule):
        def predict_step(self, batch, batch_idx):
            return batch["image"].as_tensor() / 1000

    for _ in range(2):
        writer = ParametricMapWriter(tmp_path, ADC)
        trainer = L.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[writer]
        )
        trainer.predict(Net(), VolumeDataModule(predict=[str(case.series)]), return_predictions=False)
    assert [w.written for w in writer.written] == [False]
    np.testing.assert_allclose(read(writer.written[0].path, case)[0], case.volume.array / 1000, atol=1e-6)
