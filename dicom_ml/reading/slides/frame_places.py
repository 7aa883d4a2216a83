"""Where the frames of a slide's file lie, as their functional groups say (PS3.3 C.7.6.16.2, C.8.12.6)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import FrameInfo
from dicom_ml.encoding.elements import FileView, items_of
from dicom_ml.encoding.functional_groups import read_frame_groups, read_item
from dicom_ml.errors import DicomMLWarning, FileError
from dicom_ml.reading.headers import decimals
from dicom_ml.reading.slides.files import PixelPlace, SlideFile

__all__ = ["MICRON", "SHARED", "FramePlaces", "decoded", "frame_places", "matrix_of", "shared_groups"]

#: Shared Functional Groups Sequence, the first element that has to do with frames.
SHARED, _PER_FRAME = 0x52009229, 0x52009230
_PLANE_POSITION, _PATH_IDENTIFICATION = 0x0048021A, 0x00480207
_WANTED = {
    "row": (_PLANE_POSITION, 0x0048021F),
    "column": (_PLANE_POSITION, 0x0048021E),
    "z": (_PLANE_POSITION, 0x0040074A),
    "path": (_PATH_IDENTIFICATION, 0x00480106),
}
_SHARED_WANTED = {
    **_WANTED,
    "spacing": (0x00289110, 0x00280030),
    "thickness": (0x00289110, 0x00180050),
    "between": (0x00289110, 0x00180088),
}
#: Millimetres.
MICRON = 1e-3


@dataclass(frozen=True)
class FramePlaces:
    """Where each frame of a file lies, one row a frame.

    Attributes
    ----------
    rows, columns : ndarray of int64
        Of the frame's first pixel in the total pixel matrix, from 0.
    z : ndarray of float64, or None
        Focal plane in mm; None where no frame says.
    paths : list of str, or None
        Optical path identifiers; None where no frame says.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    z: npt.NDArray[np.float64] | None
    paths: list[str] | None


def shared_groups(view: FileView) -> dict[str, bytes | None]:
    place = view.places.get(SHARED)
    if place is not None:
        for start, end in items_of(view.data, place[1], place[2], view.implicit):
            return read_item(view.data, start, end, view.implicit, _SHARED_WANTED)
    return {}


def frame_places(
    file: SlideFile,
    view: FileView,
    place: PixelPlace,
    shared: dict[str, bytes | None],
    organization: str,
    matrix: tuple[int, int],
) -> FramePlaces | None:
    """Positions of the frames where they are stated and needed: tiles in full order have theirs by their number."""
    per_frame = view.places.get(_PER_FRAME)
    if per_frame is None or per_frame[2] <= 0:
        return None
    if organization == "TILED_FULL" and min(matrix) > 0:
        tiles = -(-matrix[0] // place.info.rows) * -(-matrix[1] // place.info.columns)
        if place.frames % tiles == 0:
            return None
    count, columns = read_frame_groups(view.data, per_frame[1], per_frame[2], view.implicit, _WANTED)
    if count != place.frames:
        raise FileError(f"it has {place.frames} frames, but functional groups for {count}: one of the two is wrong")
    rows, cols = (_positions(columns[name], shared.get(name)) for name in ("row", "column"))
    if rows is None or cols is None:
        return None
    return FramePlaces(
        *_from_one(file, rows, cols, place.info),
        _z_values(file, columns["z"], shared.get("z")),
        _path_names(columns["path"]),
    )


def _positions(values: list[bytes | None], common: bytes | None) -> npt.NDArray[np.int64] | None:
    """Values of SL elements; None unless every frame has one."""
    whole = values if common is None else [common if value is None else value for value in values]
    try:
        joined = b"".join(whole)  # type: ignore[arg-type]
    except TypeError:
        return None
    if len(joined) != 4 * len(values):
        return None
    return np.frombuffer(joined, "<i4").astype(np.int64)


def _from_one(
    file: SlideFile, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], info: FrameInfo
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions counted from 0. The standard counts from 1; some writers did not."""
    if min(rows.min(), columns.min()) >= 1:
        return rows - 1, columns - 1
    if rows.min() >= 0 and columns.min() >= 0 and not (rows % info.rows).any() and not (columns % info.columns).any():
        warnings.warn(
            f"{file.name}: its frame positions count from 0; expected from 1; they are read as they are meant",
            DicomMLWarning,
            stacklevel=2,
        )
        return rows, columns
    raise FileError(
        f"a frame lies at row {rows.min()}, column {columns.min()} of the total pixel matrix, whose first pixel is "
        "1, 1: its positions are wrong"
    )


def _z_values(file: SlideFile, values: list[bytes | None], common: bytes | None) -> npt.NDArray[np.float64] | None:
    known: dict[bytes | None, float] = {}
    for value in set(values):
        text = decoded(value if value is not None else common)
        known[value] = decimals(text, 0x0040074A, file.name, 1)[0] * MICRON if text else 0.0
    if not any(known.values()) and common is None and all(value is None for value in values):
        return None
    return np.array([known[value] for value in values], np.float64)


def _path_names(values: list[bytes | None]) -> list[str] | None:
    known = {value: decoded(value) for value in set(values)}
    return None if not any(known.values()) else [known[value] for value in values]


def matrix_of(place: PixelPlace, places: FramePlaces | None) -> tuple[int, int]:
    """Size of a total pixel matrix whose size is not stated."""
    info = place.info
    if places is not None:
        return int(places.rows.max()) + info.rows, int(places.columns.max()) + info.columns
    if place.frames == 1:
        return info.rows, info.columns
    raise FileError(
        f"it has {place.frames} frames, but neither the size of the total pixel matrix nor the frames' positions: "
        "nothing tells where its tiles belong"
    )


def decoded(value: bytes | None) -> str:
    return value.decode("latin-1").strip("\0 ") if value else ""
