"""Content items to measurement groups, of any maker: SNOMED's old codes, missing template identifiers, odd places.

Whatever a group says that is not understood stays in its :attr:`MeasurementGroup.item`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicom_ml.codes import Code
from dicom_ml.errors import DicomMLError
from dicom_ml.objects.algorithm import ARTIFICIAL_INTELLIGENCE, Algorithm
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.descriptions import (
    Evaluation,
    Measurement,
    MeasurementGroup,
    NormalRange,
    Site,
    Statistic,
    TimePoint,
)
from dicom_ml.objects.report.items import ContentItem, Number, Reference
from dicom_ml.objects.report.region_items import RegionReader
from dicom_ml.objects.report.regions import Contours, Shape

__all__ = ["find_groups", "read_evaluations", "read_group", "read_measurement"]

#: What the names of a group's own items stand for; any other CODE or TEXT item is an evaluation.
_ROLES = {
    c.TRACKING_IDENTIFIER: "tracking_id",
    c.TRACKING_UID: "tracking_uid",
    c.FINDING: "finding",
    c.FINDING_CATEGORY: "category",
    c.FINDING_SITE: "site",
    c.LATERALITY: "laterality",
    c.TOPOGRAPHICAL_MODIFIER: "modifier",
    c.METHOD: "method",
    c.GEOMETRIC_PURPOSE: "purpose",
    c.ACTIVITY_SESSION: "session",
    c.REAL_WORLD_VALUE_MAP: "map",
    c.ALGORITHM_NAME: "algorithm",
    c.ALGORITHM_VERSION: "algorithm",
    c.ALGORITHM_PARAMETERS: "algorithm",
    c.ALGORITHM_FAMILY: "algorithm",
    c.SUBJECT_TIME_POINT: "time",
    c.PROTOCOL_TIME_POINT: "time",
    c.TIME_POINT: "time",
    c.TIME_POINT_TYPE: "time",
    c.TIME_POINT_ORDER: "time",
    c.TEMPORAL_OFFSET: "time",
    c.REFERENCED_SEGMENT: "segment",
    c.REFERENCED_FRAME: "segment",
    c.SOURCE_IMAGE: "source",
    c.SOURCE_SERIES: "source",
    c.DERIVATION: "derivation",
    c.EQUIVALENT_MEANING: "meaning",
    c.NORMALITY: "normality",
    c.SIGNIFICANCE: "significance",
    c.SELECTION: "selection",
    c.RANGE_LOWER: "range",
    c.RANGE_UPPER: "range",
    c.UNCERTAINTY: "uncertainty",
    c.UNCERTAINTY_LOWER: "uncertainty",
    c.UNCERTAINTY_UPPER: "uncertainty",
}
_known_roles: dict[tuple[str, str], str] = {}


def _role(item: ContentItem) -> str:
    """The part that an item's name gives it; empty for any other name."""
    name = item.name
    if name is None:
        return ""
    key = (name.scheme, name.value)
    role = _known_roles.get(key)
    if role is None:
        if len(_known_roles) >= 4096:
            _known_roles.clear()
        role = _known_roles[key] = _ROLES.get(name, "")
    return role


def find_groups(root: ContentItem) -> list[ContentItem]:
    """Measurement Group containers, wherever a maker has put them."""
    found: list[ContentItem] = []
    stack = [root]
    while stack:
        item = stack.pop()
        if item.value_type == "CONTAINER" and item.name is not None and item.name == c.MEASUREMENT_GROUP:
            found.append(item)
            continue
        if item.value_type in ("CONTAINER", ""):
            stack.extend(reversed(item.children))
    return found


