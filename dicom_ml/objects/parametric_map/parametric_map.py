"""Parametric maps of volumes: real numbers a voxel, with what they mean (PS3.3 A.75, C.8.32)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.codecs import transfer_syntax
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.arrays import as_array
from dicom_ml.objects.derived import describe, fit_to_source
from dicom_ml.objects.multiframe import MultiFrameObject
from dicom_ml.objects.parametric_map.levels import write_levels
from dicom_ml.objects.parametric_map.made import MadeMap, described, seed_of
from dicom_ml.objects.parametric_map.reading import StoredMap, place_values
from dicom_ml.objects.parametric_map.tiled import MadeTiledMap, MapStream, StoredTiledMap, TiledMap
from dicom_ml.objects.parametric_map.values import (
    Quantity,
    as_quantity_list,
    choose_storage,
    chosen_channels,
    stream_storage,
)
from dicom_ml.objects.placing import target_of
from dicom_ml.objects.saving import saved_file
from dicom_ml.objects.stored import open_stored
from dicom_ml.objects.stored_tiles import region_on
from dicom_ml.objects.tiling import tiling_of
from dicom_ml.source import as_source

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ParametricMap", "read_parametric_map"]


class ParametricMap(MultiFrameObject):
    """A DICOM Parametric Map: made by :meth:`from_array`, or read by :func:`read_parametric_map`."""

    _content: MadeMap | MadeTiledMap | StoredMap | StoredTiledMap

    def __init__(self, content: MadeMap | MadeTiledMap | StoredMap | StoredTiledMap) -> None:
        self._content = content

    # ------------------------------------------------------------------ making
    @classmethod
    def from_array(
        cls,
        array: Any,
        *,
        source: Any,
        quantity: Any,
        unit: Any = "1",
        dtype: str | None = None,
        value_range: Sequence[float] | None = None,
        padding: float | None = None,
        affine: npt.ArrayLike | None = None,
        algorithm: Algorithm | None = None,
        derivation: Any = None,
        qualification: str = "RESEARCH",
        deterministic: bool = False,
        level: int | None = None,
        tile_size: Sequence[int] | None = None,
        organization: str = "full",
        **settings: Any,
    ) -> ParametricMap:
        """Describe an array of real values as a parametric map of its source.

        Parameters
        ----------
        array : numpy.ndarray or torch.Tensor
            Real values, ``(D, H, W)`` or ``(C, D, H, W)`` with a channel a quantity. It is not copied: it must not
            change before the object has been saved. Of a slide: ``(H, W)`` or ``(C, H, W)``.
        source : Volume, Slide, SourceSeries, str or list of pydicom Dataset
            The images that the values were made from.
        quantity : code, Quantity or sequence of either
            What is measured; one for each channel.
        unit : code or sequence of code
            UCUM unit of each quantity that is given as a code; ``"1"`` for none.
        dtype : str, optional
            How values are stored: ``"float32"`` or ``"float64"`` as they are, ``"uint16"`` in even steps between the
            lowest and the highest value. By default integers that fit are stored as they are, the rest as float32.
        value_range : sequence of 2 floats, optional
            Real values that the lowest and highest stored integers stand for.
        padding : float, optional
            Number that stands for voxels without a value, which are NaN in the array; floating point maps only.
        affine : array_like of shape (4, 4), optional
            Of an array on a grid of its own, as in :meth:`Segmentation.from_array`.
        algorithm : Algorithm, optional
            What computed the values: written as the equipment's model and software version.
        derivation : code, optional
            How values were derived (PS3.16 CID 7203); by default the quantity itself.
        qualification : str
            Content Qualification: ``"PRODUCT"``, ``"RESEARCH"`` or ``"SERVICE"``; what no regulator has cleared is
            research.
        deterministic : bool
            Derive the object's UIDs from source, quantities and settings.
        level, tile_size
            Of slides, as in :meth:`Segmentation.from_array`.
        organization : str
            Of slides: ``"full"`` writes all tiles, ``"sparse"`` leaves out those that are zero throughout.
        **settings
            As in :class:`dicom_ml.objects.derived.Description`.

        Raises
        ------
        EncodingError
            If values are not finite, do not fit into ``dtype``, or quantities do not match the channels.
        GeometryError
            If the shape is not that of the source's grid.
        """
        record = as_source(source).check()
        values = as_array(array)
        planes = 3 if not record.levels else 2
        if values.ndim == planes:
            values = values[None]
        if values.ndim != planes + 1 or values.size == 0:
            axes = "(D, H, W) or (C, D, H, W)" if planes == 3 else "(H, W) or (C, H, W)"
            raise EncodingError(f"a parametric map is {axes}, found shape {np.shape(array)}")
        quantities = as_quantity_list(quantity, unit, len(values))
        storage = choose_storage(values, dtype, value_range, padding)
        defaults, code = described(quantities, algorithm, derivation, qualification)
        if record.levels:
            tiling, full = tiling_of(record, values.shape[1:], level, affine, tile_size, organization)
            matrix = (tiling.grid.shape, tiling.grid.affine.tobytes(), tiling.tile, full)
            seed = seed_of(record, quantities, storage, repr(matrix)) if deterministic else None
            tiled = TiledMap(
                record, quantities, storage, describe(settings, defaults, seed), code, qualification, tiling, full
            )
            return cls(MadeTiledMap(values, tiled))
        grid, values, on_source = fit_to_source(values, record, affine)
        description = describe(settings, defaults, seed_of(record, quantities, storage) if deterministic else None)
        return cls(MadeMap(values, record, quantities, storage, description, grid, on_source, code, qualification))

    @classmethod
    def stream(
        cls,
        path: str | os.PathLike[str],
        *,
        source: Any,
        quantity: Any,
        unit: Any = "1",
        dtype: str = "float32",
        value_range: Sequence[float] | None = None,
        level: int | None = None,
        shape: Sequence[int] | None = None,
        affine: npt.ArrayLike | None = None,
        tile_size: Sequence[int] | None = None,
        organization: str = "full",
        compression: str | None = None,
        algorithm: Algorithm | None = None,
        derivation: Any = None,
        qualification: str = "RESEARCH",
        shard: str = "0",
        **settings: Any,
    ) -> MapStream:
        """Write a parametric map of a slide tile by tile, in any order, in bounded memory.

        Parameters
        ----------
        path : path
        source : Slide, SourceSeries or str
        quantity, unit, algorithm, derivation, qualification
            As in :meth:`from_array`.
        dtype : str
            ``"float32"``, ``"float64"`` or ``"uint16"``.
        value_range : sequence of 2 floats, optional
            Real values that the lowest and highest stored integers stand for; uint16 needs it.
        level, shape, affine, tile_size, compression, shard
            As in :meth:`Segmentation.stream`.
        organization : str
            ``"full"`` writes all tiles, ``"sparse"`` leaves out those that are zero throughout.

        Returns
        -------
        MapStream
            ``put(row, column, tile)`` adds a tile ``(rows, columns)`` or ``(C, rows, columns)``.
        """
        record = as_source(source).check()
        if not record.levels:
            raise EncodingError("only slides are streamed by tiles; a volume is written with ParametricMap.from_array")
        several = isinstance(quantity, list)
        quantities = as_quantity_list(quantity, unit, len(quantity) if several else 1)
        storage = stream_storage(dtype, value_range, len(quantities))
        defaults, code = described(quantities, algorithm, derivation, qualification)
        tiling, full = tiling_of(record, shape, level, affine, tile_size, organization)
        matrix = (tiling.grid.shape, tiling.grid.affine.tobytes(), tiling.tile, full)
        description = describe(settings, defaults, seed_of(record, quantities, storage, repr(matrix)))
        made = TiledMap(record, quantities, storage, description, code, qualification, tiling, full)
        return MapStream(path, made, transfer_syntax(compression), shard)

    # ------------------------------------------------------------------ facts
    @property
    def quantities(self) -> list[Quantity]:
        """What each channel measures."""
        return list(self._content.quantities)

    @property
    def is_tiled(self) -> bool:
        """Whether it lies on a slide, tiled over a total pixel matrix."""
        return isinstance(self._content, MadeTiledMap | StoredTiledMap)

    def __repr__(self) -> str:
        names = ", ".join(f"{q.label or q.concept.meaning} [{q.unit.value}]" for q in self.quantities)
        return f"ParametricMap({names}; {self.frame_count} frames)"

    # ------------------------------------------------------------------ values
    def channels(
        self,
        on: Any = None,
        quantities: Sequence[Any] | None = None,
        *,
        fill: float = 0.0,
        outside: str = "error",
        resample: bool = False,
    ) -> npt.NDArray[Any]:
        """Real values, one channel a quantity.

        Parameters
        ----------
        on : Volume, SourceSeries or Grid, optional
            Grid of the result; by default the object's own.
        quantities : sequence of int, str or code, optional
            Only these, by place from 0, label or concept.
        fill : float
            Value where no frame lies.
        outside, resample
            As in :meth:`Segmentation.label_map`.

        Returns
        -------
        ndarray of shape (C, D, H, W)
            float32 (float64 where so stored); NaN at the padding value.
        """
        stored = self._stored()
        chosen = chosen_channels(self.quantities, quantities)
        if isinstance(stored, StoredTiledMap):
            return stored.values_of(region_on(stored, on), chosen, fill)
        return place_values(stored, target_of(stored, on, outside, resample), chosen, fill)

    def array(self, on: Any = None, quantity: Any = None, **options: Any) -> npt.NDArray[Any]:
        """Real values of one quantity, ``(D, H, W)``; options as in :meth:`channels`.

        Raises
        ------
        EncodingError
            If there are several quantities and none was named.
        """
        if quantity is None and len(self.quantities) > 1:
            names = [q.label for q in self.quantities]
            raise EncodingError(f"the map has {len(names)} quantities, {names}; say which: array(quantity=...)")
        channel: npt.NDArray[Any] = self.channels(on, [0 if quantity is None else quantity], **options)[0]
        return channel

    def read_region(
        self, position: Sequence[int], size: Sequence[int], quantities: Sequence[Any] | None = None, fill: float = 0.0
    ) -> npt.NDArray[Any]:
        """A part ``(C, rows, columns)`` of a map of a slide; arguments as in :meth:`Segmentation.read_region`."""
        stored = self._stored()
        if not isinstance(stored, StoredTiledMap):
            raise EncodingError("regions are read of maps of slides; of a volume take channels or array")
        region = int(position[0]), int(position[1]), int(size[0]), int(size[1])
        return stored.values_of(region, chosen_channels(self.quantities, quantities), fill)

    # ------------------------------------------------------------------ writing
    def save(self, path: str | os.PathLike[str], compression: str | None = None, validate: bool = False) -> str:
        """Write the object; the file takes its name only when it is complete.

        Parameters
        ----------
        path : path
        compression : str, optional
            As in :meth:`Segmentation.save`; maps of integers only, since the standard has no compressed floats.
        validate : bool
            Check the complete file as :func:`dicom_ml.validate` does, and leave nothing where it has an error.
        """
        if isinstance(self._content, StoredMap | StoredTiledMap):
            raise EncodingError("an object that was read is saved as pydicom has it: pm.dataset.save_as(path)")
        with saved_file(path, getattr(self._content, "source", None), validate) as file:
            self._content.write(file, transfer_syntax(compression))
        return os.fspath(path)

    def save_pyramid(self, folder: str | os.PathLike[str], compression: str | None = None) -> list[str]:
        """Write a map of a slide at its own level and at all coarser levels of the slide, as one series.

        Pixels of coarser levels are the means of those that they cover.

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
        if isinstance(self._content, StoredMap | StoredTiledMap):
            raise EncodingError(
                "an object that was read is saved as pydicom has it; to write a pyramid of it, pass its array() to "
                "ParametricMap.from_array"
            )
        if not isinstance(self._content, MadeTiledMap):
            raise EncodingError("a pyramid is made of a map of a slide; a volume has one resolution")
        return write_levels(self._content, os.fspath(folder), transfer_syntax(compression))

    @property
    def dataset(self) -> Dataset:
        """The whole object as a pydicom Dataset."""
        return self._stored().dataset

    def _stored(self) -> StoredMap | StoredTiledMap:
        if isinstance(self._content, StoredMap | StoredTiledMap):
            return self._content
        with tempfile.TemporaryFile(buffering=0) as file:
            self._content.write(file, transfer_syntax(None))
            file.seek(0)
            return open_stored(StoredMap, file.read(), tiled=StoredTiledMap)


def read_parametric_map(path: str | os.PathLike[str] | bytes) -> ParametricMap:
    """Read a parametric map of a volume or a slide, of any maker.

    Raises
    ------
    FileError
        If it is no parametric map, or contradicts itself.
    """
    return ParametricMap(open_stored(StoredMap, path, tiled=StoredTiledMap))
