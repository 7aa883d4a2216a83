"""Slides found, split by patient, cached and loaded."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from tests.data.slides import TUMOUR, make

torch = pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

from dicom_ml.data import (  # noqa: E402
    BalancedSampler,
    SlideSampler,
    TileDataModule,
    TileDataset,
    find_series,
    find_slides,
    split_by_patient,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for i in range(1, 7):
        make(folder, i, (100, 130), patient=f"P{(i + 1) // 2}")
    slide = dml.open_slide(folder / "1")
    seg = dml.Segmentation.from_array(np.ones((100, 130), np.uint8), source=slide, segments=[TUMOUR])
    seg.save(folder / "1.seg.dcm")
    return folder


def test_slides_are_found(root):
    found = find_slides(root)
    assert len(found) == 6 and {r["modality"] for r in found} == {"SM"}
    assert sum("segmentations" in r for r in found) == 1
    assert len({r["patient"] for r in found}) == 3
    with pytest.raises(dml.SeriesError, match="no image series"):
        find_series(root)
    # a slide that is open knows its patient too
    slides = [dml.open_slide(r["image"]) for r in found]
    parts = split_by_patient(slides, (0.7, 0.3))
    assert [len(p) for p in parts] == [4, 2]
    assert parts == [[s for s in slides if s in p] for p in parts]
    by_record = split_by_patient(found, (0.7, 0.3))
    assert {s.source.series_instance_uid for s in parts[1]} == {r["series_instance_uid"] for r in by_record[1]}


def test_module(root):
    module = TileDataModule(
        root=root, fractions={"train": 0.34, "val": 0.33, "test": 0.33}, tile_size=32, batch_size=7,
        labels=lambda slide, position: int(position[0] > 0), balanced=True,
        dataset={"train": {"overlap": 8}},
    )  # fmt: skip
    train = list(module.train_dataloader())
    assert isinstance(module.train_dataloader().sampler, BalancedSampler)
    labels = torch.cat([b["label"] for b in train])
    assert (labels == 0).sum() == (labels == 1).sum()
    assert module.datasets["train"].overlap == 8
    parts = [{r["patient"] for r in module.records[name]} for name in ("train", "val", "test")]
    assert all(len(p) == 1 for p in parts) and len(set().union(*parts)) == 3
    predicted = list(module.predict_dataloader())
    assert sum(len(b["image"]) for b in predicted) == 6 * 4 * 5
    assert predicted[0]["tile_position"].shape == (7, 2)
    assert len(predicted[0]["tile_grid"]) == 7


@pytest.mark.parametrize("world", [2, 3])
def test_even_samplers(root, world):
    data = TileDataset([root / "1", root / "2"], 32, labels={0: "a", 1: "b"})
    shares = [list(SlideSampler(data, even=True, rank=r, world_size=world)) for r in range(world)]
    assert len({len(s) for s in shares}) == 1 and set().union(*shares) == set(range(len(data)))
    balanced = [list(BalancedSampler(data, rank=r, world_size=world)) for r in range(world)]
    assert len({len(s) for s in balanced}) == 1
    assert len(set().union(*balanced)) == sum(map(len, balanced))


def test_cache(root, tmp_path):
    slides = [root / "1", root / "2"]
    plain = TileDataset(slides, 32, spacing=0.0007)
    for cache in ("memory", tmp_path / "cache"):
        data = TileDataset(slides, 32, spacing=0.0007, cache=cache)
        for _ in range(2):
            for i in (0, 5, len(data) - 1):
                assert torch.equal(data[i]["image"], plain[i]["image"])
        item = data[5]["image"]
        item.zero_()  # what a transform does to an item is no concern of the cache
        assert torch.equal(data[5]["image"], plain[5]["image"])
    # a later run takes what is there: shown by a tile that was changed together with its checksum
    again = TileDataset(slides, 32, spacing=0.0007, cache=tmp_path / "cache")
    again._cache.put(5, np.full((32, 32, 3), 7, np.uint8))
    later = TileDataset(slides, 32, spacing=0.0007, cache=tmp_path / "cache")
    assert (later[5]["image"] == 7).all()
    # one that is torn is read anew
    tiles, _ = later._cache._open(0)
    tiles[5, 3] = 1
    assert torch.equal(TileDataset(slides, 32, spacing=0.0007, cache=tmp_path / "cache")[5]["image"], plain[5]["image"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_cache(root, tmp_path, method):
    data = TileDataset([root / "1", root / "2"], 32, cache=tmp_path)
    plain = TileDataset([root / "1", root / "2"], 32)
    loader = torch.utils.data.DataLoader(data, 5, num_workers=2, multiprocessing_context=method)
    for _ in range(2):
        got = torch.cat([b["image"] for b in loader])
        assert torch.equal(got, torch.stack([plain[i]["image"] for i in range(len(plain))]))
    assert data._cache.get(3) is not None


def test_monai_dictionaries(root):
    pytest.importorskip("monai")
    from monai.data import MetaTensor
    from monai.transforms import Compose, RandFlipd, ScaleIntensityd

    transform = Compose([RandFlipd("image", prob=1.0, spatial_axis=1), ScaleIntensityd("image")])
    data = TileDataset([root / "1"], 32, monai=True, transform=transform)
    item = data[6]
    assert isinstance(item["image"], MetaTensor)
    assert item["image"].meta["location"].tolist() == list(item["position"]) == [32, 32]
    assert item["image"].meta["level"] == 0 and item["image"].meta["num_patches"] == len(data)
    loader = torch.utils.data.DataLoader(data, 4)
    batch = next(iter(loader))
    assert batch["image"].shape == (4, 3, 32, 32) and len(batch["image"].meta["dicom_source"]) == 4
