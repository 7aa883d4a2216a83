"""Measurement groups of what models give: boxes, classes, and segments with a volume."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas
from dicom_ml.objects.report.descriptions import Evaluation, Measurement, MeasurementGroup, Site
from dicom_ml.objects.report.regions import Box, Contours, Shape
from dicom_ml.objects.report.segments import SegmentReference

__all__ = [
    "CLASSIFICATION_OPTIONS",
    "DETECTION_OPTIONS",
    "MEASUREMENT_OPTIONS",
    "boxes_of",
    "classification_group",
    "detection_groups",
    "largest_distance",
    "score_of",
    "segment_groups",
    "split_options",
]

DETECTION_OPTIONS = (
    "classes",
    "site",
    "space",
    "slices",
    "measurements",
    "tracking_ids",
    "tracking_uids",
    "min_score",
)
CLASSIFICATION_OPTIONS = ("classes", "question", "site", "images", "tracking_id")
MEASUREMENT_OPTIONS = ("segments",)
FloatArray = npt.NDArray[np.float64]


def split_options(options: Mapping[str, Any], own: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of the options is for the groups, and what for the report."""
    return {k: v for k, v in options.items() if k in own}, {k: v for k, v in options.items() if k not in own}


def _certainty(score: float, **more: Any) -> Measurement:
    # the concept is defined in percent (PS3.16 Annex D, 111012)
    return Measurement(c.CERTAINTY, 100.0 * float(score), c.PERCENT, **more)


def _check_scores(scores: Any, count: int) -> FloatArray:
    values = as_array(scores).astype(np.float64).reshape(-1)
    if len(values) != count:
        raise EncodingError(f"{count} results were given, but {len(values)} scores")
    if len(values) and not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise EncodingError("scores are probabilities from 0 to 1; apply a sigmoid or softmax first")
    return np.minimum(values, 1.0)


# ---------------------------------------------------------------------- detections
def detection_groups(
    boxes: Any,
    scores: Any,
    labels: Any,
    canvas: Canvas,
    *,
    classes: Any = None,
    site: Any = None,
    space: str = "index",
    slices: Any = None,
    measurements: Sequence[Sequence[Measurement]] | None = None,
    tracking_ids: Sequence[str] | None = None,
    tracking_uids: Sequence[str | None] | None = None,
    min_score: float = 0.0,
) -> list[MeasurementGroup]:
    """A group for each box; see :meth:`dicom_ml.Report.from_detections`."""
    array = as_array(boxes).astype(np.float64) if np.size(boxes) else np.zeros((0, 6))
    if array.ndim != 2 or array.shape[1] not in (4, 6):
        raise EncodingError(f"boxes have shape (N, 6) or (N, 4), start then stop, found {array.shape}")
    count, dimensions = len(array), array.shape[1] // 2
    values = None if scores is None else _check_scores(scores, count)
    findings = _findings(labels, classes, count)
    per_slice = None if slices is None else np.asarray(as_array(slices)).reshape(-1).astype(int)
    for name, given in (
        ("slices", per_slice),
        ("measurements", measurements),
        ("tracking_ids", tracking_ids),
        ("tracking_uids", tracking_uids),
    ):
        if given is not None and len(given) != count:
            raise EncodingError(f"{count} boxes were given, but {len(given)} {name}")
    shape = None if canvas.grid is None or space == "mm" else canvas.grid.shape[3 - dimensions :]
    groups = []
    lost = 0
    for i in range(count):
        if values is not None and values[i] < min_score:
            continue
        start, stop = array[i, :dimensions], array[i, dimensions:]
        if shape is not None:
            start, stop = np.clip(start, 0, shape), np.clip(stop, 0, shape)
        if not (np.isfinite(array[i]).all() and (start < stop).all()):
            lost += 1
            continue
        own = [] if values is None else [_certainty(values[i])]
        own += [] if measurements is None else list(measurements[i])
        box = Box(start, stop, None if per_slice is None else int(per_slice[i]), space)
        groups.append(
            MeasurementGroup(
                finding=findings[i],
                site=site,
                region=box,
                measurements=tuple(own),
                tracking_id=None if tracking_ids is None else tracking_ids[i],
                tracking_uid=None if tracking_uids is None else tracking_uids[i],
            )
        )
    if lost:
        warnings.warn(
            f"{lost} of {count} boxes hold nothing of the image (empty, outside, or not finite) and were left out",
            DicomMLWarning,
            stacklevel=3,
        )
    return groups


