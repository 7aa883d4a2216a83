"""Measurement groups to content items (PS3.16 TID 1501, 1410, 1411, 1419, 300, 310 to 312, 1502, 4019)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from dicom_ml.codes import Code
from dicom_ml.errors import EncodingError
from dicom_ml.objects.algorithm import Algorithm
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas
from dicom_ml.objects.report.descriptions import Evaluation, Measurement, MeasurementGroup, Site, TimePoint
from dicom_ml.objects.report.items import (
    ContentItem,
    Number,
    Reference,
    code_item,
    container,
    reference_item,
    text_item,
    uid_item,
)
from dicom_ml.objects.report.region_items import region_items, shape_item
from dicom_ml.objects.report.regions import Box, Contours, MultiPoint, Point, Polyline, Shape

__all__ = ["algorithm_items", "evaluation_item", "group_item", "measurement_item"]

_CONTAINS, _MODIFIER, _CONTEXT, _PROPERTY = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "HAS PROPERTIES"
#: A group about whole images names them, up to this many; a larger series is named by the image library.
_FEW_IMAGES = 8


def group_item(
    group: MeasurementGroup,
    canvas: Canvas,
    tracking_id: str,
    tracking_uid: str,
    algorithm: Algorithm | None,
    coordinates: str,
) -> ContentItem:
    """The Measurement Group container.

    Parameters
    ----------
    group : MeasurementGroup
    canvas : Canvas
        Of the images that the group lies on.
    tracking_id, tracking_uid : str
    algorithm : Algorithm, optional
        What made the group.
    coordinates : str
        As in :func:`dicom_ml.objects.report.region_items.region_items`.
    """
    items: list[ContentItem] = []
    if group.session:
        items.append(text_item(c.ACTIVITY_SESSION, group.session, _CONTEXT))
    items.append(text_item(c.TRACKING_IDENTIFIER, tracking_id, _CONTEXT))
    items.append(uid_item(c.TRACKING_UID, tracking_uid, _CONTEXT))
    if group.category is not None:
        items.append(code_item(c.FINDING_CATEGORY, group.category, _CONTAINS))
    if group.finding is not None:
        items.append(code_item(c.FINDING, group.finding, _CONTAINS))
    if group.time_point is not None:
        items += _time_point_items(group.time_point)
    if group.method is not None:
        items.append(code_item(c.METHOD, group.method, _MODIFIER))
    items += algorithm_items(algorithm)
    items += _site_items(group.site)
    template = "1501"
    if group.region is not None:
        purpose = group.purpose
        if purpose is None and isinstance(group.region, Box):
            purpose = c.BOUNDED_BY
        if purpose is not None:
            items.append(code_item(c.GEOMETRIC_PURPOSE, purpose, _CONTAINS))
        regions, template = region_items(group.region, canvas, coordinates)
        items += regions
    if group.real_world_value_map is not None:
        items.append(reference_item(c.REAL_WORLD_VALUE_MAP, group.real_world_value_map, _CONTAINS, "COMPOSITE"))
    items += [measurement_item(m, canvas, coordinates) for m in group.measurements]
    items += [evaluation_item(e) for e in group.evaluations]
    if group.region is None:
        items += [reference_item(c.SOURCE, image) for image in _images(group, canvas)]
    return container(c.MEASUREMENT_GROUP, items, template)


def _images(group: MeasurementGroup, canvas: Canvas) -> Iterator[Reference]:
    if group.images:
        for image in group.images:
            yield image if isinstance(image, Reference) else canvas.image(image)
        return
    whole = list(dict.fromkeys(Reference(r.sop_class_uid, r.sop_instance_uid, (), (), (), r.series_instance_uid,
                                         r.study_instance_uid)
                               for r in canvas.references if r.sop_instance_uid))  # fmt: skip
    if len(whole) <= _FEW_IMAGES:
        yield from whole


# ---------------------------------------------------------------------- parts
def algorithm_items(algorithm: Algorithm | None) -> list[ContentItem]:
    """Algorithm Identification (PS3.16 TID 4019); nothing where a person did it."""
    if algorithm is None or algorithm.is_manual:
        return []
    items = [
        text_item(c.ALGORITHM_NAME, algorithm.name, _MODIFIER),
        text_item(c.ALGORITHM_VERSION, algorithm.version, _MODIFIER),
    ]
    if algorithm.parameters:
        items.append(text_item(c.ALGORITHM_PARAMETERS, algorithm.parameters, _MODIFIER))
    items.append(code_item(c.ALGORITHM_FAMILY, algorithm.family, _MODIFIER))
    return items


def _site_items(sites: Sequence[Site]) -> list[ContentItem]:
    items = []
    for site in sites:
        item = code_item(c.FINDING_SITE, site.location, _MODIFIER)
        if site.laterality is not None:
            item.children.append(code_item(c.LATERALITY, site.laterality, _MODIFIER))
        if site.modifier is not None:
            item.children.append(code_item(c.TOPOGRAPHICAL_MODIFIER, site.modifier, _MODIFIER))
        items.append(item)
    return items


def _time_point_items(point: TimePoint) -> list[ContentItem]:
    texts = [
        (c.SUBJECT_TIME_POINT, point.subject_id),
        (c.PROTOCOL_TIME_POINT, point.protocol_id),
        (c.TIME_POINT, point.name),
    ]
    items = [text_item(name, value, _CONTEXT) for name, value in texts if value]
    if point.type is not None:
        items.append(code_item(c.TIME_POINT_TYPE, point.type, _CONTEXT))
    if point.order is not None:
        items.append(ContentItem("NUM", c.TIME_POINT_ORDER, Number(point.order, c.ONE), _CONTEXT))
    if point.offset is not None and point.event is not None:
        offset = ContentItem("NUM", c.TEMPORAL_OFFSET, Number(float(point.offset), c.DAY), _CONTEXT)
        offset.children.append(code_item(c.TEMPORAL_EVENT, point.event, _MODIFIER))
        items.append(offset)
    return items


def evaluation_item(evaluation: Evaluation) -> ContentItem:
    """The CODE or TEXT item of an evaluation."""
    if evaluation.value is None:
        item = text_item(evaluation.name, evaluation.text or "", _CONTAINS)
    else:
        item = code_item(evaluation.name, evaluation.value, _CONTAINS)
    item.children = [code_item(name, value, _MODIFIER) for name, value in evaluation.modifiers]
    return item


def measurement_item(measurement: Measurement, canvas: Canvas | None, coordinates: str) -> ContentItem:
    """The NUM item of a measurement (PS3.16 TID 300)."""
    m = measurement
    item = ContentItem("NUM", m.name, _number(m), _CONTAINS)
    items = item.children
    for name, value in m.modifiers:
        items.append(code_item(name, value, _MODIFIER))
    if m.method is not None:
        items.append(code_item(c.METHOD, m.method, _MODIFIER))
    if m.derivation is not None:
        items.append(code_item(c.DERIVATION, m.derivation, _MODIFIER))
    if m.site:
        items += _site_items(m.site)
    if m.tracking_id:
        items.append(text_item(c.TRACKING_IDENTIFIER, m.tracking_id, _CONTEXT))
    if m.tracking_uid:
        items.append(uid_item(c.TRACKING_UID, m.tracking_uid, _CONTEXT))
    items += algorithm_items(m.algorithm)
    items += _property_items(m)
    if m.meaning:
        items.append(text_item(c.EQUIVALENT_MEANING, m.meaning, _MODIFIER))
    if m.region is not None:
        if canvas is None:
            raise EncodingError("a derived measurement lies on no image, and has no region")
        pieces = m.region.pieces if isinstance(m.region, Contours) else (m.region,)
        for piece in pieces:
            if not isinstance(piece, Shape) or (isinstance(piece, Box) and piece.dimensions == 3):
                raise EncodingError("a single measurement is made on lines or flat outlines; give the group the body")
            purpose = c.PATH if isinstance(piece, Polyline) else c.PERIMETER
            if isinstance(piece, Point | MultiPoint):
                purpose = c.CENTER
            items.append(shape_item(piece, canvas, coordinates, purpose, "INFERRED FROM"))
    if m.real_world_value_map is not None:
        items.append(reference_item(c.REAL_WORLD_VALUE_MAP, m.real_world_value_map, "INFERRED FROM", "COMPOSITE"))
    return item


def _number(measurement: Measurement) -> Number:
    value, qualifier = measurement.value, measurement.qualifier
    if value is None or math.isfinite(value):
        if value is None and qualifier is None:
            qualifier = Code("114010", "DCM", "Value unknown")
        return Number(value, measurement.unit, qualifier)
    if qualifier is None:
        qualifier = c.NOT_A_NUMBER
        if math.isinf(value):
            qualifier = c.POSITIVE_INFINITY if value > 0 else c.NEGATIVE_INFINITY
    return Number(None, measurement.unit, qualifier)


def _property_items(m: Measurement) -> list[ContentItem]:
    """Measurement properties (PS3.16 TID 310 to 312)."""
    items: list[ContentItem] = []
    if m.normality is not None:
        items.append(code_item(c.NORMALITY, m.normality, _PROPERTY))
    for statistic in m.statistics:
        number = ContentItem("NUM", statistic.name, Number(statistic.value, statistic.unit), _PROPERTY)
        number.children = _descriptions((c.POPULATION, statistic.description), (c.AUTHORITY, statistic.authority))
        items.append(number)
    if m.normal_range is not None:
        limits = ((c.RANGE_LOWER, m.normal_range.lower), (c.RANGE_UPPER, m.normal_range.upper))
        for name, limit in limits:
            if limit is not None:
                number = ContentItem("NUM", name, Number(float(limit), m.unit), _PROPERTY)
                number.children = _descriptions(
                    (c.RANGE_DESCRIPTION, m.normal_range.description), (c.RANGE_AUTHORITY, m.normal_range.authority)
                )
                items.append(number)
    if m.significance is not None:
        items.append(code_item(c.SIGNIFICANCE, m.significance, _PROPERTY))
    if m.uncertainty is not None:
        if isinstance(m.uncertainty, tuple):
            named = zip((c.UNCERTAINTY_LOWER, c.UNCERTAINTY_UPPER), m.uncertainty, strict=True)
        else:
            named = zip((c.UNCERTAINTY,), (m.uncertainty,), strict=True)
        items += [ContentItem("NUM", name, Number(float(value), m.unit), _PROPERTY) for name, value in named]
    if m.selection is not None:
        items.append(code_item(c.SELECTION, m.selection, _PROPERTY))
    return items


def _descriptions(text: tuple[Code, str | None], authority: tuple[Code, str | Code | None]) -> list[ContentItem]:
    items = [text_item(text[0], text[1], _PROPERTY)] if text[1] else []
    if isinstance(authority[1], Code):
        items.append(code_item(authority[0], authority[1], _PROPERTY))
    elif authority[1]:
        items.append(text_item(authority[0], authority[1], _PROPERTY))
    return items
