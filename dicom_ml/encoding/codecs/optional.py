"""Decoding libraries, imported by the first frame that needs them."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

__all__ = ["library"]


@cache
def library(name: str) -> Any:
    """Return the module ``name``, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