def boxes_of(groups: Sequence[MeasurementGroup]) -> tuple[FloatArray, FloatArray, list[MeasurementGroup]]:
    """Bounds and scores of groups; see :meth:`dicom_ml.Report.boxes`."""
    found: list[tuple[FloatArray, FloatArray, MeasurementGroup]] = []
    space = None
    for group in groups:
        region = group.region
        if not isinstance(region, Shape | Contours) or space not in (None, region.space):
            continue
        space = region.space
        low, high = region.bounds
        if isinstance(region, Shape) and region.slice is not None:
            low, high = np.array([region.slice, *low]), np.array([region.slice + 1, *high])
        found.append((low, high, group))
    dimensions = max((len(low) for low, _, _ in found), default=3)
    found = [(low, high, group) for low, high, group in found if len(low) == dimensions]
    boxes = np.array([[*low, *high] for low, high, _ in found], dtype=np.float64).reshape(-1, 2 * dimensions)
    scores = np.array([score_of(group) for _, _, group in found], dtype=np.float64)
    return boxes, scores, [group for _, _, group in found]


def score_of(group: MeasurementGroup) -> float:
    """Certainty of Finding from 0 to 1; NaN where there is none. It is defined in percent; some write a fraction."""
    certainty = group.measurement(c.CERTAINTY)
    if certainty is None or certainty.value is None:
        return float("nan")
    return certainty.value if certainty.unit == c.ONE else certainty.value / 100


def _findings(labels: Any, classes: Any, count: int) -> list[Code | None]:
    if labels is None:
        if classes is None:
            return [None] * count
        labels = [0] * count
    listed = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if len(listed) != count:
        raise EncodingError(f"{count} boxes were given, but {len(listed)} labels")
    table = None if classes is None else classes if isinstance(classes, Mapping) else dict(enumerate(classes))
    known: dict[Any, Code] = {}
    for label in listed:
        if label in known:
            continue
        if table is not None and label in table:
            known[label] = parse_code(table[label])
        elif isinstance(label, int | float):
            raise EncodingError(
                f"label {label!r} is a number without a meaning; pass classes={{{label!r}: 'SCT:27925004', ...}}"
            )
        else:
            known[label] = parse_code(label)
    return [known[label] for label in listed]


# ---------------------------------------------------------------------- classification
def classification_group(
    scores: Any,
    *,
    classes: Sequence[Any] | None = None,
    question: Any = None,
    site: Any = None,
    images: Any = (),
    tracking_id: str | None = None,
) -> MeasurementGroup:
    """The group that says of which class images are; see :meth:`dicom_ml.Report.from_classification`."""
    if isinstance(scores, Mapping):
        if classes is not None:
            raise EncodingError("scores that are a mapping name their classes; leave classes= out")
        classes, scores = list(scores), np.array(list(scores.values()), dtype=np.float64)
    if classes is None:
        raise EncodingError("scores need classes=, the code of each of them")
    codes = [parse_code(x) for x in classes]
    values = _check_scores(scores, len(codes))
    if not codes:
        raise EncodingError("a classification has one class or more")
    best = codes[int(np.argmax(values))]
    certainties = tuple(_certainty(v, modifiers=((c.FINDING, code),)) for code, v in zip(codes, values, strict=True))
    return MeasurementGroup(
        finding=best if question is None else None,
        site=site,
        images=images,
        measurements=certainties,
        evaluations=() if question is None else (Evaluation(question, best),),
        tracking_id=tracking_id or "Classification",
    )


