"""Where the image that a network saw lies, and which series it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.tensors import handle_of, torch
from dicom_ml.errors import DicomMLError, EncodingError, GeometryError
from dicom_ml.source import SourceSeries, as_source

__all__ = ["ImagePlace"]


@dataclass(frozen=True)
class ImagePlace:
    """Place of an image.

    Attributes
    ----------
    source : SourceSeries
    affine : ndarray of shape (4, 4), or None
        RAS over ``(w, h, d)``, MONAI's; None where it is not known.
    shape : tuple of int, or None
        Of the image, ``(W, H, D)`` or ``(W, H)``.
    name : str
        What it was loaded from; empty where that is not known.
    """

    source: SourceSeries
    affine: npt.NDArray[np.float64] | None = None
    shape: tuple[int, ...] | None = None
    name: str = ""

    @classmethod
    def of(cls, image: Any, meta: Any = None) -> ImagePlace:
        """The place of what an image is given as.

        Parameters
        ----------
        image : MetaTensor, Tensor, Volume, SourceSeries or handle
        meta : mapping, optional
            Of a plain tensor.

        Raises
        ------
        EncodingError
            If it does not say which series it came from.
        GeometryError
            If transforms of it are still pending.
        """
        if isinstance(image, torch.Tensor) or handle_of(meta):
            own = getattr(image, "meta", None)
            facts = own if handle_of(own) else meta
            handle = handle_of(facts)
            if handle is None or facts is None:
                raise EncodingError(_UNKNOWN)
            if getattr(image, "has_pending_operations", False):
                raise GeometryError(
                    "lazy transforms are still pending on the image, so its affine is not that of its voxels; apply "
                    "them first (monai.transforms.ApplyPendingd)"
                )
            shape = tuple(int(n) for n in image.shape[1:]) if isinstance(image, torch.Tensor) else None
            name = facts.get("filename_or_obj")
            affine = _matrix(getattr(image, "affine", None), facts)
            return cls(SourceSeries.from_string(handle), affine, shape, name if isinstance(name, str) else "")
        try:
            source = as_source(image)
        except DicomMLError:
            raise EncodingError(_UNKNOWN) from None
        return cls(source)


_UNKNOWN = (
    "the image does not say which series it was made from: load it with LoadDicomd or DicomReader and keep it a "
    "MetaTensor (is monai.data.set_track_meta on?), or pass on its handle"
)


def _matrix(affine: Any, facts: Any) -> npt.NDArray[np.float64] | None:
    affine = facts.get("affine") if affine is None else affine
    if affine is None:
        return None
    matrix = np.asarray(torch.as_tensor(affine).detach().cpu().to(torch.float64))
    return matrix if matrix.shape == (4, 4) else None
