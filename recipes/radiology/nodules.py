"""What is said of nodules, and in which codes: those of LIDC-IDRI's published annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dicom_ml as dml
from dicom_ml.codes import Code, parse_code, parse_unit

__all__ = [
    "CODINGS",
    "DIAMETER",
    "LUNG",
    "MM",
    "MM2",
    "MM3",
    "NODULE",
    "RATINGS",
    "SURFACE",
    "VOLUME",
    "Coding",
    "evaluations",
]

#: What findings mean to readers and to the detector; the older coding of both is the same concept.
NODULE, LUNG = parse_code("SCT:27925004"), parse_code("SCT:39607008")
VOLUME, DIAMETER = parse_code("SCT:118565006"), parse_code("SCT:81827009")
MM, MM2, MM3 = (parse_unit(name) for name in ("mm", "mm2", "mm3"))
SURFACE = parse_code(("C0JK", "IBSI", "Surface area of mesh"))


@dataclass(frozen=True)
class Coding:
    """Codes of one edition of SNOMED: files of 2018 have the older ones.

    Attributes
    ----------
    nodule, lung, abnormal, volume, diameter : Code
    """

    nodule: Code
    lung: Code
    abnormal: Code
    volume: Code
    diameter: Code


CODINGS = {
    "SRT": Coding(*(parse_code(f"SRT:{x}") for x in ("M-03010", "T-28000", "M-01000", "G-D705", "M-02550"))),
    "SCT": Coding(NODULE, LUNG, parse_code("SCT:49755003"), VOLUME, DIAMETER),
}


def _graded(*codes: str) -> tuple[Code, ...]:
    return tuple(parse_code(code) for code in codes)


#: The nine questions that readers answer, and their answers from the first grade on.
RATINGS: Mapping[Code, tuple[Code, ...]] = {
    parse_code("NCIt:C45992"): _graded(*(f"99LIDCQIICR:10{n}" for n in range(1, 6))),
    parse_code("99LIDCQIICR:200"): _graded("NCIt:C12471", "NCIt:C25278", "NCIt:C12472", "NCIt:C73434"),
    parse_code("NCIt:C3672"): _graded(
        "RADLEX:RID35453", "99LIDCQIICR:302", "RADLEX:RID5741", "99LIDCQIICR:304", "RADLEX:RID5827", "RADLEX:RID28473"
    ),
    parse_code("99LIDCQIICR:400"): _graded(
        "RADLEX:RID5811", "99LIDCQIICR:002", "RADLEX:RID5800", "99LIDCQIICR:004", "RADLEX:RID5799"
    ),
    parse_code("NCIt:C25563"): _graded(
        "RADLEX:RID5709", "99LIDCQIICR:002", "99LIDCQIICR:003", "99LIDCQIICR:004", "RADLEX:RID5707"
    ),
    parse_code("NCIt:C62175"): _graded(
        "99LIDCQIICR:601", "99LIDCQIICR:002", "99LIDCQIICR:003", "99LIDCQIICR:004", "99LIDCQIICR:605"
    ),
    parse_code("NCIt:C28749"): _graded(
        "99LIDCQIICR:701", "99LIDCQIICR:002", "99LIDCQIICR:003", "99LIDCQIICR:004", "99LIDCQIICR:705"
    ),
    parse_code("NCIt:C41144"): _graded(
        "RADLEX:RID50153", "99LIDCQIICR:002", "RADLEX:RID50152", "99LIDCQIICR:004", "RADLEX:RID50151"
    ),
    parse_code("RADLEX:RID36042"): _graded(*(f"99LIDCQIICR:90{n}" for n in range(1, 6))),
}


def evaluations(grades: tuple[int, ...]) -> tuple[dml.Evaluation, ...]:
    """A reader's answers: a grade from 1 on for each question, in the order of :data:`RATINGS`."""
    pairs = zip(RATINGS.items(), grades, strict=True)
    return tuple(dml.Evaluation(question, answers[grade - 1]) for (question, answers), grade in pairs)