# ---------------------------------------------------------------------- segments
def segment_groups(segmentation: Any, volume: Any, *, segments: Sequence[Any] | None = None) -> list[MeasurementGroup]:
    """A group for each segment; see :meth:`dicom_ml.Report.from_measurements`."""
    described = [s for s in segmentation.segments if segments is None or s.label in segments or s.number in segments]
    if segments is not None and len(described) != len(segments):
        raise EncodingError(f"{len(described)} of the {len(segments)} segments asked for are there: "
                            f"{[s.label for s in segmentation.segments]}")  # fmt: skip
    voxel = abs(float(np.linalg.det(volume.grid.affine[:3, :3])))
    quantity = _intensity(volume)
    groups = []
    for segment in described:
        mask = segmentation.channels(on=volume, segments=[segment.label])[0]
        mask = mask > 0.5 if mask.dtype.kind == "f" else mask
        inside = np.flatnonzero(mask)
        if not len(inside):
            continue
        found = [
            Measurement(c.VOLUME, voxel * len(inside), c.MM3),
            Measurement(c.DIAMETER_3D, largest_distance(mask, volume.grid.affine), c.MM),
        ]
        if quantity is not None:
            name, unit = quantity
            values = np.asarray(volume.array).reshape(-1)[inside].astype(np.float64)
            for derivation, value in (
                (c.MEAN, values.mean()),
                (c.STANDARD_DEVIATION, values.std()),
                (c.MINIMUM, values.min()),
                (c.MAXIMUM, values.max()),
            ):
                found.append(Measurement(name, float(value), unit, derivation=derivation))
        site: tuple[Site, ...] = ()
        if segment.anatomy is not None:
            modifiers = list(segment.anatomy_modifiers)
            site = (Site(segment.anatomy, *modifiers[:1]),)
        groups.append(
            MeasurementGroup(
                finding=segment.type,
                category=segment.category,
                site=site,
                region=SegmentReference(segmentation, int(segment.number)),
                measurements=tuple(found),
                algorithm=None if segment.algorithm is None or segment.algorithm.is_manual else segment.algorithm,
            )
        )
    return groups


def _intensity(volume: Any) -> tuple[Code, Code] | None:
    """What a volume's values measure, where there is a concept for it."""
    unit: Code | None = volume.unit
    if unit is not None and unit.value == "[hnsf'U]":
        return c.ATTENUATION, unit
    if unit is not None and unit.value.endswith("{SUVbw}"):
        return Code("126401", "DCM", "SUVbw"), unit
    if volume.modality == "MR":
        return c.SIGNAL_INTENSITY, unit or c.ONE
    return None


def largest_distance(mask: npt.NDArray[Any], affine: npt.ArrayLike) -> float:
    """Largest distance in mm between the corners of any two voxels of a mask.

    Parameters
    ----------
    mask : ndarray of shape (D, H, W)
    affine : array_like of shape (4, 4)
    """
    corners = _extreme_corners(np.asarray(mask) != 0)
    if not len(corners):
        return 0.0
    points = (corners - 0.5) @ np.asarray(affine, dtype=np.float64)[:3, :3].T
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    reach = np.linalg.norm(points, axis=1)
    # both ends of the longest line are far out: a good guess of its length rules most points out
    far = points[int(np.argmax(reach))]
    for _ in range(4):
        end = points[int(np.argmax(np.linalg.norm(points - far, axis=1)))]
        best = float(np.linalg.norm(end - far))
        far = end
    points = points[reach >= best - reach.max() - 1e-9]
    for start in range(0, len(points), 512):
        block = points[start : start + 512]
        squared = (block**2).sum(1)[:, None] + (points**2).sum(1)[None] - 2 * block @ points.T
        best = max(best, float(np.sqrt(max(0.0, squared.max()))))
    return best


def _extreme_corners(mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Corners of the first and last voxel of every line along the rows: the longest line ends at two of them."""
    lines = np.flatnonzero(mask.any(axis=2))
    if not len(lines):
        return np.zeros((0, 3))
    d, h = np.divmod(lines, mask.shape[1])
    rows = mask[d, h]
    first, last = rows.argmax(axis=1), mask.shape[2] - rows[:, ::-1].argmax(axis=1)
    parts = [
        np.column_stack([d + i, h + j, w]).astype(np.float64) for i in (0, 1) for j in (0, 1) for w in (first, last)
    ]
    return np.unique(np.concatenate(parts), axis=0)
