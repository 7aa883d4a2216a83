"""Annotations and regions of reports, drawn on an image: of a volume, or of a tile of a slide."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.annotation_labels import AnnotationLabels
from dicom_ml.bridge.detections import opened_reports, opened_segmentations
from dicom_ml.bridge.image_grid import PlacedImage, tile_window
from dicom_ml.bridge.region_bounds import Elsewhere
from dicom_ml.bridge.region_labels import RegionPainter, nearest_labels
from dicom_ml.bridge.report_classes import ReportClasses
from dicom_ml.bridge.slide_items import OVERLAPS, mask_of_items
from dicom_ml.bridge.slide_regions import sop_class_of
from dicom_ml.bridge.tensors import handle_of
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.annotations import Annotations

__all__ = ["DrawnLabels", "label_type"]

Array = npt.NDArray[Any]
#: Sets of files whose items are kept, so that the tiles of a slide sort them once.
_KEEP = 8


def label_type(highest: int) -> npt.DTypeLike:
    """The smallest type that holds labels up to a number."""
    return np.uint8 if highest <= 255 else np.uint16


class DrawnLabels:
    """How regions become label maps; see :class:`dicom_ml.transforms.LoadAnnotations`, which describes the options."""

    def __init__(
        self,
        classes: Any = None,
        *,
        question: Any = None,
        unmapped: str | int = "error",
        overlap: str = "last",
        elsewhere: str = "error",
        point_size: Any = None,
        min_visible: float = 0.5,
    ) -> None:
        if overlap not in OVERLAPS:
            raise EncodingError(f"overlap is one of {', '.join(OVERLAPS)}, found {overlap!r}")
        if elsewhere not in ("error", "drop"):
            raise EncodingError(f"elsewhere is 'error' or 'drop', found {elsewhere!r}")
        self.classes = ReportClasses(classes, question, unmapped, first=1)
        if self.classes.lowest < 1:
            raise EncodingError("classes count from 1; 0 is what nothing covers")
        self._given = classes
        self._of_tiles = {"question": question, "unmapped": unmapped, "overlap": overlap, "min_visible": min_visible}
        self.overlap = overlap
        self.elsewhere = elsewhere
        self.point_size = point_size
        self._tiles: OrderedDict[Any, AnnotationLabels] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tiles": OrderedDict()}

    # ------------------------------------------------------------------ volumes
    def of_volume(self, reports: Any, image: PlacedImage, segmentations: Any = (), channels: bool = False) -> Array:
        """A label map ``(1, D, H, W)``, or a channel of booleans for each class, on the grid of an image."""
        self._check_reports(reports)
        if image.grid is None or image.source.grid is None:
            raise GeometryError("the image has no patient geometry, so no region can be drawn on it")
        opened = opened_reports(reports, image)
        painter = RegionPainter(image.source, opened_segmentations(segmentations, opened), self.point_size)
        shape = image.source.grid.shape
        if channels and self.classes.function is not None:
            raise EncodingError("channels need classes that are named; a function does not say how many there are")
        count = self.classes.count if self.classes.function is None else 65535
        out = np.zeros((count, *shape) if channels else (1, *shape), bool if channels else label_type(count))
        for report, _ in opened:
            for group in report.groups:
                if not group.regions:
                    continue
                label = self.classes.label(group)
                if label is None:
                    continue
                try:
                    for start, mask in painter.windows(group):
                        where = tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))
                        if channels:
                            out[label - 1][where] |= mask
                        else:
                            self._paint(out[0][where], mask, label)
                except Elsewhere as error:
                    if self.elsewhere == "error":
                        raise Elsewhere(f"{error}; pass elsewhere='drop' to leave such groups out") from error
        return np.stack([nearest_labels(one, image.source.grid, image.grid) for one in out])

    def _paint(self, part: Array, mask: Array, label: int) -> None:
        taken = mask & (part != 0) & (part != label)
        if taken.any() and self.overlap == "error":
            raise EncodingError(
                f"regions of class {label} and {int(part[taken][0])} overlap in {int(taken.sum())} voxels; pass "
                "overlap='first' or 'last', or kind='channels'"
            )
        part[mask & ~taken if self.overlap == "first" else mask] = label

    @staticmethod
    def _check_reports(reports: Any) -> None:
        for one in reports if isinstance(reports, (list, tuple)) else [reports]:
            path = isinstance(one, (str, os.PathLike))
            if isinstance(one, Annotations) or (path and sop_class_of(os.fspath(one)) == sop.BULK_ANNOTATIONS):
                raise GeometryError(
                    "bulk annotations are of slides, and the image is none: take tiles from TileDataset, and pass on "
                    "what it gives, unchanged"
                )

    # ------------------------------------------------------------------ tiles
    def of_tile(self, files: Any, item: Mapping[Any, Any], channels: bool = False) -> Array:
        """A label map ``(1, rows, columns)``, or a channel of booleans for each class, of a tile."""
        labels, slide, grid, row, column = self._tile(files, item)
        if not channels:
            mask = labels.mask(slide, grid, row, column)
            return mask[None].astype(label_type(int(mask.max(initial=0))))
        items = labels.of(slide)
        low = np.array([row, column]) * np.array(grid.downsamples)
        touching = items.touching(low, low + np.array(grid.footprint))
        count = labels.width or int(items.values.max(initial=1))
        return np.stack(
            [
                mask_of_items(items, touching[items.values[touching] == value], grid.tile, low, grid.downsamples) != 0
                for value in range(1, count + 1)
            ]
        )

    def boxes_of_tile(self, files: Any, item: Mapping[Any, Any]) -> dict[str, Array]:
        """Boxes of a tile along the axes of its array, and their classes."""
        labels, slide, grid, row, column = self._tile(files, item)
        return labels.boxes(slide, grid, row, column)

    def _tile(self, files: Any, item: Mapping[Any, Any]) -> tuple[AnnotationLabels, Any, Any, int, int]:
        window = tile_window(item)
        if window is None:
            raise EncodingError("the item is no tile of a slide; it has neither 'tile_grid' nor 'tile_position'")
        source, grid, (row, column) = window
        listed = list(files) if isinstance(files, (list, tuple)) else [files]
        key = (handle_of(item), *(one if isinstance(one, str) else id(one) for one in listed))
        if key not in self._tiles:
            named = {source.series_instance_uid: listed}
            self._tiles[key] = AnnotationLabels(
                named, self._given, "mask", point_size=self.point_size, axes="rc", **self._of_tiles
            )
            if len(self._tiles) > _KEEP:
                self._tiles.popitem(last=False)
        return self._tiles[key], source, grid, row, column
