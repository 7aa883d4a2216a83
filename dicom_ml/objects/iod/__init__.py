"""Information object definitions, and validation of objects against them."""

from dicom_ml.objects.iod.finding import Finding
from dicom_ml.objects.iod.gate import validated
from dicom_ml.objects.iod.validation import validate

__all__ = ["Finding", "validate", "validated"]
