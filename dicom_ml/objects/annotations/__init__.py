"""Microscopy Bulk Simple Annotations: nuclei, cells and outlines by the million (PS3.3 A.87)."""

from dicom_ml.objects.annotations.annotations import Annotations, read_annotations
from dicom_ml.objects.annotations.group import AnnotationGroup, AnnotationMeasurement

__all__ = ["AnnotationGroup", "AnnotationMeasurement", "Annotations", "read_annotations"]
