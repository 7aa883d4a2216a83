"""Folders as a whole, findings as records, and nothing of a patient in them."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.cli import main
from tests.objects.segmentation.scenes import segments
from tests.series import blobs, write_series

from .made import written


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A CT series with a segmentation and a report."""
    folder = tmp_path_factory.mktemp("study")
    write_series(folder / "ct")
    volume = dml.read_volume(folder / "ct")
    mask = blobs(volume.grid)
    seg = dml.Segmentation.from_array(mask, source=volume, segments=segments(2))
    seg.save(folder / "seg.dcm")
    group = dml.MeasurementGroup(
        finding="SCT:27925004",
        region=dml.SegmentReference(seg, 1),
        measurements=[dml.Measurement("SCT:81827009", 1, "mm")],
    )
    dml.Report(volume, [group], dml.Algorithm("N", "1")).save(folder / "sr.dcm")
    return folder


def of(findings, name):
    return [f for f in findings if f.file.endswith(name) and f.severity != "info"]


def test_a_study_is_checked_against_its_images(study):
    found = dml.validate(study)
    assert of(found, "seg.dcm") == [] and of(found, "sr.dcm") == []
    assert all(f.file for f in found)
    # the series itself lacks attributes of CT images that no scanner leaves out
    assert {f.path for f in of(found, "000.dcm")} >= {"KVP (0018,0060)"}


def test_what_a_study_lacks(study, tmp_path):
    for path in (study / "ct").iterdir():
        if path.name != "004.dcm":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    gone = str(pydicom.dcmread(study / "ct" / "004.dcm").SOPInstanceUID)
    for name in ("seg.dcm", "sr.dcm"):
        (tmp_path / name).write_bytes((study / name).read_bytes())
    found = dml.validate(tmp_path)
    assert any(gone in f.message for f in of(found, "sr.dcm"))
    assert dml.validate(study / "seg.dcm", sources=study / "ct") == []
    told = dml.validate(study / "seg.dcm", sources=[p for p in (study / "ct").iterdir() if p.name != "004.dcm"])
    assert (gone in str(told)) == (gone in str(dml.read_segmentation(study / "seg.dcm").referenced_series))


def test_another_segment_and_another_frame(study, tmp_path):
    ds = pydicom.dcmread(study / "sr.dcm")

    def change(item):
        for reference in item.get("ReferencedSOPSequence", []):
            if "ReferencedSegmentNumber" in reference:
                reference.ReferencedSegmentNumber = 7
        for child in item.get("ContentSequence", []):
            change(child)

    change(ds)
    found = dml.validate(ds, sources=[study / "ct", study / "seg.dcm"])
    assert any("segments [7]" in f.message for f in found)


def test_a_file_that_is_none(study, tmp_path):
    (tmp_path / "a.dcm").write_bytes((study / "seg.dcm").read_bytes()[:700])
    (tmp_path / "b.dcm").write_bytes((study / "seg.dcm").read_bytes())
    found = dml.validate(tmp_path)
    assert {f.severity for f in of(found, "a.dcm")} == {"error"}
    with pytest.raises(dml.FileError, match="does not exist"):
        dml.validate(tmp_path / "c.dcm")
    (tmp_path / "c.txt").write_text("nothing")
    with pytest.raises(dml.FileError):
        dml.validate(tmp_path / "c.txt")
    with pytest.raises(dml.FileError, match="cannot validate"):
        dml.validate(7)


def test_records(made_folder):
    path, _ = written("seg binary", made_folder)
    ds = pydicom.dcmread(path)
    del ds.ContentLabel
    ds.SegmentSequence[1].SegmentLabel = ""
    found = dml.validate(ds)
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=["error", "warning", "info"].index)
    (label,) = [f for f in found if "ContentLabel" in f.path]
    assert (label.part, label.section, label.severity) == ("PS3.3", "C.8.20.2", "error")
    assert label.path == "ContentLabel (0070,0080)" and label.hint
    assert "SegmentSequence[2].SegmentLabel (0062,0005)" in {f.path for f in found}
    assert json.loads(json.dumps(label.to_dict()))["path"] == label.path
    assert str(label).startswith("error: ContentLabel (0070,0080): is missing") and "[PS3.3 C.8.20.2]" in str(label)


