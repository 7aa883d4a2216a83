"""Every prediction lands on its source, once, whatever the batch looks like."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, DivisiblePadd, Flipd, Invertd, Orientationd, Spacingd

import dicom_ml as dml
from dicom_ml.bridge.identity import model_fingerprint
from dicom_ml.callbacks import SegmentationWriter
from dicom_ml.callbacks.manifest import INDEX_NAME
from dicom_ml.data import VolumeDataModule
from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from tests.callbacks.nets import Oracle, trainer

BOTH = ["image", "label"]


def predict(cohort, folder, writer, model=None, *, transform=None, batch=1, workers=0, records=None, **options):
    data = VolumeDataModule(
        predict=cohort.records if records is None else records,
        eval_transform=transform,
        num_workers=workers,
        dataset=options.pop("dataset", None),
        loader={"eval_batch_size": batch} | options.pop("loader", {}),
    )
    model = Oracle() if model is None else model
    trainer(folder, [writer], **options).predict(model, data, return_predictions=False)
    return model


def index_of(folder):
    return json.loads((folder / INDEX_NAME).read_text())


@pytest.mark.parametrize("form", ["logits", "channels", "probabilities", "labels", "mapping", "items"])
@pytest.mark.parametrize("batch", [1, 2])
def test_forms_of_output(cohort, segments, tmp_path, form, batch):
    activation = "sigmoid" if form == "channels" else None
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments, activation=activation), Oracle(form), batch=batch)
    cohort.check(tmp_path)


@pytest.mark.parametrize("kind", ["labelmap", "fractional"])
def test_kinds(cohort, segments, tmp_path, kind):
    activation = "softmax" if kind == "fractional" else None
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments, kind, activation=activation))
    cohort.check(tmp_path)


def test_numbers_of_segments_are_kept(cohort, tmp_path):
    segments = [
        dml.Segment("Liver", "SCT:10200004", "SCT:123037004", algorithm="manual", number=7),
        dml.Segment("Spleen", "SCT:78961009", "SCT:123037004", algorithm="manual", number=5),
    ]
    wanted = {name: np.array([0, 7, 5])[labels] for name, labels in cohort.labels.items()}
    for form, activation in (("logits", None), ("channels", "sigmoid")):
        writer = SegmentationWriter(tmp_path / form, segments, "labelmap", activation=activation)
        predict(cohort, tmp_path, writer, Oracle(form))
        cohort.check(tmp_path / form, wanted)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("workers", [0, 1])
def test_preprocessing_is_undone(cohort, segments, tmp_path, batch, workers):
    pre = Compose(
        [
            Orientationd(BOTH, axcodes="RAS", labels=None),
            Spacingd(BOTH, (0.5, 0.5, 0.5), mode=("bilinear", "nearest")),
            CropForegroundd(BOTH, source_key="label", margin=2),
            Flipd(BOTH, 1),
            DivisiblePadd(BOTH, 32),
        ]
    )
    writer = SegmentationWriter(tmp_path, segments, transform=pre, nearest_interp=True)
    records = cohort.records if batch == 1 else [cohort.records[0]] * 2
    predict(cohort, tmp_path, writer, Oracle("labels"), transform=pre, batch=batch, workers=workers, records=records)
    cohort.check(tmp_path, cohort.labels if batch == 1 else {"a": cohort.labels["a"]})


def test_undone_after_spawned_workers(cohort, segments, tmp_path):
    pre = Compose([Orientationd(BOTH, axcodes="RAS", labels=None), CropForegroundd(BOTH, source_key="label")])
    writer = SegmentationWriter(tmp_path, segments, transform=pre)
    predict(cohort, tmp_path, writer, transform=pre, workers=1, loader={"multiprocessing_context": "spawn"})
    cohort.check(tmp_path)


def test_padding_of_undone_crops_is_background(cohort, segments, tmp_path):
    """What was cropped away comes back as zeros, which as logits of a sigmoid would be above the threshold."""
    pre = Compose([CropForegroundd(BOTH, source_key="label", margin=1)])
    writer = SegmentationWriter(tmp_path, segments, transform=pre, activation="sigmoid")
    predict(cohort, tmp_path, writer, Oracle("channels"), transform=pre)
    cohort.check(tmp_path)


def test_step_that_undoes_itself(cohort, segments, tmp_path):
    pre = Compose([Orientationd(BOTH, axcodes="RAS", labels=None), Spacingd(BOTH, 0.5, mode=("bilinear", "nearest"))])

    class Undoing(Oracle):
        def predict_step(self, batch, batch_idx):
            from monai.data import decollate_batch

            batch["pred"] = batch["label"] * 1
            return [Invertd("pred", transform=pre, orig_keys="image")(item)["pred"] for item in decollate_batch(batch)]

    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Undoing(), transform=pre)
    cohort.check(tmp_path)


def test_without_monai_tensors(cohort, segments, tmp_path):
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), batch=2, dataset={"monai": False})
    cohort.check(tmp_path)


def test_half_precision(cohort, segments, tmp_path):
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), precision="bf16-true")
    cohort.check(tmp_path)


def test_order_and_numbering_play_no_part(cohort, segments, tmp_path):
    """Shuffled batches, two loaders, samplers that repeat: the batch alone says whose prediction it is."""
    from torch.utils.data import DataLoader

    from dicom_ml.data import VolumeDataset, collate_items

    repeated = [cohort.records[i] for i in (2, 0, 2, 1, 0)]
    loaders = [
        DataLoader(VolumeDataset(part), 1, shuffle=True, collate_fn=collate_items)
        for part in (repeated, cohort.records)
    ]

    class TwoLoaders(Oracle):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return self(batch)

    writer = SegmentationWriter(tmp_path, segments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path, [writer]).predict(TwoLoaders(), loaders, return_predictions=False)
    cohort.check(tmp_path)
    assert len(writer.written) == len(index_of(tmp_path)["files"]) == 3


def test_predictions_are_returned_too(cohort, segments, tmp_path):
    data = VolumeDataModule(predict=cohort.records)
    out = trainer(tmp_path, [SegmentationWriter(tmp_path, segments)]).predict(Oracle(), data)
    assert len(out) == 3 and out[0].shape[1] == 3


# ---------------------------------------------------------------------- refusals
def test_collation_that_loses_sources(cohort, segments, tmp_path):
    def first_meta_only(items):
        images = MetaTensor(torch.stack([i["image"].as_tensor() for i in items]), meta=dict(items[0]["image"].meta))
        return {"image": images, "label": torch.stack([i["label"].as_tensor() for i in items]), "case": ["", ""]}

    with pytest.raises(EncodingError, match="2 items and 1 sources"):
        predict(
            cohort, tmp_path, SegmentationWriter(tmp_path, segments), batch=2, loader={"collate_fn": first_meta_only}
        )
    assert not list(tmp_path.glob("*.dcm"))


def test_torchs_own_collation_keeps_sources(cohort, segments, tmp_path):
    """In a process of its own: once MONAI's collation has run, torch knows MetaTensors anyhow."""
    code = f"""
import torch
from torch.utils.data import DataLoader
from dicom_ml.data import VolumeDataset
batch = next(iter(DataLoader(VolumeDataset({cohort.records!r}), 2)))
print(len(set(batch["image"].meta["dicom_source"])), batch["image"].affine.shape)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split(" ", 1) == ["2", "torch.Size([2, 4, 4])\n"]


def test_outputs_that_are_no_predictions(cohort, segments, tmp_path):
    class Loss(Oracle):
        def predict_step(self, batch, batch_idx):
            return self.weight * 1

    with pytest.raises(EncodingError, match=r"return \{'pred': prediction"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Loss())

    class Named(Oracle):
        def predict_step(self, batch, batch_idx):
            return {"mask": self(batch)}

    with pytest.raises(EncodingError, match="name its key with key="):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Named())
    predict(cohort, tmp_path / "named", SegmentationWriter(tmp_path / "named", segments, key="mask"), Named())
    cohort.check(tmp_path / "named")
    with pytest.raises(EncodingError, match="activation='sigmoid'"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Oracle("channels"))


def test_a_network_that_changes_the_shape(cohort, segments, tmp_path):
    class Coarse(Oracle):
        def predict_step(self, batch, batch_idx):
            return MetaTensor(self(batch)[:, :, ::2], meta=dict(batch["image"].meta))

    with pytest.raises(GeometryError, match="not known"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Coarse())


def test_parts_of_a_volume_are_refused(cohort, segments, tmp_path):
    from monai.transforms import SpatialCropd

    parts = [dict(cohort.records[0], case=str(k)) for k in range(2)]  # one source, cut in two places
    cuts = [SpatialCropd(BOTH, roi_start=(0, 0, 6 * k), roi_end=(16, 20, 6 * k + 6)) for k in range(2)]
    with pytest.raises(EncodingError, match="sliding_window_inference"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), transform=Cut(cuts), records=parts)
    assert not list(tmp_path.glob("*.dcm"))


def test_other_preprocessing_is_another_result(cohort, segments, tmp_path):
    for spacing in (0.5, 0.6):
        pre = Compose([Spacingd(BOTH, spacing, mode=("bilinear", "nearest"))])
        writer = SegmentationWriter(tmp_path, segments, transform=pre)
        model = predict(cohort, tmp_path, writer, transform=pre, records=cohort.records[:1])
        assert len(model.steps) == 1
    assert len({pydicom.dcmread(f).SOPInstanceUID for f in tmp_path.glob("*.dcm")}) == 2


class Cut:
    def __init__(self, cuts):
        self.cuts = cuts

    def __call__(self, item):
        return self.cuts[int(item["case"])](item)


def test_batches_that_do_not_say(cohort, segments, tmp_path):
    from torch.utils.data import DataLoader

    data = [{"image": torch.zeros(1, 4, 4, 4), "label": torch.zeros(1, 4, 4, 4), "case": "a"}]
    with pytest.raises(EncodingError, match="which series its images are"):
        trainer(tmp_path, [SegmentationWriter(tmp_path, segments)]).predict(Oracle(), DataLoader(data))


def test_wrong_options(segments, tmp_path):
    for options in ({"stages": "train"}, {"on_error": "ignore"}, {"activation": "relu"}, {"decide": "vote"}):
        with pytest.raises(EncodingError):
            SegmentationWriter(tmp_path, segments, **options)


def test_one_bad_prediction_may_be_skipped(cohort, segments, tmp_path):
    class Half(Oracle):
        def predict_step(self, batch, batch_idx):
            return self(batch) if batch["case"][0] != "b" else self(batch)[:, :, ::2]

    with pytest.warns(DicomMLWarning, match="is not written"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments, on_error="skip"), Half())
    cohort.check(tmp_path, {name: cohort.labels[name] for name in "ac"})
    (failure,) = index_of(tmp_path)["failures"]
    assert failure["failed"] == cohort.uid("b")
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments))
    cohort.check(tmp_path)
    assert index_of(tmp_path)["failures"] == []


# ---------------------------------------------------------------------- again
def test_resumes_without_computing_again(cohort, segments, tmp_path):
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), records=cohort.records[:2])
    before = {f.name: (f.stat().st_mtime_ns, pydicom.dcmread(f).SOPInstanceUID) for f in tmp_path.glob("*.dcm")}
    writer = SegmentationWriter(tmp_path, segments)
    model = predict(cohort, tmp_path, writer)
    assert model.steps == [["c"]]
    assert "predict_step" not in model.__dict__
    cohort.check(tmp_path)
    for name, (time, uid) in before.items():
        assert (tmp_path / name).stat().st_mtime_ns == time
        assert pydicom.dcmread(tmp_path / name).SOPInstanceUID == uid
    assert [w.written for w in writer.written] == [False, False, True]
    assert len(index_of(tmp_path)["files"]) == 3
    forced = predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments, resume=False))
    assert len(forced.steps) == 3
    assert {f.name: pydicom.dcmread(f).SOPInstanceUID for f in tmp_path.glob("*.dcm")}.items() >= {
        (name, uid) for name, (_, uid) in before.items()
    }


def test_other_weights_or_settings_are_other_results(cohort, segments, tmp_path):
    one = cohort.records[:1]
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), records=one)
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), Oracle(weight=2.0), records=one)
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments, threshold=0.4), records=one)
    assert len({pydicom.dcmread(f).SOPInstanceUID for f in tmp_path.glob("*.dcm")}) == 3
    named = tmp_path / "named"
    predict(cohort, named, SegmentationWriter(named, segments, model="v1"), records=one)
    model = predict(cohort, named, SegmentationWriter(named, segments, model="v1"), Oracle(weight=2.0), records=one)
    assert not model.steps and len(list(named.glob("*.dcm"))) == 1


def test_a_broken_file_is_written_anew(cohort, segments, tmp_path):
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments))
    victim = next(tmp_path.glob("*.dcm"))
    victim.write_bytes(b"nonsense")
    model = predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments))
    assert len(model.steps) == 1
    cohort.check(tmp_path)


def test_module_is_left_as_it_was_after_an_error(cohort, segments, tmp_path):
    class Failing(Oracle):
        def predict_step(self, batch, batch_idx):
            if batch["case"][0] == "b":
                raise RuntimeError("out of memory")
            return super().predict_step(batch, batch_idx)

    model = Failing()
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments), model)
    assert "predict_step" not in model.__dict__
    assert not (tmp_path / INDEX_NAME).exists() and len(list(tmp_path.glob("*.dcm"))) == 1
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments))
    assert len(index_of(tmp_path)["files"]) == 3 and not list(tmp_path.glob(".segmentations*"))


def test_index_names_no_patient(cohort, segments, tmp_path):
    predict(cohort, tmp_path, SegmentationWriter(tmp_path, segments))
    text = (tmp_path / INDEX_NAME).read_text()
    assert "Doe" not in text and "Pa" not in text and "1950" not in text and str(tmp_path) not in text
    entry = json.loads(text)["files"][0]
    ds = pydicom.dcmread(tmp_path / entry["file"])
    assert entry["sop_instance_uid"] == ds.SOPInstanceUID and entry["series_instance_uid"] == ds.SeriesInstanceUID
    assert entry["algorithm"] == "TestNet" and entry["algorithm_version"] == "1" and len(entry["model"]) == 16


def test_fingerprint():
    a, b = torch.nn.Conv3d(1, 2, 3), torch.nn.Conv3d(1, 2, 3)
    assert model_fingerprint(a) != model_fingerprint(b)
    b.load_state_dict(a.state_dict())
    assert model_fingerprint(a) == model_fingerprint(b) != model_fingerprint(b.half())


# ---------------------------------------------------------------------- stages
def test_test_stage(cohort, segments, tmp_path):
    data = VolumeDataModule(test=cohort.records)
    trainer(tmp_path, [SegmentationWriter(tmp_path, segments, stages=["test"])]).test(Oracle(), data, verbose=False)
    cohort.check(tmp_path)


def test_stages_that_were_not_asked_for(cohort, segments, tmp_path):
    data = VolumeDataModule(test=cohort.records, val=cohort.records)
    run = trainer(tmp_path, [SegmentationWriter(tmp_path / "out", segments)])
    run.test(Oracle(), data, verbose=False)
    run.validate(Oracle(), data, verbose=False)
    assert not (tmp_path / "out").exists()


def test_other_name_of_lightning(cohort, tmp_path):
    pytest.importorskip("pytorch_lightning")
    code = f"""
import pytorch_lightning as pl, torch
from dicom_ml.callbacks import SegmentationWriter
from dicom_ml.data import VolumeDataModule
class Net(pl.LightningModule):
    def predict_step(self, batch, batch_idx):
        return (batch["image"] > 0).float()
pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[SegmentationWriter(
    {str(tmp_path)!r}, [dict(label="Body", type="SCT:123037004", category="SCT:123037004", algorithm="manual")])]
).predict(Net(), VolumeDataModule(predict={cohort.records[:1]!r}), return_predictions=False)
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = dml.read_segmentation(next(tmp_path.glob("*.dcm"))).label_map(on=cohort.volumes["a"])
    assert ((found == 1) == (cohort.volumes["a"].array > 0)).all()


def test_missing_lightning_says_what_to_install():
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
        "from dicom_ml.errors import MissingPackageError\n"
        "try:\n    from dicom_ml.callbacks import SegmentationWriter\nexcept MissingPackageError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "dicom-ml[lightning]" in out
