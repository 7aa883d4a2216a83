"""Contours of RT structure sets to segmentations, label maps and masks, for `dicom-ml convert`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from dicom_ml.cli.algorithms import algorithm_of
from dicom_ml.cli.nifti import save_nifti
from dicom_ml.errors import EncodingError
from dicom_ml.objects.structure_set import RegionOfInterest, StructureSet, read_structure_set
from dicom_ml.reading import Volume, read_volume

__all__ = ["from_contours"]


def from_contours(args: argparse.Namespace) -> list[Path]:
    """A structure set as a DICOM segmentation, a label map, or a mask a region."""
    contours = read_structure_set(args.input)
    series = args.source or args.on
    if series is None:
        raise EncodingError("contours are filled on the images they were drawn on: pass --source SERIES")
    chosen = _chosen(contours, args)
    policies = {"between": args.between, "fill": args.fill, "outside": args.outside}
    dicom = args.output.suffix.lower() == ".dcm"
    if not (dicom or args.split or args.output.name.lower().endswith((".nii", ".nii.gz"))):
        raise EncodingError(
            f"contours are converted to .dcm, .nii or .nii.gz, or with --split to a folder, found {args.output.name}"
        )
    volume = read_volume(series, series_uid=args.series_uid)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    if dicom:
        seg = contours.to_segmentation(
            volume,
            chosen,
            types=_types(args),
            algorithm=algorithm_of(args.algorithm),
            kind=args.kind,
            policies=policies,
        )
        seg.save(args.output, compression=args.compression)
        return [args.output]
    if not args.split:
        labels = contours.label_map(volume, chosen, overlap=args.overlap, **policies)
        return [_save(labels, volume, args.output)]
    args.output.mkdir(parents=True, exist_ok=True)
    return [
        _save(contours.mask(r, volume, **policies).astype(np.uint8), volume, args.output / f"{_stem(r)}.nii.gz")
        for r in chosen
    ]


def _chosen(contours: StructureSet, args: argparse.Namespace) -> list[RegionOfInterest]:
    wanted = [int(name) if name.isdigit() and name not in contours.names else name for name in args.region]
    left_out = {text[:-1] for text in args.type if text.endswith("=")}
    regions = [contours.region(name) for name in wanted] or [r for r in contours.regions if r.is_filled]
    chosen = [r for r in regions if r.name not in left_out]
    if not chosen:
        raise EncodingError(f"{args.input.name}: no region that encloses an area is chosen")
    return chosen


def _types(args: argparse.Namespace) -> dict[Any, Any]:
    """What regions are: by name (``--type NAME=CODE``) or by ROI Number (``--segment N=LABEL|TYPE[|CATEGORY]``)."""
    found: dict[Any, Any] = {}
    for text in args.type:
        name, equals, code = text.rpartition("=")
        if not equals:
            raise EncodingError(f"--type is NAME=CODE for each region, such as 'GTV=SCT:86049000', found {text!r}")
        found[name] = code or None
    for text in args.segment:
        match = re.fullmatch(r"(\d+)=([^|]+)\|([^|]+)(?:\|([^|]+))?", text)
        if match is None:
            raise EncodingError(f"--segment is N=LABEL|TYPE[|CATEGORY], such as '1=Liver|SCT:10200004', found {text!r}")
        number, label, kind, category = match.groups()
        found[int(number)] = {"label": label, "type": kind} | ({"category": category} if category else {})
    return found


def _stem(region: RegionOfInterest) -> str:
    name = re.sub(r"[^\w.-]+", "_", region.name).strip("_.") or "region"
    return f"{region.number:03d}_{name}"


def _save(array: Any, volume: Volume, path: Path) -> Path:
    return save_nifti(Volume(array, volume.affine), path)
