"""What hot paths may do, in numbers that no clock and no busy machine changes.

Each job is done at one size and at twice that size. What is counted must not depend on the number of slices, frames,
tiles, groups or outlines, or depend on it as stated: a parse too many for each frame shows here before it shows in a
benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dicom_ml as dml
from dicom_ml.encoding.transcoding import image, transcode
from tests.objects.report.scenes import group
from tests.objects.segmentation.scenes import axial, label_map, segments, source_on
from tests.performance.counting import Counts, counted, grown, peak
from tests.reading._make import Series, enhanced, write
from tests.reading.slides._make import picture, pyramid
from tests.series import rotated_grid, write_series

SIZES = (8, 16)
TILE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series, enhanced images, segmentations, reports, slides and annotations of both sizes."""
    where = tmp_path_factory.mktemp("guards")
    for n in SIZES:
        write_series(where / f"raw{n}", rotated_grid((n, 40, 32)))
        for to in ("rle", "jpeg-ls", "jpeg2000"):
            transcode(where / f"raw{n}", where / f"{to}{n}", to)
        write(enhanced(Series(stored=np.arange(n * 64 * 64).reshape(n, 64, 64).astype(np.int16))), where / f"en{n}.dcm")
        transcode(where / f"en{n}.dcm", where / f"en-rle{n}.dcm", "rle")
        for kind in ("binary", "labelmap"):
            save_segmentation(where, n, kind)
        save_report(where, n)
        pyramid(where / f"slide{n}", picture((n * TILE, 96)), (1, 2), tile=(TILE, TILE), organization="TILED_SPARSE")
        save_annotations(where, n)
        stream_segmentation(where, n)
    return where


def save_segmentation(folder: Path, n: int, kind: str, compression: str | None = None) -> None:
    source, labels = source_on(axial((n, 64, 64))), label_map((n, 64, 64), 3)
    made = dml.Segmentation.from_array(labels, source=source, segments=segments(3), kind=kind)
    made.save(folder / f"{kind}{n}.dcm", compression=compression)


def save_report(folder: Path, n: int) -> None:
    groups = [group(dml.Box((0, 1, 1), (2, 5, 5))) for _ in range(n)]
    dml.Report(source=source_on(axial((n, 64, 64))), groups=groups).save(folder / f"report{n}.dcm")


def save_annotations(folder: Path, n: int) -> None:
    points = np.random.default_rng(0).random((n * 40, 2), np.float32) * 90
    nuclei = dml.AnnotationGroup(
        "Nuclei", type="SCT:84640000", graphic="polygon", points=points, offsets=np.arange(0, n * 40, 4),
        algorithm=dml.Algorithm("NucleiNet", "1.0"),
    )  # fmt: skip
    source = dml.open_slide(folder / f"slide{n}")
    dml.Annotations.from_groups([nuclei], source=source).save(folder / f"outlines{n}.dcm")


def tiles(n: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(0, n * TILE, TILE) for column in range(0, 96, TILE)]


def stream_segmentation(folder: Path, n: int) -> None:
    path = folder / f"tiled{n}.dcm"
    path.unlink(missing_ok=True)
    mask = np.ones((TILE, TILE), bool)
    with dml.Segmentation.stream(path, source=dml.open_slide(folder / f"slide{n}"), segments=segments(1)) as stream:
        for row, column in tiles(n):
            stream.put(row, column, mask)


Job = Callable[[Path, int], Any]


def both(job: Job, folder: Path) -> tuple[Counts, Counts]:
    """What a job does at each size; once before, so that tables and modules are loaded."""
    found = []
    for n in SIZES:
        job(folder, n)
        with counted() as counts:
            job(folder, n)
        found.append(counts)
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["raw", "rle", "jpeg-ls", "jpeg2000"])
def test_a_series_is_opened_twice_a_file_and_parsed_once_a_series(kind: str, folder: Path) -> None:
    for n, counts in zip(SIZES, both(lambda f, n: dml.read_volume(f / f"{kind}{n}"), folder), strict=True):
        assert counts["opens"] <= 2 * n  # the header, then the pixels
        assert counts["headers"] == n
        assert counts["decodes"] == (0 if kind == "raw" else n)
        assert counts["elements"] <= 20 and counts["datasets"] <= 8


