"""Torch datasets, samplers and Lightning data modules over DICOM."""
