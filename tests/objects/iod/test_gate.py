"""An object with errors never takes its name."""

from __future__ import annotations

import pytest

import dicom_ml as dml
from dicom_ml.objects.iod import validated

from .made import KINDS


def made(**options):
    build, source, _ = KINDS["seg binary"]()
    if options:
        from tests.objects.segmentation.scenes import label_map, segments

        mask = label_map(source.grid.shape)
        build = dml.Segmentation.from_array(mask, source=source, segments=segments(3), **options)
    return build, source


def test_what_conforms_is_written(tmp_path):
    seg, source = made()
    with validated(source):
        seg.save(tmp_path / "a.dcm")
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]


def test_what_does_not_is_not(tmp_path):
    seg, source = made(content_label="lower case")
    with pytest.raises(dml.EncodingError, match=r"a\.dcm is not written.*ContentLabel.*validate=False"):
        with validated(source):
            seg.save(tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.dcm").write_bytes(b"what was there before")
    with pytest.raises(dml.EncodingError), validated():
        seg.save(tmp_path / "a.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == b"what was there before"
    with validated(source, on=False):
        seg.save(tmp_path / "a.dcm")
    seg.save(tmp_path / "b.dcm")  # and nothing is left of the gate
    assert (tmp_path / "a.dcm").stat().st_size == (tmp_path / "b.dcm").stat().st_size


def test_another_source_is_told(tmp_path):
    seg, source = made()
    from dataclasses import replace

    other = replace(source, frame_of_reference_uid="1.2.3")
    with pytest.raises(dml.EncodingError, match="FrameOfReferenceUID"), validated(other):
        seg.save(tmp_path / "a.dcm")


def test_other_files_pass(tmp_path):
    from dicom_ml.encoding.writer import atomic_file

    with validated(), atomic_file(tmp_path / "index.json") as file:
        file.write(b"{}")
    assert (tmp_path / "index.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "kind", ["seg binary", "slide seg labelmap", "map", "slide map", "report regions", "annotations"]
)
def test_objects_save_themselves_only_if_they_conform(kind, tmp_path, monkeypatch):
    thing, _, _ = KINDS[kind]()
    thing.save(tmp_path / "a.dcm", validate=True)
    monkeypatch.setattr("dicom_ml.objects.iod.gate.findings_of", lambda *_: [dml.Finding("error", "", "is wrong")])
    with pytest.raises(dml.EncodingError, match="is wrong"):
        thing.save(tmp_path / "b.dcm", validate=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]


def test_malformed_uids_of_the_source_are_told_and_kept(tmp_path):
    from tests.objects.segmentation.scenes import axial, label_map, segments, source_on

    plain = source_on(axial())
    bad = ("1.2.840.0099.1", *plain.sop_instance_uids[1:-1], "1.2.840.0099.2")
    source = source_on(axial(), study_instance_uid="1.2.840.0099", sop_instance_uids=bad)
    mask = label_map(source.grid.shape)
    seg = dml.Segmentation.from_array(mask, source=source, segments=segments(3))
    with validated(source), pytest.warns(dml.DicomMLWarning, match="odd UIDs"):
        seg.save(tmp_path / "a.dcm")
    assert any("no valid UID" in f.message for f in dml.validate(tmp_path / "a.dcm"))


def test_one_uid_of_study_and_frame_of_reference_is_the_sources_own(tmp_path):
    from dataclasses import replace

    from tests.objects.segmentation.scenes import label_map, segments

    _, source = made()
    odd = replace(source, frame_of_reference_uid=source.study_instance_uid)
    seg = dml.Segmentation.from_array(label_map(source.grid.shape), source=odd, segments=segments(3))
    with validated(odd), pytest.warns(dml.DicomMLWarning, match="odd UIDs"):
        seg.save(tmp_path / "a.dcm")
    with validated(source), pytest.raises(dml.EncodingError):
        seg.save(tmp_path / "b.dcm")
