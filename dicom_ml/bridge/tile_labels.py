"""Labels of tiles from what DICOM says of their slide: segmentations, and the description of the specimen.

A label source is an object with ``tile_label(slide, grid, row, column, index)``; :class:`dicom_ml.data.TileDataset`
takes one as ``labels=``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.classes import SegmentClass, find_classes
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.codes import Code, code_from_dataset, parse_code
from dicom_ml.errors import CodeError, DicomMLError, EncodingError, GeometryError, SeriesError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation import Segmentation, read_segmentation
from dicom_ml.source import as_source

__all__ = ["SegmentationLabels", "SpecimenLabels", "sampled_labels", "specimen_codes"]

Array = npt.NDArray[Any]
# Pixels of a segmentation that are read at once where a much coarser grid is sampled.
_STRIP = 1 << 25


# ---------------------------------------------------------------------- sampling
def sampled_labels(
    seg: Segmentation,
    grid: Grid,
    segments: Sequence[int] | None = None,
    *,
    overlap: str = "error",
    threshold: float = 0.5,
) -> Array:
    """Segment numbers of a segmentation of a slide on any grid along its axes, by nearest neighbour.

    Parameters
    ----------
    seg : Segmentation
        Of a slide.
    grid : Grid
        ``(1, rows, columns)`` in slide millimetres.
    segments, overlap, threshold
        As of :meth:`Segmentation.label_map`.

    Returns
    -------
    ndarray of shape (rows, columns)
        0 where the segmentation holds nothing, or does not reach.

    Raises
    ------
    GeometryError
        If it lies in a volume, or its axes are not the grid's.
    """
    if not seg.is_tiled:
        raise GeometryError("labels of tiles come from segmentations of slides; this one lies in a volume")
    rows, columns = _indices(grid, seg.grid)
    wide = int(columns.max() - columns.min()) + 1
    out = np.zeros((len(rows), len(columns)), dtype=np.uint16)
    step = max(1, int(_STRIP / wide / max(1.0, abs(rows[-1] - rows[0]) / max(1, len(rows) - 1))))
    for first in range(0, len(rows), step):
        own = rows[first : first + step]
        corner = int(own.min()), int(columns.min())
        size = int(own.max()) - corner[0] + 1, wide
        region = seg.read_region(corner, size, segments, overlap=overlap, threshold=threshold)
        out[first : first + step] = region[np.ix_(own - corner[0], columns - corner[1])]
    return out


def _indices(grid: Grid, onto: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row of ``onto`` nearest to each row of ``grid``, and columns likewise."""
    # how thick a plane is said to be plays no part
    flat = np.array(onto.affine)
    flat[:3, 0] = np.cross(flat[:3, 1], flat[:3, 2])
    flat[:3, 0] /= np.linalg.norm(flat[:3, 0])
    change = np.linalg.inv(flat) @ grid.affine
    skew = max(abs(change[1, 2]) * grid.shape[2], abs(change[2, 1]) * grid.shape[1])
    if skew > 0.5:
        raise GeometryError("the axes of the segmentation are not those of the slide's tiles")
    found = []
    for axis in (1, 2):
        places = change[axis, axis] * np.arange(grid.shape[axis]) + change[axis, 3]
        found.append(np.floor(places + 0.5 + 1e-6).astype(np.int64))
    return found[0], found[1]


