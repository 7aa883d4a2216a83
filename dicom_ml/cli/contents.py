"""What structure sets and presentation states hold, in a few lines each, from their headers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydicom.dataset import Dataset

__all__ = ["presentation_facts", "structure_facts"]

Item = dict[str, Any]


def structure_facts(ds: Dataset) -> Item:
    """Regions of interest of an RT Structure Set (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8)."""
    contours = {int(i.get("ReferencedROINumber") or 0): i for i in ds.get("ROIContourSequence") or []}
    observed = {
        int(i.get("ReferencedROINumber") or 0): str(i.get("RTROIInterpretedType") or "")
        for i in ds.get("RTROIObservationsSequence") or []
    }
    regions = []
    for roi in ds.get("StructureSetROISequence") or []:
        number = int(roi.get("ROINumber") or 0)
        outlines = contours.get(number, Dataset()).get("ContourSequence") or []
        kinds = Counter(str(o.get("ContourGeometricType") or "no type").lower().replace("_", " ") for o in outlines)
        regions.append(
            {
                "": number,
                "name": str(roi.get("ROIName") or ""),
                "type": observed.get(number) or None,
                "contours": ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none",
                "points": sum(int(o.get("NumberOfContourPoints") or 0) for o in outlines),
            }
        )
    series: Counter[str] = Counter()
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for one in study.get("RTReferencedSeriesSequence") or []:
                series[str(one.get("SeriesInstanceUID") or "none")] += len(one.get("ContourImageSequence") or [])
    return {
        "label": str(ds.get("StructureSetLabel") or "-"),
        "regions": regions,
        "refers to": [f"{uid} ({count} images)" for uid, count in series.items()],
    }


def presentation_facts(ds: Dataset) -> Item:
    """What a presentation state shows of which images (PS3.3 C.10.4 to C.10.8, C.11)."""
    graphics: Counter[str] = Counter()
    for annotation in ds.get("GraphicAnnotationSequence") or []:
        for graphic in annotation.get("GraphicObjectSequence") or []:
            graphics[str(graphic.get("GraphicType") or "no type").lower()] += 1
        graphics["text"] += len(annotation.get("TextObjectSequence") or [])
    windows = []
    for voi in ds.get("SoftcopyVOILUTSequence") or []:
        if voi.get("WindowCenter") is not None:
            windows.append(f"centre {voi.WindowCenter} width {voi.get('WindowWidth')}")
        windows += ["table" for _ in voi.get("VOILUTSequence") or []]
    layers = [str(i.get("GraphicLayer") or "") for i in ds.get("GraphicLayerSequence") or []]
    images: Counter[str] = Counter()
    for series in _series(ds):
        images[str(series.get("SeriesInstanceUID") or "none")] += len(series.get("ReferencedImageSequence") or [])
    overlays = sorted({e.tag.group for e in ds if 0x6000 <= e.tag.group <= 0x60FF and e.tag.element == 0x0010})
    return {
        "label": str(ds.get("ContentLabel") or "-"),
        "window": ", ".join(windows) or "as the images say",
        "presentation": str(ds.get("PresentationLUTShape") or ("table" if "PresentationLUTSequence" in ds else "-")),
        "displayed areas": len(ds.get("DisplayedAreaSelectionSequence") or []),
        "graphic layers": layers,
        "graphics": ", ".join(f"{count} {kind}" for kind, count in graphics.items() if count) or "none",
        "overlays": len(overlays),
        "refers to": [f"{uid} ({count} images)" for uid, count in images.items()],
    }


def _series(ds: Dataset) -> list[Dataset]:
    """Referenced series, also those of blended and advanced states."""
    found = list(ds.get("ReferencedSeriesSequence") or [])
    for keyword in ("BlendingSequence", "AdvancedBlendingSequence"):
        for item in ds.get(keyword) or []:
            found += list(item.get("ReferencedSeriesSequence") or [])
            if keyword == "AdvancedBlendingSequence":
                one = Dataset()
                one.SeriesInstanceUID = item.get("SeriesInstanceUID")
                one.ReferencedImageSequence = item.get("ReferencedImageSequence") or []
                found += [one] if one.ReferencedImageSequence else []
    return found
