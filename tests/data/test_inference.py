"""A model over a slide equals the model over the whole picture."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from tests.objects.segmentation.scenes import segments
from tests.reading.slides._make import halved, picture, pyramid

torch = pytest.importorskip("torch")

from dicom_ml.data import predict_slide  # noqa: E402


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    pixels = picture((300, 420))
    pixels[:, 256:] = 255
    folder = pyramid(tmp_path_factory.mktemp("slide") / "s", pixels, spacing=(0.0005, 0.0005))
    return dml.open_slide(folder), pixels


def red(batch):
    """Logits of one channel: positive where red passes a half."""
    return 10 * (batch[:, :1] - 0.5)


def red_and_rest(batch):
    return torch.cat([torch.zeros_like(batch[:, :1]), 10 * (batch[:, :1] - 0.5)], dim=1)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_segmentations(slide, tmp_path, kind, level):
    opened, pixels = slide
    pixels = pixels if level == 0 else halved(pixels)
    path = predict_slide(
        red,
        opened,
        tmp_path / "a.dcm",
        segments=segments(1),
        kind=kind,
        level=level,
        tile_size=64,
        activation="sigmoid",
    )
    seg = dml.read_segmentation(path)
    logits = 10 * (pixels[..., 0] / 255 - 0.5)
    if kind == "fractional":
        np.testing.assert_allclose(seg.channels(on=opened)[0], 1 / (1 + np.exp(-logits)), atol=1 / 255)
    else:
        np.testing.assert_array_equal(seg.channels(on=opened)[0], logits > 0)
    again = predict_slide(
        red_and_rest, opened, tmp_path / "b.dcm", segments=segments(1), kind=kind, level=level, tile_size=64,
        activation="softmax",
    )  # fmt: skip
    np.testing.assert_allclose(dml.read_segmentation(again).channels(), seg.channels(), atol=1 / 255)


def test_maps_tissue_and_resuming(slide, tmp_path):
    opened, pixels = slide
    quantity = dml.Quantity(("2931005", "SCT", "Probability"))
    seen = []

    def model(batch):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(batch))
        return batch[:, :1]

    options = {"quantity": quantity, "tile_size": 64, "batch_size": 3, "min_tissue": 0.25}
    with pytest.raises(KeyboardInterrupt):
        predict_slide(model, opened, tmp_path / "a.dcm", **options)
    calls = []
    path = predict_slide(lambda b: calls.append(len(b)) or b[:, :1], opened, tmp_path / "a.dcm", **options)
    got = dml.read_parametric_map(path).array(on=opened)
    np.testing.assert_allclose(got[:, :256], pixels[:, :256, 0] / 255, atol=1e-6)
    assert not got[:, 256:].any()
    assert sum(seen) + sum(calls) == 5 * 4


def test_refusals(slide, tmp_path):
    opened, _ = slide
    for options, message in (
        ({}, "segments for a segmentation"),
        ({"segments": segments(3)}, "1 channels for 3"),
        ({"segments": segments(1), "activation": "relu"}, "activation"),
    ):
        with pytest.raises(dml.EncodingError, match=message):
            predict_slide(red, opened, tmp_path / "a.dcm", tile_size=64, **options)
    with pytest.raises(dml.EncodingError, match="dense model"):
        predict_slide(lambda b: b.mean((2, 3)), opened, tmp_path / "b.dcm", segments=segments(1), tile_size=64)
