"""The image library says how its images were made, in the templates of their modality (PS3.16 TID 1600 to 1607)."""

from __future__ import annotations

import copy

import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

import dicom_ml as dml
from dicom_ml.objects.report import concepts as c
from dicom_ml.source import SourceSeries
from tests.judges import dciodvfy, dcmqi_read_sr, dsrdump, highdicom_read_sr
from tests.series import write_series

from .scenes import NET, group


def code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> list[Dataset]:
    folder = tmp_path_factory.mktemp("library")
    write_series(folder)
    return [dcmread(p) for p in sorted(folder.iterdir())]


def changed(headers: list[Dataset], modality: str, **values) -> list[Dataset]:
    made = copy.deepcopy(headers)
    for ds in made:
        ds.Modality = modality
        for keyword, value in values.items():
            setattr(ds, keyword, copy.deepcopy(value))
    return made


def pet_agent() -> Dataset:
    agent = Dataset()
    agent.RadionuclideCodeSequence = [code("77004003", "SCT", "^18^Fluorine")]
    agent.RadiopharmaceuticalCodeSequence = [code("35321007", "SCT", "Fluorodeoxyglucose F^18^")]
    agent.AdministrationRouteCodeSequence = [code("47625008", "SCT", "Intravenous route")]
    agent.RadionuclideHalfLife, agent.RadionuclideTotalDose, agent.RadiopharmaceuticalVolume = 6586.2, 3.7e8, 12.5
    agent.RadiopharmaceuticalStartDateTime = "20240102083000"
    return agent


def scene(headers: list[Dataset], kind: str) -> list[Dataset]:
    if kind == "CT":
        return changed(headers, "CT", BodyPartExamined="PROSTATE", AcquisitionDate="20240102", ContentDate="20240103",
                       AcquisitionType="SPIRAL", ReconstructionAlgorithm="ITERATIVE")  # fmt: skip
    if kind == "MR":
        return changed(headers, "MR", BodyPartExamined="KNEE", Laterality="L", SequenceName="*fl3d1")
    if kind == "PT":
        return changed(
            headers, "PT", BodyPartExamined="WHOLEBODY", RadiopharmaceuticalInformationSequence=[pet_agent()]
        )
    view = code("399162004", "SCT", "cranio-caudal")
    view.ViewModifierCodeSequence = [code("399110001", "SCT", "Magnification")]
    flat = changed(headers[:1], "MG", BodyPartExamined="BREAST", ImageLaterality="R", ViewCodeSequence=[view],
                   PatientOrientation=["P", "L"], ImagerPixelSpacing=[0.07, 0.08],
                   PositionerPrimaryAngle=45)  # fmt: skip
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
        delattr(flat[0], keyword)
    flat[0].SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    return flat


SAID = {
    "CT": {
        c.MODALITY: "Computed Tomography",
        c.TARGET_REGION: "Prostate",
        c.STUDY_DATE: "20240102",
        c.STUDY_TIME: "101010",
        c.CONTENT_DATE: "20240103",
        c.ACQUISITION_DATE: "20240102",
        c.SLICE_THICKNESS: "2.5 mm",
        c.CT_ACQUISITION: "Spiral Acquisition",
        c.RECONSTRUCTION: "Iterative Reconstruction",
    },
    "MR": {
        c.MODALITY: "Magnetic Resonance",
        c.TARGET_REGION: "Knee",
        c.IMAGE_LATERALITY: "Left",
        c.PULSE_SEQUENCE: "*fl3d1",
    },
    "PT": {
        c.MODALITY: "Positron emission tomography",
        c.TARGET_REGION: "Entire body",
        c.RADIONUCLIDE: "^18^Fluorine",
        c.AGENT: "Fluorodeoxyglucose F^18^",
        c.ROUTE: "Intravenous route",
        c.HALF_LIFE: "6586.2 s",
        c.TOTAL_DOSE: "3.7e+08 Bq",
        c.AGENT_VOLUME: "12.5 cm3",
        c.START: "20240102083000",
    },
    "MG": {
        c.MODALITY: "Mammography",
        c.TARGET_REGION: "Breast",
        c.IMAGE_LATERALITY: "Right",
        c.IMAGE_VIEW: "cranio-caudal",
        c.ORIENTATION_ROW: "P",
        c.ORIENTATION_COLUMN: "L",
        c.HORIZONTAL_SPACING: "0.08 mm",
        c.VERTICAL_SPACING: "0.07 mm",
        c.PRIMARY_ANGLE: "45 deg",
    },
}


def report_of(headers: list[Dataset], kind: str) -> dml.Report:
    return dml.Report(scene(headers, kind), [group(dml.Point((3, 4), slice=0))], NET)


@pytest.mark.parametrize("kind", SAID)
def test_descriptors_are_those_of_the_images(headers, kind):
    library = report_of(headers, kind).tree().first(c.IMAGE_LIBRARY)
    assert library.template == "1600"
    (one,) = library.children
    own = {i.name: i.describe() for i in one.children if i.relationship == "HAS ACQ CONTEXT"}
    assert {name: own.get(name) for name in SAID[kind]} == SAID[kind]
    others = {name for said in SAID.values() for name in said} - set(SAID[kind])
    spacing = {c.HORIZONTAL_SPACING, c.VERTICAL_SPACING, c.SLICE_THICKNESS, c.STUDY_DATE, c.STUDY_TIME}
    assert not (others - spacing) & set(own)
    if kind == "MG":
        (view,) = [i for i in one.children if i.name == c.IMAGE_VIEW]
        assert view.children[0].describe() == "Magnification"
    assert len([i for i in one.children if i.value_type == "IMAGE"]) == (1 if kind == "MG" else len(headers))


@pytest.mark.judge
@pytest.mark.parametrize("kind", SAID)
def test_judges_agree(headers, kind, tmp_path):
    path = report_of(headers, kind).save(tmp_path / "a.dcm")
    assert dciodvfy(path) == [] and dsrdump(path) == []
    assert dcmqi_read_sr(path, tmp_path)["Measurements"]
    library = highdicom_read_sr(path).content[0].ContentSequence
    (found,) = [i for i in library if i.name == codes.DCM.ImageLibrary]
    read = {i.name.value for i in found.ContentSequence[0].ContentSequence if i.RelationshipType == "HAS ACQ CONTEXT"}
    assert {name.value for name in SAID[kind]} <= read


def test_what_the_images_disagree_on_is_not_said(headers, tmp_path):
    mixed = scene(headers, "CT")
    mixed[0].AcquisitionDate, mixed[-1].ContentDate = "20240109", ""
    by_place = sorted(mixed, key=lambda ds: [float(v) for v in ds.ImagePositionPatient])
    for ds in (by_place[0], by_place[-1]):
        ds.AcquisitionType = "SPIRAL" if ds is by_place[0] else "SEQUENCED"
    source = SourceSeries.from_datasets(mixed)
    assert "AcquisitionType" not in source.described and "ReconstructionAlgorithm" in source.described
    assert SourceSeries.from_string(source.to_string()).described == source.described
    assert "AcquisitionDate" not in source.attributes  # it is not copied into what is derived


def test_a_volume_knows_how_it_was_made(tmp_path):
    write_series(tmp_path / "a")
    source = dml.read_volume(tmp_path / "a").source
    assert source.described["SliceThickness"]["Value"] == [2.5]
    assert SourceSeries.from_string(source.to_string()).described == source.described
    tree = dml.Report(source, [group()], NET).tree()
    assert tree.first(c.SLICE_THICKNESS).value.value == 2.5
