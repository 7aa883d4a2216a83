"""What data modules have in common: parts that are given or split by patient, and their loaders."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.tensors import has_monai, torch
from dicom_ml.data.dataset import collate_items
from dicom_ml.data.records import as_record, split_by_patient
from dicom_ml.errors import SeriesError

__all__ = ["PartsModule"]

M = TypeVar("M", bound="PartsModule")

_PARTS = ("train", "val", "test", "predict")
_STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}


class PartsModule(lightning().LightningDataModule):  # type: ignore[misc]
    """Base of data modules.

    Attributes
    ----------
    given : dict of str to Any
        Parts as the user gave them: records, or folders to search.
    datasets : dict of str to Dataset
        Those that were made so far, by part.
    """

    #: What records are called in messages.
    noun = "records"

    def __init__(
        self,
        given: Mapping[str, Any],
        root: Any,
        fractions: Mapping[str, float] | None,
        seed: int,
        num_workers: int,
        loader: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.given = dict(given)
        self.root = root
        self.fractions = dict(fractions or {"train": 0.7, "val": 0.15, "test": 0.15})
        if set(self.fractions) - {"train", "val", "test"}:
            raise SeriesError(f"fractions are those of train, val and test, found {sorted(self.fractions)}")
        self.seed = seed
        self.num_workers = num_workers
        self.loader_options = dict(loader or {})
        self.datasets: dict[str, Any] = {}
        self._records: dict[str, list[Any]] | None = None

    # ------------------------------------------------------------------ records
    @abstractmethod
    def _find(self, folder: str | os.PathLike[str]) -> Sequence[Any]:
        """Records of a folder."""

    @abstractmethod
    def _make(self, name: str) -> None:
        """Make the dataset of a part, if there is one."""

    @property
    def records(self) -> dict[str, list[Any]]:
        """Records of each part; found and split on first use."""
        if self._records is None:
            parts = {name: self._listed(value) for name, value in self.given.items() if value is not None}
            if self.root is not None:
                found = self._listed(self.root)
                missing = [name for name in self.fractions if name not in parts]
                if missing:
                    split = split_by_patient(found, self.fractions, self.seed)
                    parts |= {name: split[name] for name in missing}
                parts.setdefault("predict", found)
            if not parts:
                raise SeriesError(f"the data module has no {self.noun}: give train=, val=, test=, predict= or root=")
            self._records = parts
        return self._records

    def _listed(self, value: Any) -> list[Any]:
        if isinstance(value, (str, os.PathLike)):
            return list(self._find(value))
        if isinstance(value, Mapping):
            return [as_record(value)]
        if not isinstance(value, Sequence):
            raise SeriesError(
                f"{self.noun} are a list, or the path of a folder to search, found {type(value).__name__}"
            )
        return [as_record(item) for item in value]

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets that a stage needs."""
        for name in _STAGES.get(str(stage), _PARTS):
            if name not in self.datasets:
                self._make(name)

    def _only(self: M, records: Sequence[Any]) -> M:
        """A data module like this one, of these records to predict and no others."""
        other = copy.copy(self)
        other.given = {"predict": list(records)}
        other.root, other.trainer = None, None
        other.datasets, other._records = {}, None
        return other

    # ------------------------------------------------------------------ loaders
    def _dataset(self, name: str) -> Any:
        if name not in self.datasets:
            self.setup({"train": "fit", "val": "validate"}.get(name, name))
        if name not in self.datasets:
            raise SeriesError(f"the data module has no {self.noun} for {name}: give {name}= or root=")
        return self.datasets[name]

    def _batches(self, data: Any, batch_size: int, **order: Any) -> Any:
        options: dict[str, Any] = {
            "collate_fn": collate_items,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": _worker_init(),
        }
        options |= self.loader_options
        return torch.utils.data.DataLoader(
            data, batch_size=batch_size, num_workers=self.num_workers, **order, **options
        )


def _worker_init() -> Any:
    """MONAI's random transforms hold their own state, which every worker must have another of."""
    if not has_monai():
        return None
    from monai.data.utils import worker_init_fn

    return worker_init_fn
