"""From the segments of files to the classes that a network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import parse_code
from dicom_ml.errors import CodeError, DicomMLError, EncodingError
from dicom_ml.objects.segmentation import Segment, Segmentation
from dicom_ml.source import SourceSeries

__all__ = ["SegmentClass", "class_channels", "class_labels", "find_classes"]

Array = npt.NDArray[Any]
Wanted = Sequence[Any] | Mapping[Any, int] | None


@dataclass(frozen=True)
class SegmentClass:
    """A class and, for each file, the numbers of the segments that belong to it."""

    name: Any
    value: int
    numbers: tuple[tuple[int, ...], ...]


def _fits(segment: Segment, name: Any) -> bool:
    if isinstance(name, Segment):
        return segment.label == name.label and segment.type == name.type
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool):
        return segment.number == int(name)
    if isinstance(name, str) and segment.label == name:
        return True
    try:
        return segment.type == parse_code(name, need_meaning=False)
    except DicomMLError:
        return False


def find_classes(files: Sequence[Segmentation], wanted: Wanted, missing: str) -> list[SegmentClass]:
    if wanted is None:
        return [
            SegmentClass(
                s.label, int(s.number or 0), tuple((int(s.number or 0),) if i == at else () for i in range(len(files)))
            )
            for at, file in enumerate(files)
            for s in file.segments
        ]
    pairs = list(wanted.items()) if isinstance(wanted, Mapping) else [(name, i) for i, name in enumerate(wanted, 1)]
    found: list[SegmentClass] = []
    for name, value in pairs:
        numbers = tuple(tuple(int(s.number or 0) for s in file.segments if _fits(s, name)) for file in files)
        if not any(numbers) and missing == "error":
            have = ", ".join(f"{s.number}: {s.label!r}" for file in files for s in file.segments[:20])
            raise CodeError(
                f"no segment is {name!r}; there are {have}. Pass missing='empty' where that is as it should be"
            )
        found.append(SegmentClass(name, int(value), numbers))
    return found


def class_labels(
    files: Sequence[Segmentation],
    on: SourceSeries,
    wanted: Wanted,
    missing: str,
    overlap: str,
    threshold: float,
    **placing: Any,
) -> Array:
    """A label map ``(D, H, W)`` of classes on the grid of ``on``: uint8 where the numbers fit, else uint16."""
    if overlap not in ("error", "first", "last"):
        raise EncodingError(f"overlap is 'error', 'first' or 'last', found {overlap!r}")
    if wanted is None and len(files) > 1:
        raise EncodingError(
            f"{len(files)} files each count their segments from 1: say with segments= which class each one becomes"
        )
    classes = find_classes(files, wanted, missing)
    assert on.grid is not None
    top = max((c.value for c in classes), default=0)
    if top > 65535 or min((c.value for c in classes), default=1) < 1:
        raise EncodingError("labels of classes lie from 1 to 65535")
    out_type = np.uint8 if top <= 255 else np.uint16
    numbers = _one_each(files, classes)
    # the file's reader settles overlaps by number, which is the order of the classes only where the numbers rise
    if numbers is not None and (overlap == "error" or numbers == sorted(numbers)):
        here = [c.value for c in classes if c.numbers[0]]
        if not here:
            return np.zeros(on.grid.shape, out_type)
        labels = files[0].label_map(on, numbers, overlap=overlap, threshold=threshold, **placing)
        if numbers == here:
            return labels
        table = np.zeros(max(numbers) + 1, out_type)
        table[numbers] = here
        return np.asarray(table[labels])
    return _painted(files, on, classes, overlap, threshold, out_type, placing)


def _one_each(files: Sequence[Segmentation], classes: Sequence[SegmentClass]) -> list[int] | None:
    """Segment number of each class that has one, where there is one file and no class or segment is shared."""
    if len(files) != 1 or any(len(c.numbers[0]) > 1 for c in classes):
        return None
    numbers = [c.numbers[0][0] for c in classes if c.numbers[0]]
    return numbers if len(set(numbers)) == len(numbers) else None


def _painted(
    files: Sequence[Segmentation],
    on: SourceSeries,
    classes: Sequence[SegmentClass],
    overlap: str,
    threshold: float,
    dtype: npt.DTypeLike,
    placing: Mapping[str, Any],
) -> Array:
    """Class after class; segments of one class may overlap each other."""
    assert on.grid is not None
    out = np.zeros(on.grid.shape, dtype)
    for one in classes:
        mask = _union(files, on, one, threshold, placing)
        taken = mask & (out != 0)
        if taken.any():
            if overlap == "error":
                other = out[taken][0]
                name = next(c.name for c in classes if c.value == other)
                raise EncodingError(
                    f"{one.name!r} and {name!r} overlap in {int(taken.sum())} voxels; pass overlap='first' or 'last', "
                    "or kind='channels'"
                )
            if overlap == "first":
                mask &= ~taken
        out[mask] = one.value
    return out


def _union(files: Sequence[Segmentation], on: SourceSeries, one: SegmentClass, threshold: float, placing: Any) -> Array:
    assert on.grid is not None
    mask = np.zeros(on.grid.shape, bool)
    for file, numbers in zip(files, one.numbers, strict=True):
        if numbers:
            mask |= file.label_map(on, list(numbers), overlap="first", threshold=threshold, **placing) != 0
    return mask


def class_channels(
    files: Sequence[Segmentation], on: SourceSeries, wanted: Wanted, missing: str, **placing: Any
) -> Array:
    """A channel for each class, ``(S, D, H, W)``: bool, or float32 where a file holds fractions."""
    classes = find_classes(files, wanted, missing)
    assert on.grid is not None
    fractional = any(file.kind == "fractional" for file in files)
    numbers = _one_each(files, classes)
    if numbers and len(numbers) == len(classes):
        return files[0].channels(on, numbers, **placing)
    out = np.zeros((len(classes), *on.grid.shape), np.float32 if fractional else bool)
    for channel, one in zip(out, classes, strict=True):
        for file, own in zip(files, one.numbers, strict=True):
            for number in own:
                part = file.channels(on, [number], **placing)[0]
                np.maximum(channel, part, out=channel)
    return out
