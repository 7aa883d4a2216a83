"""One data set, its identifiers replaced, with its references and its clinical content kept."""

from __future__ import annotations

import warnings
from typing import Any

from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_ml.encoding.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_ml.encoding.untrusted import understood
from dicom_ml.errors import EncodingError
from dicom_ml.pseudonyms.mapping import Pseudonyms
from dicom_ml.pseudonyms.profile import action_of, edition

__all__ = ["pseudonymise"]

#: UIDs that name no instance, study, series, frame of reference, device or person.
_NAMES_NOBODY = frozenset(
    [0x00020002, 0x00020010, 0x00020012, 0x00080016, 0x0008001A, 0x00081150, 0x0008010C, 0x00080117, 0x00080118]
    + [0x0008001B, 0x00083002, 0x00041510, 0x00041512]
)
#: Content that is cleaned rather than thrown away (options of PS3.15 E.3: structured content, graphics, acquisition).
_CLEANED = frozenset([0x0040A730, 0x00700001, 0x00400555, 0x00700008, 0x00700009])
_DATES = ("DA", "DT")
#: Dates that stay, moved: longitudinal information with modified dates (PS3.15 E.3.6).
_MOVED = frozenset(
    [0x00080012, 0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x0008002A, 0x00189074, 0x00080015]
    + [0x0040A032, 0x0040A120, 0x0040A121, 0x0040A13A, 0x00181078, 0x00700082, 0x30060008]
)
_TIMES = frozenset([0x00080013, 0x00080030, 0x00080031, 0x00080032, 0x00080033, 0x0040A122, 0x00700083, 0x30060009])
#: Identifiers that stay distinguishable, as pseudonyms.
_IDENTIFIERS = frozenset([0x00100020, 0x00400512, 0x00400551, 0x00620020])
_NUMBERS = ("DS", "IS", "FD", "FL", "SL", "SS", "UL", "US", "SV", "UV")
_DUMMY = "REMOVED"
_METHOD = "dicom_ml pseudonyms, PS3.15 Basic Profile {}"
#: Basic profile, structured content and graphics cleaned, modified dates (CID 7050).
_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113104", "Clean Structured Content Option"),
    ("113103", "Clean Graphics Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
#: Text of a report that says nothing of a person: names and versions of algorithms, and what is measured.
_HARMLESS_TEXT = frozenset(["111001", "111003", "122405", "113878", "113879", "113880", "112024"])
_TRACKING_IDENTIFIER = "112039"


def pseudonymise(dataset: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """A copy of a data set with pseudonyms in place of what identifies a person (PS3.15 Annex E).

    The Basic Profile is applied at every depth; UIDs are replaced consistently, dates move by a number of days that
    is the patient's own, reports and graphics keep their content without names and free text, private attributes go.

    Parameters
    ----------
    dataset : pydicom.Dataset
    pseudonyms : Pseudonyms

    Raises
    ------
    EncodingError
        If the pixels themselves show who it is: Burned In Annotation is YES, or it is the label of a slide.
    """
    kind = [str(part).upper() for part in dataset.get("ImageType") or []]
    if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        raise EncodingError(
            f"instance {dataset.get('SOPInstanceUID')} says that identifying text is burned into its pixels; "
            "clean them first, or leave it out"
        )
    if len(kind) > 2 and kind[2] in ("LABEL", "OVERVIEW") and str(dataset.get("Modality") or "") == "SM":
        raise EncodingError(
            f"instance {dataset.get('SOPInstanceUID')} is the {kind[2].lower()} image of a slide, which shows its "
            "label: leave it out"
        )
    patient = f"{dataset.get('IssuerOfPatientID') or ''}\0{dataset.get('PatientID') or ''}"
    with understood(f"instance {dataset.get('SOPInstanceUID') or ''}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cleaned = _Cleaner(pseudonyms, patient).dataset(dataset)
    _mark(cleaned)
    cleaned.file_meta = _meta(dataset, cleaned)
    return cleaned


class _Cleaner:
    def __init__(self, pseudonyms: Pseudonyms, patient: str) -> None:
        self.pseudonyms, self.patient = pseudonyms, patient

    def dataset(self, given: Dataset) -> Dataset:
        """A copy, cleaned at every depth."""
        made = Dataset()
        for element in given:
            if element.tag.is_private or element.tag.group < 8:
                continue
            kept = self._element(element, given)
            if kept is not None:
                made.add(kept)
        return made

    def _element(self, element: DataElement, inside: Dataset) -> DataElement | None:
        tag, vr = int(element.tag), element.VR
        if vr == "UI":
            if tag in _NAMES_NOBODY:
                return element
            return self._new(element, self._each(element.value, self.pseudonyms.uid))
        if tag == 0x00100010:
            return self._new(element, self.pseudonyms.identifier(self.patient, "patient"))
        if tag in _IDENTIFIERS:
            text = self.patient if tag == 0x00100020 else str(element.value or "")
            return self._new(element, self.pseudonyms.identifier(text, "patient" if tag == 0x00100020 else "id"))
        if tag in _MOVED:
            return self._new(element, self._each(element.value, self._moved))
        if tag in _TIMES:
            return element
        if vr == "SQ":
            return self._sequence(element, tag)
        if tag == 0x0040A160:
            return self._new(element, self._text_value(str(element.value or ""), inside))
        if tag == 0x0040A123:
            return self._new(element, "OBSERVER")
        action = action_of(tag)
        if action is None:
            return element
        if action == "X":
            return None
        if action == "Z" or element.is_empty:
            return self._new(element, None)
        return self._new(element, self._dummy(element))

    def _sequence(self, element: DataElement, tag: int) -> DataElement | None:
        action = action_of(tag)
        if action == "X" and tag not in _CLEANED:
            return None
        if action == "Z" and tag not in _CLEANED:
            return self._new(element, Sequence())
        return self._new(element, Sequence([self.dataset(item) for item in element.value]))

    def _text_value(self, text: str, item: Dataset) -> str:
        names = item.get("ConceptNameCodeSequence") or []
        code = str(names[0].get("CodeValue") or "") if names else ""
        if code in _HARMLESS_TEXT:
            return text
        if code == _TRACKING_IDENTIFIER:
            return self.pseudonyms.identifier(text, "tracking")
        return _DUMMY

    def _dummy(self, element: DataElement) -> Any:
        vr = element.VR
        if vr in _DATES:
            return self._each(element.value, self._moved)
        if vr == "TM":
            return "000000"
        if vr == "PN":
            return self.pseudonyms.identifier(str(element.value), "name")
        if vr in _NUMBERS:
            return 0
        if vr == "AS":
            return "000Y"
        if vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
            return bytes(len(element.value or b""))
        return _DUMMY[:16]

    def _moved(self, value: str) -> str:
        return self.pseudonyms.date(value, self.patient)

    @staticmethod
    def _each(value: Any, change: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, (list, MultiValue)):
            return [change(str(part)) for part in value]
        return change(str(value))

    @staticmethod
    def _new(element: DataElement, value: Any) -> DataElement:
        return DataElement(element.tag, element.VR, value)


def _mark(dataset: Dataset) -> None:
    """Say what was done (PS3.3 C.7.1.1, C.12.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD.format(edition())
    items = []
    for value, meaning in _METHODS:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def _meta(given: Dataset, cleaned: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    known = getattr(given, "file_meta", None) or Dataset()
    meta.MediaStorageSOPClassUID = cleaned.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = cleaned.get("SOPInstanceUID", "")
    meta.TransferSyntaxUID = known.get("TransferSyntaxUID", "1.2.840.10008.1.2.1")
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
