"""Validation cases as DICOM, and Dice while training goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from typing import Any

from dicom_ml.bridge.tensors import torch
from dicom_ml.callbacks.predictions import Case
from dicom_ml.callbacks.segmentation import SegmentationWriter
from dicom_ml.errors import EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["ValidationWriter", "dice_scores"]


def dice_scores(pred: Any, label: Any, numbers: Collection[int]) -> list[float]:
    """Dice of each segment.

    Parameters
    ----------
    pred, label : Tensor of shape (1, ...) or (S, ...)
        A label map, or a channel for each segment (a first channel of background is left out).
    numbers : collection of int
        The segments' values in label maps.

    Returns
    -------
    list of float
        NaN where neither has the segment.
    """
    found = []
    for place, number in enumerate(numbers):
        a, b = _one(pred, place, number, len(numbers)), _one(label, place, number, len(numbers))
        total = int(a.sum()) + int(b.sum())
        found.append(2 * int((a & b).sum()) / total if total else float("nan"))
    return found


def _one(mask: Any, place: int, number: int, count: int) -> Any:
    channels = int(mask.shape[0])
    if channels == 1 and not (count == 1 and mask.dtype == torch.bool):
        return mask[0] == number
    if channels not in (count, count + 1):
        raise EncodingError(f"{channels} channels for {count} segments: Dice needs a label map, or a channel for each")
    return mask[place + channels - count] > 0.5


class ValidationWriter(SegmentationWriter):
    """Write predictions of validation as DICOM SEG, and log their Dice.

    ``validation_step`` returns the prediction, alone or under ``"pred"`` beside its loss. Every epoch of ``fit`` gets
    a folder of its own. Dice is taken where network and label meet, on the grid of the batch, once for each source,
    however often samplers repeat it, and over all processes.

    Parameters
    ----------
    output_dir, segments, kind, **options
        As in :class:`SegmentationWriter`.
    cases : float, collection of str, or callable, optional
        Which sources are written: a share of them (chosen by a hash of their UID, so the same ones every time), those
        of these Series Instance UIDs, or those of which ``cases(source)`` is true. By default all; ``()`` for none.
    every_n_epochs : int
        Write in every n-th epoch; Dice is logged in all.
    dice : bool
        Log ``"<metric>"``, the mean over segments and sources, and ``"<metric>/<segment>"`` of each segment.
    metric : str
    label_key : str
        Where the labels stand in the batch; batches without them have no Dice.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        segments: Any,
        kind: str = "binary",
        *,
        cases: float | Collection[str] | Callable[[SourceSeries], bool] | None = None,
        every_n_epochs: int = 1,
        dice: bool = True,
        metric: str = "val_dice",
        label_key: str = "label",
        **options: Any,
    ) -> None:
        options.setdefault("stages", ("validate",))
        super().__init__(output_dir, segments, kind, **options)
        self.cases = {cases} if isinstance(cases, str) else cases
        self.every_n_epochs = max(1, int(every_n_epochs))
        self.dice = dice
        self.metric = metric
        self.label_key = label_key
        self.scores: dict[str, list[float]] = {}
        self._writes = True

    def _label_key(self) -> str:
        return self.label_key

    def selects(self, source: SourceSeries) -> bool:
        """Whether predictions of this source are written."""
        if not self._writes:
            return False
        if self.cases is None:
            return True
        if callable(self.cases):
            return bool(self.cases(source))
        if isinstance(self.cases, (int, float)):
            digest = hashlib.sha256(source.series_instance_uid.encode()).digest()
            return int.from_bytes(digest[:8], "big") / 2**64 < self.cases
        return source.series_instance_uid in self.cases

    def _begin(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.scores = {}
        self._writes = trainer.state.fn != "fit" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        super()._begin(trainer, pl_module, stage)

    def _take(self, case: Case) -> None:
        activated = self.decision.activated(case.pred.detach().cpu())
        if self.dice and case.label is not None:
            numbers = self.output.numbers
            mask = self.decision.mask(activated, numbers, "binary")
            key = self.output.identity(self._source(case.handle))
            self.scores[key] = dice_scores(_plain(mask), _plain(case.label.detach().cpu()), numbers)
        if self.selects(self._source(case.handle)):
            self._write(case, activated)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Gather the scores of all processes and log them."""
        if self._stage != "validate" or not self.dice:
            return
        self.scores = _gathered(self.scores)
        if not self.scores:
            return
        # in one order everywhere, so that every process logs the very same number
        table = torch.tensor([self.scores[key] for key in sorted(self.scores)], dtype=torch.float64)
        each = table.nanmean(dim=0)
        pl_module.log(self.metric, float(each.nanmean()), prog_bar=True, batch_size=1)
        for segment, value in zip(self.output.segments, each.tolist(), strict=True):
            pl_module.log(f"{self.metric}/{segment.label}", value, batch_size=1)


def _plain(mask: Any) -> Any:
    return mask.as_tensor() if hasattr(mask, "as_tensor") else mask


def _gathered(scores: dict[str, list[float]]) -> dict[str, list[float]]:
    """Scores of all processes; a source that several had counts once."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return scores
    every: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, scores)
    merged: dict[str, list[float]] = {}
    for one in every:
        for key, value in one.items():
            merged.setdefault(key, value)
    return merged
