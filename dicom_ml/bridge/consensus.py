"""What several readers drew of one finding, as one box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.report_classes import SEVERAL, settle_labels
from dicom_ml.errors import EncodingError

if TYPE_CHECKING:
    from dicom_ml.bridge.detections import Detection

__all__ = ["Consensus", "box_overlaps", "merged"]

FloatArray = npt.NDArray[np.float64]
_BOXES = ("mean", "median", "union", "intersection", "voxels")
#: Gives the box of what several detections have in common, for one list of them for each reader.
Agreement = Callable[[Sequence[Sequence["Detection"]]], tuple[FloatArray, FloatArray] | None]


@dataclass(frozen=True)
class Consensus:
    """How boxes of several reports that show one finding become one.

    Parameters
    ----------
    by : {"tracking", "overlap"}
        What makes boxes one finding: their tracking UID, or that they overlap. Boxes without a tracking UID stand
        alone.
    overlap : float
        Intersection over union from which boxes overlap.
    min_readers : int
        Reports that must show a finding; others are left out.
    box : {"mean", "median", "union", "intersection", "voxels"}
        The box that stands for all, of one box for each report: several of one report are joined first. ``"voxels"``
        is the box of the voxels that at least ``agreement`` of the readers mark, by their outlines or segments.
        Findings that have nothing in common have no such box and are left out.
    agreement : float
        Share of the readers of a finding.
    label : {"majority", "median", "highest", "lowest", "first", "error"}
        Their class.

    Notes
    -----
    The score is the mean of those that are known.
    """

    by: str = "tracking"
    overlap: float = 0.5
    min_readers: int = 1
    box: str = "mean"
    agreement: float = 0.5
    label: str = "majority"

    def __post_init__(self) -> None:
        if self.by not in ("tracking", "overlap"):
            raise EncodingError(f"by is 'tracking' or 'overlap', found {self.by!r}")
        if self.box not in _BOXES or self.label not in SEVERAL:
            raise EncodingError(f"box is one of {', '.join(_BOXES)}, label of {', '.join(SEVERAL)}; found {self!r}")
        if not (0 < self.overlap <= 1 and 0 < self.agreement <= 1):
            raise EncodingError(f"overlap and agreement lie above 0 and up to 1, found {self!r}")


def merged(found: Sequence[Detection], how: Consensus, agreement: Agreement | None = None) -> list[Detection]:
    """One detection for each finding, in the order in which findings first appear; ``agreement`` is for voxels."""
    clusters = _by_overlap(found, how.overlap) if how.by == "overlap" else _by_tracking(found)
    merged_ones = (_one([found[i] for i in cluster], how, agreement) for cluster in clusters)
    return [one for one in merged_ones if one is not None]


def _by_tracking(found: Sequence[Detection]) -> list[list[int]]:
    clusters: dict[str | int, list[int]] = {}
    for i, one in enumerate(found):
        clusters.setdefault(one.tracking_uid or i, []).append(i)
    return list(clusters.values())


def _by_overlap(found: Sequence[Detection], least: float) -> list[list[int]]:
    """Boxes that overlap, also by way of others."""
    parent = list(range(len(found)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    if found:
        overlaps = box_overlaps(np.array([d.low for d in found]), np.array([d.high for d in found]))
        for i, j in zip(*np.nonzero(np.triu(overlaps >= least, 1)), strict=True):
            a, b = sorted((root(int(i)), root(int(j))))
            parent[b] = a
    clusters: dict[int, list[int]] = {}
    for i in range(len(found)):
        clusters.setdefault(root(i), []).append(i)
    return list(clusters.values())


def box_overlaps(low: FloatArray, high: FloatArray) -> FloatArray:
    """Intersection over union of boxes ``(N, dimensions)`` with each other, shape (N, N)."""
    common = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = np.clip(common, 0, None).prod(axis=2)
    size = (high - low).prod(axis=1)
    return np.asarray(shared / np.maximum(size[:, None] + size[None] - shared, 1e-12))


def _one(members: Sequence[Detection], how: Consensus, agreement: Agreement | None) -> Detection | None:
    readers = sorted({d.reader for d in members})
    if len(readers) < how.min_readers:
        return None
    each = [[d for d in members if d.reader == reader] for reader in readers]
    lows, highs = [], []
    for own in each:
        lows.append(np.min([d.low for d in own], axis=0))
        highs.append(np.max([d.high for d in own], axis=0))
    if how.box == "voxels":
        if agreement is None:
            raise EncodingError("voxels are agreed on by readers of images in space only; choose another box=")
        common = agreement(each)
        if common is None:
            return None
        low, high = common
    elif how.box in ("mean", "median"):
        middle = np.mean if how.box == "mean" else np.median
        low, high = middle(lows, axis=0), middle(highs, axis=0)
    elif how.box == "union":
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    else:
        low, high = np.max(lows, axis=0), np.min(highs, axis=0)
        if (low >= high).any():
            return None
    scores = np.array([d.score for d in members])
    known = scores[~np.isnan(scores)]
    label = settle_labels([d.label for d in members], how.label, f"the finding {members[0].tracking_uid or 'shown'}")
    score = float(known.mean()) if len(known) else float("nan")
    return replace(members[0], low=np.asarray(low), high=np.asarray(high), label=label, score=score)
