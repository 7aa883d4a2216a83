"""Bulk annotations: written from flat arrays, read back equal, judged."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from tests.judges import dciodvfy, need
from tests.objects.segmentation.test_tiled import slide_source

NUCLEUS = {"type": "SCT:84640000", "algorithm": dml.Algorithm("NucleiNet", "1")}
AREA = ("SCT:42798000", "um2")


def polygons(count=50, dims=2, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 12, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    centres = rng.uniform(20, 120, (count, dims)).repeat(lengths, axis=0)
    return (centres + rng.normal(0, 3, centres.shape)).astype(dtype), offsets


def group(graphic="polygon", dims=2, dtype=np.float32, label="Nuclei", seed=0, **more):
    points, offsets = polygons(dims=dims, dtype=dtype, seed=seed)
    if graphic in ("ellipse", "rectangle"):
        points, offsets = points[: len(points) // 4 * 4], None
    elif graphic == "point":
        offsets = None
    return dml.AnnotationGroup(label, graphic=graphic, points=points, offsets=offsets, **{**NUCLEUS, **more})


def same(a, b):
    np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_array_equal(a.offsets, b.offsets)
    assert a.points.dtype == b.points.dtype
    for name in ("label", "type", "category", "graphic", "algorithm", "description", "z"):
        assert getattr(a, name) == getattr(b, name), name
    assert len(a.measurements) == len(b.measurements)
    for m, n in zip(a.measurements, b.measurements, strict=True):
        assert (m.concept, m.unit.value) == (n.concept, n.unit.value)
        np.testing.assert_array_equal(m.values, n.values)


def written(tmp_path, *groups, **options):
    dml.Annotations.from_groups(groups, source=slide_source(), **options).save(tmp_path / "a.dcm")
    return dml.read_annotations(tmp_path / "a.dcm")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("graphic", ["point", "polyline", "polygon", "ellipse", "rectangle"])
def test_round_trip(tmp_path, graphic, dims, dtype):
    made = group(graphic, dims, dtype, description="made up")
    values = np.random.default_rng(0).random(len(made)).astype(np.float32)
    sparse = values.copy()
    sparse[::3] = np.nan
    measured = {AREA: values, ("SCT:81827009", "um"): sparse}
    made = group(graphic, dims, dtype, description="made up", measurements=measured)
    other = group("point", dims, dtype, label="Others", seed=3)
    ann = written(tmp_path, made, other)
    assert ann.coordinate_type == f"{dims}D"
    same(ann.groups[0], made)
    same(ann.groups[1], other)
    np.testing.assert_array_equal(ann.groups[0].measurement("SCT:42798000"), values)
    assert ann.referenced_images == (list(slide_source().levels[0].sop_instance_uids))
    pydicom.dcmread(tmp_path / "a.dcm")


def test_a_plane_of_its_own(tmp_path):
    ann = written(tmp_path, group(z=0.5))
    assert ann.groups[0].z == 0.5
    assert ann.coordinate_type == "3D"
    assert ann.groups[0].columns == 2


@given(st.integers(0, 10**6), st.integers(1, 40))
@settings(max_examples=30)
def test_items_and_selections(seed, count):
    points, offsets = polygons(count, seed=seed)
    made = dml.AnnotationGroup("Nuclei", graphic="polygon", points=points, offsets=offsets,
                               measurements={AREA: np.arange(count)}, **NUCLEUS)  # fmt: skip
    items = list(made)
    assert len(items) == len(made) == count
    np.testing.assert_array_equal(np.concatenate(items), points)
    np.testing.assert_array_equal(made[-1], items[-1])
    for item, box in zip(items, made.boxes, strict=True):
        np.testing.assert_array_equal(box, [item.min(0), item.max(0)])
    chosen = np.flatnonzero(np.random.default_rng(seed).random(count) < 0.5)
    if len(chosen):
        part = made.select(chosen)
        for mine, index in zip(part, chosen, strict=True):
            np.testing.assert_array_equal(mine, items[index])
        np.testing.assert_array_equal(part.measurement("SCT:42798000"), chosen)
    inside = set(made.in_region((40, 40), (80, 80)).tolist())
    expected = {i for i, item in enumerate(items) if (item.min(0) <= 80).all() and (item.max(0) >= 40).all()}
    assert inside == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graphic": "circle"}, "graphic is one of"),
        ({"offsets": None}, "pass offsets"),
        ({"offsets": [0, 2]}, "at least 3 points"),
        ({"offsets": [1, 4]}, "begin at 0"),
        ({"points": np.zeros((0, 2))}, "points are"),
        ({"points": np.zeros((9, 4))}, "points are"),
        ({"points": np.full((9, 2), np.nan)}, "finite"),
        ({"measurements": {AREA: [1, 2]}}, "for each of 3 items"),
        ({"measurements": {AREA: [1, 2, np.inf]}}, "infinite"),
        ({"graphic": "ellipse", "offsets": None}, "4 points each"),
        ({"label": "x" * 65}, "64 characters"),
        ({"algorithm": "net"}, "Algorithm"),
        ({"points": np.full((9, 2), np.nan)}, "not finite"),
        ({"points": np.full((9, 2), -np.inf)}, "not finite"),
        ({"points": np.full((9, 2), 1e200)}, "no slide is that large"),
    ],
)
def test_refusals(change, message):
    arguments = {
        "graphic": "polygon",
        "points": np.arange(18.0).reshape(9, 2),
        "offsets": [0, 3, 6],
        **NUCLEUS,
        **change,
    }
    with pytest.raises(dml.DicomMLError, match=message):
        dml.AnnotationGroup(arguments.pop("label", "Nuclei"), **arguments)


def test_refused_objects():
    source = slide_source()
    with pytest.raises(dml.EncodingError, match="at least one group"):
        dml.Annotations.from_groups([], source=source)
    with pytest.raises(dml.EncodingError, match="all two or all three"):
        dml.Annotations.from_groups([group(), group(dims=3)], source=source)
    with pytest.raises(dml.EncodingError, match="does not say how it was made"):
        dml.Annotations.from_groups([group(algorithm=None)], source=source)


def test_files_that_contradict_themselves(tmp_path):
    ds = dml.Annotations.from_groups([group(measurements={AREA: np.ones(50)})], source=slide_source()).dataset

    def reread():
        ds.save_as(tmp_path / "b.dcm")
        return dml.read_annotations(tmp_path / "b.dcm")

    same(reread().groups[0], group(measurements={AREA: np.ones(50)}))
    item = ds.AnnotationGroupSequence[0]
    item.NumberOfAnnotations = 49
    with pytest.raises(dml.FileError, match=r"b\.dcm: annotation group 1: announces 49"):
        reread()
    item.NumberOfAnnotations = 50
    kept = item.LongPrimitivePointIndexList
    item.LongPrimitivePointIndexList = np.array([1, 4], "<u4").tobytes()
    with pytest.raises(dml.FileError, match="middle of points"):
        reread()
    item.LongPrimitivePointIndexList = kept
    item.PointCoordinatesData = item.PointCoordinatesData[:-4]
    with pytest.raises(dml.FileError, match="no points of 2"):
        reread()
    (tmp_path / "c.dcm").write_bytes(b"no DICOM")
    with pytest.raises(dml.FileError, match=r"c\.dcm"):
        dml.read_annotations(tmp_path / "c.dcm")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e12])
@pytest.mark.parametrize("place", [0, 1_000_000, 2_999_999])
def test_one_bad_coordinate_among_many(value, place):
    points = np.zeros((3_000_000, 2), np.float32)
    points[place, 1] = value
    with pytest.raises(dml.EncodingError, match=r"finite|no slide"):
        dml.AnnotationGroup("Many", graphic="point", points=points, **NUCLEUS)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("wrong", [0, 2, -1])
def test_first_points_that_are_none(tmp_path, dims, wrong):
    """The list counts coordinates from 1, so that each entry is the first coordinate of a point."""
    made = dml.Annotations.from_groups([group(dims=dims)], source=slide_source())
    ds = made.dataset
    item = ds.AnnotationGroupSequence[0]
    index = np.frombuffer(item.LongPrimitivePointIndexList, "<u4").copy()
    np.testing.assert_array_equal((index - 1) // dims, made.groups[0].offsets)
    index[3] = wrong if wrong >= 0 else index[3] + 1
    item.LongPrimitivePointIndexList = index.tobytes()
    ds.save_as(tmp_path / "b.dcm")
    with pytest.raises(dml.FileError, match="middle of points"):
        dml.read_annotations(tmp_path / "b.dcm")


CASES = {
    "polygon": {},
    "point": {"graphic": "point"},
    "polyline": {"graphic": "polyline"},
    "ellipse": {"graphic": "ellipse"},
    "rectangle": {"graphic": "rectangle"},
    "double": {"dtype": np.float64},
    "three": {"dims": 3},
    "manual": {"algorithm": "manual"},
    "plane": {"z": 0.25},
    "measured": {"measurements": {AREA: np.where(np.arange(50) % 4, 2.5, np.nan)}},
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    made = group(**CASES[request.param])
    ann = written(tmp_path, made, group("point", made.columns, label="More", seed=5, z=made.z), deterministic=True)
    return tmp_path / "a.dcm", ann


@pytest.mark.judge
def test_dciodvfy_finds_no_error(case):
    assert dciodvfy(case[0]) == []


@pytest.mark.judge
def test_highdicom_reads_the_same(case):
    path, ann = case
    hd = need("highdicom", "highdicom")
    theirs = hd.ann.annread(str(path))
    for mine, other in zip(ann.groups, theirs.get_annotation_groups(), strict=True):
        assert other.label == mine.label
        data = other.get_graphic_data(coordinate_type=theirs.AnnotationCoordinateType)
        assert len(data) == len(mine)
        for a, b in zip(mine, data, strict=True):
            got = np.atleast_2d(b)
            np.testing.assert_array_equal(a, got[:, : a.shape[1]])
        names, values, units = other.get_measurements()
        assert len(names) == len(mine.measurements)
        for i, m in enumerate(mine.measurements):
            np.testing.assert_allclose(values[:, i], m.values)


def test_identity(case):
    path, ann = case
    ds = pydicom.dcmread(path)
    source = slide_source()
    assert ds.Modality == "ANN"
    assert ds.PatientID == "S1"
    listed = [i.ReferencedSOPInstanceUID for i in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert listed == list(source.levels[0].sop_instance_uids)
    assert len({g.AnnotationGroupUID for g in ds.AnnotationGroupSequence}) == 2
    assert [g.AnnotationGroupNumber for g in ds.AnnotationGroupSequence] == [1, 2]
