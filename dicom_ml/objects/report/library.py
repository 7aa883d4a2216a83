"""The image library: which images a report is about, and where they lie (PS3.16 TID 1600, 1601, 1604)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dicom_ml.codes import Code
from dicom_ml.errors import GeometryError
from dicom_ml.geometry import Grid, affine_from_plane, stack_planes
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas
from dicom_ml.objects.report.descriptors import descriptor_items
from dicom_ml.objects.report.items import ContentItem, Number, Reference, container, number_item
from dicom_ml.objects.report.items import reference_item as image_item
from dicom_ml.source import SourceSeries

__all__ = ["library_item", "read_library"]

_REL = "HAS ACQ CONTEXT"


def library_item(sources: Sequence[tuple[SourceSeries, Canvas]]) -> ContentItem:
    """The Image Library container, with a group for each series.

    What all images of a series share stands once in its group, the position beside each image: a reader can lay every
    region on its slice without opening the images.
    """
    groups = []
    for source, canvas in sources:
        common = descriptor_items(source)
        grid = None if canvas.is_slide else canvas.grid
        positions = None
        if grid is not None:
            common += _geometry(grid)
            positions = grid.positions()
        images: list[ContentItem] = []
        for d, reference in enumerate(canvas.references):
            if not reference.sop_instance_uid:
                continue  # a filled gap
            image = image_item(None, reference)
            if positions is not None:
                image.children = [
                    number_item(name, round(float(value), 8) + 0.0, c.MM, _REL)
                    for name, value in zip(c.POSITION, positions[d], strict=True)
                ]
            images.append(image)
        groups.append(container(c.IMAGE_LIBRARY_GROUP, [*common, *images]))
    return container(c.IMAGE_LIBRARY, groups, "1600")


def _geometry(grid: Grid) -> list[ContentItem]:
    """Descriptors of TID 1602 and 1604 that all planes share."""
    numbers = [
        (c.PIXEL_ROWS, grid.shape[1], c.PIXELS),
        (c.PIXEL_COLUMNS, grid.shape[2], c.PIXELS),
        (c.HORIZONTAL_SPACING, grid.spacing[2], c.MM),
        (c.VERTICAL_SPACING, grid.spacing[1], c.MM),
        (c.SLICE_SPACING, abs(float(grid.affine[:3, 0] @ grid.normal)), c.MM),
    ]
    numbers += [(name, float(value), c.COSINE) for name, value in zip(c.ORIENTATION, grid.orientation, strict=True)]
    return [number_item(name, round(float(value), 10) + 0.0, unit, _REL) for name, value, unit in numbers]


# ---------------------------------------------------------------------- reading
def read_library(root: ContentItem) -> Canvas | None:
    """The canvas of the first series that a report's image library lays out in space, or None.

    Slices are in the order of :func:`dicom_ml.read_volume`: along the normal of their planes.
    """
    library = next((i for i in root.children if i.name == c.IMAGE_LIBRARY), None)
    if library is None:
        return None
    for group in [i for i in library.children if i.name == c.IMAGE_LIBRARY_GROUP] or [library]:
        canvas = _read_group(group)
        if canvas is not None:
            return canvas
    return None


def _read_group(group: ContentItem) -> Canvas | None:
    if not any(i.name == c.POSITION[0] for child in group.children[:64] for i in (child, *child.children)):
        return None  # most makers do not say where the images lie
    shared = _descriptors(group)
    images = [(i.value, {**shared, **_descriptors(i)}) for i in group.children if isinstance(i.value, Reference)]
    if not images:
        return None
    frame = shared.get(c.FRAME_OF_REFERENCE_UID)
    references = tuple(reference for reference, _ in images)
    try:
        placed = [_plane(descriptors) for _, descriptors in images]
        positions = [position for position, _, _ in placed]
        _, orientation, spacing = placed[0]
        stack = stack_planes(positions, orientation)
        if stack.duplicates or stack.gaps or not stack.regular:
            return None
        order = [int(i) for i in stack.order]
        step = stack.step if stack.spacing else _number(images[0][1], c.SLICE_SPACING)
        affine = affine_from_plane(positions[order[0]], orientation, spacing, step)
        rows, columns = (int(_number(images[0][1], name)) for name in (c.PIXEL_ROWS, c.PIXEL_COLUMNS))
        grid = Grid((len(order), rows, columns), affine)
    except (KeyError, GeometryError, ValueError):
        return None
    return Canvas(tuple(references[i] for i in order), grid, False, frame if isinstance(frame, str) else "")


def _descriptors(item: ContentItem) -> dict[Code, object]:
    return {i.name: i.value for i in item.children if i.name is not None and i.relationship == _REL}


def _number(descriptors: dict[Code, object], name: Code) -> float:
    value = descriptors[name]
    if not isinstance(value, Number) or value.value is None or not np.isfinite(value.value):
        raise ValueError(f"{name.meaning} is no number")
    return value.value


def _plane(descriptors: dict[Code, object]) -> tuple[list[float], list[float], list[float]]:
    position = [_number(descriptors, name) for name in c.POSITION]
    orientation = [_number(descriptors, name) for name in c.ORIENTATION]
    spacing = [_number(descriptors, name) for name in (c.VERTICAL_SPACING, c.HORIZONTAL_SPACING)]
    return position, orientation, spacing
