"""DICOM in, tensors, a model, DICOM out.

The public names live here and are loaded when first used, so that ``import dicom_ml`` costs nothing
beyond numpy and pydicom and never brings in torch, MONAI or Lightning::

    import dicom_ml as dml

    volume = dml.read_volume("series/")
    seg = dml.Segmentation.from_array(mask, source=volume, segments=[liver], kind="labelmap")

MONAI transforms are in :mod:`dicom_ml.transforms`, torch datasets in :mod:`dicom_ml.data` and
Lightning callbacks in :mod:`dicom_ml.callbacks`; those are imported by their own names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_ml.codes import Code as Code
    from dicom_ml.encoding.transcoding import transcode as transcode
    from dicom_ml.errors import CodecError as CodecError
    from dicom_ml.errors import CodeError as CodeError
    from dicom_ml.errors import DicomMLError as DicomMLError
    from dicom_ml.errors import DicomMLWarning as DicomMLWarning
    from dicom_ml.errors import EncodingError as EncodingError
    from dicom_ml.errors import FileError as FileError
    from dicom_ml.errors import GeometryError as GeometryError
    from dicom_ml.errors import MissingPackageError as MissingPackageError
    from dicom_ml.errors import SeriesError as SeriesError
    from dicom_ml.errors import StoreError as StoreError
    from dicom_ml.geometry import Grid as Grid
    from dicom_ml.objects.annotations import AnnotationGroup as AnnotationGroup
    from dicom_ml.objects.annotations import AnnotationMeasurement as AnnotationMeasurement
    from dicom_ml.objects.annotations import Annotations as Annotations
    from dicom_ml.objects.annotations import read_annotations as read_annotations
    from dicom_ml.objects.iod import Finding as Finding
    from dicom_ml.objects.iod import validate as validate
    from dicom_ml.objects.key_objects import KeyObjects as KeyObjects
    from dicom_ml.objects.key_objects import read_key_objects as read_key_objects
    from dicom_ml.objects.parametric_map import ParametricMap as ParametricMap
    from dicom_ml.objects.parametric_map import Quantity as Quantity
    from dicom_ml.objects.parametric_map import read_parametric_map as read_parametric_map
    from dicom_ml.objects.presentation import PresentationState as PresentationState
    from dicom_ml.objects.presentation import read_presentation_state as read_presentation_state
    from dicom_ml.objects.report import Box as Box
    from dicom_ml.objects.report import Circle as Circle
    from dicom_ml.objects.report import ContentItem as ContentItem
    from dicom_ml.objects.report import Contours as Contours
    from dicom_ml.objects.report import Ellipse as Ellipse
    from dicom_ml.objects.report import Ellipsoid as Ellipsoid
    from dicom_ml.objects.report import Evaluation as Evaluation
    from dicom_ml.objects.report import Measurement as Measurement
    from dicom_ml.objects.report import MeasurementGroup as MeasurementGroup
    from dicom_ml.objects.report import MultiPoint as MultiPoint
    from dicom_ml.objects.report import Point as Point
    from dicom_ml.objects.report import Polygon as Polygon
    from dicom_ml.objects.report import Polyline as Polyline
    from dicom_ml.objects.report import Reference as Reference
    from dicom_ml.objects.report import Report as Report
    from dicom_ml.objects.report import SegmentationFrame as SegmentationFrame
    from dicom_ml.objects.report import SegmentReference as SegmentReference
    from dicom_ml.objects.report import Site as Site
    from dicom_ml.objects.report import TimePoint as TimePoint
    from dicom_ml.objects.report import read_report as read_report
    from dicom_ml.objects.report import read_sr_tree as read_sr_tree
    from dicom_ml.objects.secondary_capture import SecondaryCapture as SecondaryCapture
    from dicom_ml.objects.secondary_capture import read_secondary_capture as read_secondary_capture
    from dicom_ml.objects.segmentation import Algorithm as Algorithm
    from dicom_ml.objects.segmentation import Segment as Segment
    from dicom_ml.objects.segmentation import Segmentation as Segmentation
    from dicom_ml.objects.segmentation import read_segmentation as read_segmentation
    from dicom_ml.objects.structure_set import RegionOfInterest as RegionOfInterest
    from dicom_ml.objects.structure_set import StructureSet as StructureSet
    from dicom_ml.objects.structure_set import read_structure_set as read_structure_set
    from dicom_ml.reading import Slide as Slide
    from dicom_ml.reading import Volume as Volume
    from dicom_ml.reading import open_slide as open_slide
    from dicom_ml.reading import read_volume as read_volume
    from dicom_ml.reading.index import Index as Index
    from dicom_ml.reading.index import SeriesRow as SeriesRow
    from dicom_ml.reading.index import open_index as open_index
    from dicom_ml.reading.index import scan as scan
    from dicom_ml.source import SourceSeries as SourceSeries

__version__ = "0.1.0"

# Public name -> the module that holds it.
_HOMES = {
    "Index": "dicom_ml.reading.index",
    "SeriesRow": "dicom_ml.reading.index",
    "open_index": "dicom_ml.reading.index",
    "scan": "dicom_ml.reading.index",
    "Box": "dicom_ml.objects.report",
    "Circle": "dicom_ml.objects.report",
    "ContentItem": "dicom_ml.objects.report",
    "Contours": "dicom_ml.objects.report",
    "Ellipse": "dicom_ml.objects.report",
    "Ellipsoid": "dicom_ml.objects.report",
    "Evaluation": "dicom_ml.objects.report",
    "Measurement": "dicom_ml.objects.report",
    "MeasurementGroup": "dicom_ml.objects.report",
    "MultiPoint": "dicom_ml.objects.report",
    "Point": "dicom_ml.objects.report",
    "Polygon": "dicom_ml.objects.report",
    "Polyline": "dicom_ml.objects.report",
    "Reference": "dicom_ml.objects.report",
    "Report": "dicom_ml.objects.report",
    "SegmentReference": "dicom_ml.objects.report",
    "SegmentationFrame": "dicom_ml.objects.report",
    "Site": "dicom_ml.objects.report",
    "TimePoint": "dicom_ml.objects.report",
    "read_report": "dicom_ml.objects.report",
    "read_sr_tree": "dicom_ml.objects.report",
    "AnnotationGroup": "dicom_ml.objects.annotations",
    "AnnotationMeasurement": "dicom_ml.objects.annotations",
    "Annotations": "dicom_ml.objects.annotations",
    "Algorithm": "dicom_ml.objects.segmentation",
    "Code": "dicom_ml.codes",
    "CodeError": "dicom_ml.errors",
    "CodecError": "dicom_ml.errors",
    "DicomMLError": "dicom_ml.errors",
    "DicomMLWarning": "dicom_ml.errors",
    "EncodingError": "dicom_ml.errors",
    "FileError": "dicom_ml.errors",
    "Finding": "dicom_ml.objects.iod",
    "GeometryError": "dicom_ml.errors",
    "Grid": "dicom_ml.geometry",
    "MissingPackageError": "dicom_ml.errors",
    "KeyObjects": "dicom_ml.objects.key_objects",
    "ParametricMap": "dicom_ml.objects.parametric_map",
    "PresentationState": "dicom_ml.objects.presentation",
    "Quantity": "dicom_ml.objects.parametric_map",
    "RegionOfInterest": "dicom_ml.objects.structure_set",
    "SecondaryCapture": "dicom_ml.objects.secondary_capture",
    "Segment": "dicom_ml.objects.segmentation",
    "Segmentation": "dicom_ml.objects.segmentation",
    "SeriesError": "dicom_ml.errors",
    "StoreError": "dicom_ml.errors",
    "Slide": "dicom_ml.reading",
    "SourceSeries": "dicom_ml.source",
    "StructureSet": "dicom_ml.objects.structure_set",
    "Volume": "dicom_ml.reading",
    "read_annotations": "dicom_ml.objects.annotations",
    "read_key_objects": "dicom_ml.objects.key_objects",
    "read_parametric_map": "dicom_ml.objects.parametric_map",
    "open_slide": "dicom_ml.reading",
    "read_presentation_state": "dicom_ml.objects.presentation",
    "read_secondary_capture": "dicom_ml.objects.secondary_capture",
    "read_segmentation": "dicom_ml.objects.segmentation",
    "read_structure_set": "dicom_ml.objects.structure_set",
    "read_volume": "dicom_ml.reading",
    "transcode": "dicom_ml.encoding.transcoding",
    "validate": "dicom_ml.objects.iod",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'dicom_ml' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
