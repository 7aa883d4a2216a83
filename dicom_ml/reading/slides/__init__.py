"""Whole slides: pyramids of tiles, read by region, by spacing, or many tiles at a time."""

from __future__ import annotations

from dicom_ml.reading.slides.associated import AssociatedImage
from dicom_ml.reading.slides.headers import OpticalPath
from dicom_ml.reading.slides.levels import Level
from dicom_ml.reading.slides.opening import open_slide
from dicom_ml.reading.slides.slide import Slide

__all__ = ["AssociatedImage", "Level", "OpticalPath", "Slide", "open_slide"]
