"""Per-Frame Functional Groups of thousands of frames, seen so that each kind of item is checked once.

Writers lay the items of frames out alike. Items with the same tags and the same lengths are cut into columns of raw
values together; one item of each set of tags stands for all of them where their structure is checked, and the values
of all are checked as sets of distinct ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.elements import Buffer, NotLean, elements_of, items_of
from dicom_ml.encoding.functional_groups import GROUP_TAGS
from dicom_ml.encoding.functional_groups import Path as TagPath
from dicom_ml.objects.iod.items import Item

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["COLUMNS", "FrameItems", "Leaf", "column_of", "merged"]

#: Tags from a functional group's sequence down to the value.
Leaf = tuple[int, ...]

#: What columns hold: name to path and kind of value.
COLUMNS: dict[str, tuple[TagPath, str]] = {
    **{name: (GROUP_TAGS[name], "ds") for name in ("position", "orientation", "pixel_spacing")},
    **{name: (GROUP_TAGS[name], "ds") for name in ("slice_thickness", "slice_spacing")},
    **{name: (GROUP_TAGS[name], "int") for name in ("segment", "in_stack", "temporal_index", "row", "column")},
    "index": (GROUP_TAGS["index"], "ul"),
    "stack_id": (GROUP_TAGS["stack_id"], "text"),
    "optical_path": ((0x00480207, 0x00480106), "text"),
    "x_offset": ((0x0048021A, 0x0040072A), "ds"),
    "y_offset": ((0x0048021A, 0x0040073A), "ds"),
    "z_offset": ((0x0048021A, 0x0040074A), "ds"),
}

_MAX_LAYOUTS = 4096
_AT_ONCE = 1 << 15


class FrameItems:
    """The items of a Per-Frame Functional Groups Sequence.

    Attributes
    ----------
    count : int
    values : dict of Leaf to dict of bytes to int
        Distinct raw values of each element that is no sequence, each with the first frame (from 0) that has it.
    vrs : dict of Leaf to str
        Empty where the file does not say.
    groups : dict of int to int
        Tag of each functional group's sequence, and how many frames have it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.values: dict[Leaf, dict[bytes, int]] = {}
        self.vrs: dict[Leaf, str] = {}
        self.groups: dict[int, int] = {}
        self._examples: list[tuple[int, bytes, bool] | tuple[int, Dataset]] = []
        self._raw: dict[str, list[bytes | None]] = {}
        self._plain: dict[str, list[Any]] = {}
        self._seen: set[Any] = set()

    # ------------------------------------------------------------------ making
    @classmethod
    def from_bytes(cls, data: Buffer, offset: int, length: int, implicit: bool) -> FrameItems:
        """Items of a sequence's value.

        Raises
        ------
        NotLean
            If the bytes cannot be walked with certainty.
        """
        made = cls()
        spans = np.array(list(items_of(data, offset, length, implicit)), dtype=np.int64).reshape(-1, 2)
        made.count = len(spans)
        made._raw = {name: [None] * made.count for name in COLUMNS}
        flat = np.frombuffer(data, dtype=np.uint8)
        sizes = spans[:, 1] - spans[:, 0]
        layouts = 0
        for size in sorted(set(sizes.tolist())):
            pending = np.flatnonzero(sizes == size)
            while len(pending):
                layouts += 1
                if layouts > _MAX_LAYOUTS:
                    raise NotLean("the items of frames have too many layouts")
                pending = made._take(data, flat, spans, pending, size, implicit)
        return made

    def _take(
        self,
        data: Buffer,
        flat: npt.NDArray[np.uint8],
        spans: npt.NDArray[np.int64],
        pending: npt.NDArray[np.intp],
        size: int,
        implicit: bool,
    ) -> npt.NDArray[np.intp]:
        """Take the items laid out as the first pending one; return the others."""
        pending, later = pending[:_AT_ONCE], pending[_AT_ONCE:]
        first = int(pending[0])
        start, end = int(spans[first, 0]), int(spans[first, 1])
        leaves: list[tuple[Leaf, str, int, int, bool]] = []
        structure = np.ones(size, dtype=bool)
        _walk(data, start, end, implicit, (), start, leaves, True)
        for _, _, offset, length, _ in leaves:
            structure[offset : offset + length] = False
        fits, left = pending, pending[:0]
        if size and len(pending) > 1:
            rows = flat[spans[pending, 0][:, None] + np.flatnonzero(structure)]
            same = (rows == rows[0]).all(axis=1)
            fits, left = pending[same], pending[~same]
        shape = tuple((leaf, length == 0) for leaf, _, _, length, _ in leaves)
        if shape not in self._seen:
            self._seen.add(shape)
            self._examples.append((first, bytes(data[start:end]), implicit))
        names = {path: name for name, (path, _) in COLUMNS.items()}
        for leaf, vr, offset, length, in_first in leaves:
            name = names.get(leaf) if in_first else None
            self._cut(flat, spans, fits, leaf, vr, offset, length, name)
        for group in {leaf[0] for leaf, *_ in leaves}:
            self.groups[group] = self.groups.get(group, 0) + len(fits)
        return np.concatenate([left, later]) if len(later) else left

    def _cut(
        self,
        flat: npt.NDArray[np.uint8],
        spans: npt.NDArray[np.int64],
        fits: npt.NDArray[np.intp],
        leaf: Leaf,
        vr: str,
        offset: int,
        length: int,
        name: str | None,
    ) -> None:
        known = self.values.setdefault(leaf, {})
        self.vrs.setdefault(leaf, vr)
        if length == 0:
            raw: Sequence[bytes] = [b""] * len(fits)
        else:
            cells = flat[spans[fits, 0][:, None] + np.arange(offset, offset + length)]
            raw = np.ascontiguousarray(cells).view(f"V{length}").ravel().tolist()
        frames = fits.tolist()
        for value, frame in zip(reversed(raw), reversed(frames), strict=True):
            known[value] = frame  # the first frame that has it stays
        if name is not None:
            column = self._raw[name]
            for value, frame in zip(raw, frames, strict=True):
                column[frame] = value

    @classmethod
    def from_items(cls, items: Sequence[Dataset]) -> FrameItems:
        """Items that pydicom has parsed."""
        made = cls()
        made.count = len(items)
        for frame, item in enumerate(items):
            shape: list[Any] = []
            made._add(frame, item, (), shape)
            for group in {leaf[0] for leaf, state in shape if state is False}:
                made.groups[group] = made.groups.get(group, 0) + 1
            if tuple(shape) not in made._seen:
                made._seen.add(tuple(shape))
                made._examples.append((frame, item))
        for name in COLUMNS:
            made._plain[name] = [column_of(item, name) for item in items]
        return made

    def _add(self, frame: int, item: Dataset, path: Leaf, shape: list[Any]) -> None:
        for tag in sorted(item.keys()):
            here = (*path, int(tag))
            try:
                element = item[tag]
            except Exception:  # a damaged value; its absence from the values shows in the example
                shape.append((here, None))
                continue
            if element.VR == "SQ":
                shape.append((here, len(element.value) == 0))
                for inner in element.value:
                    self._add(frame, inner, here, shape)
                continue
            shape.append((here, element.is_empty))
            value = element.value
            if not isinstance(value, bytes):
                many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
                value = "\\".join("" if part is None else str(part) for part in many).encode()
            self.vrs.setdefault(here, "")
            self.values.setdefault(here, {}).setdefault(value, frame)

    # ------------------------------------------------------------------ use
    @cached_property
    def examples(self) -> list[tuple[int, Any]]:
        """An item for each set of tags, with its frame (from 0)."""
        made: list[tuple[int, Any]] = []
        for example in self._examples:
            if len(example) == 2:
                made.append(example)
            else:
                frame, raw, implicit = example
                made.append((frame, Item.of_bytes(raw, 0, len(raw), implicit)))
        return made

    def column(self, name: str) -> list[Any]:
        """Values of all frames: tuples of numbers, or text; None where a frame has none."""
        if name not in self._plain:
            kind = COLUMNS[name][1]
            known = {raw: None if raw is None else _decoded(raw, kind) for raw in set(self._raw[name])}
            self._plain[name] = [known[raw] for raw in self._raw[name]]
        return self._plain[name]


