"""Slides in: every tile, random patches, and opening a level of very many frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks import slide_judge
from benchmarks.registry import FLOOR, OURS, Case, Competitor, Job, Row, register
from benchmarks.slide_judge import BATCH, TileRecord
from benchmarks.slide_phantom import TILE

PATCH = 512


def encoded_frames(case: Case) -> list[bytes]:
    """Code streams of the slide, in memory."""
    data = case.path("slide", "slide", "base.dcm").read_bytes()
    return [data[start : start + length] for start, length in case.array("slide", "frames.npy").tolist()]


def patches(case: Case) -> list[tuple[int, int]]:
    """Rows and columns of the first pixels of random patches inside the slide."""
    side = slide_judge.layout(case).side
    count = max(8, min(400, side // 50))
    corners = np.random.default_rng(17).integers(0, side - PATCH, (count, 2), endpoint=True)
    return [(row, column) for row, column in corners.tolist()]


# ---- every tile once


def floor_tiles(case: Case) -> Job:
    import simplejpeg

    frames = encoded_frames(case)

    def job() -> TileRecord:
        record = TileRecord(case)
        for index, frame in enumerate(frames):
            record.add(index, simplejpeg.decode_jpeg(frame))
        return record

    return job


def prepare_tiles_dicom_ml(threads: int) -> Any:
    def prepare(case: Case) -> Job:
        import dicom_ml as dml

        slide = dml.open_slide(case.path("slide", "slide"))

        def job() -> TileRecord:
            record = TileRecord(case)
            positions = slide.tile_positions()
            for start in range(0, len(positions), BATCH):
                tiles = slide.read_tiles(0, positions[start : start + BATCH], threads=threads)
                for index, tile in enumerate(tiles, start=start):
                    record.add(index, tile)
            return record

        return job

    return prepare


def _one_by_one(case: Case, threads: int, read: Callable[[int, int], np.ndarray]) -> Job:
    """Read by ``read(tile row, tile column)``, on as many threads as are asked for."""
    along = slide_judge.layout(case).along

    def job() -> TileRecord:
        record = TileRecord(case)

        def one(index: int) -> None:
            record.add(index, read(*divmod(index, along)))

        if threads == 1:
            for index in range(record.count):
                one(index)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(one, range(record.count)))
        return record

    return job


def prepare_tiles_wsidicom(threads: int) -> Any:
    def prepare(case: Case) -> Job:
        from wsidicom import WsiDicom

        slide = WsiDicom.open(case.path("slide", "slide"))
        return _one_by_one(case, threads, lambda row, column: slide.read_tile(0, (column, row), as_array=True))

    return prepare


def prepare_tiles_openslide(threads: int) -> Any:
    def prepare(case: Case) -> Job:
        slide = _openslide(case, "slide", "base.dcm")

        def read(row: int, column: int) -> np.ndarray:
            return np.asarray(slide.read_region((column * TILE, row * TILE), 0, (TILE, TILE)))

        return _one_by_one(case, threads, read)

    return prepare


def _openslide(case: Case, dataset: str, name: str) -> Any:
    import openslide

    return openslide.OpenSlide(case.path(dataset, "slide", name))


def prepare_tiles_highdicom(case: Case) -> Job:
    import highdicom as hd

    image = hd.imread(case.path("slide", "slide", "base.dcm"), lazy_frame_retrieval=True)
    along = slide_judge.layout(case).along
    return _one_by_one(case, 1, lambda row, column: image.get_stored_frame(row * along + column + 1))


def prepare_tiles_pydicom(case: Case) -> Job:
    from pydicom.pixels import iter_pixels

    path = case.path("slide", "slide", "base.dcm")

    def job() -> TileRecord:
        record = TileRecord(case)
        for index, tile in enumerate(iter_pixels(path)):
            record.add(index, tile)
        return record

    return job


def prepare_tiles_pydcm(case: Case) -> Job:
    from pydcm.wsi import open_slide

    slide = open_slide(str(case.path("slide", "slide")))
    along = slide_judge.layout(case).along

    def job() -> TileRecord:
        record = TileRecord(case)
        for start in range(0, record.count, BATCH):
            indices = range(start, min(start + BATCH, record.count))
            wanted = [(index % along, index // along) for index in indices]
            for index, tile in zip(indices, slide.read_tiles(0, wanted, rgba=False), strict=True):
                record.add(index, tile)
        return record

    return job


def prepare_tiles_dicomslide(case: Case) -> Job:
    matrix = _dicomslide(case)
    return _one_by_one(case, 1, lambda row, column: matrix[matrix.get_tile_index((row, column))])


def _dicomslide(case: Case) -> Any:
    """Its matrix over a file, which it reaches through a client that serves folders."""
    import dicomslide
    from dicomweb_client import DICOMfileClient
    from pydicom import Dataset, dcmread

    index = case.output.parent / "index"
    index.mkdir(exist_ok=True)
    client = DICOMfileClient(case.path("slide", "slide").as_uri(), update_db=True, in_memory=True, db_dir=index)
    image = dcmread(case.path("slide", "slide", "base.dcm"), stop_before_pixels=True)
    identifiers = image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID
    metadata = client.retrieve_instance_metadata(*map(str, identifiers))
    return dicomslide.TotalPixelMatrix(client, Dataset.from_json(metadata), correct_color=False)


# ---- random patches


def _patches(case: Case, read: Callable[[int, int], np.ndarray]) -> Job:
    corners = patches(case)
    return lambda: {(row, column): read(row, column) for row, column in corners}


def floor_patches(case: Case) -> Job:
    import simplejpeg

    frames = encoded_frames(case)
    along = slide_judge.layout(case).along

    def parts(start: int) -> Iterator[tuple[int, slice, slice]]:
        for tile in range(start // TILE, (start + PATCH - 1) // TILE + 1):
            first, last = max(start, tile * TILE), min(start + PATCH, (tile + 1) * TILE)
            yield tile, slice(first - start, last - start), slice(first - tile * TILE, last - tile * TILE)

    def read(row: int, column: int) -> np.ndarray:
        patch = np.empty((PATCH, PATCH, 3), np.uint8)
        for tile_row, to_rows, from_rows in parts(row):
            for tile_column, to_columns, from_columns in parts(column):
                tile = simplejpeg.decode_jpeg(frames[tile_row * along + tile_column])
                patch[to_rows, to_columns] = tile[from_rows, from_columns]
        return patch

    return _patches(case, read)


def prepare_patches_dicom_ml(threads: int | None) -> Any:
    def prepare(case: Case) -> Job:
        import dicom_ml as dml

        slide = dml.open_slide(case.path("slide", "slide"))
        return _patches(case, lambda row, column: slide.read_region((row, column), (PATCH, PATCH), threads=threads))

    return prepare


def prepare_patches_wsidicom(case: Case) -> Job:
    from wsidicom import WsiDicom

    slide = WsiDicom.open(case.path("slide", "slide"))
    return _patches(
        case, lambda row, column: slide.read_region((column, row), 0, (PATCH, PATCH), threads=2, as_array=True)
    )


def prepare_patches_openslide(case: Case) -> Job:
    slide = _openslide(case, "slide", "base.dcm")
    return _patches(case, lambda row, column: np.asarray(slide.read_region((column, row), 0, (PATCH, PATCH))))


def prepare_patches_highdicom(case: Case) -> Job:
    import highdicom as hd

    image = hd.imread(case.path("slide", "slide", "base.dcm"), lazy_frame_retrieval=True)

    def read(row: int, column: int) -> np.ndarray:
        return image.get_total_pixel_matrix(
            row_start=row,
            row_end=row + PATCH,
            column_start=column,
            column_end=column + PATCH,
            dtype=np.uint8,
            apply_icc_profile=False,
            as_indices=True,
        )

    return _patches(case, read)


def prepare_patches_pydcm(case: Case) -> Job:
    from pydcm.wsi import open_slide

    slide = open_slide(str(case.path("slide", "slide")))
    return _patches(case, lambda row, column: slide.read_region((column, row), 0, (PATCH, PATCH), rgba=False))


def prepare_patches_dicomslide(case: Case) -> Job:
    matrix = _dicomslide(case)
    return _patches(case, lambda row, column: np.asarray(matrix[row : row + PATCH, column : column + PATCH, :]))


# ---- a sparse level of very many frames


def floor_open(case: Case) -> Job:
    path, length = case.path("slide-sparse", "slide", "sparse.dcm"), case.info("slide-sparse")["header"]

    def job() -> int:
        with path.open("rb", buffering=0) as file:
            return len(file.read(length))

    return job


def check_floor_open(case: Case, found: int) -> None:
    if found != case.info("slide-sparse")["header"]:
        raise slide_judge.WrongResult("the header was not read")


def _wanted(case: Case) -> tuple[int, int]:
    row, column = case.info("slide-sparse")["place"]
    return row, column


def prepare_open_dicom_ml(case: Case) -> Job:
    import dicom_ml as dml

    folder, (row, column) = case.path("slide-sparse", "slide"), _wanted(case)
    return lambda: dml.open_slide(folder).read_region((row * TILE, column * TILE), (TILE, TILE))


def prepare_open_wsidicom(case: Case) -> Job:
    from wsidicom import WsiDicom

    folder, (row, column) = case.path("slide-sparse", "slide"), _wanted(case)
    return lambda: WsiDicom.open(folder).read_tile(0, (column, row), as_array=True)


def prepare_open_openslide(case: Case) -> Job:
    row, column = _wanted(case)

    def job() -> np.ndarray:
        slide = _openslide(case, "slide-sparse", "sparse.dcm")
        return np.asarray(slide.read_region((column * TILE, row * TILE), 0, (TILE, TILE)))

    return job


def prepare_open_highdicom(case: Case) -> Job:
    import highdicom as hd

    path, (row, column) = case.path("slide-sparse", "slide", "sparse.dcm"), _wanted(case)

    def job() -> np.ndarray:
        image = hd.imread(path, lazy_frame_retrieval=True)
        return image.get_total_pixel_matrix(
            row_start=row * TILE,
            row_end=(row + 1) * TILE,
            column_start=column * TILE,
            column_end=(column + 1) * TILE,
            dtype=np.uint8,
            apply_icc_profile=False,
            as_indices=True,
        )

    return job


def prepare_open_pydicom(case: Case) -> Job:
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    path, wanted = case.path("slide-sparse", "slide", "sparse.dcm"), _wanted(case)

    def job() -> np.ndarray:
        ds = dcmread(path, defer_size=1 << 20)
        for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            at = group.PlanePositionSlideSequence[0]
            place = at.RowPositionInTotalImagePixelMatrix // TILE, at.ColumnPositionInTotalImagePixelMatrix // TILE
            if place == wanted:
                return pixel_array(path, index=index)
        raise slide_judge.WrongResult("no frame lies there")

    return job


def prepare_open_pydcm(case: Case) -> Job:
    from pydcm.wsi import open_slide

    folder, (row, column) = str(case.path("slide-sparse", "slide")), _wanted(case)
    return lambda: open_slide(folder).read_tile(0, (column, row), rgba=False)


# ---- the rows

_DICOMSLIDE = ("dicomslide", "dicomweb_client")
_OWN_THREADS = "chooses its threads itself"

for _threads, _goal in ((1, 1.1), (2, 0.6)):
    register(
        Row(
            name=f"sm-tiles-{_threads}",
            title=f"SM, every tile once, {'one thread' if _threads == 1 else 'two threads'}",
            floor_text="simplejpeg decodes each frame from memory, one thread",
            datasets=("slide",),
            competitors=(
                Competitor(FLOOR, floor_tiles, ("simplejpeg",)),
                Competitor(OURS, prepare_tiles_dicom_ml(_threads), ("dicom_ml",)),
                Competitor("wsidicom", prepare_tiles_wsidicom(_threads), ("wsidicom",)),
                Competitor("pydcm", prepare_tiles_pydcm, ("pydcm",), note=_OWN_THREADS),
                Competitor("openslide", prepare_tiles_openslide(_threads), ("openslide",)),
                *(
                    (
                        Competitor("highdicom", prepare_tiles_highdicom, ("highdicom",)),
                        Competitor("pydicom", prepare_tiles_pydicom, ("pydicom",)),
                        Competitor("dicomslide", prepare_tiles_dicomslide, _DICOMSLIDE),
                    )
                    if _threads == 1
                    else ()
                ),
            ),
            check=slide_judge.check_tiles,
            array=slide_judge.record_bytes,
            goal=_goal,
            goal_text=f"<= {_goal}",
        )
    )
register(
    Row(
        name="sm-patches",
        title="SM, random 512-pixel patches",
        floor_text="simplejpeg decodes the frames of each patch from memory, one thread",
        datasets=("slide",),
        competitors=(
            Competitor(FLOOR, floor_patches, ("simplejpeg",)),
            Competitor(OURS, prepare_patches_dicom_ml(None), ("dicom_ml",)),
            Competitor("dicom_ml-1", prepare_patches_dicom_ml(1), ("dicom_ml",), note="one thread"),
            Competitor("pydcm", prepare_patches_pydcm, ("pydcm",), note=_OWN_THREADS),
            Competitor("wsidicom", prepare_patches_wsidicom, ("wsidicom",), note="two threads"),
            Competitor("openslide", prepare_patches_openslide, ("openslide",)),
            Competitor("highdicom", prepare_patches_highdicom, ("highdicom",)),
            Competitor("dicomslide", prepare_patches_dicomslide, _DICOMSLIDE),
        ),
        check=slide_judge.check_patches,
        array=lambda case: len(patches(case)) * PATCH * PATCH * 3,
        goal=0.7,
        goal_text="<= 0.7",
    )
)
register(
    Row(
        name="sm-open",
        title="SM, open a sparse level of 180,000 frames and read one tile",
        floor_text="one read of the header",
        datasets=("slide-sparse",),
        competitors=(
            Competitor(FLOOR, floor_open, check=check_floor_open),
            Competitor(OURS, prepare_open_dicom_ml, ("dicom_ml",)),
            Competitor("pydcm", prepare_open_pydcm, ("pydcm",)),
            Competitor("wsidicom", prepare_open_wsidicom, ("wsidicom",)),
            Competitor("highdicom", prepare_open_highdicom, ("highdicom",)),
            Competitor("pydicom", prepare_open_pydicom, ("pydicom",)),
            Competitor("openslide", prepare_open_openslide, ("openslide",)),
        ),
        check=slide_judge.check_one_tile,
        goal=1.0,
        goal_text="< 1 s",
        goal_unit="seconds",
    )
)
