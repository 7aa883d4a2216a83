"""Secondary captures: pictures made from images, such as overlays, with where they come from (PS3.3 A.8)."""

from dicom_ml.objects.secondary_capture.secondary_capture import SecondaryCapture, read_secondary_capture

__all__ = ["SecondaryCapture", "read_secondary_capture"]
