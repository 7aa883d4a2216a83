"""The classes, and how DICOM says them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dicom_ml as dml
from dicom_ml.bridge.tile_labels import specimen_codes
from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import CodeError

__all__ = ["CLASSES", "QUESTION", "SITE", "SlideClass", "class_of_report", "class_of_specimen", "preparation_of"]


@dataclass(frozen=True)
class SlideClass:
    """A class of tissue.

    Attributes
    ----------
    name : str
    label : str
        For people.
    code : Code
        Of the morphology.
    color : tuple of int
    """

    name: str
    label: str
    code: Code
    color: tuple[int, int, int]

    def segment(self, algorithm: dml.Algorithm) -> dml.Segment:
        """The segment of tiles of this class."""
        return dml.Segment(self.label, self.code, self.category, algorithm, color=self.color)

    @property
    def category(self) -> Code:
        """Category of its segments: tissue, or a morphologically abnormal structure."""
        return parse_code("SCT:85756007" if self.name == "normal" else "SCT:49755003")


_ADENOCARCINOMA = parse_code(("35917007", "SCT", "Adenocarcinoma"))
_SQUAMOUS = parse_code(("28899001", "SCT", "Squamous cell carcinoma"))
#: In the order of the network's outputs.
CLASSES = (
    SlideClass("normal", "Normal", parse_code("SCT:17621005"), (90, 170, 230)),
    SlideClass("luad", "Adenocarcinoma", _ADENOCARCINOMA, (240, 150, 40)),
    SlideClass("lscc", "Squamous cell carcinoma", _SQUAMOUS, (80, 180, 90)),
)
#: What the label report answers.
QUESTION = parse_code(("116676008", "SCT", "Associated morphology"))
SITE = dml.Site(parse_code("SCT:39607008"))

_NORMAL, _NEOPLASM = parse_code("SCT:17621005"), parse_code("SCT:86049000")
_FROZEN = parse_code(("433469005", "SCT", "Tissue freezing medium"))
_PARAFFIN = parse_code(("311731000", "SCT", "Paraffin wax"))


def class_of_specimen(source: Any, collection: str) -> SlideClass:
    """Class of a slide by its specimen, and of tumours by its collection: the specimen tells no subtype.

    Raises
    ------
    CodeError
        If the specimen says neither normal nor neoplasm, or the collection's subtype is unknown.
    """
    held = set(specimen_codes(source))
    if _NEOPLASM in held:
        subtype = {"luad": "luad", "lusc": "lscc", "lscc": "lscc"}.get(collection.rsplit("_", 1)[-1])
        found = next((one for one in CLASSES if one.name == subtype), None)
        if found is None:
            raise CodeError(f"the collection {collection!r} does not tell which tumour its slides show")
        return found
    if _NORMAL in held:
        return CLASSES[0]
    raise CodeError("the specimen is said to be neither normal (SCT:17621005) nor a primary neoplasm (SCT:86049000)")


def preparation_of(source: Any) -> str:
    """``"frozen"``, ``"ffpe"``, or empty where the specimen does not tell."""
    held = set(specimen_codes(source))
    return "frozen" if _FROZEN in held else "ffpe" if _PARAFFIN in held else ""


def class_of_report(report: dml.Report) -> int:
    """Number of the class that a label report names.

    Raises
    ------
    CodeError
        If it names none of them.
    """
    for group in report.groups:
        answer = group.evaluation(QUESTION)
        for number, one in enumerate(CLASSES):
            if answer is not None and answer.value == one.code:
                return number
    raise CodeError("the report names none of the classes as the slide's morphology")
