"""From detections, classifications and masks to structured reports.

Counterparts of :class:`~dicom_ml.bridge.output.SegmentationOutput`: what comes in are numpy arrays in the geometry of
the image that a network saw, what comes out are TID 1500 reports on the source's own images, under names and UIDs that
follow from source, settings and model.
"""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.boxes import CORNERS, SPACES
from dicom_ml.bridge.duplicates import check_duplicates, kept_items
from dicom_ml.bridge.found import AXES, Found
from dicom_ml.bridge.item_results import Records, tile_reader
from dicom_ml.bridge.output import as_algorithm
from dicom_ml.bridge.results import NamedResults, Written, plain
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.codes import Code, parse_code
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.errors import DicomMLWarning, EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.report import Report
from dicom_ml.source import SourceSeries, as_source

__all__ = [
    "AGGREGATES",
    "ClassificationOutput",
    "DetectionOutput",
    "ReportOutput",
    "as_classes",
    "by_label",
    "tracking_uid",
]

Array = npt.NDArray[Any]
AGGREGATES = ("mean", "max", "median")


def as_classes(classes: Any) -> dict[int, Code]:
    """The code of each label, from a code, a sequence of codes (labels 0, 1, ...), or a mapping.

    A mapping goes either way, ``{0: code}`` or, as of :class:`dicom_ml.transforms.LoadReport`, ``{code: 0}``.

    Raises
    ------
    EncodingError
        If there are none, or a label is no whole number.
    """
    if _is_code(classes):
        classes = [classes]
    if not classes:
        raise EncodingError("labels need classes=, the code of each: classes={0: 'SCT:27925004'}")
    found: dict[int, Code] = {}
    for label, code in by_label(classes).items():
        try:
            number = int(label)  # keys of a configuration file are texts
        except (TypeError, ValueError):
            raise EncodingError(f"the labels of classes are whole numbers, found {label!r}") from None
        found[number] = parse_code(code)
    return found


def by_label(classes: Any) -> dict[Any, Any]:
    """What each label means, whichever way round a mapping says it.

    Raises
    ------
    EncodingError
        If several meanings have one label: which one is to be written cannot be known.
    """
    if not isinstance(classes, Mapping):
        return dict(enumerate(classes))
    if not classes or not all(isinstance(v, int) and not isinstance(v, bool) for v in classes.values()):
        return dict(classes)
    turned: dict[Any, Any] = {}
    for meaning, label in classes.items():
        if label in turned:
            raise EncodingError(f"label {label} stands for several codes; say which one is written: {{{label}: ...}}")
        turned[label] = meaning
    return turned


def _is_code(value: Any) -> bool:
    """Whether a value is one code, no sequence of codes."""
    if isinstance(value, str) or hasattr(value, "meaning"):
        return True
    texts = isinstance(value, tuple) and len(value) > 0 and all(isinstance(part, str) for part in value)
    return texts and ":" not in value[0]


def tracking_uid(source: SourceSeries, tracking_id: str) -> str | None:
    """The UID of what has an identifier in a patient, the same at every time point.

    None where the patient has no identifier: nothing then says that two images are of one patient.
    """
    ds = source.attribute_dataset()
    patient = str(ds.get("PatientID") or "")
    if not patient:
        return None
    return derived_uid("tracking over time", patient, str(ds.get("IssuerOfPatientID") or ""), tracking_id)