def test_nothing_of_the_patient_is_told(made_folder):
    path, source = written("seg binary", made_folder)
    ds = pydicom.dcmread(path)
    ds.PatientID, ds.PatientName = "SECRET-1", "Secret^Name^^^^^^"
    ds.PatientSex = "SECRET"
    ds["PatientBirthDate"]._value = "SECRET"
    ds.StudyDescription = "secret " * 20
    ds.AccessionNumber = "secret " * 5
    text = "\n".join(map(str, dml.validate(ds, sources=source)))
    assert "PatientID" in text and "PatientSex" in text and "StudyDescription" in text
    assert "secret" not in text.lower()


def test_command(study, tmp_path, capsys):
    assert main(["validate", str(study / "seg.dcm"), "--sources", str(study / "ct")]) == 0
    assert "conforms" in capsys.readouterr().out
    ds = pydicom.dcmread(study / "seg.dcm")
    del ds.ContentLabel
    ds.FrameOfReferenceUID = "1.2.3"
    ds.save_as(tmp_path / "bad.dcm")
    assert main(["validate", str(tmp_path / "bad.dcm"), "--sources", str(study / "ct"), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["counts"]["error"] == 2
    assert {f["path"] for f in record["findings"]} == {"ContentLabel (0070,0080)", "FrameOfReferenceUID (0020,0052)"}
    assert main(["validate", str(tmp_path / "bad.dcm"), str(study / "seg.dcm")]) == 1
    assert "bad.dcm: error: ContentLabel" in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "none.dcm")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_files_that_do_not_belong_together(study, tmp_path):
    seg = pydicom.dcmread(study / "seg.dcm")
    first = pydicom.dcmread(study / "ct" / "000.dcm")
    for number, changes in enumerate(
        [
            {},
            {"SOPInstanceUID": "1.2.3.1", "StudyInstanceUID": "1.2.3.4"},
            {"SOPInstanceUID": "1.2.3.2", "FrameOfReferenceUID": "1.2.3.5"},
            {"SOPInstanceUID": "1.2.3.3", "PatientID": "another"},
        ]
    ):
        for keyword, value in changes.items():
            setattr(first, keyword, value)
        first.save_as(tmp_path / f"{number}.dcm")
        first = pydicom.dcmread(study / "ct" / "000.dcm")
    first.save_as(tmp_path / "9.dcm")
    seg.save_as(tmp_path / "seg.dcm")
    found = dml.validate(tmp_path)

    def told(name, keyword):
        return any(f.path.startswith(keyword) and "of the same" in f.message + " of the same" for f in of(found, name))

    assert told("1.dcm", "StudyInstanceUID") and told("2.dcm", "FrameOfReferenceUID")
    assert told("3.dcm", "PatientID") and told("9.dcm", "SOPInstanceUID")
    assert not told("0.dcm", "SOPInstanceUID") and not told("seg.dcm", "PatientID")


def test_masks_that_lie_beside_the_body(tmp_path):
    grid = write_series(tmp_path / "ct")
    volume = dml.read_volume(tmp_path / "ct")
    body = blobs(grid, 1) > 0
    volume.array[...] = np.where(body, 40, -1024)
    mask = np.zeros(grid.shape, np.uint8)
    inside = np.argwhere(body)
    mask[tuple(inside[: len(inside) // 2].T)] = 1
    mask[tuple(inside[len(inside) // 2 :].T)] = 2
    for kind in ("binary", "labelmap"):
        good = dml.Segmentation.from_array(mask, source=volume, segments=segments(2), kind=kind)
        good.save(tmp_path / f"good-{kind}.dcm")
        assert [f for f in dml.validate(tmp_path / f"good-{kind}.dcm", sources=volume) if f.severity != "info"] == []
        flipped = mask[:, ::-1, ::-1].copy()
        dml.Segmentation.from_array(flipped, source=volume, segments=segments(2), kind=kind).save(tmp_path / "bad.dcm")
        found = dml.validate(tmp_path / "bad.dcm", sources=volume)
        off = [mask_of for mask_of in (1, 2) if (body & (flipped == mask_of)).sum() < 0.5 * (flipped == mask_of).sum()]
        assert (
            off
            and sorted(int(f.message.split("segment ")[1].split()[0]) for f in found if "lowest" in f.message) == off
        )
