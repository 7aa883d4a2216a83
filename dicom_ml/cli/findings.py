"""Groups of reports as marks on pictures, and as rows of a table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_ml.objects.report import Contours, MeasurementGroup, SegmentationFrame, SegmentReference, read_report
from dicom_ml.objects.report.regions import Shape
from dicom_ml.view import PALETTE, Mark

__all__ = ["COLUMNS", "Findings"]

Color = tuple[int, int, int]
#: Head of :attr:`Findings.rows`.
COLUMNS = ("Number", "Finding", "Site", "Tracked as", "Region", "Measured", "Evaluated")
_FEW = 12  # findings that have a colour and a line of the legend each


@dataclass
class Findings:
    """What reports say of the images that are drawn.

    Attributes
    ----------
    marks : list of Mark
        What can be drawn, in indices of the array.
    rows : list of tuple
        A row a group.
    colors : list
        The colour of each row; None for groups that are not drawn.
    names : list of str
        By which groups can be asked for.
    """

    marks: list[Mark] = field(default_factory=list)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    colors: list[Color | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    _count: int = 0
    _palette: dict[str, Color] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What is missing on the picture; empty where nothing is."""
        missing = self.colors.count(None)
        return f"{missing} of {len(self.rows)} findings have no region on these images." if missing else ""

    def add(self, files: Sequence[Path], source: Any, wanted: Sequence[str] | None, used: int = 0) -> None:
        """Read reports.

        Parameters
        ----------
        files : sequence of Path
        source : Volume or Slide
            The image that is drawn.
        wanted : sequence of str, optional
            Only these groups, by number, finding or tracking identifier.
        used : int
            How many colours other things on the picture have.
        """
        groups = [g for file in files for g in read_report(file, source=source).groups]
        chosen = []
        for number, group in enumerate(groups, start=self._count + 1):
            called = [n for n in (str(number), group.tracking_id, _finding(group)) if n]
            self.names += called[1:]
            if not wanted or any(n in wanted for n in called):
                chosen.append((number, group))
        self._count += len(groups)
        for number, group in chosen:
            key = str(number) if len(chosen) <= _FEW else _finding(group)
            color = self._palette.setdefault(key, PALETTE[(used + len(self._palette)) % len(PALETTE)])
            name = f"{number} {_finding(group)}" if len(chosen) <= _FEW else key
            marks = [Mark(region, color, name, str(number)) for region in group.regions if _is_drawn(region, source)]
            self.marks += marks
            self.rows.append(_row(number, group))
            self.colors.append(color if marks else None)


def _is_drawn(region: Any, source: Any) -> bool:
    """Whether a region is a shape that lies on the images at hand."""
    if isinstance(region, Contours):
        return any(_is_drawn(piece, source) for piece in region.pieces)
    if not isinstance(region, Shape) or region.space != "index":
        return False
    on_slide = hasattr(source, "levels")
    return on_slide or region.dimensions == 3 or region.slice is not None or source.shape[0] == 1


def _finding(group: MeasurementGroup) -> str:
    return group.finding.meaning if group.finding is not None else "Finding"


def _row(number: int, group: MeasurementGroup) -> tuple[object, ...]:
    site = ", ".join(
        " ".join(p.meaning for p in (s.laterality, s.location, s.modifier) if p is not None) for s in group.site
    )
    measured = [
        f"{m.name.meaning}{f' ({m.derivation.meaning})' if m.derivation is not None else ''} "
        + ("none" if m.value is None else f"{m.value:.6g}{'' if m.unit.value == '1' else f' {m.unit.value}'}")
        for m in group.measurements
    ]
    evaluated = [f"{e.name.meaning}: {e.value.meaning}" for e in group.evaluations if e.value is not None]
    return (
        str(number),
        _finding(group),
        site or "-",
        group.tracking_id or "-",
        _where(group),
        "; ".join(measured) or "-",
        "; ".join(evaluated) or "-",
    )


def _where(group: MeasurementGroup) -> str:
    if not group.regions:
        return "whole images"
    region = group.regions[0]
    if isinstance(region, SegmentReference):
        return f"segment {region.number} of a segmentation"
    if isinstance(region, SegmentationFrame):
        return "frames of a segmentation"
    if isinstance(region, Contours):
        return f"{len(region.pieces)} outlines"
    assert isinstance(region, Shape)
    if region.space == "mm":
        return f"{region.kind}, in millimetres"
    if region.dimensions == 2:
        return f"{region.kind}" + (f" on slice {region.slice}" if region.slice is not None else "")
    low, high = region.bounds
    return f"{region.kind} from slice {low[0]:g} to {high[0]:g}"
