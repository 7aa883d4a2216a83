"""Files of labels, whichever kind they are: segmentations, and structure sets whose regions stand as segments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.untrusted import check_deflated
from dicom_ml.objects.segmentation import Segment, Segmentation, read_segmentation
from dicom_ml.objects.structure_set import RegionOfInterest, StructureSet, read_structure_set

__all__ = ["ContourLabels", "open_labels"]

_UNKNOWN = Code("UNKNOWN", "99UNKNOWN", "Unknown")


class ContourLabels:
    """A structure set read as a segmentation is.

    Attributes
    ----------
    segments : list of Segment
        One for each region that encloses an area: its name, its code and its ROI Number (counted from 1 instead, where
        ROI Numbers cannot be labels).
    kind : str
    """

    kind = "binary"

    def __init__(self, contours: StructureSet, policies: Mapping[str, Any] | None = None) -> None:
        self._contours = contours
        self._policies = dict(policies or {})
        regions = [region for region in contours.regions if region.is_filled]
        count = all(1 <= region.number <= 65535 for region in regions)
        numbers = [region.number if count else place for place, region in enumerate(regions, start=1)]
        self._regions: dict[int, RegionOfInterest] = dict(zip(numbers, regions, strict=True))
        self.segments = [
            Segment(r.name[:64].strip() or f"ROI {n}", r.code or _UNKNOWN, _UNKNOWN, color=r.color, number=n)
            for n, r in self._regions.items()
        ]

    def label_map(
        self,
        on: Any = None,
        segments: Sequence[int] | None = None,
        *,
        overlap: str = "error",
        outside: str = "error",
        resample: bool = False,
        threshold: float = 0.5,
    ) -> npt.NDArray[Any]:
        """As :meth:`dicom_ml.Segmentation.label_map`; contours lie on no lattice, so none is resampled."""
        wanted = list(self._regions) if segments is None else list(segments)
        if not wanted:
            grid = getattr(on, "grid", on)
            return np.zeros(grid.shape, np.uint8)
        # ROI Numbers need not be labels: regions go by themselves
        chosen = {self._regions[n]: n for n in sorted(wanted)}
        return self._contours.label_map(on, chosen, overlap=overlap, outside=outside, **self._policies)

    def channels(
        self, on: Any = None, segments: Sequence[int] | None = None, *, outside: str = "error", resample: bool = False
    ) -> npt.NDArray[Any]:
        """As :meth:`dicom_ml.Segmentation.channels`."""
        wanted = list(self._regions) if segments is None else list(segments)
        return self._contours.channels(on, [self._regions[n] for n in wanted], outside=outside, **self._policies)


def open_labels(item: Any, contours: Mapping[str, Any] | None = None) -> Any:
    """A :class:`Segmentation`, or a structure set in its place.

    Parameters
    ----------
    item : path, Segmentation or StructureSet
    contours : mapping, optional
        Policies of :meth:`StructureSet.mask`: ``between``, ``fill``, ``combine``.
    """
    if isinstance(item, Segmentation | ContourLabels):
        return item
    if isinstance(item, StructureSet):
        return ContourLabels(item, contours)
    path = os.fspath(item)
    if _sop_class(path) == sop.RT_STRUCTURE_SET:
        return ContourLabels(read_structure_set(path), contours)
    return read_segmentation(path)


def _sop_class(path: str | bytes) -> str:
    """SOP class of a file, from its first elements; empty where it cannot be told, which its reader will say."""
    from pydicom.filereader import read_partial

    try:
        with open(path, "rb") as file:
            check_deflated(file, os.path.basename(os.fsdecode(path)))
            head = read_partial(file, stop_when=lambda tag, vr, length: tag > 0x00080016, force=True)
        return str(head.get("SOPClassUID") or "")
    except Exception:
        return ""
