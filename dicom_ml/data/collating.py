"""Batches of items that hold unequal numbers of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dicom_ml.bridge.tensors import torch
from dicom_ml.data.dataset import collate_items

__all__ = ["collate_detections"]


def collate_detections(batch: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Items to a batch, for detectors: what has one shape is stacked, what has not stays a list.

    Parameters
    ----------
    batch : sequence of mapping
        Items, whose labels may be dictionaries of boxes and classes, as :class:`dicom_ml.data.AnnotationLabels` gives
        them, or stand beside the image, as :class:`dicom_ml.transforms.LoadReportd` puts them.

    Returns
    -------
    dict
        Images as one tensor where they have one shape. Dictionaries, and the entries whose tensors differ in shape in
        any way or are boxes, are lists with an entry for each item: never stacked in one batch and listed in another.
    """
    batch = list(batch)
    with_boxes = any(key in batch[0] for key in ("box", "boxes"))
    return {key: _collated(key, [item[key] for item in batch], with_boxes) for key in batch[0]}


#: Entries that go by box, where there are boxes.
_BY_BOX = ("box", "boxes", "label", "labels", "score", "scores")


def _collated(key: Any, values: list[Any], with_boxes: bool) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        return values
    by_box = with_boxes and key in _BY_BOX
    if isinstance(first, torch.Tensor) and (by_box or len({tuple(v.shape) for v in values}) > 1):
        return values
    return collate_items([{key: value} for value in values])[key]
