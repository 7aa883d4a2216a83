"""What is written is read back equal: every kind, type, compression, shape and orientation."""

from __future__ import annotations

import pickle

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.geometry import Grid

from .scenes import axial, channels, label_map, oblique, segments, source_on

COMPRESSIONS = [None, "rle", "jpeg-ls", "jpeg2000", "htjpeg2000", "deflate"]


def written(tmp_path, mask, source, described, compression=None, **options) -> dml.Segmentation:
    path = tmp_path / "seg.dcm"
    dml.Segmentation.from_array(mask, source=source, segments=described, **options).save(path, compression)
    return dml.read_segmentation(path)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_every_kind_in_every_compression(tmp_path, kind, compression):
    grid = oblique()
    labels = label_map(grid.shape)
    mask = labels if kind != "fractional" else np.stack([(labels == i) * np.float32(0.3 * i) for i in (1, 2, 3)])
    source = source_on(grid)
    if kind == "binary" and compression in ("jpeg-ls", "htjpeg2000"):
        with pytest.raises(dml.EncodingError, match="1-bit"):
            written(tmp_path, mask, source, segments(3), compression, kind=kind)
        assert list(tmp_path.iterdir()) == []
        return
    seg = written(tmp_path, mask, source, segments(3), compression, kind=kind)
    np.testing.assert_array_equal(seg.label_map(on=source, threshold=0.2), labels)
    expected = mask if kind == "fractional" else np.stack([labels == i for i in (1, 2, 3)])
    got = seg.channels(on=source)
    assert got.dtype == (np.float32 if kind == "fractional" else bool)
    np.testing.assert_allclose(got, expected, atol=0.5 / 255 + 1e-6)
    assert seg.kind == kind
    assert [s.label for s in seg.segments] == ["Part 1", "Part 2", "Part 3"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_label_maps_of_any_integer_type(tmp_path, dtype, kind):
    grid = oblique()
    labels = label_map(grid.shape, dtype=dtype)
    seg = written(tmp_path, labels, source_on(grid), segments(3), kind=kind)
    np.testing.assert_array_equal(seg.label_map(on=grid), labels)


def test_torch_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    grid = oblique()
    labels = label_map(grid.shape)
    seg = written(tmp_path, torch.from_numpy(labels.astype(np.int64)), source_on(grid), segments(3))
    np.testing.assert_array_equal(seg.label_map(on=grid), labels)
    fractions = torch.rand((1, *grid.shape), dtype=torch.bfloat16, requires_grad=True)
    seg = written(tmp_path, fractions, source_on(grid), segments(1), kind="fractional")
    np.testing.assert_allclose(seg.channels(on=grid), fractions.detach().float().numpy(), atol=0.5 / 255 + 1e-6)


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 23), st.integers(1, 40)),
    st.integers(0, 999),
    st.sampled_from(["binary", "labelmap", "fractional"]),
    st.booleans(),
)
@settings(max_examples=40)
def test_any_shape(tmp_path_factory, shape, seed, kind, keep):
    rng = np.random.default_rng(seed)
    labels = (rng.random(shape) < 0.2).astype(np.uint8) * rng.integers(1, 4, shape).astype(np.uint8)
    grid = oblique(shape, seed=seed)
    mask = np.stack([labels == i for i in (1, 2, 3)]) if kind == "fractional" else labels
    folder = tmp_path_factory.mktemp("any")
    seg = written(folder, mask, source_on(grid), segments(3), kind=kind, keep_empty_frames=keep)
    np.testing.assert_array_equal(seg.label_map(on=grid), labels)
    if keep:
        assert seg.grid.matches(grid, 1e-6)
        assert seg.frame_count == shape[0] * (1 if kind == "labelmap" else 3)


