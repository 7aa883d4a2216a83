"""Files that pages take as given and that no phantom makes."""

from __future__ import annotations

import json
from pathlib import Path

import dicom_ml as dml
from tests.objects.structure_set.contours import on_slice, ring, structure_set

__all__ = ["write_drawing", "write_structure_set"]


def write_structure_set(path: Path, volume: dml.Volume) -> None:
    """Two regions on the slices of a volume."""
    grid = dml.Grid(volume.shape, volume.affine)
    regions = {
        name: [on_slice(grid, d, ring(middle, 6)) for d in range(40, 44)]
        for name, middle in (("Liver", (50, 50)), ("Spleen", (50, 90)))
    }
    structure_set(regions, frame=volume.source.frame_of_reference_uid).save_as(path, enforce_file_format=True)


def write_drawing(path: Path) -> None:
    """An outline as QuPath writes it."""
    outline = [[0, 0], [40, 0], [40, 40], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
