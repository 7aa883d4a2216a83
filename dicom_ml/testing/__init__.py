"""Tests that those who extend dicom_ml can run on their own classes. Needs pytest."""
