"""The classifier of tiles: what it does to its input, and what it begins with."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning.pytorch")
pytest.importorskip("monai")

import torch
from monai.networks.nets import DenseNet

from dicom_ml.errors import EncodingError
from recipes.pathology.model import TileClassifier, restained, turned


def network(classes: int = 3) -> DenseNet:
    return DenseNet(2, 3, classes, init_features=8, growth_rate=4, block_config=(2, 2))


def test_tiles_are_turned_in_eight_ways():
    image = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)[:1].repeat(8, 1, 1, 1)
    out = turned(image, torch.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in out}) == 8
    assert torch.equal(out[0], image[0])
    assert torch.equal(out[1], torch.rot90(image[0], 1, (1, 2)))
    assert torch.equal(out[4], image[0].flip(-1))
    assert all(torch.equal(one.flatten(1).sort(1).values, image[0].flatten(1).sort(1).values) for one in out)


def test_stain_changes_optical_density():
    image = torch.randint(20, 255, (2, 3, 5, 5), dtype=torch.uint8)
    assert torch.allclose(restained(image, torch.zeros(2, 3)), image.float() / 255)
    change = torch.tensor([[0.5, -0.2, 0.0]]).repeat(2, 1)
    density = -(image.float() / 255).log()
    found = -restained(image, change).log()
    assert torch.allclose(found, density * change.exp()[:, :, None, None], atol=1e-4)


def test_uint8_and_float_are_the_same_tile():
    model = TileClassifier(network()).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(model(image), model(image.float() / 255), atol=1e-5)


def test_it_begins_with_weights_that_fit(tmp_path):
    """Those of the same network with other classes; under torchvision's names, too; not those of another network."""
    given = network(5).state_dict()
    torch.save(given, tmp_path / "own.pt")
    torch.save({name.replace(".layers.", "."): value for name, value in given.items()}, tmp_path / "other-names.pt")
    for name in ("own.pt", "other-names.pt"):
        state = TileClassifier(network(), weights=str(tmp_path / name)).network.state_dict()
        differ = [key for key, value in state.items() if value.shape != given[key].shape]
        assert all(key.startswith("class_layers") for key in differ) and differ
        assert all(torch.equal(value, given[key]) for key, value in state.items() if key not in differ)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "another.pt")
    with pytest.raises(EncodingError, match="another network"):
        TileClassifier(network(), weights=str(tmp_path / "another.pt"))


def test_options_that_are_none():
    with pytest.raises(EncodingError, match="'adamw' or 'rmsprop'"):
        TileClassifier(network(), optimizer="sgd")
