"""Checks by the tables of PS3.3: which attributes must be there, with a value, and with which values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dicom_ml.objects.iod.conditions import Condition, texts_of
from dicom_ml.objects.iod.context import Findings, items_of, label, text, where
from dicom_ml.objects.iod.finding import Finding
from dicom_ml.objects.iod.frame_items import Leaf
from dicom_ml.objects.iod.subject import PER_FRAME, SHARED, Subject
from dicom_ml.objects.iod.tables import FunctionalGroup, Iod, Module, Row

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_structure"]

_GROUP_SEQUENCES = (SHARED, PER_FRAME)
_MISSING = "is missing, of type "
#: In the path of attributes of the patient, whose values are never shown.
_OF_PATIENT = "(0010,"
_STATED = ("in", "present", "more")
#: Functional groups of tiles in full: they follow from the order of the frames (PS3.3 C.7.6.17.3).
_FOLLOWING = ("FrameContentSequence", "PlanePositionSlideSequence", "SegmentIdentificationSequence")
#: Of coded entries, wherever they are; see `values`.
_CODE = frozenset([0x00080100, 0x00080102, 0x00080104, 0x00080119, 0x00080120])


def check_structure(subject: Subject, iod: Iod, out: Findings) -> None:
    """Check all modules and functional groups of an object's definition."""
    every = Findings()
    _check_modules(subject, iod, every)
    # what several modules miss is told once, by the strictest
    strictest: dict[str, Finding] = {}
    for finding in every.found:
        if finding.message.startswith(_MISSING):
            known = strictest.setdefault(finding.path, finding)
            if finding.message < known.message:
                strictest[finding.path] = finding
        else:
            out.found.append(finding)
    out.found += strictest.values()


def _check_modules(subject: Subject, iod: Iod, out: Findings) -> None:
    ds = subject.ds
    shared = Counter(row.tag for module in iod.modules for row in module.rows)
    for module in iod.modules:
        if _applies(module, ds, shared, out):
            rows = [row for row in module.rows if row.tag not in _GROUP_SEQUENCES]
            _check_rows(ds, rows, "", [ds], module.section, out)
    holders = [m for m in iod.modules if any(row.tag in _GROUP_SEQUENCES for row in m.rows)]
    grouped = {row.tag: row for module in holders for row in module.rows}
    used = any(m.usage.kind == "M" for m in holders) or SHARED in ds or subject.frames is not None
    if iod.groups and grouped and used:
        _check_groups(subject, iod, grouped.get(SHARED) or grouped[PER_FRAME], out)


def _applies(module: Module, ds: Dataset, shared: Counter[int], out: Findings) -> bool:
    """Whether the object has the module, or must have it."""
    if module.usage.kind == "M":
        return True
    condition = module.usage.condition
    if condition is not None and condition.holds([ds]):
        needed = [row.tag for row in module.rows if row.kind in ("1", "2")]
        if needed and not any(tag in ds for tag in needed):
            out.error(
                "",
                f"the {module.name} module is missing, whose condition is met",
                f"write {label(needed[0])}",
                module.section,
            )
            return False
        return True
    if condition is not None and not condition.otherwise:
        return False
    # an optional module is there where an attribute of its own is
    own = [row for row in module.rows if shared[row.tag] == 1]
    return any(row.tag in ds for row in own if row.kind != "3")


# ---------------------------------------------------------------------- attributes
def _check_rows(
    item: Dataset, rows: Sequence[Row], path: str, scopes: list[Dataset], section: str, out: Findings
) -> None:
    for row in rows:
        present = row.tag in item
        if row.kind != "3" and row.tag not in _CODE:
            _check_presence(item, row, present, path, scopes, section, out)
        if not present:
            continue
        if row.values:
            _check_values(texts_of(item, row.tag), row, where(path, row.tag), section, out)
        if row.items:
            name = f"{path}.{label(row.tag)}" if path else label(row.tag)
            for position, inner in enumerate(items_of(item, label(row.tag)), start=1):
                _check_rows(inner, row.items, f"{name}[{position}]", [*scopes, inner], section, out)


