"""From a prediction to a file: onto the source's grid, under names and UIDs that follow from what it is made of.

MONAI's savers and Lightning's writers are thin shells over :class:`SegmentationOutput`, which knows neither: numpy
arrays go in, DICOM files come out.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.results import NamedResults, Written, plain
from dicom_ml.errors import DicomMLWarning, EncodingError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation import Algorithm, Segment, Segmentation
from dicom_ml.objects.segmentation.tiled import SegmentationStream
from dicom_ml.source import SourceSeries, as_source

__all__ = [
    "SegmentationOutput",
    "WrittenSegmentation",
    "as_algorithm",
    "as_channels_or_labels",
    "as_segments",
    "place_on_source",
]

Array = npt.NDArray[Any]
KINDS = ("binary", "labelmap", "fractional")
MISMATCHES = ("error", "own-grid", "resample")


# ---------------------------------------------------------------------- what people pass as segments
def as_segments(segments: Any, algorithm: Any = None) -> tuple[Segment, ...]:
    """Segments from what a program or a configuration file holds.

    Parameters
    ----------
    segments : sequence of Segment or mapping, or path of a JSON file that holds such a list
        A mapping has the names of :class:`Segment`'s parameters.
    algorithm : Algorithm, mapping or ``"manual"``, optional
        For the segments that have none of their own.

    Raises
    ------
    EncodingError
        If there are none, or one is neither a Segment nor a mapping.
    """
    if isinstance(segments, (str, os.PathLike)):
        segments = json.loads(Path(segments).read_text(encoding="utf-8"))
    if isinstance(segments, (Segment, Mapping)):
        segments = [segments]
    default = as_algorithm(algorithm)
    found: list[Segment] = []
    for item in segments or ():
        if isinstance(item, Mapping):
            parts = dict(item)
            parts["algorithm"] = as_algorithm(parts.get("algorithm"))
            for name in ("modifiers", "anatomy_modifiers", "color"):
                if isinstance(parts.get(name), list):
                    parts[name] = tuple(parts[name])
            item = Segment(**parts)
        if not isinstance(item, Segment):
            raise EncodingError(f"segments are Segment objects or mappings of their parameters, found {item!r:.80}")
        if item.algorithm is None and default is not None:
            item = replace(item, algorithm=default)
        found.append(item)
    if not found:
        raise EncodingError("a segmentation describes at least one segment; pass segments=[dicom_ml.Segment(...), ...]")
    return tuple(found)


def as_algorithm(algorithm: Any) -> Algorithm | None:
    if algorithm is None or isinstance(algorithm, Algorithm):
        return algorithm
    if isinstance(algorithm, Mapping):
        return Algorithm(**algorithm)
    if isinstance(algorithm, str) and algorithm.lower() == "manual":
        return Algorithm.manual()
    raise EncodingError(
        f"an algorithm is an Algorithm(name, version), a mapping of these or 'manual', found {algorithm!r}"
    )


# ---------------------------------------------------------------------- values
def as_channels_or_labels(array: Array, segments: Sequence[Segment], kind: str) -> Array:
    """Check what a network or a loader made of a prediction, and bring it to what a segmentation is written from.

    Parameters
    ----------
    array : ndarray of shape (C, D, H, W)
        A label map (``C`` is 1), one channel for each segment, or these after a first channel of background.
    segments : sequence of Segment
    kind : {"binary", "labelmap", "fractional"}

    Returns
    -------
    ndarray of shape (D, H, W), integers, or of shape (S, D, H, W), bool or float32

    Raises
    ------
    EncodingError
        If channels and segments do not agree in number, labels are no whole numbers, or channels of a binary or
        labelmap segmentation hold probabilities.
    """
    if array.ndim != 4:
        raise EncodingError(f"a prediction is (C, D, H, W), found {array.ndim} dimensions")
    count, channels = len(segments), array.shape[0]
    if channels == count + 1 and channels > 1 and not (count == 1 and channels == 1):
        array, channels = array[1:], count  # a first channel of background
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise EncodingError("the prediction holds values that are not finite")
    if kind == "fractional":
        if channels != count:
            raise EncodingError(
                f"{channels} channels of probability, {count} segments: give one channel for each segment"
            )
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if low < -1e-5 or high > 1 + 1e-5:
            raise EncodingError(
                f"probabilities lie from 0 to 1, found {low:.4g} to {high:.4g}: "
                "apply a sigmoid or softmax to the network's output first"
            )
        return np.clip(array, 0, 1).astype(np.float32, copy=False)
    if channels == 1 and not (count == 1 and array.dtype == np.bool_):
        return _whole(array[0], "a label map holds")
    if channels != count:
        raise EncodingError(
            f"{channels} channels, {count} segments: give a label map of one channel, one channel for each segment, "
            "or one more, first, of background"
        )
    if array.dtype == np.bool_:
        return array
    binary = _whole(array, "channels of a binary segmentation hold")
    if binary.size and (binary.min() < 0 or binary.max() > 1):
        raise EncodingError(
            f"channels of a binary segmentation hold 0 and 1, found {binary.min()} to {binary.max()}; "
            "a label map has a single channel"
        )
    return binary.astype(bool)


def _whole(array: Array, what: str) -> Array:
    """Integers of an array that holds whole numbers in whatever type."""
    if array.dtype.kind in "iu":
        return array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low < -1 or high > 65535:
        raise EncodingError(f"{what} whole numbers from 0 to 65535, found {low:.4g} to {high:.4g}")
    whole = np.rint(array).astype(np.int32)
    # MONAI's lazy resampling leaves traces of interpolation even where nearest neighbours were asked for
    if np.abs(whole - array).max(initial=0) > 1e-3:
        raise EncodingError(
            f"{what} whole numbers, found fractions: take argmax or a threshold first, "
            "or write the probabilities with kind='fractional'"
        )
    return whole.astype(np.uint16) if low >= 0 else whole


# ---------------------------------------------------------------------- places
def place_on_source(
    array: Array, affine: npt.ArrayLike, source: SourceSeries, on_mismatch: str = "error"
) -> tuple[Array, npt.NDArray[np.float64] | None]:
    """Bring a prediction onto the grid of its source series.

    Parameters
    ----------
    array : ndarray of shape (C, D, H, W)
    affine : array_like of shape (4, 4)
        Maps the prediction's ``(d, h, w)`` to LPS millimetres.
    source : SourceSeries
    on_mismatch : {"error", "own-grid", "resample"}
        What to do with a prediction whose voxels are not voxels of the source: refuse it, leave it on its own
        grid, or resample it (nearest neighbour for booleans and integers, linear for floats).

    Returns
    -------
    array : ndarray of shape (C, D', H', W')
        Where the prediction lies on the source's lattice: the source's shape, axes permuted and flipped as needed,
        what was cropped away filled with zeros, what was padded on cut off; no value is changed.
    affine : ndarray of shape (4, 4) or None
        None where the array lies on the source's grid.

    Raises
    ------
    GeometryError
        If the source has no grid, or by ``on_mismatch="error"``.
    """
    if source.grid is None:
        raise GeometryError("the source has no patient geometry, so nothing can be placed on it")
    if array.ndim != 4:
        raise GeometryError(f"a prediction is (C, D, H, W), found {array.ndim} dimensions")
    grid = Grid((array.shape[1], array.shape[2], array.shape[3]), np.asarray(affine, dtype=np.float64))
    alignment = grid.align(source.grid)
    if alignment is not None:
        moved = alignment.reorder(array)
        return _within(moved, alignment.start(grid.shape), source.grid.shape), None
    if on_mismatch == "own-grid":
        if not grid.is_orthogonal:
            raise GeometryError(
                "the prediction's axes are not at right angles, so it cannot be written on its own grid"
            )
        return array, np.array(grid.affine)
    if on_mismatch == "resample":
        from dicom_ml.reading.resampling import resample_array

        order = 1 if array.dtype.kind == "f" else 0
        layers = [resample_array(_resampleable(a), grid, source.grid, order=order, fill=0) for a in array]
        return np.stack(layers).astype(array.dtype, copy=False), None
    raise GeometryError(
        "the prediction does not lie on its source's voxels: "
        f"spacing {_mm(grid)}, axes {grid.axcodes}, shape {grid.shape}; "
        f"the source has {_mm(source.grid)}, {source.grid.axcodes}, {source.grid.shape}. "
        "Undo the preprocessing before saving (monai.transforms.Invertd('pred', transform=preprocessing, "
        "orig_keys='image')), or pass on_mismatch='resample' or on_mismatch='own-grid'"
    )


def _mm(grid: Grid) -> str:
    return "x".join(f"{s:.4g}" for s in grid.spacing) + " mm"


def _resampleable(array: Array) -> Array:
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _within(moved: Array, start: Sequence[int], shape: Sequence[int]) -> Array:
    """Lay an array that begins at ``start`` into ``shape``: zeros around, and what reaches outside cut off."""
    if tuple(start) == (0, 0, 0) and moved.shape[1:] == tuple(shape):
        return moved
    take, give = [slice(None)], [slice(None)]
    for axis in range(3):
        low = max(0, start[axis])
        high = min(shape[axis], start[axis] + moved.shape[axis + 1])
        if high <= low:
            raise GeometryError(
                f"the prediction lies wholly outside its source: voxels {start[axis]} to "
                f"{start[axis] + moved.shape[axis + 1]} of {shape[axis]} along {'dhw'[axis]}"
            )
        give.append(slice(low, high))
        take.append(slice(low - start[axis], high - start[axis]))
    inside = moved[tuple(take)]
    out = np.zeros((moved.shape[0], *shape), dtype=moved.dtype)
    out[tuple(give)] = inside
    if inside.size < moved.size:
        lost = np.count_nonzero(moved) - np.count_nonzero(inside)
        if lost:
            warnings.warn(
                f"{lost} voxels of the prediction that are not background lie outside the source and were cut off",
                DicomMLWarning,
                stacklevel=3,
            )
    return out


# ---------------------------------------------------------------------- files
WrittenSegmentation = Written


@dataclass(frozen=True)
class SegmentationOutput(NamedResults):
    """How predictions become DICOM SEG files.

    Parameters
    ----------
    segments : sequence of Segment
    kind : {"binary", "labelmap", "fractional"}
    compression : str, optional
        As in :meth:`Segmentation.save`.
    on_mismatch : {"error", "own-grid", "resample"}
        See :func:`place_on_source`.
    filename : str, optional
        Template of file names. Fields: ``{series}`` and ``{study}`` (UIDs of the source), ``{sop}`` (SOP Instance
        UID of the result), ``{digest}`` (eight hexadecimal digits that stand for source, settings and model),
        ``{algorithm}`` (name of the first segment's algorithm). Nothing else of a header reaches a file name.
    options : mapping
        Further arguments of :meth:`Segmentation.from_array`, such as ``series_description``.
    settings : mapping
        Settings of the caller that change the result, such as a threshold: they take part in the UIDs.
    """

    ending = "seg"
    segments: tuple[Segment, ...]
    kind: str = "binary"
    compression: str | None = None
    on_mismatch: str = "error"
    filename: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", as_segments(self.segments))
        if self.kind not in KINDS:
            raise EncodingError(f"kind is one of {', '.join(KINDS)}, found {self.kind!r}")
        if self.on_mismatch not in MISMATCHES:
            raise EncodingError(f"on_mismatch is one of {', '.join(MISMATCHES)}, found {self.on_mismatch!r}")
        for segment in self.segments:
            if segment.algorithm is None:
                raise EncodingError(
                    f"segment {segment.label!r} does not say how it was made; pass "
                    "algorithm=dicom_ml.Algorithm(name, version), or algorithm='manual' where a person drew it"
                )
        self.check_filename()

    @property
    def numbers(self) -> list[int]:
        """Value of each segment in label maps, in the order of the channels."""
        return [place if s.number is None else s.number for place, s in enumerate(self.segments, start=1)]

    @property
    def _order(self) -> list[int]:
        """Channels by ascending number of their segments."""
        return sorted(range(len(self.segments)), key=lambda i: self.numbers[i])

    # ------------------------------------------------------------------ identity
    def facts(self) -> dict[str, Any]:
        """What results follow from beside source and model."""
        return {
            "segments": [plain(s) for s in self.segments],
            "kind": self.kind,
            "on_mismatch": self.on_mismatch,
            "options": plain(dict(self.options)),
            "settings": plain(dict(self.settings)),
        }

    @property
    def algorithm_name(self) -> str:
        """Name of the first segment's algorithm."""
        algorithm = self.segments[0].algorithm
        return "" if algorithm is None else algorithm.name

    # ------------------------------------------------------------------ writing
    def segmentation(self, array: Array, affine: npt.ArrayLike, source: Any, model: str = "") -> Segmentation:
        """The segmentation object of a prediction.

        Parameters
        ----------
        array : ndarray of shape (C, D, H, W)
            See :func:`as_channels_or_labels`.
        affine : array_like of shape (4, 4)
            Maps the prediction's ``(d, h, w)`` to LPS millimetres.
        source : SourceSeries, or what :func:`dicom_ml.source.as_source` takes
        model : str
            What tells this model from others; it takes part in the UIDs.
        """
        record = as_source(source).check()
        values = as_channels_or_labels(array, self.segments, self.kind)
        flat = values.ndim == 3
        order = self._order
        if not flat and order != list(range(len(order))):
            values = values[order]  # a segmentation counts its channels by the segments' numbers
        placed, own = place_on_source(values[None] if flat else values, affine, record, self.on_mismatch)
        uids = self.record(record, Path(), model, written=False)
        return Segmentation.from_array(
            placed[0] if flat else placed,
            source=record,
            segments=[self.segments[i] for i in order],
            kind=self.kind,
            affine=own,
            sop_instance_uid=uids.sop_instance_uid,
            series_instance_uid=uids.series_instance_uid,
            **self.options,
        )

    def write(
        self,
        array: Array,
        affine: npt.ArrayLike,
        source: Any,
        folder: str | os.PathLike[str],
        *,
        model: str = "",
        path: str | os.PathLike[str] | None = None,
    ) -> WrittenSegmentation:
        """Write a prediction; an earlier file of the same name is replaced in one step.

        Parameters
        ----------
        array, affine, source, model
            As in :meth:`segmentation`.
        folder : path
            Made where missing.
        path : path, optional
            Write exactly there instead.
        """
        record = as_source(source)
        target = self.path(record, folder, model) if path is None else Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.segmentation(array, affine, record, model).save(target, compression=self.compression)
        return self.record(record, target, model, written=True)

    # ------------------------------------------------------------------ slides
    #: How predictions of tiles wait on disk: half precision is finer than any storage of a segmentation.
    spool_type = "<f2"

    def tile(self, array: Array) -> Array:
        """Labels ``(rows, columns)`` or channels ``(S, rows, columns)`` of a decided prediction ``(C, ...)``."""
        values = as_channels_or_labels(array[:, None], self.segments, self.kind)
        if values.ndim == 3:
            return values[0]
        return values[self._order, 0]

    def needs_bytes(self) -> bool:
        """Whether frames must have a multiple of 8 pixels."""
        return self.kind == "binary"

    def stream(self, path: Path, source: SourceSeries, uids: Written, shard: str, **place: Any) -> SegmentationStream:
        """A stream of tiles; ``place`` as of :meth:`Segmentation.stream`."""
        return Segmentation.stream(
            path,
            source=source,
            segments=[self.segments[i] for i in self._order],
            kind=self.kind,
            compression=self.compression,
            shard=shard,
            **self._identified(uids),
            **place,
        )

    def whole(self, array: Array, path: Path, source: SourceSeries, uids: Written, **place: Any) -> None:
        """Write a matrix of a slide, as :meth:`tile` gives it; ``place`` as of :meth:`Segmentation.from_array`."""
        made = Segmentation.from_array(
            array,
            source=source,
            segments=[self.segments[i] for i in self._order],
            kind=self.kind,
            **self._identified(uids),
            **place,
        )
        made.save(path, compression=self.compression)

    def _identified(self, uids: Written) -> dict[str, Any]:
        return {
            **{k: v for k, v in self.options.items() if k != "tile_size"},
            "sop_instance_uid": uids.sop_instance_uid,
            "series_instance_uid": uids.series_instance_uid,
        }
