"""What `dicom-ml render` draws."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.cli.findings import COLUMNS, Findings
from dicom_ml.cli.reports import is_report
from dicom_ml.cli.slide_pictures import render_slide
from dicom_ml.cli.slides import is_slide, sop_class_of
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.report import MultiPoint, Polyline
from dicom_ml.objects.segmentation import read_segmentation
from dicom_ml.objects.structure_set import RegionOfInterest, read_structure_set
from dicom_ml.reading import Volume, read_volume
from dicom_ml.view import PALETTE, PLANES, WINDOWS, Mark, Page, montage, png_bytes, save_png

__all__ = ["render"]

Color = tuple[int, int, int]
Mask = npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """Something that voxels can be part of: a segment, or a region of a structure set."""

    label: str
    number: int
    meaning: str
    color: Color | None
    mask: Mask | None
    marks: tuple[Mark, ...] = ()


def render(args: argparse.Namespace) -> Path:
    """Draw what the command line asks for; returns the file."""
    planes = _planes(args.planes)
    setting = _window(args.window)
    if not 16 <= args.height <= 4096:
        raise EncodingError(f"--height lies from 16 to 4096, found {args.height}")
    output = args.output or Path(f"{args.series.resolve().stem}.html")
    if output.suffix.lower() not in (".png", ".html", ".htm"):
        raise EncodingError(f"--output ends in .png or .html, found {output.name}")
    if is_slide(args.series):
        return render_slide(args.series, args.over, args.segments, output, args.size, _region(args.region))
    if args.region is not None:
        raise EncodingError("--region is a part of a slide; the series is none")
    volume = read_volume(args.series, series_uid=args.series_uid)
    if setting is None and volume.modality == "CT":
        setting = "wide"
    files, reports = _sorted(args.over)
    wanted = args.segments
    labels, layers, names = _labels(files, wanted, volume)
    findings = Findings()
    findings.add(reports, volume, wanted, len(layers))
    if wanted and not layers and not findings.rows:
        known = ", ".join(map(repr, dict.fromkeys([*names, *findings.names])))
        raise FileError(f"nothing is named {', '.join(wanted)}; there are {known}")
    colors = {n: layer.color or PALETTE[(n - 1) % len(PALETTE)] for n, layer in layers.items()}
    marks = [Mark(m.region, colors[n], layer.label) for n, layer in layers.items() for m in layer.marks]
    picture = montage(volume.array, volume.affine, labels, planes=planes, setting=setting, colors=colors,
                      names={n: layer.label for n, layer in layers.items()}, marks=[*marks, *findings.marks],
                      height=args.height)  # fmt: skip
    if output.suffix.lower() == ".png":
        save_png(picture, output)
        return output
    page = Page(args.series.resolve().name)
    page.picture(png_bytes(picture), "R, L, A, P, S, I: right, left, front, back, head, foot of the patient")
    if layers and labels is not None:
        ml = float(np.prod(volume.spacing)) * 1e-3
        counts = np.bincount(labels.ravel(), minlength=len(layers) + 1)
        rows = [(x.label, x.meaning, int(counts[n]), f"{counts[n] * ml:.1f} ml") for n, x in layers.items()]
        page.table(("Segment", "Type", "Voxels shown", "Volume"), rows, "Segments", [colors[n] for n in layers])
    if findings.rows:
        page.table(COLUMNS, findings.rows, "Findings", findings.colors)
        if findings.note:
            page.text(findings.note)
    page.facts([
        ("Slices, rows, columns", " x ".join(map(str, volume.shape))),
        ("Spacing", " x ".join(f"{v:.4g}" for v in volume.spacing) + " mm"),
        ("Modality", volume.modality or "-"),
        ("Drawn over it", ", ".join(p.name for p in args.over) or "-"),
    ], "Facts")  # fmt: skip
    return page.save(output)


def _sorted(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Segmentations and structure sets, and reports."""
    reports = []
    for file in files:
        sop_class = sop_class_of(file)
        if is_report(sop_class):
            reports.append(file)
        elif sop_class == sop.BULK_ANNOTATIONS:
            raise EncodingError(f"{file.name} holds annotations of a slide; the series is none")
    return [f for f in files if f not in reports], reports


