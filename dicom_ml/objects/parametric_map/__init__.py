"""DICOM Parametric Map: written from arrays of real values, and read from files of any maker (PS3.3 A.75)."""

from dicom_ml.objects.parametric_map.parametric_map import ParametricMap, read_parametric_map
from dicom_ml.objects.parametric_map.values import Quantity

__all__ = ["ParametricMap", "Quantity", "read_parametric_map"]
