"""An archive's index: complete and incremental. What befalls archives and scans is in tests/faults."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from dicom_ml.phantom import axial_affine, write_ct_series
from dicom_ml.reading.index import readers

LONG_AGO = time.time() - 3600


def write_case(folder: Path, seed: int) -> Path:
    array = np.random.default_rng(seed).integers(-1000, 400, (4, 16, 16)).astype(np.float32)
    write_ct_series(folder / "ct", array, axial_affine(array.shape, (2.5, 0.8, 0.8), (0, 0, 0)), f"scan {seed}")
    volume = dml.read_volume(folder / "ct")
    mask = np.zeros(array.shape, np.uint8)
    mask[1:3, 4:9, 4:9] = 1
    segment = dml.Segment("Liver", type="SCT:10200004", category="SCT:123037004", algorithm="manual")
    dml.Segmentation.from_array(mask, source=volume, segments=[segment], kind="binary").save(folder / "liver.seg.dcm")
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """As if nobody had touched the files for an hour: what is younger is looked at again by the next scan."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for seed in (1, 2):
        write_case(root / f"case{seed}", seed)
    (root / "notes.txt").write_text("no DICOM")
    (root / ".hidden").write_text("left out")
    return root


def test_what_is_found(archive):
    index = dml.scan(archive)
    counts = index.counts()
    assert (counts["series"], counts["instances"], counts["others"], counts["broken"]) == (4, 10, 1, 0)
    rows = index.series(modality="CT")
    assert [len(row.files) for row in rows] == [4, 4]
    for row in rows:
        heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in row.files]
        assert {h.SeriesInstanceUID for h in heads} == {row.series_instance_uid}
        assert {h.StudyInstanceUID for h in heads} == {row.study_instance_uid}
        assert {h.PatientID for h in heads} == {row.patient_id}
        segs = index.referring_to(row.series_instance_uid)
        assert [s.modality for s in segs] == ["SEG"]
        assert Path(segs[0].files[0]).parent == Path(row.files[0]).parent.parent
    assert {row["size"] for row in index.instances(modality="SEG")} == {
        (archive / f"case{n}" / "liver.seg.dcm").stat().st_size for n in (1, 2)
    }
    assert index.dangling() == []
    assert index.sql("SELECT SUM(files) AS n FROM series") == [{"n": 10}]


def test_a_row_is_a_source(archive):
    for row in dml.scan(archive).series(modality="CT"):
        np.testing.assert_array_equal(dml.read_volume(row).array, dml.read_volume(Path(row.files[0]).parent).array)


def test_records_are_those_of_find_series(archive):
    from dicom_ml.data import find_series

    expected = sorted(find_series(archive), key=lambda r: r["series_instance_uid"])
    found = sorted(dml.scan(archive).records(modality="CT"), key=lambda r: r["series_instance_uid"])
    assert found == expected and all(record["label"] for record in found)


def test_the_next_scan_reads_only_what_changed(archive, tmp_path):
    path = tmp_path / "archive.index"
    assert dml.scan(archive, path).last_scan == {"read": 11, "unchanged": 0, "removed": 0}
    settle(archive)
    dml.scan(archive, path).close()
    again = dml.scan(archive, path)
    assert again.last_scan == {"read": 0, "unchanged": 11, "removed": 0}
    again.close()

    shutil.rmtree(archive / "case1" / "ct")
    seg = archive / "case2" / "liver.seg.dcm"
    header = pydicom.dcmread(seg)
    header.SeriesDescription = "changed"
    header.save_as(seg)
    index = dml.scan(archive, path)
    assert index.last_scan == {"read": 1, "unchanged": 6, "removed": 4}
    assert index.counts()["instances"] == 6
    assert "changed" in {row.series_description for row in index.series(modality="SEG")}
    # the images that are gone are still referred to
    assert {row["to_series"] for row in index.dangling()} == {
        row["to_series"] for row in index.references() if row["from_instance"] in _uids(archive / "case1")
    }
    assert dml.open_index(path).counts() == index.counts()


