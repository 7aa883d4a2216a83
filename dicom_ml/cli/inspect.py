"""What `dicom-ml info` finds out."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_ml.cli.contents import presentation_facts, structure_facts
from dicom_ml.cli.reports import is_report, report_facts
from dicom_ml.cli.slides import annotation_facts, map_facts, slide_facts
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.errors import DicomMLError, FileError

__all__ = ["inspect_path"]

_NAMES = {sop.LABEL_MAP_SEGMENTATION: "Label Map Segmentation Storage"}
_VOLUMES = ("CT", "MR", "PT", "NM")
_PHI = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyDescription",
        "SeriesDescription", "AccessionNumber", "InstitutionName", "ReferringPhysicianName")  # fmt: skip

Item = dict[str, Any]


def inspect_path(path: Path, *, phi: bool = False, every: bool = False) -> list[Item]:
    """Facts of every series under a path, as plain values.

    Parameters
    ----------
    path : Path
        A file or a folder.
    phi : bool
        Include what concerns the patient.
    every : bool
        Leave nothing of long reports out. The content of a report is given where the path is its file.

    Raises
    ------
    FileError
        Nothing there is DICOM.
    """
    if not path.exists():
        raise FileError(f"{path} does not exist")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    series: dict[tuple[str, str], list[tuple[Path, Dataset]]] = defaultdict(list)
    others = 0
    for file in _progress(files):
        header = _header(file)
        if header is None:
            others += 1
            continue
        key = _text(header, "SeriesInstanceUID"), _text(header, "SOPClassUID")
        series[key].append((file, header))
    if not series:
        if path.is_file() and path.suffix.lower() == ".zip":
            return [_volume_item(path, [], phi)]
        raise FileError(f"{path} holds no DICOM file" + (f" ({others} other files)" if others > 1 else ""))
    if path.is_dir():
        return [_described(members, path, phi, every) for members in series.values()]
    return [_item(members, path, phi, every) for members in series.values()]


def _described(members: list[tuple[Path, Dataset]], path: Path, phi: bool, every: bool) -> Item:
    """Facts of a series in a folder; a damaged one does not hide the others."""
    try:
        return _item(members, path, phi, every)
    except DicomMLError as error:
        return {"what": "damaged", "path": str(members[0][0]), "reason": " ".join(str(error).split())}


def _text(ds: Dataset, keyword: str) -> str:
    """An element as text; empty where there is none, or its bytes are damaged."""
    try:
        value = ds.get(keyword)
    except Exception:  # whatever pydicom makes of damaged bytes
        return ""
    return "" if value is None else str(value)


def _progress(files: list[Path]) -> Any:
    if len(files) < 200:
        return files
    from tqdm import tqdm

    return tqdm(files, desc="Reading headers", unit="file", leave=False)


def _header(file: Path) -> Dataset | None:
    try:
        with file.open("rb") as handle:
            start = handle.read(132)
        if start[128:] == b"DICM":
            ds = dcmread(file, stop_before_pixels=True, defer_size=1024)
        else:  # files without a preamble are still common
            ds = dcmread(file, stop_before_pixels=True, force=True, defer_size=1024)
            if not any(keyword in ds for keyword in ("SOPClassUID", "Modality", "Rows")):
                return None
    except Exception:  # whatever pydicom makes of bytes that are no DICOM, or damaged
        return None
    return ds if len(ds) else None


def _item(members: list[tuple[Path, Dataset]], path: Path, phi: bool, every: bool) -> Item:
    files, first = [file for file, _ in members], members[0][1]
    sop_class = _text(first, "SOPClassUID")
    item: Item = {
        "what": _NAMES.get(sop_class, UID(sop_class).name if sop_class else "no SOP class"),
        "files": len(files),
        "path": str(files[0] if len(files) == 1 else files[0].parent),
        "modality": _text(first, "Modality") or "-",
    }
    if sop_class in sop.SEGMENTATIONS:
        for file in files:
            item |= _segmentation(file)
    elif sop_class in (sop.PARAMETRIC_MAP, sop.BULK_ANNOTATIONS):
        for file in files:
            item |= map_facts(file) if sop_class == sop.PARAMETRIC_MAP else annotation_facts(file)
    elif is_report(sop_class):
        item |= _reports(files, phi, path.is_file(), every)
    elif sop_class == sop.RT_STRUCTURE_SET:
        item |= _facts(structure_facts, _whole(files[0]))
    elif sop_class.startswith(sop.PRESENTATION_FAMILY):
        item |= _facts(presentation_facts, first)
    elif sop_class == sop.VL_WHOLE_SLIDE_MICROSCOPY:
        item |= slide_facts([str(f) for f in files])
    else:
        item |= _facts(_picture, first)
        if item["modality"] in _VOLUMES:
            item |= _geometry([str(f) for f in files])
    item |= {
        "series": _text(first, "SeriesInstanceUID") or "none",
        "study": _text(first, "StudyInstanceUID") or "none",
        "frame of reference": _text(first, "FrameOfReferenceUID") or "none",
    }
    content = item.pop("content", None)
    item |= _patient(first) if phi else {}
    return item if content is None else item | {"content": content}


def _facts(read: Callable[[Dataset], Item], ds: Dataset) -> Item:
    """Facts of an object, or the reason why its header cannot be understood."""
    try:
        return read(ds)
    except Exception as error:
        return {"damaged": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def _reports(files: list[Path], phi: bool, content: bool, every: bool) -> Item:
    """A report, or several of one series, of which each has a line."""
    if len(files) == 1:
        try:
            return report_facts(files[0], phi=phi, content=content, every=every)
        except DicomMLError as error:
            return {"report": f"no: {' '.join(str(error).split())}"}
    listed = []
    for file in files:
        try:
            facts = report_facts(file, phi=phi, content=False)
        except DicomMLError as error:
            listed.append({"": file.name, "report": f"no: {' '.join(str(error).split())}"})
            continue
        listed.append({"": file.name, **{k: facts[k] for k in ("title", "measurement groups", "status")}})
    return {"reports": listed}


def _whole(file: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(file, force=True)


def _volume_item(path: Path, files: list[str], phi: bool) -> Item:
    return {"what": "zip", "path": str(path)} | _geometry(files or [str(path)])


def _picture(ds: Dataset) -> Item:
    out: Item = {}
    syntax = getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID")
    out["transfer syntax"] = UID(syntax).name if syntax else "not stated"
    if "Rows" in ds:
        frames = f" x {int(ds.get('NumberOfFrames') or 1)} frames" if ds.get("NumberOfFrames") else ""
        out["rows x columns"] = f"{ds.Rows} x {ds.get('Columns')}{frames}"
        out["pixels"] = f"{ds.get('BitsStored', '?')} bit, {ds.get('PhotometricInterpretation', '?')}"
    return out


def _geometry(files: list[str]) -> Item:
    """Shape and spacing where the files are one volume, the reason where they are not."""
    from dicom_ml.reading import read_volume

    try:
        volume = read_volume(files if len(files) > 1 else files[0])
    except DicomMLError as error:
        return {"volume": f"no: {' '.join(str(error).split())}"}
    unit = volume.unit.meaning if volume.unit else ""
    out: Item = {
        "volume": " x ".join(map(str, volume.shape)) + " (slices, rows, columns)",
        "spacing": " x ".join(f"{v:.4g}" for v in volume.spacing) + " mm",
        "axes": f"{volume.grid.axcodes} (slices, rows, columns run towards these)",
        "values": f"{volume.array.min():g} to {volume.array.max():g} {unit}".strip(),
    }
    problems = volume.source.problems if volume.source else ()
    out["can be referred to"] = "yes" if not problems else f"no: {'; '.join(problems)}"
    return out


def _segmentation(file: Path) -> Item:
    from dicom_ml.objects.segmentation import read_segmentation

    seg = read_segmentation(file)
    referenced = seg.referenced_series
    return {
        "kind": seg.kind,
        "frames": seg.frame_count,
        "grid": _grid(seg),
        "segments": [
            {
                "": s.number,
                "label": s.label,
                "type": str(s.type),
                "modifiers": ", ".join(m.meaning for m in s.modifiers) or None,
                "category": s.category.meaning,
                "by": s.algorithm.name if s.algorithm and s.algorithm.name else None,
            }
            for s in seg.segments
        ],
        "refers to": [f"{uid} ({len(instances)} images)" for uid, instances in referenced.items()],
    }


def _grid(seg: Any) -> str:
    try:
        grid = seg.grid
    except DicomMLError as error:
        return f"none: {error}"
    return f"{' x '.join(map(str, grid.shape))} at {' x '.join(f'{v:.4g}' for v in grid.spacing)} mm, {grid.axcodes}"


def _patient(ds: Dataset) -> Item:
    return {keyword: value for keyword in _PHI if (value := _text(ds, keyword))}
