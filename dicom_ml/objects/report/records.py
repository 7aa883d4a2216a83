"""A report as a flat table: one measurement or evaluation a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_ml.codes import Code
from dicom_ml.objects.report.descriptions import Evaluation, Measurement, MeasurementGroup

__all__ = ["records_of"]


def records_of(
    groups: Sequence[MeasurementGroup], derived: Sequence[Measurement], evaluations: Sequence[Evaluation]
) -> list[dict[str, Any]]:
    """Rows of a report, all with the same keys.

    ``group`` is the place of the group, None for what belongs to the whole report; ``type`` is ``"measurement"``,
    ``"evaluation"`` or ``"finding"``; codes are in their short form, ``"SCT:27925004"``.
    """
    rows: list[dict[str, Any]] = []
    for place, group in enumerate(groups):
        site = group.site[0] if group.site else None
        head = {
            "group": place,
            "tracking_id": group.tracking_id,
            "tracking_uid": group.tracking_uid,
            **_coded("finding", group.finding),
            **_coded("site", site.location if site else None),
            "laterality": site.laterality.meaning if site and site.laterality else None,
            "region": group.region.kind if group.region is not None else None,
        }
        own = [{**head, **_measured(m)} for m in group.measurements]
        own += [{**head, **_evaluated(e)} for e in group.evaluations]
        rows += own or [{**head, **_row("finding")}]
    whole: dict[str, Any] = {
        "group": None,
        "tracking_id": None,
        "tracking_uid": None,
        **_coded("finding", None),
        **_coded("site", None),
        "laterality": None,
        "region": None,
    }
    rows += [{**whole, **_measured(m)} for m in derived]
    rows += [{**whole, **_evaluated(e)} for e in evaluations]
    return rows


def _short(code: Code) -> str:
    return f"{code.scheme}:{code.value}" if code.scheme else code.value


def _coded(name: str, code: Code | None) -> dict[str, Any]:
    return {name: None, f"{name}_code": None} if code is None else {name: code.meaning, f"{name}_code": _short(code)}


def _row(kind: str, name: Code | None = None, value: Any = None, **more: Any) -> dict[str, Any]:
    blank = {"value_code": None, "unit": None, "derivation": None}
    return {"type": kind, **_coded("name", name), "value": value, **blank, **more}


def _measured(m: Measurement) -> dict[str, Any]:
    derivation = m.derivation.meaning if m.derivation is not None else None
    return _row("measurement", m.name, m.value, unit=m.unit.value, derivation=derivation)


def _evaluated(e: Evaluation) -> dict[str, Any]:
    if e.value is None:
        return _row("evaluation", e.name, e.text)
    return _row("evaluation", e.name, e.value.meaning, value_code=_short(e.value))
