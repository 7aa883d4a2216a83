"""The handle of the source survives whatever MONAI and torch do to an item between loading and saving."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    PersistentDataset,
    decollate_batch,
    list_data_collate,
)
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    Orientationd,
    RandCropByPosNegLabeld,
    ScaleIntensityRanged,
    Spacingd,
)
from torch.utils.data import default_collate

from dicom_ml.transforms import LoadDicomd, LoadSegmentationd, SaveSegmentationd

BOTH = ["image", "label"]


def preprocessing() -> Compose:
    return Compose(
        [
            LoadDicomd("image"),
            LoadSegmentationd("label", on="image"),
            EnsureChannelFirstd(BOTH),
            Orientationd(BOTH, axcodes="RAS", labels=None),
            ScaleIntensityRanged("image", -1000, 1000, 0, 1, clip=True),
            EnsureTyped(BOTH),
        ]
    )


def finish(batch, pre, segments, folder):
    post = Compose([Invertd("pred", transform=pre, orig_keys="image"), SaveSegmentationd("pred", segments, folder)])
    batch["pred"] = batch["label"] * 1
    return [post(item) for item in decollate_batch(batch)]


def check(done, cases):
    assert len(done) == len(cases)
    for item, case in zip(done, cases, strict=True):
        assert np.array_equal(case.read(item["pred"].meta["saved_to"]), case.labels)


def test_collate_and_decollate(case, other):
    items = [preprocessing()(c.record) for c in (case, other)]
    for collate in (list_data_collate, default_collate):
        batch = collate(items)
        assert batch["image"].meta["dicom_source"] == [i["image"].meta["dicom_source"] for i in items]
        for item, back in zip(items, decollate_batch(batch), strict=True):
            for key in ("dicom_source", "modality", "unit", "series_instance_uid", "space", "filename_or_obj"):
                assert back["image"].meta[key] == item["image"].meta[key], key
            assert torch.equal(back["image"].affine, item["image"].affine)
            assert back["image"].meta["spatial_shape"].tolist() == item["image"].meta["spatial_shape"].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers(case, other, segments, tmp_path, workers):
    pre = preprocessing()
    loader = DataLoader(Dataset([case.record, other.record], pre), batch_size=2, num_workers=workers)
    check(finish(next(iter(loader)), pre, segments, tmp_path), [case, other])


def test_spawned_workers(case, other, segments, tmp_path):
    """MONAI's Invertd knows transforms by id, which no spawned process shares; naming the method globally helps it."""
    pre = preprocessing()
    data = Dataset([case.record, other.record], pre)
    loader = DataLoader(data, batch_size=1, num_workers=2, multiprocessing_context="spawn")
    batches = list(loader)
    assert [b["image"].meta["series_instance_uid"][0] for b in batches] == [
        c.volume.source.series_instance_uid for c in (case, other)
    ]
    for one, batch in zip((case, other), batches, strict=True):
        # no inversion needed: the affine says where the voxels belong
        saved = SaveSegmentationd("label", segments, tmp_path)(decollate_batch(batch)[0])
        assert np.array_equal(one.read(saved["label"].meta["saved_to"]), one.labels)


def test_persistent_dataset(case, other, segments, tmp_path):
    pre = preprocessing()
    records = [case.record, other.record]
    PersistentDataset(records, pre, tmp_path / "cache", track_meta=True)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Corrupt cache file")  # what MONAI says of meta it cannot load
        again = PersistentDataset(records, preprocessing(), tmp_path / "cache", track_meta=True)
        first, second = again[0], again[1]
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert first["image"].meta["dicom_source"] == case.volume.source.to_string()
    check(finish(list_data_collate([first, second]), pre, segments, tmp_path / "out"), [case, other])


def test_cache_dataset(case, segments, tmp_path):
    pre = preprocessing()
    data = CacheDataset([case.record], pre, num_workers=1, progress=False)
    check(finish(list_data_collate([data[0]]), pre, segments, tmp_path), [case])


def test_network_and_samples(case, segments, tmp_path):
    """Through a real network; a crop of several samples stays where it was cut."""
    pre = Compose(
        [
            *preprocessing().transforms,
            RandCropByPosNegLabeld(BOTH, "label", (8, 8, 4), num_samples=3, image_key="image"),
        ]
    )
    loader = DataLoader(Dataset([case.record], pre), batch_size=1)
    batch = next(iter(loader))
    assert batch["image"].shape == (3, 1, 8, 8, 4)
    net = UNet(3, 1, 3, (4, 8), (2,))
    with torch.no_grad():
        batch["pred"] = net(batch["image"]).argmax(1, keepdim=True)
    for k, item in enumerate(decollate_batch(batch)):
        item["truth"] = item["label"]
        done = SaveSegmentationd(["pred", "truth"], segments, tmp_path / str(k))(item)
        found = case.read(done["truth"].meta["saved_to"])
        assert (found == case.labels)[found != 0].all()
        assert (found != 0).sum() == (item["label"] != 0).sum()


def test_lazy_resampling(case, segments, tmp_path):
    """MONAI's lazy mode interpolates labels, whatever their mode; what it moves still comes back to its place."""
    pre = Compose(
        [
            LoadDicomd("image"),
            LoadSegmentationd("label", segments={"Liver": 1, "Spleen": 1}),
            Orientationd(BOTH, axcodes="RAS", labels=None),
            Spacingd(BOTH, (0.5, 0.5, 0.5), mode=("bilinear", "nearest")),
            CropForegroundd(BOTH, source_key="label", margin=2),
        ],
        lazy=True,
    )
    item = pre(case.record)
    item["pred"] = item["label"].round()
    post = Compose([Invertd("pred", transform=pre, orig_keys="image"), SaveSegmentationd("pred", segments, tmp_path)])
    found, wanted = case.read(post(item)["pred"].meta["saved_to"]), case.labels > 0
    assert (found == wanted).mean() > 0.97
    for axis in range(3):
        for step in (-1, 1):
            assert (np.roll(found, step, axis) == wanted).sum() < (found == wanted).sum()


def test_items_load_with_weights_only(case, tmp_path):
    torch.save(preprocessing()(case.record), tmp_path / "item.pt")
    item = torch.load(tmp_path / "item.pt", weights_only=True)
    assert item["image"].meta["dicom_source"].startswith("dml1:")
