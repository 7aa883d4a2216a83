"""Slides, and what belongs to them, for the command line: what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.errors import DicomMLError
from dicom_ml.objects.annotations import read_annotations
from dicom_ml.objects.parametric_map import read_parametric_map
from dicom_ml.reading.slides import Slide, open_slide

__all__ = ["annotation_facts", "is_slide", "map_facts", "slide_facts", "sop_class_of"]

Item = dict[str, Any]


def sop_class_of(file: Path) -> str:
    """SOP class of a file; empty where it is no DICOM file."""

    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(header.get("SOPClassUID") or "")
    except OSError:
        raise
    except Exception:  # whatever pydicom makes of damaged bytes
        return ""


def is_slide(path: Path) -> bool:
    """Whether a file, or the first DICOM file of a folder, is slide microscopy."""

    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files[:50]:
        try:
            header = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        except Exception:
            continue
        return str(header.get("SOPClassUID") or "") == sop.VL_WHOLE_SLIDE_MICROSCOPY
    return False


# ---------------------------------------------------------------------- facts
def slide_facts(files: list[str]) -> Item:
    """Levels of a slide, or the reason why the files are none."""
    try:
        with open_slide(files) as slide:
            return _slide_item(slide)
    except DicomMLError as error:
        return {"slide": f"no: {' '.join(str(error).split())}"}


def _slide_item(slide: Slide) -> Item:
    levels = []
    for level in slide.levels:
        spacing = "?" if level.spacing is None else f"{level.spacing[0] * 1000:.4g} x {level.spacing[1] * 1000:.4g} um"
        levels.append(
            {
                "": level.index,
                "rows x columns": f"{level.shape[0]} x {level.shape[1]}",
                "spacing": spacing,
                "downsample": f"{level.downsample:.4g}",
                "tiles": f"{level.tile_size[0]} x {level.tile_size[1]}",
            }
        )
    problems = slide.source.problems
    return {
        "levels": levels,
        "associated images": ", ".join(slide.associated) or "none",
        "optical paths": len(slide.optical_paths),
        "colour profile": "yes" if slide.icc_profile else "no",
        "can be referred to": "yes" if not problems else f"no: {'; '.join(problems)}",
    }


def map_facts(file: Path) -> Item:
    """Quantities and matrix of a parametric map."""
    pm = read_parametric_map(file)
    return {
        "frames": pm.frame_count,
        "quantities": [
            {"": i, "label": q.label, "what": str(q.concept), "unit": q.unit.value} for i, q in enumerate(pm.quantities)
        ],
        "refers to": [f"{uid} ({len(found)} images)" for uid, found in pm.referenced_series.items()],
    }


def annotation_facts(file: Path) -> Item:
    """Groups of bulk annotations."""
    ann = read_annotations(file)
    return {
        "coordinates": "pixels of the total pixel matrix" if ann.coordinate_type == "2D" else "slide millimetres",
        "groups": [
            {
                "": i,
                "label": g.label,
                "type": str(g.type),
                "items": f"{len(g)} {g.graphic.lower()}s",
                "measurements": ", ".join(f"{m.concept.meaning} [{m.unit.value}]" for m in g.measurements) or None,
                "by": g.algorithm.name if g.algorithm and g.algorithm.name else None,
            }
            for i, g in enumerate(ann.groups, start=1)
        ],
    }
