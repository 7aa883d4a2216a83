"""Slides for the command line: what they are, and pictures of them with results drawn over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.errors import DicomMLError, EncodingError, FileError
from dicom_ml.geometry import Grid
from dicom_ml.objects.annotations import read_annotations
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.objects.segmentation import read_segmentation
from dicom_ml.reading.slides import Slide, open_slide
from dicom_ml.view import PALETTE, Page, png_bytes

__all__ = ["annotation_facts", "is_slide", "map_facts", "render_slide", "slide_facts"]

SLIDE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"
ANNOTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.91.1"

Item = dict[str, Any]
Array = npt.NDArray[Any]


def is_slide(path: Path) -> bool:
    """Whether a file, or the first DICOM file of a folder, is slide microscopy."""
    import pydicom

    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files[:50]:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        except Exception:
            continue
        return str(header.get("SOPClassUID") or "") == SLIDE_STORAGE
    return False


# ---------------------------------------------------------------------- facts
def slide_facts(files: list[str]) -> Item:
    """Levels of a slide, or the reason why the files are none."""
    try:
        with open_slide(files) as slide:
            return _slide_item(slide)
    except DicomMLError as error:
        return {"slide": f"no: {' '.join(str(error).split())}"}


def _slide_item(slide: Slide) -> Item:
    levels = []
    for level in slide.levels:
        spacing = "?" if level.spacing is None else f"{level.spacing[0] * 1000:.4g} x {level.spacing[1] * 1000:.4g} um"
        levels.append(
            {
                "": level.index,
                "rows x columns": f"{level.shape[0]} x {level.shape[1]}",
                "spacing": spacing,
                "downsample": f"{level.downsample:.4g}",
                "tiles": f"{level.tile_size[0]} x {level.tile_size[1]}",
            }
        )
    problems = slide.source.problems
    return {
        "levels": levels,
        "associated images": ", ".join(slide.associated) or "none",
        "optical paths": len(slide.optical_paths),
        "colour profile": "yes" if slide.icc_profile else "no",
        "can be referred to": "yes" if not problems else f"no: {'; '.join(problems)}",
    }


def map_facts(file: Path) -> Item:
    """Quantities and matrix of a parametric map."""
    pm = read_parametric_map(file)
    return {
        "frames": pm.frame_count,
        "quantities": [
            {"": i, "label": q.label, "what": str(q.concept), "unit": q.unit.value} for i, q in enumerate(pm.quantities)
        ],
        "refers to": [f"{uid} ({len(found)} images)" for uid, found in pm.referenced_series.items()],
    }


def annotation_facts(file: Path) -> Item:
    """Groups of bulk annotations."""
    ann = read_annotations(file)
    return {
        "coordinates": "pixels of the total pixel matrix" if ann.coordinate_type == "2D" else "slide millimetres",
        "groups": [
            {
                "": i,
                "label": g.label,
                "type": str(g.type),
                "items": f"{len(g)} {g.graphic.lower()}s",
                "measurements": ", ".join(f"{m.concept.meaning} [{m.unit.value}]" for m in g.measurements) or None,
                "by": g.algorithm.name if g.algorithm and g.algorithm.name else None,
            }
            for i, g in enumerate(ann.groups, start=1)
        ],
    }


# ---------------------------------------------------------------------- pictures
def render_slide(path: Path, overlays: list[Path], wanted: list[str] | None, output: Path, size: int) -> Path:
    """A thumbnail of a slide with segmentations, maps and annotations over it, and a legend.

    Parameters
    ----------
    path : Path
        Folder, zip or file of the slide.
    overlays : list of Path
        DICOM segmentations, parametric maps or annotations of the slide.
    wanted : list of str, optional
        Only these segments, by label or number.
    output : Path
        ``.png`` or ``.html``.
    size : int
        Longer side of the picture, in pixels.

    Raises
    ------
    EncodingError
        If an overlay belongs to no slide, or the output has another ending.
    """
    from PIL import Image

    if output.suffix.lower() not in (".png", ".html", ".htm"):
        raise EncodingError(f"--output ends in .png or .html, found {output.name}")
    with open_slide(path) as slide:
        picture = np.asarray(slide.thumbnail(size))
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        grid = slide.levels[0].grid
        legend: list[tuple[str, str, tuple[int, int, int]]] = []
        for overlay in overlays:
            picture = _draw(picture, grid, overlay, wanted, legend)
        facts = [(f"Level {i}", f"{lv.shape[0]} x {lv.shape[1]}") for i, lv in enumerate(slide.levels)]
    if overlays and not legend:
        raise FileError(f"nothing to draw is named {', '.join(wanted or ())}")
    output.parent.mkdir(parents=True, exist_ok=True)
    png = png_bytes(Image.fromarray(picture))
    if output.suffix.lower() == ".png":
        output.write_bytes(png)
        return output
    page = Page(path.resolve().name)
    page.picture(png, "The whole slide, first row of the total pixel matrix on top")
    if legend:
        page.table(("Overlay", "Meaning"), [(n, m) for n, m, _ in legend], "Overlays", [c for _, _, c in legend])
    page.facts(facts, "Rows and columns")
    return page.save(output)


def _draw(
    picture: Array,
    grid: Grid,
    file: Path,
    wanted: list[str] | None,
    legend: list[tuple[str, str, tuple[int, int, int]]],
) -> Array:
    import pydicom

    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    sop_class = str(header.get("SOPClassUID") or "")
    out = picture.astype(np.float32)
    if sop_class == ANNOTATION_STORAGE:
        return _draw_points(picture, grid, file, legend)
    if sop_class == MAP_STORAGE:
        pm = read_parametric_map(file)
        values = pm.channels()[0].astype(np.float32)
        low, high = float(values.min()), float(values.max())
        color = PALETTE[len(legend) % len(PALETTE)]
        sampled = _sample(values, pm.grid, grid, picture.shape)
        weight = 0.6 * (sampled - low) / max(high - low, 1e-12)
        out += weight[..., None] * (np.array(color, np.float32) - out)
        quantity = pm.quantities[0]
        legend.append((quantity.label, f"{low:.4g} to {high:.4g} {quantity.unit.value}", color))
        return np.clip(out, 0, 255).astype(np.uint8)
    seg = read_segmentation(file)
    if not seg.is_tiled:
        raise EncodingError(f"{file.name} lies in a volume, not on a slide")
    for segment in seg.segments:
        if wanted and segment.label not in wanted and str(segment.number) not in wanted:
            continue
        color = segment.color or PALETTE[len(legend) % len(PALETTE)]
        mask = _sample(seg.channels(segments=[segment.number])[0].astype(np.float32), seg.grid, grid, picture.shape)
        out += 0.5 * mask[..., None] * (np.array(color, np.float32) - out)
        legend.append((segment.label, segment.type.meaning, color))
    return np.clip(out, 0, 255).astype(np.uint8)


def _centres(grid: Grid, shape: tuple[int, ...]) -> Array:
    """Slide millimetres of the picture's pixel centres, shape (rows, columns, 3)."""
    rows = (np.arange(shape[0]) + 0.5) * grid.shape[1] / shape[0] - 0.5
    columns = (np.arange(shape[1]) + 0.5) * grid.shape[2] / shape[1] - 0.5
    index = np.zeros((shape[0], shape[1], 3))
    index[..., 1], index[..., 2] = rows[:, None], columns[None, :]
    return grid.to_lps(index)


