"""Detections, classifications and measurements, saved as DICOM structured reports (TID 1500)."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.found import BOX_KEYS, LABEL_KEYS, SCORE_KEYS, Found, found_in, numbers
from dicom_ml.bridge.image_place import ImagePlace
from dicom_ml.bridge.measurement_output import MeasurementOutput
from dicom_ml.bridge.report_output import ClassificationOutput, DetectionOutput, ReportOutput
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import SOURCE_KEY, handle_of, torch
from dicom_ml.bridge.tile_gathering import TileGathering, is_tile
from dicom_ml.errors import EncodingError
from dicom_ml.objects.iod import validated
from dicom_ml.transforms.saving import savers_of

__all__ = ["SaveReport", "SaveReportD", "SaveReportDict", "SaveReportd"]

KINDS = ("detections", "classification", "measurements")


class SaveReport(Transform):
    """Write what a network says of a series as a DICOM structured report.

    Boxes are brought back to the series' own images through the affine of the image that the network saw, whatever
    transforms have made of it; nothing needs to be inverted. Writing the same prediction again gives the same UIDs,
    and a report without findings says that there are none.

    Of slides the tiles come one by one, as items of :class:`dicom_ml.data.TileDataset`: the report is written when the
    last of them has come, with each box once, though tiles overlap, or with the mean of the tiles' classes. One process
    does it; over several, :class:`dicom_ml.callbacks.ReportWriter` does.

    Parameters
    ----------
    output_dir : path
        Made where missing.
    kind : {"detections", "classification", "measurements"}
        ``"detections"``: boxes, labels and scores, as MONAI's ``RetinaNetDetector`` gives them for one image: a
        measurement group each. ``"classification"``: logits or probabilities of classes, of the series as a whole.
        ``"measurements"``: a mask, whose segments are measured; see ``segments``.
    classes : code, sequence or mapping of code
        What labels or channels mean: ``{0: "SCT:27925004"}``. A sequence counts from 0.
    algorithm : Algorithm or mapping, optional
    site : code, Site or sequence of these, optional
        Where the findings lie, such as ``"SCT:39607008"`` (Lung).
    min_score : float
        Detections below it are left out.
    corners : {"edge", "center"}
        Where boxes have whole numbers: at edges of voxels, as after :class:`LoadReportd`, or at their centres, as
        after MONAI's ``AffineBoxToImageCoordinated``. See :mod:`dicom_ml.bridge.boxes`.
    space : {"image", "world"}
        ``"world"``: boxes are RAS millimetres, as ``AffineBoxToWorldCoordinated`` gives them.
    question : code, optional
        Of classifications: evaluation that the most certain class answers; without one it is the finding.
    activation : {None, "softmax", "sigmoid"}
        Of classifications: applied to the network's output.
    segments : sequence of Segment or mapping, optional
        Of measurements: what the mask's labels or channels mean. A mask that :class:`SaveSegmentationd` has saved
        before needs none, and the report refers to that file; otherwise the segmentation is saved beside the report.
    values : volume, path or False, optional
        Of measurements: what the voxels measure, such as Hounsfield units. By default the series is read again from
        where the image was loaded, since preprocessing has changed the image's values; False measures shapes only.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    model : str
        What tells this model from another; it takes part in the UIDs.
    validate : bool
        As in :class:`dicom_ml.transforms.SaveSegmentation`.
    **options
        Further arguments of :class:`dicom_ml.Report`, such as ``coordinates``, ``procedure`` or ``observers``.

    Notes
    -----
    Detections may bring ``"tracking_ids"``: a finding of the same patient and identifier has the same tracking UID in
    every report, at every time point. ``"tracking_uids"`` are taken as they are.

    Examples
    --------
    >>> SaveReportd("pred", "out", classes={0: "SCT:27925004"}, min_score=0.3)  # doctest: +SKIP
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str] = ".",
        kind: str = "detections",
        *,
        classes: Any = None,
        algorithm: Any = None,
        site: Any = None,
        min_score: float = 0.0,
        corners: str = "edge",
        space: str = "image",
        question: Any = None,
        activation: str | None = None,
        segments: Any = None,
        values: Any = None,
        filename: str | None = None,
        model: str = "",
        validate: bool = True,
        **options: Any,
    ) -> None:
        common: dict[str, Any] = {"algorithm": algorithm, "site": site, "filename": filename, "options": options}
        if activation is not None:
            common["settings"] = {"activation": activation}
        self.output: ReportOutput
        if kind == "detections":
            self.output = DetectionOutput(**common, classes=classes, min_score=min_score, corners=corners, space=space)
        elif kind == "classification":
            self.output = ClassificationOutput(**common, classes=classes, question=question)
        elif kind == "measurements":
            self.output = MeasurementOutput(**common, segments=segments, values=values)
        else:
            raise EncodingError(f"kind is one of {', '.join(KINDS)}, found {kind!r}")
        self.kind = kind
        self.decision = Decision(activation)
        self.output_dir = os.fspath(output_dir)
        self.model = model
        self.validate = validate
        self._gathering: TileGathering | None = None

    def __call__(self, pred: Any, image: Any = None) -> Any:
        """Write ``pred``.

        Parameters
        ----------
        pred : mapping, MetaTensor, Tensor or ndarray
            Detections of one image; logits or probabilities ``(C,)``; or a mask ``(C, W, H, D)``.
        image : MetaTensor, SourceSeries or handle
            The image that the network saw; a handle is enough for classifications, and for boxes in millimetres. A
            MetaTensor ``pred`` may do without.

        Returns
        -------
        pred
            The same object.

        Raises
        ------
        EncodingError, GeometryError, SeriesError
            If it cannot be written rightly.
        """
        written = self.write(pred, image)
        meta = getattr(pred, "meta", None)
        if meta is not None:
            meta.update(_saved_meta(written))
        return pred

    def write(self, pred: Any, image: Any = None, meta: Any = None) -> Written:
        """Write ``pred`` and say where and as what; ``meta`` is that of an image that is a plain tensor."""
        place = ImagePlace.of(pred if image is None else image, meta)
        with validated(place.source, self.validate):
            return self._write(pred, place)

    def _write(self, pred: Any, place: ImagePlace) -> Written:
        output = self.output
        if place.source.levels and not isinstance(output, ClassificationOutput):
            raise EncodingError(
                "the image is a slide: reports of boxes are made of its tiles; pass on what TileDataset gave, unchanged"
            )
        if isinstance(output, DetectionOutput):
            found = pred if isinstance(pred, Found) else found_in(pred)
            return output.write(found, place.affine, place.shape, place.source, self.output_dir, model=self.model)
        if isinstance(output, ClassificationOutput):
            return output.write(self._scores(pred), place.source, self.output_dir, model=self.model)
        assert isinstance(output, MeasurementOutput)
        return output.write(pred, place, self.output_dir, model=self.model)

    def _scores(self, pred: Any) -> Any:
        return numbers(self.decision.activated(torch.as_tensor(numbers(pred)).reshape(-1)))

    def write_tile(self, pred: Any, tile: Mapping[Any, Any]) -> Written | None:
        """Add what was found on a tile of a slide; the slide's report, where this was its last tile.

        Parameters
        ----------
        pred : mapping, Found, Tensor or ndarray
            Detections, or logits or probabilities.
        tile : mapping
            The item of :class:`dicom_ml.data.TileDataset`.
        """
        if self._gathering is None:
            if not isinstance(self.output, DetectionOutput | ClassificationOutput):
                raise EncodingError("masks are measured on volumes; tiles of slides have detections or classes")
            self._gathering = TileGathering(self.output, self.output_dir, self.model, validate=self.validate)
        if self.kind == "detections":
            return self._gathering.put(tile, pred if isinstance(pred, Found) else found_in(pred))
        return self._gathering.put(tile, self._scores(pred))

    def finish(self) -> list[Written]:
        """Write what there is of slides of which tiles are still missing."""
        return [] if self._gathering is None else self._gathering.finish()