def read_group(item: ContentItem, regions: RegionReader) -> MeasurementGroup:
    """The group that a container describes."""
    fields: dict[str, Any] = {}
    sites: list[Site] = []
    measurements: list[Measurement] = []
    evaluations: list[Evaluation] = []
    outlines: list[ContentItem] = []
    segments: list[ContentItem] = []
    images: list[Reference] = []
    algorithm: list[ContentItem] = []
    time: list[ContentItem] = []
    for child in item.children:
        kind, value = child.value_type, child.value
        role = _role(child)
        if kind == "NUM":
            if role == "time":
                time.append(child)
            else:
                measurements.append(read_measurement(child, regions))
        elif kind in ("SCOORD", "SCOORD3D"):
            outlines.append(child)
        elif kind == "IMAGE":
            if role == "segment":
                segments.append(child)
            elif role != "source" and isinstance(value, Reference):
                images.append(value)
        elif value is None:
            continue
        elif role == "site" and isinstance(value, Code):
            sites.append(_site(child))
        elif role == "algorithm":
            algorithm.append(child)
        elif role == "time":
            time.append(child)
        elif role in ("laterality", "modifier") and isinstance(value, Code) and child.relationship != "CONTAINS":
            fields[f"site_{role}"] = value
        elif role == "map":
            fields["real_world_value_map"] = value if isinstance(value, Reference) else None
        elif role in ("finding", "category", "method", "purpose") and isinstance(value, Code):
            fields.setdefault(role, _meant(value))
        elif role in ("tracking_id", "tracking_uid", "session"):
            fields.setdefault(role, str(value))
        elif role == "source":
            continue
        elif kind in ("CODE", "TEXT"):
            evaluation = _evaluation(child)
            if evaluation is not None:
                evaluations.append(evaluation)
    region = regions.group_region(outlines, segments, item.template == "1411")
    return MeasurementGroup(
        site=_with_laterality(sites, fields.pop("site_laterality", None), fields.pop("site_modifier", None)),
        region=region,
        measurements=tuple(measurements),
        evaluations=tuple(evaluations),
        algorithm=_algorithm(algorithm),
        time_point=_time_point(time),
        images=() if region is not None else tuple(images),
        item=item,
        **fields,
    )


def read_evaluations(items: Sequence[ContentItem]) -> list[Evaluation]:
    """Evaluations among items."""
    found = (_evaluation(i) for i in items if i.value_type in ("CODE", "TEXT") and i.value is not None)
    return [e for e in found if e is not None]


def _meant(code: Code) -> Code:
    """The code with something to show, where a maker left the meaning out."""
    return code if code.meaning else Code(code.value, code.scheme, code.value, code.version)


def _evaluation(item: ContentItem) -> Evaluation | None:
    if item.name is None:
        return None
    modifiers = tuple(
        (_meant(i.name), _meant(i.value)) for i in item.children if i.name is not None and isinstance(i.value, Code)
    )
    if isinstance(item.value, Code):
        return Evaluation(_meant(item.name), _meant(item.value), None, modifiers)
    text = str(item.value)
    return Evaluation(_meant(item.name), None, text, modifiers)


def _site(item: ContentItem) -> Site:
    parts = {_role(i): _meant(i.value) for i in item.children if isinstance(i.value, Code)}
    return Site(_meant(item.value), parts.get("laterality"), parts.get("modifier"))


def _with_laterality(sites: list[Site], laterality: Code | None, modifier: Code | None) -> tuple[Site, ...]:
    """Some makers put laterality beside the site, not below it."""
    if (laterality is None and modifier is None) or len(sites) != 1:
        return tuple(sites)
    site = sites[0]
    return (Site(site.location, site.laterality or laterality, site.modifier or modifier),)


def _algorithm(items: Sequence[ContentItem]) -> Algorithm | None:
    """The algorithm that items name; of all that say the same, one object."""
    key = tuple((i.name.value if i.name is not None else "", str(i.value)) for i in items)
    try:
        return _known_algorithms[key]
    except KeyError:
        if len(_known_algorithms) >= 256:
            _known_algorithms.clear()
        found = _known_algorithms[key] = _read_algorithm(items)
        return found


_known_algorithms: dict[tuple[tuple[str, str], ...], Algorithm | None] = {}


def _read_algorithm(items: Sequence[ContentItem]) -> Algorithm | None:
    said = {i.name: i.value for i in reversed(items)}
    name, version = said.get(c.ALGORITHM_NAME), said.get(c.ALGORITHM_VERSION)
    if isinstance(name, Code):
        name = name.meaning
    if not name:
        return None
    family = said.get(c.ALGORITHM_FAMILY)
    kind = family if isinstance(family, Code) and family.meaning else ARTIFICIAL_INTELLIGENCE
    parameters = [str(i.value) for i in items if i.name == c.ALGORITHM_PARAMETERS]
    try:
        return Algorithm(str(name)[:64], str(version or "unknown")[:64], kind, parameters="; ".join(parameters) or None)
    except DicomMLError:
        return None


