"""Real files of many makers: what is sound is not blamed, what is not is told as dciodvfy tells it."""

from __future__ import annotations

import warnings

import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.iod.tables import iod_of
from tests.judges import dciodvfy

#: Files in which neither dciodvfy nor validation finds an error.
SOUND = [
    "b_wsi/cmu1_he_pyramid_jpeg/label_387x463.dcm",
    "b_wsi/highdicom_tiny/sm_image.dcm",
    "b_wsi/highdicom_tiny/sm_image_jpegls_nobot.dcm",
    "d_derived/dcmjs/examples_data_QIICR_Test3_tumor_User1_Manual_Trial1.dcm",
    "d_derived/dcmqi/segmentations/liver.dcm",
    "d_derived/dcmqi/segmentations/partial_overlaps.dcm",
    "d_derived/dcmqi/segmentations/sparse-labelmap-noppv.dcm",
    "d_derived/dcmqi/segmentations/sparse-labelmap-ppv5.dcm",
    "d_derived/dcmqi/sr-example/seg.dcm",
    "d_derived/dcmqi/sr-example/sr.dcm",
    "d_derived/highdicom/ct_image.dcm",
    "d_derived/highdicom/seg_image_ct_binary.dcm",
    "d_derived/highdicom/seg_image_ct_binary_fractional.dcm",
    "d_derived/highdicom/seg_image_ct_binary_overlap.dcm",
    "d_derived/highdicom/seg_image_ct_true_fractional.dcm",
    "d_derived/highdicom/seg_image_sm_control_labelmap.dcm",
    "d_derived/highdicom/seg_image_sm_control_labelmap_palette_color.dcm",
    "d_derived/highdicom/seg_image_sm_dots_tiled_full.dcm",
    "d_derived/pydicom_rt_sr/liver.dcm",
    "d_derived/pydicom_rt_sr/liver_expb.dcm",
]
#: Files with faults that dciodvfy does not see: a part of what is found.
UNSEEN = {
    # rows and columns of the matrix taken for each other by an early release of the writer
    "d_derived/highdicom/seg_image_sm_control.dcm": "is not where row 1, column 41 lies",
    "d_derived/highdicom/seg_image_sm_dots.dcm": "is not where row 41, column 1 lies",
    "d_derived/highdicom/sr_document.dcm": "is missing of a measurement group",
    "d_derived/highdicom/sr_document_with_multiple_groups.dcm": "is open",
    "d_derived/dcmjs/test_sample-sr.dcm": "is missing of a measurement group",
}
#: Files in which both find errors: attributes that both name.
SEEN = {
    "b_wsi/openslide_boxes/boxes_0.dcm": {"0020,1040"},
    "d_derived/pydicom_rt_sr/liver_1frame.dcm": {"0028,0008"},
    "d_derived/dicom_swift_synthetic/ClinicalInterop/gsps_annotation.dcm": {"0020,0013"},
    "d_derived/dicom_swift_synthetic/ClinicalInterop/seg_binary.dcm": {"0020,9221", "0062,0003", "0062,000F"},
    "d_derived/dicom_swift_synthetic/StructuredReports/kos_key_object_selection.dcm": {"0008,0023", "0008,1111"},
    "d_derived/dcmqi/segmentations/ct-3slice/01.dcm": {"0008,0005"},
}


def found(path, severity="error"):
    return [str(f) for f in dml.validate(path) if f.severity == severity]


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_not_blamed(name, shared_data):
    assert found(shared_data / name) == []


@pytest.mark.parametrize("name", UNSEEN)
def test_faults_that_others_do_not_see(name, shared_data):
    assert any(UNSEEN[name] in text for text in found(shared_data / name))


@pytest.mark.judge
@pytest.mark.parametrize("name", SEEN)
def test_faults_are_those_that_dciodvfy_names(name, shared_data):
    ours, theirs = "\n".join(found(shared_data / name)), "\n".join(dciodvfy(shared_data / name))
    for tag in SEEN[name]:
        assert tag in ours and tag.lower() in theirs.lower(), tag


@pytest.mark.judge
@pytest.mark.parametrize("name", SOUND)
def test_dciodvfy_agrees_on_the_sound(name, shared_data):
    assert dciodvfy(shared_data / name) == []


@pytest.mark.parametrize("folder", ["d_derived", "e_edge"])
def test_no_real_file_stops_it(folder, shared_data):
    checked = 0
    for path in sorted((shared_data / folder).rglob("*")):
        if path.is_file() and path.stat().st_size < 300_000:
            try:
                dml.validate(path)
                checked += 1
            except dml.FileError:
                continue
    assert checked > 50


def test_series_of_scanners(shared_data):
    """CT series as they came from scanners: what is found is missing or malformed attributes, never contradictions."""
    for folder in ("cip_chest64/ct-64Dicom", "lungdx_A0002_8mm_B40f", "monai_ct4"):
        paths = sorted((shared_data / "a_ct" / folder).rglob("*.dcm"))[:4]
        if not paths:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert iod_of(str(pydicom.dcmread(paths[0], stop_before_pixels=True).SOPClassUID)) is not None
        for finding in dml.validate(paths):
            if finding.severity == "error":
                assert any(word in finding.message for word in ("is missing", "is empty", "is not ", "VR")), finding