@pytest.mark.parametrize("kind", ["en", "en-rle"])
def test_an_enhanced_image_is_opened_twice_and_its_frames_never_parsed(kind: str, folder: Path) -> None:
    for n, counts in zip(SIZES, both(lambda f, n: dml.read_volume(f / f"{kind}{n}.dcm"), folder), strict=True):
        assert (counts["opens"], counts["headers"]) == (2, 1)
        assert counts["decodes"] == (0 if kind == "en" else n)
        assert counts["elements"] <= 20 and counts["datasets"] <= 9


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_segmentations_are_read_without_an_element_a_frame(kind: str, folder: Path) -> None:
    small, large = both(lambda f, n: dml.read_segmentation(f / f"{kind}{n}.dcm").label_map(), folder)
    assert (large["opens"], large["headers"]) == (1, 1)
    assert large["elements"] == small["elements"] <= 100
    assert large["datasets"] == small["datasets"] <= 30
    assert large["decodes"] <= 16


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize("compression", [None, "rle"])
def test_segmentations_are_written_without_an_element_a_frame(kind: str, compression: str | None, folder: Path) -> None:
    small, large = both(lambda f, n: save_segmentation(f, n, kind, compression), folder)
    assert large == small
    assert large["opens"] == 1 and large["elements"] <= 170


def test_reports_are_plain_records_both_ways(folder: Path) -> None:
    small, large = both(save_report, folder)
    assert large == small
    assert large["opens"] == 1 and large["elements"] <= 60
    _, read = both(lambda f, n: dml.read_report(f / f"report{n}.dcm").to_records(), folder)
    assert read["elements"] <= 5 and read["opens"] == read["headers"] == 1


def test_annotations_are_arrays_both_ways(folder: Path) -> None:
    small, large = both(save_annotations, folder)
    assert large == small
    assert large["opens"] <= 4 and large["elements"] <= 90
    read = both(lambda f, n: [g.points for g in dml.read_annotations(f / f"outlines{n}.dcm").groups], folder)
    assert read[0] == read[1]
    assert read[1]["opens"] == 1 and read[1]["elements"] <= 30


def test_a_slide_is_opened_without_an_element_a_frame(folder: Path) -> None:
    small, large = both(lambda f, n: dml.open_slide(f / f"slide{n}"), folder)
    assert large == small
    assert large["opens"] <= 4 and large["elements"] <= 30


def test_each_tile_is_decoded_once_and_no_file_is_opened(folder: Path) -> None:
    for n in SIZES:
        slide = dml.open_slide(folder / f"slide{n}")
        slide.read_tiles(level=0, positions=tiles(n))
        with counted() as counts:
            slide.read_tiles(level=0, positions=tiles(n))
        assert counts == {"decodes": 3 * n}
        with counted() as counts:
            slide.read_region((0, 0), (2 * TILE, TILE))
        assert counts == {"decodes": 2}


def test_streaming_opens_no_file_a_tile_and_makes_no_element_a_frame(folder: Path) -> None:
    small, large = both(stream_segmentation, folder)
    assert large == small
    assert large["opens"] <= 12 and large["elements"] <= 180
    _, read = both(lambda f, n: dml.read_segmentation(f / f"tiled{n}.dcm").read_region((0, 0), (TILE, 96)), folder)
    assert read["opens"] == read["headers"] == 1 and read["elements"] <= 40


# ---------------------------------------------------------------------- memory


