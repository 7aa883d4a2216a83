"""A parametric map of a slide at all its resolutions."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.uids import derived_uid
from dicom_ml.encoding.writer import atomic_file
from dicom_ml.objects.parametric_map.tiled import MadeTiledMap, TiledMap
from dicom_ml.objects.pyramid import coarser_levels, mean_tiles
from dicom_ml.objects.tiling import Tiling

__all__ = ["write_levels"]

Array = npt.NDArray[Any]


def write_levels(content: MadeTiledMap, folder: str, syntax: str) -> list[str]:
    """Write the map and its coarser levels; see :meth:`ParametricMap.save_pyramid`."""
    made = content.made
    levels = coarser_levels(made.source, made.tiling.grid)
    first = replace(made.description, pyramid_uid=derived_uid("pyramid", content.sop_instance_uid))
    paths = [os.path.join(folder, f"{content.sop_instance_uid}.dcm")]
    with atomic_file(paths[0]) as file:
        MadeTiledMap(content.values, _described(made, first, made.tiling)).write(file, syntax)

    for step, level in enumerate(levels, start=1):
        uid = derived_uid("pyramid level", content.sop_instance_uid, step)
        described = replace(first, sop_instance_uid=uid, instance_number=first.instance_number + step)
        tiling = Tiling(level.grid, level.tile_size)
        paths.append(os.path.join(folder, f"{uid}.dcm"))
        coarse = MadeTiledMap(_means(content.values, tiling), _described(made, described, tiling))
        with atomic_file(paths[-1]) as file:
            coarse.write(file, syntax)
    return paths


def _means(values: Array, tiling: Tiling) -> Array:
    """Means of the fine pixels ``(C, H, W)`` that each pixel covers; NaN where all of them are."""
    known = np.isfinite(values)
    out = _reduced(values if known.all() else np.where(known, values, 0), tiling)
    if known.all():
        return out
    share = _reduced(known.astype(np.float32), tiling)
    return np.divide(out, share, out=np.full_like(out, np.nan), where=share > 0)


def _reduced(values: Array, tiling: Tiling) -> Array:
    out = np.empty((len(values), *tiling.shape), dtype=np.float64 if values.dtype == np.float64 else np.float32)

    def read(region: tuple[int, int, int, int]) -> Array:
        row, column, rows, columns = region
        return values[:, row : row + rows, column : column + columns]

    for row, column, tile in mean_tiles(read, (values.shape[1], values.shape[2]), tiling):
        out[:, row : row + tile.shape[1], column : column + tile.shape[2]] = tile
    return out


def _described(made: TiledMap, description: Any, tiling: Tiling) -> TiledMap:
    return TiledMap(
        made.source,
        made.quantities,
        made.storage,
        description,
        made.derivation,
        made.qualification,
        tiling,
        made.full,
    )
