"""Tiles of slides for torch: a map-style dataset that says of every tile where it belongs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dicom_ml.bridge.annotation_labels import as_label_source
from dicom_ml.bridge.tensors import SOURCE_KEY
from dicom_ml.bridge.tiles import TILE_GRID_KEY, TILE_POSITION_KEY, TileGrid
from dicom_ml.bridge.tissue import TissueMap
from dicom_ml.data.tile_cache import TileCache
from dicom_ml.errors import SeriesError
from dicom_ml.reading.slides import Slide, open_slide

__all__ = ["TileDataset"]

_RESERVED = {"image", "label", "slide", "slide_index", "position", SOURCE_KEY, TILE_GRID_KEY, TILE_POSITION_KEY}
_PLAIN = (str, int, float, os.PathLike)


class TileDataset(Dataset[dict[str, Any]]):
    """Square tiles of one or more slides.

    Parameters
    ----------
    slides : sequence of Slide, path, or mapping
        Paths are opened with :func:`dicom_ml.open_slide`. A mapping has ``"image"`` (one of these) and may have a
        ``"label"``; its other texts, paths and numbers become part of its tiles' items.
    tile_size : int
        Rows and columns of a tile, in its own pixels.
    spacing : float, optional
        Millimetres a pixel, such as 0.001 for about 10x; the nearest finer level is resampled. A level whose pixels
        stay within one pixel of it over a tile is taken as it is.
    level : int, optional
        Level whose pixels the tiles have, instead of a spacing; 0 where neither is given.
    overlap : int
        Pixels that neighbouring tiles share.
    min_tissue : float, optional
        Keep tiles that hold at least this share of tissue, 0 to 1.
    tissue : optional
        What is tissue: a method of :func:`dicom_ml.data.tissue_mask`, a mask over the whole of level 0, a function of
        the slide, a segmentation of it, or a mapping from Series Instance UID or the slide's place to one of these.
    labels : mapping, callable, files or label source, optional
        A mapping from Series Instance UID, or from a slide's place in ``slides``, to its class; a function of the
        slide and the tile's position; annotations, reports or segmentations of the slides, or their paths; or, to say
        how these become labels, :class:`dicom_ml.data.AnnotationLabels`, :class:`dicom_ml.data.SegmentationLabels`,
        :class:`dicom_ml.data.EvaluationLabels` or :class:`dicom_ml.data.SpecimenLabels`. By default the slides' own
        ``"label"``, where they have one.
    transform : callable, optional
        Applied to each item.
    cache : {"memory"} or path, optional
        Keep decoded tiles: in the memory of the process, or in a folder that all workers and later runs share.
    threads : int, optional
        Threads that decode a batch; by default one in a worker of a DataLoader, else one a core.
    monai : bool
        Make images MetaTensors, with the meta of MONAI's own readers of slides (``location``, ``level``, ``size``,
        ``path``).

    Raises
    ------
    SeriesError
        If a slide has no level, or no tile is left.

    Notes
    -----
    An item is ``{"image": uint8 tensor (3, tile_size, tile_size), "position": (row, column) of level 0, "slide": its
    Series Instance UID, "slide_index": int, "dicom_source": handle, "tile_grid": text, "tile_position": tensor of
    2}``, with ``"label"`` where labels are given. Images of monochrome slides have one channel and the stored type.
    The handle is :meth:`SourceSeries.to_string`'s, the text :meth:`TileGrid.to_string`'s: writers refer by them to the
    slide, and know where a tile lies and how many there are. Both are the same for all tiles of a slide. Tiles at the
    lower and right edge are filled with the slide's background. The dataset pickles, and works after fork and spawn.
    """

    def __init__(
        self,
        slides: Sequence[Any],
        tile_size: int = 256,
        *,
        spacing: float | None = None,
        level: int | None = None,
        overlap: int = 0,
        min_tissue: float | None = None,
        tissue: Any = None,
        labels: Any = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        monai: bool = False,
    ) -> None:
        if isinstance(slides, (str, os.PathLike, Slide)):
            raise SeriesError("slides are a list; find those of a folder with dicom_ml.data.find_slides(folder)")
        records = [dict(one) if isinstance(one, Mapping) else {"image": one} for one in slides]
        self.slides = [_opened(record.get("image")) for record in records]
        self.tile_size = int(tile_size)
        self.overlap = int(overlap)
        self.transform = transform
        self.labels = as_label_source(labels)
        if labels is None and any("label" in record for record in records):
            self.labels = {i: record["label"] for i, record in enumerate(records) if "label" in record}
        self.threads = threads
        self.monai = monai
        self._extras = [
            {k: _plain(v) for k, v in record.items() if k not in _RESERVED and isinstance(v, _PLAIN)}
            for record in records
        ]
        self._handles = [slide.source.to_string() for slide in self.slides]
        self.grids: list[TileGrid] = []
        chosen = []
        for i, slide in enumerate(self.slides):
            grid = TileGrid.cut(slide, tile_size, spacing=spacing, level=level, overlap=overlap)
            cells = grid.cells()
            if min_tissue is not None:
                share = TissueMap(slide, tissue, i).fraction(grid.positions(cells), grid.footprint)
                cells = cells[share >= min_tissue]
                grid = grid.select(cells)
            self.grids.append(grid)
            chosen.append(cells)
        self._grid_texts = [grid.to_string() for grid in self.grids]
        #: Slide of each tile, its place (row, column) among all tiles, and its first pixel of level 0.
        self.slide_index = np.repeat(np.arange(len(self.slides)), [len(c) for c in chosen])
        self.cells = np.concatenate(chosen) if chosen else np.zeros((0, 2), dtype=np.int64)
        if not len(self.cells):
            raise SeriesError(f"no tile is left of {len(self.slides)} slides; lower min_tissue={min_tissue}")
        exact = [grid.positions(cells) for grid, cells in zip(self.grids, chosen, strict=True)]
        self.positions = np.rint(np.concatenate(exact)).astype(np.int64)
        self._memory: dict[int, npt.NDArray[Any]] | None = {} if cache == "memory" else None
        self._cache = None
        if cache not in (None, "memory"):
            self._cache = TileCache(os.fspath(cache), self.slides, self.grids, self.slide_index)

    # ------------------------------------------------------------------ items
    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Items of a batch; tiles of one slide are read together, each frame once."""
        order = np.arange(len(self))[np.asarray(indices, dtype=np.intp)]
        pixels = self._pixels(order)
        return [self._item(int(i), pixels[int(i)]) for i in order]

    def _pixels(self, order: npt.NDArray[np.intp]) -> dict[int, npt.NDArray[Any]]:
        found: dict[int, npt.NDArray[Any]] = {}
        for i in dict.fromkeys(order.tolist()):
            kept = self._memory.get(i) if self._memory is not None else self._cache.get(i) if self._cache else None
            if kept is not None:
                found[i] = kept.copy()
        absent = np.array([i for i in dict.fromkeys(order.tolist()) if i not in found], dtype=np.intp)
        for s in dict.fromkeys(self.slide_index[absent].tolist()):
            own = absent[self.slide_index[absent] == s]
            tiles = self.grids[s].read(self.slides[s], self.cells[own], threads=self._threads())
            for i, tile in zip(own.tolist(), tiles, strict=True):
                found[i] = tile
                if self._memory is not None:
                    self._memory[i] = tile.copy()
                elif self._cache is not None:
                    self._cache.put(i, tile)
        return found

    def _threads(self) -> int | None:
        if self.threads is None and torch.utils.data.get_worker_info() is not None:
            return 1
        return self.threads

    def _item(self, i: int, pixels: npt.NDArray[Any]) -> Any:
        s, position = int(self.slide_index[i]), (int(self.positions[i, 0]), int(self.positions[i, 1]))
        channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        image = torch.from_numpy(np.ascontiguousarray(channels))
        first = self.grids[s].pixels(self.cells[i])[0]
        uid = self.slides[s].source.series_instance_uid
        item: dict[str, Any] = {
            **self._extras[s],
            "image": self._meta_tensor(image, s, position) if self.monai else image,
            "position": position,
            "slide": uid,
            "slide_index": s,
            SOURCE_KEY: self._handles[s],
            TILE_GRID_KEY: self._grid_texts[s],
            TILE_POSITION_KEY: torch.from_numpy(first),
        }
        if self.labels is not None:
            label = self.label(i)
            item["label"] = _tensors(label)
        return item if self.transform is None else self.transform(item)

    def _meta_tensor(self, image: Any, s: int, position: tuple[int, int]) -> Any:
        from monai.data import MetaTensor

        grid, uid = self.grids[s], self.slides[s].source.series_instance_uid
        meta = {
            "location": torch.tensor(position),
            "size": torch.tensor(grid.tile),
            "level": -1 if grid.level is None else grid.level,
            "spacing": torch.tensor(grid.spacing or (float("nan"),) * 2),
            "num_patches": grid.count,
            "path": uid,
            "filename_or_obj": uid,
            "original_channel_dim": 0,
            SOURCE_KEY: self._handles[s],
        }
        return MetaTensor(image, meta=meta)

    # ------------------------------------------------------------------ labels
    def label(self, index: int) -> Any:
        """Label of a tile.

        Raises
        ------
        SeriesError
            If its slide has none.
        """
        s = int(self.slide_index[index])
        slide, labels = self.slides[s], self.labels
        if hasattr(labels, "tile_label"):
            row, column = self.grids[s].pixels(self.cells[index])[0].tolist()
            return labels.tile_label(slide, self.grids[s], row, column, s)
        if callable(labels):
            row, column = self.positions[index].tolist()
            return labels(slide, (row, column))
        for key in (slide.source.series_instance_uid, s):
            if labels is not None and key in labels:
                return labels[key]
        raise SeriesError(f"slide {slide.source.series_instance_uid} has no label")

    def tile_labels(self) -> list[Any]:
        """Labels of all tiles, in order; no pixel is read for them."""
        return [self.label(i) for i in range(len(self))]


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _tensors(label: Any) -> Any:
    if isinstance(label, Mapping):
        return {key: _tensors(value) for key, value in label.items()}
    return torch.from_numpy(label) if isinstance(label, np.ndarray) else label


def _opened(image: Any) -> Slide:
    if image is None:
        raise SeriesError("a slide's record names no 'image'")
    return image if isinstance(image, Slide) else open_slide(image)
