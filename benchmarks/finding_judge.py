"""What is right of a report: every outline, number and answer of the scene, on the image where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.findings import ANSWERS, AREA, DIAMETER, GROUP, MALIGNANCY, NODULE, TRACKING_ID, TRACKING_UID
from benchmarks.registry import Case, WrongResult

#: Of a group: tracking UID, identifier, value of the finding's code, image, outline, numbers and answer by code value.
#: None stands for what a reader does not give.
Row = tuple[str, str, str, "str | None", "Any", dict[str, float], dict[str, str]]


def truth(case: Case) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = case.info("findings")["findings"]
    return found


def check_groups(case: Case, groups: Sequence[Row], outlines: bool = True) -> None:
    """Hold groups against the scene; without ``outlines`` these are not looked at."""
    images = case.info("findings")["images"]
    expected = truth(case)
    if len(groups) != len(expected):
        raise WrongResult(f"{len(groups)} groups, {len(expected)} expected")
    by_uid = {group[0]: group for group in groups}
    for finding in expected:
        if finding["uid"] not in by_uid:
            raise WrongResult(f"{finding['name']} is missing")
        _, name, kind, image, outline, numbers, answers = by_uid[finding["uid"]]
        wanted = {DIAMETER[0]: finding["diameter"], AREA[0]: finding["area"]}
        if name != finding["name"] or kind != NODULE[0]:
            raise WrongResult(f"{finding['name']} is called {name}, and is a {kind}")
        if numbers.keys() != wanted.keys() or any(abs(numbers[k] - v) > 1e-9 * v for k, v in wanted.items()):
            raise WrongResult(f"{finding['name']} measures {numbers}, expected {wanted}")
        if answers != {MALIGNANCY[0]: ANSWERS[finding["answer"]][0]}:
            raise WrongResult(f"{finding['name']} is evaluated as {answers}")
        if not outlines:
            continue
        if image != images[finding["slice"]]:
            raise WrongResult(f"{finding['name']} lies on the image {image}")
        points = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
        if points.shape != (len(finding["points"]), 2) or np.abs(points - finding["points"]).max() > 1e-6:
            raise WrongResult(f"{finding['name']} has another outline")


def check_file(evidence: bool = True) -> Callable[[Case, Any], None]:
    """The check of a row that writes a report: pydicom reads it. A floor lists no evidence."""

    def check(case: Case, _: object) -> None:
        from pydicom import dcmread

        if not case.output.is_file():
            raise WrongResult("no file was written")
        ds = dcmread(case.output)
        rows: list[Row] = []
        find_groups(ds, rows)
        check_groups(case, rows)
        if evidence:
            listed = {
                str(instance.ReferencedSOPInstanceUID)
                for study in ds.get("CurrentRequestedProcedureEvidenceSequence") or ()
                for series in study.ReferencedSeriesSequence
                for instance in series.ReferencedSOPSequence
            }
            missing = {row[3] for row in rows} - listed
            if missing:
                raise WrongResult(f"{len(missing)} images are not listed as evidence")

    return check


def _named(ds: Any) -> str:
    names = ds.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def find_groups(ds: Any, rows: list[Row]) -> None:
    """Add every measurement group below an item, as pydicom reads it."""
    for child in ds.get("ContentSequence") or []:
        if child.ValueType == "CONTAINER" and _named(child) == GROUP[0]:
            rows.append(_row(child))
        else:
            find_groups(child, rows)


def _row(group: Any) -> Row:
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    codes: dict[str, str] = {}
    image, outline = None, None
    for child in group.ContentSequence:
        name = _named(child)
        if child.ValueType == "TEXT":
            texts[name] = str(child.TextValue)
        elif child.ValueType == "UIDREF":
            texts[name] = str(child.UID)
        elif child.ValueType == "NUM":
            measured = child.MeasuredValueSequence[0]
            numbers[name] = float(measured.get("FloatingPointValue", measured.NumericValue))
        elif child.ValueType == "CODE":
            codes[name] = str(child.ConceptCodeSequence[0].CodeValue)
        elif child.ValueType == "SCOORD":
            outline = list(child.GraphicData)
            image = str(child.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    answers = {MALIGNANCY[0]: codes[MALIGNANCY[0]]} if MALIGNANCY[0] in codes else {}
    return (
        texts.get(TRACKING_UID[0], ""),
        texts.get(TRACKING_ID[0], ""),
        codes.get("121071", ""),
        image,
        outline,
        numbers,
        answers,
    )
