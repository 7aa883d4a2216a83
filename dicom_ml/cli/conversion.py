"""What `dicom-ml convert` does."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.output import as_segments
from dicom_ml.cli.algorithms import algorithm_of
from dicom_ml.cli.contours import from_contours
from dicom_ml.cli.matrices import from_matrix, read_picture
from dicom_ml.cli.nifti import save_nifti
from dicom_ml.cli.reports import is_report
from dicom_ml.cli.slides import is_slide, sop_class_of
from dicom_ml.cli.tables import FEATURES, TABLES, from_annotations, from_report, to_annotations
from dicom_ml.codes import find_code
from dicom_ml.demo.reference import read_label_file
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.objects.segmentation import Segment, Segmentation, read_segmentation
from dicom_ml.reading import Volume, read_volume
from dicom_ml.reading.slides import open_slide

__all__ = ["convert"]

_LABEL_MAPS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_PICTURES = (".png", ".tif", ".tiff")
_CATEGORY = "SCT:123037004"


def convert(args: argparse.Namespace) -> list[Path]:
    """Convert what the command line names; returns the files written."""
    if not args.input.exists():
        raise FileError(f"{args.input} does not exist")
    if args.input.name.lower().endswith(_LABEL_MAPS):
        return [_to_segmentation(args)]
    if args.input.name.lower().endswith(_PICTURES):
        return [_picture_to_segmentation(args)]
    if args.input.name.lower().endswith((*FEATURES, *TABLES)):
        return [to_annotations(args)]
    kind = sop_class_of(args.input) if args.input.is_file() and args.input.suffix.lower() != ".zip" else ""
    if kind == sop.BULK_ANNOTATIONS:
        return [from_annotations(args)]
    if kind == sop.RT_STRUCTURE_SET:
        return from_contours(args)
    if args.source is not None or args.segment or args.segments_file:
        raise EncodingError("--source and --segment are for label maps and outlines; the input is DICOM")
    if is_report(kind):
        return [from_report(args)]
    if kind in sop.SEGMENTATIONS:
        return _from_segmentation(args)
    if kind == sop.PARAMETRIC_MAP:
        return _from_map(args)
    _need_nifti_name(args.output)
    volume = read_volume(args.input, series_uid=args.series_uid)
    return [save_nifti(volume, args.output)]


# ---------------------------------------------------------------------- DICOM to NIfTI
def _from_segmentation(args: argparse.Namespace) -> list[Path]:
    seg = read_segmentation(args.input)
    if seg.is_tiled:
        return from_matrix(seg, args)
    on: Any = read_volume(args.on, series_uid=args.series_uid) if args.on is not None else None
    grid = on.grid if on is not None else seg.grid
    place: dict[str, Any] = {"on": on, "resample": on is not None and seg.grid.align(grid) is None}
    if not args.split:
        _need_nifti_name(args.output)
        labels = seg.label_map(overlap=args.overlap, **place)
        return [save_nifti(Volume(labels, grid.affine), args.output)]
    from tqdm import tqdm

    out: list[Path] = []
    for segment in tqdm(seg.segments, desc="Segments", unit="segment", disable=len(seg.segments) < 5):
        mask = seg.channels(segments=[segment.number], **place)[0]
        stored: npt.NDArray[Any] = mask.astype(np.uint8) if mask.dtype == np.bool_ else mask
        stem = re.sub(r"[^\w.-]+", "_", segment.label).strip("_.") or "segment"
        out.append(save_nifti(Volume(stored, grid.affine), args.output / f"{segment.number:03d}_{stem}.nii.gz"))
    return out


def _from_map(args: argparse.Namespace) -> list[Path]:
    """A parametric map: of a volume to NIfTI, of a slide to a picture."""
    pm = read_parametric_map(args.input)
    if pm.is_tiled:
        return from_matrix(pm, args)
    _need_nifti_name(args.output)
    on: Any = read_volume(args.on, series_uid=args.series_uid) if args.on is not None else None
    grid = on.grid if on is not None else pm.grid
    if len(pm.quantities) > 1:
        raise EncodingError(f"the map has {len(pm.quantities)} quantities; NIfTI holds one")
    values = pm.array(on=on, resample=on is not None and pm.grid.align(grid) is None)
    return [save_nifti(Volume(values, grid.affine), args.output)]


def _need_nifti_name(path: Path) -> None:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise EncodingError(f"DICOM is converted to NIfTI: OUTPUT ends in .nii or .nii.gz, found {path.name}")


# ---------------------------------------------------------------------- label maps to DICOM
def _to_segmentation(args: argparse.Namespace) -> Path:
    if args.source is None:
        raise EncodingError("a segmentation refers to the images it was made from: pass --source SERIES")
    if args.output.suffix.lower() != ".dcm":
        raise EncodingError(
            f"a label map is converted to a DICOM segmentation: OUTPUT ends in .dcm, found {args.output}"
        )
    labels, names = read_label_file(args.input)
    volume = read_volume(args.source, series_uid=args.series_uid)
    array = _whole_numbers(labels.array, args.input.name)
    values = [int(v) for v in np.unique(array) if v]
    segments = _segments(args, values, names)
    affine = labels.affine
    if _beside(labels.grid, volume.grid):
        raise GeometryError(f"{args.input.name} lies beside the series: they do not belong together")
    seg = Segmentation.from_array(array, source=volume, segments=segments, kind=args.kind, affine=affine)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    seg.save(args.output, compression=args.compression)
    return Path(args.output)


def _picture_to_segmentation(args: argparse.Namespace) -> Path:
    """A mask (PNG, TIFF) of a slide's level as a segmentation of the slide."""
    if args.source is None or not is_slide(args.source):
        raise EncodingError("a picture is a mask of a slide: pass --source SLIDE, a folder of slide microscopy")
    array = read_picture(args.input)
    segments = _segments(args, [int(v) for v in np.unique(array) if v], {})
    with open_slide(args.source) as slide:
        seg = Segmentation.from_array(array, source=slide, segments=segments, kind=args.kind)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        seg.save(args.output, compression=args.compression)
    return Path(args.output)


