"""Every real segmentation at hand: read as independent readers read it, or refused for its true cause."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from tests.conftest import data_folder
from tests.judges import need
from tests.real_files import named

#: File (under the data folder) -> None where it reads, else the error that names what is wrong with it.
TABLE: dict[str, str | None] = {
    "d_derived/dcmjs/examples_data_QIICR_Test3_tumor_User1_Manual_Trial1.dcm": None,
    "d_derived/dcmqi/segmentations/23x38x3/seg/label.seg": None,
    "d_derived/dcmqi/segmentations/24x38x3/seg/label.seg": None,
    "d_derived/dcmqi/segmentations/liver.dcm": None,
    "d_derived/dcmqi/segmentations/partial_overlaps.dcm": None,
    "d_derived/dcmqi/segmentations/sparse-labelmap-noppv.dcm": None,
    "d_derived/dcmqi/segmentations/sparse-labelmap-ppv5.dcm": None,
    "d_derived/dcmqi/sr-example/seg.dcm": None,
    "d_derived/highdicom/seg_image_ct_binary.dcm": None,
    "d_derived/highdicom/seg_image_ct_binary_fractional.dcm": None,
    "d_derived/highdicom/seg_image_ct_binary_overlap.dcm": None,
    "d_derived/highdicom/seg_image_ct_binary_single_frame.dcm": None,
    "d_derived/highdicom/seg_image_ct_true_fractional.dcm": None,
    "d_derived/pydicom_rt_sr/liver.dcm": None,
    "d_derived/pydicom_rt_sr/liver_expb.dcm": None,
    "d_derived/pydicom_seg_pm/liver.dcm": None,
    "d_derived/pydicom_seg_pm/liver_deflate.dcm": None,
    "d_derived/pydicom_seg_pm/liver_expb.dcm": None,
    "d_derived/pydicom_seg_pm/liver_j2k.dcm": None,
    "d_derived/pydicom_seg_pm/liver_nonbyte_aligned.dcm": None,
    "d_derived/pydicom_seg_pm/liver_nonbyte_aligned_deflate.dcm": None,
    "d_derived/pydicom_seg_pm/liver_nonbyte_aligned_j2k.dcm": None,
    "d_derived/pydicom_seg_pm/liver_nonbyte_aligned_rle.dcm": None,
    "d_derived/pydicom_seg_pm/liver_rle.dcm": None,
    # a header cut down to one frame that kept the groups of three
    "d_derived/pydicom_rt_sr/liver_1frame.dcm": "has 1 frames but functional groups of 3",
    "d_derived/pydicom_rt_sr/liver_expb_1frame.dcm": "has 1 frames but functional groups of 3",
    "e_edge/pydicom/test_files/liver_1frame.dcm": "has 1 frames but functional groups of 3",
    "e_edge/pydicom/test_files/liver_expb_1frame.dcm": "has 1 frames but functional groups of 3",
    # without a place in patient space: a projection radiograph, and a file of one frame and nothing else
    "d_derived/highdicom/seg_image_cr_binary.dcm": "frames have no position",
    "d_derived/dicom_swift_synthetic/ClinicalInterop/seg_binary.dcm": "frames have no position",
}
#: Of slides; :func:`test_segmentations_of_slides` reads them.
SLIDES = [
    f"d_derived/highdicom/seg_image_sm_{name}.dcm"
    for name in ("control", "control_labelmap", "control_labelmap_palette_color", "dots", "dots_tiled_full", "numbers")
]
#: Files in transfer syntaxes that pydicom does not decode at one bit a pixel, and the same frames, native.
PLAIN = {
    "/liver_deflate.dcm": "liver.dcm",
    "/liver_rle.dcm": "liver.dcm",
    "nonbyte_aligned_deflate.dcm": "liver_nonbyte_aligned.dcm",
    "nonbyte_aligned_rle.dcm": "liver_nonbyte_aligned.dcm",
}
READABLE = [name for name, error in TABLE.items() if error is None]


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_the_table_is_complete(shared_data):
    def is_segmentation(head):  # registrations have the same root
        return head.sop_class in ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

    assert named(shared_data, is_segmentation) == set(TABLE) | set(SLIDES)


@pytest.mark.parametrize("name", [n for n, error in TABLE.items() if error])
def test_refused_for_its_true_cause(shared_data, name):
    with pytest.raises(dml.FileError, match=f"{re.escape(Path(name).name)}.*{TABLE[name]}"):
        dml.read_segmentation(shared_data / name).label_map()


@pytest.mark.parametrize("name", READABLE)
def test_stored_values_are_those_of_pydicom(shared_data, name):
    """Frame by frame, placed by a reading of the functional groups that shares no code with ours."""
    seg = dml.read_segmentation(shared_data / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(shared_data / name)
        # what pydicom cannot decode stands in the same folder in a form that it can
        plain = next((p for end, p in PLAIN.items() if name.endswith(end)), Path(name).name)
        frames = pydicom.dcmread((shared_data / name).with_name(plain)).pixel_array.reshape(-1, ds.Rows, ds.Columns)
    got = seg.channels()
    labelmap = ds.SegmentationType == "LABELMAP" if "SegmentationType" in ds else False
    total = np.zeros(len(seg.segments))
    shared = ds.SharedFunctionalGroupsSequence[0]
    numbers = [s.number for s in seg.segments]
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        orientation = (groups if "PlaneOrientationSequence" in groups else shared).PlaneOrientationSequence[0]
        d = round(float(seg.grid.to_index(position)[0]))
        np.testing.assert_allclose(seg.grid.position(d), position, atol=0.02)
        np.testing.assert_allclose(
            seg.grid.orientation, np.array(orientation.ImageOrientationPatient, float), atol=1e-4
        )
        if labelmap:
            for i, number in enumerate(numbers):
                np.testing.assert_array_equal(got[i, d], frame == number)
                total[i] += (frame == number).sum()
            continue
        own = groups if "SegmentIdentificationSequence" in groups else shared
        i = numbers.index(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        expected = frame / ds.MaximumFractionalValue if ds.SegmentationType == "FRACTIONAL" else frame
        np.testing.assert_allclose(got[i, d], expected, atol=1e-6)
        total[i] += expected.sum()
    np.testing.assert_allclose(got.sum(axis=(1, 2, 3), dtype=float), total, rtol=1e-6)


@pytest.mark.judge
@pytest.mark.parametrize("name", [n for n in READABLE if "expb" not in n and "deflate" not in n and "nonbyte" not in n])
def test_equal_to_highdicom(shared_data, name):
    need("highdicom", "highdicom")
    import highdicom

    try:
        theirs = highdicom.seg.segread(str(shared_data / name))
        chosen = dml.read_segmentation(shared_data / name).segments
        volume = theirs.get_volume(
            segment_numbers=[s.number for s in chosen], combine_segments=False, allow_missing_positions=True
        )
    except Exception as error:
        pytest.skip(f"highdicom does not read it: {str(error)[:80]}")
    seg = dml.read_segmentation(shared_data / name)
    grid = dml.Grid(volume.spatial_shape, volume.affine)
    np.testing.assert_allclose(seg.channels(on=grid), np.moveaxis(volume.array, -1, 0), atol=1e-6)


@pytest.mark.judge
@pytest.mark.parametrize("name", SLIDES)
def test_segmentations_of_slides(shared_data, name):
    highdicom = need("highdicom", "highdicom")
    theirs = highdicom.seg.segread(str(shared_data / name))
    seg = dml.read_segmentation(shared_data / name)
    assert seg.is_tiled
    assert seg.grid.shape == (1, theirs.TotalPixelMatrixRows, theirs.TotalPixelMatrixColumns)
    numbers = [s.number for s in seg.segments]
    matrix = theirs.get_total_pixel_matrix(combine_segments=False, segment_numbers=numbers)
    np.testing.assert_allclose(seg.channels(), np.moveaxis(matrix, -1, 0), atol=1e-6)
    part = seg.read_region((3, 5), (20, 11), channels=True)
    np.testing.assert_array_equal(part, seg.channels()[:, 3:23, 5:16])
    geometry = theirs.get_volume_geometry()
    if geometry is not None:
        np.testing.assert_allclose(np.abs(geometry.spacing[1:]), seg.grid.spacing[1:], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("liver.dcm", {1: "liver_seg.nrrd"}),
        ("sparse-labelmap-noppv.dcm", {1: "sparse_labelmap_noppv_seg.nrrd"}),
        ("sparse-labelmap-ppv5.dcm", {1: "sparse_labelmap_ppv5_seg.nrrd"}),
        ("23x38x3/seg/label.seg", {1: "23x38x3/nrrd/label.nrrd"}),
        ("24x38x3/seg/label.seg", {1: "24x38x3/nrrd/label.nrrd"}),
    ],
)
def test_equal_to_what_they_were_made_from(shared_data, name, truth):
    sitk = need("SimpleITK", "SimpleITK")
    folder = shared_data / "d_derived/dcmqi/segmentations"
    seg = dml.read_segmentation(folder / name)
    for number, nrrd in truth.items():
        image = sitk.ReadImage(str(folder / nrrd))
        array = sitk.GetArrayFromImage(image)
        affine = np.eye(4)
        affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
        affine[:3, 3] = image.GetOrigin()
        on = dml.Grid(array.shape, affine)
        np.testing.assert_array_equal(seg.channels(on=on, segments=[number])[0], array == number)


def test_old_codes_are_the_same_concepts(shared_data):
    seg = dml.read_segmentation(shared_data / "d_derived/dcmqi/segmentations/liver.dcm")
    assert seg.segments[0].type == dml.Segment("x", type="SCT:10200004", category="SCT:123037004").type
    np.testing.assert_array_equal(seg.label_map(segments=["SCT:10200004"]), seg.label_map(segments=["SRT:T-62000"]))


def test_a_segmentation_over_its_own_images(shared_data):
    """dcmqi's liver over the three CT slices it was drawn on."""
    folder = shared_data / "d_derived/dcmqi/segmentations"
    volume = dml.read_volume(folder / "ct-3slice")
    seg = dml.read_segmentation(folder / "liver.dcm")
    on = seg.label_map(on=volume)
    assert on.shape == volume.array.shape
    np.testing.assert_array_equal(on, seg.label_map(on=seg.grid))
    inside = volume.array[on > 0]
    assert 0 < inside.mean() < 200  # HU of a liver
