"""From what reports say, in codes, words and numbers, to the classes that a network learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dicom_ml.codes import Code, parse_code
from dicom_ml.errors import CodeError, DicomMLError, EncodingError
from dicom_ml.objects.report import Evaluation, MeasurementGroup, Report

__all__ = ["ReportClasses", "settle_labels"]

Answer = Code | str | float
#: How several labels of one thing become one.
SEVERAL = ("error", "majority", "median", "highest", "lowest", "first")


class ReportClasses:
    """Which class a measurement group, or a whole report, is of.

    Parameters
    ----------
    classes : sequence, mapping or callable, optional
        What the answers mean. A sequence counts from ``first``; a mapping names its numbers. Keys are codes
        (``"SCT:27925004"``; SNOMED's two codings are one), free texts, or numbers where a measurement is asked for. A
        function takes the group and gives a number, or None for what it does not know. Without classes every group is
        of class ``first``.
    question : code, optional
        The evaluation, or measurement, whose answer counts, such as ``"RADLEX:RID36042"`` (Malignancy); without one
        the finding does.
    unmapped : {"error", "drop"} or int
        What to do with answers that have no class: refuse them, leave the group out, or give it this number.
    first : int
        Number of the first class of a sequence.

    Raises
    ------
    EncodingError
        If classes are no numbers, or two keys are one concept.
    """

    def __init__(
        self,
        classes: Sequence[Any] | Mapping[Any, int] | Callable[[Any], int | None] | None = None,
        question: Any = None,
        unmapped: str | int = "error",
        first: int = 0,
    ) -> None:
        if isinstance(unmapped, str) and unmapped not in ("error", "drop"):
            raise EncodingError(f"unmapped is 'error', 'drop' or a number, found {unmapped!r}")
        self.question = None if question is None else parse_code(question, need_meaning=False)
        if self.question is not None and classes is None:
            raise EncodingError(
                f"the answers to {self.question} need classes=: the number that each of them stands for"
            )
        self.unmapped = unmapped
        self.first = int(first)
        self.function = classes if callable(classes) else None
        self._table: dict[Answer, int] | None = None
        if classes is not None and not callable(classes):
            self._table = _table(classes, self.first)

    @property
    def count(self) -> int:
        """Numbers that a class may have, from ``first`` on."""
        values = [self.first] if self._table is None else [*self._table.values()]
        if isinstance(self.unmapped, int):
            values.append(self.unmapped)
        return max(values, default=self.first) - self.first + 1

    @property
    def lowest(self) -> int:
        """Lowest number that a class may have; ``first`` where a function gives them."""
        values = [self.first] if self._table is None else [*self._table.values()]
        return min([*values, self.unmapped] if isinstance(self.unmapped, int) else values, default=self.first)

    # ------------------------------------------------------------------ groups
    def label(self, group: MeasurementGroup) -> int | None:
        """Class of a group; None where it is to be left out.

        Raises
        ------
        CodeError
            If it has none, and ``unmapped`` is ``"error"``.
        """
        if self.function is not None:
            found = self.function(group)
            return self.absent("the function gave None", group) if found is None else int(found)
        if self._table is None:
            return self.first
        answer = self._answer(group)
        if answer is None:
            what = "finding" if self.question is None else f"answer to {self.question}"
            return self.absent(f"it has no {what}", group)
        known = self.number(answer)
        return self.absent(f"{_shown(answer)} is none of the classes", group) if known is None else known

    def number(self, answer: Answer) -> int | None:
        """Class of an answer: a code, a text or a number."""
        return None if self._table is None else self._table.get(answer)

    def _answer(self, group: MeasurementGroup) -> Answer | None:
        if self.question is None:
            return group.finding
        evaluation = group.evaluation(self.question)
        if evaluation is not None:
            return _said(evaluation)
        return group.value(self.question)

    def absent(self, why: str, group: MeasurementGroup | None = None) -> int | None:
        """What ``unmapped`` says of something without a class: a number, None, or an error."""
        if self.unmapped == "drop":
            return None
        if isinstance(self.unmapped, int):
            return self.unmapped
        known = "" if self._table is None else f", which are {', '.join(_shown(k) for k in list(self._table)[:12])}"
        where = "the report" if group is None else "a group"
        raise CodeError(f"{where} has no class: {why}{known}; add it, or pass unmapped='drop' or a number")

    # ------------------------------------------------------------------ reports
    def labels(self, report: Report) -> list[int]:
        """Classes of everything that a report says: of its groups, and of its own evaluations.

        Raises
        ------
        CodeError
            If an answer has no class, and ``unmapped`` is ``"error"``.
        """
        found: list[int | None] = []
        for group in report.groups:
            # a group that does not answer the question says nothing of it
            if self.question is None or self.function is not None or self._answer(group) is not None:
                found.append(self.label(group))
        for answer in self._own_answers(report):
            known = self.number(answer)
            found.append(self.absent(f"{_shown(answer)} is none of the classes") if known is None else known)
        return [label for label in found if label is not None]

    def _own_answers(self, report: Report) -> Iterator[Answer]:
        if self.question is None or self.function is not None:
            return
        yield from (_said(e) for e in report.evaluations if e.name == self.question)
        yield from (m.value for m in report.derived if m.name == self.question and m.value is not None)


def settle_labels(labels: Sequence[int], several: str = "error", what: str = "the image") -> int:
    """One label of several.

    Parameters
    ----------
    labels : sequence of int
        At least one.
    several : {"error", "majority", "median", "highest", "lowest", "first"}
        ``"majority"`` takes the lowest of those that are equally many, ``"median"`` the lower one of the two in the
        middle.

    Raises
    ------
    EncodingError
        If they differ, and that is an error.
    """
    if several not in SEVERAL:
        raise EncodingError(f"several is one of {', '.join(SEVERAL)}, found {several!r}")
    different = sorted(set(labels))
    if len(different) == 1 or several == "first":
        return labels[0]
    if several == "error":
        raise EncodingError(
            f"{what} has several classes, {different[:8]}; say with several='majority', 'median', 'highest' or "
            "'lowest' which one counts"
        )
    if several == "majority":
        return max(different, key=lambda label: (labels.count(label), -label))
    if several == "median":
        return sorted(labels)[(len(labels) - 1) // 2]
    return different[-1 if several == "highest" else 0]


# ---------------------------------------------------------------------- helpers
def _table(classes: Sequence[Any] | Mapping[Any, int], first: int) -> dict[Answer, int]:
    if isinstance(classes, (str, Code)):
        classes = [classes]
    pairs = list(classes.items()) if isinstance(classes, Mapping) else [(k, first + i) for i, k in enumerate(classes)]
    table: dict[Answer, int] = {}
    for key, value in pairs:
        if isinstance(value, bool) or int(value) != value:
            raise EncodingError(f"a class is a whole number, found {value!r} for {key!r}")
        answer = _key(key)
        if table.setdefault(answer, int(value)) != int(value):
            raise EncodingError(f"{_shown(answer)} has two classes, {table[answer]} and {int(value)}")
    return table


def _key(key: Any) -> Answer:
    if isinstance(key, (int, float)) and not isinstance(key, bool):
        return float(key)
    try:
        return parse_code(key, need_meaning=False)
    except DicomMLError:
        if isinstance(key, str):
            return key.strip()
        raise


def _said(evaluation: Evaluation) -> Answer:
    return evaluation.value if evaluation.value is not None else str(evaluation.text).strip()


def _shown(answer: Answer) -> str:
    # free text may name a patient: it is not repeated in messages
    return str(answer) if isinstance(answer, Code) else "a text" if isinstance(answer, str) else f"{answer:g}"
