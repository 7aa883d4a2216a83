"""Where the recipes are: they are part of a checkout, not of the installed package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dicom_ml
from dicom_ml.errors import FileError

__all__ = ["find_recipes"]

_VARIABLE = "DICOM_ML_RECIPES"


def find_recipes() -> Any:
    """Import the ``recipes`` package of a checkout.

    It is looked for in the folder that the environment variable ``DICOM_ML_RECIPES`` names, beside the package
    ``dicom_ml``, and in the present folder and those above it.

    Returns
    -------
    module

    Raises
    ------
    FileError
        If there is none.
    """
    root = next((folder for folder in _candidates() if _is_checkout(folder)), None)
    if root is None:
        raise FileError(
            "no recipes found: they are part of the repository, not of the installed package. Run this in a checkout, "
            f"or name its folder in {_VARIABLE}"
        )
    loaded = sys.modules.get("recipes")
    if loaded is not None and Path(str(loaded.__file__)).resolve().parent.parent == root:
        return loaded
    if str(root) not in sys.path:
        # first, so that no other package of that name comes before it
        sys.path.insert(0, str(root))
    found = import_module("recipes")
    if Path(str(found.__file__)).resolve().parent.parent != root:
        raise FileError(f"another package 'recipes' was imported in place of the one in {root}")
    return found


def _candidates() -> Iterator[Path]:
    named = os.environ.get(_VARIABLE)
    if named:
        yield Path(named).resolve()
        return
    yield Path(dicom_ml.__file__).resolve().parent.parent
    here = Path.cwd().resolve()
    yield here
    yield from here.parents


def _is_checkout(folder: Path) -> bool:
    return (folder / "recipes" / "common" / "run.py").is_file() and (folder / "configs").is_dir()
