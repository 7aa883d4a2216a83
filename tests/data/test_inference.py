"""A model over a slide equals the model over the whole picture."""

from __future__ import annotations

import numpy as np
import pytest

import dicom_ml as dml
from tests.objects.segmentation.scenes import segments
from tests.reading.slides._make import Image, halved, picture, pyramid

torch = pytest.importorskip("torch")

from dicom_ml.data import predict_slide  # noqa: E402

PROBABILITY = ("2931005", "SCT", "Probability")


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
    with pytest.raises(dml.EncodingError, match=r"\(B, C\) is expected"):
        predict_slide(lambda b: b.mean((1, 2, 3)), opened, tmp_path / "b.dcm", segments=segments(1), tile_size=64)
    with pytest.raises(dml.SeriesError, match="enough tissue"):
        predict_slide(red, opened, tmp_path / "b.dcm", segments=segments(1), tile_size=64, min_tissue=2)


def test_overlap_spacing_and_classifiers(slide, tmp_path):
    opened, pixels = slide
    quantity = dml.Quantity("DCM:122157")
    options = {"quantity": quantity, "tile_size": 64}
    # what does not depend on the tile is the same however tiles overlap
    path = predict_slide(lambda b: b[:, :1], opened, tmp_path / "a.dcm", overlap=24, **options)
    np.testing.assert_allclose(dml.read_parametric_map(path).array(on=opened), pixels[..., 0] / 255, atol=1e-6)
    path = predict_slide(lambda b: b[:, :1], opened, tmp_path / "b.dcm", spacing=0.0011, overlap=16, **options)
    found = dml.read_parametric_map(path)
    assert found.grid.spacing[1:] == pytest.approx((0.0011, 0.0011)) and found.grid.shape[1:] == (136, 191)
    region = opened.read_region((0, 0), (136, 191), spacing=0.0011)[..., 0] / 255
    np.testing.assert_allclose(found.channels()[0].reshape(136, 191), region, atol=2 / 255)
    path = predict_slide(lambda b: b.mean((2, 3)), opened, tmp_path / "c.dcm", channels=[0], **options)
    coarse = dml.read_parametric_map(path).channels()[0].reshape(5, 7)
    np.testing.assert_allclose(coarse[1, 2], pixels[64:128, 128:192, 0].mean() / 255, atol=1e-5)


def test_modules_are_left_as_they_were(slide, tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 2, 1)
            self.modes = set()

        def forward(self, x):
            self.modes.add((self.training, torch.is_grad_enabled()))
            return self.layer(x)

    net = Net().train()
    options = {"segments": segments(1), "tile_size": 64, "activation": "softmax"}
    path = predict_slide(net, slide[0], tmp_path / "a.dcm", **options)
    assert net.training and net.modes == {(False, False)}
    uids = {dml.read_segmentation(path).sop_instance_uid}
    uids.add(dml.read_segmentation(predict_slide(net, slide[0], tmp_path / "b.dcm", **options)).sop_instance_uid)
    assert len(uids) == 1
    with torch.no_grad():
        net.layer.weight += 1
    uids.add(dml.read_segmentation(predict_slide(net, slide[0], tmp_path / "c.dcm", **options)).sop_instance_uid)
    assert len(uids) == 2


def test_sixteen_bits(tmp_path):
    """Models see 0 to 1 whatever the slide stores."""
    pixels = picture((90, 140), samples=1, dtype=np.uint16)
    Image(pixels).write(tmp_path / "s" / "a.dcm")
    seen = []

    def model(batch):
        assert batch.shape[1] == 1 and batch.dtype == torch.float32
        seen.append(float(batch.max()))
        return batch

    path = predict_slide(model, dml.open_slide(tmp_path / "s"), tmp_path / "a.dcm", quantity=PROBABILITY, tile_size=64)
    assert 0.9 < max(seen) <= 1
    np.testing.assert_allclose(dml.read_parametric_map(path).array(), pixels / 65535, atol=1e-6)
