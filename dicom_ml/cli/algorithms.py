"""Algorithms as the command line names them."""

from __future__ import annotations

from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm

__all__ = ["algorithm_of"]


def algorithm_of(text: str | None) -> Algorithm | str | None:
    """The algorithm that ``NAME:VERSION`` names; ``"manual"`` and None as they are."""
    if text is None or text.lower() == "manual":
        return text
    name, colon, version = text.rpartition(":")
    if not colon or not name or not version:
        raise EncodingError(f"--algorithm is NAME:VERSION or manual, found {text!r}")
    return Algorithm(name, version)
