"""Series are found, and patients kept apart."""

from __future__ import annotations

import random

import pytest

from dicom_ml.data import find_series, split_by_patient
from dicom_ml.data.records import patient_key
from dicom_ml.errors import SeriesError
from tests.series import write_series


def test_finds_series_with_their_segmentations(cohort):
    records = find_series(cohort)
    assert len(records) == 4
    for name, record in zip("abcd", records, strict=True):
        assert len(record["image"]) == 12 and all(f"/{name}/ct/" in f for f in record["image"])
        assert record["label"] == [str(cohort / name / "liver.seg.dcm")]
        assert record["modality"] == "CT"
        assert "P1" not in str(record["patient"]) and "Doe" not in str(record)
    assert records[0]["patient"] == records[1]["patient"] != records[2]["patient"]
    assert "label" not in find_series(cohort, labels=False)[0]


def test_doses_and_maps_are_no_image_series(cohort, tmp_path):
    import pydicom

    write_series(tmp_path / "ct")
    for number, sop_class in enumerate(("1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.30")):
        ds = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.SeriesInstanceUID = f"1.2.3.{number}"
        ds.save_as(tmp_path / f"{number}.dcm")
    assert len(find_series(tmp_path)) == 1


def test_finds_nothing(tmp_path, cohort):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SeriesError, match="no image series"):
        find_series(tmp_path)
    with pytest.raises(SeriesError, match=r"\('MR',\)"):
        find_series(cohort, modalities=("MR",))
    with pytest.raises(SeriesError, match="no folder"):
        find_series(tmp_path / "absent")


def test_no_patient_in_two_parts(cohort):
    records = find_series(cohort)
    for seed in range(20):
        parts = split_by_patient(records, {"train": 0.5, "val": 0.5}, seed)
        patients = [{r["patient"] for r in part} for part in parts.values()]
        assert not patients[0] & patients[1]
        assert sum(map(len, parts.values())) == 4
        assert all(parts.values())


def records_of(n):
    return [{"image": f"i{k}", "patient": f"p{k // 2}"} for k in range(n)]


def test_split_depends_on_seed_and_patients_only():
    records = records_of(200)
    shuffled = records[:]
    random.Random(1).shuffle(shuffled)
    as_sets = [[{r["image"] for r in part} for part in split_by_patient(data, seed=3)] for data in (records, shuffled)]
    assert as_sets[0] == as_sets[1]
    assert [len(p) for p in as_sets[0]] == [140, 30, 30]
    assert [{r["image"] for r in part} for part in split_by_patient(records, seed=4)] != as_sets[0]


def test_stable_split_moves_nobody():
    before = split_by_patient(records_of(200), (0.6, 0.4), stable=True)
    after = split_by_patient(records_of(400), (0.6, 0.4), stable=True)
    for old, new in zip(before, after, strict=True):
        assert {r["patient"] for r in old} <= {r["patient"] for r in new}
    assert 0.5 < len(after[0]) / 400 < 0.7


def test_patient_is_read_from_the_images(cohort, tmp_path):
    folder = cohort / "a" / "ct"
    keys = {patient_key(folder), patient_key(str(folder)), patient_key({"image": sorted(folder.iterdir())})}
    assert len(keys) == 1 and keys == {patient_key(cohort / "b" / "ct")} != {patient_key(cohort / "c" / "ct")}
    write_series(tmp_path, patient="")
    with pytest.raises(SeriesError, match="no Patient ID"):
        patient_key(tmp_path)


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (), (-0.5, 1.5)])
def test_fractions(fractions):
    with pytest.raises(SeriesError, match="add up to 1"):
        split_by_patient(records_of(4), fractions)
