"""The document around a selection: its modules, its content, its evidence (PS3.3 A.35.4, C.17.6; PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, file_head, item_bytes, sequence_bytes
from dicom_ml.objects.derived import Description, copied_dataset, declare_characters
from dicom_ml.objects.key_objects.selecting import value_type_of
from dicom_ml.objects.key_objects.titles import MODIFIER
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.context import Observer, observer_items
from dicom_ml.objects.report.item_writing import Encoder
from dicom_ml.objects.report.items import ContentItem, Reference, code_item, container, reference_item, text_item
from dicom_ml.source import SourceSeries

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DESCRIPTION", "content_of", "selection_bytes"]

DESCRIPTION = Code("113012", "DCM", "Key Object Description")
_EVIDENCE, _IDENTICAL = 0x0040A375, 0x0040A525
#: Attributes of images that the document has no module for.
_NOT_COPIED = ("PositionReferenceIndicator", "BodyPartExamined", "Laterality", "ContainerIdentifier",
               "IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence",
               "SpecimenDescriptionSequence")  # fmt: skip


def content_of(
    title: Code,
    reasons: Sequence[Code],
    description: str,
    references: Iterable[Reference],
    observers: Sequence[Observer],
) -> ContentItem:
    """The root content item of a selection."""
    items = [code_item(MODIFIER, reason, "HAS CONCEPT MOD") for reason in reasons]
    items.append(code_item(c.LANGUAGE, c.ENGLISH, "HAS CONCEPT MOD"))
    items += observer_items(observers)
    if description:
        items.append(text_item(DESCRIPTION, description, "CONTAINS"))
    # the template gives these no concept name
    items += [reference_item(None, r, "CONTAINS", value_type_of(r)) for r in references]
    root = container(title, items, "2010")
    root.relationship = ""
    return root


def selection_bytes(
    root: ContentItem, source: SourceSeries, description: Description, identical: Sequence[Reference]
) -> bytes:
    """A whole file.

    Parameters
    ----------
    root : ContentItem
        Whose references know their series and study.
    source : SourceSeries
        Whose patient and study the document belongs to.
    description : Description
    identical : sequence of Reference
        Copies of the document in the other studies that it refers to.
    """
    encoder = Encoder()
    content = encoder.content(root.children)
    assert root.name is not None
    title = encoder.code(0x0040A043, root.name)
    ds = _header(source, description)
    declare_characters(ds)
    if not encoder.plain:
        ds.SpecificCharacterSet = "ISO_IR 192"
    characters = ds.get("SpecificCharacterSet")
    template = element_bytes(0x00080105, "CS", b"DCMR") + element_bytes(0x0040DB00, "CS", root.template.encode())
    parts = [
        file_head(sop.KEY_OBJECT_SELECTION, description.sop_instance_uid, "1.2.840.10008.1.2.1"),
        dataset_bytes(ds[:0x0040A040]),
        element_bytes(0x0040A040, "CS", b"CONTAINER"),
        title,
        element_bytes(0x0040A050, "CS", b"SEPARATE"),
        dataset_bytes(ds[0x0040A050:_EVIDENCE], characters),
        _hierarchy(_EVIDENCE, encoder.references.values(), source),
        element_bytes(0x0040A504, "SQ", item_bytes(template)),
        _hierarchy(_IDENTICAL, identical, source) if identical else b"",
        content,
    ]
    return b"".join(parts)


def _header(source: SourceSeries, description: Description) -> Dataset:
    """Key Object Document Series, Key Object Document and equipment (PS3.3 C.17.6.1, C.17.6.2, C.7.5)."""
    from dicom_ml import __version__

    ds = copied_dataset(source)
    for keyword in _NOT_COPIED:
        if keyword in ds:
            delattr(ds, keyword)
    now = description.created
    ds.SOPClassUID = sop.KEY_OBJECT_SELECTION
    ds.SOPInstanceUID = description.sop_instance_uid
    ds.StudyInstanceUID = source.study_instance_uid
    ds.SeriesInstanceUID = description.series_instance_uid
    ds.Modality = "KO"
    ds.SeriesNumber = description.series_number
    ds.InstanceNumber = description.instance_number
    ds.SeriesDescription = description.series_description[:64]
    ds.SeriesDate = ds.ContentDate = ds.InstanceCreationDate = now.strftime("%Y%m%d")
    ds.SeriesTime = ds.ContentTime = ds.InstanceCreationTime = now.strftime("%H%M%S.%f")
    ds.Manufacturer = description.manufacturer
    ds.ManufacturerModelName = description.model
    ds.DeviceSerialNumber = description.serial_number
    ds.SoftwareVersions = description.software_versions or __version__
    ds.ReferencedPerformedProcedureStepSequence = []
    return ds


def _hierarchy(tag: int, references: Iterable[Reference], source: SourceSeries) -> bytes:
    """Hierarchical SOP Instance Reference: every object by study and series, each once (PS3.3 C.17.2.1)."""
    studies: dict[str, dict[str, dict[str, str]]] = {}
    for reference in references:
        study = studies.setdefault(reference.study_instance_uid or source.study_instance_uid, {})
        series = study.setdefault(reference.series_instance_uid, {})
        series.setdefault(reference.sop_instance_uid, reference.sop_class_uid)
    return sequence_bytes(tag, (_study(uid, series) for uid, series in studies.items()))


def _study(study: str, series: Mapping[str, Mapping[str, str]]) -> bytes:
    items = []
    for uid, instances in series.items():
        objects = (
            element_bytes(0x00081150, "UI", kind.encode()) + element_bytes(0x00081155, "UI", instance.encode())
            for instance, kind in instances.items()
        )
        items.append(sequence_bytes(0x00081199, objects) + element_bytes(0x0020000E, "UI", uid.encode()))
    return sequence_bytes(0x00081115, items) + element_bytes(0x0020000D, "UI", study.encode())
