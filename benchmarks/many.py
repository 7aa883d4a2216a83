"""Small studies for the rows that do the same ten thousand times, and what is done to them.

Each job takes a folder that :func:`write_small` filled and another to write to, and returns what is called again and
again. The guard in the tests calls the same jobs a few hundred times.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import process_memory

Again = Callable[[], object]
Prepare = Callable[[Path, Path], Again]

JOBS: dict[str, Prepare] = {}


def _job(prepare: Prepare) -> Prepare:
    JOBS[prepare.__name__.replace("_", "-")] = prepare
    return prepare


def memory_after(again: Again, marks: tuple[int, ...]) -> list[int]:
    """Resident memory, of this process and its workers, after so many calls; in bytes."""
    found, done = [], 0
    for mark in marks:
        for _ in range(mark - done):
            again()
        done = mark
        found.append(process_memory.held())
    return found


@_job
def volumes_read(data: Path, _: Path) -> Again:
    import dicom_ml as dml

    return lambda: dml.read_volume(data / "series").array


@_job
def slides_opened(data: Path, _: Path) -> Again:
    import dicom_ml as dml

    return lambda: dml.open_slide(data / "slide").read_region((100, 100), (200, 200))


@_job
def segmentations_read(data: Path, _: Path) -> Again:
    import dicom_ml as dml

    return lambda: dml.read_segmentation(data / "binary.seg.dcm").label_map()


@_job
def reports_read(data: Path, _: Path) -> Again:
    import dicom_ml as dml

    return lambda: dml.read_report(data / "report.dcm").to_records()


@_job
def annotations_read(data: Path, _: Path) -> Again:
    import dicom_ml as dml

    return lambda: [group.points.sum() for group in dml.read_annotations(data / "nuclei.ann.dcm").groups]


def _segments() -> list[Any]:
    import dicom_ml as dml

    return [
        dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=dml.Algorithm("Benchmark", "1"))
    ]


@_job
def segmentations_written(data: Path, output: Path) -> Again:
    import dicom_ml as dml

    volume = dml.read_volume(data / "series")
    labels = (volume.array > 0).astype(np.uint8)
    kinds = itertools.cycle([("binary", None), ("labelmap", "rle"), ("fractional", None)])

    def again() -> None:
        kind, compression = next(kinds)
        mask: Any = labels[None].astype(np.float32) if kind == "fractional" else labels
        made = dml.Segmentation.from_array(mask, source=volume.source, segments=_segments(), kind=kind)
        made.save(output / "a.dcm", compression=compression)

    return again


@_job
def segmentations_streamed(data: Path, output: Path) -> Again:
    import dicom_ml as dml

    slide, mask = dml.open_slide(data / "slide"), np.ones((256, 256), bool)

    def again() -> None:
        path = output / "a.dcm"
        path.unlink(missing_ok=True)
        with dml.Segmentation.stream(path, source=slide, segments=_segments()) as stream:
            stream.put(0, 0, mask)
            stream.put(256, 256, mask)

    return again


@_job
def reports_written(data: Path, output: Path) -> Again:
    import dicom_ml as dml

    source = dml.read_volume(data / "series").source

    def again() -> None:
        groups = [
            dml.MeasurementGroup(
                finding="SCT:27925004|Nodule",
                region=dml.Polygon([(1, 1), (1, 9), (9, 9)], slice=number),
                measurements=[dml.Measurement("SCT:81827009|Diameter", 8.5, "mm")],
            )
            for number in range(3)
        ]
        dml.Report(source, groups, dml.Algorithm("Benchmark", "1")).save(output / "a.dcm")

    return again


@_job
def annotations_written(data: Path, output: Path) -> Again:
    import dicom_ml as dml

    source = dml.open_slide(data / "slide").source
    points = np.random.default_rng(0).uniform(0, 500, (400, 2)).astype(np.float32)

    def again() -> None:
        nuclei = dml.AnnotationGroup(
            "Nuclei",
            type="SCT:84640000|Nucleus",
            graphic="polygon",
            points=points,
            offsets=np.arange(0, 400, 4),
            algorithm=dml.Algorithm("Benchmark", "1"),
        )
        dml.Annotations.from_groups([nuclei], source=source).save(output / "a.dcm")

    return again


def _endless(loader: Any) -> Iterator[Any]:
    """Batch after batch, epoch after epoch."""
    while True:
        yield from loader


@_job
def volume_batches(data: Path, _: Path) -> Again:
    from dicom_ml.data import VolumeDataModule

    records = [str(data / "series")] * 50
    module = VolumeDataModule(train=records, num_workers=_workers(), dataset={"monai": False})
    batches = _endless(module.train_dataloader())
    return lambda: next(batches)["image"].shape


@_job
def tile_batches(data: Path, _: Path) -> Again:
    from dicom_ml.data import TileDataModule

    module = TileDataModule(train=[str(data / "slide")] * 5, batch_size=1, num_workers=_workers())
    batches = _endless(module.train_dataloader())
    return lambda: next(batches)["image"].shape


def _workers() -> int:
    """A worker, whose memory is counted, where the system tells of it."""
    return int(os.path.isdir("/proc/self/task"))
