"""Items are whole, in any process, and a bad study stops nobody."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import dicom_ml as dml
from dicom_ml.data import VolumeDataset, collate_items
from dicom_ml.errors import DicomMLWarning, EncodingError, SeriesError
from dicom_ml.source import SourceSeries

monai_data = pytest.importorskip("monai.data")


def test_items_with_monai(records):
    item = VolumeDataset(records)[1]
    volume = dml.read_volume(records[1]["image"])
    assert isinstance(item["image"], monai_data.MetaTensor)
    assert np.array_equal(item["image"].numpy()[0].transpose(2, 1, 0), volume.array)
    assert item["label"].shape == item["image"].shape and item["patient"] == "b"
    assert SourceSeries.from_string(item["label"].meta["dicom_source"]) == volume.source


def test_items_without_monai(records):
    item = VolumeDataset(records, monai=False)[1]
    volume = dml.read_volume(records[1]["image"])
    label = dml.read_segmentation(records[1]["label"]).label_map(on=volume)
    assert type(item["image"]) is torch.Tensor
    assert np.array_equal(item["image"].numpy()[0], volume.array) and np.array_equal(item["label"].numpy()[0], label)
    assert np.array_equal(item["affine"].numpy(), volume.affine)
    assert SourceSeries.from_string(item["dicom_source"]) == volume.source
    batch = torch.utils.data.default_collate([item, VolumeDataset(records, monai=False)[2]])
    assert batch["image"].shape == (2, 1, 12, 20, 16) and batch["affine"].shape == (2, 4, 4)


def test_paths_alone_and_options(records):
    data = VolumeDataset([r["image"] for r in records], read={"units": "stored"})
    assert len(data) == 4 and data[-1]["image"].dtype == torch.int16
    channels = VolumeDataset(records, labels={"segments": ["Liver", "Liver"], "kind": "channels"})[0]["label"]
    assert channels.shape[0] == 2 and channels.dtype == torch.bool
    with pytest.raises(EncodingError, match="unknown options"):
        VolumeDataset(records, labels={"segment": 1})
    with pytest.raises(SeriesError, match="names no 'image'"):
        VolumeDataset([{"img": 1}])
    with pytest.raises(SeriesError, match="find_series"):
        VolumeDataset("folder")
    with pytest.raises(IndexError):
        data[4]


def test_transform_that_loads_itself(records):
    from monai.transforms import Compose, Flipd

    from dicom_ml.transforms import LoadDicomd, LoadSegmentationd

    loads = Compose([LoadDicomd("image"), LoadSegmentationd("label"), Flipd(["image", "label"], 0)])
    given = Compose([Flipd(["image", "label"], 0)])
    assert not VolumeDataset(records, loads).loads and VolumeDataset(records, given).loads
    a, b = VolumeDataset(records, loads)[0], VolumeDataset(records, given)[0]
    for key in ("image", "label"):
        assert torch.equal(a[key].as_tensor(), b[key].as_tensor()) and torch.equal(a[key].affine, b[key].affine)
        assert a[key].meta["dicom_source"] == b[key].meta["dicom_source"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("monai", [True, False])
def test_workers(records, method, monai):
    data = VolumeDataset(records, monai=monai)
    loader = DataLoader(data, 2, num_workers=2, collate_fn=collate_items, multiprocessing_context=method)
    batches = list(loader)
    assert [p for batch in batches for p in batch["patient"]] == list("abcd")
    whole = torch.cat([torch.as_tensor(batch["image"]) for batch in batches])
    assert torch.equal(whole, torch.stack([torch.as_tensor(item["image"]) for item in data]))


def test_spawned_items_can_be_inverted(records):
    """Transforms are known by id, which a spawned process does not share."""
    from monai.transforms import Compose, Flipd, Invertd, Orientationd

    pre = Compose([Orientationd(["image", "label"], axcodes="RAS", labels=None), Flipd(["image", "label"], 1)])
    data = VolumeDataset(records[:2], pre)
    loader = DataLoader(data, 1, num_workers=1, collate_fn=collate_items, multiprocessing_context="spawn")
    for batch, record in zip(loader, records, strict=False):
        item = monai_data.decollate_batch(batch)[0]
        back = Invertd("label", transform=pre, orig_keys="image")(item)["label"]
        wanted = VolumeDataset([record])[0]["label"]
        assert torch.equal(back.as_tensor().int(), wanted.as_tensor().int())
        assert torch.allclose(back.affine, wanted.affine)


# ---------------------------------------------------------------------- bad studies
@pytest.fixture
def damaged(records, tmp_path):
    """The cohort with one study that has a hole, and one that is not there."""
    hole = tmp_path / "hole"
    hole.mkdir()
    files = sorted(records[1]["image"].iterdir(), key=lambda f: position(f))
    for number, file in enumerate(files):
        if number != 6:
            (hole / file.name).write_bytes(file.read_bytes())
    return [records[0], {"image": hole, "patient": "hole"}, records[2], {"image": tmp_path / "absent", "patient": "x"}]


def position(file):
    import pydicom

    return float(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2])


def without_labels(records):
    return [{k: v for k, v in r.items() if k != "label"} for r in records]


def test_bad_study_raises_by_default(damaged):
    with pytest.raises(SeriesError, match="missing"):
        VolumeDataset(without_labels(damaged))[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_study_is_reported_and_skipped(damaged, workers):
    data = VolumeDataset(without_labels(damaged), on_error="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DicomMLWarning)
        loader = DataLoader(data, 1, num_workers=workers, collate_fn=collate_items)
        patients = [batch["patient"][0] for batch in loader]
    assert patients == ["a", "c", "c", "a"]
    assert sorted(data.failures) == [1, 3]
    assert "missing" in data.failures[1] and "does not exist" in data.failures[3]


def test_skipping_warns_once_a_study(damaged):
    data = VolumeDataset(without_labels(damaged), on_error="skip")
    with pytest.warns(DicomMLWarning, match="record 1 is skipped"):
        data[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DicomMLWarning)
        data[1]


def test_fault_inside_a_transform(damaged):
    from monai.transforms import Compose, Lambdad

    from dicom_ml.transforms import LoadDicomd

    loads = VolumeDataset(without_labels(damaged), Compose([LoadDicomd("image")]), on_error="skip")
    with pytest.warns(DicomMLWarning, match="record 1"):
        assert loads[1]["patient"] == "c"
    broken = VolumeDataset(without_labels(damaged), Compose([Lambdad("image", no_such_thing)]), on_error="skip")
    with pytest.raises(RuntimeError, match="applying transform"):  # a fault of the program, not of the study
        broken[0]


def no_such_thing(x):
    raise ZeroDivisionError


def test_all_bad(damaged):
    data = VolumeDataset(without_labels([damaged[1], damaged[3]]), on_error="skip")
    with pytest.warns(DicomMLWarning), pytest.raises(SeriesError, match="none of the 2 studies"):
        data[0]


def test_check_takes_bad_studies_out(damaged):
    data = VolumeDataset(without_labels(damaged), cache="memory")
    with pytest.warns(DicomMLWarning, match="left out"):
        found = data.check()
    assert sorted(found) == [1, 3] and len(data) == 2
    assert [item["patient"] for item in data] == ["a", "c"]
    assert data.check() == {}


# ---------------------------------------------------------------------- cache
def test_memory_cache_reads_once_and_hands_out_copies(records, monkeypatch):
    data = VolumeDataset(records, cache="memory")
    first = data[0]["image"].clone()
    data[0]["image"][...] = 0
    monkeypatch.setattr("dicom_ml.data.dataset.read_volume", None)
    assert torch.equal(data[0]["image"], first) and data[0]["image"].meta["dicom_source"]


@pytest.mark.parametrize("monai", [True, False])
def test_folder_cache_outlives_the_process(records, tmp_path, monkeypatch, monai):
    first = VolumeDataset(records, cache=tmp_path / "cache", monai=monai)[0]
    again = pickle.loads(pickle.dumps(VolumeDataset(records, cache=tmp_path / "cache", monai=monai)))
    other = VolumeDataset(records, cache=tmp_path / "cache", monai=monai, read={"units": "stored"})
    assert other[0]["image"].dtype == torch.int16
    monkeypatch.setattr("dicom_ml.data.dataset.read_volume", None)
    second = again[0]
    assert torch.equal(first["image"], second["image"]) and torch.equal(first["label"], second["label"])
    assert not [f for f in (tmp_path / "cache").iterdir() if f.name.startswith(".")]
    with pytest.raises(TypeError):
        again[1]


def test_folder_cache_notices_changes(records, tmp_path):
    from tests.series import write_series

    write_series(tmp_path / "ct", name="x")
    data = VolumeDataset([tmp_path / "ct"], cache=tmp_path / "cache")
    before = data[0]["image"].clone()
    write_series(tmp_path / "ct", name="y")
    assert not torch.equal(data[0]["image"], before)


def test_damaged_cache_is_made_anew(records, tmp_path):
    data = VolumeDataset(records, cache=tmp_path)
    first = data[0]["image"]
    next(tmp_path.iterdir()).write_bytes(b"nonsense")
    with pytest.warns(DicomMLWarning, match="made anew"):
        assert torch.equal(data[0]["image"], first)
