"""The judges themselves: they must see a fault, and read a good file."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from tests import judges

pytestmark = pytest.mark.judge


@pytest.fixture
def ct_seg(shared_data):
    return shared_data / "d_derived" / "highdicom" / "seg_image_ct_binary.dcm"


def test_dciodvfy_accepts_and_objects(ct_seg, tmp_path):
    before = judges.dciodvfy(ct_seg)
    ds = pydicom.dcmread(ct_seg)
    del ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence
    ds.save_as(tmp_path / "broken.dcm")
    new = set(judges.dciodvfy(tmp_path / "broken.dcm")) - set(before)
    assert any("SegmentedPropertyTypeCodeSequence" in line for line in new)


def test_dciodvfy_must_know_the_object(ct_seg, tmp_path):
    ds = pydicom.dcmread(ct_seg)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.3.4"
    ds.save_as(tmp_path / "unknown.dcm")
    assert any("did not recognise" in line for line in judges.dciodvfy(tmp_path / "unknown.dcm"))


def test_dciodvfy_laterality_is_no_error_of_ours(shared_data, tmp_path):
    head = pydicom.dcmread(shared_data / "a_ct" / "slicer_cthead64" / "CTHead34.dcm")
    head.pop("BodyPartExamined", None)
    head.save_as(tmp_path / "head.dcm")
    assert not any("Laterality" in line for line in judges.dciodvfy(tmp_path / "head.dcm"))
    head.BodyPartExamined = "KIDNEY"
    head.save_as(tmp_path / "kidney.dcm")
    assert any("Laterality" in line for line in judges.dciodvfy(tmp_path / "kidney.dcm"))


def test_dcmqi_and_highdicom_agree(ct_seg, tmp_path):
    ours = judges.dcmqi_read_seg(ct_seg, tmp_path)
    theirs = judges.highdicom_read_seg(ct_seg)
    assert set(ours.arrays) == set(theirs.segment_numbers)
    volume = theirs.get_volume(rescale_fractional=False, combine_segments=False)
    number = next(iter(ours.arrays))
    array = np.asarray(volume.array)[..., number - 1]
    assert ours.arrays[number].sum() == array.sum()
    assert ours.attributes[number]["SegmentLabel"] == theirs.SegmentSequence[0].SegmentLabel


def test_dcmdump_objects(ct_seg, tmp_path):
    assert judges.dcmdump(ct_seg) == []
    (tmp_path / "cut.dcm").write_bytes(ct_seg.read_bytes()[:3000])
    assert judges.dcmdump(tmp_path / "cut.dcm")


def test_an_absent_judge_skips_or_fails(monkeypatch):
    monkeypatch.delenv("DICOM_ML_REQUIRE_JUDGES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="judge Nobody is not installed"):
        judges.need("no_such_module", "Nobody")
    monkeypatch.setenv("DICOM_ML_REQUIRE_JUDGES", "1")
    with pytest.raises(pytest.fail.Exception, match="judge Nobody is not installed"):
        judges.need("no_such_module", "Nobody")