def _time_point(items: Sequence[ContentItem]) -> TimePoint | None:
    if not items:
        return None
    said = {i.name: i.value for i in reversed(items)}
    order, kind = said.get(c.TIME_POINT_ORDER), said.get(c.TIME_POINT_TYPE)
    offset = next((i for i in items if i.name == c.TEMPORAL_OFFSET), None)
    event = None if offset is None else offset.first(c.TEMPORAL_EVENT, deep=False)
    known = offset is not None and event is not None and isinstance(event.value, Code)
    return TimePoint(
        said.get(c.TIME_POINT),
        kind if isinstance(kind, Code) and kind.meaning else None,
        int(order.value) if isinstance(order, Number) and order.value is not None else None,
        said.get(c.SUBJECT_TIME_POINT),
        said.get(c.PROTOCOL_TIME_POINT),
        offset.value.value if known and offset is not None else None,
        _meant(event.value) if known and event is not None else None,
    )


# ---------------------------------------------------------------------- measurements
def read_measurement(item: ContentItem, regions: RegionReader) -> Measurement:
    """The measurement that a NUM item is."""
    number = item.value if isinstance(item.value, Number) else Number(None)
    name = _NAMELESS if item.name is None else _meant(item.name)
    unit = c.ONE if number.unit is None else _meant(number.unit)
    fields: dict[str, Any] = {}
    if item.children:
        fields = _measurement_parts(item.children, regions)
    if number.qualifier is not None:
        fields["qualifier"] = _meant(number.qualifier)
    return Measurement(name, number.value, unit, **fields)


_NAMELESS = Code("NONE", "99DICOM_ML", "(no name)")


def _measurement_parts(children: Sequence[ContentItem], regions: RegionReader) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    modifiers: list[tuple[Code, Code]] = []
    sites: list[Site] = []
    algorithm: list[ContentItem] = []
    statistics: list[Statistic] = []
    shapes: list[Shape] = []
    limits: dict[Code, ContentItem] = {}
    spread: dict[Code, float] = {}
    for child in children:
        role, value = _role(child), child.value
        if child.value_type in ("SCOORD", "SCOORD3D"):
            shape = regions.settled(child)
            if isinstance(shape, Shape):
                shapes.append(shape)
        elif isinstance(value, Number) and child.name is not None and value.value is not None:
            if role == "range":
                limits[child.name] = child
            elif role == "uncertainty":
                spread[child.name] = value.value
            elif child.name in c.POPULATION_STATISTICS and child.relationship == "HAS PROPERTIES":
                statistics.append(_statistic(child, value))
        elif role == "site" and isinstance(value, Code):
            sites.append(_site(child))
        elif role == "algorithm":
            algorithm.append(child)
        elif role in ("method", "derivation", "normality", "significance", "selection") and isinstance(value, Code):
            fields[role] = _meant(value)
        elif role in ("tracking_id", "tracking_uid", "meaning") and value:
            fields[role] = str(value)
        elif role == "map" and isinstance(value, Reference):
            fields["real_world_value_map"] = value
        elif isinstance(value, Code) and child.name is not None and child.relationship == "HAS CONCEPT MOD":
            modifiers.append((_meant(child.name), _meant(value)))
    if sites:
        fields["site"] = tuple(sites)
    if modifiers:
        fields["modifiers"] = tuple(modifiers)
    if statistics:
        fields["statistics"] = tuple(statistics)
    if algorithm and (made := _algorithm(algorithm)) is not None:
        fields["algorithm"] = made
    if limits:
        fields["normal_range"] = _range(limits)
    if c.UNCERTAINTY in spread:
        fields["uncertainty"] = spread[c.UNCERTAINTY]
    elif c.UNCERTAINTY_LOWER in spread and c.UNCERTAINTY_UPPER in spread:
        fields["uncertainty"] = (spread[c.UNCERTAINTY_LOWER], spread[c.UNCERTAINTY_UPPER])
    if shapes:
        space = shapes[0].space
        fields["region"] = shapes[0] if len(shapes) == 1 else Contours(tuple(s for s in shapes if s.space == space))
    return fields


def _statistic(item: ContentItem, value: Number) -> Statistic:
    said = {i.name: i.value for i in item.children if i.name is not None}
    authority = said.get(c.AUTHORITY)
    assert item.name is not None and value.value is not None
    unit = c.ONE if value.unit is None else _meant(value.unit)
    description = said.get(c.POPULATION)
    return Statistic(_meant(item.name), value.value, unit, description, authority)


def _range(limits: dict[Code, ContentItem]) -> NormalRange:
    values: dict[Code, float | None] = {name: item.value.value for name, item in limits.items()}
    said: dict[Code, Any] = {}
    for item in limits.values():
        said |= {i.name: i.value for i in item.children if i.name is not None}
    return NormalRange(
        values.get(c.RANGE_LOWER), values.get(c.RANGE_UPPER), said.get(c.RANGE_DESCRIPTION), said.get(c.RANGE_AUTHORITY)
    )
