"""From the outputs of a step and its batch to one prediction a source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.found import looks_like_detections
from dicom_ml.bridge.tensors import SOURCE_KEY, prediction_array, torch
from dicom_ml.bridge.tile_items import holds_findings
from dicom_ml.errors import EncodingError, GeometryError

__all__ = [
    "Case",
    "array_of",
    "as_mapping",
    "detections",
    "findings",
    "handles_of_batch",
    "inverted",
    "places_of_batch",
    "predictions",
    "split_batch",
]

_NAMES = ("pred", "prediction", "predictions", "logits", "output")


@dataclass
class Case:
    """A prediction and its source.

    Attributes
    ----------
    handle : str
    place : str
        A digest of where the image lies and how large it is, as the network saw it.
    pred : Tensor of shape (C, ...), or detections of one image
    affine : Tensor of shape (4, 4) or None
        Of the prediction: RAS over ``(w, h, d)`` where ``monai``, else LPS over ``(d, h, w)``. None where nothing
        says where the prediction lies.
    monai : bool
    image : MetaTensor or None
        The image the prediction was made from, with its record of transforms.
    label : Tensor or None
    shape : tuple of int
        Of the image, without its channels; empty where there is none.
    """

    handle: str
    place: str
    pred: Any
    affine: Any
    monai: bool
    image: Any = None
    label: Any = None
    shape: tuple[int, ...] = ()


# ---------------------------------------------------------------------- batches
def as_mapping(batch: Any) -> Any:
    """A list of items that were not collated, as detectors of images of many sizes take them, as a mapping of lists."""
    if _is_list(batch) and len(batch) and all(isinstance(item, Mapping) for item in batch):
        return {key: [item[key] for item in batch] for key in batch[0] if all(key in item for item in batch)}
    return batch


def handles_of_batch(batch: Any, image_key: str) -> list[str]:
    """Source handle of every item of a batch.

    Raises
    ------
    EncodingError
        If the batch says nothing of its sources, or of one for several items.
    """
    image = _image_of(batch, image_key)
    found = None
    if image is not None and hasattr(image, "meta"):
        found = image.meta.get(SOURCE_KEY)
    elif _is_list(image) and all(hasattr(one, "meta") for one in image):
        found = [one.meta.get(SOURCE_KEY) for one in image]
        found = found if all(found) else None
    if found is None and isinstance(batch, Mapping):
        found = batch.get(SOURCE_KEY)
    if found is None:
        raise EncodingError(
            "the batch does not say which series its images are: it needs MetaTensors of LoadDicomd, DicomReader or "
            f"VolumeDataset, or a list of handles under {SOURCE_KEY!r}"
        )
    handles = [found] if isinstance(found, str) else list(found)
    count = len(handles) if image is None else len(image)
    if len(handles) != count:
        raise EncodingError(
            f"the batch has {count} items and {len(handles)} sources: it was collated without regard to meta; "
            "use dicom_ml.data.collate_items, or monai.data.DataLoader"
        )
    return handles


def places_of_batch(batch: Any, image_key: str, count: int) -> list[str]:
    """Where each image of a batch lies, as a digest: it tells parts of a volume, and ways of preprocessing, apart."""
    image = _image_of(batch, image_key)
    affine = getattr(image, "affine", None)
    if affine is None and isinstance(batch, Mapping):
        affine = batch.get("affine")
    if affine is None and _is_list(image):
        own = [getattr(one, "affine", None) for one in image]
        affine = own if all(one is not None for one in own) else None
    places = []
    for number in range(count):
        shape = () if image is None else tuple(image[number].shape[1:]) if _is_list(image) else tuple(image.shape[2:])
        one = None if affine is None else affine[number] if len(affine) == count and affine[0].ndim == 2 else affine
        # rounded, so that the last bits of a sum play no part; + 0.0 makes every zero positive
        rounded = b"" if one is None else (np.asarray(torch.as_tensor(one).cpu().double()).round(3) + 0.0).tobytes()
        places.append(hashlib.sha256(repr(shape).encode() + rounded).hexdigest()[:16])
    return places


def _image_of(batch: Any, image_key: str) -> Any:
    """The images of a batch: those under the key, else the first tensor that knows its source."""
    if isinstance(batch, Mapping) and image_key in batch:
        return batch[image_key]
    if isinstance(batch, torch.Tensor):
        return batch
    parts = list(batch.values()) if isinstance(batch, Mapping) else list(batch) if _is_list(batch) else []
    return next((part for part in parts if SOURCE_KEY in (getattr(part, "meta", None) or {})), None)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def split_batch(preds: Sequence[Any], batch: Any, image_key: str, label_key: str = "label") -> list[Case]:
    """One case for each item of a batch.

    Parameters
    ----------
    preds : sequence
        A prediction for each item, as :func:`predictions` or :func:`detections` gives them.
    batch : what the step was given
    """
    handles = handles_of_batch(batch, image_key)
    if len(preds) != len(handles):
        raise EncodingError(f"{len(preds)} predictions came out of a batch of {len(handles)} images")
    image = _image_of(batch, image_key)
    images = _items(image, len(handles))
    labels = _items(batch.get(label_key) if isinstance(batch, Mapping) else None, len(handles))
    places = places_of_batch(batch, image_key, len(handles))
    cases = []
    for number, (handle, pred) in enumerate(zip(handles, preds, strict=True)):
        own = images[number]
        monai = hasattr(own, "meta") and hasattr(own, "affine")
        if monai:
            lent = own.affine
        else:
            lent = batch["affine"][number] if isinstance(batch, Mapping) and "affine" in batch else None
        said = (getattr(pred, "meta", None) or {}).get(SOURCE_KEY)
        if isinstance(said, str) and said != handle:
            raise EncodingError(
                f"prediction {number} of the batch says that it was made from another series than image {number}; "
                "predictions have to come in the order of their images"
            )
        affine = lent if isinstance(pred, Mapping) else _affine_of(pred, own, lent)
        shape = () if own is None else tuple(int(n) for n in own.shape[1:])
        cases.append(Case(handle, places[number], pred, affine, monai, own if monai else None, labels[number], shape))
    return cases


def _items(values: Any, count: int) -> list[Any]:
    if values is None:
        return [None] * count
    if hasattr(values, "meta"):
        from monai.data import decollate_batch

        if getattr(values, "is_batch", False):
            return list(decollate_batch(values))
        # a batch of one that was made by hand, or by torch's collation
        item = values[0]
        item.meta = deepcopy(values.meta)
        item.applied_operations = deepcopy(values.applied_operations)
        return [item]
    return list(values)


def predictions(outputs: Any, key: str | None, *, of_tiles: bool = False) -> list[Any]:
    """What a step returned, one prediction for each item of its batch.

    With ``of_tiles`` a prediction may also be a vector, or one number.
    """
    if isinstance(outputs, Mapping):
        names = _NAMES if key is None else (key,)
        name = next((n for n in names if n in outputs), None)
        if name is None:
            raise EncodingError(
                f"the step returned {sorted(map(str, outputs))}, none of which is {' or '.join(names)}; "
                "return the prediction under 'pred', or name its key with key="
            )
        return predictions(outputs[name], key, of_tiles=of_tiles)
    if isinstance(outputs, torch.Tensor):
        if of_tiles and outputs.ndim in (1, 2, 4):
            outputs = outputs[:, None] if outputs.ndim == 1 else outputs
            return list(outputs.as_tensor() if hasattr(outputs, "as_tensor") else outputs)
        if of_tiles:
            raise EncodingError(
                f"the step returned a tensor of shape {tuple(outputs.shape)}; predictions of tiles are (B, C, rows, "
                "columns), or (B, C) with one value for each"
            )
        if outputs.ndim < 4:
            raise EncodingError(
                f"the step returned a tensor of shape {tuple(outputs.shape)}, no predictions (B, C, ...) of volumes; "
                "return {'pred': prediction, 'loss': loss} where it has to return a loss"
            )
        if hasattr(outputs, "as_tensor") and not getattr(outputs, "is_batch", False) and len(outputs) > 1:
            # stacked by hand: torch keeps the meta of the first item, which is wrong for the others
            outputs = outputs.as_tensor()
        return _items(outputs, len(outputs))
    if _is_list(outputs):
        return [_taken(one, key) for one in outputs]
    raise EncodingError(
        f"the step returned {type(outputs).__name__}, no predictions: return a tensor (B, C, ...), a list of "
        "tensors (C, ...), or a mapping that holds one of these under 'pred'"
    )


def detections(outputs: Any, key: str | None, box_key: str | None = None) -> list[Any]:
    """What a step returned, detections of each image of its batch.

    Parameters
    ----------
    outputs : list of mapping, mapping that holds such, or the detections of the one image of a batch
    key : str, optional
        Where they stand in a mapping; by default ``"pred"`` and the like.
    box_key : str, optional
        How their boxes are called.
    """
    if looks_like_detections(outputs, box_key):
        return [outputs]
    if isinstance(outputs, Mapping):
        names = _NAMES if key is None else (key,)
        name = next((n for n in names if n in outputs), None)
        if name is None:
            raise EncodingError(
                f"the step returned {sorted(map(str, outputs))}: neither detections nor {' or '.join(names)}; return "
                "what the detector gives, or name its key with key="
            )
        return detections(outputs[name], key, box_key)
    if not _is_list(outputs):
        raise EncodingError(
            f"the step returned {type(outputs).__name__}, no detections: return a mapping of boxes, labels and scores "
            "for each image, as MONAI's and torchvision's detectors do"
        )
    return [one if looks_like_detections(one, box_key) else _taken(one, key) for one in outputs]


def findings(outputs: Any, key: str | None, box_key: str | None = None) -> list[Any]:
    """What a step found on each tile of its batch, in whatever form.

    Parameters
    ----------
    outputs : Tensor (B, rows, columns) or (B, 1, rows, columns), list of tensors or mappings, or a mapping
        A mapping may hold these under a key, or be itself the entries of all tiles: ``{"instances": (B, ...), ...}``.
    key : str, optional
        Where predictions stand in a mapping; by default ``"pred"`` and the like.
    box_key : str, optional
        How boxes are called.
    """
    if isinstance(outputs, Mapping):
        names = _NAMES if key is None else (key,)
        name = next((n for n in names if n in outputs), None)
        if name is not None:
            return findings(outputs[name], key, box_key)
        if key is not None or not holds_findings(outputs, box_key):
            wanted = "points, boxes, outlines or instances" if key is None else repr(key)
            raise EncodingError(f"the step returned {sorted(map(str, outputs))}, and no {wanted}")
        count = len(next(iter(outputs.values())))
        return [{name: values[i] for name, values in outputs.items()} for i in range(count)]
    if isinstance(outputs, torch.Tensor):
        return list(outputs.as_tensor() if hasattr(outputs, "as_tensor") else outputs)
    if not _is_list(outputs):
        raise EncodingError(
            f"the step returned {type(outputs).__name__}, no findings: return an instance map, or a mapping of points, "
            "boxes or outlines, for each tile"
        )
    own = [isinstance(one, Mapping) and not holds_findings(one, box_key) for one in outputs]
    return [_taken(one, key) if nested else one for one, nested in zip(outputs, own, strict=True)]


def _taken(item: Any, key: str | None) -> Any:
    """The prediction of an item, which may stand in a mapping."""
    if not isinstance(item, Mapping):
        return item
    names = _NAMES if key is None else (key,)
    name = next((n for n in names if n in item), None)
    if name is None:
        raise EncodingError(f"the items returned hold {sorted(map(str, item))}, none of which is {' or '.join(names)}")
    return item[name]


def _affine_of(pred: Any, image: Any, lent: Any) -> Any:
    """Where a prediction lies: by its own affine, or by that of its image where the shapes are equal."""
    same_shape = image is not None and tuple(pred.shape[1:]) == tuple(image.shape[1:])
    own = getattr(pred, "affine", None)
    if own is not None and (own.ndim != 2 or SOURCE_KEY not in (getattr(pred, "meta", None) or {})):
        own = None
    if own is not None and not same_shape and lent is not None and torch.equal(own.cpu(), torch.as_tensor(lent).cpu()):
        own = None  # the image's affine, carried along by a network that changed the shape
    if own is not None:
        return own
    return lent if same_shape else None


# ---------------------------------------------------------------------- undoing
def inverted(case: Case, pred: Any, transform: Any, image_key: str, nearest: bool) -> Any:
    """An activated prediction taken back through the preprocessing of its image.

    Returns
    -------
    MetaTensor of shape (C, W, H, D)
    """
    from monai.data import MetaTensor
    from monai.transforms import Invertd
    from monai.transforms.utils import reset_ops_id

    if case.image is None:
        raise GeometryError(
            "transform= undoes MONAI's transforms, but the batch holds no MetaTensor that they left a trace on"
        )
    if tuple(pred.shape[1:]) != tuple(case.image.shape[1:]):
        raise GeometryError(
            f"the prediction has shape {tuple(pred.shape)}, its image {tuple(case.image.shape)}: preprocessing can be "
            "undone only for a prediction of the image's shape"
        )
    image = case.image.detach().cpu()
    item = {image_key: image, "_prediction": MetaTensor(pred, meta=deepcopy(dict(image.meta)))}
    # a spawned worker's transforms have other ids; the order of the record is what counts
    reset_ops_id(item)
    undo = Invertd("_prediction", transform=transform, orig_keys=image_key, nearest_interp=nearest)
    return undo(item)["_prediction"]


def array_of(case: Case, mask: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """A mask as ``(C, D, H, W)`` and its LPS affine."""
    affine = getattr(mask, "affine", None) if hasattr(mask, "meta") else None
    if affine is None or affine.ndim != 2:
        affine = case.affine
    if affine is None:
        raise GeometryError(
            f"the prediction has shape {tuple(mask.shape)}, its image another, and no affine of its own: where its "
            "voxels lie is not known. Return a MetaTensor that says so, or a prediction of the image's shape"
        )
    if case.monai:
        return prediction_array(mask if hasattr(mask, "meta") else mask.cpu(), affine)
    if mask.ndim != 4:
        raise GeometryError(f"the prediction has shape {tuple(mask.shape)}; a volume is (C, D, H, W)")
    return mask.detach().cpu().numpy(), np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64)
