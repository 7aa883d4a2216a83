"""Checks of RT structure sets (PS3.3 A.19, C.8.8.5, C.8.8.6, C.8.8.8)."""

from __future__ import annotations

from dicom_ml.objects.iod.context import Findings, items_of, number, numbers, text, where
from dicom_ml.objects.iod.subject import Subject

__all__ = ["check_structure_set"]


def check_structure_set(subject: Subject, out: Findings) -> None:
    """Regions of interest, and contours whose points are counted and lie in a plane."""
    ds = subject.ds
    rois: set[float | None] = set()
    for place, item in enumerate(items_of(ds, "StructureSetROISequence"), start=1):
        value = number(item, "ROINumber")
        if value in rois:
            out.error(where(f"StructureSetROISequence[{place}]", "ROINumber"), "is that of another", "", "C.8.8.5")
        rois.add(value)
    for keyword in ("ROIContourSequence", "RTROIObservationsSequence"):
        for place, item in enumerate(items_of(ds, keyword), start=1):
            if number(item, "ReferencedROINumber") not in rois:
                here = where(f"{keyword}[{place}]", "ReferencedROINumber")
                out.error(here, "is no region that is described", "", "C.8.8.6")
    for place, item in enumerate(items_of(ds, "ROIContourSequence"), start=1):
        for number_, contour in enumerate(items_of(item, "ContourSequence"), start=1):
            path = f"ROIContourSequence[{place}].ContourSequence[{number_}]"
            data, stated = numbers(contour, "ContourData"), number(contour, "NumberOfContourPoints")
            if not data or len(data) % 3:
                here = where(path, "ContourData")
                out.error(here, f"holds {len(data)} numbers, which are no points", "", "C.8.8.6")
                continue
            if stated is not None and stated != len(data) // 3:
                here, message = where(path, "NumberOfContourPoints"), f"is {stated:g}; there are {len(data) // 3}"
                out.error(here, message, "", "C.8.8.6")
            if text(contour, "ContourGeometricType") == "POINT" and len(data) != 3:
                out.error(where(path, "ContourData"), f"has {len(data) // 3} points of a POINT", "", "C.8.8.6")
