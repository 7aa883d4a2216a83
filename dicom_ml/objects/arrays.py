"""Arrays as callers have them: numpy or torch, which this package never imports itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError

__all__ = ["as_array"]


def as_array(mask: Any) -> npt.NDArray[Any]:
    """A numpy view of a numpy array or a torch tensor (any device; detached).

    Raises
    ------
    EncodingError
        If it is neither, or holds neither booleans nor real numbers.
    """
    if not isinstance(mask, np.ndarray) and hasattr(mask, "detach"):
        mask = mask.detach().cpu()
        if hasattr(mask, "as_tensor"):
            mask = mask.as_tensor()
        if str(mask.dtype) == "torch.bfloat16":
            mask = mask.float()
        mask = mask.numpy()
    array = np.asarray(mask)
    if array.dtype.kind not in "biuf":
        raise EncodingError(f"a mask holds booleans, integers or floats, found dtype {array.dtype}")
    return array
