"""What the MONAI bundles of all recipes have in common: their files, and most of their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recipes.common.card import ModelCard
from recipes.common.state import write_json

__all__ = ["algorithm_of", "write_bundle"]


def algorithm_of(card: ModelCard) -> dict[str, Any]:
    """The algorithm that results name, as a configuration states it."""
    algorithm = card.algorithm()
    return {
        "name": algorithm.name,
        "version": algorithm.version,
        "source": algorithm.source,
        "parameters": algorithm.parameters,
    }


def write_bundle(
    folder: Path,
    model: torch.nn.Module,
    inference: Mapping[str, Any],
    card: ModelCard,
    *,
    recipe: str,
    task: str,
    image: Mapping[str, Any],
    prediction: Mapping[str, Any],
) -> list[Path]:
    """Write a bundle.

    Parameters
    ----------
    folder : path
    model : torch.nn.Module
        Whose weights ``inference`` loads.
    inference : mapping
        The configuration that predicts.
    card : ModelCard
    recipe, task : str
        Name of the recipe, and what its network does.
    image, prediction : mapping
        Formats of what goes in and comes out, as MONAI's schema of bundles has them.

    Returns
    -------
    list of path
        Its configurations and its weights.
    """
    metadata = {
        "version": card.version,
        "name": card.name,
        "task": task,
        "description": card.intended_use,
        "intended_use": card.intended_use,
        "data_source": card.training_data,
        "authors": "The dicom_ml contributors",
        "copyright": "MIT",
        "monai_version": card.versions.get("monai", ""),
        "pytorch_version": card.versions.get("torch", ""),
        "numpy_version": card.versions.get("numpy", ""),
        "required_packages_version": {"dicom-ml": card.versions["dicom_ml"]},
        "changelog": {card.version: f"trained by the {recipe} recipe"},
        "network_data_format": {"inputs": {"image": dict(image)}, "outputs": {"pred": dict(prediction)}},
    }
    files = [
        folder / "configs" / "inference.json",
        folder / "configs" / "metadata.json",
        folder / "models" / "model.pt",
    ]
    write_json(files[0], dict(inference))
    write_json(files[1], metadata)
    files[2].parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), files[2])
    card.save(folder / "docs")
    return files
