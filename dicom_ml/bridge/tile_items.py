"""What networks find on a tile (points, boxes, outlines, instance maps), as flat arrays of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.contours import label_outlines, polygon_areas, polygon_bounds, simplified
from dicom_ml.bridge.found import BOX_KEYS, LABEL_KEYS, SCORE_KEYS, first_key, found_in, numbers
from dicom_ml.errors import EncodingError

__all__ = ["GRAPHIC_KINDS", "TileFindings", "findings_of", "holds_findings"]

Array = npt.NDArray[Any]
GRAPHIC_KINDS = ("point", "rectangle", "polygon", "polyline")
INSTANCE_KEYS = ("instances", "instance_map", "instance_labels", "pred_instances")
MASK_KEYS = ("masks", "pred_masks")
POLYGON_KEYS = ("polygons", "outlines", "contours")
POLYLINE_KEYS = ("polylines", "lines")
POINT_KEYS = ("points", "centers", "centroids")
CLASS_KEYS = ("classes", "class_map", "type_map")


@dataclass(frozen=True, eq=False)
class TileFindings:
    """Items on a tile.

    Attributes
    ----------
    kind : {"point", "rectangle", "polygon", "polyline"}
    points : ndarray of float64, shape (P, 2)
        Row and column within the tile, corners at edges of pixels; the points of one item after those of another.
    lengths : ndarray of int, shape (N,)
        Points of each item.
    labels : ndarray of int, shape (N,)
    scores : ndarray of float, shape (N,), or None
    columns : mapping of str to ndarray of float, shape (N,)
        What else is known of each item.
    """

    kind: str
    points: Array
    lengths: Array
    labels: Array
    scores: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> Array:
        """First point of each item."""
        return np.asarray(np.cumsum(self.lengths) - self.lengths)

    @property
    def boxes(self) -> Array:
        """Smallest and largest row and column of each item, shape (N, 4)."""
        return polygon_bounds(self.points, self.offsets)

    @property
    def areas(self) -> Array:
        """Areas of outlines and boxes in pixels; NaN of points and lines."""
        if self.kind in ("point", "polyline"):
            return np.full(len(self), np.nan)
        return np.abs(polygon_areas(self.points, self.offsets))

    def select(self, keep: Array) -> TileFindings:
        """Some of the items, by a mask."""
        return replace(
            self,
            points=self.points[np.repeat(keep, self.lengths)],
            lengths=self.lengths[keep],
            labels=self.labels[keep],
            scores=None if self.scores is None else self.scores[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
        )

    def simplified(self, tolerance: float) -> TileFindings:
        """The same outlines with fewer corners; see :func:`dicom_ml.bridge.contours.simplified`."""
        if self.kind != "polygon" or tolerance <= 0 or not len(self):
            return self
        points, offsets = simplified(self.points, self.offsets, tolerance)
        return replace(self, points=points, lengths=np.diff(np.append(offsets, len(points))))

    def drawn_as(self, kind: str) -> TileFindings:
        """The same items as their centres (``"point"``) or as the boxes that hold them (``"rectangle"``).

        Raises
        ------
        EncodingError
            If outlines are asked for of what has none.
        """
        if kind == self.kind:
            return self
        boxes = self.boxes
        if kind == "point":
            points = (boxes[:, :2] + boxes[:, 2:]) / 2
            return replace(self, kind=kind, points=points, lengths=np.ones(len(self), dtype=np.int64))
        if self.kind == "point" or kind == "polyline" or (kind == "polygon" and self.kind == "polyline"):
            raise EncodingError(f"{self.kind}s cannot be written as {kind}s")
        points, lengths = _rectangles(boxes) if kind == "rectangle" else (self.points, self.lengths)
        return replace(self, kind=kind, points=points, lengths=lengths)


def holds_findings(value: Any, box_key: str | None = None) -> bool:
    """Whether a value is a mapping that :func:`findings_of` takes."""
    names = (*INSTANCE_KEYS, *MASK_KEYS, *POLYGON_KEYS, *POLYLINE_KEYS, *POINT_KEYS)
    return isinstance(value, Mapping) and (
        first_key(value, names) is not None or first_key(value, BOX_KEYS, box_key) is not None
    )


def findings_of(
    pred: Any,
    *,
    axes: str = "auto",
    corners: str = "edge",
    columns: Sequence[str] = (),
    box_key: str | None = None,
    label_key: str | None = None,
    score_key: str | None = None,
) -> TileFindings:
    """Items of what a network gives for a tile.

    Parameters
    ----------
    pred : mapping, or Tensor or ndarray of int, shape (rows, columns) or (1, rows, columns)
        An instance map: 0 is background, every other number an item. A mapping holds one of ``"instances"`` (such a
        map), ``"masks"`` (``(N, rows, columns)``), ``"polygons"`` (a sequence of ``(n, 2)``), ``"polylines"``,
        ``"points"`` (``(N, 2)``) or ``"boxes"`` (``(N, 4)``), and labels and scores, one for each item; of an instance
        map in the order of its numbers, or ``"classes"``, a map of the class of every pixel.
    axes : {"auto", "xy", "rc"}
        Which comes first in points and boxes; see :meth:`dicom_ml.bridge.found.Found.on_tile`.
    corners : {"edge", "center"}
        Which point of a pixel has whole numbers, in points and boxes.
    columns : sequence of str
        Further entries of the mapping to keep, with a number for each item.
    box_key, label_key, score_key : str, optional

    Raises
    ------
    EncodingError
        If there is nothing of the kind, or entries differ in number.
    """
    if not isinstance(pred, Mapping):
        pred = {INSTANCE_KEYS[0]: pred}
    of_map = first_key(pred, INSTANCE_KEYS)
    if of_map is not None:
        return _of_instances(pred, of_map, columns, label_key, score_key)
    of_masks = first_key(pred, MASK_KEYS)
    if of_masks is not None:
        return _of_masks(pred, of_masks, columns, label_key, score_key)
    for kind, names in (("polygon", POLYGON_KEYS), ("polyline", POLYLINE_KEYS), ("point", POINT_KEYS)):
        name = first_key(pred, names)
        if name is not None:
            items = [numbers(pred[name])] if kind == "point" else [numbers(one) for one in pred[name]]
            return _of_points(kind, items, pred, axes, corners, columns, label_key, score_key)
    if first_key(pred, BOX_KEYS, box_key) is None:
        raise EncodingError(
            f"the prediction holds {sorted(map(str, pred))}: no instances, masks, polygons, polylines, points or boxes"
        )
    found = found_in(pred, box_key, label_key, score_key)
    points, lengths = _rectangles(found.on_tile(axes, corners))
    return TileFindings("rectangle", points, lengths, *_told(pred, len(found), columns, label_key, score_key))


def _rectangles(boxes: Array) -> tuple[Array, Array]:
    """Corners of boxes ``(r0, c0, r1, c1)``, clockwise."""
    points = boxes[:, [0, 1, 0, 3, 2, 3, 2, 1]].reshape(-1, 2)
    return points, np.full(len(boxes), 4, dtype=np.int64)


def _told(
    pred: Mapping[Any, Any], count: int, columns: Sequence[str], label_key: str | None, score_key: str | None
) -> tuple[Array, Array | None, dict[str, Array]]:
    """Labels, scores and further columns of items."""

    def values(name: str | None, what: str) -> Array | None:
        if name is None:
            return None
        found = numbers(pred[name]).reshape(-1)
        if len(found) != count:
            raise EncodingError(f"{count} items were found, but {len(found)} {what}")
        return found

    for given in (label_key, score_key, *columns):
        if given is not None and given not in pred:
            raise EncodingError(f"the prediction holds {sorted(map(str, pred))}, no {given!r}")
    labels = values(first_key(pred, LABEL_KEYS, label_key), "labels")
    scores = values(first_key(pred, SCORE_KEYS, score_key), "scores")
    if labels is not None and labels.dtype.kind not in "iub" and (labels != np.rint(labels)).any():
        raise EncodingError("labels of items are whole numbers")
    more = {name: values(name, name) for name in columns}
    return (
        np.zeros(count, dtype=np.int64) if labels is None else labels.astype(np.int64),
        None if scores is None else scores.astype(np.float64),
        {name: v.astype(np.float64) for name, v in more.items() if v is not None},
    )


def _of_instances(
    pred: Mapping[Any, Any], name: str, columns: Sequence[str], label_key: str | None, score_key: str | None
) -> TileFindings:
    array = numbers(pred[name])
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2:
        raise EncodingError(f"an instance map of a tile is (rows, columns), found shape {array.shape}")
    if array.dtype.kind == "f" and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise EncodingError("an instance map holds whole numbers, a number for each instance, 0 for background")
    if array.size and array.min() < 0:
        raise EncodingError(f"an instance map holds 0 and numbers above, found {array.min()}")
    points, offsets, values = label_outlines(array)
    known = np.unique(array[array > 0])
    labels, scores, more = _told(pred, len(known), columns, label_key, score_key)
    classes = first_key(pred, CLASS_KEYS)
    if classes is not None:
        labels = _commonest(array, numbers(pred[classes]), known)
    # an instance in several parts has an item for each
    at = np.searchsorted(known, values)
    lengths = np.diff(np.append(offsets, len(points)))
    return TileFindings(
        "polygon",
        points,
        lengths,
        labels[at],
        None if scores is None else scores[at],
        {key: column[at] for key, column in more.items()},
    )


def _commonest(instances: Array, classes: Array, known: Array) -> Array:
    """The class that most pixels of each instance have, background aside where there is any other."""
    classes = classes[0] if classes.ndim == 3 and len(classes) == 1 else classes
    if classes.shape != instances.shape:
        raise EncodingError(f"the map of classes is {classes.shape}, that of instances {instances.shape}")
    whole = classes.astype(np.int64)
    if not len(known):
        return np.zeros(0, dtype=np.int64)
    if whole.min() < 0:
        raise EncodingError("a map of classes holds 0 and numbers above")
    inside = instances > 0
    top = int(whole.max()) + 1
    place = np.searchsorted(known, instances[inside]) * top + whole[inside]
    votes = np.bincount(place, minlength=len(known) * top).reshape(len(known), top)
    if top > 1:
        foreground = votes[:, 1:].max(axis=1) > 0
        votes[foreground, 0] = 0
    return np.asarray(votes.argmax(axis=1))


def _of_masks(
    pred: Mapping[Any, Any], name: str, columns: Sequence[str], label_key: str | None, score_key: str | None
) -> TileFindings:
    masks = numbers(pred[name])
    masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
    if masks.ndim != 3:
        raise EncodingError(f"masks of a tile are (N, rows, columns), found shape {masks.shape}")
    labels, scores, more = _told(pred, len(masks), columns, label_key, score_key)
    points, lengths, owners = [np.zeros((0, 2))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, mask in enumerate(masks):
        corners, offsets, _ = label_outlines(mask > 0.5 if mask.dtype.kind == "f" else mask != 0)
        points.append(corners)
        lengths.append(np.diff(np.append(offsets, len(corners))))
        owners.append(np.full(len(offsets), number))
    at = np.concatenate(owners)
    return TileFindings(
        "polygon",
        np.concatenate(points),
        np.concatenate(lengths),
        labels[at],
        None if scores is None else scores[at],
        {key: column[at] for key, column in more.items()},
    )


def _of_points(
    kind: str,
    items: Sequence[Array],
    pred: Mapping[Any, Any],
    axes: str,
    corners: str,
    columns: Sequence[str],
    label_key: str | None,
    score_key: str | None,
) -> TileFindings:
    parts = [np.zeros((0, 2)), *(one.reshape(-1, 2) if one.size else np.zeros((0, 2)) for one in items)]
    points = np.concatenate(parts).astype(np.float64)
    if kind == "point":
        lengths = np.ones(len(points), dtype=np.int64)
    else:
        lengths = np.array([len(one) for one in parts[1:]], dtype=np.int64)
        least = {"polygon": 3, "polyline": 2}[kind]
        if len(lengths) and lengths.min() < least:
            raise EncodingError(f"a {kind} has {least} points or more, found {lengths.min()}")
    if axes != "rc":
        points = points[:, ::-1]
    points = points + (0.0 if corners == "edge" else 0.5)
    return TileFindings(kind, points, lengths, *_told(pred, len(lengths), columns, label_key, score_key))
