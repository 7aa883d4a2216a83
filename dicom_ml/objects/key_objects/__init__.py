"""Key object selections: which images, frames and other objects matter, and why (PS3.3 A.35.4, PS3.16 TID 2010)."""

from dicom_ml.objects.key_objects.key_objects import KeyObjects, read_key_objects

__all__ = ["KeyObjects", "read_key_objects"]
