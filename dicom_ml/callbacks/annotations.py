"""What networks find on slides, written as bulk annotations while they run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dicom_ml.bridge.annotation_output import AnnotationOutput
from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.item_results import ItemResult
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import SlideObject
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.callbacks.predictions import Case, findings
from dicom_ml.callbacks.writer import ResultWriter
from dicom_ml.errors import EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["AnnotationWriter"]


class AnnotationWriter(ResultWriter):
    """Write nuclei, cells, outlines and boxes that ``predict_step`` finds on tiles: one bulk annotation object a slide.

    The step returns, for each tile (:class:`dicom_ml.data.TileDataset`), an instance map ``(rows, columns)`` of whole
    numbers, or a mapping of ``"instances"``, ``"masks"``, ``"polygons"``, ``"polylines"``, ``"points"`` or ``"boxes"``
    with labels and scores, as detectors give it. Instance maps and masks become outlines exactly along the edges of
    their pixels. Everything is placed on the pixels of the finest level, whatever level or spacing the tiles were cut
    at; what several overlapping tiles found is kept once.

    All that :class:`dicom_ml.callbacks.SegmentationWriter` says of tiles holds here: they may come in any order and
    from several processes, wait on disk in the output folder, and a run that was killed goes on and writes the same
    UIDs. Memory holds some bytes an item, and no outline. An object cannot be empty: a slide on which nothing is
    found has no file, which a warning and the index tell.

    Parameters
    ----------
    output_dir : path
        Holds the files and ``annotations.json``, an index of them.
    classes : code, Segment or mapping, or a sequence or mapping by label of these
        What labels mean, a group each: ``{0: "SCT:84640000"}``, or ``{"label": "Nuclei", "type": "SCT:84640000"}``.
        A sequence counts from 0; predictions without labels are of label 0.
    algorithm : Algorithm or mapping
    graphic : {"auto", "point", "rectangle", "polygon", "polyline"}
        How items are drawn: as they come, as their centres, or as the boxes that hold them.
    min_score, min_area : float
        Items below are left out; areas in pixels of the tiles.
    tolerance : float
        Corners of outlines are left out where these stay so near to what they were, in pixels of the tiles: 1 leaves
        a quarter of the corners of common nuclei, and of the size of files. Areas are those of the exact outlines.
    area, score : bool
        Write areas (square micrometres) and scores (percent) of items as measurements.
    measurements : mapping of str to (code, unit), optional
        Further entries of predictions, with a number for each item, that become measurements.
    axes : {"auto", "xy", "rc"}
        Which comes first in points and boxes: columns, as torchvision has it, or rows; ``"auto"`` takes rows for boxes
        of MONAI's detectors, and columns for all else.
    corners : {"edge", "center"}
        Whether whole numbers are edges of pixels, or their centres.
    duplicates : {"core", "nms", "keep"}
        What becomes of items that several tiles found; see :mod:`dicom_ml.bridge.duplicates`.
    overlap : float
        Intersection over union from which two items of two tiles are one.
    box_key, label_key, score_key : str, optional
        How the step calls what it gives.
    key, image_key, filename, model, stages, resume, on_error, incomplete, validate
        As in :class:`dicom_ml.callbacks.SegmentationWriter`.
    **options
        Further arguments of :meth:`dicom_ml.Annotations.from_groups`, such as ``series_description``.

    Examples
    --------
    >>> writer = AnnotationWriter("out/", {"label": "Nuclei", "type": "SCT:84640000"}, made_by)  # doctest: +SKIP
    """

    index_name = "annotations"

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        classes: Any,
        algorithm: Any = None,
        *,
        graphic: str = "auto",
        min_score: float = 0.0,
        min_area: float = 0.0,
        tolerance: float = 0.0,
        area: bool = True,
        score: bool = True,
        measurements: Mapping[str, Any] | None = None,
        axes: str = "auto",
        corners: str = "edge",
        duplicates: str = "core",
        overlap: float = 0.5,
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
        keys = (box_key, label_key, score_key)
        settings: dict[str, Any] = {} if key is None else {"key": key}
        if any(keys):
            settings["keys"] = keys
        output = AnnotationOutput(
            classes,
            algorithm,
            graphic,
            min_score,
            min_area,
            tolerance,
            area,
            score,
            measurements or {},
            axes,
            corners,
            duplicates,
            overlap,
            keys,
            filename,
            options,
            settings,
        )
        super().__init__(
            output_dir,
            output,
            Decision(),
            key=key,
            image_key=image_key,
            model=model,
            stages=stages,
            resume=resume,
            on_error=on_error,
            incomplete=incomplete,
            validate=validate,
        )

    def facts(self) -> dict[str, Any]:
        """What the index says of every file."""
        algorithm = self.output.algorithm
        return {"algorithm": algorithm.name, "algorithm_version": algorithm.version}

    def _predictions(self, outputs: Any, of_tiles: bool = False) -> list[Any]:
        return findings(outputs, self.key, self.output.keys[0])

    def _activated(self, pred: Any) -> Any:
        return pred

    def _save(self, case: Case, activated: Any) -> Written:
        raise EncodingError(
            "bulk annotations are of slides, and the batch holds volumes; what is found in these goes into reports, "
            "with ReportWriter"
        )

    def _tile_value(self, pred: Any) -> Any:
        return pred

    def _slide_result(self, source: SourceSeries, grid: TileGrid, shard: str) -> SlideObject:
        return ItemResult(self.output, source, grid, self._folder, self._model_id, shard=shard)
