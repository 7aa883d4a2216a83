"""Nothing of the originals is left, and everything that refers to something still does."""

from __future__ import annotations

import re
import stat

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.pseudonyms import Pseudonyms, pseudonymise, pseudonymise_folder
from tests import judges

SECRETS = ("MUSTERFRAU", "ID-4711", "ACC-815", "St. Elsewhere", "Dr^Who", "19700102", "Serial-99", "in the notes")


@pytest.fixture
def cohort(tmp_path):
    """A series that says a lot about its patient, with a segmentation and a report made from it."""
    folder = tmp_path / "cohort"
    array = np.random.default_rng(0).integers(-1000, 400, (5, 20, 24)).astype(np.float32)
    write_ct_series(folder / "ct", array, axial_affine(array.shape, (2.5, 0.8, 0.9), (5.0, -7.0, 100.0)), "pseudonyms")
    for path in (folder / "ct").iterdir():
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "MUSTERFRAU^ERIKA", "ID-4711", "19700102"
        ds.AccessionNumber, ds.InstitutionName, ds.ReferringPhysicianName = "ACC-815", "St. Elsewhere", "Dr^Who"
        ds.DeviceSerialNumber, ds.StudyDate, ds.PatientComments = "Serial-99", "20240229", "in the notes"
        ds.StudyDescription = ds.SeriesDescription = "MUSTERFRAU knee"
        ds.private_block(0x0099, "MAKER", create=True).add_new(1, "LO", "MUSTERFRAU")
        item = pydicom.Dataset()
        item.RequestedProcedureDescription, item.ScheduledProcedureStepID = "MUSTERFRAU", "ID-4711"
        ds.RequestAttributesSequence = pydicom.Sequence([item])
        ds.save_as(path)
    volume = dml.read_volume(folder / "ct")
    mask = (array > 0).astype(np.uint8)
    made_by = dml.Algorithm("Net", "1.0")
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm=made_by)
    dml.Segmentation.from_array(mask, source=volume, segments=[segment], kind="binary").save(folder / "liver.seg.dcm")
    group = dml.MeasurementGroup(
        finding="SCT:27925004", tracking_id="ID-4711 lesion", region=dml.Box((0, 1, 2), (2, 5, 6)),
        measurements=[dml.Measurement("SCT:81827009", 7.3, "mm")],
    )  # fmt: skip
    dml.Report(source=volume, algorithm=made_by, groups=[group]).save(folder / "nodules.sr.dcm")
    return folder


@pytest.fixture
def key():
    return Pseudonyms(b"0123456789abcdef0123456789abcdef")


def test_nothing_of_the_originals_is_left(cohort, tmp_path, key):
    uids = {uid for path in cohort.rglob("*.dcm") for uid in _uids(pydicom.dcmread(path))}
    done = pseudonymise_folder(cohort, tmp_path / "out", key)
    assert len(done.files) == 7 and not done.left_out
    for path in done.files:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, (path, secret)
        for uid in uids:
            assert uid.encode() not in content, (path, uid)
            assert uid not in str(path)
        ds = pydicom.dcmread(path)
        assert ds.PatientIdentityRemoved == "YES" and ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert not [element for element in ds.iterall() if element.tag.is_private]


def _uids(ds):
    return {
        str(part)
        for element in ds.iterall()
        if element.VR == "UI" and element.value
        for part in (element.value if element.VM > 1 else [element.value])
        if not str(part).startswith("1.2.840.10008.")
    }


def test_what_refers_to_what_stays_true(cohort, tmp_path, key):
    before = dml.read_volume(cohort / "ct")
    pseudonymise_folder(cohort, tmp_path / "out", key)
    index = dml.scan(tmp_path / "out")
    assert index.counts()["series"] == 3 and index.counts()["patients"] == 1 and index.counts()["studies"] == 1
    assert index.dangling() == []
    (ct,) = index.series(modality="CT")
    volume = dml.read_volume(ct)
    np.testing.assert_array_equal(volume.array, before.array)
    np.testing.assert_array_equal(volume.affine, before.affine)
    (seg,) = index.series(modality="SEG")
    np.testing.assert_array_equal(
        dml.read_segmentation(seg.files[0]).label_map(on=volume),
        dml.read_segmentation(cohort / "liver.seg.dcm").label_map(on=before),
    )
    (sr,) = index.series(modality="SR")
    (old,), (new,) = (dml.read_report(path).groups for path in (cohort / "nodules.sr.dcm", sr.files[0]))
    assert new.region == old.region and new.measurements == old.measurements and new.finding == old.finding
    assert new.tracking_id != old.tracking_id and new.tracking_uid == key.uid(old.tracking_uid)


