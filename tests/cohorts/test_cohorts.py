"""Cohorts on one process and on several, with series that fail and processes that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.cohorts import find_cases, predict_cohort, read_results, shard
from dicom_ml.cohorts.results import Results
from tests.cohorts.models import Threshold

ROOT = Path(__file__).parents[2]


def contents(folder):
    """Files by their names, without when they were written: UIDs and pixels stay."""
    found = {}
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        for element in [one for one in ds if one.VR in ("DA", "TM", "DT")]:
            del ds[element.tag]
        found[path.relative_to(folder)] = (ds.to_json(), ds.file_meta.to_json())
    return found


@pytest.fixture(scope="module")
def alone(archive, tmp_path_factory):
    """What one process makes of the archive."""
    folder = tmp_path_factory.mktemp("alone")
    report = predict_cohort(find_cases(archive.index), Threshold(str(folder / "journal")), folder / "out")
    assert (report.done, report.before, len(report.failed)) == (5, 0, 1)
    return folder / "out"


def test_a_series_that_cannot_be_read_is_told_of_and_the_others_are_done(archive, alone):
    archive.check(alone)
    found = json.loads((alone / "cohort.json").read_text())
    assert found == read_results(alone)
    (failed,) = found["failed"]
    assert failed["series_instance_uid"] == archive.broken and "truncated" in failed["reason"].lower()
    assert {one["series_instance_uid"] for one in found["done"]} == set(archive.series) - {archive.broken}
    assert all(one["files"] == [f"{one['series_instance_uid']}.seg.dcm"] for one in found["done"])
    text = "".join(path.read_text() for path in alone.rglob("*.json"))
    assert not any(patient in text for patient in archive.patients)


def test_two_processes_write_the_same_though_one_dies(archive, alone, tmp_path):
    good = [uid for uid in archive.series if uid != archive.broken]
    model = Threshold(str(tmp_path / "journal"), deadly=good[1], deaths=1)
    report = predict_cohort(find_cases(archive.index), model, tmp_path / "out", workers=2)
    assert (report.done, len(report.failed)) == (5, 1)
    tried = Counter((tmp_path / "journal").read_text().split())
    assert tried.pop(good[1]) == 2 and set(tried.values()) == {1}
    assert contents(tmp_path / "out") == contents(alone)


def test_a_series_that_kills_every_process_fails_alone(archive, tmp_path):
    good = [uid for uid in archive.series if uid != archive.broken]
    model = Threshold(str(tmp_path / "journal"), deadly=good[0], deaths=9)
    cases = [case for case in find_cases(archive.index) if case.series_instance_uid in good[:3]]
    report = predict_cohort(cases, model, tmp_path / "out", workers=2)
    assert report.done == 2
    (failed,) = report.failed
    assert failed.name.endswith(good[0]) and "SIGKILL" in failed.reason


def test_a_model_that_cannot_be_made_stops_the_run(archive, tmp_path):
    with pytest.raises(dml.EncodingError, match="ValueError") as caught:
        predict_cohort(find_cases(archive.index), Threshold("", unfit=True), tmp_path / "out", workers=2)
    assert "secret" not in str(caught.value)


_RUN = """
import sys
from dicom_ml.cohorts import find_cases, predict_cohort
from tests.cohorts.models import Threshold
if __name__ == "__main__":
    predict_cohort(find_cases(sys.argv[1]), Threshold(sys.argv[2], pause=0.4), sys.argv[3], workers=2)
