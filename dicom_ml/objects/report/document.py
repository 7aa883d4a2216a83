"""The document around the content: SOP classes, modules, evidence, bytes (PS3.3 A.35, C.17)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.elements import CutOff, FileView, NotLean, Place, elements_of, items_of
from dicom_ml.encoding.writer import dataset_bytes, element_bytes, file_head, item_bytes
from dicom_ml.errors import EncodingError, FileError
from dicom_ml.objects.derived import Description, declare_characters
from dicom_ml.objects.report.header import EVIDENCE, ByStudy, document_header, hierarchy_bytes, list_reference
from dicom_ml.objects.report.item_reading import Decoder, explicit_bytes
from dicom_ml.objects.report.item_writing import Encoder
from dicom_ml.objects.report.items import ContentItem, Reference
from dicom_ml.objects.report.status import Status, add_status
from dicom_ml.source import SourceSeries

__all__ = ["DOCUMENTS", "StoredDocument", "document_bytes", "read_document"]

#: SOP class of each kind of document.
DOCUMENTS = {
    "enhanced": sop.ENHANCED_SR,
    "comprehensive": sop.COMPREHENSIVE_SR,
    "comprehensive3d": sop.COMPREHENSIVE_3D_SR,
}
_EXPLICIT = "1.2.840.10008.1.2.1"
_OTHER_EVIDENCE = 0x0040A385


def document_bytes(
    root: ContentItem,
    source: SourceSeries,
    description: Description,
    document: str,
    evidence: Iterable[Reference],
    status: Status,
) -> bytes:
    """A whole SR file.

    Parameters
    ----------
    root : ContentItem
    source : SourceSeries
        Whose patient and study the document belongs to.
    description : Description
    document : str
        A key of :data:`DOCUMENTS`.
    evidence : iterable of Reference
        Objects to list, with their series; whatever the content refers to must be among them or know its series.
    status : Status

    Raises
    ------
    EncodingError
        If the content holds what this kind of document cannot, or refers to an object whose series is not known.
    """
    if document != "comprehensive3d" and any(i.value_type == "SCOORD3D" for i in root.walk()):
        raise EncodingError(
            f"coordinates in millimetres (SCOORD3D) need document='comprehensive3d', not {document!r}; "
            "or pass coordinates='image'"
        )
    encoder = Encoder()
    content = encoder.content(root.children)
    name = root.name
    if name is None:
        raise EncodingError("a document needs a title")
    listed = _evidence(encoder.references, evidence, source)
    ds = document_header(source, description, DOCUMENTS[document], "SR")
    ds.PerformedProcedureCodeSequence = []
    add_status(ds, status)
    title = encoder.code(0x0040A043, name)
    declare_characters(ds)
    if not encoder.plain:
        ds.SpecificCharacterSet = "ISO_IR 192"
    characters = ds.get("SpecificCharacterSet")
    template = element_bytes(0x00080105, "CS", b"DCMR") + element_bytes(0x0040DB00, "CS", root.template.encode())
    parts = [
        file_head(DOCUMENTS[document], description.sop_instance_uid, _EXPLICIT),
        dataset_bytes(ds[:0x0040A040]),
        element_bytes(0x0040A040, "CS", b"CONTAINER"),
        title,
        element_bytes(0x0040A050, "CS", (root.continuity or "SEPARATE").encode()),
        dataset_bytes(ds[0x0040A050:EVIDENCE], characters),
        *listed,
        dataset_bytes(ds[_OTHER_EVIDENCE:], characters),
        element_bytes(0x0040A504, "SQ", item_bytes(template)) if root.template else b"",
        content,
    ]
    return b"".join(parts)


def _evidence(used: Mapping[str, Reference], given: Iterable[Reference], source: SourceSeries) -> list[bytes]:
    """Evidence sequences: every object by study and series, each once."""
    studies: ByStudy = {}
    known: set[str] = set()
    for reference in given:
        if reference.series_instance_uid and reference.sop_instance_uid:
            list_reference(studies, reference, source)
            known.add(reference.sop_instance_uid)
    for uid, reference in used.items():
        if uid in known:
            continue
        if not reference.series_instance_uid:
            raise EncodingError(
                f"the report refers to the object {uid}, whose series is not known, so that it cannot be listed as "
                "evidence; give the object itself, or a Reference with its series_instance_uid"
            )
        list_reference(studies, reference, source)
    own = {study: series for study, series in studies.items() if study == source.study_instance_uid}
    other = {study: series for study, series in studies.items() if study != source.study_instance_uid}
    return [hierarchy_bytes(tag, part) for tag, part in ((EVIDENCE, own), (_OTHER_EVIDENCE, other)) if part]


# ---------------------------------------------------------------------- reading
class StoredDocument:
    """A report as it lies in a file.

    Attributes
    ----------
    data : bytes
        The file in explicit VR little endian.
    view : FileView
    root : ContentItem
    evidence : dict
        SOP Instance UID of each object listed as evidence -> its series and study.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        try:
            self._parse(data)
        except CutOff as error:
            raise FileError(f"{name}: the file is cut off: {error}") from error
        except NotLean:
            try:
                self._parse(_rewritten(data, name))
            except NotLean as error:
                raise FileError(f"{name}: its elements cannot be walked ({error}); the file is damaged") from error

    def _parse(self, data: bytes) -> None:
        view = FileView(data)
        if view.implicit:
            raise NotLean("implicit VR")
        self.data = data
        self.view = view
        if 0x0040A730 not in view and 0x0040A040 not in view:
            raise FileError(
                f"{self.name}: is no structured report: it has no content, its SOP class is "
                f"{view.text(0x00080016) or 'missing'}, modality {view.text(0x00080060) or 'missing'}"
            )
        self.evidence = _stored_evidence(data, view)
        self.root = Decoder(data, _encodings(view), self.evidence).root(view.places)