def test_frames_that_end_inside_a_byte_with_many_segments(tmp_path):
    grid = oblique((5, 7, 9))
    mask = np.random.default_rng(1).random((6, 5, 7, 9)) < 0.4
    seg = written(tmp_path, mask, source_on(grid), segments(6))
    np.testing.assert_array_equal(seg.channels(on=grid), mask)
    ds = pydicom.dcmread(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(ds.pixel_array.reshape(-1), mask.reshape(-1))
    assert len(ds.PixelData) % 2 == 0


def test_overlapping_channels(tmp_path):
    grid = oblique()
    mask = channels(grid.shape)
    assert (mask.sum(0) > 1).any()
    seg = written(tmp_path, mask, source_on(grid), segments(3))
    np.testing.assert_array_equal(seg.channels(on=grid), mask)
    np.testing.assert_array_equal(seg.channels(on=grid, segments=["Part 3", 1]), mask[[2, 0]])
    assert seg.dataset.SegmentsOverlap == "YES"
    with pytest.raises(dml.EncodingError, match="'Part 1' and 'Part 2'"):
        seg.label_map(on=grid, segments=[1, 2])
    first, last = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    for i in range(3):
        last[mask[i]] = i + 1
        first[mask[2 - i]] = 3 - i
    np.testing.assert_array_equal(seg.label_map(on=grid, overlap="last"), last)
    np.testing.assert_array_equal(seg.label_map(on=grid, overlap="first"), first)
    with pytest.raises(dml.EncodingError, match="overlap"):
        dml.Segmentation.from_array(mask, source=source_on(grid), segments=segments(3), kind="labelmap")


def test_subsets_leave_nothing_else_in(tmp_path):
    grid = oblique()
    labels = label_map(grid.shape, 4)
    for kind in ("binary", "labelmap"):
        seg = written(tmp_path, labels, source_on(grid), segments(4), kind=kind)
        np.testing.assert_array_equal(seg.label_map(on=grid, segments=[2]), np.where(labels == 2, 2, 0))
        by_code = seg.label_map(on=grid, segments=["SCT:64033007", "Part 1"])
        np.testing.assert_array_equal(by_code, np.where(np.isin(labels, [3, 1]), labels, 0))
        with pytest.raises(dml.CodeError, match="no segment is 'Spleen'"):
            seg.label_map(on=grid, segments=["Spleen"])


def test_label_numbers_are_kept(tmp_path):
    grid = oblique()
    labels = np.zeros(grid.shape, np.int32)
    for i, number in enumerate((5, 6, 7, 9, 300, 65535)):
        labels[i + 1, 5:20, 10:30] = number
    described = [
        dml.Segment(f"S{n}", type="SCT:10200004", category="SCT:123037004", algorithm=NET_, number=n)
        for n, NET_ in ((n, dml.Algorithm("N", "1")) for n in (5, 6, 7, 9, 300, 65535))
    ]
    seg = written(tmp_path, labels, source_on(grid), described, kind="labelmap")
    np.testing.assert_array_equal(seg.label_map(on=grid), labels)
    assert [s.number for s in seg.segments] == [5, 6, 7, 9, 300, 65535]
    assert seg.dataset.BitsAllocated == 16
    with pytest.raises(dml.EncodingError, match="numbered"):
        dml.Segmentation.from_array(labels, source=source_on(grid), segments=described, kind="binary")
    small = np.where(labels < 10, labels, 0)
    assert written(tmp_path, small, source_on(grid), described[:4], kind="labelmap").dataset.BitsAllocated == 8


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_channels_belong_to_the_segments_in_the_order_given(tmp_path, kind):
    grid = oblique()
    mask = np.zeros((2, *grid.shape), bool)
    mask[0, 2, 3:9, 3:9] = mask[1, 5, 3:9, 3:9] = True
    numbers = (2, 1) if kind != "labelmap" else (7, 5)
    described = [dml.Segment(n, type="SCT:10200004", category="SCT:123037004", algorithm="manual", number=i)
                 for n, i in zip(("Liver", "Spleen"), numbers, strict=True)]  # fmt: skip
    seg = written(tmp_path, mask, source_on(grid), described, kind=kind)
    np.testing.assert_array_equal(seg.channels(on=grid, segments=["Liver", "Spleen"]) > 0, mask)


def test_an_empty_mask_still_makes_an_object(tmp_path):
    grid = oblique()
    for kind in ("binary", "labelmap", "fractional"):
        mask = np.zeros((2, *grid.shape), bool)
        seg = written(tmp_path, mask, source_on(grid), segments(2), kind=kind)
        assert not seg.channels(on=grid).any()
        assert len(seg.segments) == 2


def test_omitted_frames_are_back_on_the_source_grid(tmp_path):
    grid = oblique((30, 16, 16))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4, 3:9, 3:9] = 1
    labels[22:25, 3:9, 3:9] = 2
    seg = written(tmp_path, labels, source_on(grid), segments(2))
    assert seg.frame_count == 4
    np.testing.assert_array_equal(seg.label_map(on=source_on(grid)), labels)
    assert seg.grid.shape == (21, 16, 16)
    np.testing.assert_array_equal(seg.label_map(), labels[4:25])
    # frames that all lie several slices apart still know the spacing between slices
    labels[:] = 0
    labels[3, 3:9, 3:9] = labels[9, 3:9, 3:9] = 1
    seg = written(tmp_path, labels, source_on(grid), segments(1))
    assert seg.grid.shape == (7, 16, 16)
    np.testing.assert_array_equal(seg.label_map(), labels[3:10])


