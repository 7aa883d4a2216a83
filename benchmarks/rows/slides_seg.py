"""Segmentations of a slide: written from a whole mask, written tile by tile, read to a label map."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import slide_judge
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, register
from benchmarks.slide_phantom import MORPHOLOGY, REGIONS, TILE, Layout

# ---- floors


def _whole(case: Case) -> tuple[Layout, np.ndarray]:
    layout = slide_judge.layout(case)
    return layout, layout.whole(case.array("slide-labels", "tiles.npy"))


def _packed(tile: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Segments of a tile and their bits. They are few: to look for each takes less than np.unique."""
    masks = ((number, tile == number) for number in range(1, len(REGIONS) + 1))
    return [(number, np.packbits(mask, bitorder="little")) for number, mask in masks if mask.any()]


def _at_edge(tile: np.ndarray) -> np.ndarray:
    if tile.shape == (TILE, TILE):
        return tile
    padded = np.zeros((TILE, TILE), tile.dtype)
    padded[: tile.shape[0], : tile.shape[1]] = tile
    return padded


def floor_write(case: Case) -> Job:
    layout, labels = _whole(case)

    def job() -> list[tuple[int, int]]:
        held = []
        with case.output.open("wb") as file:
            for index in range(layout.along**2):
                row, column = (part * TILE for part in divmod(index, layout.along))
                for number, bits in _packed(_at_edge(labels[row : row + TILE, column : column + TILE])):
                    file.write(bits)
                    held.append((number, index))
        return held

    return job


class Tiles:
    """The tiles of the label map as a network gives them: one after the other, never the whole map."""

    def __init__(self, case: Case) -> None:
        self.layout = slide_judge.layout(case)
        self.tiles = case.array("slide-labels", "tiles.npy")
        self.which = self.layout.which().tolist()

    def __iter__(self) -> Any:
        side, along = self.layout.side, self.layout.along
        for index, which in enumerate(self.which):
            row, column = (part * TILE for part in divmod(index, along))
            yield row, column, self.tiles[which, : side - row, : side - column]


def floor_stream(case: Case) -> Job:
    tiles = Tiles(case)

    def job() -> list[tuple[int, int]]:
        held = []
        with case.output.open("wb") as file:
            for index, (_, _, tile) in enumerate(tiles):
                for number, bits in _packed(_at_edge(tile)):
                    file.write(bits)
                    held.append((number, index))
        return held

    return job


def check_floor_write(case: Case, held: list[tuple[int, int]]) -> None:
    layout = slide_judge.layout(case)
    labels = np.zeros((layout.side, layout.side), np.uint8)
    for (number, index), packed in zip(held, np.fromfile(case.output, np.uint8).reshape(len(held), -1), strict=True):
        row, column = (part * TILE for part in divmod(index, layout.along))
        part = labels[row : row + TILE, column : column + TILE]
        mask = np.unpackbits(packed, bitorder="little").reshape(TILE, TILE).view(bool)
        part[mask[: part.shape[0], : part.shape[1]]] = number
    slide_judge.compare_labels(case, labels)


def floor_read(case: Case) -> Job:
    path, offset = case.path("slide-seg", "tiled.seg.dcm"), case.info("slide-seg")["offset"]
    frames = case.array("slide-seg", "frames.npy").tolist()
    side, length = slide_judge.layout(case).side, TILE * TILE // 8

    def job() -> np.ndarray:
        labels = np.zeros((side, side), np.uint8)
        packed = np.fromfile(path, np.uint8, len(frames) * length, offset=offset).reshape(len(frames), length)
        for (number, row, column), bits in zip(frames, packed, strict=True):
            mask = np.unpackbits(bits, bitorder="little").view(bool).reshape(TILE, TILE)
            part = labels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            part[mask[: part.shape[0], : part.shape[1]]] = number
        return labels

    return job


# ---- dicom_ml


def _described(case: Case) -> tuple[Any, list[Any]]:
    """The source and the segments, which are made before the time starts."""
    import dicom_ml as dml

    algorithm = dml.Algorithm("Benchmark", version="1")
    segments = [
        dml.Segment(
            name["label"],
            type=(name["value"], name["scheme"], name["meaning"]),
            category=(MORPHOLOGY[0], "SCT", MORPHOLOGY[1]),
            algorithm=algorithm,
        )
        for name in case.info("slide-labels")["segments"]
    ]
    return dml.open_slide(case.path("slide", "slide")), segments


def prepare_write_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    slide, segments = _described(case)
    _, labels = _whole(case)

    def job() -> None:
        dml.Segmentation.from_array(labels, source=slide, segments=segments, kind="binary").save(case.output)

    return job


