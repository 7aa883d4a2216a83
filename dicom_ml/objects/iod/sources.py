"""What is known of the objects that a checked object may refer to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.geometry import Grid
from dicom_ml.objects.iod.conditions import texts_of
from dicom_ml.objects.iod.context import items_of, number, numbers, text
from dicom_ml.objects.iod.subject import Subject, is_dicom, open_subject, subject_of_dataset
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Known", "SlidePlane", "Sources", "known_of", "read_sources"]

FloatArray = npt.NDArray[np.float64]
#: What patients and studies are told apart by (PS3.3 C.7.1.1, C.7.2.1).
IDENTITY = ("PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate")


@dataclass(frozen=True)
class SlidePlane:
    """Where a total pixel matrix lies on its slide.

    Attributes
    ----------
    origin : ndarray of shape (3,)
        First pixel, in millimetres of the slide.
    directions : ndarray of shape (2, 3)
        Of unit length: to the next row and column.
    spacing : tuple of float
        Between rows and columns, in millimetres.
    flavor : str
        Third value of Image Type.
    pyramid : str
        Pyramid UID; empty where there is none.
    """

    origin: FloatArray
    directions: FloatArray
    spacing: tuple[float, float]
    flavor: str = ""
    pyramid: str = ""


@dataclass(frozen=True)
class Known:
    """An instance that may be referred to.

    Attributes
    ----------
    sop_class, series, study, frame_of_reference : str
    frames : int
        0 where it is not known.
    segments : frozenset of int, optional
        Of a segmentation.
    size : tuple of int
        Rows and columns; of a tiled image those of its total pixel matrix; zeros where not known.
    origins : ndarray of shape (N, 3), optional
        Centre of the first pixel of each plane, in LPS millimetres.
    axes : ndarray of shape (2, 3), optional
        Steps to the next row and column, in millimetres.
    identity : dict
        Patient and study, by keyword; only what is there.
    slide : SlidePlane, optional
        Of a tiled image.
    """

    sop_class: str
    series: str
    study: str
    frame_of_reference: str = ""
    frames: int = 0
    segments: frozenset[int] | None = None
    size: tuple[int, int] = (0, 0)
    origins: FloatArray | None = None
    axes: FloatArray | None = None
    identity: dict[str, str] = field(default_factory=dict)
    slide: SlidePlane | None = None


@dataclass
class Sources:
    """Instances by their UIDs.

    ``extent`` says what of instances that are not among them: with ``"all"``, as a caller who gives sources says, they
    do not exist; with ``"folder"`` they may lie elsewhere, but not where others of the same object are here; with
    ``"some"`` nothing is said of them.
    """

    known: dict[str, Known] = field(default_factory=dict)
    extent: str = "folder"
    #: Grids and values of volumes in memory.
    volumes: list[tuple[Grid, npt.NDArray[Any]]] = field(default_factory=list)

    def without(self, uid: str) -> Sources:
        """The others."""
        return Sources({u: k for u, k in self.known.items() if u != uid}, self.extent, self.volumes)


def read_sources(sources: Any, extent: str = "all") -> Sources:
    """Collect what is known of sources.

    Parameters
    ----------
    sources : path, Dataset, Volume, Slide, SourceSeries, object of this package, or a list of these

    Raises
    ------
    FileError
        If a path does not exist, or something is none of these.
    """
    found = Sources(extent=extent)
    _collect(sources, found)
    return found


def _collect(sources: Any, found: Sources) -> None:
    if isinstance(sources, str | os.PathLike) and not str(sources).startswith("dml1:"):
        path = Path(sources)
        if not path.exists():
            raise FileError(f"{path} does not exist")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if path.is_dir() and not is_dicom(file):
                continue
            try:
                _add(open_subject(file), found)
            except DicomMLError:
                if not path.is_dir():
                    raise
        return
    if isinstance(sources, str):
        sources = SourceSeries.from_string(sources)
    inner = sources if isinstance(sources, SourceSeries) else getattr(sources, "source", None)
    if isinstance(inner, SourceSeries):
        _add_series(inner, found)
        grid, array = getattr(sources, "grid", None), getattr(sources, "array", None)
        if isinstance(grid, Grid) and isinstance(array, np.ndarray) and array.shape == grid.shape:
            found.volumes.append((grid, array))
        return
    if isinstance(sources, Subject):
        _add(sources, found)
        return
    dataset = sources if hasattr(sources, "file_meta") or hasattr(sources, "to_json_dict") else None
    if dataset is None:
        dataset = getattr(sources, "dataset", None)
    if dataset is not None:
        _add(subject_of_dataset(dataset), found)
        return
    if isinstance(sources, Iterable):
        for source in sources:
            _collect(source, found)
        return
    raise FileError(
        f"a source is a path, a data set, a volume, a slide or a source series, found {type(sources).__name__}"
    )


def _add(subject: Subject, found: Sources) -> None:
    uid = text(subject.ds, "SOPInstanceUID")
    if uid:
        found.known[uid] = known_of(subject)


def known_of(subject: Subject) -> Known:
    """What a file says of itself."""
    ds = subject.ds
    segments = None
    if "SegmentSequence" in ds:
        segments = frozenset(int(number(item, "SegmentNumber") or 0) for item in items_of(ds, "SegmentSequence"))
    names = ("TotalPixelMatrixRows", "TotalPixelMatrixColumns") if subject.is_tiled else ("Rows", "Columns")
    rows, columns = (int(number(ds, name) or 0) for name in names)
    origins, axes = _planes(subject)
    return Known(
        subject.sop_class,
        text(ds, "SeriesInstanceUID"),
        text(ds, "StudyInstanceUID"),
        text(ds, "FrameOfReferenceUID"),
        subject.frame_count,
        segments,
        (rows, columns),
        origins,
        axes,
        identity_of(ds),
        _slide_plane(subject) if subject.is_tiled else None,
    )


def _slide_plane(subject: Subject) -> SlidePlane | None:
    ds = subject.ds
    start = items_of(ds, "TotalPixelMatrixOriginSequence")
    cosines = numbers(ds, "ImageOrientationSlide")
    spacing = {v for v in subject.column("pixel_spacing") if v}
    if not start or len(cosines) != 6 or len(spacing) != 1:
        return None
    (between,) = spacing
    offsets = [number(start[0], f"{a}OffsetInSlideCoordinateSystem") for a in "XYZ"]
    if len(between) != 2 or min(between) <= 0 or offsets[0] is None or offsets[1] is None:
        return None
    flavor = (texts_of(ds, 0x00080008) or [])[2:3]
    return SlidePlane(
        np.array([v or 0.0 for v in offsets]),
        np.array([cosines[3:], cosines[:3]]),
        (float(between[0]), float(between[1])),
        flavor[0] if flavor else "",
        text(ds, "PyramidUID"),
    )


def identity_of(ds: Dataset) -> dict[str, str]:
    return {keyword: text(ds, keyword) for keyword in IDENTITY if text(ds, keyword)}


def _planes(subject: Subject) -> tuple[FloatArray | None, FloatArray | None]:
    if subject.is_tiled:
        return None, None
    ds = subject.ds
    positions: list[Any] = subject.column("position")
    cosines: Any = next((v for v in subject.column("orientation") if v), None)
    spacing: Any = next((v for v in subject.column("pixel_spacing") if v), None)
    if not any(positions):
        positions, cosines = [numbers(ds, "ImagePositionPatient")], numbers(ds, "ImageOrientationPatient")
        spacing = numbers(ds, "PixelSpacing")
    chosen = [p for p in positions if p and len(p) == 3]
    if not chosen or len(chosen) != len(positions) or not cosines or len(cosines) != 6:
        return None, None
    if not spacing or len(spacing) != 2:
        return None, None
    along_rows, along_columns = np.array(cosines[:3]), np.array(cosines[3:])
    return np.array(chosen, dtype=np.float64), np.stack([along_columns * spacing[0], along_rows * spacing[1]])


def _add_series(series: SourceSeries, found: Sources) -> None:
    """A record of a series: who its instances are, and where their planes lie."""
    identity = identity_of(series.attribute_dataset())
    grid = series.grid
    pairs = list(zip(series.sop_instance_uids, series.sop_class_uids, strict=True))
    for place, (uid, sop_class) in enumerate(pairs):
        origins = axes = None
        size = (0, 0)
        if grid is not None and not series.levels and not series.is_multiframe:
            origins = (grid.affine[:3, 3] + place * grid.affine[:3, 0])[None]
            axes = grid.affine[:3, 1:3].T
            size = grid.shape[1], grid.shape[2]
        if uid:
            found.known[uid] = Known(
                sop_class, series.series_instance_uid, series.study_instance_uid, series.frame_of_reference_uid,
                0 if series.is_multiframe or series.levels else 1, None, size, origins, axes, identity,
            )  # fmt: skip
    if grid is not None and series.is_multiframe and not series.levels:
        _add_multiframe(series, found, identity)
    for level in series.levels:
        for uid, sop_class in zip(level.sop_instance_uids, level.sop_class_uids, strict=True):
            found.known[uid] = Known(
                sop_class or sop.VL_WHOLE_SLIDE_MICROSCOPY, series.series_instance_uid, series.study_instance_uid,
                series.frame_of_reference_uid, 0, None, (level.grid.shape[1], level.grid.shape[2]), identity=identity,
                slide=_plane_of_grid(level.grid),
            )  # fmt: skip


def _plane_of_grid(grid: Grid) -> SlidePlane:
    steps = grid.affine[:3, 1:3].T
    down, across = (float(v) for v in np.linalg.norm(steps, axis=1))
    return SlidePlane(grid.affine[:3, 3], steps / [[down], [across]], (down, across), "VOLUME")


def _add_multiframe(series: SourceSeries, found: Sources, identity: dict[str, str]) -> None:
    grid = series.grid
    assert grid is not None
    places: dict[str, list[int]] = {}
    for place, uid in enumerate(series.sop_instance_uids):
        places.setdefault(uid, []).append(place)
    for uid, chosen in places.items():
        if uid:
            origins = grid.affine[:3, 3] + np.array(chosen)[:, None] * grid.affine[:3, 0]
            first = found.known[uid]
            size = grid.shape[1], grid.shape[2]
            found.known[uid] = Known(
                first.sop_class, first.series, first.study, first.frame_of_reference, 0, None, size, origins,
                grid.affine[:3, 1:3].T, identity,
            )  # fmt: skip