def _stored_evidence(data: bytes, view: FileView) -> dict[str, tuple[str, str]]:
    """SOP Instance UID of each object listed as evidence -> its series and study."""

    def items(fields: Mapping[int, Place], tag: int) -> Iterator[dict[int, Place]]:
        place = fields.get(tag)
        if place is not None:
            for start, end in items_of(data, place[1], place[2], False):
                yield dict(elements_of(data, start, end, False))

    def text(fields: Mapping[int, Place], tag: int) -> str:
        place = fields.get(tag)
        return "" if place is None else data[place[1] : place[1] + place[2]].decode("latin-1").strip("\0 ")

    found: dict[str, tuple[str, str]] = {}
    for tag in (EVIDENCE, _OTHER_EVIDENCE):
        for study in items(view.places, tag):
            for series in items(study, 0x00081115):
                where = text(series, 0x0020000E), text(study, 0x0020000D)
                for instance in items(series, 0x00081199):
                    found[text(instance, 0x00081155)] = where
    return found


def read_document(source: str | os.PathLike[str] | bytes) -> StoredDocument:
    """Open a report from a path or from the bytes of a file, in any transfer syntax.

    Raises
    ------
    FileError
        If it is no structured report, or damaged.
    """
    if isinstance(source, bytes):
        return StoredDocument(source, "structured report")
    name = os.path.basename(os.fspath(source))
    try:
        with open(source, "rb") as file:
            data = file.read()
    except OSError as error:
        raise FileError(f"{name}: cannot be opened: {error.strerror or error}") from error
    if not data:
        raise FileError(f"{name}: the file is empty")
    try:
        return StoredDocument(data, name)
    except FileError as error:
        raise error if str(error).startswith(name) else FileError(f"{name}: {error}") from error


def _rewritten(data: bytes, name: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explicit_bytes(data)
    except Exception as error:
        raise FileError(f"{name}: cannot be parsed as DICOM: {type(error).__name__}: {error}") from error


def _encodings(view: FileView) -> list[str]:
    import warnings

    from pydicom.charset import convert_encodings

    declared = view.texts(0x00080005)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [str(e) for e in convert_encodings(declared or "ISO_IR 6")]
    except LookupError:
        return ["latin-1"]
