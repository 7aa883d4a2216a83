"""Masks as they are given, seen plane by plane: label maps and stacked channels, of any type, never copied whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import EncodingError
from dicom_ml.objects.arrays import as_array

__all__ = ["ChannelMask", "LabelMask", "Mask", "any_set", "as_mask", "held_values", "label_planes"]

Array = npt.NDArray[Any]
#: First row, end row, first column, end column of what is not zero; columns are multiples of 64, where the plane
#: is so wide, so that packed rows are whole 64-bit words.
Box = tuple[int, int, int, int]
#: Values up to which each is looked for by itself.
_FEW = 12


class Mask(ABC):
    """A mask over ``S`` segments and a grid of ``(D, H, W)``.

    Attributes
    ----------
    array : ndarray
        What was given; it must not change until the object has been written.
    shape : tuple of int
        ``(D, H, W)``.
    count : int
        Number of segments.
    """

    array: Array
    shape: tuple[int, int, int]
    count: int

    @cached_property
    @abstractmethod
    def presence(self) -> npt.NDArray[np.bool_]:
        """Whether segment ``s`` holds anything on slice ``d``, shape ``(S, D)``."""

    @abstractmethod
    def plane(self, segment: int, d: int) -> Array:
        """Values of a segment on a slice, shape ``(H, W)``: bool, or float from 0 to 1."""

    @abstractmethod
    def box(self, d: int, segment: int) -> Box:
        """A box outside of which the segment holds nothing on the slice."""

    @abstractmethod
    def labels(self, d: int, dtype: npt.DTypeLike) -> Array:
        """Segment numbers of a slice, shape ``(H, W)``."""

    @abstractmethod
    def changed(self, array: Array) -> Mask:
        """The same kind of mask over another array."""

    @abstractmethod
    def overlap(self) -> bool | None:
        """Whether segments share voxels; None where that was not looked at."""


class LabelMask(Mask):
    """A label map: each voxel holds the number of its segment, or 0."""

    def __init__(self, array: Array, numbers: Sequence[int]) -> None:
        self.array = array
        self.shape = (array.shape[0], array.shape[1], array.shape[2])
        self.numbers = tuple(numbers)
        self.count = len(self.numbers)
        self._boxes: list[Box] = []

    @cached_property
    def presence(self) -> npt.NDArray[np.bool_]:
        """Whether segment ``s`` holds anything on slice ``d``.

        Raises
        ------
        EncodingError
            If the map holds values that no segment has.
        """
        found = np.zeros((self.count, self.shape[0]), dtype=bool)
        place = {number: i for i, number in enumerate(self.numbers)}
        unknown: dict[int, int] = {}
        self._boxes = []
        for d in range(self.shape[0]):
            plane = self.array[d]
            box = nonzero_box(plane)
            self._boxes.append(box)
            for value in held_values(plane[box[0] : box[1], box[2] : box[3]]):
                if value in place:
                    found[place[value], d] = True
                else:
                    unknown.setdefault(value, d)
        if unknown:
            listed = ", ".join(f"{v} (first on slice {d})" for v, d in sorted(unknown.items())[:8])
            raise EncodingError(
                f"the label map holds {len(unknown)} values that no segment has: {listed}; segments have the numbers "
                f"{_ranges(self.numbers)}. Describe them with Segment(..., number=value), or set them to 0"
            )
        return found

    def box(self, d: int, segment: int) -> Box:
        """A box outside of which the slice holds nothing."""
        self.presence  # noqa: B018 - finds the boxes
        return self._boxes[d]

    def plane(self, segment: int, d: int) -> Array:
        """Where the slice holds the segment's number."""
        return np.asarray(self.array[d] == self.numbers[segment])

    def labels(self, d: int, dtype: npt.DTypeLike) -> Array:
        """The slice itself, in ``dtype``."""
        self.presence  # noqa: B018 - refuses values that would not fit
        return np.ascontiguousarray(self.array[d], dtype=dtype)

    def changed(self, array: Array) -> LabelMask:
        """The same numbers over another label map."""
        return LabelMask(array, self.numbers)

    def overlap(self) -> bool | None:
        """A label map cannot overlap."""
        return False


