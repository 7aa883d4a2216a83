"""The page at the end of the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.demo.slide_report import add_slide
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.objects.segmentation import Segmentation
from dicom_ml.reading import Volume
from dicom_ml.view import Page, default_colors, montage, png_bytes

if TYPE_CHECKING:
    from dicom_ml.demo.reference import Reference
    from dicom_ml.demo.run import DemoOptions, DemoResult

__all__ = ["write_report"]


def write_report(
    result: DemoResult,
    options: DemoOptions,
    seg: Segmentation,
    volume: Volume,
    labels: npt.NDArray[Any],
    reference: Reference | None,
) -> None:
    """Write the PNGs and the page that holds them."""
    numbers = [int(s.number or 0) for s in seg.segments]
    fallback = default_colors(numbers)
    colors = {n: s.color or fallback[n] for n, s in zip(numbers, seg.segments, strict=True)}
    names = {n: s.label for n, s in zip(numbers, seg.segments, strict=True)}
    images = options.output / "images"
    images.mkdir(exist_ok=True)
    lungs = np.where(labels >= 2, labels, 0) if (labels >= 2).any() else labels
    pictures = [
        ("overview", "What was segmented, in three planes", montage(
            volume.array, volume.affine, labels, colors=colors, names=names, setting="wide")),
        ("lungs", "The lungs from base to apex", montage(
            volume.array, volume.affine, lungs, planes={"axial": 12}, colors=colors, names=names, setting="lung")),
    ]  # fmt: skip
    if reference is not None:
        pictures.append(("reference", "Where prediction and reference differ", _difference(volume, labels, reference)))
    slide = " and a slide" if result.slide is not None else ""
    page = Page(f"dicom_ml demo: lungs of a chest CT{slide}")
    page.text(
        "A small network was trained on this machine, for a minute or two and on generated chest cases only. "
        "This is a demonstration of the path from DICOM to DICOM, not a medical product."
    )
    for note in result.notes:
        page.text(note, note=True)
    _tables(page, result, options, seg, volume, [colors[n] for n in numbers])
    for stem, caption, picture in pictures:
        png = png_bytes(picture)
        save_bytes(images / f"{stem}.png", png)
        page.picture(png, caption)
    if result.slide is not None:
        add_slide(page, result.slide, images)
    page.save(result.page)


def _tables(
    page: Page,
    result: DemoResult,
    options: DemoOptions,
    seg: Segmentation,
    volume: Volume,
    colors: list[tuple[int, int, int]],
) -> None:
    litre = float(np.prod(volume.spacing)) * 1e-6
    rows = [
        (s.label, s.type.meaning, ", ".join(m.meaning for m in s.modifiers) or "-", result.voxels[s.label],
         f"{result.voxels[s.label] * litre:.2f} l")
        for s in seg.segments
    ]  # fmt: skip
    page.table(("Segment", "Type", "Modifier", "Voxels", "Volume"), rows, "Segments, as read back", colors)
    if result.dice:
        page.table(("Compared", "Dice"), list(result.dice.items()), "Against the reference labels")
    page.facts([(k, "not compared: too large" if v is None else v) for k, v in result.checks.items()], "Checks")
    spacing = " x ".join(f"{v:.3g}" for v in volume.spacing)
    page.facts(
        [
            ("Source", "generated phantom" if options.source is None else str(options.source)),
            ("Slices, rows, columns", " x ".join(map(str, volume.shape))),
            ("Spacing (slice, row, column)", f"{spacing} mm"),
            ("Segmentation", str(result.segmentation)),
            ("Kind", seg.kind),
            ("SOP Instance UID", seg.sop_instance_uid),
            ("Generated cases, training steps, seed", f"{options.cases}, {options.steps}, {options.seed}")
            if options.network is None
            else ("Network of an earlier demo", str(options.network)),
            *((f"Seconds: {step}", round(value, 1)) for step, value in result.seconds.items()),
        ],
        "Facts",
    )


def _difference(volume: Volume, labels: npt.NDArray[Any], reference: Reference) -> Any:
    predicted, truth = labels >= 2, reference.masks["Lungs"]
    kinds = np.where(predicted & truth, 1, np.where(predicted, 2, np.where(truth, 3, 0))).astype(np.uint8)
    return montage(
        volume.array,
        volume.affine,
        kinds,
        planes={"axial": 6, "coronal": 2},
        setting="lung",
        colors={1: (50, 205, 90), 2: (255, 80, 60), 3: (60, 140, 255)},
        names={1: "both", 2: "prediction only", 3: "reference only"},
    )
