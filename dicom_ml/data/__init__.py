"""Torch datasets and Lightning data modules over DICOM series.

Names are loaded when first used: the datasets need torch, the data modules need Lightning, and neither brings in the
other. MONAI is used where it is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_ml.bridge.annotation_labels import AnnotationLabels as AnnotationLabels
    from dicom_ml.bridge.annotation_labels import EvaluationLabels as EvaluationLabels
    from dicom_ml.bridge.tile_labels import SegmentationLabels as SegmentationLabels
    from dicom_ml.bridge.tile_labels import SpecimenLabels as SpecimenLabels
    from dicom_ml.bridge.tile_labels import specimen_codes as specimen_codes
    from dicom_ml.bridge.tiles import TileGrid as TileGrid
    from dicom_ml.bridge.tissue import TissueMap as TissueMap
    from dicom_ml.bridge.tissue import tissue_mask as tissue_mask
    from dicom_ml.bridge.tissue import tissue_segmentation as tissue_segmentation
    from dicom_ml.data.collating import collate_detections as collate_detections
    from dicom_ml.data.dataset import VolumeDataset as VolumeDataset
    from dicom_ml.data.dataset import collate_items as collate_items
    from dicom_ml.data.inference import predict_slide as predict_slide
    from dicom_ml.data.module import VolumeDataModule as VolumeDataModule
    from dicom_ml.data.records import find_series as find_series
    from dicom_ml.data.records import find_slides as find_slides
    from dicom_ml.data.records import split_by_patient as split_by_patient
    from dicom_ml.data.samplers import BalancedSampler as BalancedSampler
    from dicom_ml.data.samplers import SlideSampler as SlideSampler
    from dicom_ml.data.tile_module import TileDataModule as TileDataModule
    from dicom_ml.data.tiles import TileDataset as TileDataset

_HOMES = {
    "AnnotationLabels": "dicom_ml.bridge.annotation_labels",
    "BalancedSampler": "dicom_ml.data.samplers",
    "EvaluationLabels": "dicom_ml.bridge.annotation_labels",
    "SegmentationLabels": "dicom_ml.bridge.tile_labels",
    "SlideSampler": "dicom_ml.data.samplers",
    "SpecimenLabels": "dicom_ml.bridge.tile_labels",
    "TileDataModule": "dicom_ml.data.tile_module",
    "TileDataset": "dicom_ml.data.tiles",
    "TileGrid": "dicom_ml.bridge.tiles",
    "TissueMap": "dicom_ml.bridge.tissue",
    "VolumeDataModule": "dicom_ml.data.module",
    "VolumeDataset": "dicom_ml.data.dataset",
    "collate_detections": "dicom_ml.data.collating",
    "collate_items": "dicom_ml.data.dataset",
    "find_series": "dicom_ml.data.records",
    "find_slides": "dicom_ml.data.records",
    "predict_slide": "dicom_ml.data.inference",
    "specimen_codes": "dicom_ml.bridge.tile_labels",
    "split_by_patient": "dicom_ml.data.records",
    "tissue_mask": "dicom_ml.bridge.tissue",
    "tissue_segmentation": "dicom_ml.bridge.tissue",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'dicom_ml.data' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
