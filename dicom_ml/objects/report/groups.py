"""Measurement groups as a report holds them: each with an identity, and on the images of its series."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dicom_ml.codes import Code
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.objects.report.canvas import Canvas, rebase, rebase_slice
from dicom_ml.objects.report.descriptions import MeasurementGroup
from dicom_ml.objects.report.items import Reference
from dicom_ml.objects.report.regions import Region
from dicom_ml.objects.report.segments import SegmentReference
from dicom_ml.source import SourceSeries

__all__ = ["on_series", "tracked"]


def tracked(groups: Sequence[MeasurementGroup], source: SourceSeries) -> list[MeasurementGroup]:
    """The groups, each with a tracking identifier and UID.

    The UID is derived as that of a segment is: a segment and a group of one source, name and meaning are one thing.
    """
    found = []
    for place, given in enumerate(groups, start=1):
        group = copy.copy(given)
        name, uid = group.tracking_id, group.tracking_uid
        if isinstance(group.region, SegmentReference) and (name is None or uid is None):
            segment = _segment_of(group.region)
            if segment is not None:
                name = name or segment.tracking_id or segment.label
                uid = uid or segment.tracking_uid
        if name is None:
            name = f"{group.finding.meaning if group.finding is not None else 'Finding'} {place}"
        if uid is None:
            finding = group.finding.sct if group.finding is not None else Code("none", "none")
            uid = derived_uid("tracking", source.series_instance_uid, name, finding.scheme, finding.value)
        object.__setattr__(group, "tracking_id", name)
        object.__setattr__(group, "tracking_uid", uid)
        object.__setattr__(group, "item", None)
        found.append(group)
    return found


def on_series(given: MeasurementGroup, array: Canvas, canvas: Canvas) -> MeasurementGroup:
    """A group whose indices are those of a cropped, turned or resampled volume, in those of its series."""
    group = copy.copy(given)

    def moved(region: Region | None) -> Region | None:
        return None if region is None else rebase(region, array, canvas)

    measurements = tuple(m if m.region is None else replace(m, region=moved(m.region)) for m in group.measurements)
    images = tuple(i if isinstance(i, Reference) else rebase_slice(i, array, canvas) for i in group.images)
    object.__setattr__(group, "region", moved(group.region))
    object.__setattr__(group, "measurements", measurements)
    object.__setattr__(group, "images", images)
    return group


def _segment_of(region: SegmentReference) -> Any:
    segments = getattr(region.segmentation, "segments", ())
    return next((s for s in segments if s.number == region.number), None)
