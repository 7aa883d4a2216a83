"""Structured reports: measurement reports written and read, and any report as a tree (PS3.16 TID 1500, PS3.3 C.17)."""

from dicom_ml.objects.report.context import Device, DeviceSubject, Fetus, Person, Specimen
from dicom_ml.objects.report.descriptions import (
    Evaluation,
    Measurement,
    MeasurementGroup,
    NormalRange,
    Site,
    Statistic,
    TimePoint,
)
from dicom_ml.objects.report.items import ContentItem, Reference
from dicom_ml.objects.report.reading import read_report, read_sr_tree
from dicom_ml.objects.report.regions import (
    Box,
    Circle,
    Contours,
    Ellipse,
    Ellipsoid,
    MultiPoint,
    Point,
    Polygon,
    Polyline,
    Region,
)
from dicom_ml.objects.report.report import Report
from dicom_ml.objects.report.segments import SegmentationFrame, SegmentReference
from dicom_ml.objects.report.status import Status, Verification

__all__ = [
    "Box",
    "Circle",
    "ContentItem",
    "Contours",
    "Device",
    "DeviceSubject",
    "Ellipse",
    "Ellipsoid",
    "Evaluation",
    "Fetus",
    "Measurement",
    "MeasurementGroup",
    "MultiPoint",
    "NormalRange",
    "Person",
    "Point",
    "Polygon",
    "Polyline",
    "Reference",
    "Region",
    "Report",
    "SegmentReference",
    "SegmentationFrame",
    "Site",
    "Specimen",
    "Statistic",
    "Status",
    "TimePoint",
    "Verification",
    "read_report",
    "read_sr_tree",
]
