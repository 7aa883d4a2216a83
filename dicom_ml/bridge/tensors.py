"""Tensors that know where they come from: what MONAI's transforms, datasets and callbacks here share.

Needs torch, and MONAI for MetaTensors. A MetaTensor here is ``(C, W, H, D)`` with a RAS affine, as MONAI has it, and
its meta holds only text, numbers and tensors: whatever else would break MONAI's collation or the loading of cached
items with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import GeometryError, MissingPackageError
from dicom_ml.geometry import Grid, from_monai, to_monai
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from dicom_ml.reading import Volume

try:
    import torch
except ImportError as error:
    raise MissingPackageError("this part of dicom_ml needs torch: pip install 'dicom-ml[torch]'") from error

__all__ = [
    "SOURCE_KEY",
    "handle_of",
    "has_monai",
    "image_meta",
    "image_tensor",
    "mask_tensor",
    "prediction_array",
    "series_name",
    "torch",
    "torch_array",
]

#: Key of a MetaTensor's meta, or of a batch, that holds the handle of the source series.
SOURCE_KEY = "dicom_source"

Array = npt.NDArray[Any]


def has_monai() -> bool:
    """Whether MONAI is installed."""
    from importlib.util import find_spec

    return find_spec("monai") is not None


def allow_cached_items() -> None:
    """Let ``torch.load(weights_only=True)`` read items that MONAI's transforms have left their traces on.

    MONAI itself allows MetaTensors, but not the enumerations and small arrays in the record of applied transforms:
    its PersistentDataset then takes every cached item for corrupt and computes it again. None of these can run code.
    """
    import enum

    from monai.utils import enums

    names = [value for value in vars(enums).values() if isinstance(value, type) and issubclass(value, enum.Enum)]
    kinds = [type(np.dtype(kind)) for kind in "?bhilqBHILQfd"]
    rebuild = np.empty(0).__reduce__()[0]
    torch.serialization.add_safe_globals([*names, np.ndarray, np.dtype, rebuild, *kinds])


def collate_meta_tensors() -> None:
    """Let torch's ``default_collate`` collate MetaTensors, as MONAI's own collation does once it has been used.

    Until then a batch carries the meta of its first item only, and says nothing of it.
    """
    from monai.data import MetaTensor
    from monai.data.utils import collate_meta_tensor_fn
    from torch.utils.data._utils.collate import default_collate_fn_map

    default_collate_fn_map.update({MetaTensor: collate_meta_tensor_fn})


if has_monai():
    allow_cached_items()
    collate_meta_tensors()


def torch_array(array: Array) -> Array:
    """The array in a type that torch can calculate with, C-contiguous."""
    wider = {"u2": np.int32, "u4": np.int64, "u8": np.int64}.get(array.dtype.str[1:])
    return np.ascontiguousarray(array if wider is None else array.astype(wider))


# ---------------------------------------------------------------------- to tensors
def image_meta(volume: Volume) -> dict[str, Any]:
    """Facts of a volume for a MetaTensor's meta, its ``affine`` among them."""
    source = volume.source
    meta = _geometry_meta(volume.grid)
    meta |= {
        "modality": volume.modality,
        "unit": "" if volume.unit is None else volume.unit.value,
        "padding_value": float("nan") if volume.padding_value is None else float(volume.padding_value),
        "filled_slices": len(volume.gaps),
    }
    if source is not None:
        meta |= _series_meta(source) | {SOURCE_KEY: source.to_string()}
    return meta


def _series_meta(source: SourceSeries) -> dict[str, Any]:
    return {
        "study_instance_uid": source.study_instance_uid,
        "series_instance_uid": source.series_instance_uid,
    }


def _geometry_meta(grid: Grid) -> dict[str, Any]:
    from monai.utils import MetaKeys, SpaceKeys

    d, h, w = grid.shape
    affine = torch.from_numpy(to_monai(np.empty((1, 1, 1, 1), bool), grid.affine)[1])
    return {
        str(MetaKeys.AFFINE.value): affine,
        str(MetaKeys.ORIGINAL_AFFINE.value): affine.clone(),
        str(MetaKeys.SPATIAL_SHAPE.value): torch.tensor([w, h, d]),
        str(MetaKeys.SPACE.value): SpaceKeys.RAS,
        str(MetaKeys.ORIGINAL_CHANNEL_DIM.value): 0,
    }


