"""RT Structure Sets: contours that people and programs drew, read and made into masks (PS3.3 A.19)."""

from dicom_ml.objects.structure_set.regions import Contour, RegionOfInterest
from dicom_ml.objects.structure_set.structure_set import StructureSet, read_structure_set

__all__ = ["Contour", "RegionOfInterest", "StructureSet", "read_structure_set"]