@pytest.mark.parametrize("maximum", [1, 100, 255])
@pytest.mark.parametrize("meaning", ["probability", "occupancy"])
def test_fractions(tmp_path, maximum, meaning):
    grid = oblique()
    mask = np.random.default_rng(0).random((2, *grid.shape)).astype(np.float32)
    seg = written(
        tmp_path, mask, source_on(grid), segments(2), kind="fractional",
        max_fractional_value=maximum, fractional_type=meaning,
    )  # fmt: skip
    np.testing.assert_allclose(seg.channels(on=grid), mask, atol=0.5 / maximum + 1e-6)
    assert seg.dataset.SegmentationFractionalType == meaning.upper()
    assert seg.dataset.MaximumFractionalValue == maximum


def test_memory_and_file_agree_and_objects_pickle(tmp_path):
    grid = oblique()
    labels = label_map(grid.shape)
    made = dml.Segmentation.from_array(labels, source=source_on(grid), segments=segments(3))
    np.testing.assert_array_equal(made.label_map(on=grid), labels)
    np.testing.assert_array_equal(made.channels(), np.stack([labels == i for i in (1, 2, 3)])[:, 1:-1])
    made.save(tmp_path / "a.dcm")
    read = pickle.loads(pickle.dumps(dml.read_segmentation(tmp_path / "a.dcm")))
    np.testing.assert_array_equal(read.label_map(on=grid), labels)
    assert made.dataset.PixelData == pydicom.dcmread(tmp_path / "a.dcm").PixelData
    data = (tmp_path / "a.dcm").read_bytes()
    np.testing.assert_array_equal(dml.read_segmentation(data).label_map(on=grid), labels)


# ---------------------------------------------------------------------- grids of their own
def test_a_crop_or_a_flip_of_the_source_lands_on_its_planes(tmp_path):
    grid = oblique()
    labels = label_map(grid.shape)
    source = source_on(grid)
    flipped = written(tmp_path, labels[::-1, :, ::-1], source, segments(3), affine=grid.flip([0, 2]).affine)
    np.testing.assert_array_equal(flipped.label_map(on=source), labels)
    turned = written(tmp_path, labels.transpose(2, 0, 1), source, segments(3), affine=grid.permute([2, 0, 1]).affine)
    np.testing.assert_array_equal(turned.label_map(on=source), labels)
    assert turned.dataset.Rows == grid.shape[1]
    part = grid.crop((2, 5, 8), (4, 20, 30))
    cropped = written(tmp_path, labels[2:6, 5:25, 8:38], source, segments(3), affine=part.affine)
    expected = np.zeros_like(labels)
    expected[2:6, 5:25, 8:38] = labels[2:6, 5:25, 8:38]
    np.testing.assert_array_equal(cropped.label_map(on=source), expected)