class ChannelMask(Mask):
    """Stacked channels, one a segment; they may overlap."""

    def __init__(self, array: Array, numbers: Sequence[int], maximum: int = 1) -> None:
        self.array = array
        self.shape = (array.shape[1], array.shape[2], array.shape[3])
        self.numbers = tuple(numbers)
        self.count = array.shape[0]
        self.maximum = maximum
        self._least = 0.5 / maximum

    @cached_property
    def presence(self) -> npt.NDArray[np.bool_]:
        """Whether channel ``s`` holds anything on slice ``d``.

        Raises
        ------
        EncodingError
            If floats lie outside 0 to 1, or are not numbers; or integers are not 0 or 1.
        """
        found = np.zeros((self.count, self.shape[0]), dtype=bool)
        kind = self.array.dtype.kind
        for s in range(self.count):
            for d in range(self.shape[0]):
                plane = self.array[s, d]
                if kind == "b":
                    found[s, d] = any_set(plane)
                    continue
                high, low = plane.max(), plane.min()
                if not (high <= 1 and low >= 0):  # also catches NaN
                    raise EncodingError(
                        f"channel {s} holds values from {low} to {high} on slice {d}; "
                        + ("fractions lie from 0 to 1: apply softmax or sigmoid" if kind == "f" else
                           "stacked channels of integers are 0 or 1; a label map has shape (D, H, W)")
                    )  # fmt: skip
                found[s, d] = high >= self._least if kind == "f" else high > 0
        return found

    def changed(self, array: Array) -> ChannelMask:
        """The same numbers over other channels."""
        return ChannelMask(array, self.numbers, self.maximum)

    def is_binary(self) -> bool:
        """Whether every value is 0 or 1."""
        if self.array.dtype.kind != "f":
            return True
        return all(bool(((c == 0) | (c == 1)).all()) for channel in self.array for c in channel)

    def box(self, d: int, segment: int) -> Box:
        """A box outside of which the channel holds nothing on the slice."""
        return nonzero_box(self.array[segment, d])

    def plane(self, segment: int, d: int) -> Array:
        """The channel on the slice."""
        plane = self.array[segment, d]
        return plane if plane.dtype.kind == "f" else np.asarray(plane, dtype=bool)

    def labels(self, d: int, dtype: npt.DTypeLike) -> Array:
        """Segment numbers of the slice; where channels overlap the last one counts."""
        out = np.zeros(self.shape[1:], dtype=dtype)
        for s in np.flatnonzero(self.presence[:, d]):
            inside = self.plane(int(s), d) > 0
            out[inside] = self.numbers[s]
        return out

    def overlap(self) -> bool | None:
        """Whether channels share voxels, looked at for masks of 0 and 1 only."""
        if self.count == 1:
            return False
        for d in range(self.shape[0]):
            channels = np.flatnonzero(self.presence[:, d])
            if len(channels) < 2:
                continue
            seen = self.plane(int(channels[0]), d) > 0
            for s in channels[1:]:
                inside = self.plane(int(s), d) > 0
                if (seen & inside).any():
                    return True
                seen |= inside
        return False