def _uids(folder: Path) -> set[str]:
    return {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in folder.rglob("*.dcm")}


def test_a_file_changed_within_the_grain_of_its_time_stamp_is_read_again(archive, tmp_path):
    path = tmp_path / "archive.index"
    fresh = archive / "case1" / "liver.seg.dcm"
    now = time.time()
    os.utime(fresh, (now, now))
    dml.scan(archive, path).close()
    assert dml.scan(archive, path).last_scan["read"] >= 1


def test_broken_files_are_reported_and_the_rest_goes_on(archive):
    whole = (archive / "case1" / "liver.seg.dcm").read_bytes()
    (archive / "cut.dcm").write_bytes(whole[:700])
    index = dml.scan(archive)
    assert [Path(p["path"]).name for p in index.problems()] == ["cut.dcm"]
    assert "truncated" in index.problems()[0]["problem"] and "\n" not in index.problems()[0]["problem"]
    assert index.counts()["instances"] == 10


def test_several_processes_find_the_same(archive, monkeypatch):
    monkeypatch.setattr(readers, "_FEW", 3)
    monkeypatch.setattr(readers, "_BATCH", 2)
    several, one = dml.scan(archive, workers=2), dml.scan(archive, workers=1)
    query = "SELECT * FROM instances JOIN files ON files.id = file_id ORDER BY folder, name"
    drop = ("id", "file_id", "part_id", "changed")
    strip = lambda rows: [{k: v for k, v in row.items() if k not in drop} for row in rows]  # noqa: E731
    assert strip(several.sql(query)) == strip(one.sql(query))
    assert several.counts() == one.counts()


def read_but_die_of_one(root, files):
    if any(name == "liver.seg.dcm" and "case1" in folder for folder, name in files):
        os._exit(9)
    return readers._read(root, files)  # in the process that reads, the real one