@dataclass(frozen=True)
class ReportOutput(NamedResults):
    """Base of what writes reports.

    Parameters
    ----------
    algorithm : Algorithm or mapping
    site : code, Site or sequence of these, optional
        Where findings lie.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    options : mapping
        Further arguments of :class:`dicom_ml.Report`, such as ``coordinates`` or ``procedure``.
    settings : mapping
        Settings of the caller that change the result.
    """

    ending = "sr"
    algorithm: Algorithm | None = None
    site: Any = None
    filename: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithm", as_algorithm(self.algorithm))
        self.check_filename()

    @property
    def algorithm_name(self) -> str:
        """Name of the algorithm."""
        return "" if self.algorithm is None else self.algorithm.name

    def facts(self) -> dict[str, Any]:
        """What results follow from beside source and model."""
        return {
            "kind": type(self).__name__,
            "algorithm": plain(self.algorithm),
            "site": plain(self.site),
            "options": plain(dict(self.options)),
            "settings": plain(dict(self.settings)),
            **self.own_facts(),
        }

    @abstractmethod
    def own_facts(self) -> dict[str, Any]:
        """The part of them that a kind of report adds."""

    def settled(self, uids: Written) -> dict[str, Any]:
        """Arguments of a report that all kinds share."""
        return {
            "algorithm": self.algorithm,
            **self.options,
            "sop_instance_uid": uids.sop_instance_uid,
            "series_instance_uid": uids.series_instance_uid,
        }

    def save(
        self,
        make: Callable[[SourceSeries, Written], Report],
        source: Any,
        folder: str | os.PathLike[str],
        model: str = "",
        path: str | os.PathLike[str] | None = None,
    ) -> Written:
        """Write the report that ``make`` gives for a source and its UIDs; the file appears when it is complete."""
        record = as_source(source).check()
        target = self.path(record, folder, model) if path is None else Path(path)
        uids = self.record(record, target, model, written=True)
        report = make(record, uids)
        target.parent.mkdir(parents=True, exist_ok=True)
        report.save(target)
        return uids


