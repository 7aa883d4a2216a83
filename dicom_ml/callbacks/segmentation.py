"""Predictions written as DICOM segmentations while they are made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.output import SegmentationOutput, as_segments
from dicom_ml.callbacks.writer import ResultWriter

__all__ = ["SegmentationWriter"]


class SegmentationWriter(ResultWriter):
    """Write what ``predict_step`` returns as DICOM SEG files, each on the voxels of its source series or slide.

    The source of a prediction is what the batch says, by the handle that :class:`dicom_ml.transforms.LoadDicom` or
    :class:`dicom_ml.data.VolumeDataset` put there; batch indices play no part. With several processes every source
    is written once: samplers that repeat items to fill up, and processes that hold the same source, end in the same
    file with the same UIDs. UIDs and names follow from source, segments, settings and the weights of the model, so a
    run that was killed goes on where it stopped: what is finished is not computed again.

    Tiles of slides (:class:`dicom_ml.data.TileDataset`) stream into one object a slide, which closes on its last tile,
    or at the end where several processes had tiles of it. Every tile waits on disk, in the output folder, until then:
    all processes must see that folder. A prediction is ``(C, rows, columns)`` a tile, or for classifiers ``(C,)``: then
    the object is a coarse matrix with a pixel for each tile. Tiles that overlap are blended.

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
        Leave files alone that an earlier run finished, and in ``predict`` do not run the model for them, nor for
        tiles that are known. A ``predict_step`` that talks to other processes needs ``resume=False``, which also
        removes what unfinished runs left in the folder.
    on_error : {"raise", "skip"}
        What a prediction that cannot be written does: stop the run, or be noted in the index with a warning.
    window : {"hann", "gaussian", "triangle", "constant"}
        How tiles that overlap are weighted: see :func:`dicom_ml.bridge.blending.window_weights`. What is blended is
        the prediction after ``activation``; it is decided afterwards.
    incomplete : {"keep", "write"}
        What to do with a slide of which tiles are missing when the run ends: keep what there is, so that the same run
        can go on, or write it, with nothing where tiles are missing.
    validate : bool
        Check every object against the standard and its source before it takes its name, as :func:`dicom_ml.validate`
        does; one with an error is not written, and treated by ``on_error``.
    **options
        Further arguments of :meth:`dicom_ml.Segmentation.from_array`, such as ``series_description``; of slides also
        ``organization`` and ``tile_size``.

    Attributes
    ----------
    written : list of Written
        What this process wrote or found finished.

    Examples
    --------
    >>> writer = SegmentationWriter("out/", segments=segments, transform=pre)  # doctest: +SKIP
    >>> L.Trainer(callbacks=[writer]).predict(model, datamodule, return_predictions=False)  # doctest: +SKIP
    """

    index_name = "segmentations"

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
        window: str = "hann",
        incomplete: str = "keep",
        validate: bool = True,
        **options: Any,
    ) -> None:
        settings = {"activation": activation, "decide": decide, "threshold": threshold, "nearest": nearest_interp}
        if key is not None:
            settings["key"] = key
        made = as_segments(segments, algorithm)
        super().__init__(
            output_dir,
            SegmentationOutput(made, kind, compression, on_mismatch, filename, options, settings),
            Decision(activation, decide, threshold),
            key=key,
            image_key=image_key,
            transform=transform,
            nearest_interp=nearest_interp,
            model=model,
            stages=stages,
            resume=resume,
            on_error=on_error,
            window=window,
            incomplete=incomplete,
            validate=validate,
        )

    def facts(self) -> dict[str, Any]:
        """What the index says of every file."""
        algorithm = self.output.segments[0].algorithm
        return {
            "kind": self.output.kind,
            "algorithm": "" if algorithm is None else algorithm.name,
            "algorithm_version": "" if algorithm is None else algorithm.version,
        }

    def values(self, activated: Any) -> Any:
        """Labels or channels of an activated prediction ``(C, ...)``."""
        return self.decision.mask(activated, self.output.numbers, self.output.kind)