def _whole_numbers(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.integer[Any]]:
    whole = array
    if np.issubdtype(array.dtype, np.floating):
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            raise EncodingError(f"{name} holds fractions; a label map holds whole numbers")
    if whole.min() < 0 or whole.max() > 65535:
        raise EncodingError(f"{name} holds labels from {whole.min():g} to {whole.max():g}; they lie from 0 to 65535")
    return whole.astype(np.uint16)


def _beside(a: Grid, b: Grid) -> bool:
    corners = np.array([[-0.5, n - 0.5] for n in a.shape])
    points = np.stack(np.meshgrid(*corners, indexing="ij"), -1).reshape(-1, 3)
    there = b.to_index(a.to_lps(points))
    return bool(np.any(there.max(axis=0) < -0.5) or np.any(there.min(axis=0) > np.asarray(b.shape) - 0.5))


def _segments(args: argparse.Namespace, values: list[int], names: dict[int, str]) -> list[Segment]:
    """From a file, from the command line, or from names in the label map that are known terms."""
    algorithm = algorithm_of(args.algorithm)
    if args.segments_file is not None:
        try:
            return list(as_segments(args.segments_file, algorithm))
        except (ValueError, TypeError) as error:
            raise EncodingError(f"{args.segments_file} is no list of segments in JSON: {error}") from None
    given: dict[int, dict[str, Any]] = {}
    for text in args.segment:
        match = re.fullmatch(r"(\d+)=([^|]+)\|([^|]+)(?:\|([^|]+))?", text)
        if match is None:
            raise EncodingError(f"--segment is N=LABEL|TYPE[|CATEGORY], such as '1=Liver|SCT:10200004', found {text!r}")
        number, label, kind, category = match.groups()
        given[int(number)] = {"label": label, "type": kind, "category": category or _CATEGORY, "number": int(number)}
    unknown = []
    for value in values:
        if value in given:
            continue
        code = find_code(names[value].replace("_", " ")) if value in names else None
        if code is None:
            unknown.append(f"{value}" + (f" ({names[value]})" if value in names else ""))
        else:
            given[value] = {"label": names[value], "type": code, "category": _CATEGORY, "number": value}
    if unknown:
        shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        raise EncodingError(
            f"what do the values {shown} mean? Say so with --segment 'N=LABEL|TYPE' for each, or with --segments-file"
        )
    if algorithm is None:
        raise EncodingError("who or what made the labels? Pass --algorithm NAME:VERSION, or --algorithm manual")
    return list(as_segments([given[n] for n in sorted(given)], algorithm))
