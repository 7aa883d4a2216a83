"""Predictions written as DICOM parametric maps while they are made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from dicom_ml.bridge.decision import Decision
from dicom_ml.bridge.map_output import ParametricMapOutput, as_quantities
from dicom_ml.callbacks.writer import ResultWriter

__all__ = ["ParametricMapWriter"]


class ParametricMapWriter(ResultWriter):
    """Write the numbers that ``predict_step`` returns as DICOM parametric maps, on their source series or slide.

    All that :class:`dicom_ml.callbacks.SegmentationWriter` says holds here: sources by what the batch says, each once
    over all processes, tiles of slides in one object, overlapping ones blended, killed runs going on. A classifier of
    tiles gives ``(B, C)``: its map is a coarse matrix with a pixel for each tile, whose centre is the tile's.

    Parameters
    ----------
    output_dir : path
        Holds the files and ``parametric-maps.json``, an index of them.
    quantity : Quantity, code or mapping, or a list of these
        What each channel means.
    unit : code
        UCUM unit of quantities that are given as codes.
    channels : sequence of int, optional
        Channels of the prediction that are written, one for each quantity: ``[1]`` writes the second class of a
        softmax. By default all.
    algorithm : Algorithm or mapping, optional
    dtype : {"float32", "float64", "uint16"}, optional
    value_range : sequence of 2 floats, optional
        Real values that the lowest and highest stored integers stand for; ``"uint16"`` of slides needs it.
    activation : {None, "softmax", "sigmoid"}
        Applied to the network's output.
    key, image_key, transform, nearest_interp, compression, on_mismatch, filename, model, stages, resume, on_error
        As in :class:`dicom_ml.callbacks.SegmentationWriter`.
    window, incomplete, validate
        Likewise.
    **options
        Further arguments of :meth:`dicom_ml.ParametricMap.from_array`, such as ``padding`` (which, in coarse maps,
        stands for tiles that were not predicted; elsewhere they are zero), ``organization`` or ``qualification``.

    Examples
    --------
    >>> writer = ParametricMapWriter("out/", dml.Quantity("DCM:122157"), channels=[1], activation="softmax")
    ... # doctest: +SKIP
    """

    index_name = "parametric-maps"

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        quantity: Any,
        unit: Any = "1",
        *,
        channels: Sequence[int] | None = None,
        algorithm: Any = None,
        dtype: str | None = None,
        value_range: Sequence[float] | None = None,
        key: str | None = None,
        image_key: str = "image",
        activation: str | None = None,
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
        settings: dict[str, Any] = {"activation": activation, "nearest": nearest_interp}
        if key is not None:
            settings["key"] = key
        output = ParametricMapOutput(
            as_quantities(quantity, unit),
            channels,
            algorithm,
            dtype,
            value_range,
            compression,
            on_mismatch,
            filename,
            options,
            settings,
        )
        super().__init__(
            output_dir,
            output,
            Decision(activation),
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
        algorithm = self.output.algorithm
        return {
            "quantities": [q.label for q in self.output.quantities],
            "algorithm": "" if algorithm is None else algorithm.name,
            "algorithm_version": "" if algorithm is None else algorithm.version,
        }

    def values(self, activated: Any) -> Any:
        """All channels; those that are written are chosen by the output."""
        return activated