def _check_presence(
    item: Dataset, row: Row, present: bool, path: str, scopes: list[Dataset], section: str, out: Findings
) -> None:
    kind, condition = row.kind, row.condition
    if present:
        if kind in ("1", "1C") and texts_of(item, row.tag) in (None, [], [""]) and _is_empty(item, row.tag):
            out.error(where(path, row.tag), f"is empty, but is of type {kind} and needs a value", "", section)
        elif condition is not None and _is_out_of_place(condition, scopes):
            out.warning(
                where(path, row.tag), f"is present, although its condition is not met: {_words(condition)}",
                "leave it out", section,
            )  # fmt: skip
        return
    if kind in ("1", "2"):
        hint = "write it with a value" if kind == "1" else "write it, empty where the value is not known"
        out.error(where(path, row.tag), f"is missing, of type {kind}", hint, section)
    elif condition is not None and condition.holds(scopes):
        out.error(
            where(path, row.tag), f"is missing, of type {kind}, although its condition is met: {_words(condition)}",
            "", section,
        )  # fmt: skip


def _is_out_of_place(condition: Condition, scopes: list[Dataset]) -> bool:
    """Whether an attribute must not be present; of conditions that speak of absence this is not said."""
    return not condition.otherwise and condition.expression[0] in _STATED and not condition.holds(scopes)


def _is_empty(item: Dataset, tag: int) -> bool:
    try:
        return bool(item[tag].is_empty)
    except Exception:  # a value that cannot be decoded is not empty; it is reported elsewhere
        return False


def _words(condition: Condition | None) -> str:
    return "" if condition is None else _phrase(condition.expression)


def _phrase(expression: list[Any]) -> str:
    word = str(expression[0])
    if word in ("and", "or"):
        return f" {word} ".join(_phrase(part) for part in expression[1:])
    name = label(int(expression[1], 16))
    if word in ("present", "absent"):
        return f"{name} is {word}"
    if word == "more":
        return f"{name} is more than {expression[3]}"
    values = " or ".join(expression[3])
    number = f" value {expression[2]}" if expression[2] else ""
    return f"{name}{number} is {'not ' if word == 'notin' else ''}{values}"


def _check_values(values: list[str] | None, row: Row, path: str, section: str, out: Findings) -> None:
    """Enumerated values; an empty value is judged by the attribute's type."""
    if values is None:
        return
    for number, choices in row.values:
        chosen = values if number == 0 else values[number - 1 : number]
        for value in chosen:
            if value and value not in choices:
                shown = repr(value) if len(value) <= 24 and value.isprintable() else "another value"
                shown = "another value" if _OF_PATIENT in path else shown
                expected = ", ".join(sorted(choices))
                out.error(path, f"is {shown}; the standard has only {expected}", "", section)
                break


# ---------------------------------------------------------------------- functional groups
def _check_groups(subject: Subject, iod: Iod, row: Row, out: Findings) -> None:
    shared = items_of(subject.ds, "SharedFunctionalGroupsSequence")
    if len(shared) > 1:
        out.error(where("", SHARED), f"has {len(shared)} items; one is allowed", "", "C.7.6.16")
    full = text(subject.ds, "DimensionOrganizationType") == "TILED_FULL"
    if not shared:
        out.error(where("", SHARED), "is missing or empty, of type 1", "", "C.7.6.16")
    if subject.frames is None and not full:
        out.error(where("", PER_FRAME), "is missing: nothing is said of any frame", "", "C.7.6.16")
    macros = {inner.tag: inner for inner in row.items}
    sections = {group.tag: group.section for group in iod.groups}
    for item in shared[:1]:
        _check_item(item, macros, sections, "SharedFunctionalGroupsSequence[1]", [subject.ds, item], out)
    frames = subject.frames
    if frames is not None:
        for frame, item in frames.examples:
            path = f"PerFrameFunctionalGroupsSequence[{frame + 1}]"
            _check_item(item, macros, sections, path, [subject.ds, *shared[:1], item], out)
        _check_frame_values(subject, macros, sections, out)
    for group in iod.groups:
        _check_group(subject, group, shared[0] if shared else None, out)


