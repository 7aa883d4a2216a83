"""Volumes, slides and transfers over DICOMweb, from servers that misbehave and from Orthanc."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.stores.dicomweb import DicomWeb, parse_resource
from dicom_ml.stores.transfer import fetch, send
from tests.stores.servers import dicomweb_server, has_orthanc, orthanc

pytest.importorskip("dicomweb_client")


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def address_of(root: str, folder: Path) -> str:
    head = pydicom.dcmread(files_of(folder)[0], stop_before_pixels=True)
    return f"{root}/studies/{head.StudyInstanceUID}/series/{head.SeriesInstanceUID}"


def test_volume(ct, seg):
    here = dml.read_volume(ct)
    with dicomweb_server([*files_of(ct), seg]) as (root, archive):
        there = dml.read_volume(address_of(root, ct))
        np.testing.assert_array_equal(there.array, here.array)
        assert there.source == here.source
        assert len(archive.instances) == 7


def test_a_server_that_never_answers_whole(ct):
    with dicomweb_server(files_of(ct)) as (root, archive):
        archive.failures = ["half"] * 500
        with pytest.raises(dml.StoreError, match="5 times in vain"):
            dml.read_volume(address_of(root, ct))
        archive.failures = ["404"]
        with pytest.raises(dml.StoreError, match="404"):
            dml.read_volume(address_of(root, ct))
        assert archive.failures == []  # what will not change is not asked again


def test_slide_reads_single_frames(slide):
    here = dml.open_slide(slide)
    with dicomweb_server(files_of(slide)) as (root, archive):
        there = dml.open_slide(address_of(root, slide))
        assert [level.shape for level in there.levels] == [level.shape for level in here.levels]
        place, shape = (130, 200), (60, 90)
        np.testing.assert_array_equal(there.read_region(place, shape), here.read_region(place, shape))
        positions = here.tile_positions(1)
        np.testing.assert_array_equal(there.read_tiles(1, positions), here.read_tiles(1, positions))
        assert not any(path.endswith(tuple(archive.instances)) for _, path, _ in archive.requests)
        assert there.source == here.source
        copy = pickle.loads(pickle.dumps(there))
        np.testing.assert_array_equal(copy.thumbnail(50), here.thumbnail(50))
        archive.failures = ["drop", "half"]
        np.testing.assert_array_equal(copy.read_region((0, 0), (64, 64)), here.read_region((0, 0), (64, 64)))


def test_credentials_come_from_the_environment_and_are_not_told(ct, monkeypatch, caplog, capsys):
    monkeypatch.setenv("DICOM_ML_DICOMWEB_TOKEN", "very-secret")
    caplog.set_level(logging.DEBUG)
    with dicomweb_server(files_of(ct)) as (root, archive):
        DicomWeb(root).instances(*_study_and_series(ct))
        assert archive.requests[-1][2] == "Bearer very-secret"
        archive.failures = ["401"]
        with pytest.raises(dml.StoreError) as caught:
            DicomWeb(root).instances(*_study_and_series(ct))
    assert "401" in str(caught.value)
    told = caplog.text + str(caught.value) + "".join(capsys.readouterr())
    assert "very-secret" not in told
    with pytest.raises(dml.StoreError, match="without TLS"):
        DicomWeb("http://pacs.example/dicom-web").instances("1.2", "3.4")
    assert "very-secret" not in repr(pickle.dumps(DicomWeb(root)))


def _study_and_series(folder: Path) -> tuple[str, str]:
    head = pydicom.dcmread(files_of(folder)[0], stop_before_pixels=True)
    return str(head.StudyInstanceUID), str(head.SeriesInstanceUID)


def test_fetch_goes_on_where_it_was(ct, tmp_path):
    target = tmp_path / "copy"
    with dicomweb_server(files_of(ct)) as (root, archive):
        first = fetch(address_of(root, ct), target)
        assert first.new == 6
        first.files[0].unlink()
        archive.requests.clear()
        assert fetch(address_of(root, ct), target).new == 1
        assert sum("/instances/" in path for _, path, _ in archive.requests) == 1
    np.testing.assert_array_equal(dml.read_volume(target).array, dml.read_volume(ct).array)


def test_one_instance_that_cannot_be_had_does_not_keep_back_the_rest(ct, tmp_path):
    with dicomweb_server(files_of(ct)) as (root, archive):
        lost = list(archive.instances)[3]
        rows = dict(archive.instances)
        real = DicomWeb.instances

        def and_lose(self, *args):
            found = real(self, *args)
            archive.instances.pop(lost, None)
            return found

        DicomWeb.instances = and_lose
        try:
            done = fetch(address_of(root, ct), tmp_path / "copy")
        finally:
            DicomWeb.instances = real
    assert len(done.files) == 5 and len(done.problems) == 1 and len(rows) == 6


def test_send_says_what_became_of_each_file(ct, tmp_path):
    files = files_of(ct)
    junk = tmp_path / "notes.txt"
    junk.write_text("no DICOM")
    with dicomweb_server(files[:1]) as (root, archive):
        refused = str(pydicom.dcmread(files[2]).SOPInstanceUID)
        archive.refused[refused] = 0xA700
        archive.failures = ["drop", "503"]
        outcomes = list(send([*files, junk], root))
        assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True, True, False]
        assert "A700H (out of resources)" in outcomes[2].detail
        for path, outcome in zip(files, outcomes, strict=False):
            if outcome.ok:  # byte for byte, not written anew
                assert archive.stored[outcome.sop_instance_uid] == path.read_bytes()


@pytest.mark.parametrize("bad", ["1.2/../../x", "1.2.x", "%2e%2e", "1." + "2" * 64])
def test_addresses_hold_uids(bad):
    with pytest.raises(dml.StoreError):
        parse_resource(f"https://host/dicom-web/studies/{bad}/series/1.2")


def test_a_server_cannot_name_files(tmp_path, ct, monkeypatch):
    monkeypatch.setattr(DicomWeb, "instances", lambda *_: [("1.2", "1.2", "../../evil")])
    with pytest.raises(dml.StoreError, match="no UID"):
        fetch("http://127.0.0.1:1/dicom-web/studies/1.2/series/1.2", tmp_path / "x")


@pytest.mark.skipif(not has_orthanc(), reason="Orthanc and its DICOMweb plugin are not installed")
def test_orthanc(ct, seg, slide, tmp_path, capsys):
    pytest.importorskip("pynetdicom")
    with orthanc(tmp_path) as (root, port):
        # STOW-RS, and C-STORE
        assert all(outcome.ok for outcome in send([*files_of(ct), seg], root))
        assert main(["send", str(slide), f"dicom://127.0.0.1:{port}/ORTHANC"]) == 0
        assert "3 of 3" in capsys.readouterr().out
        # WADO-RS: a volume, a slide by its frames, a segmentation as it was
        volume = dml.read_volume(address_of(root, ct))
        np.testing.assert_array_equal(volume.array, dml.read_volume(ct).array)
        here, there = dml.open_slide(slide), dml.open_slide(address_of(root, slide))
        for place in ((0, 0), (130, 200), (600, 800)):
            np.testing.assert_array_equal(there.read_region(place, (90, 80)), here.read_region(place, (90, 80)))
        head = pydicom.dcmread(seg, stop_before_pixels=True)
        study, series = str(head.StudyInstanceUID), str(head.SeriesInstanceUID)
        assert main(["fetch", f"{root}/studies/{study}/series/{series}", str(tmp_path / "web")]) == 0
        (found,) = (tmp_path / "web").iterdir()
        back = dml.read_segmentation(found).label_map(on=volume)
        np.testing.assert_array_equal(back, dml.read_segmentation(seg).label_map(on=volume))
        # C-FIND and C-GET
        node = f"dicom://127.0.0.1:{port}/ORTHANC"
        assert main(["fetch", node, str(tmp_path / "get"), "--study", study, "--series", series]) == 0
        (found,) = (tmp_path / "get").iterdir()
        assert pydicom.dcmread(found).PixelData == pydicom.dcmread(seg).PixelData
        assert main(["fetch", node, str(tmp_path / "none"), "--study", "1.2.3"]) == 2
        assert "holds no instance" in capsys.readouterr().err
