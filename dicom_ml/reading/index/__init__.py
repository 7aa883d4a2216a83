"""An archive's index: which patients, studies, series and instances there are, and what refers to what."""

from __future__ import annotations

from dicom_ml.reading.index.index import Index, SeriesRow, open_index
from dicom_ml.reading.index.scanning import scan

__all__ = ["Index", "SeriesRow", "open_index", "scan"]