def as_mask(mask: Any, numbers: Sequence[int], order: Sequence[int], kind: str, maximum: int) -> Mask:
    """Take a mask as it is given.

    Parameters
    ----------
    mask : array or tensor
        A label map ``(D, H, W)`` of integers, or channels ``(S, D, H, W)`` of booleans, 0 and 1, or fractions. With
        one segment, ``(D, H, W)`` booleans or fractions are its only channel.
    numbers : sequence of int
        Numbers of the segments, ascending.
    order : sequence of int
        The channel that belongs to each of them.
    kind : str
        ``"binary"``, ``"labelmap"`` or ``"fractional"``.
    maximum : int
        Maximum Fractional Value.

    Raises
    ------
    EncodingError
        If shape and type do not go together.
    """
    array = as_array(mask)
    count = len(numbers)
    if array.size == 0:
        raise EncodingError(f"the mask is empty, its shape is {array.shape}")
    if array.ndim == 3:
        if array.dtype.kind in "iu" and kind != "fractional":
            return LabelMask(array, numbers)
        if count != 1:
            if array.dtype.kind in "iu":
                return LabelMask(array, numbers)
            raise EncodingError(
                f"a mask of shape {array.shape} and dtype {array.dtype} holds one channel, but {count} segments are "
                "described; pass a label map of integers, or stacked channels (S, D, H, W)"
            )
        array = array[None]
    if array.ndim != 4:
        raise EncodingError(
            f"a mask is a label map (D, H, W) or channels (S, D, H, W), found shape {array.shape}; "
            "tensors of MONAI are (C, W, H, D): change them with dicom_ml.geometry.from_monai"
        )
    if array.shape[0] != count:
        raise EncodingError(
            f"the mask has {array.shape[0]} channels, but {count} segments are described; "
            "leave the background channel out, and describe every other one"
        )
    if list(order) != sorted(order):
        array = array[list(order)]
    channels = ChannelMask(array, numbers, maximum if kind == "fractional" else 1)
    if kind != "fractional" and not channels.is_binary():
        raise EncodingError(
            f"kind={kind!r} takes 0 and 1, found fractions; decide them first (mask > 0.5), or pass kind='fractional'"
        )
    return channels


# ---------------------------------------------------------------------- fast looks at planes
def _wide(plane: Array) -> Array | None:
    """The rows of a plane as 64-bit words, where its memory allows."""
    row_bytes = plane.shape[1] * plane.itemsize
    if plane.flags.c_contiguous and row_bytes % 8 == 0 and plane.ctypes.data % 8 == 0 and plane.dtype.kind != "f":
        return plane.view(np.uint64)
    return None


def any_set(plane: Array) -> bool:
    """Whether a plane is anything but zero."""
    wide = _wide(plane)
    return bool((plane if wide is None else wide).any())


def nonzero_box(plane: Array) -> Box:
    """Rows and columns outside of which a plane is zero; columns are widened, see :data:`Box`."""
    wide = _wide(plane)
    data = plane if wide is None else wide
    rows = np.flatnonzero(data.any(axis=1))
    if not len(rows):
        return 0, 0, 0, 0
    first, end = int(rows[0]), int(rows[-1]) + 1
    inside = data[first:end]
    columns = np.flatnonzero(inside.any(axis=0) if wide is None else np.bitwise_or.reduce(inside, axis=0))
    scale = plane.shape[1] / data.shape[1]
    left, right = int(columns[0] * scale), int(np.ceil((columns[-1] + 1) * scale))
    unit = 64 if plane.shape[1] % 64 == 0 else 8
    return first, end, left // unit * unit, min(plane.shape[1], -(-right // unit) * unit)


def held_values(plane: Array) -> list[int]:
    """Distinct values of a plane of integers, without 0."""
    if plane.size == 0:
        return []
    low = 0 if plane.dtype.kind in "bu" else int(plane.min())
    high = int(plane.max())
    if low >= 0 and high <= _FEW:
        # a look at every pixel takes far less than counting them
        return [value for value in range(1, high + 1) if (plane == value).any()]
    if low >= 0 and high < 1 << 16:
        flat = plane.ravel()
        starts = np.flatnonzero(flat[1:] != flat[:-1])
        if len(starts) < flat.size // 8:  # what begins each run, which takes a third of counting all
            flat = np.append(flat[starts + 1], flat[0])
        return [int(v) for v in np.flatnonzero(np.bincount(flat.astype(np.int64, copy=False))) if v]
    return [int(v) for v in np.unique(plane) if v]


def label_planes(plane: Array) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """Each value that a plane of integers holds, but 0, and where."""
    if plane.dtype.kind == "u" and plane.size and (high := int(plane.max())) <= _FEW:
        planes = ((value, plane == value) for value in range(1, high + 1))
        return [(value, inside) for value, inside in planes if inside.any()]
    return [(value, plane == value) for value in held_values(plane)]


def _ranges(numbers: Sequence[int]) -> str:
    text = ", ".join(str(n) for n in numbers[:12])
    return text + (f" ... {numbers[-1]} ({len(numbers)} in all)" if len(numbers) > 12 else "")
