"""Labels of tiles by what DICOM says of their slide; tissue as DICOM."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import dicom_ml as dml
from tests.data.slides import STROMA, TUMOUR, make
from tests.reading.slides._make import pyramid

torch = pytest.importorskip("torch")

from dicom_ml.data import (  # noqa: E402
    SegmentationLabels,
    SpecimenLabels,
    TileDataset,
    specimen_codes,
    tissue_mask,
    tissue_segmentation,
)

NORMAL, NEOPLASM = ("17621005", "SCT", "Normal"), ("86049000", "SCT", "Neoplasm, Primary")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("labels")
    slides = [make(root, i, modifier=(NORMAL, NEOPLASM)[i - 1])[0] for i in (1, 2)]
    mask = np.zeros((300, 420), np.uint8)
    mask[:, 64:192] = 1
    mask[:, 192:224] = 2
    files = []
    for i, folder in enumerate(slides):
        seg = dml.Segmentation.from_array(
            np.roll(mask, 64 * i, axis=1), source=dml.open_slide(folder), segments=[TUMOUR, STROMA]
        )
        files.append(seg.save(root / f"{i}.seg.dcm"))
    return slides, files, mask


def test_classes_masks_and_shares(cohort):
    slides, files, mask = cohort
    by_class = TileDataset(slides, 64, labels=SegmentationLabels(files))
    rows = np.array(by_class.tile_labels()).reshape(2, 5, 7)
    assert (rows[0, :4] == [0, 1, 1, 2, 0, 0, 0]).all()
    assert (rows[1, :4] == [0, 0, 1, 1, 2, 0, 0]).all()
    # the lowest tiles reach 20 pixels beyond the slide: less than half of them is covered by anything
    masks = pickle.loads(pickle.dumps(TileDataset(slides, 64, labels=SegmentationLabels(files, kind="mask"))))
    item = masks[3]
    assert item["label"].shape == (1, 64, 64)
    np.testing.assert_array_equal(item["label"][0], mask[:64, 192:256])
    shares = TileDataset(slides, 64, labels=SegmentationLabels(files, ["Stroma", "Tumour"], "share"))
    np.testing.assert_allclose(shares[3]["label"], [0.5, 0])
    renamed = TileDataset(slides, 64, labels=SegmentationLabels(files, {"Stroma": 7}, min_share=0.6))
    assert set(renamed.tile_labels()) == {0}


@pytest.mark.parametrize("cut", [{"level": 1}, {"spacing": 0.001 * 1.1}, {"level": 2}])
def test_other_resolutions(cohort, cut):
    slides, files, mask = cohort
    data = TileDataset(slides[:1], 32, labels=SegmentationLabels(files[0], kind="mask"), **cut)
    for i in (0, 3, len(data) - 1):
        item, grid = data[i], data.grids[0]
        rows, columns = (
            np.floor((np.arange(32) + 0.5 + int(f)) * d).astype(int)
            for f, d in zip(item["tile_position"], grid.downsamples, strict=True)
        )
        inside = (rows < 300)[:, None] & (columns < 420)[None]
        expected = np.where(inside, mask[np.minimum(rows, 299)][:, np.minimum(columns, 419)], 0)
        # two nearest pixels are equally near where the factor is even: either is right
        assert (item["label"][0].numpy() != expected).mean() < 0.07


def test_slides_without_a_segmentation(cohort):
    slides, files, _ = cohort
    data = TileDataset(slides, 64, labels=SegmentationLabels(files[:1]))
    with pytest.raises(dml.SeriesError, match="no segmentation refers"):
        data.tile_labels()
    empty = TileDataset(slides, 64, labels=SegmentationLabels({0: files[0]}, missing="empty"))
    assert set(empty.tile_labels()[35:]) == {0}


def test_specimens(cohort):
    slides, _, _ = cohort
    assert [c.value for c in specimen_codes(dml.open_slide(slides[0]))] == ["39607008", "17621005"]
    classes = {"SCT:17621005": 0, "SCT:86049000": 1}
    data = TileDataset(slides, 64, labels=SpecimenLabels(classes))
    assert data.tile_labels() == [0] * 35 + [1] * 35
    with pytest.raises(dml.CodeError, match="has none of the codes"):
        TileDataset(slides, 64, labels=SpecimenLabels({"SCT:17621005": 0}))[40]
    assert TileDataset(slides, 64, labels=SpecimenLabels({"SCT:17621005": 0}, default=5))[40]["label"] == 5


def test_labels_of_records(cohort):
    slides, _, _ = cohort
    data = TileDataset([{"image": s, "label": i, "site": "B"} for i, s in enumerate(slides)], 64)
    assert data[0]["label"] == 0 and data[-1]["label"] == 1 and data[0]["site"] == "B"


@pytest.mark.parametrize("method", ["grey", "otsu", "saturation"])
def test_tissue_is_found_and_kept(tmp_path, method):
    pixels = np.full((300, 420, 3), 250, np.uint8)
    pixels[:, :210] = np.random.default_rng(1).integers((150, 40, 100), (210, 110, 170), (300, 210, 3))
    slide = dml.open_slide(pyramid(tmp_path / "s", pixels))
    mask = tissue_mask(slide, 105, method=method)
    assert mask[:, :52].mean() > 0.95 and not mask[:, 54:].any()
    tissue_segmentation(slide, size=105, method=method).save(tmp_path / "t.seg.dcm")
    seg = dml.read_segmentation(tmp_path / "t.seg.dcm")
    assert (seg.label_map() == mask).all()
    ways = [mask, seg, method, lambda s: mask, {0: mask}]
    counts = [len(TileDataset([slide], 60, min_tissue=0.45, tissue=way)) for way in ways]
    assert set(counts) == {20}


def test_glass_alone_is_no_tissue(tmp_path):
    glass = np.random.default_rng(0).integers(240, 256, (64, 96, 3), dtype=np.uint8)
    slide = dml.open_slide(pyramid(tmp_path / "g", glass))
    for method in ("grey", "otsu", "saturation"):
        assert not tissue_mask(slide, 32, method=method).any()