def test_files_still_conform(cohort, tmp_path, key):
    for path in pseudonymise_folder(cohort, tmp_path / "out", key).files:
        assert judges.dciodvfy(path) == [], path


def test_inputs_and_outputs_may_come_at_different_times(cohort, tmp_path, key):
    together = pseudonymise_folder(cohort, tmp_path / "a", key)
    apart = pseudonymise_folder(cohort / "ct", tmp_path / "b", Pseudonyms(key._key))
    assert {path.name for path in apart.files} <= {path.name for path in together.files}
    other = pseudonymise_folder(cohort / "ct", tmp_path / "c", Pseudonyms(b"another key of enough length"))
    assert not {path.name for path in apart.files} & {path.name for path in other.files}


def test_intervals_stay(key):
    days = [key.date(day, "p") for day in ("20240229", "20240331", "20240229120000.5")]
    assert days[0] != "20240229" and days[2] == days[0] + "120000.5"
    first, second = (np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:8]}") for d in days[:2])
    assert second - first == np.timedelta64(31, "D")
    assert key.date("20240229", "other") != days[0]
    assert key.date("no date", "p") == "" and key.date("2024", "p")[:3] in ("202", "201")


def test_uids_are_uids(key):
    for uid in ("1.2.3", "1.2.826.0.1.3680043.8.498.1"):
        assert re.fullmatch(r"2\.25\.[1-9][0-9]{1,38}", key.uid(uid))
    assert key.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert key.uid("1.2.3") == key.uid("1.2.3 ") != key.uid("1.2.4")


def test_pixels_that_show_who_it_is_are_left_out(cohort, tmp_path, key):
    path = sorted((cohort / "ct").iterdir())[0]
    ds = pydicom.dcmread(path)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(path)
    done = pseudonymise_folder(cohort, tmp_path / "out", key)
    assert len(done.files) == 6 and "burned into its pixels" in done.left_out[0]
    with pytest.raises(dml.EncodingError):
        pseudonymise(ds, key)
    ds.BurnedInAnnotation, ds.Modality, ds.ImageType = "NO", "SM", ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    with pytest.raises(dml.EncodingError, match="label image"):
        pseudonymise(ds, key)


def test_keys(tmp_path):
    path = tmp_path / "project.key"
    first = Pseudonyms.from_file(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Pseudonyms.from_file(path).uid("1.2.3") == first.uid("1.2.3")
    assert path.read_text().strip() not in repr(first)
    with pytest.raises(dml.EncodingError, match="needs 16"):
        Pseudonyms(b"short")
    with pytest.raises(dml.FileError):
        Pseudonyms.from_file(tmp_path / "none")
    path.write_text("not hexadecimal")
    with pytest.raises(dml.FileError, match="holds no key"):
        Pseudonyms.from_file(path)


def test_command(cohort, tmp_path, capsys):
    command = ["pseudonymise", str(cohort), str(tmp_path / "out"), "--key", str(tmp_path / "k")]
    assert main(command) == 0
    assert "7 files" in capsys.readouterr().out
    assert main(command) == 0  # and again: nothing new
    assert main(["pseudonymise", str(cohort), str(cohort / "in"), "--key", str(tmp_path / "k")]) == 2
    told = "".join(capsys.readouterr())
    assert not any(secret in told for secret in SECRETS)


def test_real_files(shared_data, tmp_path, key):
    """Every common object of the world is cleaned, and stays readable as what it was."""
    tried = 0
    for path in sorted((shared_data / "d_derived").rglob("*.dcm"))[:150]:
        try:
            ds = pydicom.dcmread(path)
            name = str(ds.get("PatientName") or "")
            made = pseudonymise(ds, key)
        except (dml.DicomMLError, pydicom.errors.InvalidDicomError):
            continue
        tried += 1
        if len(name) > 4:
            assert name not in str(made), path
        assert made.get("Rows") == ds.get("Rows")
    assert tried > 50
