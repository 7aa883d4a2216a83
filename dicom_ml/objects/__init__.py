"""Derived DICOM objects, one room each; a room writes and reads its object."""
