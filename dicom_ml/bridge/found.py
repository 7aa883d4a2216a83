"""What detectors give, as plain arrays: boxes, classes and scores of one image.

MONAI's detectors, torchvision's, and pipelines that keep each in an entry of its own name them differently; here they
become one record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.boxes import boxes_to_source
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.report import Measurement
from dicom_ml.source import SourceSeries

__all__ = [
    "AXES",
    "BOX_KEYS",
    "LABEL_KEYS",
    "SCORE_KEYS",
    "Found",
    "first_key",
    "found_in",
    "looks_like_detections",
    "numbers",
]

Array = npt.NDArray[Any]

BOX_KEYS = ("boxes", "box", "pred_boxes", "pred_box", "bboxes")
LABEL_KEYS = ("labels", "label", "pred_labels", "pred_label", "pred_classes")
SCORE_KEYS = ("labels_scores", "label_scores", "scores", "score", "pred_scores", "pred_score")
_MONAI_SCORES = SCORE_KEYS[:2]
AXES = ("auto", "xy", "rc")
_SLICE_KEYS = ("slices", "slice")
_TRACKING_KEYS = ("tracking_ids", "tracking_id")
_UID_KEYS = ("tracking_uids", "tracking_uid")
_MEASURED = "measurements"


def numbers(value: Any) -> Array:
    """A tensor of any device and type, or a list of numbers, as an array."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
        kind = str(tensor.dtype)
        return np.asarray((tensor.float() if kind in ("torch.bfloat16", "torch.float16") else tensor).numpy())
    return np.asarray(value)


def first_key(item: Mapping[Any, Any], names: tuple[str, ...], given: str | None = None) -> str | None:
    """The first of some names that an item has, or the one that was asked for."""
    return next((n for n in (names if given is None else (given,)) if n in item), None)


def looks_like_detections(value: Any, box_key: str | None = None) -> bool:
    """Whether a value is what a detector gives for one image."""
    return isinstance(value, Mapping) and first_key(value, BOX_KEYS, box_key) is not None


@dataclass(frozen=True, eq=False)
class Found:
    """Detections of one image.

    Attributes
    ----------
    boxes : ndarray of float64, shape (N, 6) or (N, 4)
        Start, then stop, along the image's axes.
    labels : list, or None
        Integers or codes.
    scores : ndarray of float64, shape (N,), or None
    slices : ndarray of int, shape (N,), or None
        Of flat boxes: place along the image's last axis.
    tracking_ids, tracking_uids : list of str, or None
    score_key : str
        How the scores were called.
    measurements : list of sequence of Measurement, or None
        What was measured of each.
    """

    boxes: Array
    labels: list[Any] | None = None
    scores: Array | None = None
    slices: Array | None = None
    tracking_ids: list[str] | None = None
    tracking_uids: list[str] | None = None
    score_key: str = ""
    measurements: list[Sequence[Measurement]] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, order: npt.ArrayLike) -> Found:
        """Some of them, in an order."""
        index = np.asarray(order, dtype=np.intp)

        def listed(values: list[Any] | None) -> list[Any] | None:
            return None if values is None else [values[i] for i in index.tolist()]

        return replace(
            self,
            boxes=self.boxes[index],
            labels=listed(self.labels),
            scores=None if self.scores is None else self.scores[index],
            slices=None if self.slices is None else self.slices[index],
            tracking_ids=listed(self.tracking_ids),
            tracking_uids=listed(self.tracking_uids),
            measurements=listed(self.measurements),
        )

    def ranked(self, min_score: float = 0.0) -> Found:
        """Those that reach a score, the highest first; equal ones by place, so that their order never changes."""
        keys = [self.boxes[:, i] for i in reversed(range(self.boxes.shape[1]))]
        if self.scores is None:
            return self
        order = np.lexsort([*keys, -self.scores])
        return self.select(order[self.scores[order] >= min_score])

    def on_tile(self, axes: str, corners: str) -> Array:
        """Flat boxes as rows and columns of a tile ``(C, rows, columns)``, with corners at edges of pixels.

        Parameters
        ----------
        axes : {"auto", "xy", "rc"}
            Which comes first: columns, as torchvision's detectors have it, or rows, as MONAI's do, which count along
            the array's axes. ``"auto"``: rows where the scores are called as MONAI's detectors call them.
        corners : {"edge", "center"}
        """
        if self.boxes.shape[1] != 4:
            raise EncodingError(f"boxes on a tile have four numbers, found {self.boxes.shape[1]}")
        rows_first = axes == "rc" or (axes == "auto" and self.score_key in _MONAI_SCORES)
        boxes = self.boxes if rows_first else self.boxes[:, [1, 0, 3, 2]]
        return boxes + (0.0 if corners == "edge" else 0.5)

    def on_array(self) -> Found:
        """Boxes along the axes of an array ``(D, H, W)``, as they are along those of MONAI's ``(W, H, D)``."""
        half = self.boxes.shape[1] // 2
        start, stop = self.boxes[:, :half], self.boxes[:, half:]
        return replace(self, boxes=np.concatenate([start[:, ::-1], stop[:, ::-1]], axis=1))

    def to_source(
        self, source: SourceSeries, affine: Any, shape: tuple[int, ...] | None, corners: str, space: str
    ) -> Found:
        """The same on the array of the source: boxes ``(d, h, w)``, or flat ones with their slices.

        Parameters
        ----------
        source : SourceSeries
        affine : array_like of shape (4, 4), or None
            RAS affine of the image, MONAI's.
        shape : tuple of int, or None
            Of the image ``(W, H, D)``, where it is known.
        corners, space
            As of :func:`dicom_ml.bridge.boxes.boxes_to_source`.

        Raises
        ------
        GeometryError
            If it is not known where flat boxes lie.
        """
        flat = self.boxes.shape[1] == 4
        if source.grid is None:
            if not flat or space == "world":
                raise GeometryError("the source has no patient geometry: its boxes are flat, in pixels")
            shift = 0.0 if corners == "edge" else 0.5
            return replace(self.on_array(), boxes=self.on_array().boxes + shift, slices=self.slices)
        boxes = self.boxes
        if flat:
            boxes = _thick(boxes, self._slices_of(source.grid, shape, affine), corners, space)
        pairs = boxes_to_source(boxes, affine, source.grid, corners=corners, space=space)
        if flat and len(pairs) and (np.abs(pairs[:, 1, 0] - pairs[:, 0, 0] - 1) < 1e-3).all():
            first = np.rint(pairs[:, 0, 0])
            if np.abs(pairs[:, 0, 0] - first).max() < 1e-3:
                return replace(self, boxes=pairs[:, :, 1:].reshape(-1, 4), slices=first.astype(int))
        return replace(self, boxes=pairs.reshape(-1, 6), slices=None)

    def _slices_of(self, grid: Grid, shape: tuple[int, ...] | None, affine: Any) -> Array:
        if self.slices is not None:
            return self.slices
        depth = None if shape is None else 1 if len(shape) == 2 else shape[2]
        if depth != 1 or (shape is not None and len(shape) == 2 and grid.shape[0] != 1 and affine is None):
            raise GeometryError(
                "flat boxes of an image with several slices do not say which one they lie on: give the place of each "
                "along the image's last axis under 'slices'"
            )
        return np.zeros(len(self), dtype=int)


