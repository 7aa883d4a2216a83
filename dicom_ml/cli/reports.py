"""Structured reports for the command line: what they say, as facts and as a tree that people can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicom_ml.codes import Code
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.objects.report import ContentItem, Person, Status, read_report
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.items import Graphic, Number, Reference, TemporalExtent

__all__ = ["is_report", "report_facts", "tree_line"]

Item = dict[str, Any]

#: Texts that name things of the software or of the analysis, none of the patient.
_PLAIN_TEXTS = frozenset([
    c.TRACKING_IDENTIFIER, c.ACTIVITY_SESSION, c.ALGORITHM_NAME, c.ALGORITHM_VERSION, c.ALGORITHM_PARAMETERS,
    c.TIME_POINT, c.PROTOCOL_TIME_POINT, c.DEVICE_NAME, c.DEVICE_MANUFACTURER, c.DEVICE_MODEL, c.EQUIVALENT_MEANING,
    c.POPULATION, c.AUTHORITY, c.RANGE_DESCRIPTION, c.RANGE_AUTHORITY,
])  # fmt: skip
_FEW_POINTS = 4
_FEW_IMAGES = 3


def is_report(sop_class: str) -> bool:
    """Whether a SOP class is a structured report, key object selections included."""
    return sop_class.startswith(sop.DOCUMENT_FAMILY)


def report_facts(file: Path, *, phi: bool = False, content: bool = True, every: bool = False) -> Item:
    """What a structured report says.

    Parameters
    ----------
    file : Path
    phi : bool
        Show names, dates and free text, too.
    content : bool
        Give the whole content, under ``"content"``: an item a content item, with its depth.
    every : bool
        Leave none of many images in a row out.

    Raises
    ------
    FileError
        If the file is no structured report.
    """
    report = read_report(file)
    out: Item = {
        "title": report.title.meaning if report.title is not None else "none",
        "template": report.tree().template or "not stated",
    }
    if report.sop_class_uid == sop.KEY_OBJECT_SELECTION:
        out["selected objects"] = len([i for i in report.tree().children if isinstance(i.value, Reference)])
    else:
        out["status"] = _status(report.status)
        out["observers"] = [_observer(o, phi) for o in report.observers]
        out["measurement groups"] = len(report.groups)
    evidence = report.evidence
    series = len({where[0] for where in evidence.values()})
    out["evidence"] = f"{_count(len(evidence), 'object')} of {series} series" if evidence else "none"
    if report.problems:
        out["problems"] = "; ".join(report.problems)
    if content:
        out["content"] = list(_rows(report.tree(), phi, every))
    return out


def _status(status: Status) -> str:
    words = ["complete" if status.complete else "partial"]
    if status.preliminary is not None:
        words.append("preliminary" if status.preliminary else "final")
    words.append(f"verified by {_count(len(status.verified_by), 'person')}" if status.verified else "unverified")
    return ", ".join(words)


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _observer(observer: Any, phi: bool) -> str:
    if isinstance(observer, Person):
        return observer.name if phi else "a person"
    return str(observer.name or observer.model or observer.uid)


def _rows(root: ContentItem, phi: bool, every: bool) -> Iterator[Item]:
    stack: list[tuple[ContentItem | str, int]] = [(root, 0)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            yield {"depth": depth, "type": "", "relationship": "", "name": item, "value": ""}
            continue
        name = "" if item.name is None else item.name.meaning or str(item.name)
        yield {
            "depth": depth,
            "type": item.value_type,
            "relationship": item.relationship,
            "name": name or (item.value_type or "by reference").lower(),
            "value": _value(item, phi) or (f"TID {item.template}" if item.template and depth else ""),
        }
        children: list[ContentItem | str] = list(item.children)
        images = [i for i in item.children if i.value_type == "IMAGE" and i.name is None]
        if not every and len(images) > _FEW_IMAGES + 1:
            hidden = {id(i) for i in images[_FEW_IMAGES:]}
            children = [i for i in item.children if id(i) not in hidden]
            children.append(f"... and {_count(len(hidden), 'more image')}")
        stack.extend((child, depth + 1) for child in reversed(children))


def tree_line(row: Item) -> str:
    """A row of the content as a line of text."""
    value = f": {row['value']}" if row["value"] else ""
    return f"{'  ' * row['depth']}{row['name']}{value}"


def _value(item: ContentItem, phi: bool) -> str:
    value = item.value
    if isinstance(value, Code):
        short = f"{value.scheme}:{value.value}" if value.scheme else value.value
        return f"{value.meaning} ({short})" if value.meaning else short
    if isinstance(value, Number):
        return item.describe()
    if isinstance(value, Graphic):
        return _graphic(value)
    if isinstance(value, TemporalExtent):
        return (
            item.describe() if phi or not value.datetimes else f"{value.kind.lower()} of {len(value.datetimes)} times"
        )
    if isinstance(value, Reference) or not item.value_type:
        return item.describe()
    text = item.describe()
    if not text or phi or item.value_type == "UIDREF" or (item.value_type == "TEXT" and item.name in _PLAIN_TEXTS):
        return text
    return f"(a {_HIDDEN.get(item.value_type, 'value')}; --phi shows it)"


_HIDDEN = {"TEXT": "text", "PNAME": "name", "DATE": "date", "TIME": "time", "DATETIME": "date"}


def _graphic(graphic: Graphic) -> str:
    """Kind and coordinates: column and row in pixels, or x, y, z in millimetres."""
    points = graphic.points
    shown = " ".join("(" + ", ".join(f"{v:.6g}" for v in p) + ")" for p in points[:_FEW_POINTS].tolist())
    more = f" ... {len(points)} points" if len(points) > _FEW_POINTS else ""
    unit = "mm" if graphic.frame_of_reference_uid else "column, row"
    return f"{graphic.kind.lower()} {shown}{more} {unit}"
