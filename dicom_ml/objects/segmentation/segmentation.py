"""Segmentation objects: written from masks, read from files of any maker (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import transfer_syntax
from dicom_ml.errors import EncodingError
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.derived import describe, fit_to_source
from dicom_ml.objects.multiframe import MultiFrameObject
from dicom_ml.objects.placing import target_of
from dicom_ml.objects.saving import saved_file
from dicom_ml.objects.segmentation.descriptions import Segment, segment_index
from dicom_ml.objects.segmentation.levels import write_levels
from dicom_ml.objects.segmentation.made import MadeSegmentation
from dicom_ml.objects.segmentation.masks import as_mask
from dicom_ml.objects.segmentation.placing import place_channels, place_labels
from dicom_ml.objects.segmentation.plan import DEFAULTS, plan_coding, plan_tiled, seed_of, tiled_mask
from dicom_ml.objects.segmentation.reading import StoredSegmentation
from dicom_ml.objects.segmentation.tiled import (
    MadeTiledSegmentation,
    SegmentationStream,
    StoredTiledSegmentation,
    TiledObject,
)
from dicom_ml.objects.stored import open_stored
from dicom_ml.objects.stored_tiles import region_on
from dicom_ml.source import SourceSeries, as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Segmentation", "read_segmentation"]


Content: TypeAlias = "MadeSegmentation | MadeTiledSegmentation | StoredSegmentation | StoredTiledSegmentation"


class Segmentation(MultiFrameObject):
    """A DICOM Segmentation: made by :meth:`from_array`, or read by :func:`read_segmentation`.

    Attributes
    ----------
    kind : str
        ``"binary"``, ``"labelmap"`` or ``"fractional"``.
    segments : list of Segment
        The segments described, by number; the background of a label map is not one of them.
    grid : Grid
        Lattice of the stored planes, from the lowest to the highest position along the normal.
    source : SourceSeries or None
        What the object was made from; None for an object that was read (see :attr:`referenced_series`).
    """

    _content: Content

    def __init__(self, content: Content) -> None:
        self._content = content

    # ------------------------------------------------------------------ making
    @classmethod
    def from_array(
        cls,
        mask: Any,
        *,
        source: Any,
        segments: Sequence[Segment],
        kind: str = "binary",
        affine: npt.ArrayLike | None = None,
        keep_empty_frames: bool | None = None,
        fractional_type: str = "probability",
        max_fractional_value: int = 255,
        deterministic: bool = False,
        level: int | None = None,
        tile_size: Sequence[int] | None = None,
        organization: str | None = None,
        **settings: Any,
    ) -> Segmentation:
        """Describe a mask as a segmentation of its source.

        Parameters
        ----------
        mask : numpy.ndarray or torch.Tensor
            A label map ``(D, H, W)`` of any integer type, whose values are segment numbers and 0, or stacked channels
            ``(S, D, H, W)`` of booleans, of 0 and 1, or (for fractional) of floats from 0 to 1. It is not copied: it
            must not change before the object has been saved.
            Of a slide: ``(H, W)`` or ``(S, H, W)``.
        source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
            The images that the mask was made from; a string is a source handle.
        segments : sequence of Segment
            Channel ``s`` belongs to the ``s``-th.
        kind : str
            ``"binary"``: a bit a voxel and segment, which may overlap. ``"labelmap"``: one number a voxel, 8 bit up
            to number 255, else 16. ``"fractional"``: 8 bits a voxel and segment.
        affine : array_like of shape (4, 4), optional
            Maps indices ``(d, h, w)`` of the mask to LPS millimetres, for a mask on a grid of its own. Where that grid
            shares the source's lattice (a crop, a flip, another axis order) the mask is brought to the source's planes.
        keep_empty_frames : bool, optional
            Write frames that hold nothing. By default only label maps keep them.
        fractional_type : str
            ``"probability"`` or ``"occupancy"``.
        max_fractional_value : int
            Stored value that stands for 1.0, from 1 to 255.
        deterministic : bool
            Derive the object's UIDs from source, segments and settings, so that a repeated run writes the same ones.
        level, tile_size, organization
            Of slides: the level whose pixels the mask has (by default the one of its shape), the size of tiles (by
            default the level's own), and ``"full"`` or ``"sparse"``: all tiles, or those that hold anything (by
            default label maps are full, the others sparse).
        **settings
            ``series_description``, ``series_number``, ``content_label``, ``sop_instance_uid``, ... as in
            :class:`dicom_ml.objects.derived.Description`.

        Raises
        ------
        EncodingError
            If the mask, its segments and the kind do not go together.
        GeometryError
            If the mask's shape is not that of the source's grid, or its axes are not at right angles.
        SeriesError
            If the series cannot serve as a source.
        """
        record = as_source(source).check()
        numbered, order, coding = plan_coding(segments, kind, fractional_type, max_fractional_value)
        kind = coding.kind
        if record.levels:
            array = as_array(mask)
            made = plan_tiled(
                record,
                numbered,
                coding,
                array.shape[-2:],
                level,
                affine,
                tile_size,
                organization,
                settings,
                deterministic,
            )
            return cls(MadeTiledSegmentation(tiled_mask(array, order, kind), *made))
        looked_at = as_mask(mask, [int(s.number or 0) for s in numbered], order, kind, coding.maximum)
        grid, fitted, on_source = fit_to_source(looked_at.array, record, affine)
        looked_at = looked_at if fitted is looked_at.array else looked_at.changed(fitted)
        seed = seed_of(record, kind, numbered) if deterministic else None
        keep = kind == "labelmap" if keep_empty_frames is None else keep_empty_frames
        return cls(
            MadeSegmentation(
                looked_at, record, numbered, describe(settings, DEFAULTS, seed), coding, grid, on_source, keep
            )
        )

    @classmethod
    def stream(
        cls,
        path: str | os.PathLike[str],
        *,
        source: Any,
        segments: Sequence[Segment],
        kind: str = "binary",
        level: int | None = None,
        shape: Sequence[int] | None = None,
        affine: npt.ArrayLike | None = None,
        tile_size: Sequence[int] | None = None,
        organization: str | None = None,
        compression: str | None = None,
        fractional_type: str = "probability",
        max_fractional_value: int = 255,
        shard: str = "0",
        **settings: Any,
    ) -> SegmentationStream:
        """Write a segmentation of a slide tile by tile, in any order, in bounded memory.

        Tiles are encoded as they come and wait on disk, beside the target; the object is written when the stream is
        finished. A run that was killed goes on with the same call, and writes the same UIDs.

        Parameters
        ----------
        path : path
            Of the finished object.
        source : Slide, SourceSeries or str
        segments, kind, fractional_type, max_fractional_value, compression
            As in :meth:`from_array` and :meth:`save`.
        level : int, optional
            Level whose pixels the tiles have; 0 unless ``shape`` or ``affine`` says otherwise.
        shape, affine
            Rows and columns, and the map from ``(0, row, column)`` to slide millimetres, of a matrix of its own.
        tile_size : sequence of 2 ints, optional
            By default that of the level.
        organization : str, optional
            ``"full"`` or ``"sparse"``, as in :meth:`from_array`.
        shard : str
            Name of this process among several that feed one object, such as its rank; one of them finishes it.

        Returns
        -------
        SegmentationStream
            ``put(row, column, tile)`` adds a tile, ``finish()`` writes the object; as a context manager it finishes
            at the end, unless there was an error.

        Examples
        --------
        >>> with Segmentation.stream("tumour.seg.dcm", source=slide, segments=[tumour]) as stream:  # doctest: +SKIP
        ...     for (row, column), tile in predictions:
        ...         stream.put(row, column, tile > 0.5)
        """
        record = as_source(source).check()
        if not record.levels:
            raise EncodingError("only slides are streamed by tiles; a volume is written with Segmentation.from_array")
        numbered, order, coding = plan_coding(segments, kind, fractional_type, max_fractional_value)
        if order != sorted(order):
            raise EncodingError("segments of a stream are given by ascending number")
        made = TiledObject(
            *plan_tiled(
                record, numbered, coding, shape, level, affine, tile_size, organization, settings, deterministic=True
            )
        )
        return SegmentationStream(path, made, transfer_syntax(compression), shard)

    # ------------------------------------------------------------------ facts
    @property
    def kind(self) -> str:
        """``"binary"``, ``"labelmap"`` or ``"fractional"``."""
        return self._content.kind

    @property
    def segments(self) -> list[Segment]:
        """The segments described, by number."""
        return list(self._content.segments)

    @property
    def source(self) -> SourceSeries | None:
        """What the object was made from, where it was made here."""
        return self._content.source if isinstance(self._content, MadeSegmentation | MadeTiledSegmentation) else None

    @property
    def is_tiled(self) -> bool:
        """Whether it lies on a slide, tiled over a total pixel matrix."""
        return isinstance(self._content, MadeTiledSegmentation | StoredTiledSegmentation)

    def __repr__(self) -> str:
        names = ", ".join(s.label for s in self.segments[:4]) + (", ..." if len(self.segments) > 4 else "")
        return f"Segmentation({self.kind}, {len(self.segments)} segments: {names}; {self.frame_count} frames)"

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], compression: str | None = None, validate: bool = False) -> str:
        """Write the object; the file takes its name only when it is complete.

        Parameters
        ----------
        path : path
        compression : str, optional
            ``"rle"``, ``"jpeg-ls"``, ``"jpeg2000"``, ``"htjpeg2000"`` or ``"deflate"`` (each lossless); native
            without. A binary segmentation of one bit a pixel takes only what the standard has for that.
        validate : bool
            Check the complete file as :func:`dicom_ml.validate` does, and leave nothing where it has an error.

        Returns
        -------
        str
            The path.

        Raises
        ------
        EncodingError
            If this kind cannot be written with that compression, or does not conform.
        """
        with saved_file(path, self.source if validate else None, validate) as file:
            self._made().write(file, transfer_syntax(compression))
        return os.fspath(path)

    def save_pyramid(self, folder: str | os.PathLike[str], compression: str | None = None) -> list[str]:
        """Write a segmentation of a slide at its own level and at all coarser levels of the slide, as one series.

        Labels of coarser levels are those of the pixels nearest to their pixels' centres; fractions are means.

        Parameters
        ----------
        folder : path
            Each level is written as ``SOPInstanceUID.dcm``.
        compression : str, optional
            As in :meth:`save`.

        Returns
        -------
        list of str
            Paths, the finest level first.

        Raises
        ------
        GeometryError
            If the object lies on no level of the slide.
        """
        made = self._made()
        if not isinstance(made, MadeTiledSegmentation):
            raise EncodingError("a pyramid is made of a segmentation of a slide; a volume has one resolution")
        stored = self._stored()
        assert isinstance(stored, StoredTiledSegmentation)
        return write_levels(made, stored, os.fspath(folder), transfer_syntax(compression))

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset, pixel data included."""
        return self._stored().dataset

    def _made(self) -> MadeSegmentation | MadeTiledSegmentation:
        if isinstance(self._content, StoredSegmentation | StoredTiledSegmentation):
            raise EncodingError(
                "an object that was read is saved as pydicom has it: seg.dataset.save_as(path); "
                "to write a changed one, pass its label_map or channels to Segmentation.from_array"
            )
        return self._content

    # ------------------------------------------------------------------ masks
    def label_map(
        self,
        on: Any = None,
        segments: Sequence[Any] | None = None,
        *,
        overlap: str = "error",
        outside: str = "error",
        resample: bool = False,
        threshold: float = 0.5,
        dtype: npt.DTypeLike | None = None,
    ) -> npt.NDArray[Any]:
        """One number a voxel: the segment's, or 0.

        Parameters
        ----------
        on : Volume, SourceSeries or Grid, optional
            Grid of the result; by default the object's own (:attr:`grid`).
        segments : sequence of int, str, code or Segment, optional
            Only these, by number, label or coded type.
        overlap : str
            Where segments overlap: ``"error"``, or the ``"first"`` or ``"last"`` by number wins.
        outside : str
            Where stored voxels that are not empty lie outside of ``on``: ``"error"`` or ``"drop"``.
        resample : bool
            Allow a grid that does not share the object's lattice: nearest neighbour. Otherwise that is an error.
        threshold : float
            Fraction from which a fractional segment counts.
        dtype : dtype, optional
            uint8 where all numbers fit, else uint16.

        Returns
        -------
        ndarray of shape (D, H, W)

        Raises
        ------
        GeometryError
            If the grids do not go together.
        EncodingError
            If segments overlap and no policy was given.
        """
        stored = self._stored()
        if isinstance(stored, StoredTiledSegmentation):
            return _region_labels(stored, region_on(stored, on), segments, overlap, threshold, dtype)
        return place_labels(stored, target_of(stored, on, outside, resample), segments, overlap, threshold, dtype)

    def channels(
        self,
        on: Any = None,
        segments: Sequence[Any] | None = None,
        *,
        outside: str = "error",
        resample: bool = False,
    ) -> npt.NDArray[Any]:
        """One channel a segment.

        Parameters
        ----------
        on, segments, outside, resample
            As in :meth:`label_map`.

        Returns
        -------
        ndarray of shape (S, D, H, W)
            bool; for fractional segmentations float32 from 0 to 1.

        Raises
        ------
        GeometryError
            If the grids do not go together.
        """
        stored = self._stored()
        if isinstance(stored, StoredTiledSegmentation):
            return stored.channels_of(region_on(stored, on), _chosen(stored.segments, segments))
        return place_channels(stored, target_of(stored, on, outside, resample), segments)

    def read_region(
        self,
        position: Sequence[int],
        size: Sequence[int],
        segments: Sequence[Any] | None = None,
        *,
        channels: bool = False,
        overlap: str = "error",
        threshold: float = 0.5,
    ) -> npt.NDArray[Any]:
        """A part of a segmentation of a slide.

        Parameters
        ----------
        position : sequence of 2 ints
            Row and column of its first pixel in the object's total pixel matrix, from 0; it may lie outside.
        size : sequence of 2 ints
            Rows and columns.
        segments, overlap, threshold
            As in :meth:`label_map`.
        channels : bool
            Give ``(S, rows, columns)`` channels instead of a label map ``(rows, columns)``.

        Raises
        ------
        EncodingError
            If the object lies in a volume, or segments overlap and no policy was given.
        """
        stored = self._stored()
        if not isinstance(stored, StoredTiledSegmentation):
            raise EncodingError("regions are read of segmentations of slides; of a volume take label_map or channels")
        region = int(position[0]), int(position[1]), int(size[0]), int(size[1])
        if channels:
            return stored.channels_of(region, _chosen(stored.segments, segments))
        return _region_labels(stored, region, segments, overlap, threshold, None)

    def _stored(self) -> StoredSegmentation | StoredTiledSegmentation:
        """The object as a file is read, so that what is shown is what is written."""
        if isinstance(self._content, StoredSegmentation | StoredTiledSegmentation):
            return self._content
        return _open(self._content.in_memory())


