"""Checks of structured reports and key object selections (PS3.3 A.35, C.17, C.18; PS3.16 TID 1500, 2010)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.iod.content_items import check_item
from dicom_ml.objects.iod.context import Findings, items_of, text, where
from dicom_ml.objects.iod.subject import Subject

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["REPORTS", "check_content", "check_evidence", "check_key_objects", "check_measurement_report"]

REPORTS = (sop.BASIC_TEXT_SR, *sop.MEASUREMENT_REPORTS)

_PLAIN = {"TEXT", "CODE", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE", "IMAGE", "WAVEFORM", "CONTAINER"}
#: Value types of each kind of document (PS3.3 A.35.1.3.1 and the like).
_VALUE_TYPES = {
    sop.BASIC_TEXT_SR: _PLAIN,
    sop.ENHANCED_SR: _PLAIN | {"NUM", "SCOORD", "TCOORD"},
    sop.COMPREHENSIVE_SR: _PLAIN | {"NUM", "SCOORD", "TCOORD"},
    sop.COMPREHENSIVE_3D_SR: _PLAIN | {"NUM", "SCOORD", "TCOORD", "SCOORD3D", "TABLE"},
    sop.KEY_OBJECT_SELECTION: {"TEXT", "CODE", "UIDREF", "PNAME", "COMPOSITE", "IMAGE", "WAVEFORM", "CONTAINER"},
}
#: What an item of a value type may be the source of.
_SOURCES = {
    "CONTAINS": {"CONTAINER"},
    "HAS PROPERTIES": {"TEXT", "CODE", "NUM", "PNAME"},
    "INFERRED FROM": {"TEXT", "CODE", "NUM"},
    "SELECTED FROM": {"SCOORD", "TCOORD", "SCOORD3D"},
    "HAS ACQ CONTEXT": {"CONTAINER", "IMAGE", "WAVEFORM", "COMPOSITE", "NUM"},
    "HAS OBS CONTEXT": {"CONTAINER", "TEXT", "CODE", "NUM", "SCOORD", "SCOORD3D", "TCOORD"},
    "HAS CONCEPT MOD": None,
}
_TARGETS = {
    "HAS CONCEPT MOD": {"TEXT", "CODE"},
    "HAS OBS CONTEXT": {"TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "COMPOSITE", "CONTAINER"},
    "HAS ACQ CONTEXT": {"TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME", "CONTAINER"},
}
_SELECTED = {"SCOORD": {"IMAGE"}, "TCOORD": {"SCOORD", "SCOORD3D", "IMAGE", "WAVEFORM"}, "SCOORD3D": set[str]()}
_TITLES = {
    *(f"1130{n:02d}" for n in (*range(11), 13, 18, 20, 21, *range(30, 42))),
    *("113042", "128204", "128213", "128214", "130555"),
}
_REPORT_TITLE, _GROUP = ("126000", "DCM"), ("125007", "DCM")
_TEMPLATES = ("1410", "1411", "1501")


def code_of(item: Dataset, keyword: str = "ConceptNameCodeSequence") -> tuple[str, str]:
    """Value and scheme of a coded name."""
    codes = items_of(item, keyword)
    if not codes:
        return "", ""
    return text(codes[0], "CodeValue"), text(codes[0], "CodingSchemeDesignator")


def walk_content(item: Dataset, path: str = "") -> Iterator[tuple[str, Dataset, Dataset | None]]:
    """All items of a document with their paths and parents, the root first."""
    stack: list[tuple[str, Dataset, Dataset | None]] = [(path, item, None)]
    while stack:
        here, current, parent = stack.pop()
        yield here, current, parent
        name = f"{here}.ContentSequence" if here else "ContentSequence"
        children = items_of(current, "ContentSequence")
        for place in range(len(children), 0, -1):
            stack.append((f"{name}[{place}]", children[place - 1], current))


def check_content(subject: Subject, out: Findings) -> None:
    """Every item: its value type, relationship, name and value (C.17.3, C.18)."""
    allowed = _VALUE_TYPES.get(subject.sop_class)
    by_reference = subject.sop_class in (sop.COMPREHENSIVE_SR, sop.COMPREHENSIVE_3D_SR)
    for path, item, parent in walk_content(subject.ds):
        kind, relationship = text(item, "ValueType"), text(item, "RelationshipType")
        if "ReferencedContentItemIdentifier" in item:
            if not by_reference:
                here = where(path, "ReferencedContentItemIdentifier")
                out.error(here, "relationships by reference are not allowed in this kind of document", "", "A.35")
            continue
        if not kind:
            out.error(where(path, "ValueType"), "is missing or empty", "", "C.17.3")
            continue
        if allowed is not None and kind not in allowed:
            out.error(where(path, "ValueType"), f"{kind} is not allowed in this kind of document", "", "A.35")
        if parent is None:
            if kind != "CONTAINER":
                out.error(where(path, "ValueType"), f"the root is a {kind}; expected a CONTAINER", "", "C.17.3")
        else:
            _check_relationship(path, kind, relationship, text(parent, "ValueType"), out)
        check_item(item, kind, path, subject, out)


def _check_relationship(path: str, kind: str, relationship: str, parent: str, out: Findings) -> None:
    here, section = where(path, "RelationshipType"), "A.35.3.3"
    if not relationship:
        out.error(here, "is missing: how the item relates to the one above is not said", "", "C.17.3")
        return
    if relationship not in _SOURCES:
        expected = ", ".join(sorted(_SOURCES))
        out.error(here, f"is no relationship: {relationship!r}", expected, "C.17.3.2.4")
        return
    sources = _SOURCES[relationship]
    if sources is not None and parent not in sources:
        out.error(here, f"{parent} {relationship} {kind}: no {parent} has this relationship", "", section)
        return
    targets = _SELECTED.get(parent) if relationship == "SELECTED FROM" else _TARGETS.get(relationship)
    if targets is not None and kind not in targets:
        out.error(here, f"{parent} {relationship} {kind} is not allowed", "", section)


# ---------------------------------------------------------------------- evidence
def check_evidence(subject: Subject, out: Findings) -> None:
    """What the content refers to is listed as evidence, with its study and series (C.17.2.3)."""
    ds = subject.ds
    listed: dict[str, str] = {}
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in items_of(ds, keyword):
            for series in items_of(study, "ReferencedSeriesSequence"):
                for instance in items_of(series, "ReferencedSOPSequence"):
                    uid = text(instance, "ReferencedSOPInstanceUID")
                    listed[uid] = text(instance, "ReferencedSOPClassUID")
    missing = 0
    for path, item, _ in walk_content(ds):
        for reference in items_of(item, "ReferencedSOPSequence"):
            uid, of_class = text(reference, "ReferencedSOPInstanceUID"), text(reference, "ReferencedSOPClassUID")
            here = where(f"{path}.ReferencedSOPSequence[1]", "ReferencedSOPInstanceUID")
            if uid and uid not in listed:
                missing += 1
                if missing <= 5:
                    out.error(
                        here, f"{uid} is not listed as evidence",
                        "list every object that the content refers to, with its study and series", "C.17.2.3",
                    )  # fmt: skip
            elif uid and listed[uid] and of_class and listed[uid] != of_class:
                out.error(here, "has another SOP class in the evidence", "", "C.17.2.3")
    if missing > 5:
        out.error(where("", "CurrentRequestedProcedureEvidenceSequence"), f"lacks {missing} objects", "", "C.17.2.3")


# ---------------------------------------------------------------------- TID 1500
def check_measurement_report(subject: Subject, out: Findings) -> None:
    """Template, observer and tracking of measurement reports (PS3.16 TID 1500, 1001, 1410, 1411, 1501)."""
    ds = subject.ds
    root = _template(ds)
    if code_of(ds) != _REPORT_TITLE and root != "1500":
        return
    here = where("", "ContentTemplateSequence")
    if root != "1500":
        out.error(here, "does not say that this is a report by TID 1500", "TemplateIdentifier 1500, DCMR", "C.18.8")
    children = {code_of(item)[0] for item in items_of(ds, "ContentSequence")}
    if not children & {"121008", "121012"}:
        out.error(
            where("", "ContentSequence"), "names no observer, neither person nor device",
            "say who measured: Observer Type and Person or Device Observer", "TID 1001", "PS3.16",
        )  # fmt: skip
    for value, name in (("121049", "language"), ("121058", "procedure reported")):
        if value not in children:
            out.warning(where("", "ContentSequence"), f"the {name} is not said", "", "TID 1500", "PS3.16")
    for path, item, _ in walk_content(ds):
        if code_of(item) == _GROUP and text(item, "ValueType") == "CONTAINER":
            _check_group(item, path, out)


def _template(item: Dataset) -> str:
    found = items_of(item, "ContentTemplateSequence")
    return text(found[0], "TemplateIdentifier") if found else ""


def _check_group(item: Dataset, path: str, out: Findings) -> None:
    template = _template(item)
    if not template:
        here = where(path, "ContentTemplateSequence")
        out.error(here, "is missing of a measurement group", "1410, 1411 or 1501", "C.18.8")
    elif template not in _TEMPLATES and template.isdigit():
        here = where(f"{path}.ContentTemplateSequence[1]", "TemplateIdentifier")
        out.warning(here, f"is {template}, which is no template of measurement groups", "", "TID 1500", "PS3.16")
    names = {code_of(child)[0] for child in items_of(item, "ContentSequence")}
    here, section = where(path, "ContentSequence"), f"TID {template or '1501'}"
    if "112040" not in names:
        out.error(here, "has no Tracking Unique Identifier", "give each group one", section, "PS3.16")
    if "112039" not in names:
        out.error(here, "has no Tracking Identifier", "give each group one", section, "PS3.16")


# ---------------------------------------------------------------------- key objects
def check_key_objects(subject: Subject, out: Findings) -> None:
    """Title, template and content of a key object selection (PS3.16 TID 2010, CID 7010)."""
    ds = subject.ds
    value, scheme = code_of(ds)
    here = where("", "ConceptNameCodeSequence")
    if not value:
        out.error(here, "is missing: the selection has no title", "take one of CID 7010", "TID 2010", "PS3.16")
    elif scheme != "DCM" or value not in _TITLES:
        out.error(here, f"({value}, {scheme}) is no title of key objects", "one of CID 7010", "CID 7010", "PS3.16")
    if _template(ds) != "2010":
        out.error(where("", "ContentTemplateSequence"), "does not say TID 2010", "", "C.17.3", "PS3.3")
    kinds = [(n, i) for n, i in enumerate(items_of(ds, "ContentSequence"), start=1) if text(i, "ValueType")]
    chosen = [(n, i) for n, i in kinds if text(i, "ValueType") in ("IMAGE", "COMPOSITE", "WAVEFORM")]
    if not chosen:
        out.error(where("", "ContentSequence"), "refers to no object: nothing is selected", "", "TID 2010", "PS3.16")
    for place, item in chosen:
        if items_of(item, "ConceptNameCodeSequence"):
            here = where(f"ContentSequence[{place}]", "ConceptNameCodeSequence")
            out.warning(here, "names the purpose of a key object, for which TID 2010 has no name", "leave it out",
                        "TID 2010", "PS3.16")  # fmt: skip
