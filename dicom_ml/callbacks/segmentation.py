"""Predictions written as DICOM segmentations while they are made."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.output import SegmentationOutput, WrittenSegmentation, as_segments
from dicom_ml.callbacks.identity import model_fingerprint
from dicom_ml.callbacks.manifest import Journal, merge_journals
from dicom_ml.callbacks.predictions import (
    Case,
    Decision,
    array_of,
    handles_of_batch,
    inverted,
    places_of_batch,
    split_batch,
)
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError
from dicom_ml.source import SourceSeries

__all__ = ["SegmentationWriter"]

_STAGES = ("predict", "test", "validate")


class SegmentationWriter(lightning().Callback):  # type: ignore[misc]
    """Write what ``predict_step`` returns as DICOM SEG files, each on the voxels of its source series.

    The source of a prediction is what the batch says, by the handle that :class:`dicom_ml.transforms.LoadDicom` or
    :class:`dicom_ml.data.VolumeDataset` put there; batch indices play no part. With several processes every source
    is written once: samplers that repeat items to fill up, and processes that hold the same source, end in the same
    file with the same UIDs. UIDs and names follow from source, segments, settings and the weights of the model, so a
    run that was killed goes on where it stopped: what is finished is not computed again.

    Parameters
    ----------
    output_dir : path
        Holds the files and ``segmentations.json``, an index of them.
    segments : sequence of Segment or mapping, or path of a JSON file of these
        What labels 1, 2, ... or channels mean.
    kind : {"binary", "labelmap", "fractional"}
    algorithm : Algorithm or mapping, optional
        For segments that name none.
    key : str, optional
        Where the prediction stands in what the step returns; by default ``"pred"`` and the like.
    image_key : str
        Where the images stand in the batch.
    activation : {None, "softmax", "sigmoid"}
        Applied to the network's output.
    decide : {"auto", "argmax", "threshold"}
        ``"auto"``: whole numbers of one channel are labels; one channel more than segments goes by argmax, the first
        being background; as many channels as segments go by the threshold.
    threshold : float
    transform : invertible MONAI transform, optional
        Preprocessing to be undone before writing, as by MONAI's ``Invertd``.
    nearest_interp : bool
        Undo resampling of probabilities by nearest neighbour; labels always go by nearest neighbour.
    compression, on_mismatch, filename
        As in :class:`dicom_ml.transforms.SaveSegmentation`.
    model : str, optional
        What tells the model from others; by default a fingerprint of its weights.
    stages : sequence of {"predict", "test", "validate"}
        When to write. A step of the others must return its prediction, alone or under ``"pred"``. Validation during
        ``fit`` goes into a folder for each epoch; checks before training are left out.
    resume : bool
        Leave files alone that an earlier run finished, and in ``predict`` do not run the model for them. A
        ``predict_step`` that talks to other processes needs ``resume=False``.
    on_error : {"raise", "skip"}
        What a prediction that cannot be written does: stop the run, or be noted in the index with a warning.
    **options
        Further arguments of :meth:`dicom_ml.Segmentation.from_array`, such as ``series_description``.

    Attributes
    ----------
    written : list of WrittenSegmentation
        What this process wrote or found finished.

    Examples
    --------
    >>> writer = SegmentationWriter("out/", segments=segments, transform=pre)  # doctest: +SKIP
    >>> L.Trainer(callbacks=[writer]).predict(model, datamodule, return_predictions=False)  # doctest: +SKIP
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        segments: Any,
        kind: str = "binary",
        *,
        algorithm: Any = None,
        key: str | None = None,
        image_key: str = "image",
        activation: str | None = None,
        decide: str = "auto",
        threshold: float = 0.5,
        transform: Any = None,
        nearest_interp: bool = False,
        compression: str | None = None,
        on_mismatch: str = "error",
        filename: str | None = None,
        model: str | None = None,
        stages: Sequence[str] = ("predict",),
        resume: bool = True,
        on_error: str = "raise",
        **options: Any,
    ) -> None:
        super().__init__()
        stages = (stages,) if isinstance(stages, str) else tuple(stages)
        if set(stages) - set(_STAGES):
            raise EncodingError(f"stages are of {', '.join(_STAGES)}, found {stages}")
        if on_error not in ("raise", "skip"):
            raise EncodingError(f"on_error is 'raise' or 'skip', found {on_error!r}")
        self.decision = Decision(activation, decide, threshold)
        settings = {"activation": activation, "decide": decide, "threshold": threshold, "nearest": nearest_interp}
        if key is not None:
            settings["key"] = key
        named = {} if filename is None else {"filename": filename}
        facts: dict[str, Any] = {"options": options, "settings": settings, **named}
        self.output = SegmentationOutput(as_segments(segments, algorithm), kind, compression, on_mismatch, **facts)
        self.output_dir = Path(output_dir)
        self.key = key
        self.image_key = image_key
        self.transform = transform
        self.nearest_interp = nearest_interp
        self.model = model
        self.stages = stages
        self.resume = resume
        self.on_error = on_error
        self.written: list[WrittenSegmentation] = []
        self._stage = ""
        self._model_id = ""
        self._folder = self.output_dir
        self._journal: Journal | None = None
        self._places: dict[str, str] = {}
        self._finished: dict[tuple[str, str], WrittenSegmentation] = {}
        self._sources: dict[str, SourceSeries] = {}
        self._plain_step: Any = None

    # ------------------------------------------------------------------ begin and end
    def _begin(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage not in self.stages or trainer.sanity_checking:
            return
        self._stage = stage
        self.written = []
        self._places, self._finished, self._sources = {}, {}, {}
        own = self.model if self.model is not None else model_fingerprint(pl_module)
        # processes must agree on what the UIDs follow from
        self._model_id = str(trainer.strategy.broadcast(own))
        self._folder = self.output_dir
        if trainer.state.fn == "fit":
            self._folder = self.output_dir / f"epoch-{trainer.current_epoch:04d}"
        algorithm = self.output.segments[0].algorithm
        facts = {
            "kind": self.output.kind,
            "algorithm": "" if algorithm is None else algorithm.name,
            "algorithm_version": "" if algorithm is None else algorithm.version,
            "model": self._model_id[:16],
        }
        self._journal = Journal(self._folder, int(trainer.global_rank), facts)
        if stage == "predict" and self.resume:
            self._skip_finished(pl_module)

    def _end(self, trainer: Any, pl_module: Any) -> None:
        self._restore(pl_module)
        if not self._stage:
            return
        self._stage = ""
        trainer.strategy.barrier()
        # one process of each machine, as each may have a disk of its own
        if int(trainer.local_rank) == 0:
            merge_journals(self._folder)
        trainer.strategy.barrier()

    def _skip_finished(self, pl_module: Any) -> None:
        """Have ``predict_step`` leave out batches whose results are all there."""
        self._restore(pl_module)
        step = pl_module.predict_step
        self._plain_step = pl_module.__dict__.get("predict_step", self)  # self: there was none on the instance

        @functools.wraps(step)
        def predict_step(*args: Any, **kwargs: Any) -> Any:
            batch = args[0] if args else kwargs.get("batch")
            if all(self._is_finished(*item) for item in self._items(batch)):
                return None
            return step(*args, **kwargs)

        pl_module.__dict__["predict_step"] = predict_step

    def _restore(self, pl_module: Any) -> None:
        if self._plain_step is None:
            return
        if self._plain_step is self:
            pl_module.__dict__.pop("predict_step", None)
        else:
            pl_module.__dict__["predict_step"] = self._plain_step
        self._plain_step = None

    # ------------------------------------------------------------------ one batch
    def _write_batch(self, outputs: Any, batch: Any) -> None:
        if not self._stage:
            return
        items = self._items(batch)
        for handle, place in items:
            if self._places.setdefault(handle, place) != place:
                self._remove(handle)
                raise EncodingError(
                    f"several parts of series {self._source(handle).series_instance_uid} come as images of their own; "
                    "predict whole volumes (monai.inferers.sliding_window_inference puts parts together)"
                )
        if outputs is None and all(self._is_finished(*item) for item in items):
            for item in items:
                self._note(self._finished[item])
            return
        for case in split_batch(outputs, batch, self.key, self.image_key, self._label_key()):
            self._take(case)

    def _label_key(self) -> str:
        return "label"

    def _take(self, case: Case) -> None:
        """Deal with one prediction of a batch."""
        if self.selects(self._source(case.handle)):
            self._write(case, self.decision.activated(case.pred.detach().cpu()))

    def selects(self, source: SourceSeries) -> bool:
        """Whether predictions of this source are written; all are."""
        return True

    def _write(self, case: Case, activated: Any) -> None:
        item = case.handle, case.place
        if item in self._finished or (self.resume and self._is_finished(*item)):
            self._note(self._finished[item])
            return
        try:
            if self.transform is not None:
                nearest = self.nearest_interp or not activated.is_floating_point()
                activated = inverted(case, activated, self.transform, self.image_key, nearest)
            mask = self.decision.mask(activated, self.output.numbers, self.output.kind)
            array, affine = array_of(case, mask)
            source, model = self._source(case.handle), self._identity(case.place)
            written = self.output.write(array, affine, source, self._folder, model=model)
        except (DicomMLError, OSError) as error:
            if self.on_error == "raise":
                raise
            uid = self._source(case.handle).series_instance_uid
            warnings.warn(f"the prediction for series {uid} is not written: {error}", DicomMLWarning, stacklevel=2)
            assert self._journal is not None
            self._journal.add_failure(uid, str(error))
            return
        self._finished[item] = written
        self._note(written)

    def _note(self, written: WrittenSegmentation) -> None:
        if any(one.path == written.path for one in self.written):
            return  # a sampler repeated the item
        self.written.append(written)
        assert self._journal is not None
        self._journal.add(written)

    def _remove(self, handle: str) -> None:
        """Take back what this run wrote of a source."""
        for (known, _), written in self._finished.items():
            if known == handle and written.written:
                written.path.unlink(missing_ok=True)

    def _source(self, handle: str) -> SourceSeries:
        if handle not in self._sources:
            self._sources[handle] = SourceSeries.from_string(handle)
        return self._sources[handle]

    def _items(self, batch: Any) -> list[tuple[str, str]]:
        """Source, and place as the network sees it, of each image of a batch."""
        handles = handles_of_batch(batch, self.image_key)
        return list(zip(handles, places_of_batch(batch, self.image_key, len(handles)), strict=True))

    def _identity(self, place: str) -> str:
        """What UIDs follow from beside source and settings: the model, and on what grid it saw the image.

        With the grid in it, neither another preprocessing nor a part of the volume is taken for a finished result.
        """
        return f"{self._model_id}:{place}"

    def _is_finished(self, handle: str, place: str) -> bool:
        """Whether the result of a source is on disk, complete."""
        if (handle, place) not in self._finished:
            found = self.output.existing(self._source(handle), self._folder, self._identity(place))
            if found is None:
                return False
            self._finished[handle, place] = found
        return True

    # ------------------------------------------------------------------ Lightning's hooks
    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Settle which model this is, and find what is finished."""
        self._begin(trainer, pl_module, "predict")

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write the predictions of a batch."""
        if self._stage == "predict":
            self._write_batch(outputs, batch)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Complete the index."""
        self._end(trainer, pl_module)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Settle which model this is."""
        self._begin(trainer, pl_module, "test")

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write the predictions of a batch."""
        if self._stage == "test":
            self._write_batch(outputs, batch)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Complete the index."""
        self._end(trainer, pl_module)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Settle which model this is."""
        self._begin(trainer, pl_module, "validate")

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write the predictions of a batch."""
        if self._stage == "validate":
            self._write_batch(outputs, batch)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Complete the index."""
        self._end(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the module as it was; what was written stays, and the journals tell of it."""
        self._restore(pl_module)
        self._stage = ""

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the module as it was."""
        self._restore(pl_module)
