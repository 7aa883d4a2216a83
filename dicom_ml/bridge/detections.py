"""Findings of reports as targets of detectors: boxes, classes and scores on an image as it is.

Boxes are in edge-based coordinates, as DICOM's and MONAI's are: a voxel ``i`` covers ``i`` to ``i + 1``, so a box from
``a`` to ``b`` holds ``image[a:b]``, and the whole image is the box from 0 to its size. MONAI's flips, zooms, crops and
masks of boxes take them so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.consensus import Agreement, Consensus, merged
from dicom_ml.bridge.image_grid import PlacedImage
from dicom_ml.bridge.region_bounds import Elsewhere, RegionBounds, segmentations_by_uid
from dicom_ml.bridge.region_labels import RegionPainter
from dicom_ml.bridge.report_classes import ReportClasses, settle_labels
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.report import MeasurementGroup, Report, SegmentReference, read_report
from dicom_ml.objects.report import SegmentationFrame as FrameReference
from dicom_ml.objects.report.builders import score_of
from dicom_ml.objects.segmentation import Segmentation, read_segmentation

__all__ = ["Detection", "Detections", "ReportTargets", "opened_reports", "opened_segmentations"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detection:
    """One box.

    Attributes
    ----------
    low, high : ndarray of shape (2,) or (3,)
    label : int
    score : float
        Certainty of Finding from 0 to 1; NaN where it is not known.
    tracking_uid : str
    reader : int
        Place of its report among those given.
    group : MeasurementGroup, optional
        That it was made of.
    """

    low: FloatArray
    high: FloatArray
    label: int
    score: float = float("nan")
    tracking_uid: str = ""
    reader: int = 0
    group: MeasurementGroup | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of an image.

    Attributes
    ----------
    boxes : ndarray of float32, shape (N, 6) or (N, 4)
        ``x, y[, z]`` of the start, then of the stop: along MONAI's axes ``(W, H, D)``, or RAS millimetres.
    labels : ndarray of int64, shape (N,)
    scores : ndarray of float32, shape (N,)
        NaN where a box has none.
    tracking_uids : tuple of str
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    tracking_uids: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.boxes)


class ReportTargets:
    """How reports become targets; see :class:`dicom_ml.transforms.LoadReport`, which describes the parameters."""

    def __init__(
        self,
        classes: ReportClasses,
        *,
        elsewhere: str = "error",
        point_size: Any = None,
        consensus: Consensus | None = None,
        several: str = "error",
        missing: str | int = "error",
    ) -> None:
        if elsewhere not in ("error", "drop"):
            raise EncodingError(f"elsewhere is 'error' or 'drop', found {elsewhere!r}")
        if isinstance(missing, str) and missing != "error":
            raise EncodingError(f"missing is 'error' or a number, found {missing!r}")
        self.classes = classes
        self.elsewhere = elsewhere
        self.point_size = point_size
        self.consensus = consensus
        self.several = several
        self.missing = missing
        if not classes.count or several:
            settle_labels([0], several)  # says what several may be

    # ------------------------------------------------------------------ boxes
    def boxes(
        self,
        reports: Any,
        image: PlacedImage,
        segmentations: Any = (),
        space: str = "image",
        dimensions: int | None = None,
    ) -> Detections:
        """Boxes of the findings of reports on an image.

        Parameters
        ----------
        reports : path, Report or sequence of these
        image : PlacedImage
        segmentations : path, Segmentation or sequence of these
            That regions may be segments of.
        space : {"image", "world"}
            MONAI's image coordinates, or RAS millimetres.
        dimensions : int, optional
            2 or 3; by default the image's.
        """
        flat = image.grid is None
        if space not in ("image", "world"):
            raise EncodingError(f"space is 'image' or 'world', found {space!r}")
        if flat and space == "world":
            raise EncodingError("the image has no place in space, so boxes on it have no millimetres")
        opened = opened_reports(reports, image)
        onto = None if flat else "world" if space == "world" else image.grid
        masks = opened_segmentations(segmentations, opened)
        extents = RegionBounds(image.source, onto, masks, self.point_size)
        found: list[Detection] = []
        for reader, (report, _) in enumerate(opened):
            own = [d for group in report.groups if (d := self._detection(group, extents, reader)) is not None]
            found += own
        if self.consensus is not None:
            found = merged(found, self.consensus, None if flat else self._agreement(extents))
        columns = dimensions or (2 if flat else image.dimensions)
        if columns == 2 and not flat:
            assert image.grid is not None
            if image.grid.shape[0] != 1:
                raise EncodingError(f"an image of {image.grid.shape[0]} slices has boxes of three dimensions")
        return _arrays(found, columns, space)

    def _detection(self, group: MeasurementGroup, extents: RegionBounds, reader: int) -> Detection | None:
        if not group.regions:
            return None
        label = self.classes.label(group)
        if label is None:
            return None
        try:
            bounds = extents.of_group(group)
        except Elsewhere as error:
            if self.elsewhere == "drop":
                return None
            raise Elsewhere(f"{error}; pass elsewhere='drop' to leave such groups out") from error
        if bounds is None:
            return None
        return Detection(*bounds, label, score_of(group), group.tracking_uid or "", reader, group)

    def _agreement(self, extents: RegionBounds) -> Agreement:
        """Boxes of the voxels that readers agree on."""
        painter = RegionPainter(extents.source, extents.segmentations, self.point_size)
        share = self.consensus.agreement if self.consensus is not None else 1.0

        def common(readers: Sequence[Sequence[Detection]]) -> tuple[FloatArray, FloatArray] | None:
            window = painter.agreed([[d.group for d in own if d.group is not None] for own in readers], share)
            return None if window is None else extents.of_mask(*window)

        return common

    # ------------------------------------------------------------------ classes of whole images
    def label(self, reports: Any) -> int:
        """The class that reports give the image as a whole.

        Raises
        ------
        EncodingError
            If there is none, or several, and no policy says what then.
        """
        labels = self._labels(reports)
        if not labels:
            if isinstance(self.missing, int):
                return self.missing
            what = "a finding" if self.classes.question is None else f"an answer to {self.classes.question}"
            raise EncodingError(f"no report has {what}; pass missing= the number of the class that such images have")
        return settle_labels(labels, self.several)

    def present(self, reports: Any) -> npt.NDArray[np.float32]:
        """Which classes reports name, as a vector of 0 and 1."""
        out = np.zeros(self.classes.count, dtype=np.float32)
        out[np.array(self._labels(reports), dtype=np.intp) - self.classes.first] = 1
        return out

    def _labels(self, reports: Any) -> list[int]:
        per_reader = [self.classes.labels(_read(one, None)) for one in _listed(reports)]
        return [label for own in per_reader for label in own]


# ---------------------------------------------------------------------- opening
def opened_reports(reports: Any, image: PlacedImage) -> list[tuple[Report, Any]]:
    """Reports read onto the series of an image, each with what it was given as.

    Raises
    ------
    EncodingError
        If there is none.
    """
    listed = _listed(reports)
    if not listed:
        raise EncodingError("no report was given")
    return [(_read(one, image), one) for one in listed]


def _read(one: Any, image: PlacedImage | None) -> Report:
    if isinstance(one, Report) and image is None:
        return one
    data = one.to_bytes() if isinstance(one, Report) else one if isinstance(one, bytes) else os.fspath(one)
    report = read_report(data, source=None if image is None else image.source)
    if report.problems:
        warnings.warn(
            f"{len(report.problems)} regions of a report could not be understood and have no label; the first: "
            f"{report.problems[0]}",
            DicomMLWarning,
            stacklevel=2,
        )
    return report


def opened_segmentations(given: Any, opened: Sequence[tuple[Report, Any]]) -> dict[str, Segmentation]:
    """Segmentations by SOP Instance UID: those given, and those that reports in memory hold."""
    files = [one if isinstance(one, Segmentation) else read_segmentation(os.fspath(one)) for one in _listed(given)]
    for _, one in opened:
        for group in one.groups if isinstance(one, Report) else ():
            region = group.region
            if isinstance(region, SegmentReference | FrameReference) and isinstance(region.segmentation, Segmentation):
                files.append(region.segmentation)
    return segmentations_by_uid(files)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


# ---------------------------------------------------------------------- arrays
def _arrays(found: Sequence[Detection], columns: int, space: str) -> Detections:
    rows = []
    for one in found:
        # array indices run (d, h, w), MONAI's axes the other way; millimetres are (x, y, z) as they are
        low, high = (one.low, one.high) if space == "world" else (one.low[::-1], one.high[::-1])
        rows.append([*low[:columns], *high[:columns]])
    return Detections(
        np.array(rows, dtype=np.float32).reshape(-1, 2 * columns),
        np.array([d.label for d in found], dtype=np.int64),
        np.array([d.score for d in found], dtype=np.float32),
        tuple(d.tracking_uid for d in found),
    )
