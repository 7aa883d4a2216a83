"""The trained network as a MONAI bundle: a slide in, a DICOM segmentation of class probabilities out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dicom_ml.codes import Code
from recipes.common.bundle import algorithm_of, write_bundle
from recipes.common.card import ModelCard
from recipes.pathology.classes import CLASSES

__all__ = ["export_bundle"]


def export_bundle(folder: Path, network: torch.nn.Module, settings: Mapping[str, Any], card: ModelCard) -> list[Path]:
    """Write the bundle.

    Parameters
    ----------
    folder : path
    network : torch.nn.Module
    settings : mapping
        Of the run: how its network is made, and how tiles are cut.
    card : ModelCard

    Returns
    -------
    list of path
        Its configurations and its weights.
    """
    model = settings["model"]["init_args"]
    data = settings["data"]["init_args"]
    segments = [{"label": one.label, "type": _short(one.code), "category": _short(one.category)} for one in CLASSES]
    mean, spread = (list(model.get(name, default)) for name, default in _NORMAL.items())
    inference = {
        "imports": ["$import torch", "$import dicom_ml", "$import dicom_ml.data", "$from pathlib import Path"],
        "bundle_root": ".",
        "slide": "slide/",
        "output": "probabilities.seg.dcm",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": model["network"]["class_path"], **model["network"].get("init_args", {})},
        "weights": "$torch.load(Path(@bundle_root) / 'models' / 'model.pt', map_location='cpu', weights_only=True)",
        "network": "$[@network_def.load_state_dict(@weights), @network_def.eval()][1]",
        "mean": mean,
        "spread": spread,
        "normalise": "$lambda x: (x.float() / 255 - torch.tensor(@mean).reshape(1, 3, 1, 1))"
        " / torch.tensor(@spread).reshape(1, 3, 1, 1)",
        "segments": segments,
        "algorithm": {
            "_target_": "dicom_ml.Algorithm",
            **algorithm_of(card),
        },
        "run": [
            "$dicom_ml.data.predict_slide(@network, dicom_ml.open_slide(@slide), @output,"
            " segments=[dicom_ml.Segment(**s, algorithm=@algorithm) for s in @segments], kind='fractional',"
            f" spacing={data['spacing']}, tile_size={data['tile_size']}, min_tissue={data['min_tissue']},"
            " activation='softmax', transform=@normalise, device=@device)"
        ],
    }
    return write_bundle(
        folder,
        network,
        inference,
        card,
        recipe="pathology",
        task="Classification of tiles of lung slides",
        image={
            "type": "image",
            "format": "RGB",
            "num_channels": 3,
            "spatial_shape": [data["tile_size"]] * 2,
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": True,
            "channel_def": {"0": "red", "1": "green", "2": "blue"},
        },
        prediction={
            "type": "probabilities",
            "format": "classes",
            "num_channels": len(CLASSES),
            "spatial_shape": [1],
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": True,
            "channel_def": {str(number): one.label for number, one in enumerate(CLASSES)},
        },
    )


_NORMAL = {"mean": (0.485, 0.456, 0.406), "spread": (0.229, 0.224, 0.225)}


def _short(code: Code) -> list[str]:
    """A code as the transforms and segments take it, with its meaning."""
    return [code.value, code.scheme, code.meaning or ""]
