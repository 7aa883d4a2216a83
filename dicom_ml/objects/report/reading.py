"""Structured reports of any maker: as measurement groups, or as a tree of content items."""

from __future__ import annotations

import os
from typing import Any

from dicom_ml.errors import EncodingError
from dicom_ml.objects.report import concepts as c
from dicom_ml.objects.report.canvas import Canvas, array_canvas
from dicom_ml.objects.report.context import read_observers, read_subject
from dicom_ml.objects.report.descriptions import Evaluation, Measurement
from dicom_ml.objects.report.document import read_document
from dicom_ml.objects.report.group_reading import find_groups, read_evaluations, read_group, read_measurement
from dicom_ml.objects.report.items import ContentItem
from dicom_ml.objects.report.library import read_library
from dicom_ml.objects.report.region_items import RegionReader
from dicom_ml.objects.report.report import Report
from dicom_ml.source import as_source

__all__ = ["read_report", "read_sr_tree"]


def read_report(path: str | os.PathLike[str] | bytes, source: Any = None, space: str | None = None) -> Report:
    """Read a structured report of any maker.

    Groups are found wherever the maker has put them; a report that follows another template has none, and is read
    through :meth:`Report.tree`. What could not be understood is listed in ``report.problems``.

    Parameters
    ----------
    path : path or bytes
    source : Volume, Slide or SourceSeries, optional
        The images that it is about. By default they are those of the report's image library.
    space : str, optional
        ``"index"`` or ``"mm"`` to have every region in these coordinates. By default regions are in array indices
        where it is known how the images lie, from the source or the image library; otherwise those on images are in
        indices and name their image but no slice, and those in space in millimetres.

    Raises
    ------
    FileError
        If the file is no structured report.
    """
    stored = read_document(path)
    root = stored.root
    report = object.__new__(Report)
    record = None if source is None else as_source(source)
    canvas = read_library(root) if record is None else Canvas.of(record)
    if space is None and canvas is not None and canvas.grid is not None:
        space = "index"
    if space not in (None, "index", "mm"):
        raise EncodingError(f"space is 'index' or 'mm', found {space!r}")
    if space is not None and (canvas is None or canvas.grid is None):
        raise EncodingError(
            f"space={space!r} needs to know where the images lie, which this report does not say; pass source="
        )
    array = None if record is None or space == "mm" else array_canvas(source, record)
    regions = RegionReader(canvas, space, array)
    report._stored, report._source, report._description = stored, record, None
    report.groups = [read_group(item, regions) for item in find_groups(root)]
    report._status = None
    report.observers = read_observers(root)
    report.subject = read_subject(root)
    report.derived, report.evaluations = _read_others(root, regions)
    algorithms = set({id(g.algorithm): g.algorithm for g in report.groups if g.algorithm is not None}.values())
    report.algorithm = algorithms.pop() if len(algorithms) == 1 else None
    report.problems = regions.problems
    return report


def _read_others(root: ContentItem, regions: RegionReader) -> tuple[list[Measurement], list[Evaluation]]:
    derived: list[Measurement] = []
    evaluations: list[Evaluation] = []
    for item in root.children:
        if item.name == c.DERIVED_MEASUREMENTS:
            derived += [read_measurement(i, regions) for i in item.children if i.value_type == "NUM"]
        elif item.name == c.QUALITATIVE_EVALUATIONS:
            evaluations += read_evaluations(item.children)
    return derived, evaluations


def read_sr_tree(path: str | os.PathLike[str] | bytes) -> ContentItem:
    """The content of any structured report, key object selections included, as a tree of content items.

    Raises
    ------
    FileError
        If the file is no structured report.
    """
    return read_document(path).root