def prepare_stream_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    slide, segments = _described(case)
    tiles = Tiles(case)

    def job() -> None:
        with dml.Segmentation.stream(case.output, source=slide, segments=segments, kind="binary") as stream:
            for row, column, tile in tiles:
                stream.put(row, column, tile)

    return job


def prepare_read_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    path = case.path("slide-seg", "tiled.seg.dcm")
    return lambda: dml.read_segmentation(path).label_map()


# ---- peers


def prepare_write_highdicom(case: Case) -> Job:
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.sr.coding import Code

    image = dcmread(case.path("slide", "slide", "base.dcm"), stop_before_pixels=True)
    _, labels = _whole(case)
    algorithm = hd.AlgorithmIdentificationSequence("Benchmark", Code("123110", "DCM", "Artificial Intelligence"), "1")
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name["label"],
            segmented_property_category=Code(MORPHOLOGY[0], "SCT", MORPHOLOGY[1]),
            segmented_property_type=Code(name["value"], name["scheme"], name["meaning"]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(case.info("slide-labels")["segments"], start=1)
    ]

    def job() -> None:
        segmentation = hd.seg.Segmentation(
            source_images=[image],
            pixel_array=labels[None],
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=hd.UID(),
            series_number=100,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="dicom_ml",
            manufacturer_model_name="Benchmark",
            software_versions="1",
            device_serial_number="1",
            dimension_organization_type="TILED_SPARSE",
            tile_pixel_array=True,
            tile_size=(TILE, TILE),
        )
        segmentation.save_as(case.output)

    return job


def prepare_read_highdicom(case: Case) -> Job:
    import highdicom as hd

    path = case.path("slide-seg", "tiled.seg.dcm")

    def job() -> np.ndarray:
        return hd.seg.segread(path).get_total_pixel_matrix(
            combine_segments=True, skip_overlap_checks=True, dtype=np.uint8
        )

    return job


def prepare_read_pydicom(case: Case) -> Job:
    from pydicom import dcmread

    path, side = case.path("slide-seg", "tiled.seg.dcm"), slide_judge.layout(case).side

    def job() -> np.ndarray:
        ds = dcmread(path)
        labels = np.zeros((side, side), np.uint8)
        for group, frame in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
            at = group.PlanePositionSlideSequence[0]
            row, column = at.RowPositionInTotalImagePixelMatrix - 1, at.ColumnPositionInTotalImagePixelMatrix - 1
            part = labels[row : row + TILE, column : column + TILE]
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            part[frame[: part.shape[0], : part.shape[1]] > 0] = number
        return labels

    return job


register(
    Row(
        name="seg-tiled-write",
        title="tiled SM SEG BINARY write, 3 segments",
        floor_text="np.packbits of what each tile holds, then write",
        datasets=("slide-labels", "slide"),
        competitors=(
            Competitor(FLOOR, floor_write, check=check_floor_write),
            Competitor(OURS, prepare_write_dicom_ml, ("dicom_ml",)),
            Competitor("highdicom", prepare_write_highdicom, ("highdicom",)),
        ),
        check=slide_judge.check_seg,
        writes=True,
        array=lambda case: slide_judge.layout(case).side ** 2,
        goal=1.6,
        goal_text="<= 1.6",
    )
)
register(
    Row(
        name="seg-tiled-stream",
        title="tiled SM SEG BINARY write, tile by tile",
        floor_text="np.packbits of what each tile holds as it comes, then write",
        datasets=("slide-labels", "slide"),
        competitors=(
            Competitor(FLOOR, floor_stream, check=check_floor_write),
            Competitor(OURS, prepare_stream_dicom_ml, ("dicom_ml",), note="it could go on after a kill"),
        ),
        check=slide_judge.check_seg,
        writes=True,
        array=lambda case: slide_judge.layout(case).side ** 2,
        goal=1.6,
        goal_text="<= 1.6, constant memory",
        note="No peer writes a segmentation tile by tile. The floor could not go on after a kill.",
    )
)
register(
    Row(
        name="seg-tiled-read",
        title="tiled SM SEG BINARY read to a label map",
        floor_text="read, unpackbits, assign",
        datasets=("slide-seg", "slide-labels", "slide"),
        competitors=(
            Competitor(FLOOR, floor_read),
            Competitor(OURS, prepare_read_dicom_ml, ("dicom_ml",)),
            Competitor("highdicom", prepare_read_highdicom, ("highdicom",)),
            Competitor("pydicom", prepare_read_pydicom, ("pydicom",)),
        ),
        check=slide_judge.compare_labels,
        array=lambda case: slide_judge.layout(case).side ** 2,
        goal=1.6,
        goal_text="<= 1.6",
    )
)
