"""Pictures of slices with coloured labels over them. Needs Pillow."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import GeometryError, MissingPackageError
from dicom_ml.view.planes import Plane, PlaneMap, plane_of, plane_positions
from dicom_ml.view.regions import Mark, Trace, draw_traces, mark_positions, traces_on

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "PALETTE",
    "WINDOWS",
    "Color",
    "default_colors",
    "montage",
    "png_bytes",
    "render_plane",
    "save_png",
    "window",
]

Color = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (230, 97, 1), (26, 152, 255), (50, 205, 90), (240, 60, 160), (255, 210, 40),
    (150, 110, 255), (0, 200, 200), (200, 150, 90), (255, 120, 120), (160, 220, 60),
)  # fmt: skip
"""Colours of labels that name none: far apart, and all readable on grey."""

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "soft": (40.0, 400.0),
    "bone": (400.0, 1800.0),
    "wide": (-250.0, 1900.0),
}
"""Centre and width in HU of the windows that can be named."""


def default_colors(values: Sequence[int]) -> dict[int, Color]:
    """A colour for each label value, always the same for the same value."""
    return {int(v): PALETTE[(int(v) - 1) % len(PALETTE)] for v in values}


def window(
    pixels: npt.NDArray[Any], setting: str | tuple[float, float] | None, limits: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Values to grey levels 0 to 255.

    Parameters
    ----------
    pixels : numpy.ndarray
    setting : str, (centre, width), or None
        A name of `WINDOWS`; None takes `limits`, or else the 1st to 99th percentile of the pixels.
    limits : tuple of float, optional
        Values of black and white.
    """
    if setting is None:
        finite = pixels[np.isfinite(pixels)]
        default = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
        low, high = limits or (float(default[0]), float(default[1]))
    else:
        if isinstance(setting, str):
            if setting not in WINDOWS:
                raise GeometryError(f"a window is one of {', '.join(WINDOWS)} or (centre, width), found {setting!r}")
            setting = WINDOWS[setting]
        centre, width = setting
        low, high = centre - width / 2, centre + width / 2
    scaled = (np.nan_to_num(pixels.astype(np.float32), nan=low) - low) * (255.0 / max(high - low, 1e-6))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def render_plane(
    plane: Plane,
    labels: Plane | None = None,
    *,
    setting: str | tuple[float, float] | None = None,
    limits: tuple[float, float] | None = None,
    colors: Mapping[int, Color] | None = None,
    height: int | None = None,
    fill: float = 0.28,
    letters: bool = True,
) -> Image:
    """Draw a slice with its labels.

    Parameters
    ----------
    plane : Plane
        From :func:`plane_of`.
    labels : Plane, optional
        The same cut through a label map on the same grid.
    setting, limits
        As in :func:`window`.
    colors : mapping of int to (r, g, b), optional
        Label values without a colour are not drawn; by default each value has one.
    height : int, optional
        Of the picture in pixels, the width follows from the millimetres; by default one pixel for the finer spacing.
    fill : float
        Opacity of the area inside the contours.
    letters : bool
        Write the directions at the edges.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    image_module, draw_module, font_module = _pillow()
    rows, columns = plane.pixels.shape
    mm_high, mm_wide = rows * plane.spacing[0], columns * plane.spacing[1]
    height = height or min(1024, max(64, round(mm_high / min(plane.spacing))))
    size = (max(1, round(height * mm_wide / mm_high)), height)
    grey = image_module.fromarray(window(plane.pixels, setting, limits))
    canvas = np.asarray(grey.resize(size, image_module.Resampling.BILINEAR).convert("RGB")).astype(np.float32)
    if labels is not None:
        if labels.pixels.shape != plane.pixels.shape:
            raise GeometryError(
                f"the labels' slice has shape {labels.pixels.shape}, the image's {plane.pixels.shape}: "
                "place the labels on the image's grid first"
            )
        _paint(canvas, labels.pixels, size, colors, fill, image_module)
    picture = image_module.fromarray(np.rint(canvas).astype(np.uint8))
    if letters:
        draw = draw_module.Draw(picture)
        font = font_module.load_default(max(11, height // 22))
        for text, spot, anchor in zip(
            plane.letters,
            ((size[0] / 2, 3), (size[0] - 4, height / 2), (size[0] / 2, height - 4), (4, height / 2)),
            ("ma", "rm", "ms", "lm"),
            strict=True,
        ):
            draw.text(spot, text, fill=(255, 235, 120), font=font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0))
    return picture


def _paint(
    canvas: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    size: tuple[int, int],
    colors: Mapping[int, Color] | None,
    fill: float,
    image_module: Any,
) -> None:
    """Blend each label into the canvas in place, its contour more strongly than its area."""
    values = [int(v) for v in np.unique(labels) if v]
    colors = colors if colors is not None else default_colors(values)
    for value in values:
        if value not in colors:
            continue
        mask = image_module.fromarray((labels == value).astype(np.uint8) * 255)
        inside = np.asarray(mask.resize(size, image_module.Resampling.BILINEAR)) > 127
        padded = np.pad(inside, 1)
        core = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        weight = np.where(inside, np.where(core, np.float32(fill), np.float32(1.0)), np.float32(0.0))[..., None]
        canvas += (np.asarray(colors[value], dtype=np.float32) - canvas) * weight


def montage(
    array: npt.NDArray[Any],
    affine: npt.ArrayLike,
    labels: npt.NDArray[Any] | None = None,
    *,
    planes: Mapping[str, int | Sequence[int]] | None = None,
    setting: str | tuple[float, float] | None = None,
    colors: Mapping[int, Color] | None = None,
    names: Mapping[int, str] | None = None,
    marks: Sequence[Mark] = (),
    height: int = 280,
    columns: int = 4,
    title: str = "",
) -> Image:
    """Slices of a volume side by side, with a legend.

    Parameters
    ----------
    array : numpy.ndarray
        (D, H, W).
    affine : array_like
        4x4, array index (d, h, w) to LPS millimetres.
    labels : numpy.ndarray, optional
        (D, H, W) label map on the same grid.
    planes : mapping of str to int or sequence of int, optional
        How many slices of each plane, or which; by default 4 axial, 2 coronal and 2 sagittal.
    setting : str or (centre, width), optional
        Window; by default from the volume's percentiles.
    colors : mapping of int to (r, g, b), optional
    names : mapping of int to str, optional
        Names of the label values, for the legend.
    marks : sequence of Mark
        Regions in array indices to be drawn over it; where the slices are not named, they are those that show them.
    height : int
        Of each slice, in pixels.
    columns : int
        Slices in a row.
    title : str
        Written on top.

    Returns
    -------
    PIL.Image.Image
    """
    image_module, draw_module, font_module = _pillow()
    if labels is not None and labels.shape != array.shape:
        raise GeometryError(f"the labels have shape {labels.shape}, the image {array.shape}: they need one grid")
    values = [int(v) for v in np.unique(labels) if v] if labels is not None else []
    colors = dict(default_colors(values) if colors is None else colors)
    limits = None
    if setting is None:
        finite = array[np.isfinite(array)]
        low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
        limits = (float(low), float(high))
    font = font_module.load_default(15)
    tiles: list[tuple[Image, str]] = []
    for name, which in (planes or {"axial": 4, "coronal": 2, "sagittal": 2}).items():
        places = PlaneMap(affine, array.shape, name)
        chosen = which if not isinstance(which, int) else _positions(labels, marks, places, affine, name, which)
        for index in chosen:
            cut = plane_of(array, affine, name, index)
            over = plane_of(labels, affine, name, index) if labels is not None else None
            # A thin stack seen from the side is a line; give it the width of a tile, and no more than the height.
            tall = cut.pixels.shape[0] * cut.spacing[0] / (cut.pixels.shape[1] * cut.spacing[1])
            tile = render_plane(cut, over, setting=setting, limits=limits, colors=colors,
                                height=max(12, round(min(height, 1.5 * height * tall))),
                                letters=1.5 * height * tall > 60)  # fmt: skip
            _mark(tile, marks, places, cut.index)
            tiles.append((tile, f"{name} {cut.index}  {'xyz'[_axis(name)]} = {cut.position:.1f} mm"))
    legend = [((names or {}).get(v, f"label {v}"), colors[v]) for v in values if v in colors]
    legend += dict.fromkeys((m.name, m.color) for m in marks if m.name)
    return _arrange(tiles, [name for name, _ in legend], [color for _, color in legend], height, columns, title,
                    (image_module, draw_module, font))  # fmt: skip


def _positions(
    labels: npt.NDArray[Any] | None,
    marks: Sequence[Mark],
    places: PlaneMap,
    affine: npt.ArrayLike,
    name: str,
    count: int,
) -> list[int]:
    """Slices that show the regions; where there are labels too, half of them."""
    marked = mark_positions(marks, places, count if labels is None else (count + 1) // 2)
    if not marked:
        return plane_positions(labels, affine, name, count, places.shape)
    if labels is None or count == len(marked) or not labels.any():
        return marked
    return sorted({*marked, *plane_positions(labels, affine, name, count - len(marked))})


def _mark(tile: Image, marks: Sequence[Mark], places: PlaneMap, index: int) -> None:
    """Draw what a slice shows of regions."""
    scale = np.array([tile.height / places.size[0], tile.width / places.size[1]])
    for mark in marks:
        found = [Trace(t.points * scale, t.closed) for t in traces_on(mark.region, places, index)]
        if found:
            draw_traces(tile, found, mark.color, mark.text)


def _axis(name: str) -> int:
    return {"sagittal": 0, "coronal": 1, "axial": 2}[name]


def _arrange(
    tiles: Sequence[tuple[Image, str]],
    names: Sequence[str],
    colors: Sequence[Color],
    height: int,
    columns: int,
    title: str,
    tools: tuple[Any, Any, Any],
) -> Image:
    """Tiles in rows, captions under them, title above, legend below."""
    image_module, draw_module, font = tools
    caption, gap, top = 22, 6, 30 if title else 6
    cell = max([180, *(tile.width for tile, _ in tiles)])
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile, _ in row) + caption + gap for row in rows]
    wide = min(columns, max(len(tiles), 1)) * (cell + gap) + gap
    measure = draw_module.Draw(image_module.new("RGB", (1, 1)))
    entries, x, y = [], gap + 4, 0
    for name, color in zip(names, colors, strict=True):
        length = round(measure.textlength(name, font=font)) + 44
        if x + length > wide and x > gap + 4:
            x, y = gap + 4, y + 24
        entries.append((x, y, name, color))
        x += length
    below = y + 30 if entries else 0
    canvas = image_module.new("RGB", (wide, top + sum(heights) + below), (24, 24, 27))
    draw = draw_module.Draw(canvas)
    if title:
        draw.text((gap + 4, 6), title, fill=(240, 240, 240), font=font)
    at = top
    for row, tall in zip(rows, heights, strict=True):
        for number, (tile, text) in enumerate(row):
            left = gap + number * (cell + gap)
            canvas.paste(tile, (left + (cell - tile.width) // 2, at + (tall - caption - gap - tile.height) // 2))
            draw.text((left + cell / 2, at + tall - gap - 4), text, fill=(190, 190, 190), font=font, anchor="ms")
        at += tall
    for x, y, name, color in entries:
        draw.rectangle((x, at + y + 7, x + 16, at + y + 19), fill=color)
        draw.text((x + 22, at + y + 4), name, fill=(230, 230, 230), font=font)
    return canvas


def png_bytes(picture: Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def save_png(picture: Image, path: str | os.PathLike[str]) -> Path:
    """Write the picture as a PNG file; missing folders are made."""
    save_bytes(path, png_bytes(picture))
    return Path(path)


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise MissingPackageError("pictures need Pillow: pip install 'dicom-ml[view]'") from None
    return Image, ImageDraw, ImageFont
