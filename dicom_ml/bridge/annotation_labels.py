"""Labels of tiles from bulk annotations and reports of their slide."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.report_classes import SEVERAL, ReportClasses, settle_labels
from dicom_ml.bridge.slide_items import OVERLAPS, SlideItems, mask_of_items
from dicom_ml.bridge.slide_regions import SlideFile, items_of_files, sop_class_of
from dicom_ml.bridge.tile_labels import SegmentationLabels
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, SeriesError
from dicom_ml.objects.annotations import Annotations
from dicom_ml.objects.report import Report
from dicom_ml.objects.segmentation import Segmentation
from dicom_ml.source import SourceSeries, as_source

__all__ = ["AnnotationLabels", "EvaluationLabels", "as_label_source"]

Array = npt.NDArray[Any]
_KINDS = ("class", "mask", "share", "count", "boxes")
_RULES = ("share", "center", "count")
#: Slides whose items are kept in memory.
_KEEP = 8


class _FilesOfSlides:
    """Files, each with the slide that it is of."""

    def __init__(self, files: Any, missing: str, noun: str, otherwise: str) -> None:
        if missing not in ("error", "empty"):
            raise EncodingError(f"missing is 'error' or 'empty', found {missing!r}")
        self.missing = missing
        self.noun = noun
        self.otherwise = otherwise
        self._named: dict[Any, list[SlideFile]] | None = None
        self._all: list[SlideFile] = []
        if isinstance(files, Mapping):
            self._named = {key: [SlideFile.of(one) for one in _listed(value)] for key, value in files.items()}
        else:
            self._all = [SlideFile.of(one) for one in _listed(files)]

    def of(self, source: SourceSeries, index: int) -> list[SlideFile]:
        """Files of a slide.

        Raises
        ------
        SeriesError
            If there is none, and that is an error.
        """
        if self._named is not None:
            key = next((k for k in (source.series_instance_uid, index) if k in self._named), None)
            found = [] if key is None else self._named[key]
        else:
            found = [file for file in self._all if file.is_of(source)]
        if not found and self.missing == "error":
            raise SeriesError(f"no {self.noun} refers to slide {source.series_instance_uid}; pass {self.otherwise}")
        return found


class AnnotationLabels:
    """Labels of tiles by bulk annotations (ANN), and by the regions of reports (SR), of their slides.

    Coordinates may be pixels of any level or slide millimetres. Items are sorted by place once for each slide and
    process, so a tile finds its own among millions in well under a millisecond.

    Parameters
    ----------
    files : path, Annotations, Report, sequence of these, or mapping
        Each goes with the slide that it refers to. A mapping from Series Instance UID, or from a slide's place in the
        dataset, says so itself.
    classes : sequence, mapping or callable, optional
        What groups mean, by code of their type or finding, or by label: a sequence counts from 1, a mapping gives
        numbers of its own. Without classes annotation groups count from 1 as in their file, and regions of reports
        are 1.
    kind : {"class", "mask", "share", "count", "boxes"}
        ``"class"``: one class for the tile, by ``rule``; 0 for none. ``"mask"``: the class of every pixel, ``(1, rows,
        columns)``. ``"share"``: the share of the tile that each class covers, from class 1 on. ``"count"``: how many
        items of each class have their centre in the tile. ``"boxes"``: a dictionary of ``"boxes"`` float32 (N, 4) and
        ``"labels"`` int64 (N,), as detectors take them.
    rule : {"share", "center", "count"}
        What makes a tile of a class: that it covers most of the tile, and at least ``min_share`` of it; that it
        covers the pixel at the tile's centre; or that it has most items there.
    min_share : float
    question : code, optional
        Of reports: evaluation or measurement whose answers are the classes, instead of the finding.
    unmapped : {"error", "drop"} or int
        What to do with groups that have no class.
    overlap : {"error", "first", "last"}
        Which item keeps a pixel that several of different classes claim; the last lies above.
    missing : {"error", "empty"}
        What to do when a slide has no file.
    point_size : float, optional
        Millimetres that points and lines are wide. Without it they have no pixels and no boxes, which is an error
        where these are asked for.
    axes : {"xy", "rc"}
        Of boxes: columns first, ``xyxy`` as torchvision and most detectors have them, or rows first, along the axes of
        the tile's array, as MONAI's box transforms take them.
    min_visible : float
        Share of a box that must lie in the tile; boxes are cut at its edge.
    """

    def __init__(
        self,
        files: Any,
        classes: Any = None,
        kind: str = "class",
        *,
        rule: str = "share",
        min_share: float = 0.5,
        question: Any = None,
        unmapped: str | int = "error",
        overlap: str = "last",
        missing: str = "error",
        point_size: float | None = None,
        axes: str = "xy",
        min_visible: float = 0.5,
    ) -> None:
        for name, value, known in (
            ("kind", kind, _KINDS),
            ("rule", rule, _RULES),
            ("overlap", overlap, OVERLAPS),
            ("axes", axes, ("xy", "rc")),
        ):
            if value not in known:
                raise EncodingError(f"{name} is one of {', '.join(known)}, found {value!r}")
        self.classes = None
        if classes is not None or question is not None:
            self.classes = ReportClasses(classes, question, unmapped, first=1)
            if self.classes.lowest < 1:
                raise EncodingError("classes count from 1; 0 is what no item covers")
        self.kind = kind
        self.rule = rule
        self.min_share = min_share
        self.overlap = overlap
        self.point_size = point_size
        self.axes = axes
        self.min_visible = min_visible
        self._files = _FilesOfSlides(
            files, missing, "annotations or report", "missing='empty' where its tiles are all background"
        )
        self._items: OrderedDict[str, SlideItems] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_items": OrderedDict()}

    def of(self, slide: Any, index: int = 0) -> SlideItems:
        """Items of a slide, sorted by place; kept for the slides that were asked for last."""
        source = as_source(slide)
        uid = source.series_instance_uid
        if uid not in self._items:
            files = self._files.of(source, index)
            if self.classes is None and sum(not file.is_report for file in files) > 1:
                raise EncodingError(
                    f"{len(files)} files each count their groups from 1: say with classes= which class each becomes"
                )
            self._items[uid] = items_of_files(files, source, self.classes, self.point_size)
            if len(self._items) > _KEEP:
                self._items.popitem(last=False)
        self._items.move_to_end(uid)
        return self._items[uid]

    @property
    def width(self) -> int | None:
        """Numbers of a vector of classes; None where files alone say how many there are."""
        return None if self.classes is None else self.classes.count

    # ------------------------------------------------------------------ labels
    def mask(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> Array:
        """Class of every pixel of the tile that begins at ``(row, column)`` of the grid's pixels."""
        items = self.of(slide, index)
        low, high = _window(grid, row, column)
        touching = items.touching(low, high)
        return mask_of_items(items, touching, grid.tile, low, grid.downsamples, self.overlap)

    def counts(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> Array:
        """How many items of each class, from 1 on, have their centre in a tile."""
        items = self.of(slide, index)
        values = items.values[items.centered(*_window(grid, row, column))]
        return self._vector(np.bincount(values, minlength=1)[1:], items).astype(np.int64)

    def boxes(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> dict[str, Array]:
        """Boxes of a tile in its own pixels, and their classes."""
        items = self.of(slide, index)
        low, high = _window(grid, row, column)
        found = items.touching(low, high)
        whole = items.bounds[found]
        size = whole[:, 2:] - whole[:, :2]
        if (size <= 0).any():
            raise EncodingError("points and straight lines have no box: pass point_size=, the mm that they are wide")
        cut = np.concatenate([np.maximum(whole[:, :2], low), np.minimum(whole[:, 2:], high)], axis=1)
        visible = np.clip(cut[:, 2:] - cut[:, :2], 0, None).prod(axis=1)
        keep = (visible >= self.min_visible * size.prod(axis=1)) & (visible > 0)
        scale = np.array(grid.downsamples * 2)
        boxes = (cut[keep] - np.tile(low, 2)) / scale
        columns = [1, 0, 3, 2] if self.axes == "xy" else [0, 1, 2, 3]
        return {
            "boxes": np.ascontiguousarray(boxes[:, columns], dtype=np.float32),
            "labels": items.values[found[keep]].astype(np.int64),
        }

    def tile_label(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> Any:
        """Label of the tile that begins at ``(row, column)`` of the grid's pixels."""
        if self.kind == "boxes":
            return self.boxes(slide, grid, row, column, index)
        if self.kind == "count":
            return self.counts(slide, grid, row, column, index)
        if self.kind == "class" and self.rule == "count":
            counts = self.counts(slide, grid, row, column, index)
            return int(np.argmax(counts)) + 1 if counts.any() else 0
        mask = self.mask(slide, grid, row, column, index)
        if self.kind == "mask":
            return mask[None].astype(np.uint8 if mask.max(initial=0) < 256 else np.int32)
        if self.kind == "class" and self.rule == "center":
            return int(mask[grid.tile[0] // 2, grid.tile[1] // 2])
        shares = np.bincount(mask.ravel(), minlength=2)[1:] / mask.size
        if self.kind == "share":
            return self._vector(shares, self.of(slide, index)).astype(np.float32)
        best = int(np.argmax(shares))
        return best + 1 if shares[best] >= self.min_share and shares[best] > 0 else 0

    def _vector(self, values: Array, items: SlideItems) -> Array:
        """As long for every tile of a slide, and where classes are named, of every slide."""
        length = self.width or int(items.values.max(initial=1))
        out = np.zeros(max(length, len(values)), dtype=values.dtype)
        out[: len(values)] = values
        return out


def _window(grid: TileGrid, row: int, column: int) -> tuple[Array, Array]:
    """Lowest and highest row and column of a tile, in pixels of level 0."""
    down = np.array(grid.downsamples)
    low = np.array([row, column]) * down
    return low, low + np.array(grid.tile) * down


class EvaluationLabels:
    """One label for all tiles of a slide, by what reports say of it.

    Parameters
    ----------
    files : path, Report, sequence of these, or mapping
        As of :class:`AnnotationLabels`; several of one slide are several readers.
    classes : sequence, mapping or callable
        What findings, or answers to ``question``, mean; a sequence counts from 0.
    question : code, optional
        Such as a grade: evaluation or measurement of a group, or of the whole report.
    several : {"error", "majority", "median", "highest", "lowest", "first"}
        Which class a slide has, where reports give several.
    default : int, optional
        Label of slides without a report, or of which reports say nothing; without it that is an error.
    unmapped : {"error", "drop"} or int
        What to do with answers that have no class.
    """

    def __init__(
        self,
        files: Any,
        classes: Any,
        question: Any = None,
        *,
        several: str = "error",
        default: int | None = None,
        unmapped: str | int = "error",
    ) -> None:
        if several not in SEVERAL:
            raise EncodingError(f"several is one of {', '.join(SEVERAL)}, found {several!r}")
        self.classes = ReportClasses(classes, question, unmapped)
        self.several = several
        self.default = default
        self._files = _FilesOfSlides(files, "error" if default is None else "empty", "report", "default=")
        self._found: dict[str, int] = {}

    def of(self, slide: Any, index: int = 0) -> int:
        """Label of a slide.

        Raises
        ------
        EncodingError, SeriesError
            If there is none, or several.
        """
        source = as_source(slide)
        uid = source.series_instance_uid
        if uid not in self._found:
            reports = [file.report(source) for file in self._files.of(source, index) if file.is_report]
            labels = [label for report in reports for label in self.classes.labels(report)]
            if not labels and self.default is None:
                raise EncodingError(f"the reports of slide {uid} say nothing of its class; pass default=")
            settled = settle_labels(labels, self.several, f"slide {uid}") if labels else self.default
            assert settled is not None
            self._found[uid] = settled
        return self._found[uid]

    def tile_label(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> int:
        """Label of the tile's slide."""
        return self.of(slide, index)


# ---------------------------------------------------------------------- what users pass
def as_label_source(labels: Any) -> Any:
    """What a dataset's ``labels=`` means: files of labels become the source that reads them, all else stays.

    Paths, annotations, reports and segmentations, several of them, or a mapping to them.
    """
    values = list(labels.values()) if isinstance(labels, Mapping) else _listed(labels)
    flat = [one for value in values for one in _listed(value)]
    objects = (Annotations, Report, Segmentation, os.PathLike)
    # a text that a mapping holds may be the name of a class; by itself it can only be a path
    known = objects if isinstance(labels, Mapping) else (*objects, str)
    if not flat or not all(isinstance(one, known) for one in flat):
        return labels
    kinds = {_is_segmentation(one) for one in flat}
    if len(kinds) > 1:
        raise EncodingError(
            "labels are segmentations and other files; give them as SegmentationLabels or AnnotationLabels, one for a "
            "dataset"
        )
    return SegmentationLabels(labels) if kinds.pop() else AnnotationLabels(labels)


def _is_segmentation(one: Any) -> bool:
    if isinstance(one, (Annotations, Report, Segmentation)):
        return isinstance(one, Segmentation)
    return sop_class_of(os.fspath(one)) in sop.SEGMENTATIONS


def _listed(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
