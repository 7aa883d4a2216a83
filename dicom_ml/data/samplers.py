"""Samplers of tiles: slide by slide, or balanced by class, and right over several processes.

Both are :class:`torch.utils.data.DistributedSampler` by type, so Lightning and Accelerate, which share out other
samplers among processes, leave them as they are: they share out themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DistributedSampler

from dicom_ml.data.tiles import TileDataset

__all__ = ["BalancedSampler", "SlideSampler"]


class _Shared(DistributedSampler):
    """A sampler that knows, when it is asked, which process this is."""

    def __init__(self, dataset: TileDataset, seed: int, rank: int | None, world_size: int | None) -> None:
        # the base class would want torch.distributed to run already
        self.dataset = dataset
        self.seed = seed
        self.epoch = 0
        self._given = rank, world_size

    @property
    def rank(self) -> int:
        """Number of this process."""
        return int(self._given[0] if self._given[0] is not None else torch.distributed.get_rank() if _runs() else 0)

    @property
    def num_replicas(self) -> int:
        """Number of processes."""
        return int(self._given[1] or (torch.distributed.get_world_size() if _runs() else 1))

    world_size = num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Draw differently from now on; Lightning calls this."""
        self.epoch = int(epoch)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch))


def _runs() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class SlideSampler(_Shared):
    """Every tile once, slide by slide, shared among processes without repetition.

    Neighbouring tiles share frames and files, so tiles of a slide are best read together. Processes take whole runs of
    tiles, whose numbers differ by one at most.

    Parameters
    ----------
    dataset : TileDataset
    shuffle : bool
        Change the order of slides, and of tiles within each, by ``seed`` and the epoch (:meth:`set_epoch`).
    even : bool
        Repeat a tile where needed so that all processes have equally many, as training under DDP must.
    seed : int
    rank, world_size : int, optional
        This process among all; by default those of torch.distributed, where it runs when tiles are drawn.
    """

    def __init__(
        self,
        dataset: TileDataset,
        *,
        shuffle: bool = False,
        even: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(dataset, seed, rank, world_size)
        self.shuffle = shuffle
        self.even = even

    def _bounds(self) -> tuple[int, int]:
        count, world = len(self.dataset), self.num_replicas
        start, stop = count * self.rank // world, count * (self.rank + 1) // world
        if self.even and stop - start < -(-count // world):
            # one more, which a neighbour has too
            start, stop = (start - 1, stop) if start else (start, stop + 1)
        return start, stop

    def __len__(self) -> int:
        start, stop = self._bounds()
        return stop - start

    def __iter__(self) -> Iterator[int]:
        data: Any = self.dataset
        order: npt.NDArray[np.intp] = np.arange(len(data))
        if self.shuffle:
            rng = self._rng()
            groups = [order[data.slide_index == s] for s in rng.permutation(len(data.slides))]
            order = np.concatenate([rng.permutation(group) for group in groups])
        start, stop = self._bounds()
        return iter(order[start:stop].tolist())


class BalancedSampler(_Shared):
    """As many tiles of every class, drawn with replacement from the rarer ones.

    Parameters
    ----------
    dataset : TileDataset
        With labels.
    per_class : int, optional
        Tiles of each class in an epoch, over all processes; by default as many as the most frequent class has.
    seed : int
    rank, world_size : int, optional
        As in :class:`SlideSampler`. All processes have equally many tiles: a few are left out where the number does
        not divide.
    """

    def __init__(
        self,
        dataset: TileDataset,
        per_class: int | None = None,
        seed: int = 0,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(dataset, seed, rank, world_size)
        labels = np.array([str(label) for label in dataset.tile_labels()])
        self._groups = [np.flatnonzero(labels == name) for name in sorted(set(labels.tolist()))]
        self.per_class = per_class or max(len(group) for group in self._groups)

    def __len__(self) -> int:
        return self.per_class * len(self._groups) // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        rng = self._rng()
        drawn = [rng.choice(g, self.per_class, replace=len(g) < self.per_class) for g in self._groups]
        order = rng.permutation(np.concatenate(drawn))
        return iter(order[self.rank :: self.num_replicas][: len(self)].tolist())