@pytest.mark.parametrize("kind", ["raw", "rle", "jpeg-ls"])
def test_a_volume_takes_its_array_and_little_else(kind: str, folder: Path, tmp_path: Path) -> None:
    shape = (24, 256, 256)
    write_series(tmp_path / "raw", rotated_grid(shape))
    if kind != "raw":
        transcode(tmp_path / "raw", tmp_path / kind, kind)
    assert peak(lambda: dml.read_volume(tmp_path / kind)) <= 1.3 * np.prod(shape) * 4


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_segmentations_take_less_than_their_masks(kind: str, tmp_path: Path) -> None:
    shape = (40, 256, 256)
    source, labels = source_on(axial(shape)), label_map(shape, 5)
    path = tmp_path / "a.dcm"

    def save(compression: str | None) -> None:
        made = dml.Segmentation.from_array(labels, source=source, segments=segments(5), kind=kind)
        made.save(path, compression=compression)

    assert peak(lambda: save("rle")) <= 0.6 * labels.nbytes
    assert peak(lambda: save(None)) <= 0.6 * labels.nbytes
    # tables of all 16-bit labels, and the counts of one frame, are of one size whatever the mask's
    assert peak(lambda: dml.read_segmentation(path).label_map()) <= 1.1 * labels.nbytes + (1 << 20)
    assert peak(lambda: dml.read_segmentation(path).channels()) <= 1.3 * 5 * labels.nbytes


def test_annotations_take_their_arrays(folder: Path, tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((200_000, 2), np.float32) * 90
    source = dml.open_slide(folder / "slide8")
    made_by = dml.Algorithm("NucleiNet", "1.0")
    starts = np.arange(0, len(points), 4)

    def save() -> None:
        nuclei = dml.AnnotationGroup(
            "N", type="SCT:84640000", graphic="polygon", points=points, offsets=starts, algorithm=made_by
        )
        dml.Annotations.from_groups([nuclei], source=source).save(tmp_path / "a.dcm")

    held = points.nbytes + starts.nbytes
    assert peak(save) <= 1.3 * held
    assert peak(lambda: [g.points for g in dml.read_annotations(tmp_path / "a.dcm").groups]) <= 1.3 * held


def test_streaming_takes_no_memory_for_what_was_put(folder: Path) -> None:
    small, large = (peak(partial(stream_segmentation, folder, n)) for n in SIZES)
    # twice the tiles: what stays of one is its place in a table, not its kilobyte of pixels
    assert large - small <= 100 * (len(tiles(SIZES[1])) - len(tiles(SIZES[0]))) + 65536


def test_transcoding_holds_a_few_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (96, 256, 256)).astype(np.int16)
    write(enhanced(Series(stored=stored)), tmp_path / "a.dcm")
    monkeypatch.setattr(image, "_CHUNK", 8 * 256 * 256 * 2)
    for to, share in (("raw", 0.3), ("rle", 0.9)):  # encoded frames are gathered to 4 MiB before they are written
        again = partial(transcode, tmp_path / "a.dcm", tmp_path / "b.dcm", to, overwrite=True)
        assert peak(again) <= share * stored.nbytes


@pytest.mark.parametrize(
    "job",
    [
        lambda f: dml.read_volume(f / "rle8"),
        lambda f: dml.read_volume(f / "en8.dcm"),
        lambda f: dml.read_segmentation(f / "binary8.dcm").label_map(),
        lambda f: save_segmentation(f, 8, "labelmap", "rle"),
        lambda f: dml.read_report(f / "report8.dcm").to_records(),
        lambda f: save_report(f, 8),
        lambda f: dml.open_slide(f / "slide8").read_tiles(level=0, positions=tiles(8)),
        lambda f: stream_segmentation(f, 8),
    ],
    ids=["series", "enhanced", "seg", "seg written", "report", "report written", "slide", "stream"],
)
def test_study_after_study_leaves_nothing_behind(job: Callable[[Path], object], folder: Path) -> None:
    # what a study leaves would be 10 MB after 10,000 of them; an array that stays is more than that at once
    assert grown(lambda: job(folder), 20) <= 1024
