"""The whole path in a few minutes: chest CT in, a network trained on phantoms, a DICOM segmentation out.

:func:`run_demo` is what ``dicom-ml demo`` calls. It needs MONAI, Lightning, SciPy and Pillow
(``pip install 'dicom-ml[all]'``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_ml.demo.run import DemoOptions as DemoOptions
    from dicom_ml.demo.run import DemoResult as DemoResult
    from dicom_ml.demo.run import run_demo as run_demo

__all__ = ["DemoOptions", "DemoResult", "run_demo"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dicom_ml.demo' has no attribute {name!r}")
    value = getattr(import_module("dicom_ml.demo.run"), name)
    globals()[name] = value
    return value
