"""A Lightning data module of tiles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dicom_ml.data.parts import PartsModule
from dicom_ml.data.records import find_slides
from dicom_ml.data.samplers import BalancedSampler, SlideSampler
from dicom_ml.data.tiles import TileDataset

__all__ = ["TileDataModule"]


class TileDataModule(PartsModule):
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

    noun = "slides"

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
        given = {"train": train, "val": val, "test": test, "predict": predict}
        super().__init__(given, root, fractions, seed, num_workers, loader)
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
        self.dataset_options = dict(dataset or {})
        self.train_options = dict(self.dataset_options.pop("train", {}))

    def _find(self, folder: str | os.PathLike[str]) -> Sequence[Any]:
        return find_slides(folder)

    def _make(self, name: str) -> None:
        if self.records.get(name):
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
        return self._only(records)

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

    def _loader(self, data: TileDataset, sampler: Any) -> Any:
        return self._batches(data, self.batch_size, sampler=sampler)