"""


def test_a_run_killed_in_the_middle_goes_on(archive, alone, tmp_path):
    script, journal, out = tmp_path / "run.py", tmp_path / "journal", tmp_path / "out"
    script.write_text(_RUN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, str(script), str(archive.index), str(journal), str(out)], env=environment, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(out.rglob(".done.json")):
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)  # parent and workers, which this test has started
    assert run.wait() == -signal.SIGKILL
    before = {path.parent.name for path in out.rglob(".done.json")}
    assert 0 < len(before) < 5
    journal.unlink()
    report = predict_cohort(find_cases(archive.index), Threshold(str(journal)), out)
    assert (report.done, report.before, len(report.failed)) == (5, len(before), 1)
    assert set(journal.read_text().split()) == set(archive.series) - before  # what was done is not done again
    archive.check(out)
    assert contents(out) == contents(alone)


def test_shards_have_each_series_once_and_write_the_same(archive, alone, tmp_path):
    cases = find_cases(archive.index)
    parts = [shard(cases, rank, 4) for rank in range(4)]
    assert Counter(case.name for part in parts for case in part) == Counter(case.name for case in cases)
    for part in parts:
        predict_cohort(part, Threshold(str(tmp_path / "journal")), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(alone)
    assert json.loads((tmp_path / "out" / "cohort.json").read_text()) == read_results(alone)
    for rank, count in ((4, 4), (-1, 2), (0, 0)):
        with pytest.raises(dml.SeriesError, match="shard"):
            shard(cases, rank, count)


def test_results_of_another_model_are_refused(archive, tmp_path):
    Results(tmp_path / "out", "one")
    Results(tmp_path / "out", "one")
    with pytest.raises(dml.EncodingError, match="another model"):
        predict_cohort(find_cases(archive.index), Threshold(""), tmp_path / "out", identity="two")


def test_lost_results_and_changed_images_are_done_again(archive, tmp_path):
    case = next(c for c in find_cases(archive.index) if c.series_instance_uid != archive.broken)
    journal = tmp_path / "journal"

    def again() -> int:
        journal.write_text("")
        predict_cohort([case], Threshold(str(journal)), tmp_path / "out")
        return len(journal.read_text().split())

    assert again() == 1 and again() == 0
    (file,) = (tmp_path / "out").rglob("*.dcm")
    os.truncate(file, 100)
    assert again() == 1 and again() == 0
    marker = file.parent / ".done.json"
    about = json.loads(marker.read_text())
    (file.parent / "old.dcm").write_bytes(b"of other images")
    about["files"]["old.dcm"] = 15
    marker.write_text(json.dumps({**about, "stamp": "of other images"}))
    assert again() == 1
    assert [path.name for path in file.parent.glob("*.dcm")] == [file.name]
    marker.write_text("{ half a line")
    assert again() == 1


def test_what_was_odd_about_a_case_is_noted(archive, tmp_path):
    case = next(c for c in find_cases(archive.index) if c.series_instance_uid != archive.broken)
    with pytest.warns(FutureWarning, match="of another package"):
        predict_cohort([case], Threshold(str(tmp_path / "journal"), warns="a copy was left out"), tmp_path / "out")
    (done,) = read_results(tmp_path / "out")["done"]
    assert done["warnings"] == ["a copy was left out"]


def test_an_index_a_folder_and_a_list_name_the_same_series(archive, tmp_path):
    cases = find_cases(archive.index)
    assert [case.series_instance_uid for case in cases] == [
        case.series_instance_uid for case in find_cases(archive.folder)
    ]
    with dml.open_index(archive.index) as index:
        assert find_cases(index) == cases and find_cases(index.series()) == cases
    lines = tmp_path / "series.txt"
    lines.write_text("# two\n" + "\n".join(str(archive.folder / name) for name in ("s0", "s5")) + "\n\n")
    listed = find_cases(lines)
    assert {case.name for case in listed} < {case.name for case in cases} and len(listed) == 2
    (tmp_path / "empty").mkdir()
    lines.write_text("empty\nnowhere\n")
    report = predict_cohort(find_cases(lines), Threshold(str(tmp_path / "journal")), tmp_path / "out")
    assert report.done == 0 and len(report.failed) == 2
    assert all(outcome.reason for outcome in report.failed)


def test_cohorts_that_make_no_sense(archive, tmp_path):
    with pytest.raises(dml.SeriesError, match="MR"):
        find_cases(archive.index, ["MR"])
    with pytest.raises(dml.FileError, match="does not exist"):
        find_cases(tmp_path / "nothing")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(dml.FileError, match="neither an index"):
        find_cases(tmp_path / "bytes")
    with pytest.raises(dml.EncodingError, match="workers"):
        predict_cohort([], Threshold(""), tmp_path / "out", workers=0)
    with pytest.raises(dml.EncodingError, match="engine"):
        predict_cohort([], Threshold(""), tmp_path / "out", engine="threads")


def test_a_series_uid_that_is_a_path_stays_inside(tmp_path):
    from dicom_ml.reading.index import SeriesRow

    row = SeriesRow("../../x", "..", "", "CT", "", "", "", "", "", ("a.dcm",))
    (case,) = find_cases([row])
    assert ".." not in case.name and case.name.count("/") == 1


@pytest.mark.slow
def test_ray_does_what_processes_do(archive, alone, tmp_path):
    pytest.importorskip("ray.data")
    report = predict_cohort(
        find_cases(archive.index), Threshold(str(tmp_path / "journal")), tmp_path / "out", workers=2, engine="ray"
    )
    assert (report.done, len(report.failed)) == (5, 1)
    assert contents(tmp_path / "out") == contents(alone)


def test_an_index_is_a_data_module_s_part_too(archive):
    data = pytest.importorskip("dicom_ml.data")
    pytest.importorskip("lightning.pytorch")
    module = data.VolumeDataModule(predict=str(archive.index))
    assert sorted(one["series_instance_uid"] for one in module.records["predict"]) == sorted(archive.series)
    with pytest.raises(dml.SeriesError, match="no image series of SM"):
        data.find_slides(archive.index)
    with pytest.raises(dml.SeriesError, match="a folder"):
        data.find_series(archive.index, reports=True)


def test_slides_are_found_and_told_from_volumes(archive, tmp_path):
    data = pytest.importorskip("dicom_ml.data")
    pytest.importorskip("torch")
    from tests.data.slides import make

    folder, _ = make(tmp_path / "archive", 1, (130, 140), tile=(64, 64))
    with dml.scan(tmp_path / "archive", tmp_path / "slides.index", workers=1) as index:
        (uid,) = {row.series_instance_uid for row in index.series()}
    (record,) = data.find_slides(tmp_path / "slides.index")
    assert record["series_instance_uid"] == uid
    (case,) = find_cases(tmp_path / "slides.index")
    assert (case.modality, case.series_instance_uid) == ("SM", uid)
    mixed = [*dml.scan(archive.folder).series(), *dml.scan(tmp_path / "archive").series()]
    with pytest.raises(dml.SeriesError, match="which modality"):
        find_cases(mixed)
    with pytest.raises(dml.SeriesError, match="no image series of CT"):
        data.find_series(tmp_path / "slides.index")


def test_folders_that_are_called_after_patients_stay_out_of_what_is_kept(tmp_path):
    from dicom_ml.cohorts.cases import Case
    from dicom_ml.cohorts.results import Results

    folder = tmp_path / "Doe^Jane"
    case = Case("1.2", "1.2.3", "CT", (str(folder / "ct" / "1.dcm"), str(folder / "ct" / "2.dcm")), "1.2/1.2.3")
    results = Results(tmp_path / "out")
    outcome = results.fail(case, f"{folder}/ct/1.dcm is truncated; see {folder}/ct")
    assert "Doe" in outcome.reason  # which whoever runs it sees
    (kept,) = results.summarize()["failed"]
    assert kept["reason"] == "1.dcm is truncated; see its folder"
    assert "Doe" not in (tmp_path / "out" / "cohort.json").read_text()
