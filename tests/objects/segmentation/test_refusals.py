"""What cannot be written, or must not be believed, is refused with an error that says what to do."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.source import SourceSeries

from .scenes import NET, axial, label_map, oblique, segments, source_on

LIVER = {"type": "SCT:10200004", "category": "SCT:123037004"}


@pytest.fixture
def scene():
    grid = oblique()
    return label_map(grid.shape), source_on(grid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": []}, "at least one segment"),
        ({"segments": segments(2)}, "values that no segment has: 3"),
        ({"kind": "surface"}, "kind is one of"),
        ({"segments": [dml.Segment("Liver", **LIVER)] * 3}, "does not say how it was made"),
        ({"max_fractional_value": 256}, "1 to 255"),
        ({"max_fractional_value": 0}, "1 to 255"),
        ({"fractional_type": "likelihood"}, "probability"),
        ({"colour": 1}, "unknown settings"),
        ({"mask": np.zeros((3, 4, 5), np.uint8)}, "shape"),
        ({"mask": np.zeros((9, 40, 64), complex)}, "dtype"),
        ({"mask": np.zeros((2, 9, 40, 64), bool)}, "2 channels"),
        ({"mask": np.zeros((9, 40, 64), bool)}, "one channel"),
        ({"mask": np.full((3, 9, 40, 64), 0.5)}, "found fractions"),
        ({"mask": np.full((3, 9, 40, 64), 2)}, "integers are 0 or 1"),
        ({"mask": np.full((3, 9, 40, 64), np.nan), "kind": "fractional"}, "nan"),
        ({"mask": np.full((3, 9, 40, 64), 1.5), "kind": "fractional"}, "fractions lie from 0 to 1"),
        ({"mask": np.full((3, 9, 40, 64), -0.5), "kind": "fractional"}, "fractions lie from 0 to 1"),
        ({"source": "series/"}, "read the series first"),
        ({"source": 7}, "a source is"),
    ],
)
def test_from_array(scene, change, message):
    mask, source = scene
    arguments = {"mask": mask, "source": source, "segments": segments(3), **change}
    with pytest.raises(dml.DicomMLError, match=message):
        dml.Segmentation.from_array(arguments.pop("mask"), **arguments)


def test_negative_labels_are_refused(scene):
    mask, source = scene
    mask = mask.astype(np.int16)
    mask[2, 2, 2] = -1
    with pytest.raises(dml.EncodingError, match=r"-1 \(first on slice 2\)"):
        dml.Segmentation.from_array(mask, source=source, segments=segments(3))


def test_sources_with_problems_are_refused(scene):
    mask, source = scene
    broken = source_on(source.grid, problems=("SOPInstanceUID is missing in 9 files",))
    with pytest.raises(dml.SeriesError, match="SOPInstanceUID is missing in 9 files"):
        dml.Segmentation.from_array(mask, source=broken, segments=segments(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": ""}, "needs a label"),
        ({"label": "x" * 65}, "64 characters"),
        ({"label": "a\\b"}, "backslash"),
        ({"type": "liver"}, "liver"),
        ({"type": "SCT:1"}, "meaning"),
        ({"number": 0}, "1 to 65535"),
        ({"number": 70000}, "1 to 65535"),
        ({"color": "red"}, "#rrggbb"),
        ({"color": (1, 2)}, "colour"),
        ({"algorithm": "OrganNet"}, "Algorithm"),
        ({"anatomy_modifiers": ["SCT:7771000"]}, "no region"),
    ],
)
def test_segments(arguments, message):
    with pytest.raises(dml.DicomMLError, match=message):
        dml.Segment(**{"label": "Liver", **LIVER, **arguments})


def test_algorithms():
    with pytest.raises(dml.EncodingError, match="name and a version"):
        dml.Algorithm("Net")
    with pytest.raises(dml.EncodingError, match="type"):
        dml.Algorithm("Net", "1", type="MAGIC")
    assert dml.Algorithm("Net", 2).version == "2"


def test_numbers_are_all_given_or_none(scene):
    mask, source = scene
    some = [dml.Segment("A", **LIVER, algorithm=NET, number=1), dml.Segment("B", **LIVER, algorithm=NET)]
    twice = [dml.Segment(n, **LIVER, algorithm=NET, number=1) for n in "AB"]
    for described, message in ((some, "some have one"), (twice, "share a number")):
        with pytest.raises(dml.EncodingError, match=message):
            dml.Segmentation.from_array(mask, source=source, segments=described, kind="labelmap")


# ---------------------------------------------------------------------- files that contradict themselves
@pytest.fixture
def dataset(scene):
    mask, source = scene
    return dml.Segmentation.from_array(mask, source=source, segments=segments(3)).dataset


def reread(dataset, tmp_path) -> dml.Segmentation:
    dataset.save_as(tmp_path / "changed.dcm")
    return dml.read_segmentation(tmp_path / "changed.dcm")


def test_a_changed_file_that_is_still_right(dataset, tmp_path, scene):
    """The base of the tests below: pydicom's own writing of the object reads the same."""
    seg = reread(dataset, tmp_path)
    np.testing.assert_array_equal(seg.label_map(on=scene[1]), scene[0])


