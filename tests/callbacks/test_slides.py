"""Tiles of slides, in any order and from many batches, become one object that equals the one of the whole picture."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")

import torch

import dicom_ml as dml
from dicom_ml.bridge.blending import window_weights
from dicom_ml.callbacks import ParametricMapWriter, SegmentationWriter
from dicom_ml.data import TileDataModule, TileDataset, TileGrid
from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from tests.callbacks.nets import trainer
from tests.callbacks.slide_nets import Redness
from tests.data.slides import make
from tests.reading.slides._make import halved

TUMOUR = dml.Segment("Tumour", "SCT:108369006", "SCT:49755003", algorithm=dml.Algorithm("TestNet", version="1"))
PROBABILITY = dml.Quantity("DCM:122157", label="probability")
MAP = {"quantity": PROBABILITY, "channels": [1], "activation": "softmax"}


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    root = tmp_path_factory.mktemp("slides")
    return [make(root, i + 1, shape, tile=(64, 64)) for i, shape in enumerate([(200, 330), (130, 190)])]


def logits(red):
    return 10 * (red / 255.0 - 0.5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def predict(slides, folder, writers, model=None, *, batch=5, shuffle=False, **cut):
    model = Redness() if model is None else model
    data = TileDataset([folder for folder, _ in slides], **{"tile_size": 64, **cut})
    loader = torch.utils.data.DataLoader(data, batch, shuffle=shuffle)
    trainer(folder, writers if isinstance(writers, list) else [writers]).predict(
        model, loader, return_predictions=False
    )
    return model


def opened(slides, folder, pattern, read):
    """The object of each slide, in the order of the slides."""
    found = []
    for source, _ in slides:
        slide = dml.open_slide(source)
        (file,) = folder.glob(f"{slide.source.series_instance_uid}{pattern}")
        found.append((slide, read(file)))
    return found


def segmentations(slides, folder):
    return opened(slides, folder, "*.seg.dcm", dml.read_segmentation)


def maps(slides, folder):
    return opened(slides, folder, "*.pm.dcm", dml.read_parametric_map)


# ---------------------------------------------------------------------- dense, side by side
@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("level", [0, 1])
def test_dense(slides, tmp_path, kind, level):
    activation = "softmax" if kind == "fractional" else None
    writer = SegmentationWriter(tmp_path, [TUMOUR], kind, activation=activation)
    predict(slides, tmp_path, writer, level=level, shuffle=True)
    for (slide, seg), (_, pixels) in zip(segmentations(slides, tmp_path), slides, strict=True):
        red = (pixels if level == 0 else halved(pixels))[..., 0]
        assert seg.grid.shape[1:] == red.shape
        found = seg.channels(on=slide.levels[level].grid)[0, 0] if seg.channels().ndim == 4 else seg.channels()[0]
        if kind == "fractional":
            np.testing.assert_allclose(found, sigmoid(logits(red)), atol=0.51 / 255)
        else:
            np.testing.assert_array_equal(found, logits(red) > 0)
    index = json.loads((tmp_path / "segmentations.json").read_text())
    assert len(index["files"]) == len(writer.written) == 2 and not index["failures"]
    assert not list(tmp_path.glob(".*"))


def test_label_maps_and_other_forms(slides, tmp_path):
    predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), Redness("classes"))
    for (_, seg), (_, pixels) in zip(segmentations(slides, tmp_path), slides, strict=True):
        np.testing.assert_array_equal(seg.label_map(), pixels[..., 0] > 127)


def test_maps_and_segmentations_in_one_run(slides, tmp_path):
    writers = [ParametricMapWriter(tmp_path, **MAP), SegmentationWriter(tmp_path, [TUMOUR])]
    predict(slides, tmp_path, writers, min_tissue=0.3)
    for (_, pm), (_, seg), (_, pixels) in zip(
        maps(slides, tmp_path), segmentations(slides, tmp_path), slides, strict=True
    ):
        kept = pixels.shape[1] // 2 // 64 * 64  # what lies to the right, or below the slide, is mostly glass
        red = pixels[: pixels.shape[0] // 64 * 64, :kept, 0]
        np.testing.assert_allclose(pm.read_region((0, 0), red.shape)[0], sigmoid(logits(red)), atol=1e-6)
        np.testing.assert_array_equal(seg.label_map()[: red.shape[0], :kept] > 0, logits(red) > 0)
        assert not pm.read_region((0, kept + 64), (64, 64)).any()
    index = json.loads((tmp_path / "parametric-maps.json").read_text())
    assert [f["quantities"] for f in index["files"]] == [["probability"]] * 2


# ---------------------------------------------------------------------- a value a tile
def test_values(slides, tmp_path):
    writers = [
        ParametricMapWriter(tmp_path, **MAP, padding=-1.0),
        SegmentationWriter(tmp_path, [TUMOUR], "fractional", activation="softmax"),
        SegmentationWriter(tmp_path / "decided", [TUMOUR], "binary"),
    ]
    predict(slides, tmp_path, writers, Redness("values"), min_tissue=0.3, level=0)
    decided = segmentations(slides, tmp_path / "decided")
    for (slide, pm), (_, seg), (_, hard), (_, pixels) in zip(
        maps(slides, tmp_path), segmentations(slides, tmp_path), decided, slides, strict=True
    ):
        grid = TileGrid.cut(slide, 64)
        assert pm.grid.shape[1:] == grid.counts == seg.grid.shape[1:]
        np.testing.assert_allclose(pm.grid.affine[:2], grid.coarse.affine[:2], atol=1e-7)
        # the centre of a tile lies in its pixel
        centre = slide.to_mm([64 + 31.5, 31.5])
        np.testing.assert_allclose(pm.grid.to_lps([0, 1, 0])[:2], centre[:2], atol=1e-7)
        values = pm.channels()[0].reshape(grid.counts)
        padded = np.full((grid.counts[0] * 64, grid.counts[1] * 64), 255.0)
        padded[: pixels.shape[0], : pixels.shape[1]] = pixels[..., 0]
        means = padded.reshape(grid.counts[0], 64, grid.counts[1], 64).mean((1, 3))
        known = ~np.isnan(values)
        assert known.sum() and not known[:, -1].any()
        np.testing.assert_allclose(values[known], sigmoid(logits(means))[known], atol=1e-5)
        np.testing.assert_allclose(seg.channels()[0].reshape(values.shape), np.nan_to_num(values), atol=0.51 / 255)
        np.testing.assert_array_equal(hard.label_map().reshape(values.shape), np.nan_to_num(values) > 0.5)


def test_scores(slides, tmp_path):
    predict(slides, tmp_path, ParametricMapWriter(tmp_path, PROBABILITY), Redness("score"), overlap=16)
    slide, pm = maps(slides, tmp_path)[0]
    grid = TileGrid.cut(slide, 64, overlap=16)
    np.testing.assert_allclose(pm.grid.spacing[1:], 48 * 0.0005, rtol=1e-6)
    tile = slides[0][1][48:112, 96:160, 0].mean() / 255
    np.testing.assert_allclose(pm.channels()[0].reshape(grid.counts)[1, 2], tile, atol=1e-6)


# ---------------------------------------------------------------------- overlapping
def blended(pixels, size, overlap, window, factor=1):
    """The whole computation at once: weighted mean of all tiles, beyond the edges white."""
    step, (height, width) = size - overlap, pixels.shape[:2]
    rows, columns = (max(0, -(-(n - size) // step)) + 1 for n in (height, width))
    padded = np.full(((rows - 1) * step + size, (columns - 1) * step + size), 255.0)
    padded[:height, :width] = pixels[..., 0]
    out = np.zeros([n // factor for n in padded.shape])
    weight = np.zeros_like(out)
    weights = window_weights((size // factor, size // factor), window)
    for r in range(rows):
        for c in range(columns):
            tile = padded[r * step : r * step + size, c * step : c * step + size]
            pred = sigmoid(logits(tile.reshape(size // factor, factor, size // factor, factor).mean((1, 3))))
            # what the tile says depends on where it lies in it
            pred = pred * np.linspace(0.5, 1, size // factor)
            where = np.s_[
                r * step // factor : (r * step + size) // factor, c * step // factor : (c * step + size) // factor
            ]
            out[where] += pred * weights
            weight[where] += weights
    return (out / weight)[: -(-height // factor), : -(-width // factor)]


class Slanted(Redness):
    """Says the more, the further to the right of the tile a pixel lies."""

    def forward(self, image):
        out = super().forward(image).softmax(1)
        return out * torch.linspace(0.5, 1, out.shape[-1])


@pytest.mark.parametrize("window", ["hann", "gaussian", "triangle", "constant"])
@pytest.mark.parametrize("overlap", [16, 32])
def test_blending_equals_the_whole_computation(slides, tmp_path, window, overlap):
    writers = [
        ParametricMapWriter(tmp_path, PROBABILITY, channels=[1], window=window),
        SegmentationWriter(tmp_path, [TUMOUR], "fractional", window=window),
    ]
    predict(slides, tmp_path, writers, Slanted(), overlap=overlap, shuffle=True)
    for (_, pm), (_, seg), (_, pixels) in zip(
        maps(slides, tmp_path), segmentations(slides, tmp_path), slides, strict=True
    ):
        expected = blended(pixels, 64, overlap, window)
        np.testing.assert_allclose(pm.channels()[0].reshape(expected.shape), expected, atol=2e-5)
        np.testing.assert_allclose(seg.channels()[0].reshape(expected.shape), expected, atol=0.6 / 255)
    assert not list(tmp_path.glob(".*"))


def test_predictions_coarser_than_pixels(slides, tmp_path):
    model = Slanted("half")
    predict(slides, tmp_path, ParametricMapWriter(tmp_path, PROBABILITY, channels=[1]), model, overlap=32)
    slide, pm = maps(slides, tmp_path)[0]
    expected = blended(slides[0][1], 64, 32, "hann", 2)
    np.testing.assert_allclose(pm.channels()[0].reshape(expected.shape), expected, atol=2e-5)
    np.testing.assert_allclose(pm.grid.to_lps([0, 0, 0])[:2], slide.to_mm([0.5, 0.5])[:2], atol=1e-7)
    with pytest.raises(GeometryError, match="whole multiples"):
        predict(slides, tmp_path, ParametricMapWriter(tmp_path, PROBABILITY, channels=[1]), model, overlap=33)


def test_odd_tiles(slides, tmp_path):
    """Frames of binary segmentations need whole bytes: tiles that have none are put together to other frames."""
    predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), tile_size=50)
    for (_, seg), (_, pixels) in zip(segmentations(slides, tmp_path), slides, strict=True):
        np.testing.assert_array_equal(seg.label_map() > 0, logits(pixels[..., 0]) > 0)


# ---------------------------------------------------------------------- again
@pytest.mark.parametrize("cut", [{}, {"overlap": 32}])
def test_goes_on_with_the_same_uids(slides, tmp_path, cut):
    def writers(folder):
        return [ParametricMapWriter(folder, **MAP), SegmentationWriter(folder, [TUMOUR])]

    whole = predict(slides, tmp_path / "whole", writers(tmp_path / "whole"), **cut)
    half = Redness()
    half.stop_after = 3
    try:
        predict(slides, tmp_path / "parts", writers(tmp_path / "parts"), half, **cut)
    except (KeyboardInterrupt, SystemExit):
        pass
    assert len(half.seen) == 15 and not list((tmp_path / "parts").glob("*.dcm"))
    rest = predict(slides, tmp_path / "parts", writers(tmp_path / "parts"), shuffle=False, **cut)
    assert sorted(half.seen + rest.seen) == sorted(whole.seen)
    again = predict(slides, tmp_path / "parts", writers(tmp_path / "parts"), **cut)
    assert again.seen == []
    for file in (tmp_path / "whole").glob("*.dcm"):
        one, two = pydicom.dcmread(file), pydicom.dcmread(tmp_path / "parts" / file.name)
        assert one.SOPInstanceUID == two.SOPInstanceUID
        for name in ("PixelData", "FloatPixelData"):
            assert one.get(name) == two.get(name)
    assert not list((tmp_path / "parts").glob(".*"))


def test_writers_that_were_stopped_at_different_tiles_go_on_together(slides, tmp_path):
    """What one of them knows does not keep the others from their tiles."""
    stopped = Redness()
    stopped.stop_after = 3
    try:
        predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), stopped)
    except (KeyboardInterrupt, SystemExit):
        pass
    both = [SegmentationWriter(tmp_path, [TUMOUR]), ParametricMapWriter(tmp_path, **MAP)]
    model = predict(slides, tmp_path, both)
    assert "predict_step" not in model.__dict__, "the module is left as it was"
    whole = tmp_path / "whole"
    predict(slides, whole, [SegmentationWriter(whole, [TUMOUR]), ParametricMapWriter(whole, **MAP)])
    files = sorted(whole.glob("*.dcm"))
    assert len(files) == 4
    for file in files:
        one, two = pydicom.dcmread(file), pydicom.dcmread(tmp_path / file.name)
        assert one.SOPInstanceUID == two.SOPInstanceUID
        for name in ("PixelData", "FloatPixelData"):
            assert one.get(name) == two.get(name)
    again = predict(slides, tmp_path, both)
    assert again.seen == [], "all results of both are there"


def test_missing_tiles(slides, tmp_path):
    data = TileDataset([slides[0][0]], 64)
    part = torch.utils.data.Subset(data, range(7))
    loader = torch.utils.data.DataLoader(part, 5)
    with pytest.warns(DicomMLWarning, match="7 of 24 tiles"):
        trainer(tmp_path, [SegmentationWriter(tmp_path, [TUMOUR])]).predict(Redness(), loader)
    assert not list(tmp_path.glob("*.dcm"))
    (failure,) = json.loads((tmp_path / "segmentations.json").read_text())["failures"]
    assert "7 of 24" in failure["why"]
    writer = SegmentationWriter(tmp_path, [TUMOUR], incomplete="write")
    trainer(tmp_path, [writer]).predict(Redness(), loader)
    _, seg = segmentations(slides[:1], tmp_path)[0]
    np.testing.assert_array_equal(seg.label_map()[:64] > 0, logits(slides[0][1][:64, :, 0]) > 0)
    assert not seg.label_map()[64:, 64:].any()


def test_anew(slides, tmp_path):
    model = Redness()
    model.stop_after = 1
    try:
        predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), model)
    except (KeyboardInterrupt, SystemExit):
        pass
    assert list(tmp_path.glob(".*.tiles"))
    anew = predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR], resume=False))
    assert len(anew.seen) == 24 + 9
    once_more = predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR], resume=False))
    assert len(once_more.seen) == 24 + 9


def test_other_cuts_are_other_results(slides, tmp_path):
    for cut in ({}, {"overlap": 16}, {"tile_size": 32}, {"min_tissue": 0.3}, {"level": 1}):
        predict(slides[:1], tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), **cut)
    predict(slides[:1], tmp_path, SegmentationWriter(tmp_path, [TUMOUR], window="constant"), overlap=16)
    assert len({pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in tmp_path.glob("*.dcm")}) == 6


# ---------------------------------------------------------------------- refusals
def test_refusals(slides, tmp_path):
    with pytest.raises(EncodingError, match="have no mean"):
        predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR]), Redness("classes"), overlap=8)
    with pytest.raises(EncodingError, match="2 channels, 1 quantities"):
        predict(slides, tmp_path, ParametricMapWriter(tmp_path, PROBABILITY))
    with pytest.raises(EncodingError, match="transform= undoes"):
        predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR], transform=lambda d: d))
    with pytest.raises(EncodingError, match="window is one of"):
        predict(slides, tmp_path, SegmentationWriter(tmp_path, [TUMOUR], window="flat"))
    with pytest.warns(DicomMLWarning, match="not written"):
        predict(slides, tmp_path, ParametricMapWriter(tmp_path, PROBABILITY, on_error="skip"))


def test_data_module_and_test_stage(slides, tmp_path):
    module = TileDataModule(test=[folder for folder, _ in slides], tile_size=64, batch_size=6)
    writer = SegmentationWriter(tmp_path, [TUMOUR], stages="test")
    trainer(tmp_path, [writer]).test(Redness(), module, verbose=False)
    for (_, seg), (_, pixels) in zip(segmentations(slides, tmp_path), slides, strict=True):
        np.testing.assert_array_equal(seg.label_map() > 0, logits(pixels[..., 0]) > 0)