def _check_item(
    item: Dataset,
    macros: dict[int, Row],
    sections: dict[int, str],
    path: str,
    scopes: list[Dataset],
    out: Findings,
) -> None:
    for tag in item.keys():  # noqa: SIM118 - iterating a Dataset decodes its elements
        macro = macros.get(int(tag))
        if macro is None:
            continue
        name = label(macro.tag)
        for position, inner in enumerate(items_of(item, name), start=1):
            section = sections.get(macro.tag, "C.7.6.16.2")
            _check_rows(inner, macro.items, f"{path}.{name}[{position}]", [*scopes, inner], section, out)


def _check_frame_values(subject: Subject, macros: dict[int, Row], sections: dict[int, str], out: Findings) -> None:
    """Enumerated values of all frames; their structure has been checked on one of each kind."""
    frames = subject.frames
    assert frames is not None
    for leaf, values in frames.values.items():
        row = _row_of(leaf, macros)
        if row is None or not row.values:
            continue
        for raw, frame in values.items():
            texts = raw.decode("latin-1").strip("\0 ")
            if not texts or not texts.isascii() or frames.vrs.get(leaf) in ("US", "SS", "UL", "SL", "FD", "FL"):
                continue
            path = leaf_path(leaf, frame)
            section = sections.get(leaf[0], "C.7.6.16.2")
            _check_values([part.strip() for part in texts.split("\\")], row, path, section, out)


def leaf_path(leaf: Leaf, frame: int) -> str:
    """Path of an element of a frame's functional groups (frame counted from 0)."""
    inside = ".".join(f"{label(tag)}[1]" for tag in leaf[:-1])
    return where(f"PerFrameFunctionalGroupsSequence[{frame + 1}].{inside}".rstrip("."), leaf[-1])


def _row_of(leaf: Leaf, macros: dict[int, Row]) -> Row | None:
    rows = macros
    row: Row | None = None
    for tag in leaf:
        row = rows.get(tag)
        if row is None:
            return None
        rows = {inner.tag: inner for inner in row.items}
    return row


def _check_group(subject: Subject, group: FunctionalGroup, shared: Dataset | None, out: Findings) -> None:
    frames, name = subject.frames, label(group.tag)
    total = 0 if frames is None else frames.count
    count = 0 if frames is None else frames.groups.get(group.tag, 0)
    in_shared = shared is not None and bool(items_of(shared, name))
    if in_shared and count:
        out.error(
            where("PerFrameFunctionalGroupsSequence[1]", group.tag),
            "is among the shared functional groups and those of frames",
            "a functional group is either shared or of each frame",
            "C.7.6.16.1.1",
        )
    if 0 < count < total and not in_shared:
        out.error(
            where("PerFrameFunctionalGroupsSequence", group.tag),
            f"{count} of {total} frames have it",
            "a functional group that is not shared is of every frame",
            "C.7.6.16.1.2",
        )
    if in_shared or count:
        return
    condition = group.usage.condition
    scopes = [subject.ds] if shared is None else [subject.ds, shared]
    needed = group.usage.kind == "M" or (condition is not None and condition.holds(scopes))
    full = str(subject.ds.get("DimensionOrganizationType", "")) == "TILED_FULL"
    if needed and not (full and name in _FOLLOWING):
        out.error(
            where("SharedFunctionalGroupsSequence[1]", group.tag),
            "is missing: this functional group is mandatory" if group.usage.kind == "M" else "is missing, although "
            f"its condition is met: {_words(condition)}",
            "write it among the shared functional groups or for every frame",
            group.section,
        )  # fmt: skip
