"""Seeded synthetic chest CT and slides of lung tissue, and the DICOM series that hold them; no torch needed."""

from __future__ import annotations

from dicom_ml.phantom.anatomy import Anatomy, random_anatomy
from dicom_ml.phantom.chest import LABELS, ChestPhantom, chest_phantom
from dicom_ml.phantom.ct_series import CTDescription, write_ct_series
from dicom_ml.phantom.scanner import Acquisition, axial_affine, random_acquisition
from dicom_ml.phantom.slide import TEXTURES, SlidePhantom, WrittenSlide, slide_phantom, texture_segments, write_slide
from dicom_ml.phantom.sm_series import SlideDescription, write_sm_series
from dicom_ml.phantom.tissue import ALVEOLAR, GLANDULAR, SOLID

__all__ = [
    "ALVEOLAR",
    "GLANDULAR",
    "LABELS",
    "SOLID",
    "TEXTURES",
    "Acquisition",
    "Anatomy",
    "CTDescription",
    "ChestPhantom",
    "SlideDescription",
    "SlidePhantom",
    "WrittenSlide",
    "axial_affine",
    "chest_phantom",
    "random_acquisition",
    "random_anatomy",
    "slide_phantom",
    "texture_segments",
    "write_ct_series",
    "write_slide",
    "write_sm_series",
]
