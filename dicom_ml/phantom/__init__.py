"""Seeded synthetic chest CT, and the DICOM series that holds it. numpy and pydicom only."""

from __future__ import annotations

from dicom_ml.phantom.anatomy import Anatomy, random_anatomy
from dicom_ml.phantom.chest import LABELS, ChestPhantom, chest_phantom
from dicom_ml.phantom.ct_series import CTDescription, write_ct_series
from dicom_ml.phantom.scanner import Acquisition, axial_affine, random_acquisition

__all__ = [
    "LABELS",
    "Acquisition",
    "Anatomy",
    "CTDescription",
    "ChestPhantom",
    "axial_affine",
    "chest_phantom",
    "random_acquisition",
    "random_anatomy",
    "write_ct_series",
]
