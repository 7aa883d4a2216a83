"""Microscopy Bulk Simple Annotations: nuclei, cells and outlines by the million (PS3.3 A.87)."""

from dicom_ml.objects.annotations.annotations import Annotations
from dicom_ml.objects.annotations.geojson import annotations_from_geojson, annotations_to_geojson
from dicom_ml.objects.annotations.group import AnnotationGroup, AnnotationMeasurement
from dicom_ml.objects.annotations.reading import read_annotations
from dicom_ml.objects.annotations.tables import annotations_from_csv, annotations_to_csv

__all__ = [
    "AnnotationGroup",
    "AnnotationMeasurement",
    "Annotations",
    "annotations_from_csv",
    "annotations_from_geojson",
    "annotations_to_csv",
    "annotations_to_geojson",
    "read_annotations",
]