def _open(path: str | os.PathLike[str] | bytes) -> StoredSegmentation | StoredTiledSegmentation:
    return open_stored(StoredSegmentation, path, tiled=StoredTiledSegmentation)


def _chosen(segments: Sequence[Segment], wanted: Sequence[Any] | None) -> list[int]:
    if wanted is None:
        return list(range(len(segments)))
    return segment_index(segments, [wanted] if isinstance(wanted, str | int | Segment) else list(wanted))


def _region_labels(
    stored: StoredTiledSegmentation,
    region: tuple[int, int, int, int],
    segments: Sequence[Any] | None,
    overlap: str,
    threshold: float,
    dtype: npt.DTypeLike | None,
) -> npt.NDArray[Any]:
    if overlap not in ("error", "first", "last"):
        raise EncodingError(f"overlap is 'error', 'first' or 'last', found {overlap!r}")
    chosen = _chosen(stored.segments, segments)
    largest = max((int(stored.segments[c].number or 0) for c in chosen), default=0)
    return stored.labels(region, chosen, overlap, threshold, dtype or (np.uint8 if largest < 256 else np.uint16))


def read_segmentation(path: str | os.PathLike[str] | bytes) -> Segmentation:
    """Read a segmentation of any maker: BINARY, LABELMAP or FRACTIONAL, sparse or overlapping, of volumes or slides.

    Parameters
    ----------
    path : path or bytes
        A file, or its bytes.

    Raises
    ------
    FileError
        If it is no segmentation, or contradicts itself.
    """
    return Segmentation(_open(path))
