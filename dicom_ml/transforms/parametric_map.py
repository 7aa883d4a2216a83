"""Numbers a voxel, saved as DICOM parametric maps."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import PostFix

from dicom_ml.bridge.map_output import ParametricMapOutput, as_quantities
from dicom_ml.bridge.output import as_algorithm
from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import handle_of, prediction_array
from dicom_ml.errors import EncodingError
from dicom_ml.transforms.segmentation import borrowed_source, saved_meta

__all__ = ["SaveParametricMap", "SaveParametricMapD", "SaveParametricMapDict", "SaveParametricMapd"]


class SaveParametricMap(Transform):
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
        **options: Any,
    ) -> None:
        output = ParametricMapOutput(
            as_quantities(quantity, unit),
            None if channels is None else tuple(channels),
            as_algorithm(algorithm),
            dtype,
            None if value_range is None else (float(value_range[0]), float(value_range[1])),
            compression,
            on_mismatch,
            options=options,
        )
        self.output = output if filename is None else replace(output, filename=filename)
        self.output_dir = os.fspath(output_dir)
        self.model = model

    def __call__(self, pred: Any, source: Any = None, affine: Any = None) -> Any:
        """Write ``pred``.

        Parameters
        ----------
        pred : MetaTensor, Tensor or ndarray of shape (C, W, H, D)
        source : str, SourceSeries or Volume, optional
            For what has no handle in its meta.
        affine : array_like of shape (4, 4), optional
            RAS affine, for what is no MetaTensor.

        Returns
        -------
        pred
            The same object.

        Raises
        ------
        EncodingError, GeometryError, SeriesError
            If it cannot be written rightly.
        """
        written = self.write(pred, source, affine)
        meta = getattr(pred, "meta", None)
        if meta is not None:
            meta.update(saved_meta(written))
        return pred

    def write(self, pred: Any, source: Any = None, affine: Any = None) -> Written:
        """Write ``pred`` and say where and as what."""
        array, lps = prediction_array(pred, affine)
        handle = handle_of(getattr(pred, "meta", None)) if source is None else source
        if handle is None:
            raise EncodingError(
                "the prediction does not say which series it was made from: keep it a MetaTensor from LoadDicomd on "
                "(is monai.data.set_track_meta on?), or pass source="
            )
        return self.output.write(array, lps, handle, self.output_dir, model=self.model)


class SaveParametricMapd(MapTransform):
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
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self._savers = {}
        for key in self.keys:
            saver = SaveParametricMap(quantity, output_dir, **options)
            if len(self.keys) > 1:
                # two predictions of one image are two results, with UIDs and names of their own
                saver.output = replace(saver.output, settings={"key": str(key)})
            self._savers[key] = saver

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            pred = d[key]
            source, affine = borrowed_source(pred, d, key, self.on)
            written = self._savers[key].write(pred, source, affine)
            # a plain tensor has its meta beside it
            beside = d.setdefault(PostFix.meta(str(key)), {}) if getattr(pred, "meta", None) is None else pred.meta
            beside.update(saved_meta(written))
        return d


SaveParametricMapD = SaveParametricMapDict = SaveParametricMapd
