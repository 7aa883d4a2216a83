"""A Lightning data module of tiles."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.tensors import torch
from dicom_ml.data.dataset import collate_items
from dicom_ml.data.module import worker_init
from dicom_ml.data.records import as_record, find_slides, split_by_patient
from dicom_ml.data.samplers import BalancedSampler, SlideSampler
from dicom_ml.data.tiles import TileDataset
from dicom_ml.errors import SeriesError

__all__ = ["TileDataModule"]

_PARTS = ("train", "val", "test", "predict")


class TileDataModule(lightning().LightningDataModule):  # type: ignore[misc]
    """Tiles of slides for training, validation, test and prediction.

    Parameters
    ----------
    train, val, test, predict : sequence of slide, path or record, or path of a folder, optional
        As ``slides`` of :class:`TileDataset`; a folder (a string or path) is searched for slides.
    root : path, or sequence of record, optional
        A folder to search, or records, to be split by patient into those of train, val and test that are not given.
    fractions : mapping of str to float
        Shares of the patients of ``root``.
    seed : int
        Of the split and of the samplers.
    tile_size, spacing, level, overlap, min_tissue, labels
        As in :class:`TileDataset`.
    train_transform, eval_transform : callable, optional
    balanced : bool
        Train on as many tiles of every class (:class:`BalancedSampler`); otherwise on all, slide by slide in another
        order every epoch.
    batch_size, num_workers : int
    dataset : mapping, optional
        Further arguments of :class:`TileDataset`: ``tissue``, ``cache``, ``threads``, ``monai``; and ``train``, a
        mapping of arguments that are others for training, such as ``{"overlap": 128}``.
    loader : mapping, optional
        Further arguments of :class:`torch.utils.data.DataLoader`.

    Notes
    -----
    The samplers share tiles out among the processes of a DDP run: in prediction, validation and test every tile comes
    once; in training, and in validation during it, all processes get equally many.
    """

    def __init__(
        self,
        train: Any = None,
        val: Any = None,
        test: Any = None,
        predict: Any = None,
        *,
        root: Any = None,
        fractions: Mapping[str, float] | None = None,
        seed: int = 0,
        tile_size: int = 256,
        spacing: float | None = None,
        level: int | None = None,
        overlap: int = 0,
        min_tissue: float | None = None,
        labels: Any = None,
        train_transform: Callable[[Any], Any] | None = None,
        eval_transform: Callable[[Any], Any] | None = None,
        balanced: bool = False,
        batch_size: int = 32,
        num_workers: int = 0,
        dataset: Mapping[str, Any] | None = None,
        loader: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.given = {"train": train, "val": val, "test": test, "predict": predict}
        self.root = root
        self.fractions = dict(fractions or {"train": 0.7, "val": 0.15, "test": 0.15})
        if set(self.fractions) - {"train", "val", "test"}:
            raise SeriesError(f"fractions are those of train, val and test, found {sorted(self.fractions)}")
        self.seed = seed
        self.cut = {
            "tile_size": tile_size,
            "spacing": spacing,
            "level": level,
            "overlap": overlap,
            "min_tissue": min_tissue,
            "labels": labels,
        }
        self.transforms = {"train": train_transform}
        self.eval_transform = eval_transform
        self.balanced = balanced
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.dataset_options = dict(dataset or {})
        self.train_options = dict(self.dataset_options.pop("train", {}))
        self.loader_options = dict(loader or {})
        self.datasets: dict[str, TileDataset] = {}
        self._records: dict[str, list[Any]] | None = None

    @property
    def records(self) -> dict[str, list[Any]]:
        """Slides of each part; found and split on first use."""
        if self._records is None:
            parts = {name: _records(value) for name, value in self.given.items() if value is not None}
            if self.root is not None:
                found = _records(self.root)
                missing = [name for name in self.fractions if name not in parts]
                if missing:
                    split = split_by_patient(found, self.fractions, self.seed)
                    parts |= {name: split[name] for name in missing}
                parts.setdefault("predict", found)
            if not parts:
                raise SeriesError("the data module has no slides: give train=, val=, test=, predict= or root=")
            self._records = parts
        return self._records

    def setup(self, stage: str | None = None) -> None:
        """Open the slides that a stage needs, and cut them."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        for name in wanted.get(str(stage), _PARTS):
            if self.records.get(name) and name not in self.datasets:
                own = self.train_options if name == "train" else {}
                options = {**self.cut, **self.dataset_options, **own}
                transform = self.transforms.get(name, self.eval_transform)
                self.datasets[name] = TileDataset(self.records[name], transform=transform, **options)

    def predicting(self, records: Sequence[Any]) -> TileDataModule:
        """A data module like this one, of these slides to predict and no others.

        Parameters
        ----------
        records : sequence of slide, path or record
        """
        other = copy.copy(self)
        other.given = {"predict": list(records)}
        other.root, other.trainer = None, None
        other.datasets, other._records = {}, None
        return other

    # ------------------------------------------------------------------ loaders
    def train_dataloader(self) -> Any:
        """Batches of the training part, all processes equally many."""
        data = self._dataset("train")
        if self.balanced:
            return self._loader(data, BalancedSampler(data, seed=self.seed))
        return self._loader(data, SlideSampler(data, shuffle=True, even=True, seed=self.seed))

    def val_dataloader(self) -> Any:
        """Batches of the validation part; none where there is no such part."""
        return self._evaluation("val") if self.records.get("val") else []

    def test_dataloader(self) -> Any:
        """Batches of the test part."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Any:
        """Batches of the prediction part."""
        return self._evaluation("predict")

    def _evaluation(self, name: str) -> Any:
        data = self._dataset(name)
        # while a model is trained, DDP synchronises buffers in every forward pass: all need equally many batches
        even = getattr(getattr(self.trainer, "state", None), "fn", None) == "fit"
        return self._loader(data, SlideSampler(data, even=even, seed=self.seed))

    def _dataset(self, name: str) -> TileDataset:
        if name not in self.datasets:
            self.setup({"train": "fit", "val": "validate"}.get(name, name))
        if name not in self.datasets:
            raise SeriesError(f"the data module has no slides for {name}: give {name}= or root=")
        return self.datasets[name]

    def _loader(self, data: TileDataset, sampler: Any) -> Any:
        options: dict[str, Any] = {
            "collate_fn": collate_items,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": worker_init(),
        }
        options |= self.loader_options
        return torch.utils.data.DataLoader(
            data, batch_size=self.batch_size, sampler=sampler, num_workers=self.num_workers, **options
        )


def _records(value: Any) -> list[Any]:
    if isinstance(value, (str, os.PathLike)):
        return list(find_slides(value))
    if isinstance(value, Mapping):
        return [as_record(value)]
    if not isinstance(value, Sequence):
        raise SeriesError(f"slides are a list, or the path of a folder to search, found {type(value).__name__}")
    return [as_record(item) for item in value]
