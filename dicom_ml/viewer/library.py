"""What of a folder can be shown: its volumes and slides, and what lies over each."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pydicom.uid import UID

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.reading.index import Index, SeriesRow, scan

__all__ = ["Library", "Overlay", "Shown", "open_library"]

_VOLUMES = ("CT", "MR", "PT", "NM")
#: SOP class to what it is over an image.
_OVERLAYS = {
    **dict.fromkeys(sop.SEGMENTATIONS, "segmentation"),
    sop.PARAMETRIC_MAP: "parametric map",
    sop.BULK_ANNOTATIONS: "annotations",
    sop.RT_STRUCTURE_SET: "contours",
    **dict.fromkeys(sop.MEASUREMENT_REPORTS, "report"),
}
#: What the viewer of slides knows: no label maps, and no reports.
_ON_SLIDES = ("segmentation", "parametric map", "annotations")


@dataclass(frozen=True)
class Overlay:
    """An object that refers to an image.

    Attributes
    ----------
    key : str
        How addresses name it.
    kind : str
        ``"segmentation"``, ``"parametric map"``, ``"annotations"``, ``"contours"`` or ``"report"``.
    row : SeriesRow
        Its series.
    path : str
        Its file.
    shown : bool
        Whether a viewer can show it.
    """

    key: str
    kind: str
    row: SeriesRow
    path: str
    shown: bool = True


@dataclass(frozen=True)
class Shown:
    """A volume or slide, and what lies over it."""

    key: str
    kind: str
    row: SeriesRow
    overlays: tuple[Overlay, ...] = ()

    @property
    def title(self) -> str:
        """What it is, in words that name nobody."""
        what = UID(self.row.sop_class_uid).name.removesuffix(" Storage") if self.row.sop_class_uid else "images"
        return f"{self.row.modality or '?'}: {what}, {len(self.row.files)} files"


@dataclass
class Library:
    """What a folder holds, by the keys that addresses use."""

    root: str
    shown: dict[str, Shown] = field(default_factory=dict)
    #: Series UID to its row, for those that slides are made of and that lie over slides.
    series: dict[str, SeriesRow] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def open_library(folder: str | os.PathLike[str]) -> Library:
    """Find what can be shown under a folder.

    Raises
    ------
    FileError
        If it is no folder.
    """
    with scan(folder) as index:
        library = Library(index.root, problems=tuple(item["problem"] for item in index.problems()))
        for row in index.series():
            kind = _kind(row)
            if kind:
                key = f"{kind[0]}{len(library.shown) + 1}"
                library.shown[key] = Shown(key, kind, row, _overlays(index, row, kind))
                if kind == "slide":
                    library.series[row.series_instance_uid] = row
                    for overlay in library.shown[key].overlays:
                        library.series[overlay.row.series_instance_uid] = overlay.row
    return library


def _kind(row: SeriesRow) -> str:
    if row.sop_class_uid == sop.VL_WHOLE_SLIDE_MICROSCOPY:
        return "slide"
    if row.modality in _VOLUMES and row.sop_class_uid not in _OVERLAYS:
        return "volume"
    return ""


def _overlays(index: Index, row: SeriesRow, kind: str) -> tuple[Overlay, ...]:
    if not row.series_instance_uid:
        return ()
    found: list[Overlay] = []
    for other in index.referring_to(row.series_instance_uid):
        what = _OVERLAYS.get(other.sop_class_uid)
        if what is None:
            continue
        if kind == "volume":
            able = what != "annotations"
        else:
            able = what in _ON_SLIDES and other.sop_class_uid != sop.LABEL_MAP_SEGMENTATION
        for path in other.files:
            found.append(Overlay(f"o{len(found) + 1}", what, other, path, able))
    return tuple(found)
