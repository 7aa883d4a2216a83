"""Parametric maps of any maker, read as real values on a grid (PS3.3 A.75)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.elements import items_of
from dicom_ml.encoding.functional_groups import read_frame_groups, read_item
from dicom_ml.objects.parametric_map.values import Quantity, read_mapping
from dicom_ml.objects.placing import Target, Window, check_unique, find_placement, nearest, place_frames
from dicom_ml.objects.stored import StoredFrames

__all__ = ["MappedFrames", "StoredMap", "place_values"]

_SHARED_GROUPS, _FRAME_GROUPS, _MAPPING = 0x52009229, 0x52009230, 0x00409096
_FLOAT_PADDING, _DOUBLE_PADDING, _PADDING = 0x00280122, 0x00280123, 0x00280120


class _Mapping:
    """How stored values of a channel become real ones."""

    def __init__(self, item: Any) -> None:
        self.quantity, self.slope, self.intercept, self.table, self.first = read_mapping(item)

    def apply(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Real values, float32 unless stored as float64."""
        dtype = np.float64 if values.dtype == np.float64 else np.float32
        if self.table is not None:
            index = np.clip(values.astype(np.int64) - int(self.first), 0, len(self.table) - 1)
            return self.table[index].astype(dtype)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return values.astype(dtype)
        return (values * np.float64(self.slope) + self.intercept).astype(dtype)


class MappedFrames(StoredFrames):
    """What parametric maps of volumes and of slides have in common.

    Attributes
    ----------
    mappings : list
        Of each channel; frames that share a real world value mapping are one channel.
    channel_of : ndarray of int, shape (N,)
        Channel of each frame.
    padding : float or None
        Stored value that stands for no value.
    """

    noun = "parametric map"

    def _check_kind(self) -> None:
        view = self._view
        sop_class = view.text(0x00080016)
        if sop_class != sop.PARAMETRIC_MAP:
            raise self._fail(
                f"is no DICOM Parametric Map: its SOP class is {sop_class or 'missing'}, "
                f"modality {view.text(0x00080060) or 'missing'}"
            )

    def _read_content(self) -> None:
        self._read_mappings()

    def _read_mappings(self) -> None:
        """Channels by the bytes of their mapping: what is the same mapping is the same channel."""
        columns: dict[str, list[bytes | None]] = {"mapping": [None] * self.frame_count}
        place = self._view.places.get(_FRAME_GROUPS)
        if place is not None:
            wanted = {"mapping": (_MAPPING,)}
            _, columns = read_frame_groups(self._data, place[1], place[2], self._view.implicit, wanted)
        shared = self._shared_mapping()
        raw = [shared if value is None else value for value in columns["mapping"]]
        if any(value is None for value in raw):
            raise self._fail("has frames without Real World Value Mapping, so its numbers have no meaning")
        distinct = list(dict.fromkeys(raw))
        self.mappings = [_Mapping(self._parse(value or b"")) for value in distinct]
        index = {value: i for i, value in enumerate(distinct)}
        self.channel_of = np.array([index[value] for value in raw], dtype=np.intp)

    def _shared_mapping(self) -> bytes | None:
        place = self._view.places.get(_SHARED_GROUPS)
        if place is None:
            return None
        for start, end in items_of(self._data, place[1], place[2], self._view.implicit):
            return read_item(self._data, start, end, self._view.implicit, {"mapping": (_MAPPING,)})["mapping"]
        return None

    def _parse(self, value: bytes) -> Any:
        """The first item of a sequence value, by pydicom."""
        from pydicom.filereader import read_dataset

        for start, end in items_of(value, 0, len(value), self._view.implicit):
            return read_dataset(io.BytesIO(value[start:end]), self._view.implicit, True)
        raise self._fail("has an empty Real World Value Mapping, so its numbers have no meaning")

    @cached_property
    def padding(self) -> float | None:
        """Stored value that stands for no value."""
        for tag, dtype in ((_FLOAT_PADDING, "<f4"), (_DOUBLE_PADDING, "<f8"), (_PADDING, None)):
            raw = self._view.raw(tag)
            if raw:
                signed = bool(self._view.integer(0x00280103))
                return float(np.frombuffer(raw, dtype or ("<i2" if signed else "<u2"))[0])
        return None

    def real(self, channel: int, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Real values of stored ones; NaN at the padding value."""
        values = self.mappings[channel].apply(stored)
        if self.padding is not None:
            values[stored == stored.dtype.type(self.padding)] = np.nan
        return values

    @property
    def quantities(self) -> list[Quantity]:
        """What each channel measures."""
        return [m.quantity for m in self.mappings]


class StoredMap(MappedFrames):
    """A parametric map of a volume seen through its bytes."""

    def _check_kind(self) -> None:
        super()._check_kind()
        self._refuse_tiled()


def place_values(stored: StoredMap, target: Target, channels: Sequence[int], fill: float) -> npt.NDArray[Any]:
    """Real values ``(C, D, H, W)`` on a grid; see :meth:`ParametricMap.channels`."""
    placement = find_placement(stored, target)
    if placement is None:
        own = place_values(stored, Target(stored.grid), channels, fill)
        return np.stack([nearest(channel, stored.grid, target, fill) for channel in own])
    frames = np.flatnonzero(np.isin(stored.channel_of, channels))
    check_unique(stored, frames, placement.slot, stored.channel_of)
    index = stored.frames
    double = index.info.is_float and index.info.bits_allocated == 64
    out = np.full((len(channels), *target.grid.shape), fill, dtype=np.float64 if double else np.float32)
    planes = placement.oriented(out)
    place = {c: i for i, c in enumerate(channels)}

    def use(i: int, slot: int, window: Window) -> int:
        channel = int(stored.channel_of[i])
        values = stored.real(channel, window.values)
        planes[place[channel], slot][window.place] = values
        return 0

    place_frames(stored, frames, placement, target, lambda i: (index.decode(i), 0, 0), use)
    return out
