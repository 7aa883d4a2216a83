"""A slide in each lossless transfer syntax, and copies of the CT series, for the rows of training throughput."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import Cache, dataset
from benchmarks.registry import Size
from benchmarks.slide_phantom import TILE, Layout, side

#: At most so many tiles along the slide: each is 192 KiB, uncompressed.
_MOST_ALONG = 32
TILE_CODECS = ("raw", "rle", "jpeg-ls", "jpeg2000", "htj2k")


def layout(size: Size) -> Layout:
    return Layout(min(side(size), _MOST_ALONG * TILE))


@dataset("tiles-raw")
def tiles_raw(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """The slide's tissue, uncompressed, or as much as 32 x 32 tiles show of it."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian

    slide = cache.get("slide", size)
    at = layout(size)
    tiles = np.load(slide / "tiles.npy")
    if at.period**2 != len(tiles):
        tiles = tiles[: at.period**2]
    np.save(folder / "tiles.npy", tiles)
    ds = dcmread(slide / "slide" / "base.dcm", stop_before_pixels=True)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PhotometricInterpretation = "RGB"
    ds.TotalPixelMatrixRows = ds.TotalPixelMatrixColumns = at.side
    ds.ImagedVolumeWidth = ds.ImagedVolumeHeight = float(ds.ImagedVolumeWidth) * at.side / side(size)
    ds.NumberOfFrames = at.along**2
    ds.PixelData = tiles[at.which()].tobytes()
    ds["PixelData"].VR = "OB"
    (folder / "slide").mkdir()
    ds.save_as(folder / "slide" / "base.dcm", enforce_file_format=True)
    return {"side": at.side}


def _transcoded(to: str) -> Any:
    def build(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
        # Compared pixel by pixel while it is written, and again in the rows, with what the generator drew.
        from dicom_ml.encoding.fragments import scan_fragments
        from dicom_ml.encoding.transcoding import TARGETS, transcode_file
        from dicom_ml.encoding.transcoding.source import opened_image

        raw = cache.get("tiles-raw", size)
        (folder / "slide").mkdir()
        path = folder / "slide" / "base.dcm"
        transcode_file(raw / "slide" / "base.dcm", path, TARGETS[to])
        np.save(folder / "tiles.npy", np.load(raw / "tiles.npy"))
        with opened_image(path) as image:
            table = 8 + 4 * len(image.frames)
            found = scan_fragments(image.frames._view, image.frames._start + table, image.frames._end)
            np.save(folder / "frames.npy", np.column_stack([found.starts, found.lengths]))
        return {"side": layout(size).side}

    return build


for _to in TILE_CODECS[1:]:
    dataset(f"tiles-{_to}")(_transcoded(_to))


#: Further copies of a series: an epoch has several volumes, and none of them may be in memory when it should be cold.
COPIES = 3
VOLUME_CODECS = ("ct-raw", "ct-rle", "ct-jpegls", "ct-jpeg2000", "ct-htj2k")


def _copied(name: str) -> Any:
    def build(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
        series = cache.get(name, size) / "series"
        for number in range(COPIES):
            shutil.copytree(series, folder / str(number))
        return {"copies": COPIES}

    return build


for _name in VOLUME_CODECS:
    dataset(f"{_name}-copies")(_copied(_name))
