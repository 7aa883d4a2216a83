"""Volumes to and from SimpleITK, nibabel and MONAI; each package is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_ml.errors import GeometryError, MissingPackageError
from dicom_ml.geometry import from_monai, monai_affine, to_monai
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from dicom_ml.reading.volume import Volume

__all__ = [
    "SOURCE_KEY",
    "from_metatensor",
    "from_nibabel",
    "from_sitk",
    "to_metatensor",
    "to_nibabel",
    "to_sitk",
]

#: Key of a MetaTensor's meta that holds the handle of the source series.
SOURCE_KEY = "dicom_source"


def _package(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(f"this needs {name}: pip install 'dicom-ml[{extra}]'") from error


def to_sitk(volume: Volume) -> Any:
    """Voxels and geometry as a SimpleITK image; both speak LPS, so nothing is flipped."""
    sitk = _package("SimpleITK", "sitk")
    grid = volume.grid
    if not grid.is_orthogonal:
        raise GeometryError(
            "a SimpleITK image has its axes at right angles, this volume is sheared: call straightened() first"
        )
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    d, h, w = grid.spacing
    unit = grid.affine[:3, [2, 1, 0]] / np.array([w, h, d])
    image.SetSpacing((w, h, d))
    image.SetOrigin(tuple(float(v) for v in grid.origin))
    image.SetDirection(tuple(float(v) for v in unit.ravel()))
    return image


def from_sitk(image: Any, **facts: Any) -> Volume:
    """A volume of a 3D SimpleITK image with one component."""
    from dicom_ml.reading.volume import Volume

    sitk = _package("SimpleITK", "sitk")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise GeometryError(
            f"a volume has 3 dimensions and one component, found {image.GetDimension()} and "
            f"{image.GetNumberOfComponentsPerPixel()}"
        )
    affine = np.eye(4)
    columns = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = columns[:, [2, 1, 0]]
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), affine, **facts)


def to_nibabel(volume: Volume) -> Any:
    """A NIfTI image: array ``(W, H, D)``, RAS affine in both the sform and the qform."""
    nib = _package("nibabel", "nifti")
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype in (np.int64, np.uint64):
        # NIfTI readers often refuse 64-bit integers
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        info = np.iinfo(np.int32)
        array = array.astype(np.int32 if info.min <= low and high <= info.max else np.float64)
    image = nib.Nifti1Image(array.transpose(2, 1, 0), monai_affine(volume.affine))
    image.header.set_xyzt_units("mm")
    return image


def from_nibabel(image: Any, **facts: Any) -> Volume:
    """A volume of a 3D NIfTI image; a fourth dimension of length 1 is taken off."""
    from dicom_ml.reading.volume import Volume

    _package("nibabel", "nifti")
    data = np.asanyarray(image.dataobj)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise GeometryError(f"a volume has 3 dimensions, the NIfTI image has {data.ndim}")
    return Volume(np.ascontiguousarray(data.transpose(2, 1, 0)), monai_affine(image.affine), **facts)


def to_metatensor(volume: Volume) -> Any:
    """A MetaTensor ``(1, W, H, D)`` with RAS affine."""
    torch = _package("torch", "monai")
    monai_data = _package("monai.data", "monai")
    array, affine = to_monai(volume.array, volume.affine)
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        # torch has next to no arithmetic for these
        array = array.astype({2: np.int32, 4: np.int64, 8: np.int64}[array.dtype.itemsize])
    meta: dict[str, Any] = {
        "original_affine": torch.as_tensor(affine.copy()),
        "spatial_shape": torch.tensor(array.shape[1:]),
        "space": "RAS",
        "original_channel_dim": 0,
        "modality": volume.modality,
        "unit": "" if volume.unit is None else volume.unit.value,
    }
    if volume.source is not None:
        meta[SOURCE_KEY] = volume.source.to_string()
    return monai_data.MetaTensor(
        torch.from_numpy(np.ascontiguousarray(array)), affine=torch.as_tensor(affine), meta=meta
    )


def from_metatensor(tensor: Any, **facts: Any) -> Volume:
    """A volume of a MetaTensor ``(1, W, H, D)``."""
    from dicom_ml.reading.volume import Volume

    _package("torch", "monai")
    if tensor.ndim != 4 or tensor.shape[0] != 1:
        raise GeometryError(f"a volume of MONAI is (1, W, H, D), found shape {tuple(tensor.shape)}")
    data = tensor.detach().cpu()
    meta = getattr(tensor, "meta", {})
    array, affine = from_monai(np.asarray(data.numpy()), np.asarray(tensor.affine, dtype=np.float64))
    if "source" not in facts and isinstance(meta.get(SOURCE_KEY), str):
        facts["source"] = SourceSeries.from_string(meta[SOURCE_KEY])
    facts.setdefault("modality", str(meta.get("modality", "")))
    return Volume(np.ascontiguousarray(array[0]), affine, **facts)
