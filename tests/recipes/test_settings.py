"""The files in configs/: every size makes its trainer, model and data."""

from __future__ import annotations

import pytest

pytest.importorskip("monai")
pytest.importorskip("lightning.pytorch")
pytest.importorskip("jsonargparse")

from recipes import load_recipe, recipe_names
from recipes.common.run import Run
from recipes.common.settings import SIZES, config_file, load_settings
from recipes.common.training import objects_of

# what this machine has, whatever a size is meant for
HERE = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.precision=32", "--trainer.strategy=auto"]


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("size", SIZES)
def test_every_size_makes_its_objects(name, size, tmp_path):
    recipe = load_recipe(name)
    run = Run(recipe, tmp_path, load_settings(config_file(name, size), HERE), size=size, quiet=True)
    made = objects_of(run, tmp_path)
    assert made.model is not None and made.datamodule is not None
    callbacks = {type(one).__name__ for one in made.trainer.callbacks}
    assert {"ModelCheckpoint", "EarlyStopping"} <= callbacks
    assert run.data == ("stand-in" if size == "stand-in" else "idc")


@pytest.mark.parametrize("name", recipe_names())
def test_data_decides_the_variant_and_the_user_has_the_last_word(name):
    settings = load_settings(config_file(name, "stand-in"), ["--recipe.variants", "{x: {trainer.max_epochs: 2}}"])
    assert settings["recipe"]["data"] == "stand-in"
    changed = ["--recipe.variants", "{x: {trainer.max_epochs: 2, seed_everything: 5}}", "--recipe.data=x"]
    assert load_settings(config_file(name, "stand-in"), changed)["trainer"]["max_epochs"] == 2
    last = load_settings(config_file(name, "stand-in"), [*changed, "--trainer.max_epochs", "3"])
    assert last["trainer"]["max_epochs"] == 3 and last["seed_everything"] == 5
