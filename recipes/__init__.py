"""Experiments from end to end: DICOM in, a trained model, DICOM out, and a page that says what came of it.

A recipe is a package in this folder whose name is the recipe's, and which has a ``RECIPE``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_ml.errors import EncodingError

if TYPE_CHECKING:
    from recipes.common.run import Recipe

__all__ = ["CHECKOUT", "load_recipe", "recipe_names"]

#: The folder that holds ``recipes/`` and ``configs/``.
CHECKOUT = Path(__file__).resolve().parent.parent


def recipe_names() -> list[str]:
    """Names of the recipes that are here."""
    here = Path(__file__).resolve().parent
    return sorted(path.parent.name for path in here.glob("*/recipe.py"))


def load_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises
    ------
    EncodingError
        If there is none.
    """
    if name not in recipe_names():
        raise EncodingError(f"there is no recipe {name!r}; there are {', '.join(recipe_names())}")
    recipe: Recipe = import_module(f"recipes.{name}.recipe").RECIPE
    return recipe