def _thick(boxes: Array, slices: Array, corners: str, space: str) -> Array:
    """Flat boxes as thick as a voxel."""
    if space == "world":
        raise GeometryError("flat boxes in millimetres do not say which slice they lie on; give them six numbers")
    low = slices - (0.0 if corners == "edge" else 0.5)
    return np.column_stack([boxes[:, :2], low, boxes[:, 2:], low + 1])


def found_in(
    item: Any,
    box_key: str | None = None,
    label_key: str | None = None,
    score_key: str | None = None,
) -> Found:
    """Detections of one image from what a detector gives.

    Parameters
    ----------
    item : mapping
        Boxes ``(N, 6)`` or ``(N, 4)``, labels and scores, ``"slices"``, ``"tracking_ids"``, ``"tracking_uids"`` and
        ``"measurements"`` (of each box, a sequence of :class:`dicom_ml.Measurement`) where there are any.
    box_key, label_key, score_key : str, optional
        How they are called; by default as MONAI's and torchvision's detectors do.

    Raises
    ------
    EncodingError
        If there are no boxes, or entries differ in number.
    """
    if not isinstance(item, Mapping):
        raise EncodingError(
            f"detections of an image are a mapping with boxes, labels and scores, found {type(item).__name__}"
        )
    name = first_key(item, BOX_KEYS, box_key)
    if name is None:
        raise EncodingError(
            f"the detections hold {sorted(map(str, item))}, none of which is {box_key or ' or '.join(BOX_KEYS)}; "
            "name the boxes with box_key="
        )
    boxes = numbers(item[name]).astype(np.float64)
    boxes = boxes.reshape(0, boxes.shape[-1] if boxes.ndim == 2 else 6) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise EncodingError(f"boxes have shape (N, 6) or (N, 4), start then stop, found {boxes.shape}")
    labels = _named(item, LABEL_KEYS, label_key, "label_key")
    scores = _named(item, SCORE_KEYS, score_key, "score_key")
    if scores is not None and len(scores) and np.isnan(numbers(scores).astype(np.float64)).all():
        scores = None  # how targets say that boxes have none
    slices = _named(item, _SLICE_KEYS)
    made = Found(
        boxes,
        None if labels is None else _listed(labels),
        None if scores is None else numbers(scores).astype(np.float64).reshape(-1),
        None if slices is None else np.broadcast_to(numbers(slices).astype(int).reshape(-1), (len(boxes),)),
        _texts(_named(item, _TRACKING_KEYS)),
        _texts(_named(item, _UID_KEYS)),
        first_key(item, SCORE_KEYS, score_key) or "",
        None if item.get(_MEASURED) is None else [tuple(own) for own in item[_MEASURED]],
    )
    for what in ("labels", "scores", "tracking_ids", "tracking_uids", "measurements"):
        value = getattr(made, what)
        if value is not None and len(value) != len(boxes):
            raise EncodingError(f"{len(boxes)} boxes were found, but {len(value)} {what}")
    return made


def _named(item: Mapping[Any, Any], names: tuple[str, ...], given: str | None = None, parameter: str = "") -> Any:
    name = first_key(item, names, given)
    if name is None and given is not None:
        raise EncodingError(f"the detections hold {sorted(map(str, item))}, no {given!r}, which {parameter}= names")
    return None if name is None else item[name]


def _listed(values: Any) -> list[Any]:
    return list(values.tolist()) if hasattr(values, "tolist") else list(values)


def _texts(values: Any) -> list[str] | None:
    return None if values is None else [str(v) for v in _listed(values)]
