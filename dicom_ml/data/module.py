"""A Lightning data module of volumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dicom_ml.data.dataset import VolumeDataset
from dicom_ml.data.parts import PartsModule
from dicom_ml.data.records import find_series

__all__ = ["VolumeDataModule"]


class VolumeDataModule(PartsModule):
    """Image series for training, validation, test and prediction.

    Parameters
    ----------
    train, val, test, predict : sequence of record or path, or path of a folder, optional
        Records as in :class:`VolumeDataset`; a folder (a string or path) is searched for series, one record each.
    root : path, or sequence of record, optional
        A folder to search, or records, to be split by patient into those of train, val and test that are not given.
    fractions : mapping of str to float
        Shares of the patients of ``root``.
    seed : int
        Of the split.
    train_transform, eval_transform : callable, optional
        As ``transform`` of :class:`VolumeDataset`; the second for validation, test and prediction.
    batch_size, num_workers : int
    dataset : mapping, optional
        Further arguments of :class:`VolumeDataset`: ``read``, ``labels``, ``reports``, ``on_error``, ``cache``,
        ``monai``. Where ``reports`` are asked for, folders are searched for them, too; where ``labels`` say how
        ``contours`` are filled, for RT structure sets instead of segmentations.
    loader : mapping, optional
        Further arguments of :class:`torch.utils.data.DataLoader`, such as ``pin_memory``, ``collate_fn`` or
        ``multiprocessing_context``.

    Notes
    -----
    Evaluation batches hold one volume unless ``loader={"eval_batch_size": n}`` says otherwise, as volumes seldom have
    one shape. Lightning sets samplers for several processes.
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
        train_transform: Callable[[Any], Any] | None = None,
        eval_transform: Callable[[Any], Any] | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        dataset: Mapping[str, Any] | None = None,
        loader: Mapping[str, Any] | None = None,
    ) -> None:
        given = {"train": train, "val": val, "test": test, "predict": predict}
        super().__init__(given, root, fractions, seed, num_workers, loader)
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.batch_size = batch_size
        self.dataset_options = dict(dataset or {})
        self.eval_batch_size = int(self.loader_options.pop("eval_batch_size", 1))

    # ------------------------------------------------------------------ records
    def _find(self, folder: str | os.PathLike[str]) -> Sequence[Any]:
        kinds: dict[str, Any] = {"reports": self.dataset_options.get("reports") is not None}
        if (self.dataset_options.get("labels") or {}).get("contours") is not None:
            kinds["labels"] = "structure_sets"
        return find_series(folder, **kinds)

    def _make(self, name: str) -> None:
        if name in self.records:
            transform = self.train_transform if name == "train" else self.eval_transform
            self.datasets[name] = VolumeDataset(self.records[name], transform, **self.dataset_options)

    @property
    def failures(self) -> dict[str, dict[int, str]]:
        """Studies of each part that could not be read, by number of the record."""
        return {name: data.failures for name, data in self.datasets.items() if data.failures}

    def predicting(self, records: Sequence[Any]) -> VolumeDataModule:
        """A data module like this one, of these records to predict and no others; one that cannot be read is an error.

        Parameters
        ----------
        records : sequence of record or path
        """
        other = self._only(records)
        other.dataset_options = self.dataset_options | {"on_error": "raise"}
        return other

    # ------------------------------------------------------------------ loaders
    def train_dataloader(self) -> Any:
        """Shuffled batches of the training part."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        """Batches of the validation part; none where there is no such part."""
        return self._loader("val", self.eval_batch_size) if "val" in self.records else []

    def test_dataloader(self) -> Any:
        """Batches of the test part."""
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> Any:
        """Batches of the prediction part."""
        return self._loader("predict", self.eval_batch_size)

    def _loader(self, name: str, batch_size: int, shuffle: bool = False) -> Any:
        return self._batches(self._dataset(name), batch_size, shuffle=shuffle)
