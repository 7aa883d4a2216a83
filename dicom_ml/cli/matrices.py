"""Matrices of slides to pictures and back: segmentations and maps as PNG or OME-TIFF, masks as segmentations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.encoding.writer import atomic_file
from dicom_ml.errors import EncodingError, FileError, MissingPackageError
from dicom_ml.geometry import Grid
from dicom_ml.objects.parametric_map import ParametricMap
from dicom_ml.objects.segmentation import Segmentation

__all__ = ["from_matrix", "read_picture"]

Array = npt.NDArray[Any]
_TILE = 512
#: Pixels past which a picture is not made in one piece.
_PNG_LIMIT = 1 << 28


def from_matrix(result: Segmentation | ParametricMap, args: argparse.Namespace) -> list[Path]:
    """Write a segmentation or parametric map of a slide as ``.png`` (one picture) or ``.ome.tif`` (tiled, any size).

    A segmentation becomes a label map, or with ``--split`` a mask a segment; a map its real values (in PNG, of one
    quantity: 0 to 255 between the lowest and the highest).
    """
    output: Path = args.output
    name = output.name.lower()
    if not args.split and not name.endswith((".png", ".ome.tif", ".ome.tiff")):
        raise EncodingError(f"results on slides are converted to .png or .ome.tif, found {output.name}")
    if isinstance(result, ParametricMap):
        if name.endswith(".png"):
            return [_save_png(_scaled(result.array()), output)]
        channels = len(result.quantities)
        read = lambda r, c, h, w: result.read_region((r, c), (h, w))  # noqa: E731
        return [
            _save_tiff(output, read, result.grid, channels, np.dtype(np.float32), [q.label for q in result.quantities])
        ]
    if args.split:
        return [
            _save_png(255 * result.channels(segments=[s.number])[0].astype(np.uint8), output / f"{s.number:03d}.png")
            for s in result.segments
        ]
    if name.endswith(".png"):
        labels = result.label_map(overlap=args.overlap)
        return [_save_png(labels, output)]
    wide = max(int(s.number or 0) for s in result.segments) > 255
    read = lambda r, c, h, w: result.read_region((r, c), (h, w), overlap=args.overlap)[None]  # noqa: E731
    return [_save_tiff(output, read, result.grid, 1, np.dtype(np.uint16 if wide else np.uint8), ["labels"])]


def _scaled(values: Array) -> Array:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return np.asarray(np.nan_to_num((values - low) / max(high - low, 1e-12) * 255).round(), dtype=np.uint8)


def _save_png(array: Array, path: Path) -> Path:
    from PIL import Image

    if array.size > _PNG_LIMIT:
        raise EncodingError(f"a PNG of {array.shape[0]} x {array.shape[1]} pixels is too large; write .ome.tif")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def _save_tiff(path: Path, read: Any, grid: Grid, channels: int, dtype: np.dtype[Any], names: list[str]) -> Path:
    """Write tile by tile, so that no matrix is ever whole in memory."""
    try:
        import tifffile
    except ImportError as error:
        raise MissingPackageError("OME-TIFF is written by tifffile: pip install 'dicom-ml[tiff]'") from error
    rows, columns = grid.shape[1:]

    def tiles() -> Iterator[Array]:
        for channel in range(channels):
            for row in range(0, rows, _TILE):
                for column in range(0, columns, _TILE):
                    part = read(row, column, min(_TILE, rows - row), min(_TILE, columns - column))[channel]
                    whole = np.zeros((_TILE, _TILE), dtype=dtype)
                    whole[: part.shape[0], : part.shape[1]] = part
                    yield whole

    metadata = {
        "axes": "CYX",
        "Channel": {"Name": names},
        "PhysicalSizeX": grid.spacing[2] * 1000,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": grid.spacing[1] * 1000,
        "PhysicalSizeYUnit": "µm",
    }
    big = rows * columns * channels * dtype.itemsize > 1 << 31
    with atomic_file(path) as file, tifffile.TiffWriter(file, ome=True, bigtiff=big) as writer:
        writer.write(
            tiles(),
            shape=(channels, rows, columns),
            dtype=dtype,
            tile=(_TILE, _TILE),
            compression="zlib",
            photometric="minisblack",
            metadata=metadata,
        )
    return path


def read_picture(path: Path) -> Array:
    """A mask ``(rows, columns)`` of whole numbers from PNG or TIFF.

    Raises
    ------
    FileError
        If it is in colour: which colour is which segment cannot be known.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise FileError(f"{path.name} is no mask of whole numbers: shape {array.shape}, {array.dtype}")
    return array.astype(np.uint8) if array.dtype == bool else array