# ---------------------------------------------------------------------- boxes
@dataclass(frozen=True)
class DetectionOutput(ReportOutput):
    """How detections become reports: a measurement group for each (TID 1410, 1411).

    Parameters
    ----------
    classes : code, sequence or mapping of code
        What labels mean; see :func:`as_classes`. None where labels are codes.
    min_score : float
        Detections below it are left out.
    corners, space : str
        Of the boxes that come; see :mod:`dicom_ml.bridge.boxes`.
    axes : {"auto", "xy", "rc"}
        Of boxes on tiles of slides; see :meth:`dicom_ml.bridge.found.Found.on_tile`.
    duplicates, overlap
        What becomes of boxes that several tiles found; see :mod:`dicom_ml.bridge.duplicates`.
    """

    classes: Any = None
    min_score: float = 0.0
    corners: str = "edge"
    space: str = "image"
    axes: str = "auto"
    duplicates: str = "core"
    overlap: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes is not None:
            object.__setattr__(self, "classes", as_classes(self.classes))
        if self.corners not in CORNERS:
            raise EncodingError(f"corners is one of {', '.join(CORNERS)}, found {self.corners!r}")
        if self.space not in SPACES:
            raise EncodingError(f"space is one of {', '.join(SPACES)}, found {self.space!r}")
        if self.axes not in AXES:
            raise EncodingError(f"axes is one of {', '.join(AXES)}, found {self.axes!r}")
        check_duplicates(self.duplicates, self.overlap)

    def own_facts(self) -> dict[str, Any]:
        """Classes, threshold and coordinates."""
        return {
            "classes": plain(self.classes),
            "min_score": float(self.min_score),
            "corners": self.corners,
            "space": self.space,
            "tiles": [self.axes, self.duplicates, float(self.overlap)],
        }

    def report(self, found: Found, source: SourceSeries, uids: Written) -> Report:
        """The report of detections on the array of the source (see :meth:`Found.to_source`)."""
        found = found.ranked(self.min_score)
        ids, own = found.tracking_ids, found.tracking_uids
        known = own if own is not None or ids is None else [tracking_uid(source, name) for name in ids]
        settled = self.settled(uids)
        if not source.frame_of_reference_uid and "coordinates" not in settled:
            settled["coordinates"] = self._on_slices(found)
        return Report.from_detections(
            found.boxes,
            found.scores,
            self._labels(found),
            source=source,
            classes=self.classes,
            site=self.site,
            slices=found.slices,
            tracking_ids=ids,
            tracking_uids=known,
            measurements=found.measurements,
            **settled,
        )

    @staticmethod
    def _on_slices(found: Found) -> str:
        """How boxes are written where there is no frame of reference for millimetres: on the slices they reach."""
        ends = found.boxes[:, [0, 3]] if found.boxes.shape[1] == 6 else np.zeros(0)
        if (ends != np.rint(ends)).any():
            warnings.warn(
                "the series has no frame of reference, so boxes cannot be written in millimetres: they are rounded to "
                "whole slices",
                DicomMLWarning,
                stacklevel=2,
            )
        return "image"

    def _labels(self, found: Found) -> list[Any] | None:
        if found.labels is None and self.classes is not None and len(self.classes) > 1:
            raise EncodingError(f"boxes without labels are of one class, and classes= names {len(self.classes)}")
        if found.labels is None or self.classes is None:
            return found.labels if self.classes is None else [min(self.classes)] * len(found)
        whole = [int(x) if isinstance(x, float) and x == int(x) else x for x in found.labels]
        unknown = sorted({x for x in whole if isinstance(x, int) and x not in self.classes})
        if unknown:
            raise EncodingError(f"labels {unknown} were found, and classes= explains {sorted(self.classes)}")
        return whole

    def write(
        self,
        found: Found,
        affine: Any,
        shape: tuple[int, ...] | None,
        source: Any,
        folder: str | os.PathLike[str],
        *,
        model: str = "",
    ) -> Written:
        """Write detections of an image.

        Parameters
        ----------
        found : Found
            Along MONAI's axes.
        affine, shape
            Of the image, as MONAI has them; see :meth:`Found.to_source`.
        source : SourceSeries, or what :func:`dicom_ml.source.as_source` takes
        folder : path
        model : str
            What tells this model from others; it takes part in the UIDs.
        """

        def make(record: SourceSeries, uids: Written) -> Report:
            return self.report(found.to_source(record, affine, shape, self.corners, self.space), record, uids)

        return self.save(make, source, folder, model)

    # ------------------------------------------------------------------ tiles of slides
    def of_tile(self, pred: Found, grid: TileGrid) -> dict[str, Array]:
        """What is kept of the boxes of a tile."""
        boxes = pred.on_tile(self.axes, self.corners)
        labels = self._labels(pred)
        if labels is not None and not all(isinstance(x, int) for x in labels):
            raise EncodingError("labels of boxes on tiles are whole numbers; pass classes= with the code of each")
        keep = np.isfinite(boxes).all(axis=1)
        if pred.scores is not None:
            keep &= pred.scores >= self.min_score
        kept = {"boxes": boxes[keep].astype("<f4")}
        kept["labels"] = np.array(labels if labels is not None else [0] * len(boxes), dtype="<i4")[keep]
        if pred.scores is not None:
            kept["scores"] = pred.scores[keep].astype("<f4")
        return kept

    def write_tiles(self, records: Records, grid: TileGrid, source: SourceSeries, uids: Written, folder: Path) -> bool:
        """Write the report of a slide's tiles; there is one where nothing was found, too."""
        boxes, labels, scores = [np.zeros((0, 4))], [np.zeros(0, int)], [np.zeros(0)]
        for cell, keep in kept_items(tile_reader(records), records.cells, grid, self.duplicates, self.overlap):
            found = records.read(cell)
            first = np.tile(np.multiply(cell, grid.stride), 2)
            boxes.append((found["boxes"][keep].astype(np.float64) + first) * np.tile(grid.downsamples, 2))
            labels.append(found["labels"][keep])
            scores.append(found["scores"][keep] if "scores" in found else np.full(int(keep.sum()), np.nan))
        values = np.concatenate(scores)
        scored = len(values) > 0 and bool(np.isfinite(values).all())
        whole = Found(
            np.concatenate(boxes),
            None if self.classes is None else np.concatenate(labels).tolist(),
            np.asarray(values, dtype=np.float64) if scored else None,
        )
        self.report(whole, source, uids).save(uids.path)
        return True