def test_frame_counts_must_agree(dataset, tmp_path):
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(dml.FileError, match=r"changed\.dcm: has \d+ frames but functional groups of \d+"):
        reread(dataset, tmp_path)


def test_undescribed_segments(dataset, tmp_path):
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
    with pytest.raises(dml.FileError, match="refer to segment 9, which is not described"):
        reread(dataset, tmp_path)


def test_frames_of_no_segment(dataset, tmp_path):
    del dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence
    with pytest.raises(dml.FileError, match="does not say which segment"):
        reread(dataset, tmp_path)


def test_missing_positions(dataset, tmp_path, scene):
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    seg = reread(dataset, tmp_path)
    with pytest.raises(dml.FileError, match=r"1 of .* frames have no position"):
        seg.label_map(on=scene[1])


def test_two_frames_at_one_place(dataset, tmp_path, scene):
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
    with pytest.raises(dml.FileError, match="held by two frames"):
        reread(dataset, tmp_path).label_map(on=scene[1])


def test_truncated_pixels(dataset, tmp_path, scene):
    dataset.PixelData = dataset.PixelData[:-200]
    with pytest.raises(dml.FileError, match=r"changed\.dcm"):
        reread(dataset, tmp_path).label_map(on=scene[1])


def test_no_pixels_no_segments_no_type(dataset, tmp_path, scene):
    changes = (
        ("SegmentSequence", "describes no segments"),
        ("Rows", "Rows is missing"),
        ("PixelData", "no pixel data"),
    )
    for keyword, message in changes:
        kept = dataset[keyword]
        del dataset[keyword]
        with pytest.raises(dml.FileError, match=message):
            reread(dataset, tmp_path).label_map(on=scene[1])
        dataset.add(kept)


def test_other_files(tmp_path):
    for content, message in ((b"", "empty"), (b"hello" * 100, "no DICOM file|cannot be parsed")):
        (tmp_path / "x.dcm").write_bytes(content)
        with pytest.raises(dml.FileError, match=f"x.dcm.*({message})"):
            dml.read_segmentation(tmp_path / "x.dcm")
    with pytest.raises(dml.FileError, match="cannot be opened"):
        dml.read_segmentation(tmp_path / "absent.dcm")
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "CT"
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(dml.FileError, match="no DICOM Segmentation"):
        dml.read_segmentation(tmp_path / "ct.dcm")


def test_planes_that_are_not_equally_spaced(dataset, tmp_path, scene):
    frames = dataset.PerFrameFunctionalGroupsSequence
    position = frames[1].PlanePositionSequence[0]
    normal = scene[1].grid.normal
    position.ImagePositionPatient = [
        f"{float(v) + 1.1 * n:.6f}" for v, n in zip(position.ImagePositionPatient, normal, strict=True)
    ]
    seg = reread(dataset, tmp_path)
    with pytest.raises(dml.GeometryError, match="not equally spaced"):
        seg.label_map()
    with pytest.raises(dml.GeometryError, match="do not lie on the voxels"):
        seg.label_map(on=scene[1])


def test_a_grid_a_little_off_is_refused(scene):
    mask, source = scene
    seg = dml.Segmentation.from_array(mask, source=source, segments=segments(3))
    for shift in ([0, 0.4, 0], [0.4, 0, 0]):
        with pytest.raises(dml.GeometryError, match="do not lie on the voxels"):
            seg.label_map(on=source.grid.crop(shift, source.grid.shape))
    with pytest.raises(dml.GeometryError, match="do not lie on the voxels"):
        seg.label_map(on=axial())


def test_a_failed_save_leaves_what_was_there(tmp_path, scene):
    mask, source = scene
    path = tmp_path / "seg.dcm"
    path.write_bytes(b"older")
    seg = dml.Segmentation.from_array(mask, source=source, segments=segments(3))
    with pytest.raises(dml.EncodingError):
        seg.save(path, compression="jpeg-ls")
    with pytest.raises(dml.EncodingError, match="cannot write compression"):
        seg.save(path, compression="zip")
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["seg.dcm"]


def test_a_source_without_a_grid(scene):
    bare = source_on(scene[1].grid).on(None)
    assert isinstance(bare, SourceSeries)
    with pytest.raises(dml.GeometryError, match="no grid of its own"):
        dml.Segmentation.from_array(scene[0], source=bare, segments=segments(3))
