"""Segmentations of slides: written whole and tile by tile, read by region, judged."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.geometry import Grid, affine_from_plane
from dicom_ml.source import SourceLevel, SourceSeries
from tests.judges import dciodvfy, need

from .scenes import segments

SM = "1.2.840.10008.5.1.4.1.1.77.1.6"
#: Rows run against y, columns against x: how most scanners lay slides.
ORIENTATION = [0, -1, 0, -1, 0, 0]
SHAPE = (150, 210)


def level(shape, spacing, name, tile=(64, 64)) -> SourceLevel:
    affine = affine_from_plane([20.5, 40.25, 0], ORIENTATION, [spacing, spacing], 0.001)
    return SourceLevel(Grid((1, *shape), affine), tile, (SM,), (derived_uid("slide", name),))


def slide_source(shape=SHAPE) -> SourceSeries:
    levels = (level(shape, 0.0005, "0"), level((shape[0] // 2, shape[1] // 2), 0.001, "1", (32, 48)))
    return SourceSeries(
        modality="SM",
        study_instance_uid=derived_uid("slide", "study"),
        series_instance_uid=derived_uid("slide", "series"),
        frame_of_reference_uid=derived_uid("slide", "frame"),
        sop_class_uids=levels[0].sop_class_uids,
        sop_instance_uids=levels[0].sop_instance_uids,
        grid=levels[0].grid,
        attributes={
            "PatientID": {"vr": "LO", "Value": ["S1"]},
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "Slide^Test"}]},
            "StudyDate": {"vr": "DA", "Value": ["20240102"]},
            "StudyTime": {"vr": "TM", "Value": ["101010"]},
            "StudyID": {"vr": "SH", "Value": ["1"]},
            "ContainerIdentifier": {"vr": "LO", "Value": ["C1"]},
            "SpecimenDescriptionSequence": {
                "vr": "SQ",
                "Value": [
                    {
                        "00400551": {"vr": "LO", "Value": ["C1-1"]},
                        "00400554": {"vr": "UI", "Value": [derived_uid("specimen")]},
                    }
                ],
            },
        },
        levels=levels,
    )


def blobs(shape=SHAPE, count=2, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label in range(1, count + 1):
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), shape[0] / 3
        out[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = label
    return out


def masks(kind: str) -> np.ndarray:
    labels = blobs()
    return labels if kind != "fractional" else np.stack([(labels == i) * np.float32(0.3 * i) for i in (1, 2)])


def expected(mask: np.ndarray) -> np.ndarray:
    return mask if mask.ndim == 3 else np.stack([mask == i for i in (1, 2)])


KINDS = ["binary", "labelmap", "fractional"]


@pytest.mark.parametrize("organization", ["full", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", [None, "rle", "deflate", "jpeg2000"])
def test_a_whole_array(tmp_path, kind, organization, compression):
    mask, source = masks(kind), slide_source()
    made = dml.Segmentation.from_array(mask, source=source, segments=segments(2), kind=kind, organization=organization)
    made.save(tmp_path / "a.dcm", compression)
    seg = dml.read_segmentation(tmp_path / "a.dcm")
    assert seg.is_tiled
    assert seg.grid.matches(source.levels[0].grid, 1e-6)
    np.testing.assert_allclose(seg.channels(on=source), expected(mask), atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(seg.label_map(threshold=0.2), blobs())
    for region in ((0, 0, 150, 210), (60, 60, 70, 90), (-5, -7, 20, 20), (140, 200, 40, 40), (5, 6, 1, 1)):
        row, column, height, width = region
        whole = np.pad(blobs(), 60)[60 + row : 60 + row + height, 60 + column : 60 + column + width]
        np.testing.assert_array_equal(seg.read_region((row, column), (height, width), threshold=0.2), whole)
    tiles = 3 * 4 * (1 if kind == "labelmap" else 2)
    assert (seg.frame_count == tiles) if organization == "full" else (seg.frame_count <= tiles)


@pytest.mark.parametrize("organization", ["full", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_tiles_in_any_order(tmp_path, kind, organization):
    mask, source = masks(kind), slide_source()
    path = tmp_path / "a.dcm"
    places = [(r, c) for r in range(0, 150, 64) for c in range(0, 210, 64)]
    options = {"source": source, "segments": segments(2), "kind": kind, "organization": organization}
    with dml.Segmentation.stream(path, **options) as stream:
        for i in np.random.default_rng(1).permutation(len(places)):
            row, column = places[i]
            tile = mask[..., row : row + 64, column : column + 64]
            assert stream.put(row, column, tile)
            assert not path.exists()
        assert not stream.put(0, 0, mask[..., :64, :64])
        assert stream.count == len(places)
        assert stream.missing == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]
    whole = dml.Segmentation.from_array(mask, deterministic=True, **options)
    streamed = dml.read_segmentation(path)
    np.testing.assert_array_equal(streamed.channels(), whole.channels())
    assert streamed.sop_instance_uid == whole.sop_instance_uid
    assert streamed.dataset.PixelData == whole.dataset.PixelData


def test_levels_and_matrices_of_their_own(tmp_path):
    source = slide_source()
    half = blobs((75, 105))
    seg = dml.Segmentation.from_array(half, source=source, segments=segments(2))
    assert seg.grid.matches(source.levels[1].grid, 1e-6)
    ds = seg.dataset
    assert (ds.Rows, ds.Columns) == (32, 48)
    [series] = ds.ReferencedSeriesSequence
    assert [i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence] == [derived_uid("slide", "1")]
    np.testing.assert_array_equal(seg.label_map(on=source), half)
    with pytest.raises(dml.GeometryError, match="levels of the slide have"):
        dml.Segmentation.from_array(blobs((70, 105)), source=source, segments=segments(2))
    # one value a tile of 64 x 64 pixels of level 0
    base = source.levels[0].grid
    affine = np.array(base.affine)
    affine[:3, 1:3] *= 64
    affine[:3, 3] = base.to_lps([0, 31.5, 31.5])
    coarse = np.random.default_rng(0).random((1, 3, 4)).astype(np.float32)
    seg = dml.Segmentation.from_array(
        coarse, source=source, segments=segments(1), kind="fractional", affine=affine, tile_size=(4, 4)
    )
    np.testing.assert_allclose(seg.channels(), coarse, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(seg.grid.spacing[1:], (0.032, 0.032))
    with pytest.raises(dml.GeometryError, match="no level"):
        seg.label_map(on=source)


def test_what_does_not_fit_is_refused(tmp_path):
    source = slide_source()
    options = {"source": source, "segments": segments(2)}
    for kind in KINDS:
        stream = dml.Segmentation.stream(tmp_path / f"{kind}.dcm", kind=kind, **options)
        with pytest.raises(dml.GeometryError, match="no tile begins at row 3"):
            stream.put(3, 0, np.zeros((64, 64), np.uint8))
        with pytest.raises(dml.DicomMLError):
            stream.put(0, 0, np.full((64, 64), 3, np.uint8))
        with pytest.raises(dml.DicomMLError):
            stream.put(0, 0, np.full((2, 64, 64), 1.5))
        with pytest.raises(dml.DicomMLError):
            stream.put(0, 0, np.full((2, 64, 64), np.nan))
        with pytest.raises(dml.DicomMLError):
            stream.put(0, 0, np.zeros((2, 60, 64), bool))
        stream.abandon()
    assert list(tmp_path.iterdir()) == []
    huge = slide_source((100_000, 100_000))
    with pytest.raises(dml.EncodingError, match=r"9\.3 GiB.*compression"):
        dml.Segmentation.stream(
            tmp_path / "a.dcm", source=huge, segments=segments(1), kind="fractional", organization="full"
        )
    with pytest.raises(dml.EncodingError, match="1-bit"):
        dml.Segmentation.stream(tmp_path / "b.dcm", compression="jpeg-ls", **options)
    overlapping = np.ones((2, *SHAPE), bool)
    with pytest.raises(dml.EncodingError, match="overlap"):
        dml.Segmentation.from_array(overlapping, kind="labelmap", **options)
    seg = dml.Segmentation.from_array(overlapping, **options)
    with pytest.raises(dml.EncodingError, match="overlap"):
        seg.label_map()
    assert (seg.label_map(overlap="first") == 1).all()
    assert (seg.label_map(overlap="last") == 2).all()


def test_an_interrupted_stream_goes_on(tmp_path):
    mask, source = masks("binary"), slide_source()
    path = tmp_path / "a.dcm"
    options = {"source": source, "segments": segments(2)}
    with pytest.raises(KeyboardInterrupt), dml.Segmentation.stream(path, **options) as stream:
        for column in range(0, 210, 64):
            stream.put(0, column, mask[:64, column : column + 64])
        raise KeyboardInterrupt
    assert not path.exists()
    with dml.Segmentation.stream(path, **options) as stream:
        assert stream.has(0, 64)
        left = stream.missing
        assert len(left) == 8
        for row, column in left:
            stream.put(row, column, mask[row : row + 64, column : column + 64])
    np.testing.assert_array_equal(dml.read_segmentation(path).label_map(), mask)
    other = dml.Segmentation.stream(path, source=source, segments=segments(3))
    other.put(0, 0, mask[:64, :64])
    other.close()
    with pytest.raises(dml.EncodingError, match="another object"):
        dml.Segmentation.stream(path, **options)


def _feed(path, rank):
    mask = masks("fractional")
    stream = dml.Segmentation.stream(
        path, source=slide_source(), segments=segments(2), kind="fractional", shard=str(rank)
    )
    places = [(r, c) for r in range(0, 150, 64) for c in range(0, 210, 64)]
    for row, column in [*places[rank::2], places[0]]:
        stream.put(row, column, mask[:, row : row + 64, column : column + 64])
    stream.close()


def test_two_processes_feed_one_object(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_feed, args=(tmp_path / "a.dcm", rank)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    stream = dml.Segmentation.stream(
        tmp_path / "a.dcm", source=slide_source(), segments=segments(2), kind="fractional", shard="end"
    )
    assert stream.missing == []
    stream.finish()
    got = dml.read_segmentation(tmp_path / "a.dcm").channels()
    np.testing.assert_allclose(got, masks("fractional"), atol=0.5 / 255 + 1e-6)
    assert os.listdir(tmp_path) == ["a.dcm"]


@pytest.fixture(params=[f"{k}-{o}" for k in KINDS for o in ("full", "sparse")])
def case(request, tmp_path):
    kind, organization = request.param.split("-")
    path = tmp_path / f"{request.param}.dcm"
    mask = masks(kind)
    dml.Segmentation.from_array(
        mask, source=slide_source(), segments=segments(2), kind=kind, organization=organization
    ).save(path)
    return path, mask


@pytest.mark.judge
def test_dciodvfy_finds_no_error(case):
    assert dciodvfy(case[0]) == []


@pytest.mark.judge
def test_highdicom_reads_the_same(case):
    path, mask = case
    highdicom = need("highdicom", "highdicom")
    theirs = highdicom.seg.segread(str(path))
    matrix = theirs.get_total_pixel_matrix(combine_segments=False, segment_numbers=[1, 2])
    np.testing.assert_allclose(np.moveaxis(matrix, -1, 0), expected(mask), atol=0.5 / 255 + 1e-6)
    geometry = theirs.get_volume_geometry()
    if geometry is not None:
        np.testing.assert_allclose(geometry.spacing[1:], [0.0005, 0.0005], rtol=1e-6)


def test_tiles_say_where_they_are(case):
    path, mask = case
    ds = pydicom.dcmread(path)
    source = slide_source()
    assert (ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns) == SHAPE
    assert [float(v) for v in ds.ImageOrientationSlide] == ORIENTATION
    origin = ds.TotalPixelMatrixOriginSequence[0]
    assert (origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem) == (20.5, 40.25)
    assert ds.ContainerIdentifier == "C1"
    if "sparse" not in path.stem:
        return
    rows = []
    for frame in ds.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSlideSequence[0]
        row, column = place.RowPositionInTotalImagePixelMatrix - 1, place.ColumnPositionInTotalImagePixelMatrix - 1
        point = source.grid.to_lps([0, row, column])
        got = [
            place.XOffsetInSlideCoordinateSystem,
            place.YOffsetInSlideCoordinateSystem,
            place.ZOffsetInSlideCoordinateSystem,
        ]
        np.testing.assert_allclose(np.array(got, float), point, atol=1e-8)
        rows.append(tuple(frame.FrameContentSequence[0].DimensionIndexValues))
    assert len(set(rows)) == len(rows)
    assert all(min(r) >= 1 for r in rows)


@pytest.mark.judge
@pytest.mark.parametrize("kind", KINDS)
def test_a_pyramid(tmp_path, kind):
    mask, source = masks(kind), slide_source()
    made = dml.Segmentation.from_array(mask, source=source, segments=segments(2), kind=kind)
    paths = made.save_pyramid(tmp_path, compression="rle" if kind == "fractional" else None)
    assert len(paths) == 2
    levels = [dml.read_segmentation(p) for p in paths]
    assert {s.series_instance_uid for s in levels} == {made.series_instance_uid}
    assert len({s.sop_instance_uid for s in levels}) == 2
    assert len({s.dataset.PyramidUID for s in levels}) == 1
    for stored, described in zip(levels, source.levels, strict=True):
        assert stored.grid.matches(described.grid, 1e-6)
    np.testing.assert_allclose(levels[0].channels(), expected(mask), atol=0.5 / 255 + 1e-6)
    whole = expected(mask)
    if kind == "fractional":
        halved = whole.reshape(2, 75, 2, 105, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(levels[1].channels(), halved, atol=1 / 255 + 1e-6)
    else:
        np.testing.assert_array_equal(levels[1].channels(), whole[:, ::2, ::2])
    for path in paths:
        assert dciodvfy(path) == []


@pytest.mark.parametrize("tile", [(10, 10), (75, 105), (1, 1), (64, 50)])
def test_tiles_of_odd_sizes(tmp_path, tile):
    """Some scanners keep a small level as one frame of its own size: binary frames get a few columns more."""
    source = slide_source()
    levels = (source.levels[0], level((75, 105), 0.001, "1", tile))
    source = replace(source, levels=levels)
    mask = blobs()
    paths = dml.Segmentation.from_array(mask, source=source, segments=segments(2), kind="binary").save_pyramid(tmp_path)
    np.testing.assert_array_equal(dml.read_segmentation(paths[1]).channels(), expected(mask)[:, ::2, ::2])
    small = mask[::2, ::2]
    options = {"source": source, "segments": segments(2), "kind": "binary", "level": 1}
    dml.Segmentation.from_array(small, **options).save(tmp_path / "own.dcm")
    with dml.Segmentation.stream(tmp_path / "stream.dcm", **options) as stream:
        height, width = stream.tiling.tile
        assert height == tile[0] and tile[1] <= width < tile[1] + 8 and height * width % 8 == 0
        for row in range(0, 75, height):
            for column in range(0, 105, width):
                stream.put(row, column, small[row : row + height, column : column + width])
    for name in ("own", "stream"):
        np.testing.assert_array_equal(dml.read_segmentation(tmp_path / f"{name}.dcm").channels(), expected(small))
    if tile != (64, 50):
        with pytest.raises(dml.EncodingError, match=r"pass tile_size=\(\d+, \d+\), or none"):
            dml.Segmentation.from_array(small, tile_size=tile, **options)


@pytest.mark.parametrize("off_grid", [False, True])
def test_tiles_that_share_pixels_are_painted_in_order(tmp_path, off_grid):
    """Segment after segment, wherever the tiles lie: the last that holds a pixel counts, or the first."""
    rng = np.random.default_rng(3)
    mask = rng.random((2, *SHAPE)) < 0.35
    dml.Segmentation.from_array(mask, source=slide_source(), segments=segments(2)).save(tmp_path / "a.dcm")
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    tiles = bits[: ds.NumberOfFrames * 64 * 64].reshape(-1, 64, 64)
    held = np.zeros((2, *SHAPE), bool)
    for tile, item in zip(tiles, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = item.PlanePositionSlideSequence[0]
        if off_grid:
            position.RowPositionInTotalImagePixelMatrix = int(rng.integers(1, 100))
            position.ColumnPositionInTotalImagePixelMatrix = int(rng.integers(1, 150))
        row = position.RowPositionInTotalImagePixelMatrix - 1
        column = position.ColumnPositionInTotalImagePixelMatrix - 1
        channel = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1
        part = held[channel, row : row + 64, column : column + 64]
        part |= tile[: part.shape[0], : part.shape[1]] > 0
    ds.save_as(tmp_path / "b.dcm")
    assert (held[0] & held[1]).any()
    seg = dml.read_segmentation(tmp_path / "b.dcm")
    np.testing.assert_array_equal(seg.label_map(overlap="last"), np.where(held[1], 2, held[0]))
    np.testing.assert_array_equal(seg.label_map(overlap="first"), np.where(held[0], 1, held[1] * 2))
    with pytest.raises(dml.EncodingError, match="overlap"):
        seg.label_map()
    one = dml.read_segmentation(tmp_path / "b.dcm").label_map(segments=[1])
    np.testing.assert_array_equal(one, held[0])
