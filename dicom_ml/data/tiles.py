"""Tiles of slides for torch: a map-style dataset, and samplers that keep to a slide and to each tile once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from dicom_ml.data.tissue import TissueMap
from dicom_ml.errors import GeometryError, SeriesError
from dicom_ml.reading.slides import Slide, open_slide

__all__ = ["BalancedSampler", "SlideSampler", "TileDataset"]

Labels = "Mapping[Any, Any] | Callable[[Slide, tuple[int, int]], Any] | None"


@dataclass(frozen=True)
class _Cut:
    """How tiles are cut from one slide."""

    level: int | None
    spacing: float | None
    #: Rows and columns of level 0 that a tile covers.
    footprint: tuple[float, float]


class TileDataset(Dataset[dict[str, Any]]):
    """Square tiles of one or more slides.

    Parameters
    ----------
    slides : sequence of Slide or path
        Paths are opened with :func:`dicom_ml.open_slide`.
    tile_size : int
        Rows and columns of a tile, in its own pixels.
    spacing : float, optional
        Millimetres a pixel, such as 0.001 for about 10x; the nearest finer level is resampled.
    level : int, optional
        Level whose pixels the tiles have, instead of a spacing; 0 where neither is given.
    overlap : int
        Pixels that neighbouring tiles share.
    min_tissue : float, optional
        Keep tiles that hold at least this share of tissue, 0 to 1 (:func:`dicom_ml.data.tissue_mask`).
    labels : mapping or callable, optional
        A mapping from Series Instance UID, or from a slide's place in ``slides``, to its class; or a function of the
        slide and the tile's position that returns the tile's label.
    transform : callable, optional
        Applied to each item.
    threads : int
        Threads that decode a batch; 1 is right where a DataLoader has workers of its own.

    Raises
    ------
    SeriesError
        If a slide has no level, or no tile is left.

    Notes
    -----
    An item is ``{"image": uint8 tensor (3, tile_size, tile_size), "position": (row, column) of level 0, "slide": its
    Series Instance UID, "slide_index": int, "dicom_source": handle}``, with ``"label"`` where labels are given; the
    handle is :meth:`SourceSeries.to_string`'s, so that what is made of a tile can refer to its slide. Tiles at the
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
        labels: Any = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        threads: int = 1,
    ) -> None:
        if spacing is not None and level is not None:
            raise GeometryError("tiles are cut by spacing or by level; pass one of them")
        if not 0 <= overlap < tile_size:
            raise GeometryError(f"overlap lies from 0 to below tile_size ({tile_size}), found {overlap}")
        self.slides = [s if isinstance(s, Slide) else open_slide(s) for s in slides]
        self.tile_size = int(tile_size)
        self.overlap = int(overlap)
        self.transform = transform
        self.labels = labels
        self.threads = threads
        self._handles = [slide.source.to_string() for slide in self.slides]
        self._cuts = [self._cut(slide, spacing, level) for slide in self.slides]
        places = [self._positions(i, min_tissue) for i in range(len(self.slides))]
        #: Slide of each tile, and its first pixel (row, column) of level 0.
        self.slide_index = np.repeat(np.arange(len(self.slides)), [len(p) for p in places])
        self.positions = np.concatenate(places) if places else np.zeros((0, 2), dtype=np.int64)
        if not len(self.positions):
            raise SeriesError(f"no tile is left of {len(self.slides)} slides; lower min_tissue={min_tissue}")

    def _cut(self, slide: Slide, spacing: float | None, level: int | None) -> _Cut:
        if not slide.levels:
            raise SeriesError(f"{slide!r} has no level to cut tiles from")
        if spacing is None:
            chosen = slide.levels[level or 0]
            down = chosen.downsamples
        else:
            base = slide.levels[0].spacing
            if base is None:
                raise GeometryError(f"{slide!r} does not state its spacing; cut it by level")
            down = spacing / base[0], spacing / base[1]
        footprint = self.tile_size * down[0], self.tile_size * down[1]
        return _Cut(None if spacing is not None else level or 0, spacing, footprint)

    def _positions(self, index: int, min_tissue: float | None) -> npt.NDArray[np.int64]:
        slide, cut = self.slides[index], self._cuts[index]
        keep = (self.tile_size - self.overlap) / self.tile_size
        shape = slide.levels[0].shape
        axes = []
        for extent, size in zip(shape, cut.footprint, strict=True):
            step = size * keep
            # as many steps as are needed for the last tile to reach the edge, to within half a pixel of the tile
            count = max(1, math.ceil((extent - size) / step - 0.5 / self.tile_size) + 1)
            axes.append(np.rint(np.arange(count) * step).astype(np.int64))
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        if min_tissue is None:
            return grid
        return grid[TissueMap(slide).fraction(grid, cut.footprint) >= min_tissue]

    # ------------------------------------------------------------------ items
    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Items of a batch; tiles of one slide are read together, each frame once."""
        items: list[Any] = [None] * len(indices)
        order = np.arange(len(self))[np.asarray(indices, dtype=np.intp)]
        slides = self.slide_index[order]
        for s in dict.fromkeys(slides.tolist()):
            where = np.flatnonzero(slides == s)
            cut, size = self._cuts[s], (self.tile_size, self.tile_size)
            positions = self.positions[order[where]]
            pixels = self.slides[s].read_tiles(
                cut.level, positions, size=size, spacing=cut.spacing, threads=self.threads
            )
            for place, tile, position in zip(where.tolist(), pixels, positions.tolist(), strict=True):
                items[place] = self._item(s, tile, (position[0], position[1]))
        return items

    def _item(self, s: int, pixels: npt.NDArray[Any], position: tuple[int, int]) -> Any:
        channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        item: dict[str, Any] = {
            "image": torch.from_numpy(np.ascontiguousarray(channels)),
            "position": position,
            "slide": self.slides[s].source.series_instance_uid,
            "slide_index": s,
            "dicom_source": self._handles[s],
        }
        if self.labels is not None:
            item["label"] = self.label(s, position)
        return item if self.transform is None else self.transform(item)

    def label(self, slide_index: int, position: tuple[int, int]) -> Any:
        """Label of a tile.

        Raises
        ------
        SeriesError
            If its slide has none.
        """
        slide = self.slides[slide_index]
        if callable(self.labels):
            return self.labels(slide, position)
        for key in (slide.source.series_instance_uid, slide_index):
            if key in self.labels:
                return self.labels[key]
        raise SeriesError(f"slide {slide.source.series_instance_uid} has no label")

    def tile_labels(self) -> list[Any]:
        """Labels of all tiles, in order; no pixel is read for them."""
        listed = zip(self.slide_index.tolist(), self.positions.tolist(), strict=True)
        return [self.label(s, (p[0], p[1])) for s, p in listed]


class SlideSampler(Sampler[int]):
    """Every tile once, slide by slide, shared among processes without padding or repetition.

    Neighbouring tiles share frames and files, so tiles of a slide are best read together. Processes take whole runs of
    tiles, whose numbers differ by one at most.

    Parameters
    ----------
    dataset : TileDataset
    shuffle : bool
        Change the order of slides, and of tiles within each, by ``seed`` and the epoch (:meth:`set_epoch`).
    seed : int
    rank, world_size : int, optional
        This process among all; by default those of torch.distributed, where it runs.
    """

    def __init__(
        self,
        dataset: TileDataset,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = rank if rank is not None else (torch.distributed.get_rank() if distributed else 0)
        self.world_size = world_size or (torch.distributed.get_world_size() if distributed else 1)
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Shuffle differently from now on; Lightning calls this."""
        self.epoch = epoch

    def _bounds(self) -> tuple[int, int]:
        count = len(self.dataset)
        return count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size

    def __len__(self) -> int:
        start, stop = self._bounds()
        return stop - start

    def __iter__(self) -> Iterator[int]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            rng = np.random.default_rng((self.seed, self.epoch))
            groups = [order[self.dataset.slide_index == s] for s in rng.permutation(len(self.dataset.slides))]
            order = np.concatenate([rng.permutation(group) for group in groups])
        start, stop = self._bounds()
        return iter(order[start:stop].tolist())


class BalancedSampler(Sampler[int]):
    """As many tiles of every class, drawn with replacement from the rarer ones.

    Parameters
    ----------
    dataset : TileDataset
        With labels.
    per_class : int, optional
        Tiles of each class in an epoch; by default as many as the most frequent class has.
    seed : int
    """

    def __init__(self, dataset: TileDataset, per_class: int | None = None, seed: int = 0) -> None:
        labels = np.array([str(label) for label in dataset.tile_labels()])
        self._groups = [np.flatnonzero(labels == name) for name in sorted(set(labels.tolist()))]
        self.per_class = per_class or max(len(group) for group in self._groups)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw differently from now on; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.per_class * len(self._groups)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        drawn = [rng.choice(g, self.per_class, replace=len(g) < self.per_class) for g in self._groups]
        return iter(rng.permutation(np.concatenate(drawn)).tolist())
