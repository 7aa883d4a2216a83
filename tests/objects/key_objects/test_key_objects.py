"""Key object selections: what is written is what was selected, as judges and our reader see it; real files; defects."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_ml as dml
from dicom_ml.objects.key_objects.selecting import value_type_of
from dicom_ml.objects.report import Device, Person
from dicom_ml.objects.report.items import Reference
from tests.conftest import data_folder
from tests.judges import dciodvfy, dsrdump, need
from tests.objects.report.scenes import slide
from tests.objects.segmentation.scenes import NET, axial, label_map, segments, source_on
from tests.real_files import named
from tests.series import write_series

ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def selection(name: str) -> dml.KeyObjects:
    volume, frames = source_on(axial()), source_on(axial(), multiframe=True)
    scenes = {
        "slices": lambda: dml.KeyObjects(volume, images=[5, 1, 3], description="the largest nodule", observers="Doe^J"),
        "whole series": lambda: dml.KeyObjects(volume, "For Research", algorithm=NET),
        "frames": lambda: dml.KeyObjects(frames, "For Teaching", [2, 3, 7]),
        "slide": lambda: dml.KeyObjects(slide(), "For Conference", description="Größe", reasons=["99LAB:2|Rare"]),
        "rejected": lambda: dml.KeyObjects(
            volume, "Rejected for Quality Reasons", [0], reasons=["Motion blur", "99LAB:1|Wrong coil"]),
        "best": lambda: dml.KeyObjects(volume, "Best In Set", [0], reasons="Series"),
        "segments": lambda: dml.KeyObjects(volume, images=[dml.SegmentReference(segmentation(volume), 2), 4]),
        "others": lambda: dml.KeyObjects(volume, images=[
            dml.Report(volume, [], NET),
            Reference(ECG, "2.25.7", channels=(1, 2), series_instance_uid="2.25.8"),
            (2, Reference(GSPS, "2.25.9", series_instance_uid="2.25.10"))]),
        "other study": lambda: dml.KeyObjects(
            volume, images=[1, source_on(axial(), name="before")], copies=True, deterministic=True),
    }  # fmt: skip
    return scenes[name]()


NAMES = ["slices", "whole series", "frames", "slide", "rejected", "best", "segments", "others", "other study"]


def segmentation(source) -> dml.Segmentation:
    return dml.Segmentation.from_array(label_map(source.grid.shape), source=source, segments=segments(3))


@pytest.fixture(params=NAMES)
def written(request, tmp_path):
    made = selection(request.param)
    return made, made.save(tmp_path / "ko.dcm")


def test_reads_as_it_was_written(written):
    made, path = written
    read = dml.read_key_objects(path)
    assert read.title == made.title and read.reasons == made.reasons and read.description == made.description
    assert read.references == made.references
    assert [(r.series_instance_uid, r.study_instance_uid) for r in read.references] == [
        (r.series_instance_uid, r.study_instance_uid) for r in made.references
    ]
    assert read.observers == made.observers
    assert read.studies == made.studies and read.identical == made.identical
    uids = ("sop_instance_uid", "series_instance_uid", "study_instance_uid")
    assert [getattr(read, u) for u in uids] == [getattr(made, u) for u in uids]
    assert read.dataset == made.dataset  # and is written again as it was
    again = Path(read.save(Path(path).with_name("again.dcm")))
    assert again.read_bytes() == Path(path).read_bytes()


def test_evidence_lists_whatever_the_content_refers_to(written):
    ds = pydicom.dcmread(written[1])
    listed = {
        str(i.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for i in series.ReferencedSOPSequence
    }
    referred = set()
    for item in ds.ContentSequence:
        for reference in item.get("ReferencedSOPSequence") or []:
            referred.add(str(reference.ReferencedSOPInstanceUID))
            referred |= {str(r.ReferencedSOPInstanceUID) for r in reference.get("ReferencedSOPSequence") or []}
    assert listed == referred and referred


@pytest.mark.judge
def test_dciodvfy(written):
    assert dciodvfy(written[1]) == []


@pytest.mark.judge
def test_dsrdump(written):
    assert dsrdump(written[1]) == []


@pytest.mark.judge
def test_highdicom_reads_it(written):
    hd = need("highdicom", "highdicom")
    made, path = written
    if any(value_type_of(r) == "WAVEFORM" for r in made.references):
        pytest.skip("highdicom knows no references to waveforms")
    theirs = hd.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(path))
    named = theirs.content.get_references()
    assert [str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in named] == [
        r.sop_instance_uid for r in made.references
    ]
    assert theirs.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    for reference in made.references:
        study, series, _ = theirs.resolve_reference(reference.sop_instance_uid)
        assert (study, series) == (reference.study_instance_uid, reference.series_instance_uid)


def test_slices_on_a_volume(tmp_path):
    write_series(tmp_path / "a")
    volume = dml.read_volume(tmp_path / "a")
    made = dml.KeyObjects(volume, images=[7, 2])
    assert made.slices(volume) == [2, 7] == dml.read_key_objects(made.save(tmp_path / "ko.dcm")).slices(volume)
    assert made.slices(volume.source) == [2, 7]
    cropped = volume.crop((slice(2, 9), slice(0, 10), slice(1, 9)))
    assert made.slices(cropped) == [0, 5]
    assert dml.KeyObjects(cropped, images=[0, 5]).references == sorted(made.references, key=made.references.index)[::-1]
    frames = source_on(axial(), multiframe=True)
    assert dml.KeyObjects(frames, images=[2, 3]).slices(frames) == [2, 3]
    assert dml.KeyObjects(frames, images=[2, 3]).references[0].frames == (3, 4)
    assert dml.KeyObjects(frames).slices(frames) == list(range(9))
    assert made.slices(source_on(axial())) == []


def test_a_copy_lies_in_every_study(tmp_path):
    made = selection("other study")
    (twin,) = made.copies
    assert twin.study_instance_uid != made.study_instance_uid
    assert set(twin.studies) == {made.study_instance_uid, twin.study_instance_uid}
    read = [dml.read_key_objects(one.save(tmp_path / f"{i}.dcm")) for i, one in enumerate([made, twin])]
    assert [r.identical[0].sop_instance_uid for r in read] == [twin.sop_instance_uid, made.sop_instance_uid]
    assert read[0].identical[0].study_instance_uid == twin.study_instance_uid
    assert read[0].references == read[1].references and read[0].evidence == read[1].evidence
    assert selection("other study").copies[0].sop_instance_uid == twin.sop_instance_uid
    with pytest.raises(dml.EncodingError, match="select its images by their Volume"):
        dml.KeyObjects(source_on(axial()), images=[Reference(KEY_OBJECTS, "1.2", series_instance_uid="1.3",
                                                             study_instance_uid="1.4")], copies=True)  # fmt: skip


def test_deterministic_uids():
    volume = source_on(axial())
    made = [dml.KeyObjects(volume, images=images, deterministic=True) for images in ([1, 2], [1, 2], [1, 3])]
    assert made[0].sop_instance_uid == made[1].sop_instance_uid != made[2].sop_instance_uid
    assert dml.KeyObjects(volume).sop_instance_uid != dml.KeyObjects(volume).sop_instance_uid


def test_patient_study_and_program_are_the_sources(tmp_path):
    ds = pydicom.dcmread(selection("whole series").save(tmp_path / "ko.dcm"))
    assert (ds.PatientID, ds.StudyID, ds.Modality, ds.SOPClassUID) == ("T1", "1", "KO", KEY_OBJECTS)
    assert (ds.ManufacturerModelName, ds.SoftwareVersions) == (NET.name, NET.version)
    assert "FrameOfReferenceUID" not in ds and "BodyPartExamined" not in ds
    observers = dml.read_key_objects(tmp_path / "ko.dcm").observers
    assert isinstance(observers[0], Device) and observers[0].name == NET.name
    made = dml.KeyObjects(source_on(axial()), observers=["Doe^Jane", Device("Net")])
    assert made.observers == [Person("Doe^Jane"), Device("Net")]


def cine() -> pydicom.Dataset:
    """An ultrasound loop, whose frames have no position."""
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "2.25.31"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality, ds.PatientID = "2.25.32", "2.25.33", "US", "P"
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SamplesPerPixel = 4, 5, 6, 3
    ds.PhotometricInterpretation = "RGB"
    return ds


def test_images_that_form_no_stack(tmp_path):
    loop = dml.KeyObjects(cine(), "For Teaching", [1, 4])
    assert loop.references == [Reference("1.2.840.10008.5.1.4.1.1.3.1", "2.25.31", (2, 5))]
    read = dml.read_key_objects(loop.save(tmp_path / "a.dcm"))
    assert read.slices([cine()]) == [1, 4] and dciodvfy(tmp_path / "a.dcm") == []
    write_series(tmp_path / "ct")
    datasets = [pydicom.dcmread(p) for p in sorted((tmp_path / "ct").iterdir())]
    datasets[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # a localizer among the slices
    made = dml.KeyObjects(datasets, images=[0, datasets[3]])
    assert [r.sop_instance_uid for r in made.references] == [datasets[0].SOPInstanceUID, datasets[3].SOPInstanceUID]
    datasets[1].SeriesInstanceUID = "2.25.99"
    with pytest.raises(dml.SeriesError, match="SeriesInstanceUID"):
        dml.KeyObjects(datasets)
    del datasets[1].SeriesInstanceUID
    with pytest.raises(dml.SeriesError):
        dml.KeyObjects(datasets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"title": "Rejected for Quality Reasons"}, "says why.*Motion blur"),
        ({"title": "For Teaching", "reasons": ["Motion blur"]}, "SCHEME:VALUE"),
        ({"title": "DCM:113012"}, "no document title"),
        ({"title": "For Fun"}, "For Teaching"),
        ({"title": "Best In Set"}, "says in which"),
        ({"title": "Rejected for Quality Reasons", "reasons": ["Ugly"]}, "Motion blur"),
        ({"images": []}, "at least one object"),
        ({"images": [9]}, "slices 0 to 8"),
        ({"images": ["1.2.3"]}, "no instance 1.2.3"),
        ({"images": [Reference(ECG, "2.25.7")]}, "not known"),
        ({"images": [object()]}, "a source is"),
    ],
)
def test_what_cannot_be_said_is_refused(arguments, message):
    with pytest.raises(dml.DicomMLError, match=message):
        dml.KeyObjects(source_on(axial()), **arguments)


def test_titles_compare_by_concept_and_rejections_are_known():
    volume = source_on(axial())
    assert dml.KeyObjects(volume).title == "DCM:113000" or dml.KeyObjects(volume).title.value == "113000"
    assert not dml.KeyObjects(volume).is_rejection and selection("rejected").is_rejection
    assert dml.KeyObjects(volume, "Rejected for Patient Safety Reasons").is_rejection
    assert dml.KeyObjects(volume, "99LAB:1|Mine").title.meaning == "Mine"


def test_how_content_refers_to_each_kind():
    kinds = {"1.2.840.10008.5.1.4.1.1.66.4": "IMAGE", "1.2.840.10008.5.1.4.1.1.66.1": "COMPOSITE",
             "1.2.840.10008.5.1.4.1.1.481.1": "IMAGE", "1.2.840.10008.5.1.4.1.1.481.3": "COMPOSITE",
             "1.2.840.10008.5.1.4.1.1.77.1.6": "IMAGE", "1.2.840.10008.5.1.4.1.1.88.22": "COMPOSITE",
             "1.2.840.10008.5.1.4.1.1.104.1": "COMPOSITE", "1.2.840.10008.5.1.4.1.1.12.1": "IMAGE",
             GSPS: "COMPOSITE", ECG: "WAVEFORM"}  # fmt: skip
    assert {uid: value_type_of(Reference(uid, "1.2")) for uid in kinds} == kinds


# ---------------------------------------------------------------------- other makers
def test_a_bare_document_reads():
    """No template, no observer, a frame number as decimal string, no evidence, no relationship."""
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.ValueType = KEY_OBJECTS, "1.2.3", "KO", "CONTAINER"
    item, image, text = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.4"
    image.ReferencedFrameNumber = ["2", "3"]
    item.ValueType, item.ReferencedSOPSequence = "IMAGE", [image]
    text.ValueType, text.TextValue, text.RelationshipType = "TEXT", "see here", "CONTAINS"
    ds.ContentSequence = [item, text]
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    read = dml.read_key_objects(buffer.getvalue())
    assert read.title is None and read.observers == [] and read.description == "see here"
    assert read.references == [Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.4", (2, 3))]
    assert "no title" in repr(read)


def test_what_is_no_selection_is_named(tmp_path):
    path = dml.Report(source_on(axial()), [], NET).save(tmp_path / "sr.dcm")
    with pytest.raises(dml.FileError, match=r"sr\.dcm: is no key object selection.*read_report"):
        dml.read_key_objects(path)
    (tmp_path / "cut.dcm").write_bytes(Path(selection("slices").save(tmp_path / "ko.dcm")).read_bytes()[:-20])
    with pytest.raises(dml.FileError, match=r"cut\.dcm"):
        dml.read_key_objects(tmp_path / "cut.dcm")


#: File (under the data folder) -> title, and what is referred to.
TABLE = {
    "d_derived/dicom_swift_synthetic/StructuredReports/kos_key_object_selection.dcm": (
        "113000",
        [("2.25.122400110", "2.25.122400105", "2.25.122400104")],
    ),
}


@pytest.mark.skipif(data_folder() is None, reason="the real data is not present")
def test_the_table_is_complete(shared_data):
    found = named(shared_data, lambda head: head.modality == "KO" or head.sop_class == KEY_OBJECTS)
    assert found == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_real_files(shared_data, name):
    read = dml.read_key_objects(shared_data / name)
    title, objects = TABLE[name]
    assert read.title is not None and read.title.value == title
    found = [(r.sop_instance_uid, r.series_instance_uid, r.study_instance_uid) for r in read.references]
    assert found == objects
    ds = pydicom.dcmread(shared_data / name)
    assert read.sop_instance_uid == ds.SOPInstanceUID and read.study_instance_uid == ds.StudyInstanceUID
    assert np.array_equal([i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in ds.ContentSequence],
                          [r.sop_instance_uid for r in read.references])  # fmt: skip
