"""From the numbers of a network to a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicom_ml.bridge.tensors import torch
from dicom_ml.errors import EncodingError

__all__ = ["Decision"]


@dataclass(frozen=True)
class Decision:
    """How the numbers of a network become a mask.

    Parameters
    ----------
    activation : {None, "softmax", "sigmoid"}
        Applied to the network's output first.
    decide : {"auto", "argmax", "threshold"}
        ``"auto"``: whole numbers of one channel are labels; one channel more than segments goes by argmax, the first
        being background; as many channels as segments go by the threshold.
    threshold : float
    """

    activation: str | None = None
    decide: str = "auto"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.activation not in (None, "softmax", "sigmoid"):
            raise EncodingError(f"activation is None, 'softmax' or 'sigmoid', found {self.activation!r}")
        if self.decide not in ("auto", "argmax", "threshold"):
            raise EncodingError(f"decide is 'auto', 'argmax' or 'threshold', found {self.decide!r}")

    def activated(self, pred: Any, axis: int = 0) -> Any:
        """``(C, ...)``, channels along ``axis``, after the activation, as float32 where it is a float."""
        if not pred.is_floating_point():
            return pred
        pred = pred.float()
        if self.activation == "softmax":
            return torch.softmax(pred, dim=axis)
        return torch.sigmoid(pred) if self.activation == "sigmoid" else pred

    def mask(self, pred: Any, numbers: Sequence[int], kind: str) -> Any:
        """What is written of an activated prediction: labels ``(1, ...)`` or channels ``(S, ...)``.

        ``numbers`` are the segments' values in label maps, in the order of the channels.
        """
        channels, segments = int(pred.shape[0]), len(numbers)
        if not pred.is_floating_point() or kind == "fractional":
            return pred
        decide = self.decide
        if decide == "auto":
            if channels == segments + 1:
                decide = "argmax"
            elif channels == 1 and segments > 1:
                return pred  # labels; whether they are whole numbers is looked at when they are written
            else:
                decide = "threshold"
        if decide == "argmax":
            if channels not in (segments, segments + 1):
                raise EncodingError(f"{channels} channels, {segments} segments: argmax needs as many, or one more")
            values = [0, *numbers] if channels == segments + 1 else list(numbers)
            return torch.tensor(values)[torch.as_tensor(pred.argmax(0, keepdim=True))]
        low, high = float(pred.min()), float(pred.max())
        if low < -1e-4 or high > 1 + 1e-4:
            raise EncodingError(
                f"the prediction runs from {low:.4g} to {high:.4g}, so it holds no probabilities; "
                "pass activation='sigmoid' (or 'softmax') to the writer"
            )
        return pred >= self.threshold
