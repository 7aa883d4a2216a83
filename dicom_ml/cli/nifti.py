"""Volumes to NIfTI files."""

from __future__ import annotations

import gzip
from pathlib import Path

from dicom_ml.encoding.writer import atomic_file
from dicom_ml.reading import Volume

__all__ = ["save_nifti"]


def save_nifti(volume: Volume, path: Path) -> Path:
    """Write a volume as ``.nii`` or ``.nii.gz``; the file is whole or not there."""
    image = volume.to_nibabel()
    with atomic_file(path) as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:  # as nibabel packs: the same bytes each time
                image.to_file_map(image.make_file_map({"image": packed}))
        else:
            image.to_file_map(image.make_file_map({"image": file}))
    return path
