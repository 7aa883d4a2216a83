"""Values of interest for display: windows and lookup tables (PS3.3 C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import SeriesError

__all__ = ["FUNCTIONS", "DisplayTable", "Window", "apply_table", "apply_window"]

#: VOI LUT Functions of the standard (0028,1056).
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """A window as a file offers it, in the values of :attr:`Volume.array`.

    Attributes
    ----------
    center, width : float
    function : str
        ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.
    name : str
        Window Center & Width Explanation, such as ``"LUNG"``; may be empty.
    """

    center: float
    width: float
    function: str = "LINEAR"
    name: str = ""


@dataclass(frozen=True, eq=False)
class DisplayTable:
    """A VOI lookup table: ``display = table[value - first]``, clamped at both ends; entries run from 0 to 1."""

    first: int
    table: npt.NDArray[np.float32]
    name: str = ""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DisplayTable)
            and (self.first, self.name) == (other.first, other.name)
            and np.array_equal(self.table, other.table)
        )

    def __hash__(self) -> int:
        return hash((self.first, self.name, self.table.tobytes()))


def apply_window(values: npt.NDArray[Any], window: Window, out: npt.NDArray[np.float32]) -> None:
    """Window ``values`` to 0..1 by the standard's formulas (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = float(window.center), float(window.width)
    if window.function not in FUNCTIONS:
        raise SeriesError(f"VOI LUT Function {window.function!r} is not one of {', '.join(FUNCTIONS)}")
    if not np.isfinite([center, width]).all() or width <= 0 or (window.function == "LINEAR" and width < 1):
        least = "at least 1" if window.function == "LINEAR" else "above 0"
        raise SeriesError(f"a {window.function} window has a width {least}, found center {center:g} width {width:g}")
    np.copyto(out, values, casting="unsafe")
    if window.function == "SIGMOID":
        out -= np.float32(center)
        out *= np.float32(-4.0 / width)
        np.clip(out, -80, 80, out=out)  # beyond, exp() leaves float32 and the result is 0 or 1 anyway
        np.exp(out, out=out)
        out += 1
        np.reciprocal(out, out=out)
        return
    if window.function == "LINEAR":
        center, width = center - 0.5, width - 1
        if width == 0:
            np.greater(values, center, out=out, casting="unsafe")
            return
    out -= np.float32(center)
    out /= np.float32(width)
    out += np.float32(0.5)
    np.clip(out, 0, 1, out=out)


def apply_table(values: npt.NDArray[Any], table: DisplayTable, out: npt.NDArray[np.float32]) -> None:
    """Look ``values`` (rounded) up in ``table``."""
    index = np.clip(np.rint(values).astype(np.int64) - table.first, 0, len(table.table) - 1)
    np.take(table.table, index, out=out)
