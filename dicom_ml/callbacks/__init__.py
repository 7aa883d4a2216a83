"""Lightning callbacks that write predictions as DICOM while they are made.

Names are loaded when first used; they need Lightning, under either of its two names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_ml.callbacks.annotations import AnnotationWriter as AnnotationWriter
    from dicom_ml.callbacks.parametric_map import ParametricMapWriter as ParametricMapWriter
    from dicom_ml.callbacks.report import ReportWriter as ReportWriter
    from dicom_ml.callbacks.segmentation import SegmentationWriter as SegmentationWriter
    from dicom_ml.callbacks.validation import ValidationWriter as ValidationWriter

_HOMES = {
    "AnnotationWriter": "dicom_ml.callbacks.annotations",
    "ParametricMapWriter": "dicom_ml.callbacks.parametric_map",
    "ReportWriter": "dicom_ml.callbacks.report",
    "SegmentationWriter": "dicom_ml.callbacks.segmentation",
    "ValidationWriter": "dicom_ml.callbacks.validation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'dicom_ml.callbacks' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
