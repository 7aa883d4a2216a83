"""Lightning under whichever of its two names a program uses."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from dicom_ml.errors import MissingPackageError

__all__ = ["lightning"]


def lightning() -> Any:
    """``lightning.pytorch`` or ``pytorch_lightning``: the one that the program has imported, else the one installed.

    Classes of the two are strangers to each other: a trainer knows only data modules of its own package.
    """
    names = ("lightning.pytorch", "pytorch_lightning")
    loaded = [name for name in names if name in sys.modules]
    for name in loaded or names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingPackageError("this needs Lightning: pip install 'dicom-ml[lightning]'")
