"""Pictures of slides, whole or in part, with segmentations, maps, annotations and reports drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.cli.findings import COLUMNS, Findings
from dicom_ml.cli.reports import is_report
from dicom_ml.cli.slides import sop_class_of
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.geometry import Grid
from dicom_ml.objects.annotations import AnnotationGroup, read_annotations
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.objects.report import Contours, Ellipse
from dicom_ml.objects.report.regions import Shape
from dicom_ml.objects.segmentation import read_segmentation
from dicom_ml.reading.slides import Slide, open_slide
from dicom_ml.view import PALETTE, Page, Trace, draw_traces, outline_of, png_bytes, save_png

__all__ = ["render_slide"]

Array = npt.NDArray[Any]
Color = tuple[int, int, int]
_SMALL, _THIN = 3.0, 20.0  # pixels of the picture below which an outline is a spot, or a thin line


@dataclass
class Picture:
    """A picture of a slide, or of a part of it, and what is drawn over it.

    Attributes
    ----------
    pixels : ndarray of shape (rows, columns, 3), uint8
    grid : Grid
        Of level 0.
    corner, size : ndarray
        Row and column of the first corner, rows and columns of the part shown, in pixels of level 0.
    legend : list
        Name, meaning and colour of what is drawn.
    """

    pixels: Array
    grid: Grid
    corner: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    legend: list[tuple[str, str, Color]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Pixels of the picture a pixel of level 0, along rows and columns."""
        return np.asarray(self.pixels.shape[:2]) / self.size

    def place(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Row and column on the picture of rows and columns of level 0, corners of pixels at whole numbers."""
        return np.asarray((np.asarray(points, dtype=np.float64) - self.corner) * self.scale)

    def centres(self) -> Array:
        """Slide millimetres of the middle of each pixel, shape (rows, columns, 3)."""
        rows, columns = ((np.arange(n) + 0.5) / s + c - 0.5
                         for n, s, c in zip(self.pixels.shape, self.scale, self.corner, strict=False))  # fmt: skip
        index = np.zeros((len(rows), len(columns), 3))
        index[..., 1], index[..., 2] = rows[:, None], columns[None, :]
        return self.grid.to_lps(index)

    def sample(self, values: Array, grid: Grid) -> Array:
        """Values of a matrix at the picture's pixels, by their place on the slide; 0 outside."""
        index = np.rint(grid.to_index(self.centres())[..., 1:]).astype(np.intp)
        inside = ((index >= 0) & (index < values.shape)).all(axis=-1)
        out = np.zeros(self.pixels.shape[:2], dtype=np.float32)
        out[inside] = values[index[inside, 0], index[inside, 1]]
        return out

    def blend(self, weight: Array, color: Color) -> None:
        """Lay a colour over the picture, as strong as its weight from 0 to 1."""
        now = self.pixels.astype(np.float32)
        now += weight[..., None] * (np.array(color, np.float32) - now)
        self.pixels = np.clip(np.rint(now), 0, 255).astype(np.uint8)

    def draw(self, drawn: Sequence[tuple[Sequence[Trace], Color, str]], width: int | None = None) -> None:
        """Draw lines, ``width`` pixels wide, in coordinates of the picture."""
        from PIL import Image

        image = Image.fromarray(self.pixels)
        for traces, color, text in drawn:
            draw_traces(image, traces, color, text, width)
        self.pixels = np.asarray(image)


def render_slide(
    path: Path,
    overlays: list[Path],
    wanted: list[str] | None,
    output: Path,
    size: int,
    region: tuple[int, int, int, int] | None = None,
) -> Path:
    """A picture of a slide with what is said of it, and a legend.

    Parameters
    ----------
    path : Path
        Folder, zip or file of the slide.
    overlays : list of Path
        DICOM segmentations, parametric maps, annotations or reports of the slide.
    wanted : list of str, optional
        Only these segments, groups or findings, by label or number.
    output : Path
        ``.png`` or ``.html``.
    size : int
        Longer side of the picture, in pixels.
    region : tuple of int, optional
        Row, column, height and width of the part to be shown, in pixels of level 0; the whole slide by default.

    Raises
    ------
    EncodingError
        If an overlay belongs to no slide.
    """
    findings = Findings()
    with open_slide(path) as slide:
        picture = _picture(slide, size, region)
        for overlay in sorted(overlays, key=lambda file: is_report(sop_class_of(file))):  # lines of reports on top
            _draw(picture, slide, overlay, wanted, findings)
        facts = [(f"Level {i}", f"{lv.shape[0]} x {lv.shape[1]}") for i, lv in enumerate(slide.levels)]
    if wanted and not picture.legend and not findings.rows:
        known = ", ".join(map(repr, dict.fromkeys([*picture.names, *findings.names])))
        raise FileError(f"nothing is named {', '.join(wanted)}; there are {known}")
    legend = [(name, color) for name, _, color in picture.legend]
    legend += dict.fromkeys((m.name, m.color) for m in findings.marks)
    if output.suffix.lower() == ".png":
        save_png(_with_legend(picture.pixels, legend), output)
        return output
    page = Page(path.resolve().name)
    shown = "The whole slide" if region is None else f"Rows {region[0]} to {region[0] + region[2]}, columns " \
        f"{region[1]} to {region[1] + region[3]}"  # fmt: skip
    page.picture(png_bytes(_image(picture.pixels)), f"{shown}, first row of the total pixel matrix on top")
    if picture.legend:
        page.table(("Overlay", "Meaning"), [(n, m) for n, m, _ in picture.legend], "Overlays",
                   [c for _, _, c in picture.legend])  # fmt: skip
    if findings.rows:
        page.table(COLUMNS, findings.rows, "Findings", findings.colors)
        if findings.note:
            page.text(findings.note)
    page.facts(facts, "Rows and columns")
    return page.save(output)


def _image(pixels: Array) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _picture(slide: Slide, size: int, region: tuple[int, int, int, int] | None) -> Picture:
    base = slide.levels[0]
    if region is None:
        pixels = np.asarray(slide.thumbnail(size))
        corner, extent = np.zeros(2), np.array(base.shape, dtype=np.float64)
    else:
        corner, extent = np.array(region[:2], dtype=np.float64), np.array(region[2:], dtype=np.float64)
        if (corner + extent <= 0).any() or (corner >= base.shape).any():
            raise EncodingError(
                f"--region lies beside the slide, which has {base.shape[0]} rows and {base.shape[1]} columns"
            )
        step = max(1.0, extent.max() / size)
        fitting = [lv for lv in slide.levels if max(lv.downsamples) <= step * (1 + 1e-6)]
        level = fitting[-1] if fitting else base
        rows, columns = (max(1, round(n / d)) for n, d in zip(extent, level.downsamples, strict=True))
        read = _image(np.asarray(slide.read_region(corner.tolist(), (rows, columns), level=level.index)))
        shape = [max(1, round(n / step)) for n in extent]
        if max(shape) < size:  # small parts are enlarged
            shape = [max(1, round(n * size / max(shape))) for n in shape]
        pixels = np.asarray(read.resize((shape[1], shape[0])))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return Picture(pixels, base.grid, corner, extent)


def _with_legend(pixels: Array, legend: Sequence[tuple[str, Color]]) -> Any:
    """The picture with the names of what is drawn below it."""
    from PIL import Image, ImageDraw, ImageFont

    if not legend:
        return Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    font = ImageFont.load_default(15)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    entries, x, y = [], 10, 0
    for name, color in legend:
        length = round(measure.textlength(name, font=font)) + 44
        if x + length > width and x > 10:
            x, y = 10, y + 24
        entries.append((x, y, name, color))
        x += length
    out = Image.new("RGB", (width, height + y + 30), (24, 24, 27))
    out.paste(Image.fromarray(pixels), (0, 0))
    draw = ImageDraw.Draw(out)
    for x, y, name, color in entries:
        draw.rectangle((x, height + y + 9, x + 16, height + y + 21), fill=color)
        draw.text((x + 22, height + y + 6), name, fill=(230, 230, 230), font=font)
    return out


# ---------------------------------------------------------------------- what is drawn over it
def _draw(picture: Picture, slide: Slide, file: Path, wanted: list[str] | None, findings: Findings) -> None:
    sop_class = sop_class_of(file)
    if is_report(sop_class):
        _draw_report(picture, slide, file, wanted, findings)
    elif sop_class == sop.BULK_ANNOTATIONS:
        _draw_annotations(picture, file, wanted)
    elif sop_class == sop.PARAMETRIC_MAP:
        _draw_map(picture, file, wanted)
    else:
        _draw_segments(picture, file, wanted)


def _next_color(picture: Picture) -> Color:
    return PALETTE[len(picture.legend) % len(PALETTE)]


def _draw_map(picture: Picture, file: Path, wanted: list[str] | None) -> None:
    pm = read_parametric_map(file)
    if not pm.is_tiled:
        raise EncodingError(f"{file.name} lies in a volume, not on a slide")
    for index, quantity in enumerate(pm.quantities):
        picture.names.append(quantity.label)
        if wanted and quantity.label not in wanted:
            continue
        values = pm.channels(quantities=[index])[0].astype(np.float32)
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        color = _next_color(picture)
        weight = (np.nan_to_num(picture.sample(values, pm.grid), nan=low) - low).clip(0) / max(high - low, 1e-12)
        picture.blend(0.6 * weight, color)
        picture.legend.append((quantity.label, f"{low:.4g} to {high:.4g} {quantity.unit.value}", color))


def _draw_segments(picture: Picture, file: Path, wanted: list[str] | None) -> None:
    seg = read_segmentation(file)
    if not seg.is_tiled:
        raise EncodingError(f"{file.name} lies in a volume, not on a slide")
    for segment in seg.segments:
        picture.names.append(segment.label)
        if wanted and segment.label not in wanted and str(segment.number) not in wanted:
            continue
        color = segment.color or _next_color(picture)
        mask = seg.channels(segments=[segment.number])[0].astype(np.float32)
        picture.blend(0.5 * picture.sample(mask, seg.grid), color)
        picture.legend.append((segment.label, segment.type.meaning, color))


def _draw_report(picture: Picture, slide: Slide, file: Path, wanted: list[str] | None, findings: Findings) -> None:
    before = len(findings.marks)
    findings.add([file], slide, wanted, len(picture.legend))
    drawn = []
    for mark in findings.marks[before:]:
        pieces = mark.region.pieces if isinstance(mark.region, Contours) else (mark.region,)
        traces = []
        for piece in pieces:
            if isinstance(piece, Shape) and piece.dimensions == 2:
                closed = piece.kind in ("box", "polygon", "circle", "ellipse")
                points = picture.place(outline_of(piece))
                traces += [Trace(p[None]) for p in points] if piece.kind == "multipoint" else [Trace(points, closed)]
        drawn.append((traces, mark.color, mark.text))
    picture.draw(drawn)


def _draw_annotations(picture: Picture, file: Path, wanted: list[str] | None) -> None:
    """Outlines where they are large enough to be seen, else a spot an item."""
    for number, group in enumerate(read_annotations(file).groups, start=1):
        picture.names.append(group.label)
        if wanted and not {group.label, str(number), group.type.meaning} & set(wanted):
            continue
        color = _next_color(picture)
        places = picture.place(_on_level_0(picture, group))
        assert group.offsets is not None
        low, high = (f.reduceat(places, group.offsets) for f in (np.minimum, np.maximum))
        seen = np.flatnonzero(((high > 0) & (low < picture.pixels.shape[:2])).all(axis=1))
        picture.legend.append((group.label, f"{len(group)} {group.graphic.lower()}s, {len(seen)} shown", color))
        if not len(seen):
            continue
        extent = float(np.median((high - low)[seen].max(axis=1)))
        if extent < _SMALL and group.graphic != "POINT":
            _spots(picture, (low + high)[seen] / 2, color)
        elif group.graphic == "POINT":
            _spots(picture, places[seen], color)
        else:
            picture.draw([([_item(places, group, i) for i in seen.tolist()], color, "")], 1 if extent < _THIN else None)


def _on_level_0(picture: Picture, group: AnnotationGroup) -> Array:
    """Rows and columns of level 0 of all points of a group, corners of pixels at whole numbers."""
    if group.dimensions == 2:
        return group.points[:, ::-1].astype(np.float64)
    points = group.points
    if group.columns == 2:
        points = np.column_stack([points, np.full(len(points), group.z or 0.0)])
    return picture.grid.to_index(points)[:, 1:] + 0.5


def _item(places: Array, group: AnnotationGroup, index: int) -> Trace:
    assert group.offsets is not None
    stop = group.offsets[index + 1] if index + 1 < len(group.offsets) else len(places)
    points = places[group.offsets[index] : stop]
    if group.graphic == "ELLIPSE":
        points = outline_of(Ellipse(points))
    return Trace(points, group.graphic != "POLYLINE")


def _spots(picture: Picture, places: Array, color: Color) -> None:
    """A mark a place: as wide as there is room for."""
    shape = np.array(picture.pixels.shape[:2])
    reach = int(np.clip(np.sqrt(shape.prod() / max(len(places), 1)) / 16, 0, 3))
    pixels = np.array(picture.pixels)
    at = np.floor(places).astype(np.intp)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            if row * row + column * column <= reach * reach + 0.5:
                moved = at + (row, column)
                inside = moved[((moved >= 0) & (moved < shape)).all(axis=1)]
                pixels[inside[:, 0], inside[:, 1]] = color
    picture.pixels = pixels
