"""The report of the findings that the rows read, written with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.dicom_files import base, code, item, uid
from benchmarks.findings import (
    ALGORITHM_NAME,
    ALGORITHM_VERSION,
    ANSWERS,
    AREA,
    COMPREHENSIVE_3D,
    CT_IMAGE,
    DIAMETER,
    FINDING,
    GROUP,
    LUNG,
    MALIGNANCY,
    MEASUREMENTS,
    MILLIMETER,
    NODULE,
    REGION,
    REPORT,
    SITE,
    SQUARE,
    TRACKING_ID,
    TRACKING_UID,
    Finding,
    Triple,
)
from benchmarks.registry import Size


def _coded(triple: Triple) -> Dataset:
    return code(triple[0], triple[2], triple[1])


def _content(value_type: str, name: Triple | None, rel: str = "CONTAINS", **values: Any) -> Dataset:
    made = item(RelationshipType=rel, ValueType=value_type, **values)
    if name is not None:
        made.ConceptNameCodeSequence = [_coded(name)]
    return made


def _coded_content(name: Triple, value: Triple, rel: str = "CONTAINS") -> Dataset:
    return _content("CODE", name, rel, ConceptCodeSequence=[_coded(value)])


def _number(name: Triple, value: float, unit: Triple) -> Dataset:
    measured = item(NumericValue=repr(value), MeasurementUnitsCodeSequence=[_coded(unit)])
    return _content("NUM", name, MeasuredValueSequence=[measured])


def _group(finding: Finding, image: str) -> Dataset:
    reference = item(ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=image)
    selected = _content("IMAGE", None, "SELECTED FROM", ReferencedSOPSequence=[reference])
    outline = [value for point in finding["points"] for value in point]
    content = [
        _content("TEXT", TRACKING_ID, "HAS OBS CONTEXT", TextValue=finding["name"]),
        _content("UIDREF", TRACKING_UID, "HAS OBS CONTEXT", UID=finding["uid"]),
        _coded_content(FINDING, NODULE),
        _content("TEXT", ALGORITHM_NAME, "HAS CONCEPT MOD", TextValue="Benchmark"),
        _content("TEXT", ALGORITHM_VERSION, "HAS CONCEPT MOD", TextValue="1"),
        _coded_content(SITE, LUNG, "HAS CONCEPT MOD"),
        _content("SCOORD", REGION, GraphicType="POLYLINE", GraphicData=outline, ContentSequence=[selected]),
        _number(DIAMETER, finding["diameter"], MILLIMETER),
        _number(AREA, finding["area"], SQUARE),
        _coded_content(MALIGNANCY, ANSWERS[finding["answer"]]),
    ]
    template = item(MappingResource="DCMR", TemplateIdentifier="1410")
    return _content(
        "CONTAINER", GROUP, ContinuityOfContent="SEPARATE", ContentTemplateSequence=[template], ContentSequence=content
    )


def write_report(path: Path, found: Sequence[Finding], images: Sequence[str], series: str, size: Size) -> None:
    """A Comprehensive 3D SR of the findings, by TID 1500; ``images`` are the UIDs of the slices."""
    ds = base(COMPREHENSIVE_3D, uid("report", size), uid("report series", size), size, ExplicitVRLittleEndian)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID",
                    "PositionReferenceIndicator", "AcquisitionDate", "AcquisitionTime"):  # fmt: skip
        delattr(ds, keyword)
    ds.Modality = "SR"
    ds.ReferencedPerformedProcedureStepSequence = ds.PerformedProcedureCodeSequence = []
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    slices = sorted({finding["slice"] for finding in found})
    instances = [item(ReferencedSOPClassUID=CT_IMAGE, ReferencedSOPInstanceUID=images[d]) for d in slices]
    in_series = item(ReferencedSOPSequence=instances, SeriesInstanceUID=series)
    ds.CurrentRequestedProcedureEvidenceSequence = [
        item(ReferencedSeriesSequence=[in_series], StudyInstanceUID=ds.StudyInstanceUID)
    ]
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [_coded(REPORT)]
    ds.ContentTemplateSequence = [item(MappingResource="DCMR", TemplateIdentifier="1500")]
    groups = [_group(finding, images[finding["slice"]]) for finding in found]
    ds.ContentSequence = [
        _coded_content(("121049", "DCM", "Language of Content Item and Descendants"), ("en", "RFC5646", "English"),
                       "HAS CONCEPT MOD"),
        _coded_content(("121005", "DCM", "Observer Type"), ("121007", "DCM", "Device"), "HAS OBS CONTEXT"),
        _content("UIDREF", ("121012", "DCM", "Device Observer UID"), "HAS OBS CONTEXT", UID=uid("observer")),
        _coded_content(("121058", "DCM", "Procedure reported"), ("25045-6", "LN", "CT unspecified body region"),
                       "HAS CONCEPT MOD"),
        _content("CONTAINER", MEASUREMENTS, ContinuityOfContent="SEPARATE", ContentSequence=groups),
    ]  # fmt: skip
    ds.save_as(path, enforce_file_format=True)