def test_a_grid_of_its_own(tmp_path):
    source = source_on(oblique())
    own = axial((7, 30, 33), (3, 1.1, 1.2))
    labels = label_map(own.shape)
    seg = written(tmp_path, labels, source, segments(3), affine=own.affine, keep_empty_frames=True)
    assert seg.grid.matches(own, 1e-6)
    np.testing.assert_array_equal(seg.label_map(), labels)
    down = own.flip([0])
    seg = written(tmp_path, labels[::-1], source, segments(3), affine=down.affine, keep_empty_frames=True)
    np.testing.assert_array_equal(seg.label_map(on=own), labels)
    assert len(seg.referenced_series[source.series_instance_uid]) == 9
    with pytest.raises(dml.GeometryError, match="resample=True"):
        seg.label_map(on=source.grid)
    sheared = np.array(own.affine)
    sheared[1, 0] += 1
    with pytest.raises(dml.GeometryError, match="right angles"):
        written(tmp_path, labels, source, segments(3), affine=sheared)


def test_resampling_is_nearest_neighbour():
    coarse = axial((6, 20, 20), (3, 2, 2))
    labels = label_map(coarse.shape)
    seg = dml.Segmentation.from_array(labels, source=source_on(coarse), segments=segments(3), keep_empty_frames=True)
    fine = coarse.resized((1.5, 1, 1))
    got = seg.label_map(on=fine, resample=True)
    np.testing.assert_array_equal(got, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(seg.channels(on=fine, resample=True, segments=[2])[0], got == 2)


def test_read_onto_flipped_and_permuted_volumes():
    grid = oblique()
    labels = label_map(grid.shape)
    for kind in ("binary", "labelmap"):
        seg = dml.Segmentation.from_array(labels, source=source_on(grid), segments=segments(3), kind=kind)
        for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
            for flips in ([], [0], [1, 2], [0, 1, 2]):
                other = grid.permute(order).flip(flips)
                np.testing.assert_array_equal(seg.label_map(on=other), np.flip(labels.transpose(order), flips))


def test_frames_outside_of_the_grid_are_not_lost_in_silence():
    grid = oblique()
    labels = label_map(grid.shape)
    part = grid.crop((3, 0, 0), (3, 20, 64))
    for kind in ("binary", "labelmap"):
        seg = dml.Segmentation.from_array(labels, source=source_on(grid), segments=segments(3), kind=kind)
        with pytest.raises(dml.GeometryError, match="outside"):
            seg.label_map(on=part)
        np.testing.assert_array_equal(seg.label_map(on=part, outside="drop"), labels[3:6, :20])
    wider = grid.pad([(2, 3), (4, 1), (0, 5)])
    np.testing.assert_array_equal(seg.label_map(on=wider)[2:-3, 4:-1, :-5], labels)


def test_another_frame_of_reference_is_refused():
    grid = oblique()
    seg = dml.Segmentation.from_array(label_map(grid.shape), source=source_on(grid), segments=segments(3))
    other = source_on(grid, name="b")
    with pytest.raises(dml.GeometryError, match="frame of reference"):
        seg.label_map(on=other)
    assert seg.label_map(on=other.grid).any()


def test_a_tilted_stack_keeps_its_positions(tmp_path):
    affine = np.array(axial().affine)
    affine[1, 0] = 0.9
    grid = Grid((9, 40, 64), affine)
    labels = label_map(grid.shape)
    seg = written(tmp_path, labels, source_on(grid), segments(3), kind="labelmap")
    np.testing.assert_array_equal(seg.label_map(on=grid), labels)
    assert seg.grid.matches(grid, 1e-3)
    measures = seg.dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5)
