"""Operations of a volume: the affine stays true to the array, and every voxel stays where it is in the patient."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_ml import Code, GeometryError, Grid, SourceSeries, Volume
from dicom_ml.reading.resampling import resample_array

AXCODES = ["".join(p) for q in itertools.product("RL", "AP", "IS") for p in itertools.permutations(q)]


def rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]


@st.composite
def volumes(draw: st.DrawFn, sheared: bool = True) -> Volume:
    """Any small volume whose voxels all differ, anywhere and in any orientation."""
    shape = tuple(draw(st.integers(1, 5)) for _ in range(3))
    spacing = [draw(st.floats(0.3, 6)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = rotation(draw(st.integers(0, 1000))) * spacing
    if sheared and draw(st.booleans()):
        affine[:3, 0] += affine[:3, 1] * draw(st.floats(-0.5, 0.5))
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    array = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    gaps = (0,) if draw(st.booleans()) else ()
    return Volume(array, affine, source(shape, affine), "CT", gaps=gaps)


def source(shape: tuple[int, ...], affine: np.ndarray) -> SourceSeries:
    uids = tuple(f"1.2.{d}" for d in range(shape[0]))
    classes = ("1.2.840.10008.5.1.4.1.1.2",) * shape[0]
    return SourceSeries("CT", "1.1", "1.2", "1.3", classes, uids, grid=Grid(shape, affine))  # type: ignore[arg-type]


def positions(volume: Volume) -> dict[float, np.ndarray]:
    """Where in the patient each value lies."""
    points = volume.grid.to_lps(np.moveaxis(np.indices(volume.shape), 0, -1)).reshape(-1, 3)
    return dict(zip(volume.array.ravel().tolist(), points, strict=True))


def assert_same_places(before: Volume, after: Volume, values: set[float] | None = None) -> None:
    old, new = positions(before), positions(after)
    for value in old.keys() if values is None else values:
        np.testing.assert_allclose(new[value], old[value], atol=1e-8)
    assert after.source is before.source
    assert not after.affine.flags.writeable


# ---------------------------------------------------------------------- properties
@given(volumes(), st.sampled_from(AXCODES))
def test_orient_moves_no_voxel(volume: Volume, axcodes: str) -> None:
    turned = volume.orient(axcodes)
    assert turned.grid.axcodes == axcodes
    assert_same_places(volume, turned)
    np.testing.assert_array_equal(turned.orient(volume.grid.axcodes).array, volume.array)
    assert turned.array.flags.c_contiguous


@given(volumes(), st.sets(st.integers(-3, 2), max_size=3).filter(lambda s: len({a % 3 for a in s}) == len(s)))
def test_flip_moves_no_voxel(volume: Volume, axes: set[int]) -> None:
    flipped = volume.flip(sorted(axes))
    assert_same_places(volume, flipped)
    np.testing.assert_array_equal(flipped.flip(sorted(axes)).array, volume.array)
    np.testing.assert_allclose(flipped.flip(sorted(axes)).affine, volume.affine, atol=1e-9)


@given(volumes(), st.data())
def test_crop_and_pad_move_no_voxel(volume: Volume, data: st.DataObject) -> None:
    start = [data.draw(st.integers(0, n - 1)) for n in volume.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, volume.shape, strict=True)]
    part = volume.crop((start, stop))
    assert part.shape == tuple(np.subtract(stop, start))
    assert_same_places(volume, part, set(part.array.ravel().tolist()))
    same = volume.crop([slice(a, b) for a, b in zip(start, stop, strict=True)])
    np.testing.assert_array_equal(same.array, part.array)
    widths = [(a, n - b) for a, b, n in zip(start, stop, volume.shape, strict=True)]
    padded = part.pad(widths, value=-1)
    assert padded.grid.matches(volume.grid, 1e-6)
    values = set(part.array.ravel().tolist())
    assert_same_places(volume, padded, values)
    assert set(padded.array.ravel().tolist()) <= values | {-1.0}


@given(volumes(), st.sampled_from(AXCODES))
def test_resampling_onto_the_same_lattice_is_exact(volume: Volume, axcodes: str) -> None:
    other = volume.orient(axcodes).pad(2)
    back = volume.match(other)
    np.testing.assert_array_equal(back.array, other.array)
    np.testing.assert_array_equal(other.match(volume).array, volume.array)


@given(volumes(sheared=False), st.integers(0, 1000), st.sampled_from(["scipy", "torch"]))
def test_resampling_reproduces_a_linear_function(volume: Volume, seed: int, engine: str) -> None:
    pytest.importorskip(engine)
    gradient = np.random.default_rng(seed).normal(size=3)
    grid = volume.grid
    values = grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1)) @ gradient
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) * 0.7
    affine[:3, 3] = grid.to_lps((np.array(grid.shape) - 1) / 2) - affine[:3, :3] @ [1, 1.5, 2]
    target = Grid((3, 4, 5), affine)
    found = resample_array(values, grid, target, fill=np.nan, engine=engine)
    points = target.to_lps(np.moveaxis(np.indices(target.shape), 0, -1))
    index = grid.to_index(points)
    inside = ((index >= 0) & (index <= np.array(grid.shape) - 1)).all(axis=-1)
    outside = ((index < -0.51) | (index > np.array(grid.shape) - 0.49)).any(axis=-1)
    np.testing.assert_allclose(found[inside], (points @ gradient)[inside], atol=1e-6 * (1 + np.abs(values).max()))
    assert np.isnan(found[outside]).all()
    if min(grid.shape) > 1:
        assert not np.isnan(found[inside]).any()


@given(volumes())
def test_volumes_pickle(volume: Volume) -> None:
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.grid == volume.grid
    assert again.source == volume.source
    assert again.gaps == volume.gaps


# ---------------------------------------------------------------------- single cases
def plain(shape: tuple[int, int, int] = (4, 5, 6), **facts: object) -> Volume:
    array = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    affine = np.array([[0, 0, 0.5, -10], [0, 0.75, 0, -20], [2.5, 0, 0, -30], [0, 0, 0, 1.0]])
    return Volume(array, affine, **facts)  # type: ignore[arg-type]


def test_facts_of_a_volume() -> None:
    volume = plain(modality="CT", unit=Code("[hnsf'U]", "UCUM", "Hounsfield unit"))
    assert volume.spacing == (2.5, 0.75, 0.5)
    assert volume.shape == (4, 5, 6)
    assert repr(volume) == (
        "Volume(CT, shape=(4, 5, 6), float32, spacing=(2.5, 0.75, 0.5) mm, axes=SPL, unit=[hnsf'U])"
    )
    assert volume.fill_value == -1024
    assert plain().fill_value == 0
    assert plain(padding_value=-2000.0).fill_value == -2000
    with pytest.raises(GeometryError, match=r"\(D, H, W\)"):
        Volume(np.zeros((2, 2)), np.eye(4))
    with pytest.raises(GeometryError, match="singular"):
        Volume(np.zeros((2, 2, 2)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 1
    with pytest.raises(TypeError):
        volume.metadata["x"] = 1  # type: ignore[index]


def test_gaps_follow_their_slices() -> None:
    volume = plain(gaps=(1,))
    assert volume.flip(0).gaps == (2,)
    assert volume.flip((1, 2)).gaps == (1,)
    assert volume.crop((slice(1, 4), slice(0, 5), slice(0, 6))).gaps == (0,)
    assert volume.crop((slice(2, 4), slice(0, 5), slice(0, 6))).gaps == ()
    assert volume.pad([(3, 0), 0, 0]).gaps == (4,)
    assert volume.orient("IPL").gaps == (2,)
    assert volume.orient("LPS").gaps == ()


def test_arguments_are_checked() -> None:
    volume = plain()
    for box in ([slice(0, 9, 2)] * 3, ((0, 0, 0), (5, 1, 1)), ((0, 0, 0), (0, 1, 1)), [slice(3, 3)] * 3):
        with pytest.raises(GeometryError, match=r"crop|box"):
            volume.crop(box)
    with pytest.raises(GeometryError, match="a box is three slices"):
        volume.crop([1, 2, 3])  # type: ignore[list-item]
    for axes in ([0, 0], [0, -3], 3):
        with pytest.raises(GeometryError, match="axes to flip"):
            volume.flip(axes)
    for widths in ([1, 1], -1, [(1, -1), 0, 0]):
        with pytest.raises(GeometryError, match="padding is"):
            volume.pad(widths)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="either a grid or a spacing"):
        volume.resample()
    with pytest.raises(GeometryError, match="order is 0"):
        volume.resample(spacing=2, order=9)
    with pytest.raises(GeometryError, match="engine is"):
        volume.resample(spacing=2, engine="magic")
    with pytest.raises(GeometryError, match="three positive numbers"):
        volume.resample(spacing=[1, 2])
    with pytest.raises(GeometryError, match="orientation is three letters"):
        volume.orient("XYZ")


def test_resample_to_a_spacing() -> None:
    pytest.importorskip("scipy")
    volume = plain((8, 10, 12))
    finer = volume.resample(spacing=0.5)
    assert finer.spacing == pytest.approx((0.5, 0.5, 0.5))
    assert finer.shape == (40, 15, 12)
    centre = volume.grid.to_lps((np.array(volume.shape) - 1) / 2)
    np.testing.assert_allclose(finer.grid.to_lps((np.array(finer.shape) - 1) / 2), centre)
    assert finer.resample(spacing=volume.spacing).shape == volume.shape
    assert volume.match(volume) is volume
    nearest = volume.resample(spacing=0.6, order=0)
    assert set(nearest.array.ravel().tolist()) <= set(volume.array.ravel().tolist())


@pytest.mark.parametrize("engine", ["scipy", "torch"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64, bool])
def test_resampling_keeps_the_type(engine: str, dtype: type) -> None:
    pytest.importorskip(engine)
    array = np.zeros((4, 4, 4), dtype)
    array[1:3, 1:3, 1:3] = True if dtype is bool else 100
    volume = Volume(array, np.diag([1.0, 1, 1, 1])[[2, 1, 0, 3]])
    found = volume.resample(spacing=0.7, engine=engine)
    assert found.array.dtype == dtype
    assert float(found.array.max()) == pytest.approx(float(array.max()))
    assert found.array.min() == 0


def test_splines_stay_near_the_values() -> None:
    pytest.importorskip("scipy")
    x = np.linspace(0, 3, 12)
    array = np.sin(x)[:, None, None] * np.ones((12, 4, 4))
    found = Volume(array, np.eye(4)[[2, 1, 0, 3]]).resample(spacing=(0.5, 1, 1), order=3)
    expected = np.sin((found.affine[2, 3] + 0.5 * np.arange(found.shape[0])) * 3 / 11)
    np.testing.assert_allclose(found.array[6:-6, 0, 0], expected[6:-6], atol=2e-3)


def test_resampling_agrees_with_simpleitk() -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("scipy")
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3, :3] = rotation(3) * [2.5, 0.8, 0.6]
    volume = Volume(rng.normal(size=(9, 14, 15)).astype(np.float32), affine)
    other = np.eye(4)
    other[:3, :3] = rotation(5) * 0.9
    other[:3, 3] = volume.grid.to_lps([4, 7, 7]) - other[:3, :3] @ [8, 8, 8]
    grid = Grid((17, 17, 17), other)
    reference = Volume(np.zeros(grid.shape, np.float32), other).to_sitk()
    for order, name in ((0, sitk.sitkNearestNeighbor), (1, sitk.sitkLinear)):
        expected = sitk.Resample(volume.to_sitk(), reference, sitk.Transform(), name, -7.0)
        found = volume.resample(grid, order=order, fill=-7.0)
        same = np.isclose(found.array, sitk.GetArrayFromImage(expected), atol=1e-4)
        assert same.mean() > 0.999  # positions on the very edge may fall either way


# ---------------------------------------------------------------------- exchange
@given(volumes(sheared=False))
def test_simpleitk_and_back(volume: Volume) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = volume.to_sitk()
    d, h, w = (n - 1 for n in volume.shape)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((w, h, d)), volume.grid.to_lps([d, h, w]), rtol=1e-9, atol=1e-6
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    again = Volume.from_sitk(image, source=volume.source)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-6)
    assert again.source is volume.source


def test_simpleitk_refuses_shear_and_vectors() -> None:
    sitk = pytest.importorskip("SimpleITK")
    affine = np.array(plain().affine)
    affine[1, 0] = 1
    with pytest.raises(GeometryError, match="sheared"):
        Volume(plain().array, affine).to_sitk()
    with pytest.raises(GeometryError, match="3 dimensions and one component"):
        Volume.from_sitk(sitk.Image([4, 4], sitk.sitkInt16))


@given(volumes())
def test_nibabel_and_back(volume: Volume) -> None:
    nib = pytest.importorskip("nibabel")
    image = volume.to_nibabel()
    d, h, w = (n - 1 for n in volume.shape)
    ras = nib.affines.apply_affine(image.affine, [w, h, d])
    np.testing.assert_allclose(ras * [-1, -1, 1], volume.grid.to_lps([d, h, w]), atol=1e-4)
    again = Volume.from_nibabel(image)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    big = Volume(volume.array.astype(np.int64), volume.affine).to_nibabel()
    assert big.get_data_dtype() == np.int32


@given(volumes())
def test_metatensor_and_back(volume: Volume) -> None:
    pytest.importorskip("monai")
    tensor = volume.to_metatensor()
    d, h, w = volume.shape
    assert tuple(tensor.shape) == (1, w, h, d)
    ras = (tensor.affine.numpy() @ [w - 1, h - 1, d - 1, 1])[:3]
    np.testing.assert_allclose(ras * [-1, -1, 1], volume.grid.to_lps([d - 1, h - 1, w - 1]), atol=1e-8)
    again = Volume.from_metatensor(tensor)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-12)
    assert again.source == volume.source
    assert again.modality == "CT"
    unsigned = Volume(volume.array.astype(np.uint16), volume.affine).to_metatensor()
    np.testing.assert_array_equal(unsigned[0].numpy().transpose(2, 1, 0), volume.array)
