"""The document around a selection: its modules, its content, its evidence (PS3.3 A.35.4, C.17.6; PS3.16 TID 2010)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, file_head, item_bytes
from dicom_ml.objects.derived import Description, declare_characters
from dicom_ml.objects.key_objects.selecting import value_type_of
from dicom_ml.objects.key_objects.titles import MODIFIER
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.context import Observer, observer_items
from dicom_ml.objects.report.header import EVIDENCE, ByStudy, document_header, hierarchy_bytes, list_reference
from dicom_ml.objects.report.item_writing import Encoder
from dicom_ml.objects.report.items import ContentItem, Reference, code_item, container, reference_item, text_item
from dicom_ml.source import SourceSeries

__all__ = ["DESCRIPTION", "content_of", "selection_bytes"]

DESCRIPTION = Code("113012", "DCM", "Key Object Description")
_IDENTICAL = 0x0040A525


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
    ds = document_header(source, description, sop.KEY_OBJECT_SELECTION, "KO")
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
        dataset_bytes(ds[0x0040A050:EVIDENCE], characters),
        hierarchy_bytes(EVIDENCE, _listed(encoder.references.values(), source)),
        element_bytes(0x0040A504, "SQ", item_bytes(template)),
        hierarchy_bytes(_IDENTICAL, _listed(identical, source)) if identical else b"",
        content,
    ]
    return b"".join(parts)


def _listed(references: Iterable[Reference], source: SourceSeries) -> ByStudy:
    studies: ByStudy = {}
    for reference in references:
        list_reference(studies, reference, source)
    return studies
