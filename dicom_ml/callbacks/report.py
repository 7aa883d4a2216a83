"""Detections and classifications written as DICOM structured reports while they are made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.found import Found, found_in, numbers
from dicom_ml.bridge.item_results import ItemResult
from dicom_ml.bridge.report_output import ClassificationOutput, DetectionOutput
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import SlideObject
from dicom_ml.bridge.tensors import torch
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.callbacks.predictions import Case, detections
from dicom_ml.callbacks.writer import ResultWriter
from dicom_ml.errors import EncodingError
from dicom_ml.geometry import monai_affine
from dicom_ml.source import SourceSeries

__all__ = ["ReportWriter"]


class ReportWriter(ResultWriter):
    """Write what ``predict_step`` finds as DICOM structured reports (TID 1500), on the images it was found in.

    A detector's ``predict_step`` returns what the detector gives: for each image a mapping of boxes, labels and scores,
    and, where it measures them, ``"measurements"``: for each box a sequence of :class:`dicom_ml.Measurement`.
    A classifier's returns logits or probabilities ``(B, C)``. Each volume has a report of its own; boxes are brought
    back to the series' images through the affine of the image that the network saw. The tiles of a slide
    (:class:`dicom_ml.data.TileDataset`) become one report: every box once, though tiles overlap, or the classes of the
    slide, of those of its tiles.

    All that :class:`dicom_ml.callbacks.SegmentationWriter` says holds here: sources by what the batch says, each once
    over all processes and repeating samplers, the same UIDs in every run, killed runs going on. Batches may be
    collated, or lists of items, as detectors of images of many sizes take them.

    Parameters
    ----------
    output_dir : path
        Holds the files and ``reports.json``, an index of them.
    classes : code, sequence or mapping of code
        What labels or channels mean: ``{0: "SCT:27925004"}``. A sequence counts from 0.
    kind : {"detections", "classification"}
    algorithm : Algorithm or mapping, optional
    site : code, Site or sequence of these, optional
    min_score : float
        Detections below it are left out.
    corners : {"edge", "center"}
        Where boxes have whole numbers; see :mod:`dicom_ml.bridge.boxes`.
    space : {"image", "world"}
        ``"world"``: boxes of volumes are RAS millimetres.
    axes : {"auto", "xy", "rc"}
        Of boxes on tiles: columns first, as torchvision has it, or rows first, as MONAI's detectors have it; see
        :meth:`dicom_ml.bridge.found.Found.on_tile`.
    duplicates : {"core", "nms", "keep"}
        What becomes of boxes that several tiles found; see :mod:`dicom_ml.bridge.duplicates`.
    overlap : float
        Intersection over union from which two boxes are one.
    question : code, optional
        Of classifications: evaluation that the most certain class answers; without one it is the finding.
    activation : {None, "softmax", "sigmoid"}
        Of classifications: applied to the network's output.
    aggregate : {"mean", "max", "median"}, int or callable
        How classes of tiles become those of their slide; a number: the mean of so many highest, class by class.
    box_key, label_key, score_key : str, optional
        How a detector calls what it gives; by default as MONAI's and torchvision's do.
    key, image_key, filename, model, stages, resume, on_error, incomplete, validate
        As in :class:`dicom_ml.callbacks.SegmentationWriter`.
    **options
        Further arguments of :class:`dicom_ml.Report`, such as ``coordinates``, ``procedure`` or ``observers``.

    Examples
    --------
    >>> writer = ReportWriter("out/", {0: "SCT:27925004"}, min_score=0.3)  # doctest: +SKIP
    >>> L.Trainer(callbacks=[writer]).predict(model, datamodule, return_predictions=False)  # doctest: +SKIP
    """

    index_name = "reports"

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        classes: Any,
        kind: str = "detections",
        *,
        algorithm: Any = None,
        site: Any = None,
        min_score: float = 0.0,
        corners: str = "edge",
        space: str = "image",
        axes: str = "auto",
        duplicates: str = "core",
        overlap: float = 0.5,
        question: Any = None,
        activation: str | None = None,
        aggregate: Any = "mean",
        box_key: str | None = None,
        label_key: str | None = None,
        score_key: str | None = None,
        key: str | None = None,
        image_key: str = "image",
        filename: str | None = None,
        model: str | None = None,
        stages: Sequence[str] = ("predict",),
        resume: bool = True,
        on_error: str = "raise",
        incomplete: str = "keep",
        validate: bool = True,
        **options: Any,
    ) -> None:
        named = {"key": key, "box_key": box_key, "label_key": label_key, "score_key": score_key}
        settings: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        common: dict[str, Any] = {"algorithm": algorithm, "site": site, "filename": filename, "options": options}
        output: DetectionOutput | ClassificationOutput
        if kind == "detections":
            output = DetectionOutput(
                **common,
                classes=classes,
                min_score=min_score,
                corners=corners,
                space=space,
                axes=axes,
                duplicates=duplicates,
                overlap=overlap,
                settings=settings,
            )
        elif kind == "classification":
            settings["activation"] = activation
            output = ClassificationOutput(
                **common, classes=classes, question=question, aggregate=aggregate, settings=settings
            )
        else:
            raise EncodingError(f"kind is 'detections' or 'classification', found {kind!r}")
        super().__init__(
            output_dir,
            output,
            Decision(activation),
            key=key,
            image_key=image_key,
            model=model,
            stages=stages,
            resume=resume,
            on_error=on_error,
            incomplete=incomplete,
            validate=validate,
        )
        self.kind = kind
        self.names = (box_key, label_key, score_key)

    def facts(self) -> dict[str, Any]:
        """What the index says of every file."""
        algorithm = self.output.algorithm
        return {
            "kind": self.kind,
            "algorithm": "" if algorithm is None else algorithm.name,
            "algorithm_version": "" if algorithm is None else algorithm.version,
        }

    # ------------------------------------------------------------------ one prediction
    def _predictions(self, outputs: Any, of_tiles: bool = False) -> list[Any]:
        if self.kind == "detections":
            return detections(outputs, self.key, self.names[0])
        return super()._predictions(outputs, of_tiles=True)

    def _activated(self, pred: Any) -> Any:
        if self.kind == "detections":
            return found_in(pred, *self.names)
        pred = pred if isinstance(pred, torch.Tensor) else torch.as_tensor(numbers(pred))
        pred = pred.as_tensor() if hasattr(pred, "as_tensor") else pred
        return self.decision.activated(pred.detach().cpu().reshape(-1))

    def _save(self, case: Case, activated: Any) -> Written:
        source, model = self._source(case.handle), self._identity(case.place)
        if self.kind == "classification":
            values = np.asarray(activated)
            written: Written = self.output.write(values, source, self._folder, model=model)
            return written
        found: Found = activated
        affine, shape = case.affine, case.shape or None
        if affine is not None:
            affine = np.asarray(torch.as_tensor(affine).detach().cpu().double())
            affine = affine if affine.shape == (4, 4) else None
        if affine is not None and not case.monai:
            # boxes along (d, h, w), as that image's axes are
            found, affine, shape = _as_monai(found), monai_affine(affine), tuple(reversed(case.shape)) or None
        written = self.output.write(found, affine, shape, source, self._folder, model=model)
        return written

    # ------------------------------------------------------------------ tiles
    def _tile_value(self, pred: Any) -> Any:
        activated = self._activated(pred)
        return activated if self.kind == "detections" else np.asarray(activated)

    def _slide_result(self, source: SourceSeries, grid: TileGrid, shard: str) -> SlideObject:
        return ItemResult(self.output, source, grid, self._folder, self._model_id, shard=shard)


def _as_monai(found: Found) -> Found:
    return replace(found.on_array(), slices=found.slices)
