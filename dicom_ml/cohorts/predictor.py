"""A Lightning model, its data module and its writers, over one case at a time."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_ml.bridge.tensors import torch
from dicom_ml.callbacks.manifest import read_index
from dicom_ml.cohorts.cases import Case
from dicom_ml.errors import EncodingError

__all__ = ["LightningPredictor"]


class LightningPredictor:
    """Predict a case with Lightning, and have the trainer's writers write into its folder.

    Parameters
    ----------
    trainer : Trainer
        Of one device; writers, such as :class:`dicom_ml.callbacks.SegmentationWriter`, are among its callbacks. Their
        ``output_dir`` is set for every case.
    model : LightningModule
    data : LightningDataModule, optional
        How cases are read: :class:`dicom_ml.data.VolumeDataModule` or :class:`dicom_ml.data.TileDataModule`, or another
        with a method ``predicting(records)``. By default volumes are read as they are, after the model's
        ``preprocessing`` where it has one, which the writers then undo.

    Raises
    ------
    EncodingError
        If the trainer has no writer, or the data module cannot be given other data.
    """

    def __init__(self, trainer: Any, model: Any, data: Any = None) -> None:
        self.trainer, self.model, self.data = trainer, model, data
        self._seed = int(torch.initial_seed())
        self.writers = _placed([one for one in trainer.callbacks if hasattr(one, "output_dir")])
        if not self.writers:
            raise EncodingError(
                "nothing would be written: name a writer, such as dicom_ml.callbacks.SegmentationWriter, among "
                "trainer.callbacks"
            )
        if data is not None and not hasattr(data, "predicting"):
            raise EncodingError(
                f"{type(data).__name__} cannot be given the series of a cohort; it needs a method predicting(records), "
                "as VolumeDataModule and TileDataModule have"
            )
        own = getattr(model, "preprocessing", None)
        for writer, _ in self.writers:
            if hasattr(writer, "on_error"):
                writer.on_error = "raise"  # so that the case is noted as failed
            if data is None and own is not None and getattr(writer, "transform", own) is None:
                writer.transform = own

    def __call__(self, case: Case, folder: Path) -> None:
        """Predict a case.

        Raises
        ------
        EncodingError
            If a writer could not write all there was to write.
        """
        _seed(f"{self._seed}:{case.name}")
        for writer, below in self.writers:
            writer.output_dir = folder / below
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers")
            warnings.filterwarnings("ignore", ".*treespec")
            self.trainer.predict(self.model, datamodule=self._data_of(case), return_predictions=False)
        for writer, _ in self.writers:
            for failure in _failures(writer):
                raise EncodingError(failure["why"])

    def _data_of(self, case: Case) -> Any:
        record = {"image": case.source}
        if self.data is not None:
            return self.data.predicting([record])
        if case.modality == "SM":
            raise EncodingError(
                "nothing says how slides are cut into tiles: name dicom_ml.data.TileDataModule, with tile_size, as data"
            )
        from dicom_ml.data import VolumeDataModule

        return VolumeDataModule(predict=[record], eval_transform=getattr(self.model, "preprocessing", None))


def _seed(text: str) -> None:
    """Random numbers of a case are its own, whatever was predicted before it, and where."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - what others' models and transforms draw from
    torch.manual_seed(number)


def _placed(writers: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each writer with its folder below that of a case: none, unless two keep an index of the same name."""
    names = [getattr(writer, "index_name", type(writer).__name__) for writer in writers]
    if len(set(names)) == len(names):
        return [(writer, "") for writer in writers]
    own = [Path(writer.output_dir).name for writer in writers]
    if len(set(own)) < len(own):
        raise EncodingError("several writers of one kind need an output_dir of different names each")
    return list(zip(writers, own, strict=True))


def _failures(writer: Any) -> list[dict[str, Any]]:
    name = getattr(writer, "index_name", None)
    return [] if name is None else list(read_index(writer.output_dir, name)["failures"])
