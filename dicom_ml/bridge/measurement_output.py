"""From a mask to a report of what its segments measure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.image_place import ImagePlace
from dicom_ml.bridge.output import SegmentationOutput, as_segments
from dicom_ml.bridge.report_output import ReportOutput
from dicom_ml.bridge.results import Written, plain
from dicom_ml.bridge.tensors import prediction_array
from dicom_ml.errors import DicomMLError, EncodingError, GeometryError, SeriesError
from dicom_ml.objects.report import Report
from dicom_ml.objects.segmentation import Segment, Segmentation, read_segmentation
from dicom_ml.reading import Volume, read_volume
from dicom_ml.source import SourceSeries

__all__ = ["SAVED_TO", "MeasurementOutput"]

#: Key of a prediction's meta that says where it was saved.
SAVED_TO = "saved_to"


@dataclass(frozen=True)
class MeasurementOutput(ReportOutput):
    """How masks become reports: a measurement group for each segment, that refers to it (TID 1411).

    Parameters
    ----------
    segments : sequence of Segment or mapping, optional
        What labels or channels mean; not needed for masks that were saved as a segmentation before.
    kind : {"binary", "labelmap"}
        Of the segmentation that is written beside the report.
    values : Volume, path or False, optional
        See :class:`dicom_ml.transforms.SaveReport`.
    """

    segments: tuple[Segment, ...] | None = None
    kind: str = "binary"
    values: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segments is not None:
            object.__setattr__(self, "segments", as_segments(self.segments, self.algorithm))

    def own_facts(self) -> dict[str, Any]:
        """Segments, and whether values are measured."""
        return {
            "segments": None if self.segments is None else [plain(s) for s in self.segments],
            "values": self.values is not False,
        }

    def write(self, pred: Any, place: ImagePlace, folder: str | os.PathLike[str], *, model: str = "") -> Written:
        """Write the measurements of a mask.

        Parameters
        ----------
        pred : MetaTensor, Tensor or ndarray of shape (C, W, H, D)
        place : ImagePlace
            Of the mask, or of the image it is of.
        folder : path
        model : str

        Raises
        ------
        EncodingError
            If nothing says what the mask's values mean.
        SeriesError, FileError
            If the series cannot be read again.
        """
        meta = getattr(pred, "meta", None) or {}
        saved = meta.get(SAVED_TO)
        if self.segments is not None:
            output = SegmentationOutput(self.segments, self.kind)
            array, affine = prediction_array(pred, self._lent_affine(pred, place))
            written = output.write(array, affine, place.source, folder, model=model)
            segmentation = read_segmentation(written.path)
        elif isinstance(saved, str) and Path(saved).is_file():
            segmentation = read_segmentation(saved)
        else:
            raise EncodingError(
                "nothing says what the mask's values mean: save it with SaveSegmentationd before, or pass segments="
            )
        volume = self._volume(segmentation, place, meta)
        identity = f"{model}:{segmentation.sop_instance_uid}" if self.segments is None else model

        def make(record: SourceSeries, uids: Written) -> Report:
            return Report.from_measurements(segmentation, volume, **self.settled(uids))

        return self.save(make, place.source, folder, identity)

    @staticmethod
    def _lent_affine(pred: Any, place: ImagePlace) -> Any:
        """The image's affine for a mask that has none of its own."""
        if hasattr(pred, "affine"):
            return None
        if place.shape is not None and tuple(pred.shape[-3:]) != place.shape:
            raise GeometryError(
                f"the mask of shape {tuple(pred.shape)} carries no geometry, and its image has another shape, "
                f"{place.shape}, so it cannot lend its own: keep the mask a MetaTensor"
            )
        return place.affine

    def _volume(self, segmentation: Segmentation, place: ImagePlace, meta: Mapping[str, Any]) -> Volume:
        source = place.source
        if source.grid is None:
            raise EncodingError("the source has no patient geometry, so nothing can be measured in millimetres")
        if self.values is False:
            blank: npt.NDArray[Any] = np.broadcast_to(np.zeros((), np.uint8), source.grid.shape)
            return Volume(blank, source.grid.affine, source=source)
        if isinstance(self.values, Volume):
            volume = self.values
        else:
            named = self.values if self.values is not None else place.name or str(meta.get("filename_or_obj") or "")
            volume = _read_again(named, source)
        if volume.source is None or volume.source.series_instance_uid != source.series_instance_uid:
            raise SeriesError(
                "the values to be measured are of another series than the mask; pass values= with the volume of "
                f"series {source.series_instance_uid}"
            )
        return volume


def _read_again(name: Any, source: SourceSeries) -> Volume:
    """The series of a source, from where one of its files or its folder lies."""
    how = "pass values= with the volume, or values=False to measure shapes only"
    if not name:
        raise EncodingError(f"where the image was loaded from is not known, and its values may have changed; {how}")
    path = Path(name).expanduser()
    place: Any = path if path.is_dir() or path.suffix.lower() == ".zip" else path.parent
    try:
        return read_volume(place if path.exists() else name, series_uid=source.series_instance_uid)
    except (DicomMLError, OSError) as error:
        raise EncodingError(f"the series cannot be read again to measure its values ({error}); {how}") from error
