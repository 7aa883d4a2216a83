"""What all writers of predictions share: which source a prediction belongs to, what is finished, and when to write."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.identity import model_fingerprint
from dicom_ml.bridge.lightning import lightning
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.slide_object import SlideObject
from dicom_ml.bridge.tensors import torch
from dicom_ml.bridge.tile_gathering import tell_empty
from dicom_ml.bridge.tile_results import TileResult
from dicom_ml.bridge.tiles import TileGrid
from dicom_ml.callbacks.manifest import Journal, merge_journals
from dicom_ml.callbacks.predictions import (
    Case,
    array_of,
    as_mapping,
    handles_of_batch,
    inverted,
    places_of_batch,
    predictions,
    split_batch,
)
from dicom_ml.callbacks.tiles import SlideResults, is_tiles, tiles_of_batch
from dicom_ml.errors import DicomMLError, DicomMLWarning, EncodingError
from dicom_ml.objects.iod import validated
from dicom_ml.source import SourceSeries

__all__ = ["ResultWriter"]

_STAGES = ("predict", "test", "validate")


class ResultWriter(lightning().Callback):  # type: ignore[misc]
    """Base of the writers; see :class:`dicom_ml.callbacks.SegmentationWriter`.

    Parameters
    ----------
    output_dir : path
    output : SegmentationOutput or ParametricMapOutput
    decision : Decision
    key, image_key, transform, nearest_interp, model, stages, resume, on_error, window, incomplete,
    validate
        As in :class:`dicom_ml.callbacks.SegmentationWriter`.
    """

    #: Name of the index in the output folder, without its suffix.
    index_name = "results"

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        output: Any,
        decision: Decision,
        *,
        key: str | None = None,
        image_key: str = "image",
        transform: Any = None,
        nearest_interp: bool = False,
        model: str | None = None,
        stages: Sequence[str] = ("predict",),
        resume: bool = True,
        on_error: str = "raise",
        window: str = "hann",
        incomplete: str = "keep",
        validate: bool = True,
    ) -> None:
        super().__init__()
        stages = (stages,) if isinstance(stages, str) else tuple(stages)
        if set(stages) - set(_STAGES):
            raise EncodingError(f"stages are of {', '.join(_STAGES)}, found {stages}")
        if on_error not in ("raise", "skip"):
            raise EncodingError(f"on_error is 'raise' or 'skip', found {on_error!r}")
        if incomplete not in ("keep", "write"):
            raise EncodingError(f"incomplete is 'keep' or 'write', found {incomplete!r}")
        self.output = output
        self.decision = decision
        self.output_dir = Path(output_dir)
        self.key = key
        self.image_key = image_key
        self.transform = transform
        self.nearest_interp = nearest_interp
        self.model = model
        self.stages = stages
        self.resume = resume
        self.on_error = on_error
        self.window = window
        self.incomplete = incomplete
        self.validate = validate
        self.written: list[Written] = []
        self._stage = ""
        self._model_id = ""
        self._folder = self.output_dir
        self._journal: Journal | None = None
        self._places: dict[str, str] = {}
        self._finished: dict[tuple[str, str], Written] = {}
        self._sources: dict[str, SourceSeries] = {}
        self._slides: SlideResults | None = None
        self._failure: Exception | None = None

    def facts(self) -> dict[str, Any]:
        """What the index says of every file."""
        return {"algorithm": self.output.algorithm_name}

    def values(self, activated: Any) -> Any:
        """What is written of an activated prediction ``(C, ...)``."""
        raise NotImplementedError

    def _decided(self, array: Any) -> Any:
        """:meth:`values` of an array."""
        return np.asarray(self.values(torch.from_numpy(np.ascontiguousarray(array))))

    # ------------------------------------------------------------------ what kinds of predictions differ in
    def _predictions(self, outputs: Any, of_tiles: bool = False) -> list[Any]:
        """One prediction for each item of a batch, of what a step returned."""
        return predictions(outputs, self.key, of_tiles=of_tiles)

    def _activated(self, pred: Any) -> Any:
        """A prediction as it is kept."""
        return self.decision.activated(pred.detach().cpu())

    def _save(self, case: Case, activated: Any) -> Written:
        """Write the prediction of a volume."""
        if self.transform is not None:
            nearest = self.nearest_interp or not activated.is_floating_point()
            activated = inverted(case, activated, self.transform, self.image_key, nearest)
        array, affine = array_of(case, self.values(activated))
        source, model = self._source(case.handle), self._identity(case.place)
        written: Written = self.output.write(array, affine, source, self._folder, model=model)
        return written

    def _tile_value(self, pred: Any) -> Any:
        """A prediction of a tile as its object takes it."""
        activated = self._activated(pred)
        return np.asarray(activated.as_tensor() if hasattr(activated, "as_tensor") else activated)

    def _slide_result(self, source: SourceSeries, grid: TileGrid, shard: str) -> SlideObject:
        """The object of a slide, under way."""
        return TileResult(
            self.output, source, grid, self._folder, self._model_id, self._decided, shard=shard, window=self.window
        )

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
        facts = {**self.facts(), "model": self._model_id[:16]}
        self._journal = Journal(self._folder, int(trainer.global_rank), facts, self.index_name)
        self._slides = SlideResults(
            self._slide_result,
            self._folder,
            rank=int(trainer.global_rank),
            world_size=int(trainer.world_size),
            resume=self.resume,
            validate=self.validate,
        )
        if not self.resume:
            # before any process begins
            if int(trainer.local_rank) == 0:
                self._slides.clear()
            trainer.strategy.barrier()
        if stage == "predict" and self.resume:
            self._skip_finished(pl_module)

    def _end(self, trainer: Any, pl_module: Any) -> None:
        self._restore(pl_module)
        if not self._stage:
            return
        self._stage = ""
        self._end_slides(trainer)
        trainer.strategy.barrier()
        # one process of each machine, as each may have a disk of its own
        if int(trainer.local_rank) == 0:
            merge_journals(self._folder, self.index_name)
        trainer.strategy.barrier()
        if self._failure is not None and self.on_error == "raise":
            raise self._failure

    def _skip_finished(self, pl_module: Any) -> None:
        """Have ``predict_step`` leave out batches whose results are all there: those of every writer of the run."""
        self._restore(pl_module)
        own = pl_module.__dict__.get("predict_step")
        if hasattr(own, "writers"):
            own.writers.append(self)
            return
        step, writers = pl_module.predict_step, [self]

        @functools.wraps(step)
        def predict_step(*args: Any, **kwargs: Any) -> Any:
            batch = args[0] if args else kwargs.get("batch")
            if all(writer._is_known(batch) for writer in writers):
                return None
            return step(*args, **kwargs)

        # what was there before, and whose results count, for the writers that join and leave
        predict_step.plain, predict_step.writers = own, writers  # type: ignore[attr-defined]
        pl_module.__dict__["predict_step"] = predict_step

    def _restore(self, pl_module: Any) -> None:
        own = pl_module.__dict__.get("predict_step")
        if self not in getattr(own, "writers", ()):
            return
        own.writers.remove(self)
        if own.writers:
            return
        if own.plain is None:
            del pl_module.__dict__["predict_step"]
        else:
            pl_module.__dict__["predict_step"] = own.plain

    # ------------------------------------------------------------------ one batch
    def _write_batch(self, outputs: Any, batch: Any) -> None:
        if not self._stage:
            return
        batch = as_mapping(batch)
        if is_tiles(batch):
            self._write_tiles(outputs, batch)
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
        for case in split_batch(self._predictions(outputs), batch, self.image_key, self._label_key()):
            self._take(case)

    # ------------------------------------------------------------------ volumes
    def _label_key(self) -> str:
        return "label"

    def _take(self, case: Case) -> None:
        """Deal with one prediction of a batch."""
        if self.selects(self._source(case.handle)):
            self._write(case, self._activated(case.pred))

    def selects(self, source: SourceSeries) -> bool:
        """Whether predictions of this source are written; all are."""
        return True

    def _write(self, case: Case, activated: Any) -> None:
        item = case.handle, case.place
        if item in self._finished or (self.resume and self._is_finished(*item)):
            self._note(self._finished[item])
            return
        try:
            with validated(self._source(case.handle), self.validate):
                written = self._save(case, activated)
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

    # ------------------------------------------------------------------ tiles of slides
    def _is_known(self, batch: Any) -> bool:
        """Whether all results of a batch are there already."""
        batch = as_mapping(batch)
        if is_tiles(batch):
            assert self._slides is not None
            return all(self._slides.has(tile) for tile in tiles_of_batch(batch, self.image_key))
        return all(self._is_finished(*item) for item in self._items(batch))

    def _write_tiles(self, outputs: Any, batch: Any) -> None:
        if self.transform is not None:
            raise EncodingError("transform= undoes preprocessing of volumes; tiles are written where they were cut")
        assert self._slides is not None
        tiles = tiles_of_batch(batch, self.image_key)
        preds: list[Any] = [None] * len(tiles)
        if outputs is not None:
            preds = self._predictions(outputs, of_tiles=True)
            if len(preds) != len(tiles):
                raise EncodingError(f"{len(preds)} predictions came out of a batch of {len(tiles)} tiles")
        elif not all(self._slides.has(tile) for tile in tiles):
            raise EncodingError("the step returned None for tiles that are not known yet")
        try:
            for tile, pred in zip(tiles, preds, strict=True):
                if pred is None or not self.selects(self._slides.source(tile.handle)):
                    continue
                if not self._slides.has(tile):
                    self._slides.put(tile, self._tile_value(pred))
            for written in self._slides.finish_complete(tiles):
                self._note(written)
            self._note_empty()
        except (DicomMLError, OSError) as error:
            if self.on_error == "raise":
                raise
            uid = self._slides.source(tiles[0].handle).series_instance_uid
            warnings.warn(f"predictions for slide {uid} are not written: {error}", DicomMLWarning, stacklevel=2)
            assert self._journal is not None
            self._journal.add_failure(uid, str(error))

    def _end_slides(self, trainer: Any) -> None:
        """Finish what several processes had parts of; all of them come here."""
        assert self._slides is not None and self._journal is not None
        self._slides.close()
        trainer.strategy.barrier()
        done, short, failed = self._slides.finish_all(self.incomplete == "write")
        for written in done:
            self._note(written)
        self._note_empty()
        for uid, count, wanted in short:
            why = f"{count} of {wanted} tiles were predicted; the same run goes on with the others"
            warnings.warn(f"slide {uid} is not written yet: {why}", DicomMLWarning, stacklevel=2)
            self._journal.add_failure(uid, why)
        for uid, error in failed:
            warnings.warn(f"slide {uid} is not written: {error}", DicomMLWarning, stacklevel=2)
            self._journal.add_failure(uid, str(error))
        self._failure = failed[0][1] if failed else None

    def _note_empty(self) -> None:
        """Tell of slides on which nothing was found, where that leaves no file."""
        assert self._slides is not None and self._journal is not None
        while self._slides.empty:
            uid = self._slides.empty.pop()
            tell_empty(uid)
            self._journal.add_empty(uid)

    def _note(self, written: Written) -> None:
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
        if self._slides is not None:
            self._slides.close()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the module as it was."""
        self._restore(pl_module)
