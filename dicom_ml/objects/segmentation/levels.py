"""A segmentation of a slide at all its resolutions."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np

from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.objects.pyramid import coarser_levels, mean_tiles, nearest_tiles
from dicom_ml.objects.segmentation.tiled import (
    MadeTiledSegmentation,
    SegmentationStream,
    StoredTiledSegmentation,
    TiledObject,
)
from dicom_ml.objects.tiling import Tiling

__all__ = ["write_levels"]


def write_levels(made: MadeTiledSegmentation, stored: StoredTiledSegmentation, folder: str, syntax: str) -> list[str]:
    """Write the object, and its coarser levels read from ``stored``; see :meth:`Segmentation.save_pyramid`."""
    levels = coarser_levels(made.source, made.tiling.grid)
    first = replace(made.description, pyramid_uid=derived_uid("pyramid", made.sop_instance_uid))
    paths = [os.path.join(folder, f"{made.sop_instance_uid}.dcm")]
    with atomic_file(paths[0]) as file:
        made.with_description(first).write(file, syntax)
    read = partial(stored.channels_of, chosen=list(range(len(stored.segments))))
    for step, level in enumerate(levels, start=1):
        uid = derived_uid("pyramid level", made.sop_instance_uid, step)
        described = replace(first, sop_instance_uid=uid, instance_number=first.instance_number + step)
        tiling = Tiling(level.grid, level.tile_size)
        if made.kind == "binary":
            tiling = tiling.of_whole_bytes()
        tiled = TiledObject(made.source, made.segments, made.coding, described, tiling, made.full)
        paths.append(os.path.join(folder, f"{uid}.dcm"))
        with SegmentationStream(paths[-1], tiled, syntax) as stream:
            for row, column, tile in (mean_tiles if made.kind == "fractional" else nearest_tiles)(
                read, made.tiling.shape, tiling
            ):
                # a mean of fractions may pass 1 by its last bit
                stream.put(row, column, np.minimum(tile, 1) if made.kind == "fractional" else tile)
    return paths