# ---------------------------------------------------------------------- segmentations
class SegmentationLabels:
    """Labels of tiles by DICOM segmentations of their slides.

    Parameters
    ----------
    files : path, Segmentation, sequence of these, or mapping
        A segmentation goes with the slide that it refers to. A mapping from Series Instance UID, or from a slide's
        place in the dataset, to its segmentations says so itself.
    segments : sequence or mapping, optional
        Classes wanted, as in :class:`dicom_ml.transforms.LoadSegmentation`: the first becomes 1, and so on. Without
        it labels are segment numbers.
    kind : {"class", "mask", "share"}
        ``"class"``: number of the class that covers most of the tile, if it covers ``min_share`` of it, else 0.
        ``"mask"``: the class of every pixel, ``(1, rows, columns)``. ``"share"``: the share of the tile that each class
        covers, in order, as a vector.
    min_share : float
    overlap : {"error", "first", "last"}
        Which class keeps a pixel that several claim.
    missing : {"error", "empty"}
        What to do when a slide has no segmentation, or its segmentations no segment for a class.
    threshold : float
        Fraction from which a pixel of a fractional segmentation counts.

    Notes
    -----
    Pixels of another size are taken by nearest neighbour. Files are opened when they are needed, in each worker.
    """

    def __init__(
        self,
        files: Any,
        segments: Sequence[Any] | Mapping[Any, int] | None = None,
        kind: str = "class",
        *,
        min_share: float = 0.5,
        overlap: str = "error",
        missing: str = "error",
        threshold: float = 0.5,
    ) -> None:
        if kind not in ("class", "mask", "share"):
            raise EncodingError(f"kind is 'class', 'mask' or 'share', found {kind!r}")
        if missing not in ("error", "empty") or overlap not in ("error", "first", "last"):
            raise EncodingError(f"missing is 'error' or 'empty', overlap 'error', 'first' or 'last', not {missing!r}")
        self.segments = [segments] if isinstance(segments, (str, int)) else segments
        self.kind = kind
        self.min_share = min_share
        self.overlap = overlap
        self.missing = missing
        self.threshold = threshold
        self._given: dict[Any, list[Any]] = {}
        if isinstance(files, Mapping):
            self._given = {key: _listed(value) for key, value in files.items()}
        else:
            for one in _listed(files):
                for uid in _opened(one).referenced_series:
                    self._given.setdefault(uid, []).append(one)
        self._files: dict[Any, tuple[list[Segmentation], list[SegmentClass]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def of(self, slide: Any, index: int = 0) -> tuple[list[Segmentation], list[SegmentClass]]:
        """Segmentations of a slide, and its classes."""
        uid = slide.source.series_instance_uid
        if uid not in self._files:
            key = next((k for k in (uid, index) if k in self._given), None)
            if key is None and self.missing == "error":
                raise SeriesError(
                    f"no segmentation refers to slide {uid}; pass missing='empty' where its tiles are all background"
                )
            files = [] if key is None else [_opened(one) for one in self._given[key]]
            if self.segments is None and len(files) > 1:
                raise EncodingError(
                    f"{len(files)} files each count their segments from 1: say with segments= which class each becomes"
                )
            self._files[uid] = files, find_classes(files, self.segments, self.missing) if files else []
        return self._files[uid]

    def mask(self, slide: Any, grid: Grid, index: int = 0) -> Array:
        """Class of every pixel of a grid in slide millimetres, ``(rows, columns)``."""
        files, classes = self.of(slide, index)
        out = np.zeros(grid.shape[1:], dtype=np.uint16)
        for number, file in enumerate(files):
            table = np.zeros(65536, dtype=np.uint16)
            for one in classes:
                table[list(one.numbers[number])] = one.value
            wanted = sorted({n for one in classes for n in one.numbers[number]})
            if not wanted:
                continue
            labels = sampled_labels(file, grid, wanted, overlap=self.overlap, threshold=self.threshold)
            found = table[labels]
            taken = (out != 0) & (found != 0) & (out != found)
            if taken.any() and self.overlap == "error":
                raise EncodingError(
                    f"segmentations overlap in {int(taken.sum())} pixels; pass overlap='first' or 'last'"
                )
            keep = (found != 0) & ~taken if self.overlap == "first" else found != 0
            out[keep] = found[keep]
        return out

    def tile_label(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> Any:
        """Label of the tile that begins at ``(row, column)`` of the grid's pixels."""
        whole = grid.matrix
        affine = np.array(whole.affine)
        affine[:, 3] = whole.affine @ np.array([0.0, row, column, 1.0])
        mask = self.mask(slide, Grid((1, *grid.tile), affine), index)
        if self.kind == "mask":
            return mask[None].astype(np.uint8 if mask.max(initial=0) < 256 else np.int32)
        counts = np.bincount(mask.ravel(), minlength=1)
        _, classes = self.of(slide, index)
        values = list(dict.fromkeys(c.value for c in classes))
        shares = [float(counts[v]) / mask.size if v < len(counts) else 0.0 for v in values]
        if self.kind == "share":
            width = len(values) if self.segments is None else len(self.segments)
            return np.array(shares or [0.0] * width, dtype=np.float32)
        best = int(np.argmax(shares)) if shares else -1
        return values[best] if best >= 0 and shares[best] >= self.min_share and shares[best] > 0 else 0


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _opened(item: Any) -> Segmentation:
    return item if isinstance(item, Segmentation) else read_segmentation(os.fspath(item))


# ---------------------------------------------------------------------- specimens
def specimen_codes(source: Any) -> list[Code]:
    """All concepts that the description of a slide's specimen holds (PS3.3 C.7.6.22), in its order.

    Parameters
    ----------
    source : Slide, SourceSeries or str
    """
    from pydicom import Dataset

    attributes = as_source(source).attributes
    keyword = "SpecimenDescriptionSequence"
    if keyword not in attributes:
        return []
    from pydicom.datadict import tag_for_keyword

    found = Dataset.from_json({f"{tag_for_keyword(keyword):08X}": attributes[keyword]})
    return list(dict.fromkeys(_codes(found)))


def _codes(dataset: Any) -> Iterator[Code]:
    for element in dataset:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if any(name in item for name in ("CodeValue", "LongCodeValue", "URNCodeValue")):
                try:
                    yield code_from_dataset(item)
                except DicomMLError:
                    continue
            yield from _codes(item)


class SpecimenLabels:
    """One label for all tiles of a slide, by what the description of its specimen says.

    Parameters
    ----------
    classes : mapping from code to label
        Such as ``{"SCT:17621005": 0, "SCT:86049000": 1}``: normal, and primary neoplasm. The first of these that the
        description holds counts.
    default : optional
        Label of slides that hold none of them; without it that is an error.
    """

    def __init__(self, classes: Mapping[Any, Any], default: Any = None) -> None:
        self.classes = [(parse_code(code, need_meaning=False), label) for code, label in classes.items()]
        self.default = default
        self._found: dict[str, Any] = {}

    def of(self, source: Any) -> Any:
        """Label of a slide.

        Raises
        ------
        CodeError
            If there is none.
        """
        record = as_source(source)
        uid = record.series_instance_uid
        if uid not in self._found:
            held = set(specimen_codes(record))
            label = next((label for code, label in self.classes if code in held), self.default)
            if label is None:
                listed = ", ".join(f"{c.scheme}:{c.value}" for c in list(held)[:12]) or "none"
                raise CodeError(f"the specimen of slide {uid} has none of the codes asked for; it has {listed}")
            self._found[uid] = label
        return self._found[uid]

    def tile_label(self, slide: Any, grid: TileGrid, row: int, column: int, index: int = 0) -> Any:
        """Label of the tile's slide."""
        return self.of(slide)
