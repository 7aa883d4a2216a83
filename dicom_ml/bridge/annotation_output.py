"""From what is found on a slide's tiles to one object of bulk annotations, of millions of items perhaps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.boxes import CORNERS
from dicom_ml.bridge.duplicates import check_duplicates, kept_items
from dicom_ml.bridge.found import AXES
from dicom_ml.bridge.item_results import Records, tile_reader
from dicom_ml.bridge.output import as_algorithm
from dicom_ml.bridge.report_output import by_label
from dicom_ml.bridge.results import NamedResults, Written, plain
from dicom_ml.bridge.tile_items import GRAPHIC_KINDS, TileFindings, findings_of
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.codes import Code, parse_code, parse_unit
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.annotations import AnnotationGroup, Annotations
from dicom_ml.objects.report.concepts import CERTAINTY, PERCENT
from dicom_ml.objects.segmentation import Segment
from dicom_ml.source import SourceSeries

__all__ = ["AnnotationClass", "AnnotationOutput", "as_annotation_classes"]

Array = npt.NDArray[Any]
_ANATOMY = Code("91723000", "SCT", "Anatomical structure")
_AREA = Code("42798000", "SCT", "Area")
_FIXED = ("point", "rectangle")  # kinds whose items all have equally many points


@dataclass(frozen=True)
class AnnotationClass:
    """What items of one label are: a group of the object.

    Parameters
    ----------
    label : str
        Up to 64 characters.
    type, category : code
        Annotation Property Type and Category.
    """

    label: str
    type: Code
    category: Code = _ANATOMY

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", parse_code(self.type))
        object.__setattr__(self, "category", parse_code(self.category))


def as_annotation_classes(classes: Any) -> dict[int, AnnotationClass]:
    """The class of each label.

    Parameters
    ----------
    classes : code, Segment, AnnotationClass or mapping of its parameters; or a sequence or mapping by label of these
        A sequence counts from 0. A code gives its group its meaning as label.

    Raises
    ------
    EncodingError
        If there are none, or a label is no whole number.
    """
    single = isinstance(classes, str | Segment | AnnotationClass) or hasattr(classes, "meaning")
    texts = isinstance(classes, tuple) and len(classes) > 0 and all(isinstance(p, str) for p in classes)
    if single or (texts and ":" not in classes[0]) or (isinstance(classes, Mapping) and "type" in classes):
        classes = [classes]
    if not classes:
        raise EncodingError("annotations need classes=, what each label is: classes={0: 'SCT:84640000'}")
    found: dict[int, AnnotationClass] = {}
    for label, one in by_label(classes).items():
        try:
            number = int(label)  # keys of a configuration file are texts
        except (TypeError, ValueError):
            raise EncodingError(f"the labels of classes are whole numbers, found {label!r}") from None
        if isinstance(one, Segment):
            one = AnnotationClass(one.label, one.type, one.category)
        elif isinstance(one, Mapping):
            one = AnnotationClass(**one)
        elif not isinstance(one, AnnotationClass):
            code = parse_code(one)
            one = AnnotationClass(code.meaning[:64], code)
        found[number] = one
    return found


@dataclass(frozen=True)
class AnnotationOutput(NamedResults):
    """How findings on tiles become bulk annotations of their slide.

    Parameters
    ----------
    classes : see :func:`as_annotation_classes`
    algorithm : Algorithm or mapping
    graphic : {"auto", "point", "rectangle", "polygon", "polyline"}
        How items are drawn; ``"auto"`` as they come.
    min_score, min_area : float
        Items below are left out; areas in pixels of the tiles.
    tolerance : float
        Corners of outlines are left out where these stay so near to what they were, in pixels of the tiles.
    area, score : bool
        Write areas (in square micrometres) and scores (Certainty of Finding, in percent) of items as measurements.
    measurements : mapping of str to (code, unit)
        Further entries of predictions, with a number for each item, that become measurements.
    axes, corners
        Of points and boxes; see :func:`dicom_ml.bridge.tile_items.findings_of`.
    duplicates, overlap
        What becomes of items that several tiles found; see :mod:`dicom_ml.bridge.duplicates`.
    keys : tuple of 3
        How boxes, labels and scores are called.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    options : mapping
        Further arguments of :meth:`Annotations.from_groups`.
    settings : mapping
        Settings of the caller that change the result.
    """

    ending = "ann"
    classes: Any
    algorithm: Algorithm | None = None
    graphic: str = "auto"
    min_score: float = 0.0
    min_area: float = 0.0
    tolerance: float = 0.0
    area: bool = True
    score: bool = True
    measurements: Mapping[str, Any] = field(default_factory=dict)
    axes: str = "auto"
    corners: str = "edge"
    duplicates: str = "core"
    overlap: float = 0.5
    keys: tuple[str | None, str | None, str | None] = (None, None, None)
    filename: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", as_annotation_classes(self.classes))
        object.__setattr__(self, "algorithm", as_algorithm(self.algorithm))
        if self.algorithm is None:
            raise EncodingError(
                "annotations say how they were made; pass algorithm=dicom_ml.Algorithm(name, version), or "
                "algorithm='manual' where a person drew them"
            )
        if self.graphic != "auto" and self.graphic not in GRAPHIC_KINDS:
            raise EncodingError(f"graphic is auto or one of {', '.join(GRAPHIC_KINDS)}, found {self.graphic!r}")
        if self.axes not in AXES:
            raise EncodingError(f"axes is one of {', '.join(AXES)}, found {self.axes!r}")
        if self.corners not in CORNERS:
            raise EncodingError(f"corners is one of {', '.join(CORNERS)}, found {self.corners!r}")
        check_duplicates(self.duplicates, self.overlap)
        units = {name: (parse_code(c), parse_unit(u)) for name, (c, u) in self.measurements.items()}
        object.__setattr__(self, "measurements", units)
        self.check_filename()

    def facts(self) -> dict[str, Any]:
        """What results follow from beside source and model."""
        return {
            "kind": "annotations",
            "classes": plain(self.classes),
            "algorithm": plain(self.algorithm),
            "drawn": [self.graphic, self.axes, self.corners],
            "limits": [float(self.min_score), float(self.min_area), float(self.tolerance)],
            "measured": [self.area, self.score, plain(dict(self.measurements))],
            "duplicates": [self.duplicates, float(self.overlap)],
            "options": plain(dict(self.options)),
            "settings": plain(dict(self.settings)),
        }

    @property
    def algorithm_name(self) -> str:
        """Name of the algorithm."""
        return "" if self.algorithm is None else self.algorithm.name

    # ------------------------------------------------------------------ one tile
    def of_tile(self, pred: Any, grid: TileGrid) -> dict[str, Array]:
        """What is kept of a prediction of a tile."""
        box_key, label_key, score_key = self.keys
        found = findings_of(
            pred,
            axes=self.axes,
            corners=self.corners,
            columns=tuple(self.measurements),
            box_key=box_key,
            label_key=label_key,
            score_key=score_key,
        )
        unknown = sorted(set(np.unique(found.labels).tolist()) - set(self.classes))
        if unknown:
            raise EncodingError(f"labels {unknown} were found, and classes= explains {sorted(self.classes)}")
        found = self._chosen(found)
        areas = found.areas
        drawn = found if self.graphic == "auto" else found.drawn_as(self.graphic)
        drawn = drawn.simplified(self.tolerance)
        kept = {
            "kind": np.array([GRAPHIC_KINDS.index(drawn.kind)], dtype="|u1"),
            "boxes": found.boxes.astype("<f4"),
            "labels": found.labels.astype("<i4"),
            "points": drawn.points.astype("<f4"),
            "lengths": drawn.lengths.astype("<i4"),
            "areas": areas.astype("<f4"),
        }
        if found.scores is not None:
            kept["scores"] = found.scores.astype("<f4")
        return kept | {f"+{name}": values.astype("<f4") for name, values in found.columns.items()}

    def _chosen(self, found: TileFindings) -> TileFindings:
        keep = np.ones(len(found), dtype=bool)
        if len(found):
            keep &= np.isfinite(found.boxes).all(axis=1)
        if found.scores is not None:
            scores = found.scores
            if len(scores) and not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1 + 1e-6):
                raise EncodingError("scores are probabilities from 0 to 1; apply a sigmoid or softmax first")
            keep &= scores >= self.min_score
        if self.min_area > 0 and found.kind not in ("point", "polyline"):
            keep &= found.areas >= self.min_area
        return found if keep.all() else found.select(keep)

    # ------------------------------------------------------------------ the object
    def write_tiles(self, records: Records, grid: TileGrid, source: SourceSeries, uids: Written, folder: Path) -> bool:
        """Write the object of a slide's tiles; False where nothing was found, since it cannot be empty.

        Points lie in files of ``folder`` until they are written, so that memory holds some bytes an item.
        """
        masks: dict[tuple[int, int], Array] = {}
        columns: dict[int, _Column] = {}
        for cell, keep in kept_items(tile_reader(records), records.cells, grid, self.duplicates, self.overlap):
            masks[cell] = keep
            if not keep.any():
                continue
            found = records.read(cell, ("kind", "labels", "lengths", "scores"))
            kind = GRAPHIC_KINDS[int(found["kind"][0])]
            for label in np.unique(found["labels"][keep]).tolist():
                own = keep & (found["labels"] == label)
                column = columns.setdefault(label, _Column(kind))
                column.count(kind, own, found["lengths"], "scores" in found)
        if not columns:
            return False
        for label, column in columns.items():
            column.open(folder / f"{label}.points", tuple(self.measurements))
        for cell, found in records:
            for label in np.unique(found["labels"][masks[cell]]).tolist():
                own = masks[cell] & (found["labels"] == label)
                columns[label].add(found, own, self._placed(found, own, cell, grid, source))
        groups = [self._group(self.classes[label], columns[label], grid, source) for label in sorted(columns)]
        options = {
            **self.options,
            "sop_instance_uid": uids.sop_instance_uid,
            "series_instance_uid": uids.series_instance_uid,
        }
        Annotations.from_groups(groups, source=source, **options).save(uids.path)
        return True

    def _placed(
        self, found: Mapping[str, Array], own: Array, cell: tuple[int, int], grid: TileGrid, source: SourceSeries
    ) -> Array:
        """Points of items, x and y in pixels of level 0, within the slide."""
        points = found["points"][np.repeat(own, found["lengths"])].astype(np.float64)
        points = (points + np.multiply(cell, grid.stride)) * np.array(grid.downsamples)
        whole = np.array(source.levels[0].grid.shape[1:])
        return np.clip(points, 0, whole)[:, ::-1]

    def _group(self, described: AnnotationClass, column: _Column, grid: TileGrid, source: SourceSeries) -> Any:
        measures: dict[tuple[Code, Code], Array] = {}
        if self.area and np.isfinite(column.areas).any():
            spacing = np.multiply(source.levels[0].grid.spacing[1:], grid.downsamples)
            measures[_AREA, parse_unit("um2")] = column.areas * np.float32(spacing.prod() * 1e6)
        if self.score and column.scored:
            measures[CERTAINTY, PERCENT] = column.scores * np.float32(100)
        measures |= {units: column.more[name] for name, units in self.measurements.items()}
        return AnnotationGroup(
            described.label,
            described.type,
            column.kind,
            points=column.points,
            offsets=None if column.kind in _FIXED else column.offsets,
            category=described.category,
            measurements=measures,
            algorithm=self.algorithm,
        )

    # ------------------------------------------------------------------ one prediction of a whole slide
    def write(
        self,
        pred: Any,
        grid: TileGrid,
        source: SourceSeries,
        folder: str | os.PathLike[str],
        *,
        model: str = "",
    ) -> Written | None:
        """Write the one prediction of a slide, or of a part of it, which ``grid`` places as its only tile.

        None where nothing was found.
        """
        import tempfile

        target = self.path(source, folder, model)
        uids = self.record(source, target, model, written=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".points-") as room:
            made = self.write_tiles(_Alone(self.of_tile(pred, grid)), grid, source.check(), uids, Path(room))
        return uids if made else None


class _Column:
    """Items of one label: counted first, then laid side by side."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items, self.total, self.scored = 0, 0, False
        self._item = self._point = 0

    def count(self, kind: str, own: Array, lengths: Array, scored: bool) -> None:
        if kind != self.kind:
            raise EncodingError(
                f"some tiles gave {self.kind}s, others {kind}s, for one label; say how to draw them with graphic="
            )
        self.items += int(own.sum())
        self.total += int(lengths[own].sum())
        self.scored |= scored

    def open(self, path: Path, more: Iterable[str]) -> None:
        self.points: Array = np.memmap(path, "<f4", "w+", shape=(self.total, 2))
        self.offsets = np.zeros(self.items, dtype=np.int64)
        self.areas, self.scores = (np.full(self.items, np.nan, dtype="<f4") for _ in range(2))
        self.more = {name: np.full(self.items, np.nan, dtype="<f4") for name in more}

    def add(self, found: Mapping[str, Array], own: Array, points: Array) -> None:
        lengths = found["lengths"][own].astype(np.int64)
        items = slice(self._item, self._item + len(lengths))
        self.points[self._point : self._point + len(points)] = points
        self.offsets[items] = self._point + np.cumsum(lengths) - lengths
        self.areas[items] = found["areas"][own]
        if "scores" in found:
            self.scores[items] = found["scores"][own]
        for name, values in self.more.items():
            values[items] = found[f"+{name}"][own]
        self._item += len(lengths)
        self._point += len(points)


class _Alone:
    """A single tile's arrays, as :class:`dicom_ml.bridge.item_results.TileRecords` gives those of many."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)
        self.cells = [(0, 0)]

    def read(self, cell: tuple[int, int], only: tuple[str, ...] = ()) -> dict[str, Array]:
        return {k: v for k, v in self._arrays.items() if not only or k in only}

    def __iter__(self) -> Iterator[tuple[tuple[int, int], dict[str, Array]]]:
        yield (0, 0), self._arrays
