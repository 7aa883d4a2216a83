"""What `dicom-ml render` draws."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.cli.slides import is_slide, render_slide
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.segmentation import Segment, read_segmentation
from dicom_ml.reading import Volume, read_volume
from dicom_ml.view import PALETTE, PLANES, WINDOWS, Page, montage, png_bytes

__all__ = ["render"]

Colors = dict[int, tuple[int, int, int]]


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
        return render_slide(args.series, args.seg, args.segments, output, args.size)
    volume = read_volume(args.series, series_uid=args.series_uid)
    if setting is None and volume.modality == "CT":
        setting = "wide"
    labels, segments = _labels(args.seg, args.segments, volume)
    colors: Colors = {n: s.color or PALETTE[(n - 1) % len(PALETTE)] for n, s in segments.items()}
    names = {n: s.label for n, s in segments.items()}
    picture = montage(volume.array, volume.affine, labels, planes=planes, setting=setting, colors=colors, names=names,
                      height=args.height)  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".png":
        output.write_bytes(png_bytes(picture))
        return output
    page = Page(args.series.resolve().name)
    page.picture(png_bytes(picture), "R, L, A, P, S, I: right, left, front, back, head, foot of the patient")
    if labels is not None:
        ml = float(np.prod(volume.spacing)) * 1e-3
        counts = np.bincount(labels.ravel(), minlength=len(segments) + 1)
        rows = [(s.label, s.type.meaning, int(counts[n]), f"{counts[n] * ml:.1f} ml") for n, s in segments.items()]
        page.table(("Segment", "Type", "Voxels shown", "Volume"), rows, "Segments", [colors[n] for n in segments])
    page.facts([
        ("Slices, rows, columns", " x ".join(map(str, volume.shape))),
        ("Spacing", " x ".join(f"{v:.4g}" for v in volume.spacing) + " mm"),
        ("Modality", volume.modality or "-"),
        ("Segmentations", ", ".join(p.name for p in args.seg) or "-"),
    ], "Facts")  # fmt: skip
    return page.save(output)


def _labels(
    files: list[Path], wanted: list[str] | None, volume: Volume
) -> tuple[npt.NDArray[np.uint16] | None, dict[int, Segment]]:
    """All segments of all files as one label map on the volume's grid; where they overlap, the later is seen."""
    if not files:
        return None, {}
    out = np.zeros(volume.shape, dtype=np.uint16)
    segments: dict[int, Segment] = {}
    found: list[str] = []
    for file in files:
        seg = read_segmentation(file)
        same = seg.grid.align(volume.grid) is not None
        for segment in seg.segments:
            found.append(segment.label)
            if wanted and segment.label not in wanted and str(segment.number) not in wanted:
                continue
            mask = seg.channels(on=volume, segments=[segment.number], outside="drop", resample=not same)[0]
            number = len(segments) + 1
            segments[number] = segment
            out[np.asarray(mask) > 0.5] = number
    if not segments:
        raise FileError(f"no segment is named {', '.join(wanted or ())}; there are {', '.join(map(repr, found))}")
    return out, segments


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