def _walk(
    data: Buffer,
    start: int,
    end: int,
    implicit: bool,
    path: Leaf,
    origin: int,
    leaves: list[tuple[Leaf, str, int, int, bool]],
    in_first: bool,
) -> None:
    if len(path) > 16:
        raise NotLean("sequences are nested too deeply")
    for tag, (vr, offset, length) in elements_of(data, start, end, implicit):
        here = (*path, tag)
        if vr == b"SQ" or (implicit and _is_sequence(tag)):
            for number, (item_start, item_end) in enumerate(items_of(data, offset, length, implicit)):
                _walk(data, item_start, item_end, implicit, here, origin, leaves, in_first and number == 0)
        else:
            name = (vr or b"").decode("latin-1")
            leaves.append((here, name, offset - origin, length, in_first))


def _is_sequence(tag: int) -> bool:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _decoded(raw: bytes, kind: str) -> Any:
    """A value of a column; () where it cannot be decoded."""
    if kind in ("ds", "text"):
        text = raw.decode("latin-1").strip("\0 ")
        if kind == "text":
            return text
        try:
            return tuple(float(part) for part in text.split("\\")) if text else ()
        except ValueError:
            return ()
    if kind == "ul":
        return tuple(np.frombuffer(raw, "<u4").tolist()) if len(raw) % 4 == 0 else ()
    return (int.from_bytes(raw, "little", signed=len(raw) == 4),) if len(raw) in (2, 4) else ()


def column_of(item: Dataset, name: str) -> Any:
    """Value of a column in an item of functional groups, shared or of a frame; None where absent."""
    path, kind = COLUMNS[name]
    ds = item
    for tag in path[:-1]:
        try:
            ds = ds[tag].value[0]
        except Exception:  # absent, empty, damaged, or no sequence at all
            return None
    try:
        value = ds[path[-1]].value
    except Exception:
        return None
    if kind == "text":
        return str(value).strip()
    if value is None:
        return ()
    many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        return tuple(float(part) if kind == "ds" else int(part) for part in many)
    except (TypeError, ValueError):
        return ()


def merged(frames: FrameItems | None, shared: Mapping[str, Any], count: int, name: str) -> list[Any]:
    """A column with what all frames share filled in."""
    common = shared.get(name)
    if frames is None:
        return [common] * count
    return [common if value is None else value for value in frames.column(name)]
