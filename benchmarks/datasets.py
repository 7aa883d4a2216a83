"""The data sets of the rows. Imported by the harness only; workers see finished folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless, RLELossless

from benchmarks import (
    dicom_files,
    finding_files,
    findings,
    outline_files,
    outlines,
    phantom,
    rle,
    slide_files,
    slide_phantom,
    training_files,  # noqa: F401  registers its data sets
)
from benchmarks.cache import Cache, dataset
from benchmarks.registry import Size


@dataset("ct-volume")
def ct_volume(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """The stored values of the CT: the truth of the CT rows."""
    stored = np.lib.format.open_memmap(folder / "stored.npy", mode="w+", dtype=np.int16, shape=size.shape)
    for d, plane in enumerate(phantom.ct_slices(size)):
        stored[d] = plane
    stored.flush()
    return {"slope": phantom.SLOPE, "intercept": phantom.INTERCEPT}


def _ct_series(transfer_syntax: str, encode: Callable[[np.ndarray], bytes]) -> Callable[..., dict[str, Any]]:
    def build(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
        stored = np.load(cache.get("ct-volume", size) / "stored.npy", mmap_mode="r")
        series = dicom_files.uid("series", transfer_syntax, size)
        (folder / "series").mkdir()
        # File names do not follow the position, so that every reader has to sort.
        names = np.random.default_rng(1).permutation(size.slices)
        files = []
        for d in range(size.slices):
            name = f"IM{names[d]:05d}.dcm"
            frame = encode(np.ascontiguousarray(stored[d]))
            path = folder / "series" / name
            offset, length = dicom_files.write_ct_slice(path, d, size, series, transfer_syntax, frame)
            files.append({"name": name, "offset": offset, "length": length})
        return {"series": series, "files": files, "slope": phantom.SLOPE, "intercept": phantom.INTERCEPT}

    return build


def _rle(frame: np.ndarray) -> bytes:
    return rle.encode_frame(frame)


def _jpeg_ls(frame: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegls_encode(frame.view(np.uint16)))


def _jpeg_2000(frame: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, level=0))


def _htj2k(frame: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.htj2k_encode(frame, reversible=True, tlm=True))


dataset("ct-raw")(_ct_series(ExplicitVRLittleEndian, lambda frame: frame.tobytes()))
dataset("ct-rle")(_ct_series(RLELossless, _rle))
dataset("ct-jpegls")(_ct_series(JPEGLSLossless, _jpeg_ls))
dataset("ct-jpeg2000")(_ct_series(JPEG2000Lossless, _jpeg_2000))
dataset("ct-htj2k")(_ct_series(HTJ2KLossless, _htj2k))


@dataset("ct-enhanced")
def ct_enhanced(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """The same CT as one multi-frame file."""
    stored = np.load(cache.get("ct-volume", size) / "stored.npy", mmap_mode="r")
    offset = dicom_files.write_enhanced_ct(folder / "enhanced.dcm", size, stored)
    return {"offset": offset, "slope": phantom.SLOPE, "intercept": phantom.INTERCEPT}


def _labels(count: int) -> Callable[..., dict[str, Any]]:
    def build(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
        labels = phantom.label_map(phantom.organs(count), size)
        np.save(folder / "labels.npy", labels)
        _write_nrrd(folder / "labels.nrrd", labels)
        names = phantom.segment_names(count)
        (folder / "dcmqi.json").write_text(json.dumps(_dcmqi_description(names)))
        return {
            "segments": names,
            "filled": float(np.count_nonzero(labels) / labels.size),
            "origin": phantom.ORIGIN,
            "spacing": phantom.SPACING,
        }

    return build


def _write_nrrd(path: Path, labels: np.ndarray) -> None:
    """An uncompressed NRRD on the CT's grid, the input that dcmqi reads fastest."""
    depth, rows, columns = labels.shape
    dz, dy, dx = phantom.SPACING
    x, y, z = phantom.ORIGIN
    header = (
        "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {columns} {rows} {depth}\nspace directions: ({dx},0,0) (0,{dy},0) (0,0,{dz})\n"
        f"kinds: domain domain domain\nencoding: raw\nspace origin: ({x},{y},{z})\n\n"
    )
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(labels.tobytes())


