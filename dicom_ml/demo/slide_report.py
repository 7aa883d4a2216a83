"""What the demo's page shows of the slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.demo.slides import SlideResult
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.phantom import TEXTURES, texture_segments
from dicom_ml.reading.slides import open_slide
from dicom_ml.view import Page, png_bytes

__all__ = ["add_slide", "slide_pictures"]

Array = npt.NDArray[Any]
Color = tuple[int, int, int]

_WIDTH = 560
_BACK, _TEXT = (24, 24, 27), (230, 230, 230)


def add_slide(page: Page, result: SlideResult, images: Path) -> None:
    """Add the slide's part to the page, and its pictures to a folder."""
    colors = _colors()
    page.heading("A slide: probabilities of three textures")
    page.text(
        "A small classifier was trained on tiles of generated slides of lung-like tissue: walls around air, rings "
        "around lumina, solid nests. Stain, thickness and density differ from slide to slide more than from texture to "
        "texture, so colour alone does not tell them apart. It then looked at a slide that it had not seen; what it "
        "said was written as a DICOM Parametric Map, and is shown as read back from that file."
    )
    for stem, caption, picture in slide_pictures(result):
        png = png_bytes(picture)
        save_bytes(images / f"{stem}.png", png)
        page.picture(png, caption)
    rows = [
        (name, f"{result.accuracy[name]:.3f}" if name in result.accuracy else "-", f"{result.area[name]:.2f} mm2")
        for name in TEXTURES.values()
    ]
    rows.append(("All tissue", f"{result.accuracy['All']:.3f}", f"{sum(result.area.values()):.2f} mm2"))
    page.table(
        ("Texture", "Accuracy", "Area predicted"),
        rows,
        "Most probable texture against the truth, by the map's pixels on tissue",
        [*(colors[k] for k in TEXTURES), None],
    )
    page.facts(list(result.checks.items()), "Checks of the map")
    pm = read_parametric_map(result.map)
    with open_slide(result.case.series) as slide:
        levels = "; ".join(f"{level.shape[0]} x {level.shape[1]}" for level in slide.levels)
    page.facts(
        [
            ("Slide", str(result.case.series)),
            ("Levels, rows x columns", levels),
            ("Parametric map", str(result.map)),
            ("Map, rows x columns", " x ".join(map(str, pm.grid.shape[1:]))),
            ("Spacing of the map", f"{pm.grid.spacing[1]:.3g} mm"),
            ("SOP Instance UID", pm.sop_instance_uid),
            *((f"Seconds: {step}", round(value, 1)) for step, value in result.seconds.items()),
        ],
        "Facts of the slide",
    )


def slide_pictures(result: SlideResult) -> list[tuple[str, str, Any]]:
    """File stem, caption and picture of each figure."""
    with open_slide(result.case.series) as slide:
        thumbnail = np.asarray(slide.thumbnail(_WIDTH))
    colors = _colors()
    predicted = _painted(thumbnail, result.predicted, 0.75 * result.probability, colors)
    truth = _painted(thumbnail, result.truth, np.full(result.truth.shape, 0.5), colors)
    legend = [(name, colors[k]) for k, name in TEXTURES.items()]
    channels = read_parametric_map(result.map).channels().reshape(len(TEXTURES), *result.predicted.shape)
    heat = [_painted(thumbnail, np.full(p.shape, k), 0.9 * p, colors) for k, p in zip(TEXTURES, channels, strict=True)]
    return [
        (
            "slide",
            "The slide; the most probable texture, the more opaque the more probable; the truth",
            _panels([thumbnail, predicted, truth], ["slide", "parametric map", "truth"], legend),
        ),
        (
            "probability",
            "Probability of each texture, transparent at 0 and opaque at 1",
            _panels(heat, [f"probability: {name.lower()}" for name in TEXTURES.values()], []),
        ),
    ]


def _colors() -> dict[int, Color]:
    return {k: segment.color or (230, 97, 1) for k, segment in zip(TEXTURES, texture_segments(), strict=True)}


def _painted(thumbnail: Array, labels: Array, opacity: Array, colors: dict[int, Color]) -> Array:
    """Labels, each pixel with its opacity, over a thumbnail that shows the same place."""
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(np.intp)
        for n, m in zip(thumbnail.shape[:2], labels.shape, strict=True)
    )
    where = np.ix_(rows, columns)
    table = np.zeros((max(colors) + 1, 3), dtype=np.float32)
    table[list(colors)] = list(colors.values())
    weight = np.where(labels > 0, opacity, 0)[where][..., None].astype(np.float32)
    # Grey beneath, so that what is seen in colour is what was predicted.
    grey = thumbnail.mean(axis=-1, keepdims=True, dtype=np.float32)
    return np.asarray(np.clip(grey + weight * (table[labels[where]] - grey), 0, 255), dtype=np.uint8)


def _panels(pictures: Sequence[Array], captions: Sequence[str], legend: Sequence[tuple[str, Color]]) -> Any:
    """Pictures of one size side by side, captions under them, a legend below."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(15)
    gap, height, width = 8, pictures[0].shape[0], pictures[0].shape[1]
    canvas = Image.new("RGB", (gap + len(pictures) * (width + gap), height + 36 + (30 if legend else 0)), _BACK)
    draw = ImageDraw.Draw(canvas)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = gap + number * (width + gap)
        canvas.paste(Image.fromarray(picture), (left, gap))
        draw.text((left + width / 2, gap + height + 20), caption, fill=(190, 190, 190), font=font, anchor="ms")
    left, top = gap + 4, height + 40
    for name, color in legend:
        draw.rectangle((left, top + 2, left + 16, top + 14), fill=color)
        draw.text((left + 22, top), name, fill=_TEXT, font=font)
        left += round(draw.textlength(name, font=font)) + 50
    return canvas
