"""Tiles of slides: what they show, which there are, and that workers and samplers change neither."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

import dicom_ml as dml
from tests.reading.slides._make import picture, pyramid

torch = pytest.importorskip("torch")

from dicom_ml.data import BalancedSampler, SlideSampler, TileDataset, tissue_mask  # noqa: E402


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    made = []
    for i in range(2):
        pixels = picture((300, 420), seed=i)
        pixels[:, 200:] = 255
        made.append((pyramid(folder / str(i), pixels, spacing=(0.0005, 0.0005), series=f"1.2.3.{i + 1}"), pixels))
    return made


def whole(pixels, row, column, size):
    """A tile of the pixels; beyond the edge white."""
    out = np.full((size, size, 3), 255, np.uint8)
    part = pixels[row : row + size, column : column + size]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def test_tiles_show_their_place(slides):
    data = TileDataset([folder for folder, _ in slides], tile_size=64)
    assert len(data) == 2 * 5 * 7
    for i in (0, 8, 34, 35, 69):
        item = data[i]
        assert item["image"].shape == (3, 64, 64)
        assert item["image"].dtype == torch.uint8
        pixels = slides[item["slide_index"]][1]
        expected = whole(pixels, *item["position"], 64)
        np.testing.assert_array_equal(item["image"].numpy(), np.moveaxis(expected, -1, 0))
        source = dml.SourceSeries.from_string(item["dicom_source"])
        assert (
            source.series_instance_uid == item["slide"] == data.slides[item["slide_index"]].source.series_instance_uid
        )
    assert data[-1]["position"] == tuple(data.positions[-1])


def test_levels_spacings_and_overlaps(slides):
    folder, pixels = slides[0]
    base = dml.open_slide(folder).levels[0].spacing[0]
    by_level = TileDataset([folder], tile_size=50, level=1)
    by_spacing = TileDataset([folder], tile_size=50, spacing=2 * base)
    assert len(by_level) == len(by_spacing) == 3 * 5
    np.testing.assert_array_equal(by_level.positions, by_spacing.positions)
    np.testing.assert_array_equal(by_level[7]["image"], by_spacing[7]["image"])
    assert tuple(by_level.positions[1]) == (0, 100)
    overlapping = TileDataset([folder], tile_size=64, overlap=16)
    assert sorted(set(np.diff(sorted(set(overlapping.positions[:, 1].tolist())))))[0] == 48
    covered = np.zeros(pixels.shape[:2], bool)
    for row, column in overlapping.positions:
        covered[row : row + 64, column : column + 64] = True
    assert covered.all()
    for bad in ({"overlap": 64}, {"level": 1, "spacing": 0.001}):
        with pytest.raises(dml.GeometryError):
            TileDataset([folder], tile_size=64, **bad)


def test_tissue(slides):
    folder, pixels = slides[0]
    slide = dml.open_slide(folder)
    mask = tissue_mask(slide, size=210)
    assert mask.shape == (150, 210)
    assert not mask[:, 101:].any()
    data = TileDataset([slide], tile_size=60, min_tissue=0.5)
    assert set(data.positions[:, 1].tolist()) == {0, 60, 120}
    with pytest.raises(dml.SeriesError, match="min_tissue"):
        TileDataset([slide], tile_size=60, min_tissue=1.1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_tiles(slides, method):
    data = pickle.loads(pickle.dumps(TileDataset([folder for folder, _ in slides], tile_size=100)))

    def load(workers):
        context = method if workers else None
        loader = torch.utils.data.DataLoader(data, batch_size=5, num_workers=workers, multiprocessing_context=context)
        return [(b["image"], b["position"], b["slide"]) for b in loader]

    alone, together = load(0), load(2)
    assert len(alone) == len(together)
    for a, b in zip(alone, together, strict=True):
        assert torch.equal(a[0], b[0])
        assert all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))
        assert a[2] == b[2]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_every_tile_once_over_all_processes(slides, world, shuffle):
    data = TileDataset([folder for folder, _ in slides], tile_size=64)
    samplers = [SlideSampler(data, shuffle=shuffle, seed=1, rank=r, world_size=world) for r in range(world)]
    drawn = [list(s) for s in samplers]
    assert sorted(i for part in drawn for i in part) == list(range(len(data)))
    assert max(map(len, drawn)) - min(map(len, drawn)) <= 1
    assert [len(s) for s in samplers] == [len(d) for d in drawn]
    for part in drawn:
        runs = np.flatnonzero(np.diff(data.slide_index[part]))
        assert len(runs) <= 1
    if shuffle:
        samplers[0].set_epoch(1)
        assert list(samplers[0]) != drawn[0]


def test_labels_and_balance(slides):
    folders = [folder for folder, _ in slides]
    first = dml.open_slide(folders[0]).source.series_instance_uid
    data = TileDataset(folders, tile_size=64, labels={first: "tumour", 1: "normal"})
    assert data[0]["label"] == "tumour"
    assert data[-1]["label"] == "normal"
    by_place = TileDataset(folders, tile_size=64, labels=lambda slide, position: int(position[1] >= 200))
    counts = Counter(by_place.tile_labels())
    balanced = list(BalancedSampler(by_place))
    assert Counter(by_place.tile_labels()[i] for i in balanced) == {k: max(counts.values()) for k in counts}
    missing = TileDataset(folders, tile_size=64, labels={first: 1})
    with pytest.raises(dml.SeriesError, match="no label"):
        missing[len(missing) - 1]


def test_labels_from_a_segmentation(slides, tmp_path):
    """A mask on the slide's pixels, read where the tile lies."""
    folder, pixels = slides[0]
    slide = dml.open_slide(folder)
    mask = np.zeros(slide.levels[0].shape, np.uint8)
    mask[:, :100] = 1
    segment = dml.Segment("Tumour", type="SCT:108369006", category="SCT:49755003", algorithm="manual")
    dml.Segmentation.from_array(mask, source=slide, segments=[segment]).save(tmp_path / "a.seg.dcm")
    seg = dml.read_segmentation(tmp_path / "a.seg.dcm")
    data = TileDataset([slide], tile_size=100, labels=lambda s, place: float(seg.read_region(place, (100, 100)).mean()))
    assert data.tile_labels()[:3] == [1.0, 0.0, 0.0]