class SaveReportd(MapTransform):
    """Dictionary form of :class:`SaveReport`.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of predictions. Of detections, each holds a mapping of boxes, labels and scores, or the boxes alone, with
        the others under keys of their own.
    output_dir, kind, **options
        As in :class:`SaveReport`.
    on : str
        Key of the image that the network saw.
    label_key, score_key : str, optional
        Where labels and scores stand: within the mapping, or in the data beside the boxes. By default they are looked
        for under the names of MONAI's and torchvision's detectors.
    box_key : str, optional
        Where boxes stand within the mapping.
    allow_missing_keys : bool

    Notes
    -----
    A prediction that is a MetaTensor gets ``"report_saved_to"`` (the path) and ``"report_sop_instance_uid"`` in its
    meta; for others they stand under ``"<key>_meta_dict"``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike[str] = ".",
        kind: str = "detections",
        *,
        on: str = "image",
        box_key: str | None = None,
        label_key: str | None = None,
        score_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self.names = (box_key, label_key, score_key)
        self._savers = savers_of(self.keys, lambda: SaveReport(output_dir, kind, **options))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            saver, pred = self._savers[key], d[key]
            given = found_in(*self._parts(d, key)) if saver.kind == "detections" else pred
            if is_tile(d):
                last = saver.write_tile(given, d)
                if last is not None:
                    d.setdefault(PostFix.meta(str(key)), {}).update(_saved_meta(last))
                continue
            image, meta = self._image(d, key)
            written = saver.write(given, image, meta)
            beside = d.setdefault(PostFix.meta(str(key)), {}) if getattr(pred, "meta", None) is None else pred.meta
            beside.update(_saved_meta(written))
        return d

    def finish(self) -> list[Written]:
        """Write what there is of slides of which tiles are still missing."""
        return [written for saver in self._savers.values() for written in saver.finish()]

    def _image(self, d: Mapping[Hashable, Any], key: Hashable) -> tuple[Any, Any]:
        """The image that lends source and place, and its meta where that stands beside it."""
        image = d.get(self.on)
        if image is None and handle_of(getattr(d[key], "meta", None)):
            return d[key], None
        if image is None and isinstance(d.get(SOURCE_KEY), str):
            return d[SOURCE_KEY], None
        return image, d.get(PostFix.meta(self.on))

    def _parts(self, d: Mapping[Hashable, Any], key: Hashable) -> tuple[Any, Any, Any, Any]:
        """Detections as a mapping, and the names in it."""
        box_key, label_key, score_key = self.names
        if isinstance(d[key], Mapping):
            return d[key], box_key, label_key, score_key
        item = {BOX_KEYS[0]: d[key]}
        for name, known in ((label_key, LABEL_KEYS), (score_key, SCORE_KEYS)):
            if name is not None:
                if name not in d:
                    raise EncodingError(f"the data holds no {name!r}, which should stand beside the boxes of {key!r}")
                item[known[0]] = d[name]
        for name in ("slices", "tracking_ids", "tracking_uids", "measurements"):
            if name in d:
                item[name] = d[name]
        return item, None, None, None


def _saved_meta(written: Written) -> dict[str, str]:
    # beside, not instead of, what says where a mask was saved
    return {"report_saved_to": os.fspath(written.path), "report_sop_instance_uid": written.sop_instance_uid}


SaveReportD = SaveReportDict = SaveReportd
