"""The trained detector as a MONAI bundle: a CT series in, a DICOM report of its nodules out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.common.bundle import algorithm_of, write_bundle
from recipes.common.card import ModelCard
from recipes.radiology.data import HU_RANGE

__all__ = ["export_bundle"]


def export_bundle(folder: Path, model: Any, settings: Mapping[str, Any], card: ModelCard) -> list[Path]:
    """Write the bundle. It needs this package and MONAI; the network is built by the recipe's own functions.

    Parameters
    ----------
    folder : path
    model : NoduleDetector
    settings : mapping
        Of the run: how its detector is made, and how scans are prepared.
    card : ModelCard

    Returns
    -------
    list of path
        Its configurations and its weights.
    """
    spacing = settings["data"]["init_args"].get("spacing")
    prepare: list[dict[str, Any]] = [
        {"_target_": "dicom_ml.transforms.LoadDicomd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    ]
    if spacing is not None:
        prepare.append({"_target_": "Spacingd", "keys": "image", "pixdim": list(spacing), "padding_mode": "border"})
    low, high = HU_RANGE
    scale = {"a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0, "clip": True}
    prepare.append({"_target_": "ScaleIntensityRanged", "keys": "image", **scale})
    inference = {
        "imports": ["$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "series": "series/",
        "output": "out/",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "model": {
            "_target_": "recipes.radiology.model.NoduleDetector",
            **_plain(settings["model"].get("init_args", {})),
        },
        "weights": "$torch.load(Path(@bundle_root) / 'models' / 'model.pt', map_location='cpu', weights_only=True)",
        "network": "$[@model.load_state_dict(@weights), @model.eval().to(@device)][1]",
        "prepare": {"_target_": "Compose", "transforms": prepare},
        "save": {
            "_target_": "dicom_ml.transforms.SaveReportd",
            "keys": "pred",
            "output_dir": "@output",
            "classes": {"0": "SCT:27925004"},
            "site": "SCT:39607008",
            "algorithm": algorithm_of(card),
        },
        "item": "$@prepare({'image': @series})",
        "run": [
            "$@save({**@item, 'pred': torch.inference_mode()(@network.predict_step)("
            "[{'image': @item['image'].to(@device)}], 0)[0]})"
        ],
    }
    return write_bundle(
        folder,
        model,
        inference,
        card,
        recipe="radiology",
        task="Detection of lung nodules on chest CT",
        image={
            "type": "image",
            "format": "hounsfield",
            "modality": "CT",
            "num_channels": 1,
            "spatial_shape": list(settings["data"]["init_args"]["patch_size"]),
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": True,
            "channel_def": {"0": "image"},
        },
        prediction={
            "type": "object",
            "format": "box",
            "dtype": "float32",
            "num_channels": 1,
            "spatial_shape": ["n", 6],
            "value_range": [],
            "is_patch_data": False,
            "channel_def": {"0": "Nodule"},
        },
    )


def _plain(value: Any) -> Any:
    """Settings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
