"""What tells one trained model from another."""

from __future__ import annotations

import hashlib
from typing import Any

from dicom_ml.bridge.tensors import torch
from dicom_ml.errors import EncodingError

__all__ = ["model_fingerprint"]


def model_fingerprint(module: Any) -> str:
    """A digest of a module's parameters and buffers: the same weights give the same digest, wherever they lie.

    Raises
    ------
    EncodingError
        If the weights are spread over processes, so that none can say.
    """
    digest = hashlib.sha256()
    state = module.state_dict()
    for name in sorted(state):
        value = state[name]
        plain = name.replace("_orig_mod.", "")  # torch.compile's wrapper
        if not isinstance(value, torch.Tensor):
            digest.update(f"{plain}={value!r}".encode())
            continue
        if hasattr(value, "full_tensor"):
            raise EncodingError(
                "the model's weights are spread over processes, so they have no fingerprint; say which model it is "
                "with model=, for example the name of its checkpoint"
            )
        digest.update(f"{plain}:{value.dtype}:{tuple(value.shape)}".encode())
        data = value.detach().cpu().contiguous()
        digest.update(data.reshape(-1).view(torch.uint8).numpy() if data.numel() else b"")
    return digest.hexdigest()
