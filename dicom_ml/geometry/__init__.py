"""Affines, voxel grids and stacks of planes: numpy in, numpy out.

One convention holds everywhere. An array is indexed ``(d, h, w)``: slice, row, column. Its affine is a 4x4
float64 matrix that maps such an index, at voxel centres, to millimetres in the DICOM patient coordinate system
(PS3.3 C.7.6.2.1.1): x towards the patient's left, y towards posterior, z towards superior (LPS). MONAI and
NIfTI see ``(w, h, d)`` arrays and right-anterior-superior (RAS) affines; :func:`to_monai` and
:func:`from_monai` are the only places where that change is made.
"""

from __future__ import annotations

from dicom_ml.geometry.conventions import from_monai, lps_to_ras, monai_affine, to_monai
from dicom_ml.geometry.grid import Alignment, Grid
from dicom_ml.geometry.planes import ORIENTATION_TOLERANCE as ORIENTATION_TOLERANCE
from dicom_ml.geometry.planes import FloatArray as FloatArray
from dicom_ml.geometry.planes import affine_from_plane, unit_orientation
from dicom_ml.geometry.stacks import PlaneStack, stack_planes

__all__ = [
    "Alignment",
    "Grid",
    "PlaneStack",
    "affine_from_plane",
    "from_monai",
    "lps_to_ras",
    "monai_affine",
    "stack_planes",
    "to_monai",
    "unit_orientation",
]
