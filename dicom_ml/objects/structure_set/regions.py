"""Regions of interest of a structure set, and their contours, as plain records (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import CodeError, DicomMLError

__all__ = ["CLOSED", "Contour", "RegionOfInterest", "region_index"]

FloatArray = npt.NDArray[np.float64]
#: Geometric types that enclose an area (PS3.3 C.8.8.6.1).
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour.

    Attributes
    ----------
    points : ndarray of shape (N, 3), float64, read-only
        LPS millimetres.
    geometric_type : str
        ``"CLOSED_PLANAR"``, ``"CLOSEDPLANAR_XOR"``, ``"OPEN_PLANAR"``, ``"OPEN_NONPLANAR"`` or ``"POINT"``.
    referenced_instances : tuple of str
        SOP Instance UIDs of the images on which it was drawn.
    number : int or None
    """

    points: FloatArray = field(repr=False)
    geometric_type: str
    referenced_instances: tuple[str, ...] = ()
    number: int | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def is_filled(self) -> bool:
        """Whether it encloses an area."""
        return self.geometric_type in CLOSED and len(self.points) >= 3

    @property
    def area(self) -> float:
        """Area that a closed contour encloses, in mm2; 0 of others."""
        if not self.is_filled:
            return 0.0
        points = self.points - self.points[0]
        return float(np.linalg.norm(np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)) / 2)


@dataclass(frozen=True, eq=False)
class RegionOfInterest:
    """One region of interest (ROI).

    Attributes
    ----------
    number : int
        ROI Number, unique in its structure set.
    name : str
    contours : tuple of Contour
        None of them where the structure set only names the region.
    interpreted_type : str
        RT ROI Interpreted Type, such as ``"ORGAN"``, ``"PTV"``, ``"EXTERNAL"``; empty where the file does not say.
    code : Code or None
        RT ROI Identification Code.
    color : tuple of 3 ints or None
        Red, green, blue, 0 to 255.
    description : str
    generation : str
        ROI Generation Algorithm: ``"AUTOMATIC"``, ``"SEMIAUTOMATIC"`` or ``"MANUAL"``; empty where not said.
    frame_of_reference_uid : str
    """

    number: int
    name: str
    contours: tuple[Contour, ...] = field(default=(), repr=False)
    interpreted_type: str = ""
    code: Code | None = None
    color: tuple[int, int, int] | None = None
    description: str = ""
    generation: str = ""
    frame_of_reference_uid: str = ""

    @property
    def is_filled(self) -> bool:
        """Whether any of its contours encloses an area, so that it can become a mask."""
        return any(c.is_filled for c in self.contours)

    @property
    def geometric_types(self) -> dict[str, int]:
        """How many contours there are of each geometric type."""
        return dict(Counter(c.geometric_type for c in self.contours))

    @cached_property
    def bounds(self) -> tuple[FloatArray, FloatArray] | None:
        """Lowest and highest LPS coordinates in mm; None without contours."""
        if not self.contours:
            return None
        points = np.concatenate([c.points for c in self.contours])
        return points.min(axis=0), points.max(axis=0)

    @property
    def referenced_instances(self) -> tuple[str, ...]:
        """SOP Instance UIDs of all images on which it was drawn."""
        return tuple(dict.fromkeys(uid for c in self.contours for uid in c.referenced_instances))


def region_index(regions: Sequence[RegionOfInterest], wanted: Sequence[Any]) -> list[int]:
    """Places of regions named by number, name, code or themselves.

    Raises
    ------
    CodeError
        If one is not there, or several are meant by one name.
    """
    found = []
    for want in wanted:
        hits = [i for i, region in enumerate(regions) if _is(region, want)]
        if len(hits) != 1:
            have = ", ".join(f"{r.number}: {r.name!r}" for r in regions[:30]) or "none"
            state = "no region is" if not hits else f"{len(hits)} regions are"
            raise CodeError(f"{state} {want!r}; there are {have}. Ask by number where names repeat")
        found.append(hits[0])
    return found


def _is(region: RegionOfInterest, want: Any) -> bool:
    if isinstance(want, RegionOfInterest):
        return region is want
    if isinstance(want, int | np.integer) and not isinstance(want, bool):
        return region.number == int(want)
    if isinstance(want, str) and region.name == want:
        return True
    try:
        return region.code is not None and region.code == parse_code(want, need_meaning=False)
    except (DicomMLError, TypeError):
        return False
