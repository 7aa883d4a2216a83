"""Numbers a voxel, saved as DICOM parametric maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from monai.config import KeysCollection

from dicom_ml.bridge.map_output import ParametricMapOutput, as_quantities
from dicom_ml.transforms.saving import GridSaver, GridSaverd

__all__ = ["SaveParametricMap", "SaveParametricMapD", "SaveParametricMapDict", "SaveParametricMapd"]


class SaveParametricMap(GridSaver):
    """Write a prediction as a DICOM parametric map on the voxels of its source series.

    Source, place, UIDs and errors are as in :class:`dicom_ml.transforms.SaveSegmentation`.

    Parameters
    ----------
    quantity : Quantity, code or mapping, a list of these, or path of a JSON file of such
        What each channel means.
    output_dir : path
        Made where missing.
    unit : code
        UCUM unit of quantities that are given as codes.
    channels : sequence of int, optional
        Channels of the prediction that are written, one for each quantity; by default all.
    algorithm : Algorithm or mapping, optional
    dtype : {"float32", "float64", "uint16"}, optional
    value_range : sequence of 2 floats, optional
        Real values that the lowest and highest stored integers stand for.
    compression : str, optional
        Of maps of integers only.
    on_mismatch : {"error", "own-grid", "resample"}
        For predictions that do not lie on the source's voxels.
    filename : str, optional
        Template; see :class:`dicom_ml.bridge.results.NamedResults`.
    model : str
        What tells this model from another; it takes part in the UIDs.
    validate : bool
        As in :class:`dicom_ml.transforms.SaveSegmentation`.
    **options
        Further arguments of :meth:`dicom_ml.ParametricMap.from_array`, such as ``padding`` or ``qualification``.

    Notes
    -----
    The prediction's meta gets ``"saved_to"`` (the path) and ``"saved_sop_instance_uid"``.

    Examples
    --------
    >>> SaveParametricMapd("pred", "DCM:113041", "out", unit="mm2/s")  # doctest: +SKIP
    """

    def __init__(
        self,
        quantity: Any,
        output_dir: str | os.PathLike[str] = ".",
        *,
        unit: Any = "1",
        channels: Sequence[int] | None = None,
        algorithm: Any = None,
        dtype: str | None = None,
        value_range: Sequence[float] | None = None,
        compression: str | None = None,
        on_mismatch: str = "error",
        filename: str | None = None,
        model: str = "",
        validate: bool = True,
        **options: Any,
    ) -> None:
        self.output = ParametricMapOutput(
            as_quantities(quantity, unit),
            channels,
            algorithm,
            dtype,
            value_range,
            compression,
            on_mismatch,
            filename,
            options,
        )
        self.output_dir = os.fspath(output_dir)
        self.model = model
        self.validate = validate


class SaveParametricMapd(GridSaverd):
    """Dictionary form of :class:`SaveParametricMap`.

    Parameters
    ----------
    keys : str or sequence of str
        Keys of predictions.
    quantity, output_dir, **options
        As in :class:`SaveParametricMap`.
    on : str
        Key of the image, which gives source and affine to predictions that have lost theirs but have kept its shape.
    allow_missing_keys : bool
    """

    def __init__(
        self,
        keys: KeysCollection,
        quantity: Any,
        output_dir: str | os.PathLike[str] = ".",
        *,
        on: str = "image",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, lambda: SaveParametricMap(quantity, output_dir, **options), on, allow_missing_keys)


SaveParametricMapD = SaveParametricMapDict = SaveParametricMapd
