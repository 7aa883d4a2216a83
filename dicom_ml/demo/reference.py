"""Reference labels that the user has: a DICOM SEG, a NIfTI or an NRRD file, brought onto the source's grid."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.codes import parse_code
from dicom_ml.errors import FileError, GeometryError, MissingPackageError
from dicom_ml.geometry import Grid
from dicom_ml.objects.segmentation import Segmentation, read_segmentation
from dicom_ml.reading import Volume

__all__ = ["Reference", "dice", "read_label_file", "read_reference"]

Bools = npt.NDArray[np.bool_]

_LUNG = "SCT:39607008"
_SIDES = {"SCT:24028007": "Right lung", "SCT:7771000": "Left lung"}


@dataclass(frozen=True)
class Reference:
    """Masks to compare with.

    Attributes
    ----------
    masks : dict of str to numpy.ndarray
        "Lungs", and "Right lung", "Left lung", "Body outside the lungs" where the file tells them apart; (D, H, W)
        bool on the source's grid.
    same_lattice : bool
        Whether the file's voxels are the source's voxels, so that nothing was interpolated.
    """

    masks: dict[str, Bools]
    same_lattice: bool


def dice(a: Bools, b: Bools) -> float:
    """Twice what two masks share, over what they hold together; 1 for two empty masks."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def read_reference(path: str | os.PathLike[str], volume: Volume, lung_values: Sequence[int] | None = None) -> Reference:
    """Read the reference masks of a series.

    Parameters
    ----------
    path : path
        DICOM SEG, ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``.
    volume : Volume
        The series; the labels are placed on its grid by their own affine.
    lung_values : sequence of int, optional
        Values of the label map that are lung. By default those that the file's own label table names so (as that of
        TotalSegmentator does), else every value but 0.

    Raises
    ------
    FileError, GeometryError
        The file cannot be read, or does not overlap the series.
    """
    path = Path(path)
    if not _is_image(path):
        return _from_segmentation(read_segmentation(path), volume)
    labels, names = read_label_file(path)
    _need_overlap(labels.grid, volume.grid, path.name)
    placed = labels.match(volume, order=0, fill=0.0).array
    if lung_values is None:
        lung_values = [value for value, name in names.items() if re.search(r"\blung", name.replace("_", " "), re.I)]
    masks = {"Lungs": np.isin(placed, list(lung_values)) if lung_values else placed != 0}
    for side in ("right", "left"):
        values = [v for v in lung_values or () if re.search(rf"\b{side}\b", names.get(v, "").replace("_", " "), re.I)]
        if values:
            masks[f"{side.title()} lung"] = np.isin(placed, values)
    return Reference(masks, labels.grid.align(volume.grid) is not None)


def read_label_file(path: str | os.PathLike[str]) -> tuple[Volume, dict[int, str]]:
    """A label map from a NIfTI, NRRD or MetaImage file, with the names of its values where the file has them."""
    path = Path(path)
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        try:
            import nibabel
            from nibabel.filebasedimages import ImageFileError
        except ImportError:
            raise MissingPackageError("NIfTI files need nibabel: pip install 'dicom-ml[nifti]'") from None
        try:
            image: Any = nibabel.load(path)
            volume = Volume.from_nibabel(image)
        except ImageFileError as error:
            raise FileError(f"{path.name} is no NIfTI file: {error}") from None
        return volume, _label_table(image)
    try:
        import SimpleITK as sitk
    except ImportError:
        raise MissingPackageError(f"{path.suffix} files need SimpleITK: pip install 'dicom-ml[sitk]'") from None
    try:
        return Volume.from_sitk(sitk.ReadImage(os.fspath(path))), {}
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise FileError(f"{path.name} cannot be read as an image: {reason}") from None


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"))


def _label_table(image: Any) -> dict[int, str]:
    """Names from the label table that Caret and TotalSegmentator put into a NIfTI header extension."""
    names: dict[int, str] = {}
    for extension in getattr(image.header, "extensions", ()):
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        for key, name in re.findall(r'<Label Key="(\d+)"[^>]*>\s*<!\[CDATA\[(.*?)\]\]>', text, re.S):
            names[int(key)] = name
    return names


def _from_segmentation(seg: Segmentation, volume: Volume) -> Reference:
    """Lungs by their codes, or by their labels where the codes say something else."""
    _need_overlap(seg.grid, volume.grid, "the segmentation")
    aligned = seg.grid.align(volume.grid) is not None
    masks: dict[str, Bools] = {}
    lung = parse_code(_LUNG)
    for segment in seg.segments:
        named = re.search(r"\blungs?\b", segment.label, re.I) and "outside" not in segment.label.lower()
        sides = [name for code, name in _SIDES.items() if parse_code(code) in segment.modifiers]
        sides = sides or [f"{s.title()} lung" for s in ("right", "left") if re.search(rf"\b{s}\b", segment.label, re.I)]
        if segment.type == lung or named:
            keys = ["Lungs", *sides]
        elif segment.label == "Body outside the lungs":
            keys = [segment.label]
        else:
            continue
        mask = seg.channels(on=volume, segments=[segment.number], outside="drop", resample=not aligned)[0] > 0.5
        for key in keys:
            masks[key] = masks[key] | mask if key in masks else mask
    if "Lungs" not in masks:
        raise FileError(f"no segment is lung; there are {', '.join(repr(s.label) for s in seg.segments) or 'none'}")
    return Reference(masks, aligned)


def _need_overlap(labels: Grid, image: Grid, name: str) -> None:
    """Labels of another patient or another frame of reference must not count as an empty reference."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in labels.shape], indexing="ij"), -1).reshape(-1, 3)
    there = image.to_index(labels.to_lps(corners))
    if np.any(there.max(axis=0) < -0.5) or np.any(there.min(axis=0) > np.asarray(image.shape) - 0.5):
        raise GeometryError(
            f"{name} lies beside the series: its middle is at {_middle(labels)} mm, "
            f"the series' at {_middle(image)} mm (LPS)"
        )


def _middle(grid: Grid) -> list[float]:
    return [round(float(v), 1) for v in grid.to_lps((np.asarray(grid.shape) - 1) / 2)]