# ---------------------------------------------------------------------- classes
@dataclass(frozen=True)
class ClassificationOutput(ReportOutput):
    """How probabilities of classes become reports on series or slides.

    Parameters
    ----------
    classes : sequence of code
        What each probability is of. Two classes take one probability as well, of the second.
    question : code, optional
        Evaluation that the most certain class answers; without one it is the finding.
    aggregate : {"mean", "max", "median"}, int, or callable
        How probabilities of a slide's tiles become one of the slide; a number: the mean of so many highest, class by
        class; a function takes ``(tiles, classes)``.
    """

    classes: Any = None
    question: Any = None
    aggregate: Any = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        codes = as_classes(self.classes)
        if sorted(codes) != list(range(len(codes))) or len(codes) < 2:
            raise EncodingError(
                f"a classifier has two classes or more, counted from 0, found {sorted(codes)}; for a single finding "
                "name both, absent and present"
            )
        object.__setattr__(self, "classes", tuple(codes[i] for i in range(len(codes))))
        known = self.aggregate in AGGREGATES if isinstance(self.aggregate, str) else callable(self.aggregate)
        if not known and not (isinstance(self.aggregate, int) and self.aggregate > 0):
            raise EncodingError(
                f"aggregate is one of {', '.join(AGGREGATES)}, a number of tiles or a function, "
                f"found {self.aggregate!r}"
            )

    def own_facts(self) -> dict[str, Any]:
        """Classes, question and aggregation."""
        how = self.aggregate
        return {
            "classes": plain(self.classes),
            "question": plain(self.question),
            "aggregate": how if isinstance(how, str | int) else getattr(how, "__qualname__", type(how).__name__),
        }

    def probabilities(self, values: Array) -> Array:
        """Probability of each class, from those of all, or of the second of two.

        Raises
        ------
        EncodingError
            If they are not as many as classes, or no probabilities.
        """
        found = np.asarray(values, dtype=np.float64).reshape(-1)
        if len(found) == 1 and len(self.classes) == 2:
            found = np.array([1 - found[0], found[0]])
        if len(found) != len(self.classes):
            raise EncodingError(f"{len(found)} probabilities for {len(self.classes)} classes")
        if not np.isfinite(found).all() or found.min() < -1e-4 or found.max() > 1 + 1e-4:
            raise EncodingError(
                f"the prediction runs from {found.min():.4g} to {found.max():.4g}, so it holds no probabilities; pass "
                "activation='softmax' (or 'sigmoid')"
            )
        return np.clip(found, 0.0, 1.0)

    def report(self, scores: Array, source: SourceSeries, uids: Written) -> Report:
        """The report that says of which class a source is."""
        return Report.from_classification(
            self.probabilities(scores),
            classes=self.classes,
            question=self.question,
            site=self.site,
            source=source,
            **self.settled(uids),
        )

    def write(self, scores: Array, source: Any, folder: str | os.PathLike[str], *, model: str = "") -> Written:
        """Write the classification of a series or slide; arguments as of :meth:`DetectionOutput.write`."""
        return self.save(lambda record, uids: self.report(scores, record, uids), source, folder, model)

    def aggregated(self, values: Array) -> Array:
        """One probability a class, from those of tiles ``(n, C)``."""
        if callable(self.aggregate):
            return np.asarray(self.aggregate(values), dtype=np.float64).reshape(-1)
        if isinstance(self.aggregate, int):
            highest: Array = np.sort(values, axis=0)[::-1][: self.aggregate]
            return np.asarray(highest.mean(axis=0))
        how: dict[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "median": np.median}
        return np.asarray(how[self.aggregate](values, axis=0))

    # ------------------------------------------------------------------ tiles of slides
    def of_tile(self, pred: Array, grid: TileGrid) -> dict[str, Array]:
        """What is kept of the classes of a tile."""
        return {"values": self.probabilities(pred).astype("<f4")}

    def write_tiles(self, records: Records, grid: TileGrid, source: SourceSeries, uids: Written, folder: Path) -> bool:
        """Write the report on a slide, of the classes of its tiles."""
        values = np.stack([arrays["values"] for _, arrays in records]).astype(np.float64)
        self.report(self.aggregated(values), source, uids).save(uids.path)
        return True