def test_an_index_belongs_to_one_archive(archive, tmp_path):
    path = tmp_path / "x.index"
    dml.scan(archive, path).close()
    with pytest.raises(dml.FileError, match="is the index of"):
        dml.scan(tmp_path, path)
    other = tmp_path / "other.db"
    other.write_text("no database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(dml.FileError, match="cannot be used as an index"):
        dml.scan(archive, other)
    with pytest.raises(dml.FileError, match="does not exist"):
        dml.open_index(tmp_path / "none.index")
    with pytest.raises(dml.FileError, match="no folder"):
        dml.scan(archive / "notes.txt")


def test_queries_only_read(archive):
    index = dml.scan(archive)
    with pytest.raises(dml.FileError, match="cannot answer"):
        index.sql("DELETE FROM files")
    with pytest.raises(dml.FileError, match="no such column"):
        index.series(colour="red")
    assert index.counts()["instances"] == 10


def test_an_index_inside_its_archive_is_not_part_of_it(archive):
    path = archive / "inside.index"
    dml.scan(archive, path).close()
    assert dml.scan(archive, path).counts()["others"] == 1


def test_characters_of_a_file_are_decoded(tmp_path):
    folder = write_case(tmp_path / "a", 5)
    for path in (folder / "ct").iterdir():
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet = "ISO_IR 144"
        header.SeriesDescription = "Грудная клетка"
        header.save_as(path)
    assert dml.scan(folder).series(modality="CT")[0].series_description == "Грудная клетка"


def test_parquet(archive, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    index = dml.scan(archive)
    for path in index.to_parquet(tmp_path / "tables"):
        table = pq.read_table(path)
        if path.stem == "instances":
            assert table.num_rows == 10 and set(table["modality"].to_pylist()) == {"CT", "SEG"}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert all(pq.read_table(p).num_rows == 0 for p in dml.scan(empty).to_parquet(tmp_path / "none"))


def test_command(archive, tmp_path, capsys):
    assert main(["scan", str(archive), "--index", str(tmp_path / "x.index")]) == 0
    out = capsys.readouterr()
    assert "4 series" in out.out and "CT" in out.out and "11 files read" in out.err
    patient = pydicom.dcmread(next((archive / "case1" / "ct").iterdir())).PatientID
    assert patient not in out.out
    assert main(["scan", str(archive), "--phi"]) == 0
    assert patient in capsys.readouterr().out
    assert main(["scan", str(archive), "--sql", "SELECT COUNT(*) AS n FROM instances"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["n", "10"]


def test_real_archive(shared_data):
    """Every DICOM file that pydicom reads is found, with the same identifiers."""
    index = dml.scan(shared_data)
    assert index.counts()["instances"] > 500
    for row in index.instances():
        head = pydicom.dcmread(row["path"], stop_before_pixels=True, force=True)
        assert row["sop_instance_uid"] == str(head.get("SOPInstanceUID") or "").strip()
        assert row["series_instance_uid"] == str(head.get("SeriesInstanceUID") or "").strip()
        assert row["patient_id"] == str(head.get("PatientID") or "").strip()


def test_questions_of_many_series_are_few(archive, monkeypatch):
    """An archive of a million files has ten thousand series: none is asked for by a question of its own."""
    index = dml.scan(archive)
    asked = []
    rows = index._database.rows
    monkeypatch.setattr(index._database, "rows", lambda *given: asked.append(given[0]) or rows(*given))
    expected = {row.series_instance_uid: row for row in index.series()}
    assert len(asked) <= 3 and len(expected) > 1
    asked.clear()
    records = index.records()
    assert len(asked) <= 8
    for record in records:
        uid = record["series_instance_uid"]
        (alone,) = index.series(series_instance_uid=uid)
        assert record["image"] == list(alone.files) == list(expected[uid].files)
        labels = [r for r in index.referring_to(uid) if r.modality == "SEG"]
        assert record.get("label", []) == [path for row in labels for path in row.files]
    # more values than a query takes one by one
    many = [*expected, *(f"1.2.{n}" for n in range(40_000))]
    assert index.series(series_instance_uid=many) == list(expected.values())


def test_archives_in_the_archive_are_named(archive, tmp_path):
    """What is packed is not indexed, and nobody has to find that out for himself."""
    import gzip
    import zipfile

    before = dml.scan(archive).counts()
    files = sorted((archive / "case1" / "ct").glob("*.dcm"))
    with zipfile.ZipFile(archive / "study.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("0_readme.txt", "nothing" * 100)
        for path in files:
            packed.write(path, f"ct/{path.name}")
    with zipfile.ZipFile(archive / "letter.docx", "w") as packed:
        packed.writestr("word/document.xml", "<x/>" * 100)
    (archive / "damaged.zip").write_bytes((archive / "study.zip").read_bytes()[:-200])
    (archive / "one.dcm.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    (archive / "notes.gz").write_bytes(gzip.compress(b"nothing" * 100))
    (archive / "cut.dcm.gz").write_bytes(gzip.compress(files[0].read_bytes())[:40])
    settle(archive)
    index = dml.scan(archive, tmp_path / "packed.index")
    told = {Path(row["path"]).name: row["problem"] for row in index.problems()}
    assert set(told) == {"study.zip", "damaged.zip", "one.dcm.gz", "cut.dcm.gz"}
    assert f"a zip of {len(files) + 1} files" in told["study.zip"] and "not indexed" in told["study.zip"]
    assert "skipped" in told["damaged.zip"] and "gzip" in told["one.dcm.gz"] and str(archive) not in str(told.values())
    counts = index.counts()
    assert {**counts, "others": 0} == {**before, "others": 0}
    # the message is true
    assert dml.read_volume(archive / "study.zip").array.shape[0] == len(files)
    again = dml.scan(archive, tmp_path / "packed.index")
    assert again.last_scan["read"] == 0 and len(again.problems()) == 4