def _dcmqi_description(names: list[dict[str, str]]) -> dict[str, Any]:
    def described(value: str, meaning: str) -> dict[str, str]:
        return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}

    segments = [
        {
            "labelID": number,
            "SegmentLabel": name["label"],
            "SegmentDescription": name["label"],
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "Benchmark",
            "SegmentedPropertyCategoryCodeSequence": described(*phantom.ANATOMICAL_STRUCTURE),
            "SegmentedPropertyTypeCodeSequence": described(name["value"], name["meaning"]),
            "recommendedDisplayRGBValue": [number % 256, 255 - number % 256, 90],
        }
        for number, name in enumerate(names, start=1)
    ]
    return {
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/seg-schema.json#",
        "ContentCreatorName": "Benchmark",
        "ClinicalTrialSeriesID": "1",
        "ClinicalTrialTimePointID": "1",
        "SeriesDescription": "Organs",
        "SeriesNumber": "100",
        "InstanceNumber": "1",
        "BodyPartExamined": "CHEST",
        "ContentLabel": "ORGANS",
        "ContentDescription": "Organs",
        "segmentAttributes": [segments],
    }


def _binary_seg(count: int) -> Callable[..., dict[str, Any]]:
    def build(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
        labels = np.load(cache.get(f"labels-{count}", size) / "labels.npy")
        series = json.loads((cache.get("ct-raw", size) / "info.json").read_text())["series"]
        return dicom_files.write_binary_seg(folder / "binary.seg.dcm", labels, count, size, series)

    return build


for _count in (20, 50, 104):
    dataset(f"labels-{_count}")(_labels(_count))
    dataset(f"seg-binary-{_count}")(_binary_seg(_count))


@dataset("probability-20")
def probability(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """Soft organs, each as its box: whole, 20 of them would take 6 GB on disk at full size."""
    boxes = []
    for number, (box, values) in enumerate(phantom.probability_boxes(phantom.organs(20), size), start=1):
        np.save(folder / f"organ-{number}.npy", values)
        boxes.append([[side.start, side.stop] for side in box])
    return {"segments": phantom.segment_names(20), "boxes": boxes}


# ---- slides


def _jpegs(tiles: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """JPEG of each tile, 4:2:2 as the slide says, and what those hold."""
    import io

    import imagecodecs
    from PIL import Image

    codes = [bytes(imagecodecs.jpeg8_encode(tile, level=slide_phantom.QUALITY, subsampling="422")) for tile in tiles]
    # Decoded by Pillow, which is the truth: dicom_ml does not use it for this.
    return codes, np.stack([np.asarray(Image.open(io.BytesIO(encoded))) for encoded in codes])


@dataset("slide")
def slide(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """A TILED_FULL slide, and its different tiles as decoding gives them."""
    layout = slide_phantom.Layout(slide_phantom.side(size))
    codes, decoded = _jpegs(slide_phantom.tissue(layout))
    np.save(folder / "tiles.npy", decoded)
    (folder / "slide").mkdir()
    frames = [codes[which] for which in layout.which().tolist()]
    where = slide_files.write_slide(folder / "slide" / "base.dcm", layout.side, size, frames)
    np.save(folder / "frames.npy", where)
    return {"side": layout.side}


@dataset("slide-sparse")
def slide_sparse(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """A TILED_SPARSE level: plain tiles in no order, some places empty."""
    count = slide_phantom.sparse_frames(size)
    along = int(np.ceil(np.sqrt(count))) + 1
    rng = np.random.default_rng(13)
    places = np.stack(np.divmod(rng.permutation(along * along)[:count], along), axis=1)
    colours = rng.integers(40, 216, (64, 3), dtype=np.uint8)
    plain = np.broadcast_to(colours[:, None, None], (64, slide_phantom.TILE, slide_phantom.TILE, 3))
    codes, decoded = _jpegs(np.ascontiguousarray(plain))
    which = rng.integers(0, len(codes), count)
    (folder / "slide").mkdir()
    path, side = folder / "slide" / "sparse.dcm", along * slide_phantom.TILE
    frames = [codes[number] for number in which.tolist()]
    _, header = slide_files.write_sparse_slide(path, side, size, places, frames)
    wanted = count // 2  # the frame that the row reads
    np.save(folder / "tile.npy", decoded[which[wanted]])
    return {"header": header, "frame": wanted, "place": places[wanted].tolist(), "count": count, "side": side}


@dataset("slide-labels")
def slide_labels(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """The different tiles of the slide's label map."""
    layout = slide_phantom.Layout(slide_phantom.side(size))
    np.save(folder / "tiles.npy", slide_phantom.regions(layout))
    return {"segments": list(slide_phantom.REGIONS)}


@dataset("slide-seg")
def slide_seg(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """The label map as a sparse BINARY segmentation of the slide."""
    layout = slide_phantom.Layout(slide_phantom.side(size))
    tiles = np.load(cache.get("slide-labels", size) / "tiles.npy")
    source = cache.get("slide", size) / "slide" / "base.dcm"
    packed, places, segments = [], [], []
    inside = np.zeros(tiles.shape[1:], bool)
    for number in range(1, len(slide_phantom.REGIONS) + 1):
        bits = np.packbits((tiles == number).reshape(len(tiles), -1), axis=1, bitorder="little")
        held = bits.any(axis=1)
        for index, which in enumerate(layout.which().tolist()):
            row, column = divmod(index, layout.along)
            frame = bits[which]
            if not held[which]:
                continue
            if layout.along - 1 in (row, column):
                # What reaches past the slide is not part of it.
                inside[...] = False
                rows, columns = (layout.side - at * slide_phantom.TILE for at in (row, column))
                inside[:rows, :columns] = tiles[which, :rows, :columns] == number
                if not inside.any():
                    continue
                frame = np.packbits(inside, bitorder="little")
            packed.append(frame.tobytes())
            places.append((row, column))
            segments.append(number)
    path = folder / "tiled.seg.dcm"
    offset = slide_files.write_tiled_seg(
        path, layout.side, size, np.array(places), np.array(segments), b"".join(packed), source
    )
    np.save(folder / "frames.npy", np.column_stack([segments, places]))
    return {"offset": offset}


# ---- reports


@dataset("findings")
def make_findings(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """Findings on the CT: the truth of the rows of reports."""
    series = json.loads((cache.get("ct-raw", size) / "info.json").read_text())["series"]
    images = [dicom_files.uid("ct", series, d) for d in range(size.slices)]
    return {"findings": findings.make_findings(size, dicom_files.uid), "images": images}


@dataset("report")
def report(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """A report of them."""
    scene = json.loads((cache.get("findings", size) / "info.json").read_text())
    series = json.loads((cache.get("ct-raw", size) / "info.json").read_text())["series"]
    finding_files.write_report(folder / "report.dcm", scene["findings"], scene["images"], series, size)
    return {}


# ---- the smallest of everything

_SMALL = Size(4, 32, 32)


@dataset("small")
def small(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """A study of four slices and a slide of nine tiles, with objects of each, whatever the size of the run."""
    for name, part in (
        ("ct-raw", "series"),
        ("slide", "slide"),
        ("seg-binary-20", "binary.seg.dcm"),
        ("report", "report.dcm"),
        ("annotations", "nuclei.ann.dcm"),
    ):
        made = cache.get(name, _SMALL) / part
        (shutil.copytree if made.is_dir() else shutil.copy)(made, folder / part)
    return {}


# ---- annotations


@dataset("outlines")
def make_outlines(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """Outlines of nuclei on the slide, and the area of each."""
    points, areas = outlines.make_outlines(size)
    np.save(folder / "points.npy", points)
    np.save(folder / "areas.npy", areas)
    return {"count": len(areas), "corners": outlines.CORNERS}


@dataset("annotations")
def annotations(folder: Path, size: Size, cache: Cache) -> dict[str, Any]:
    """They as bulk annotations."""
    made = cache.get("outlines", size)
    points, areas = (np.load(made / f"{name}.npy") for name in ("points", "areas"))
    return outline_files.write_annotations(folder / "nuclei.ann.dcm", points, areas, size)