def _meta_tensor(array: Array, meta: dict[str, Any]) -> Any:
    """A MetaTensor, or where MONAI's ``set_track_meta(False)`` holds, a plain tensor."""
    from monai.data import MetaTensor

    return MetaTensor.ensure_torch_and_prune_meta(torch.from_numpy(torch_array(array)), meta)


def image_tensor(volume: Volume, name: str = "") -> Any:
    """A volume as a MetaTensor ``(1, W, H, D)``."""
    meta = image_meta(volume) | ({"filename_or_obj": name} if name else {})
    return _meta_tensor(to_monai(volume.array, volume.affine)[0], meta)


def mask_tensor(array: Array, source: SourceSeries, handle: str, name: str = "") -> Any:
    """A label map or channels ``(C, D, H, W)`` on the grid of ``source`` as a MetaTensor ``(C, W, H, D)``."""
    assert source.grid is not None
    meta = _geometry_meta(source.grid) | _series_meta(source) | {SOURCE_KEY: handle}
    if name:
        meta["filename_or_obj"] = name
    return _meta_tensor(to_monai(array, source.grid.affine)[0], meta)


def series_name(source: Any) -> str:
    """How a source is called in MONAI's ``filename_or_obj``: its path, or that of the first of several files.

    A folder is called by its path without a slash at the end: ``SaveImage`` names its files by what comes after the
    last slash, and all series would have the same name.
    """
    import os

    if isinstance(source, (list, tuple)) and source:
        source = source[0]
    if not isinstance(source, (str, os.PathLike)):
        return ""
    path = os.fspath(source)
    return path.rstrip("/" if "://" in path else "/" + os.sep) or path


# ---------------------------------------------------------------------- from tensors
def handle_of(meta: Mapping[str, Any] | None) -> str | None:
    """The source's handle in the meta of one item (not of a batch); None where there is none."""
    handle = None if meta is None else meta.get(SOURCE_KEY)
    return handle if isinstance(handle, str) and handle else None


def prediction_array(tensor: Any, affine: Any = None) -> tuple[Array, npt.NDArray[np.float64]]:
    """A prediction of MONAI's ``(C, W, H, D)`` as an array ``(C, D, H, W)`` and its LPS affine.

    Parameters
    ----------
    tensor : MetaTensor, Tensor or ndarray
        On any device, of any type.
    affine : array_like of shape (4, 4), optional
        RAS affine, for what is no MetaTensor.

    Raises
    ------
    GeometryError
        If it is a batch, has not four dimensions, or no affine is known.
    """
    if getattr(tensor, "is_batch", False) or tensor.ndim == 5:
        raise GeometryError(
            f"the prediction is a batch of shape {tuple(tensor.shape)}; split it into items first, "
            "with monai.data.decollate_batch"
        )
    if tensor.ndim != 4:
        raise GeometryError(
            f"the prediction has shape {tuple(tensor.shape)}; a volume is (C, W, H, D), with a channel first, "
            "and a single slice keeps its axis: (C, W, H, 1)"
        )
    if getattr(tensor, "has_pending_operations", False):
        raise GeometryError(
            "lazy transforms are still pending on the prediction, so its affine is not that of its voxels; "
            "apply them first (monai.transforms.ApplyPendingd)"
        )
    known = getattr(tensor, "affine", None) if affine is None else affine
    if known is None:
        raise GeometryError(
            "the prediction has no affine, so nobody knows where its voxels lie: keep it a MetaTensor "
            "(is monai.data.set_track_meta on?), or give its affine along"
        )
    matrix = np.asarray(torch.as_tensor(known).detach().cpu().to(torch.float64))
    if matrix.shape != (4, 4):
        raise GeometryError(f"the affine of a volume is 4x4, found shape {matrix.shape}")
    if isinstance(tensor, torch.Tensor):
        data = tensor.detach().cpu()
        if hasattr(data, "as_tensor"):
            data = data.as_tensor()
        array = (data.float() if data.dtype in (torch.bfloat16, torch.float16) else data).numpy()
    else:
        array = np.asarray(tensor)
    return from_monai(array, matrix)