def _sample(values: Array, own: Grid, grid: Grid, shape: tuple[int, ...]) -> Array:
    """Values of a matrix at the picture's pixels, by their place on the slide; 0 outside."""
    index = np.rint(own.to_index(_centres(grid, shape))[..., 1:]).astype(np.intp)
    inside = ((index >= 0) & (index < values.shape)).all(axis=-1)
    out = np.zeros(shape[:2], dtype=np.float32)
    out[inside] = values[index[inside, 0], index[inside, 1]]
    return out


def _draw_points(picture: Array, grid: Grid, file: Path, legend: list[tuple[str, str, tuple[int, int, int]]]) -> Array:
    """Marks where annotations lie: a pixel a point."""
    out = picture.copy()
    scale = np.array(picture.shape[:2]) / np.array(grid.shape[1:])
    for group in read_annotations(file).groups:
        color = PALETTE[len(legend) % len(PALETTE)]
        if group.dimensions == 2:
            places = group.points[:, ::-1] * scale
        else:
            z = np.full((len(group.points), 1), group.z or 0.0)
            points = group.points if group.columns == 3 else np.hstack([group.points, z])
            places = (grid.to_index(points)[:, 1:] + 0.5) * scale
        pixels = places.astype(np.intp)
        inside = ((pixels >= 0) & (pixels < picture.shape[:2])).all(axis=1)
        out[pixels[inside, 0], pixels[inside, 1]] = color
        legend.append((group.label, f"{len(group)} {group.graphic.lower()}s", color))
    return out
