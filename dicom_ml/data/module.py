"""A Lightning data module of volumes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.tensors import has_monai, torch
from dicom_ml.data.dataset import VolumeDataset, collate_items
from dicom_ml.data.records import as_record, find_series, split_by_patient
from dicom_ml.errors import SeriesError

__all__ = ["VolumeDataModule", "worker_init"]

_PARTS = ("train", "val", "test", "predict")


class VolumeDataModule(lightning().LightningDataModule):  # type: ignore[misc]
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
        super().__init__()
        self.given = {"train": train, "val": val, "test": test, "predict": predict}
        self.root = root
        self.fractions = dict(fractions or {"train": 0.7, "val": 0.15, "test": 0.15})
        if set(self.fractions) - {"train", "val", "test"}:
            raise SeriesError(f"fractions are those of train, val and test, found {sorted(self.fractions)}")
        self.seed = seed
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.dataset_options = dict(dataset or {})
        self.loader_options = dict(loader or {})
        self.eval_batch_size = int(self.loader_options.pop("eval_batch_size", 1))
        self.datasets: dict[str, VolumeDataset] = {}
        self._records: dict[str, list[Any]] | None = None

    # ------------------------------------------------------------------ records
    @property
    def records(self) -> dict[str, list[Any]]:
        """Records of each part; found and split on first use."""
        if self._records is None:
            kinds: dict[str, Any] = {"reports": self.dataset_options.get("reports") is not None}
            if (self.dataset_options.get("labels") or {}).get("contours") is not None:
                kinds["labels"] = "structure_sets"
            parts = {name: _records(value, kinds) for name, value in self.given.items() if value is not None}
            if self.root is not None:
                found = _records(self.root, kinds)
                missing = [name for name in self.fractions if name not in parts]
                if missing:
                    split = split_by_patient(found, self.fractions, self.seed)
                    parts |= {name: split[name] for name in missing}
                parts.setdefault("predict", found)
            if not parts:
                raise SeriesError("the data module has no records: give train=, val=, test=, predict= or root=")
            self._records = parts
        return self._records

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets that a stage needs."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        for name in wanted.get(str(stage), _PARTS):
            if name in self.records and name not in self.datasets:
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
        other = copy.copy(self)
        other.given = {"predict": list(records)}
        other.root, other.trainer = None, None
        other.dataset_options = self.dataset_options | {"on_error": "raise"}
        other.datasets, other._records = {}, None
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
        if name not in self.datasets:
            self.setup({"train": "fit", "val": "validate"}.get(name, name))
        if name not in self.datasets:
            raise SeriesError(f"the data module has no records for {name}: give {name}= or root=")
        options: dict[str, Any] = {
            "collate_fn": collate_items,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": worker_init(),
        }
        options |= self.loader_options
        return torch.utils.data.DataLoader(
            self.datasets[name], batch_size=batch_size, shuffle=shuffle, num_workers=self.num_workers, **options
        )


def _records(value: Any, kinds: Mapping[str, Any]) -> list[Any]:
    if isinstance(value, (str, os.PathLike)):
        return list(find_series(value, **kinds))
    if isinstance(value, Mapping):
        return [as_record(value)]
    if not isinstance(value, Sequence):
        raise SeriesError(f"records are a list, or the path of a folder to search, found {type(value).__name__}")
    return [as_record(item) for item in value]


def worker_init() -> Any:
    """MONAI's random transforms hold their own state, which every worker must have another of."""
    if not has_monai():
        return None
    from monai.data.utils import worker_init_fn

    return worker_init_fn
