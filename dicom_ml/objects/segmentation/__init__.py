"""DICOM Segmentation: written from masks, and read from files of any maker (PS3.3 A.51)."""

from dicom_ml.objects.segmentation.descriptions import Algorithm, Segment
from dicom_ml.objects.segmentation.segmentation import Segmentation, read_segmentation

__all__ = ["Algorithm", "Segment", "Segmentation", "read_segmentation"]
