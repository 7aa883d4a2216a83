"""Contours as masks, against matplotlib's test of points in paths; policies; what is refused."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_ml as dml
from dicom_ml.errors import CodeError, DicomMLWarning, EncodingError, FileError, GeometryError
from tests.judges import dciodvfy, highdicom_read_seg
from tests.objects.segmentation.scenes import axial, oblique, source_on
from tests.objects.structure_set.contours import on_slice, ring, structure_set

pytestmark = pytest.mark.filterwarnings("error::dicom_ml.errors.DicomMLWarning")


def expected_plane(shape, rings, *, union=False) -> np.ndarray:
    """Pixels whose centres lie inside, one contour after the other, by matplotlib."""
    path = pytest.importorskip("matplotlib.path")
    centres = np.indices(shape).reshape(2, -1).T + 0.5
    out = np.zeros(shape, bool)
    for one in rings:
        inside = path.Path(one).contains_points(centres).reshape(shape)
        out = out | inside if union else out ^ inside
    return out


def read(regions, **options) -> dml.StructureSet:
    return dml.read_structure_set(structure_set(regions, **options))


# ---------------------------------------------------------------------- masks
@pytest.mark.parametrize(
    ("drawn_on", "order"),
    [
        (axial(), (0, 1, 2)),
        (oblique(), (0, 1, 2)),
        (oblique(seed=4).flip((0, 2)), (0, 1, 2)),
        (oblique(seed=2), (1, 0, 2)),
    ],
    ids=["axial", "oblique", "flipped", "across"],
)
def test_masks_are_what_matplotlib_says(tmp_path, drawn_on, order):
    """Holes and islands on some slices; the planes of contours need not be the slices of the grid."""
    planes = {
        2: [ring((20, 30), 11, 50, 0.2), ring((19, 31), 4, 30, 0.1, 1)],
        3: [ring((20.2, 30.1), 12, 50, 0.2, 2)],
        4: [
            ring((12, 20), 6, 20, 0.1, 3),
            ring((30, 45), 5, 20, 0.1, 4),
            ring((30, 45), 3, 20, 0, 5),
            ring((30, 45), 1.5),
        ],
        7: [ring((25, 25), 10, 60, 0.3, 6)],
    }
    contours = [on_slice(drawn_on, d, r) for d, rings in planes.items() for r in rings]
    structure_set({"Liver": contours[::-1]}).save_as(tmp_path / "r.dcm", enforce_file_format=True)
    grid = drawn_on.permute(order)
    mask = dml.read_structure_set(tmp_path / "r.dcm").mask("Liver", on=source_on(grid))
    expected = np.zeros(drawn_on.shape, bool)
    for d, rings in planes.items():
        expected[d] = expected_plane(drawn_on.shape[1:], rings)
    assert mask.dtype == bool and mask.shape == grid.shape
    assert np.array_equal(mask, expected.transpose(order))
    assert mask.any()


def test_a_volume_of_files(tmp_path):
    """A tilted stack of files, contours rounded to hundredths of a millimetre as some programs write them."""
    from tests.series import write_series

    grid = write_series(tmp_path / "ct", name="a")
    volume = dml.read_volume(tmp_path / "ct")
    rings = {d: ring((9.2, 8.1), 5 + 0.2 * d, 60) for d in range(2, 9)}
    ds = structure_set({"Lung": [on_slice(grid, d, r) for d, r in rings.items()]}, digits=2,
                       frame=volume.source.frame_of_reference_uid)  # fmt: skip
    found = dml.read_structure_set(ds)
    mask = found.mask("Lung", on=volume)
    expected = np.stack([expected_plane(grid.shape[1:], [rings[d]] if d in rings else []) for d in range(12)])
    assert np.array_equal(mask, expected)
    assert np.array_equal(found.mask(1, on=volume.grid), expected)
    assert np.array_equal(found.mask([found.regions[0]], on=volume.source), expected)


def test_the_volume_of_a_ball():
    grid = axial((30, 80, 80), (1.5, 0.5, 0.5))
    radius = 15.0
    middle = grid.to_lps((14.5, 39.5, 39.5))
    contours = []
    for d in range(30):
        across = grid.to_lps((d, 39.5, 39.5))[2] - middle[2]
        if abs(across) < radius:
            reach = np.sqrt(radius**2 - across**2) / 0.5
            contours.append(on_slice(grid, d, ring((40, 40), reach, 200)))
    mask = read({"Ball": contours}).mask("Ball", on=source_on(grid))
    assert mask.sum() * 1.5 * 0.25 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_any_grid_and_any_outlines(seed):
    rng = np.random.default_rng(seed)
    grid = oblique((5, 24, 20), tuple(rng.uniform(0.3, 4, 3)), seed)
    rings = [ring(rng.uniform(6, 14, 2), rng.uniform(1, 6), int(rng.integers(3, 20)), 0.4, seed + i) for i in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DicomMLWarning)  # outlines that overlap in part
        found, on = read({"A": [on_slice(grid, 2, r) for r in rings]}), source_on(grid)
        mask = found.mask("A", on, outside="drop")
        union = found.mask("A", on, outside="drop", combine="union")
    assert np.array_equal(mask[2], expected_plane((24, 20), rings))
    assert np.array_equal(union[2], expected_plane((24, 20), rings, union=True))
    assert not mask[[0, 1, 3, 4]].any()


def test_keyholes_and_exclusive_or_are_the_same():
    grid = axial()
    outer, hole = ring((20, 30), 12, 40), ring((20, 30), 5, 24)
    keyhole = np.concatenate([outer, outer[:1], hole, hole[:1]])
    masks = [
        read({"A": [on_slice(grid, 4, keyhole)]}).mask("A", on=source_on(grid)),
        read({"A": [on_slice(grid, 4, outer), on_slice(grid, 4, hole)]}).mask("A", on=source_on(grid)),
        read({"A": [("CLOSEDPLANAR_XOR", on_slice(grid, 4, r)) for r in (outer, hole)]}).mask("A", on=source_on(grid)),
    ]
    assert all(np.array_equal(m, masks[0]) for m in masks)
    assert masks[0][4].sum() == expected_plane((40, 64), [outer, hole]).sum()
    filled = read({"A": [on_slice(grid, 4, outer), on_slice(grid, 4, hole)]})
    assert filled.mask("A", on=source_on(grid), combine="union").sum() == expected_plane((40, 64), [outer]).sum()


def test_contours_that_clash_are_told():
    grid = axial()
    a, b = on_slice(grid, 4, ring((20, 30), 10)), on_slice(grid, 4, ring((20, 38), 10))
    with pytest.warns(DicomMLWarning, match="overlap in part on 1 planes"):
        mask = read({"A": [a, b]}).mask("A", on=source_on(grid))
    assert np.array_equal(mask[4], expected_plane((40, 64), [ring((20, 30), 10), ring((20, 38), 10)]))
    with pytest.warns(DicomMLWarning, match="1 contours are there twice"):
        mask = read({"A": [a, a]}).mask("A", on=source_on(grid))
    assert np.array_equal(mask[4], expected_plane((40, 64), [ring((20, 30), 10)]))
    with pytest.warns(DicomMLWarning, match="overlap in part"):
        read({"A": [a, np.roll(a, 3, axis=0)]}).mask("A", on=source_on(grid))


# ---------------------------------------------------------------------- label maps, channels
def three(grid):
    return {
        "Liver": [on_slice(grid, d, ring((12, 20), 8)) for d in (3, 4)],
        "Spleen": [on_slice(grid, d, ring((28, 40), 7)) for d in (4, 5)],
        "GTV": [on_slice(grid, 4, ring((12, 22), 3))],
        ("Isocentre", 9): [("POINT", on_slice(grid, 4, [(3, 3)]))],
        ("Nothing", 10): [],
    }


def test_label_maps_and_channels():
    grid = oblique()
    found, on = read(three(grid)), source_on(grid)
    assert repr(found) == "StructureSet(5 regions: Liver, Spleen, GTV, Isocentre, Nothing)"
    with pytest.warns(DicomMLWarning, match="1 regions are left out.*'Isocentre'"):
        channels = found.channels(on)
    assert channels.shape == (3, *grid.shape)
    for channel, name in zip(channels, ("Liver", "Spleen", "GTV"), strict=True):
        assert np.array_equal(channel, found.mask(name, on)) and channel.any()
    assert np.array_equal(found.mask(["Liver", "Spleen"], on), channels[0] | channels[1])
    labels = found.label_map(on, ["Liver", "Spleen"])
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, channels[0] * 1 + channels[1] * 2)
    labels = found.label_map(on, {"Spleen": 300, 1: 7})
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, channels[0] * 7 + channels[1] * 300)
    with pytest.raises(EncodingError, match=r"'Liver' and 'GTV' overlap in \d+ voxels.*overlap='first'"):
        found.label_map(on, ["Liver", "GTV"])
    last, first = (found.label_map(on, ["Liver", "GTV"], overlap=o) for o in ("last", "first"))
    assert np.array_equal(last == 3, channels[2]) and np.array_equal(first == 1, channels[0])
    with pytest.raises(EncodingError, match=r"'Isocentre'.*1 POINT.*nothing to fill"):
        found.mask("Isocentre", on)
    assert not found.mask("Nothing", on).any()


def test_regions_are_found():
    found = read(three(axial()))
    assert found.names == ["Liver", "Spleen", "GTV", "Isocentre", "Nothing"]
    liver = found.region("Liver")
    assert (liver.number, liver.color, liver.generation, liver.interpreted_type) == (1, (10, 20, 30), "MANUAL", "ORGAN")
    assert liver.geometric_types == {"CLOSED_PLANAR": 2}
    assert liver.contours[0].area == pytest.approx(np.pi * 64 * 0.7 * 0.8, rel=0.01)
    assert found.region(9).contours[0].area == 0
    assert [r.name for r in found.find(name="LIV")] == ["Liver"]
    assert len(found.find(type="organ")) == 5 and not found.find(code="SCT:10200004")
    with pytest.raises(CodeError, match="no region is 'Kidney'; there are 1: 'Liver'"):
        found.region("Kidney")
    twice = read({("A", 1): [], ("A", 2): []})
    with pytest.raises(CodeError, match="2 regions are 'A'"):
        twice.region("A")
    assert twice.region(2).number == 2


def test_numbers_that_cannot_be_labels():
    grid = axial()
    found = read({("A", 0): [on_slice(grid, 3, ring((12, 20), 8))]})
    with pytest.raises(EncodingError, match="labels lie from 1"):
        found.label_map(source_on(grid))
    assert found.label_map(source_on(grid), {"A": 1}).any()


# ---------------------------------------------------------------------- what does not fit
def test_contours_between_slices():
    grid = axial()
    shape = ring((20, 30), 9)
    found = read({"A": [on_slice(grid, d, shape) for d in (2, 3.1, 4.4)]})
    with pytest.raises(GeometryError, match=r"1 of 3 planes.*0\.40 of the distance.*between='nearest'"):
        found.mask("A", source_on(grid))
    assert found.mask("A", source_on(grid), between="nearest").any(axis=(1, 2)).nonzero()[0].tolist() == [2, 3, 4]
    assert found.mask("A", source_on(grid), between="drop").any(axis=(1, 2)).nonzero()[0].tolist() == [2, 3]


def test_contours_finer_than_slices():
    """Planes are never combined with each other: the nearest fills the slice."""
    grid = axial()
    rings = {d: ring((20, 30), 5 + 10 * abs(d - 4)) for d in np.arange(3.5, 4.75, 0.25)}
    found = read({"A": [on_slice(grid, d, r) for d, r in rings.items()]})
    with pytest.raises(GeometryError, match=r"between slices|closer together"):
        found.mask("A", source_on(grid))
    mask = found.mask("A", source_on(grid), between="nearest")
    assert np.array_equal(mask[4], expected_plane((40, 64), [rings[4.0]]))
    near = {d: ring((20, 30), r) for d, r in ((3.9, 9), (4.05, 6))}
    found = read({"A": [on_slice(grid, d, r) for d, r in near.items()]})
    with pytest.raises(GeometryError, match="closer together than the slices"):
        found.mask("A", source_on(grid))
    assert np.array_equal(
        found.mask("A", source_on(grid), between="nearest")[4], expected_plane((40, 64), [near[4.05]])
    )


def test_contours_on_every_other_slice():
    grid = axial()
    rings = {d: ring((20, 30), 4 + d) for d in (1, 3, 5)}
    found = read({"A": [on_slice(grid, d, r) for d, r in rings.items()]})
    with pytest.warns(DicomMLWarning, match="2 slices apart.*fill='nearest'"):
        assert found.mask("A", source_on(grid)).any(axis=(1, 2)).nonzero()[0].tolist() == [1, 3, 5]
    mask = found.mask("A", source_on(grid), fill="nearest")
    assert mask.any(axis=(1, 2)).nonzero()[0].tolist() == [1, 2, 3, 4, 5]
    assert np.array_equal(mask[2], mask[1]) or np.array_equal(mask[2], mask[3])
    gap = read({"A": [on_slice(grid, d, ring((20, 30), 9)) for d in (1, 2, 3, 6, 7)]})
    assert gap.mask("A", source_on(grid), fill="nearest").any(axis=(1, 2)).nonzero()[0].tolist() == [1, 2, 3, 6, 7]


def test_contours_beyond_the_images():
    grid = axial()
    found = read({"A": [on_slice(grid, d, ring((20, 30), 9)) for d in (-1, 0, 1)],
                  "B": [on_slice(grid, 4, ring((2, 30), 9))],
                  "C": [on_slice(grid, 4, ring((8.7, 30), 9))]})  # fmt: skip
    with pytest.raises(GeometryError, match=r"1 of 3 planes.*outside='drop'"):
        found.mask("A", source_on(grid))
    assert found.mask("A", source_on(grid), outside="drop").any(axis=(1, 2)).nonzero()[0].tolist() == [0, 1]
    with pytest.raises(GeometryError, match=r"7\.0 pixels beyond the edge.*outside='drop'"):
        found.mask("B", source_on(grid))
    dropped = found.mask("B", source_on(grid), outside="drop")
    assert np.array_equal(dropped[4], expected_plane((40, 64), [ring((2, 30), 9)]))
    assert found.mask("C", source_on(grid)).any()  # no centre of a pixel lies out there


def test_tilted_contours_are_refused():
    found = read({"A": [on_slice(oblique(seed=3), 4, ring((20, 30), 9))]})
    with pytest.raises(GeometryError, match="do not lie in planes of the grid"):
        found.mask("A", axial())


def test_another_frame_of_reference():
    grid = axial()
    contours = {"A": [on_slice(grid, 4, ring((20, 30), 9))]}
    found, on = read(contours, frame="1.2.3"), source_on(grid)
    with pytest.raises(GeometryError, match=r"frame of reference 1\.2\.3.*on=volume\.grid"):
        found.mask("A", on)
    assert found.mask("A", grid).any()
    assert found.mask("A", source_on(grid, frame_of_reference_uid="")).any()
    ds = structure_set(contours, frame="1.2.3")
    from pydicom import Dataset

    image = Dataset()
    image.ReferencedSOPInstanceUID = on.sop_instance_uids[4]
    ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = [image]
    assert dml.read_structure_set(ds).mask("A", on).any()  # drawn on these very images
    with pytest.raises(GeometryError, match="pass on=volume"):
        found.mask("A", None)


def test_open_contours_are_not_filled():
    grid = axial()
    line = ("OPEN_PLANAR", on_slice(grid, 4, ring((20, 30), 9)))
    found = read({"A": [line, on_slice(grid, 5, ring((20, 30), 9)), on_slice(grid, 6, [(1, 1), (2, 2)])]})
    with pytest.warns(DicomMLWarning, match="2 of 3 contours are points, open lines"):
        assert found.mask("A", source_on(grid)).any(axis=(1, 2)).nonzero()[0].tolist() == [5]
    with pytest.raises(EncodingError, match="1 OPEN_PLANAR"):
        read({"A": [line]}).mask("A", source_on(grid))
    with pytest.raises(EncodingError, match="no region has contours"):
        read({"A": [line]}).channels(source_on(grid))


@pytest.mark.parametrize("policy", ["outside", "between", "fill", "combine"])
def test_policies_are_known(policy):
    grid = axial()
    with pytest.raises(EncodingError, match=f"{policy} is '"):
        read(three(grid)).mask("Liver", grid, **{policy: "guess"})
    with pytest.raises(EncodingError, match="overlap is"):
        read(three(grid)).label_map(grid, ["Liver"], overlap="guess")


# ---------------------------------------------------------------------- segmentations
def test_a_segmentation_of_contours(tmp_path):
    grid = oblique()
    found, on = read(three(grid)), source_on(grid)
    kinds = {"GTV": {"type": "SCT:86049000", "category": "SCT:49755003", "label": "Tumour"}}
    found.to_segmentation(on, ["Liver", "Spleen", "GTV"], types=kinds).save(tmp_path / "s.dcm")
    seg = dml.read_segmentation(tmp_path / "s.dcm")
    assert [s.label for s in seg.segments] == ["Liver", "Spleen", "Tumour"]
    assert [s.type.value for s in seg.segments] == ["10200004", "78961009", "86049000"]
    assert all(s.algorithm.is_manual for s in seg.segments)
    assert np.array_equal(seg.channels(on=grid), found.channels(on, ["Liver", "Spleen", "GTV"]))
    with pytest.raises(EncodingError, match=r"what are the regions 'Isocentre'\? .*types"):
        found.to_segmentation(on, ["Liver", "Isocentre"])
    made = found.to_segmentation(on, ["Liver", "Spleen"], kind="labelmap", content_label="ORGANS")
    assert np.array_equal(made.label_map(on=grid), found.label_map(on, ["Liver", "Spleen"]))


@pytest.mark.judge
def test_judges_take_the_segmentation(tmp_path):
    found, on = read(three(axial())), source_on(axial())
    found.to_segmentation(on, ["Liver", "Spleen"], kind="labelmap").save(tmp_path / "l.dcm")
    found.to_segmentation(on, ["Liver", "Spleen", "GTV"]).save(tmp_path / "b.dcm")
    assert dciodvfy(tmp_path / "l.dcm") == [] and dciodvfy(tmp_path / "b.dcm") == []
    theirs = highdicom_read_seg(tmp_path / "b.dcm").get_volume(combine_segments=False)
    assert theirs.array.sum() == found.channels(on, ["Liver", "Spleen", "GTV"]).sum()


def test_who_drew_the_contours():
    grid = axial()
    contours = {"Liver": [on_slice(grid, 4, ring((20, 30), 9))]}

    def made(generation, algorithm=None, **attributes):
        ds = structure_set(contours, **attributes)
        ds.StructureSetROISequence[0].ROIGenerationAlgorithm = generation
        seg = dml.read_structure_set(ds).to_segmentation(source_on(grid), algorithm=algorithm)
        return seg.segments[0].algorithm

    program = {"ManufacturerModelName": "Contourer", "SoftwareVersions": ["2.1", "x"]}
    assert made("AUTOMATIC", **program) == dml.Algorithm("Contourer", "2.1")
    assert made("SEMIAUTOMATIC", **program).type == "SEMIAUTOMATIC"
    assert made("AUTOMATIC", dml.Algorithm("Net", "1"), **program) == dml.Algorithm("Net", "1")
    assert made("", dml.Algorithm("Net", "1")) == dml.Algorithm("Net", "1")
    assert made("MANUAL", dml.Algorithm("Net", "1")).is_manual
    with pytest.raises(EncodingError, match="does not say how it was made"):
        made("AUTOMATIC")


# ---------------------------------------------------------------------- files
def test_what_is_no_structure_set(tmp_path):
    (tmp_path / "x.txt").write_text("hello, this is no DICOM at all" * 20)
    with pytest.raises(FileError, match=r"x\.txt"):
        dml.read_structure_set(tmp_path / "x.txt")
    with pytest.raises(FileError, match="cannot be read"):
        dml.read_structure_set(tmp_path / "absent.dcm")
    ds = structure_set({"A": []})
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    with pytest.raises(FileError, match="is no RT Structure Set"):
        dml.read_structure_set(ds)


def test_contradictions(tmp_path):
    def changed(change):
        ds = structure_set({"A": [np.eye(3)], "B": [np.eye(3)]})
        change(ds)
        ds.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return dml.read_structure_set(tmp_path / "x.dcm")

    def contour(ds):
        return ds.ROIContourSequence[0].ContourSequence[0]

    with pytest.raises(FileError, match="two regions of interest share ROI Number 1"):
        changed(lambda ds: setattr(ds.StructureSetROISequence[1], "ROINumber", 1))
    with pytest.raises(FileError, match="no ROI Number"):
        changed(lambda ds: delattr(ds.StructureSetROISequence[1], "ROINumber"))
    with pytest.raises(FileError, match="do not say which region"):
        changed(lambda ds: delattr(ds.ROIContourSequence[1], "ReferencedROINumber"))
    with pytest.raises(FileError, match="ROI 1, contour 1: its Contour Data holds 4 numbers"):
        changed(lambda ds: setattr(contour(ds), "ContourData", ["1", "2", "3", "4"]))
    with pytest.warns(DicomMLWarning, match="says it has 7 points and has 3"):
        changed(lambda ds: setattr(contour(ds), "NumberOfContourPoints", 7))
    with pytest.warns(DicomMLWarning, match="ROI Number 5 belong to no region"):
        found = changed(lambda ds: setattr(ds.ROIContourSequence[1], "ReferencedROINumber", 5))
    assert found.names == ["A", "B", "ROI 5"]
    with pytest.warns(DicomMLWarning, match="has no points"):
        assert not changed(lambda ds: delattr(contour(ds), "ContourData")).region("A").contours
    found = changed(lambda ds: delattr(ds.ROIContourSequence[0], "ROIDisplayColor"))
    assert found.region("A").color is None


@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=6)), min_size=1, max_size=6), st.integers(0, 3000))
@settings(max_examples=80, deadline=None)
def test_broken_files_are_errors_of_our_own(tmp_path_factory, changes, length):
    folder = tmp_path_factory.mktemp("broken")
    structure_set({"A": [on_slice(axial(), 4, ring((20, 30), 9, 7))], "B": [np.eye(3)]}).save_as(folder / "x.dcm")
    data = bytearray((folder / "x.dcm").read_bytes())
    for place, junk in changes:
        data[place : place + len(junk)] = junk
    (folder / "x.dcm").write_bytes(data[: 3000 - length] if length < 1000 else data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = dml.read_structure_set(folder / "x.dcm")
            for region in found.regions:
                region.bounds, repr(region)
                found.mask(region, axial(), outside="drop", between="nearest")
        except dml.DicomMLError:
            pass


def test_it_can_be_sent_to_workers(tmp_path):
    structure_set(three(axial())).save_as(tmp_path / "x.dcm", enforce_file_format=True)
    found = dml.read_structure_set(tmp_path / "x.dcm")
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.mask("Liver", axial()), found.mask("Liver", axial()))
