"""What is found on slides, saved as DICOM bulk annotations."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.annotation_output import AnnotationOutput
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import SOURCE_KEY, handle_of
from dicom_ml.bridge.tile_gathering import TileGathering, is_tile, tell_empty
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.errors import DicomMLError, EncodingError
from dicom_ml.objects.iod import validated
from dicom_ml.source import SourceSeries, as_source
from dicom_ml.transforms.saving import saved_meta, savers_of

__all__ = ["SaveAnnotations", "SaveAnnotationsD", "SaveAnnotationsDict", "SaveAnnotationsd"]


class SaveAnnotations(Transform):
    """Write points, boxes, outlines or instances of a slide as one object of bulk annotations.

    Either what was found on a whole slide comes at once, or tile after tile, as items of
    :class:`dicom_ml.data.TileDataset`: then the object is written when the last of the slide's tiles has come, each
    item once, though tiles overlap. Until then tiles wait on disk, so that a run that was killed goes on. One process
    does it; over several, :class:`dicom_ml.callbacks.AnnotationWriter` does.

    Parameters
    ----------
    classes : code, Segment or mapping, or a sequence or mapping by label of these
        What labels mean, a group each; see :class:`dicom_ml.callbacks.AnnotationWriter`.
    output_dir : path
        Made where missing.
    algorithm : Algorithm, mapping or ``"manual"``
    graphic, min_score, min_area, tolerance, area, score, measurements, axes, corners, duplicates, overlap
        As in :class:`dicom_ml.callbacks.AnnotationWriter`.
    level : int
        Of what comes at once: whose pixels coordinates and maps count in.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    model : str
        What tells this model from another; it takes part in the UIDs.
    validate : bool
        As in :class:`dicom_ml.transforms.SaveSegmentation`.
    box_key, label_key, score_key : str, optional
        How predictions call what they hold.
    **options
        Further arguments of :meth:`dicom_ml.Annotations.from_groups`, such as ``series_description``.

    Examples
    --------
    >>> SaveAnnotationsd("pred", {"label": "Nuclei", "type": "SCT:84640000"}, "out", algorithm=made_by)
    ... # doctest: +SKIP
    """

    def __init__(
        self,
        classes: Any,
        output_dir: str | os.PathLike[str] = ".",
        *,
        algorithm: Any = None,
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
        level: int = 0,
        filename: str | None = None,
        model: str = "",
        validate: bool = True,
        box_key: str | None = None,
        label_key: str | None = None,
        score_key: str | None = None,
        **options: Any,
    ) -> None:
        keys = (box_key, label_key, score_key)
        self.output = AnnotationOutput(
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
            {"keys": keys} if any(keys) else {},
        )
        self.level = int(level)
        self.output_dir = os.fspath(output_dir)
        self.model = model
        self.validate = validate
        self._gathering: TileGathering | None = None

    def __call__(self, pred: Any, source: Any = None) -> Any:
        """Write ``pred``.

        Parameters
        ----------
        pred : mapping, Tensor or ndarray
            An instance map, or a mapping of instances, masks, polygons, polylines, points or boxes, with labels and
            scores; see :func:`dicom_ml.bridge.tile_items.findings_of`.
        source : Slide, SourceSeries, handle, or mapping
            The slide; or the tile, an item of :class:`dicom_ml.data.TileDataset`.

        Returns
        -------
        pred
            The same object.

        Raises
        ------
        EncodingError, GeometryError, SeriesError
            If it cannot be written rightly.
        """
        self.write(pred, source)
        return pred

    def write(self, pred: Any, source: Any = None) -> Written | None:
        """Write ``pred``, and say where and as what; None where a slide is not complete, or nothing was found on it."""
        if isinstance(source, Mapping):
            if not is_tile(source):
                raise EncodingError("the item is no tile; pass on what TileDataset gave, unchanged, or the slide")
            return self._tiles().put(source, pred)
        record = self._slide(source, pred)
        model = f"{self.model}:{self.level}"
        with validated(record, self.validate):
            written = self.output.write(pred, self._whole(record), record, self.output_dir, model=model)
        if written is None:
            tell_empty(record.series_instance_uid)
        return written

    def _tiles(self) -> TileGathering:
        if self._gathering is None:
            self._gathering = TileGathering(self.output, self.output_dir, self.model, validate=self.validate)
        return self._gathering

    def finish(self) -> list[Written]:
        """Write what there is of slides of which tiles are still missing."""
        return [] if self._gathering is None else self._gathering.finish()

    def _slide(self, source: Any, pred: Any) -> SourceSeries:
        handle = handle_of(getattr(pred, "meta", None)) if source is None else source
        try:
            record = as_source(handle)
        except DicomMLError:
            raise EncodingError("nothing says which slide this was found on: pass the slide, or its handle") from None
        if not record.levels:
            raise EncodingError(
                "bulk annotations are of slides, and the source is a volume; what is found in volumes goes into "
                "reports, with SaveReport"
            )
        return record.check()

    def _whole(self, record: SourceSeries) -> TileGrid:
        """The whole slide as one tile."""
        if not 0 <= self.level < len(record.levels):
            raise EncodingError(f"the slide has levels 0 to {len(record.levels) - 1}, not {self.level}")
        base, chosen = record.levels[0].grid, record.levels[self.level].grid
        shape = chosen.shape[1], chosen.shape[2]
        downsamples = base.shape[1] / shape[0], base.shape[2] / shape[1]
        affine = tuple(chosen.affine.ravel().tolist())
        return TileGrid(shape, shape, shape, downsamples, self.level, chosen.spacing[1:], affine, 1)


class SaveAnnotationsd(MapTransform):
    """Dictionary form of :class:`SaveAnnotations`.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of predictions.
    classes, output_dir, **options
        As in :class:`SaveAnnotations`.
    on : str
        Key of the image, whose meta may name the slide, where the item does not.
    allow_missing_keys : bool

    Notes
    -----
    Once an object is written, ``"saved_to"`` and ``"saved_sop_instance_uid"`` stand under ``"<key>_meta_dict"``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        classes: Any,
        output_dir: str | os.PathLike[str] = ".",
        *,
        on: str = "image",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self._savers = savers_of(self.keys, lambda: SaveAnnotations(classes, output_dir, **options))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if is_tile(d):
                source: Any = d
            else:
                image = d.get(self.on)
                meta: Any = getattr(image, "meta", None) or d.get(PostFix.meta(self.on))
                source = d.get(SOURCE_KEY) or handle_of(meta) or image
            written = self._savers[key].write(d[key], source)
            if written is not None:
                d.setdefault(PostFix.meta(str(key)), {}).update(saved_meta(written))
        return d

    def finish(self) -> list[Written]:
        """Write what there is of slides of which tiles are still missing."""
        return [written for saver in self._savers.values() for written in saver.finish()]


SaveAnnotationsD = SaveAnnotationsDict = SaveAnnotationsd