def _labels(
    files: list[Path], wanted: list[str] | None, volume: Volume
) -> tuple[npt.NDArray[np.uint16] | None, dict[int, Layer], list[str]]:
    """All segments of all files as one label map on the volume's grid; where they overlap, the later is seen.

    Then what is shown, by its label, and the names of all there is.
    """
    if not files:
        return None, {}, []
    out = np.zeros(volume.shape, dtype=np.uint16)
    layers: dict[int, Layer] = {}
    found: list[str] = []
    for file in files:
        read = _regions if sop_class_of(file) == sop.RT_STRUCTURE_SET else _segments
        for layer in read(file, wanted, volume):
            found.append(layer.label)
            if not _wanted(layer.label, layer.number, wanted):
                continue
            number = len(layers) + 1
            layers[number] = layer
            if layer.mask is not None:
                out[np.asarray(layer.mask) > 0.5] = number
    return out, layers, found


def _wanted(label: str, number: int, wanted: list[str] | None) -> bool:
    return not wanted or label in wanted or str(number) in wanted


def _segments(file: Path, wanted: list[str] | None, volume: Volume) -> Iterator[Layer]:
    seg = read_segmentation(file)
    same = seg.grid.align(volume.grid) is not None
    for segment in seg.segments:
        number, mask = int(segment.number or 0), None
        if _wanted(segment.label, number, wanted):
            mask = seg.channels(on=volume, segments=[number], outside="drop", resample=not same)[0]
        yield Layer(segment.label, number, segment.type.meaning, segment.color, mask)


def _regions(file: Path, wanted: list[str] | None, volume: Volume) -> Iterator[Layer]:
    """Regions of a structure set: what encloses an area as voxels, points and open lines as they are."""
    structures = read_structure_set(file)
    for region in structures.regions:
        name, mask = region.name or f"region {region.number}", None
        marks: tuple[Mark, ...] = ()
        if _wanted(name, region.number, wanted):
            if region.is_filled:
                mask = structures.mask(region, volume, outside="drop", between="nearest")
            marks = tuple(_lines(region, volume))
        meaning = region.code.meaning if region.code is not None else region.interpreted_type.lower()
        yield Layer(name, region.number, meaning or "-", region.color, mask, marks)


def _lines(region: RegionOfInterest, volume: Volume) -> Iterator[Mark]:
    for contour in region.contours:
        if not contour.is_filled and len(contour.points):
            points = volume.grid.to_index(contour.points) + 0.5
            yield Mark(Polyline(points) if len(points) > 1 else MultiPoint(points), PALETTE[0])


def _region(text: str | None) -> tuple[int, int, int, int] | None:
    """Row, column, height and width in pixels of level 0."""
    if text is None:
        return None
    try:
        row, column, height, width = (int(v) for v in text.split(","))
    except ValueError:
        row = column = height = width = 0
    if min(height, width) < 1:
        raise EncodingError(f"--region is ROW,COLUMN,HEIGHT,WIDTH in pixels of level 0, found {text!r}")
    return row, column, height, width


def _window(text: str | None) -> str | tuple[float, float] | None:
    if text is None or text in WINDOWS:
        return text
    try:
        centre, width = (float(v) for v in text.split(","))
    except ValueError:
        raise EncodingError(
            f"--window is {', '.join(WINDOWS)} or CENTRE,WIDTH such as 40,400, found {text!r}"
        ) from None
    return centre, width


def _planes(texts: list[str] | None) -> dict[str, Any]:
    if not texts:
        return {"axial": 8, "coronal": 2, "sagittal": 2}
    out: dict[str, Any] = {}
    for text in texts:
        name, _, count = text.partition("=")
        if name not in PLANES or not (count or "1").isdigit() or int(count or 1) < 1:
            raise EncodingError(f"--planes are of {', '.join(PLANES)}, such as axial=6, found {text!r}")
        out[name] = int(count or 1)
    return out
