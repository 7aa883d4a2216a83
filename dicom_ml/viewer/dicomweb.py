"""As much of DICOMweb (PS3.18) as the viewer of slides asks for: metadata, frames and bulk data of known series."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import pydicom

from dicom_ml.encoding.codecs import is_encapsulated
from dicom_ml.encoding.frames import FrameIndex
from dicom_ml.encoding.untrusted import dcmread, understood
from dicom_ml.viewer.library import Library

__all__ = ["Instances"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BINARY = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")
_KEPT = 6
_MEDIA = {"1.2.840.10008.1.2.4.50": "image/jpeg", "1.2.840.10008.1.2.4.90": "image/jp2",
          "1.2.840.10008.1.2.4.91": "image/jp2"}  # fmt: skip

Json = dict[str, Any]


class Instances:
    """Instances of a library's slides and of what lies over them; those used last are kept."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, pydicom.Dataset] = OrderedDict()
        self._paths: dict[tuple[str, str], str] = {}

    def metadata(self, series: str, base: str) -> list[Json] | None:
        """Headers of a series in the DICOM JSON model; None where the series is not in the library."""
        row = self._library.series.get(series)
        if row is None:
            return None
        found = []
        for path in row.files:
            dataset = self._dataset(path)
            instance = str(dataset.SOPInstanceUID)
            self._paths[series, instance] = path
            with understood(f"instance {instance}"):
                found.append(_json(dataset, f"{base}/instances/{instance}/bulk", ""))
        return found

    def frames(self, series: str, instance: str, numbers: list[int]) -> tuple[list[bytes], str] | None:
        """Frames, numbered from 1, as they are stored, and their media type."""
        path = self._path(series, instance)
        if path is None:
            return None
        dataset = self._dataset(path)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        index = FrameIndex.from_dataset(dataset, syntax)
        if any(not 1 <= number <= len(index) for number in numbers):
            return None
        media = _MEDIA.get(syntax, "application/octet-stream")
        return [_frame(index, number - 1) for number in numbers], f"{media}; transfer-syntax={syntax}"

    def bulk(self, series: str, instance: str, places: list[str]) -> bytes | None:
        """A binary value, by the tags and item numbers that lead to it."""
        path = self._path(series, instance)
        if path is None:
            return None
        found: Any = self._dataset(path)
        try:
            for tag, number in zip(places[:-1:2], places[1::2], strict=False):
                found = found[int(tag, 16)].value[int(number)]
            return bytes(found[int(places[-1], 16)].value)
        except (KeyError, IndexError, ValueError, TypeError):
            return None

    def _path(self, series: str, instance: str) -> str | None:
        if (series, instance) not in self._paths:
            self.metadata(series, "")
        return self._paths.get((series, instance))

    def _dataset(self, path: str) -> pydicom.Dataset:
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        with warnings.catch_warnings(), understood(path):
            warnings.simplefilter("ignore")
            dataset = dcmread(path)
        with self._lock:
            self._kept[path] = dataset
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return dataset


def _frame(index: FrameIndex, number: int) -> bytes:
    if index.encapsulated or index.info.bits_allocated != 1:
        return bytes(index.frame(number))
    # frames of single bits need not begin a byte; the viewer takes each as if it did
    return np.packbits(index.decode(number).astype(bool).ravel(), bitorder="little").tobytes()


def _json(dataset: pydicom.Dataset, base: str, path: str) -> Json:
    found: Json = {}
    for element in dataset:
        if element.tag.group == 2 or element.keyword in _PIXELS or element.tag.is_private:
            continue
        tag = f"{int(element.tag):08X}"
        if element.VR == "SQ":
            items = [_json(item, base, f"{path}{tag}/{number}/") for number, item in enumerate(element.value)]
            found[tag] = {"vr": "SQ"} | ({"Value": items} if items else {})
        elif element.VR in _BINARY:
            found[tag] = {"vr": element.VR, "BulkDataURI": f"{base}/{path}{tag}"}
        else:
            found[tag] = element.to_json_dict(None, 1 << 30)
    if not path:
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        found["00083002"] = {"vr": "UI", "Value": [syntax if is_encapsulated(syntax) else "1.2.840.10008.1.2.1"]}
    return found
