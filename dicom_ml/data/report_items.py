"""What reports add to the items of a dataset of volumes: boxes, classes, label maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_ml.bridge.detections import ReportTargets
from dicom_ml.bridge.drawn_labels import DrawnLabels
from dicom_ml.bridge.image_grid import PlacedImage
from dicom_ml.bridge.report_classes import ReportClasses
from dicom_ml.bridge.tensors import mask_tensor, series_name, torch, torch_array
from dicom_ml.errors import EncodingError
from dicom_ml.reading import Volume

__all__ = ["ReportItems"]

_KINDS = ("boxes", "class", "classes", "label", "channels")
_KEYS = {"box_key": "box", "label_key": "label", "score_key": None, "segmentation_key": None}
_SHARED = ("classes", "question", "unmapped")
_TARGETS = ("elsewhere", "point_size", "consensus", "several", "missing")
_DRAWN = ("elsewhere", "point_size", "overlap")


class ReportItems:
    """Reads the ``"report"`` of a record.

    Parameters
    ----------
    options : mapping
        ``kind``: ``"boxes"``, ``"class"`` or ``"classes"`` as in :class:`dicom_ml.transforms.LoadReport`, or
        ``"label"`` or ``"channels"`` as in :class:`dicom_ml.transforms.LoadAnnotations`; further options of these; and
        ``box_key``, ``label_key``, ``score_key``, ``segmentation_key`` as in :class:`dicom_ml.transforms.LoadReportd`.

    Raises
    ------
    EncodingError
        If an option is not known for that kind.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        self.kind = str(given.pop("kind", "boxes"))
        if self.kind not in _KINDS:
            raise EncodingError(f"reports are of kind {', '.join(_KINDS)}, found {self.kind!r}")
        self.keys = {name: given.pop(name, default) for name, default in _KEYS.items()}
        drawn = self.kind in ("label", "channels")
        known = (*_SHARED, *(_DRAWN if drawn else _TARGETS))
        unknown = set(given) - set(known)
        if unknown:
            raise EncodingError(f"unknown options of reports {sorted(unknown)}; {self.kind!r} has {sorted(known)}")
        self.text = str({k: _named(v) for k, v in sorted(options.items())})
        self._drawn = DrawnLabels(**given) if drawn else None
        shared = {name: given.pop(name) for name in _SHARED if name in given}
        self._targets = None if drawn else ReportTargets(ReportClasses(**shared), **given)

    def of(self, record: Mapping[str, Any], volume: Volume, monai: bool) -> dict[str, Any]:
        """Entries of an item, from the record's reports.

        Raises
        ------
        EncodingError
            If labels of reports would take the place of a segmentation.
        """
        reports, label_key = record["report"], self.keys["label_key"]
        if label_key == "label" and "label" in record:
            raise EncodingError(
                "labels of reports would take the place of the segmentation under 'label'; give them another key, "
                "reports={'label_key': ...}"
            )
        masks = record.get(self.keys["segmentation_key"]) if self.keys["segmentation_key"] else None
        image = PlacedImage.of(volume)
        if self._drawn is not None:
            array = self._drawn.of_volume(reports, image, masks, self.kind == "channels")
            if not monai:
                return {label_key: torch.from_numpy(torch_array(array))}
            source = image.source.on(image.grid)
            return {label_key: mask_tensor(array, source, image.handle, series_name(reports))}
        assert self._targets is not None
        if self.kind == "class":
            return {label_key: self._targets.label(reports)}
        if self.kind == "classes":
            return {label_key: torch.from_numpy(self._targets.present(reports))}
        found = self._targets.boxes(reports, image, masks)
        half = found.boxes.shape[1] // 2
        # along the axes of the image's array, which only MONAI turns round
        order = list(range(2 * half)) if monai else [*reversed(range(half)), *reversed(range(half, 2 * half))]
        entries = {
            self.keys["box_key"]: torch.from_numpy(found.boxes[:, order].copy()),
            label_key: torch.from_numpy(found.labels),
        }
        if self.keys["score_key"] is not None:
            entries[self.keys["score_key"]] = torch.from_numpy(found.scores)
        return entries


def _named(value: Any) -> Any:
    """A value as text that is the same in every run."""
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value
