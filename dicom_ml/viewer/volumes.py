"""Volumes and what lies over them, as the NIfTI files that the viewer reads."""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.region_bounds import Elsewhere
from dicom_ml.bridge.region_labels import RegionPainter
from dicom_ml.errors import DicomMLError, MissingPackageError
from dicom_ml.geometry import lps_to_ras
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.objects.report import read_report
from dicom_ml.objects.segmentation import read_segmentation
from dicom_ml.objects.structure_set import read_structure_set
from dicom_ml.reading import Volume, read_volume
from dicom_ml.view.picture import PALETTE
from dicom_ml.viewer.library import Overlay, Shown

__all__ = ["image_file", "overlay_file", "overlay_labels"]

#: Diameter of points in mm, where nothing says another.
_POINT = 5.0


@lru_cache(maxsize=2)
def _volume(files: tuple[str, ...]) -> Volume:
    return read_volume(list(files), gaps="fill", duplicates="first", tilt="resample")


def image_file(shown: Shown) -> bytes:
    """The volume as a gzipped NIfTI file, in RAS millimetres.

    Raises
    ------
    DicomMLError
        If the series is no volume.
    """
    volume = _volume(shown.row.files)
    array = volume.array
    if np.array_equal(array, np.rint(array)) and np.abs(array).max(initial=0) < 32768:
        array = array.astype(np.int16)
    return _nifti(array, volume.affine)


def overlay_file(shown: Shown, overlay: Overlay) -> bytes:
    """What lies over a volume, on its grid: a label map, or the values of a parametric map."""
    volume = _volume(shown.row.files)
    if overlay.kind == "parametric map":
        return _nifti(np.asarray(read_parametric_map(overlay.path).array(on=volume), np.float32), volume.affine)
    return _nifti(_labels(volume, overlay)[0], volume.affine)


def overlay_labels(shown: Shown, overlay: Overlay) -> list[dict[str, Any]]:
    """Number, name and colour of each label of an overlay; none for a parametric map."""
    if overlay.kind == "parametric map":
        return []
    names = _labels(_volume(shown.row.files), overlay)[1]
    return [
        {"number": number, "name": name, "color": color or PALETTE[(number - 1) % len(PALETTE)]}
        for number, name, color in names
    ]


_Named = tuple[int, str, "tuple[int, int, int] | None"]


def _labels(volume: Volume, overlay: Overlay) -> tuple[npt.NDArray[Any], list[_Named]]:
    if overlay.kind == "segmentation":
        seg = read_segmentation(overlay.path)
        labels = seg.label_map(on=volume, overlap="last")
        return labels, [(int(s.number or i), s.label, s.color) for i, s in enumerate(seg.segments, 1)]
    if overlay.kind == "contours":
        contours = read_structure_set(overlay.path)
        labels = contours.label_map(on=volume, overlap="last", outside="clip", between="nearest")
        return labels, [(i, r.name, r.color) for i, r in enumerate(contours.regions, 1)]
    return _report_labels(volume, overlay.path)


def _report_labels(volume: Volume, path: str) -> tuple[npt.NDArray[Any], list[_Named]]:
    assert volume.source is not None
    report = read_report(path, source=volume.source)
    painter = RegionPainter(volume.source, point_size=_POINT)
    labels = np.zeros(volume.shape, np.uint16)
    names: list[_Named] = []
    for number, group in enumerate(report.groups, start=1):
        try:
            windows = list(painter.windows(group))
        except (Elsewhere, DicomMLError):
            continue
        for start, mask in windows:
            place = tuple(slice(s, s + n) for s, n in zip(start, mask.shape, strict=True))
            labels[place][mask] = number
        if windows:
            finding = group.finding.meaning if group.finding else "region"
            names.append((number, f"{finding} {group.tracking_id or number}", None))
    return labels, names


def _nifti(array: npt.NDArray[Any], affine: npt.ArrayLike) -> bytes:
    try:
        import nibabel
    except ImportError as error:
        raise MissingPackageError(
            "volumes are shown through nibabel, which is not installed: pip install nibabel"
        ) from error
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2:
        array = array.astype(np.int32)
    # (D, H, W) over LPS is written as (W, H, D) over RAS, as NIfTI counts
    ras = lps_to_ras(np.asarray(affine, np.float64))[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), ras)
    return gzip.compress(image.to_bytes(), 1)
