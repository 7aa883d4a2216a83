"""Secondary captures of any maker, as they lie in a file."""

from __future__ import annotations

import os
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.frames import FrameIndex, decode_frames
from dicom_ml.errors import CodecError, DicomMLError, FileError
from dicom_ml.objects.parsing import file_bytes, parse_file
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.secondary_capture.header import STORAGE

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["StoredCapture", "open_capture"]


class StoredCapture:
    """A secondary capture as it lies in a file.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    data : bytes
        The whole file.
    dataset : Dataset
    problems : list of str
        Elements that are malformed and left out.
    frame_count : int
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name, self.data = name, data
        self.dataset, self.problems = parse_file(data, name)
        kind = str(self.dataset.get("SOPClassUID") or "")
        if kind not in STORAGE:
            raise FileError(f"{name}: is no secondary capture: its SOP class is {kind or 'missing'}")
        self.frame_count = max(1, _integers(self.dataset, "NumberOfFrames", (1,))[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredCapture, (self.data, self.name)

    @cached_property
    def frames(self) -> npt.NDArray[Any]:
        """``(N, H, W)``, or ``(N, H, W, 3)`` in RGB."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                stored = decode_frames(FrameIndex.from_dataset(self.dataset), color="rgb")
                return self._with_palette(stored)
        except DicomMLError as error:
            raise type(error)(f"{self.name}: {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            # values of the header that are no numbers
            raise FileError(f"{self.name}: its header describes no image: {error}") from error

    def _with_palette(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if str(self.dataset.get("PhotometricInterpretation")) != "PALETTE COLOR":
            return stored
        from pydicom.pixels.processing import apply_color_lut

        try:
            return np.stack([apply_color_lut(frame, self.dataset)[..., :3] for frame in stored])
        except Exception as error:
            raise CodecError(f"its palette cannot be applied: {error}") from error

    @property
    def references(self) -> list[Reference]:
        """Images that it was made from, or that it refers to, each once."""
        found: dict[Reference, None] = {}
        where = self._where()
        for keyword in ("SourceImageSequence", "ReferencedImageSequence"):
            for item in self.dataset.get(keyword) or []:
                found.setdefault(_reference(item, where))
        for sources in self.frame_references:
            for reference in sources:
                if Reference(reference.sop_class_uid, reference.sop_instance_uid) not in found:
                    found.setdefault(reference)
        return list(found)

    @cached_property
    def frame_references(self) -> list[list[Reference]]:
        """Images that each frame was made from; empty where that is not said frame by frame."""
        where = self._where()
        return [
            [
                _reference(item, where)
                for derivation in group.get("DerivationImageSequence") or []
                for item in derivation.get("SourceImageSequence") or []
            ]
            for group in self.dataset.get("PerFrameFunctionalGroupsSequence") or []
        ]

    def _where(self) -> dict[str, tuple[str, str]]:
        """SOP Instance UID -> series and study, of all that Common Instance Reference lists."""
        studies = [(self.dataset, str(self.dataset.get("StudyInstanceUID", "")))]
        studies += [
            (item, str(item.get("StudyInstanceUID", "")))
            for item in self.dataset.get("StudiesContainingOtherReferencedInstancesSequence") or []
        ]
        return {
            str(instance.get("ReferencedSOPInstanceUID", "")): (str(series.get("SeriesInstanceUID", "")), study)
            for item, study in studies
            for series in item.get("ReferencedSeriesSequence") or []
            for instance in series.get("ReferencedInstanceSequence") or []
        }


def _integers(item: Dataset, keyword: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Integers of an element; the default where it has none, or other values."""
    value = item.get(keyword)
    if value is None or value == "":
        return default
    try:
        several = hasattr(value, "__iter__") and not isinstance(value, str)
        return tuple(int(v) for v in value) if several else (int(value),)
    except (TypeError, ValueError):
        return default


def _reference(item: Dataset, where: dict[str, tuple[str, str]]) -> Reference:
    uid = str(item.get("ReferencedSOPInstanceUID", ""))
    return Reference(
        str(item.get("ReferencedSOPClassUID", "")),
        uid,
        _integers(item, "ReferencedFrameNumber"),
        _integers(item, "ReferencedSegmentNumber"),
        (),
        *where.get(uid, ("", "")),
    )


def open_capture(source: str | os.PathLike[str] | bytes) -> StoredCapture:
    """Open a secondary capture from a path or from the bytes of a file.

    Raises
    ------
    FileError
        If it is none, or cannot be parsed.
    """
    return (
        StoredCapture(source, "secondary capture") if isinstance(source, bytes) else StoredCapture(*file_bytes(source))
    )
