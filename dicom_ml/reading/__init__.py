"""Images to arrays: what is read from DICOM, proved and brought to real-world units."""

from __future__ import annotations

from dicom_ml.reading.series import read_volume
from dicom_ml.reading.slides import Level, Slide, open_slide
from dicom_ml.reading.voi import DisplayTable, Window
from dicom_ml.reading.volume import Volume

__all__ = ["DisplayTable", "Level", "Slide", "Volume", "Window", "open_slide", "read_volume"]
