"""What structured reports and key object selections have alike: series, document, equipment, lists of objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dicom_ml.encoding.writer import element_bytes, sequence_bytes
from dicom_ml.objects.derived import Description, add_identity, copied_dataset
from dicom_ml.objects.report.items import Reference
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["EVIDENCE", "ByStudy", "document_header", "hierarchy_bytes", "list_reference"]

#: Current Requested Procedure Evidence Sequence.
EVIDENCE = 0x0040A375
#: Attributes of images that a document has no module for.
_NOT_COPIED = ("PositionReferenceIndicator", "BodyPartExamined", "Laterality", "ContainerIdentifier",
               "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence",
               "SpecimenDescriptionSequence")  # fmt: skip

#: Study, series and SOP instance to the class of the instance.
ByStudy = dict[str, dict[str, dict[str, str]]]


def document_header(source: SourceSeries, description: Description, sop_class: str, modality: str) -> Dataset:
    """Series, general and equipment modules of a document (PS3.3 C.17.1, C.17.2, C.17.6.1, C.17.6.2, C.7.5)."""
    ds = copied_dataset(source)
    for keyword in _NOT_COPIED:
        if keyword in ds:
            delattr(ds, keyword)
    ds.SOPClassUID = sop_class
    add_identity(ds, source, description, modality)
    ds.ReferencedPerformedProcedureStepSequence = []
    return ds


def list_reference(studies: ByStudy, reference: Reference, source: SourceSeries) -> None:
    """Add an object to those of its study and series, once; without a study it is of the source's."""
    study = studies.setdefault(reference.study_instance_uid or source.study_instance_uid, {})
    series = study.setdefault(reference.series_instance_uid, {})
    series.setdefault(reference.sop_instance_uid, reference.sop_class_uid)


def hierarchy_bytes(tag: int, studies: Mapping[str, Mapping[str, Mapping[str, str]]]) -> bytes:
    """Hierarchical SOP Instance Reference: objects by study and series (PS3.3 C.17.2.1)."""
    return sequence_bytes(tag, (_study(study, series) for study, series in studies.items()))


def _study(study: str, series: Mapping[str, Mapping[str, str]]) -> bytes:
    items = []
    for uid, instances in series.items():
        named = sequence_bytes(0x00081199, _instances(instances))
        items.append(named + element_bytes(0x0020000E, "UI", uid.encode()))
    return sequence_bytes(0x00081115, items) + element_bytes(0x0020000D, "UI", study.encode())


def _instances(instances: Mapping[str, str]) -> Iterable[bytes]:
    for instance, kind in instances.items():
        yield element_bytes(0x00081150, "UI", kind.encode()) + element_bytes(0x00081155, "UI", instance.encode())
