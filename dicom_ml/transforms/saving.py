"""What savers of predictions on the grid of their image share: segmentations and parametric maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from monai.config import KeysCollection
from monai.transforms.transform import MapTransform, Transform
from monai.utils import MetaKeys, PostFix

from dicom_ml.bridge.results import Written
from dicom_ml.bridge.tensors import SOURCE_KEY, handle_of, prediction_array
from dicom_ml.errors import EncodingError, GeometryError
from dicom_ml.objects.iod import validated
from dicom_ml.source import as_source

__all__ = ["SAVED_TO", "GridSaver", "GridSaverd", "borrowed_source", "saved_meta", "savers_of"]

SAVED_TO = str(MetaKeys.SAVED_TO.value)


class Saver(Protocol):
    output: Any


S = TypeVar("S", bound=Saver)


class GridSaver(Transform):
    """Writes a prediction on the grid that it says it lies on.

    A subclass makes output, folder and model, and says whether objects are validated.
    """

    output: Any
    output_dir: str
    model: str
    validate: bool

    def __call__(self, pred: Any, source: Any = None, affine: Any = None) -> Any:
        """Write ``pred``.

        Parameters
        ----------
        pred : MetaTensor, Tensor or ndarray of shape (C, W, H, D)
            What the channels are is said by the class.
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
            If it cannot be written rightly, or, with ``validate``, would not conform.
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
        record = as_source(handle)
        with validated(record, self.validate):
            return self.output.write(array, lps, record, self.output_dir, model=self.model)


class GridSaverd(MapTransform):
    """Dictionary form of a :class:`GridSaver`: one made for each key."""

    def __init__(self, keys: KeysCollection, make: Callable[[], Any], on: str, allow_missing_keys: bool) -> None:
        super().__init__(keys, allow_missing_keys)
        self.on = on
        self._savers = savers_of(self.keys, make)

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


def savers_of(keys: Sequence[Hashable], make: Callable[[], S]) -> dict[Hashable, S]:
    """A saver for each key: two predictions of one image are two results, with UIDs and names of their own."""
    savers = {key: make() for key in keys}
    if len(savers) > 1:
        for key, saver in savers.items():
            output: Any = saver.output
            saver.output = replace(output, settings={**output.settings, "key": str(key)})
    return savers


def saved_meta(written: Written) -> dict[str, str]:
    return {SAVED_TO: os.fspath(written.path), "saved_sop_instance_uid": written.sop_instance_uid}


def borrowed_source(pred: Any, data: Mapping[Hashable, Any], key: Hashable, on: str) -> tuple[Any, Any]:
    """Source and affine for a prediction that has none of its own: from its meta dictionary, else from its image."""
    if handle_of(getattr(pred, "meta", None)):
        return None, None
    beside: Any = data.get(PostFix.meta(str(key)))
    if handle_of(beside):
        return beside[SOURCE_KEY], beside.get("affine")
    image = data.get(on)
    meta: Any = getattr(image, "meta", None) or data.get(PostFix.meta(on))
    handle = handle_of(meta)
    if handle is None or image is None:
        return None, None
    if tuple(image.shape[-3:]) != tuple(pred.shape[-3:]):
        raise GeometryError(
            f"{key!r} of shape {tuple(pred.shape)} carries no geometry, and {on!r} has another shape, "
            f"{tuple(image.shape)}, so it cannot lend its own: keep {key!r} a MetaTensor"
        )
    return handle, meta["affine"]
