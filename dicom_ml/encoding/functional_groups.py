"""Per-frame functional groups as columns: thousands of frames read without one parsed element a frame.

Writers lay out the item of every frame alike, so the first item of a given length is walked once into a template;
all items of that length whose structure bytes are equal to the template's then give up their values by slicing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.elements import Buffer, NotLean, elements_of, items_of

__all__ = ["GROUP_TAGS", "Path", "read_frame_groups", "read_item"]

#: Tags from the functional group macro down to the value; each sequence is entered by its first item.
Path = tuple[int, ...]

#: Paths of the values that readers of volumes and segmentations need (PS3.3 C.7.6.16.2, C.8.20.3).
GROUP_TAGS: dict[str, Path] = {
    "position": (0x00209113, 0x00200032),
    "orientation": (0x00209116, 0x00200037),
    "pixel_spacing": (0x00289110, 0x00280030),
    "slice_thickness": (0x00289110, 0x00180050),
    "slice_spacing": (0x00289110, 0x00180088),
    "segment": (0x0062000A, 0x0062000B),
    "index": (0x00209111, 0x00209157),
    "stack_id": (0x00209111, 0x00209056),
    "in_stack": (0x00209111, 0x00209057),
    "temporal_index": (0x00209111, 0x00209128),
    "slope": (0x00289145, 0x00281053),
    "intercept": (0x00289145, 0x00281052),
    "rescale_type": (0x00289145, 0x00281054),
    "source_instance": (0x00089124, 0x00082112, 0x00081155),
    "source_class": (0x00089124, 0x00082112, 0x00081150),
    "source_frame": (0x00089124, 0x00082112, 0x00081160),
    "row": (0x0048021A, 0x0048021F),
    "column": (0x0048021A, 0x0048021E),
}

_TEMPLATES_PER_LENGTH = 8


@dataclass(frozen=True)
class _Template:
    #: True where a byte belongs to the structure (tags, lengths, values nobody asked for excluded).
    structure: npt.NDArray[np.bool_]
    #: Offset and length of each wanted value; None where the item lacks it.
    places: dict[str, tuple[int, int] | None]


def read_item(
    data: Buffer, start: int, end: int, implicit: bool, wanted: Mapping[str, Path]
) -> dict[str, bytes | None]:
    """Raw values of one item of functional groups; None where absent."""
    template = _walk(data, start, end, implicit, wanted)
    found: dict[str, bytes | None] = {}
    for name, place in template.places.items():
        found[name] = None if place is None else bytes(data[start + place[0] : start + place[0] + place[1]])
    return found


def read_frame_groups(
    data: Buffer, offset: int, length: int, implicit: bool, wanted: Mapping[str, Path]
) -> tuple[int, dict[str, list[bytes | None]]]:
    """Read columns out of Per-Frame Functional Groups.

    Parameters
    ----------
    data : bytes-like
        The file.
    offset, length : int
        Place of the value of (5200,9230) Per-Frame Functional Groups Sequence.
    implicit : bool
        Whether elements carry no VR.
    wanted : mapping of str to Path
        Name of each column and where its value lies in the item of a frame; see :data:`GROUP_TAGS`.

    Returns
    -------
    count : int
        Number of items, that is of frames.
    columns : dict of str to list
        Raw value bytes of each frame; None where a frame's item lacks the value.

    Raises
    ------
    NotLean
        If the bytes cannot be walked with certainty.
    """
    spans = np.array(list(items_of(data, offset, length, implicit)), dtype=np.int64).reshape(-1, 2)
    count = len(spans)
    columns: dict[str, list[bytes | None]] = {name: [None] * count for name in wanted}
    flat = np.frombuffer(data, dtype=np.uint8)
    sizes = spans[:, 1] - spans[:, 0]
    for size in sorted(set(sizes.tolist())):  # np.unique would import numpy.ma, which takes longer than all of this
        pending = np.flatnonzero(sizes == size)
        for _ in range(_TEMPLATES_PER_LENGTH):
            if not len(pending):
                break
            first = int(pending[0])
            template = _walk(data, int(spans[first, 0]), int(spans[first, 1]), implicit, wanted)
            pending = _take(flat, spans[:, 0], pending, int(size), template, columns)
        for index in pending:
            item = read_item(data, int(spans[index, 0]), int(spans[index, 1]), implicit, wanted)
            for name, value in item.items():
                columns[name][int(index)] = value
    return count, columns


def _walk(data: Buffer, start: int, end: int, implicit: bool, wanted: Mapping[str, Path]) -> _Template:
    structure = np.ones(end - start, dtype=bool)
    found: dict[Path, tuple[int, int]] = {}
    heads = {path[:depth] for path in wanted.values() for depth in range(1, len(path))}
    _walk_into(data, start, end, implicit, (), start, structure, found, heads)
    return _Template(structure, {name: found.get(path) for name, path in wanted.items()})


def _walk_into(
    data: Buffer,
    start: int,
    end: int,
    implicit: bool,
    path: Path,
    origin: int,
    structure: npt.NDArray[np.bool_],
    found: dict[Path, tuple[int, int]],
    heads: set[Path],
) -> None:
    for tag, (_, offset, length) in elements_of(data, start, end, implicit):
        here = (*path, tag)
        if here in heads:
            for item_start, item_end in items_of(data, offset, length, implicit):
                _walk_into(data, item_start, item_end, implicit, here, origin, structure, found, heads)
                break
        else:
            found[here] = (offset - origin, length)
            structure[offset - origin : offset - origin + length] = False


def _take(
    flat: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    pending: npt.NDArray[np.intp],
    size: int,
    template: _Template,
    columns: dict[str, list[bytes | None]],
) -> npt.NDArray[np.intp]:
    """Fill the columns of the pending items that fit the template; return those that do not."""
    if size == 0:
        return pending[:0]
    left: list[npt.NDArray[np.intp]] = []
    skeleton = np.flatnonzero(template.structure)
    model = flat[starts[pending[0]] + skeleton]
    for chunk in np.array_split(pending, max(1, len(pending) * size >> 22)):
        rows = _rows(flat, starts[chunk], size)
        fits = (rows[:, skeleton] == model).all(axis=1)
        if not fits.all():
            left.append(chunk[~fits])
            rows, chunk = rows[fits], chunk[fits]
        whole = len(columns) and len(chunk) == len(next(iter(columns.values())))
        for name, place in template.places.items():
            if place is None:
                continue
            offset, length = place
            if length == 0:
                values: Sequence[bytes] = [b""] * len(chunk)
            else:
                cut = np.ascontiguousarray(rows[:, offset : offset + length])
                values = cut.view(f"V{length}").ravel().tolist()
            if whole:
                columns[name][:] = values
            else:
                column = columns[name]
                for index, value in zip(chunk.tolist(), values, strict=True):
                    column[index] = value
    return np.concatenate(left) if left else pending[:0]


def _rows(flat: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint8]:
    """The bytes of equally long items, one a row; a view where they lie at equal distances."""
    if len(starts) > 1:
        stride = int(starts[1] - starts[0])
        if stride >= size and (np.diff(starts) == stride).all():
            last = int(starts[0]) + (len(starts) - 1) * stride + size
            if last > len(flat):
                raise NotLean("an item reaches past the end of the file")
            view = np.lib.stride_tricks.as_strided(flat[int(starts[0]) :], (len(starts), size), (stride, 1))
            return np.asarray(view, dtype=np.uint8)
    return np.asarray(flat[starts[:, None] + np.arange(size)], dtype=np.uint8)
