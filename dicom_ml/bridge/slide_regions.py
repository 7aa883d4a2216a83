"""Annotations and regions of reports as items on a slide: which files are of it, and where their coordinates lie."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_ml.bridge.region_bounds import Elsewhere
from dicom_ml.bridge.report_classes import ReportClasses
from dicom_ml.bridge.slide_items import ItemSet, SlideItems
from dicom_ml.encoding import sop_classes as sop
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.errors import EncodingError, FileError, GeometryError
from dicom_ml.geometry import Grid
from dicom_ml.objects.annotations import AnnotationGroup, Annotations, read_annotations
from dicom_ml.objects.report import (
    Box,
    Circle,
    Contours,
    Ellipse,
    MeasurementGroup,
    MultiPoint,
    Point,
    Polygon,
    Polyline,
    Region,
    Report,
    SegmentReference,
    read_report,
)
from dicom_ml.objects.report import SegmentationFrame as FrameReference
from dicom_ml.objects.report.items import Graphic
from dicom_ml.objects.report.regions import Shape
from dicom_ml.source import SourceSeries

__all__ = ["SlideFile", "annotation_class", "items_of_files", "level0_affine", "sop_class_of"]

FloatArray = npt.NDArray[np.float64]
_IDENTITY = np.array([[0.0, 1.0], [1.0, 0.0]])  # x is the column, y the row


@dataclass(frozen=True, eq=False)
class SlideFile:
    """An annotation object or a report, and which images it is about.

    Attributes
    ----------
    given : path, Annotations or Report
    is_report : bool
    images : frozenset of str
        SOP Instance UIDs that it refers to.
    frame_of_reference_uid : str
        Where it names no images.
    """

    given: Any
    is_report: bool
    images: frozenset[str]
    frame_of_reference_uid: str = ""

    @classmethod
    def of(cls, given: Any) -> SlideFile:
        """Look into what is given.

        Raises
        ------
        FileError
            If a path is neither annotations nor a report.
        """
        if isinstance(given, SlideFile):
            return given
        opened = given
        if not isinstance(given, (Annotations, Report)):
            given = os.fspath(given)
            opened = read_annotations(given) if sop_class_of(given) == sop.BULK_ANNOTATIONS else read_report(given)
        if isinstance(opened, Report):
            return cls(given, True, frozenset(opened.evidence))
        return cls(given, False, frozenset(opened.referenced_images), opened.frame_of_reference_uid)

    def is_of(self, source: SourceSeries) -> bool:
        """Whether it is about a slide: it names one of its images, or where it names none, lies in its space."""
        if self.images:
            return not self.images.isdisjoint(source.instances)
        return bool(self.frame_of_reference_uid) and self.frame_of_reference_uid == source.frame_of_reference_uid

    def annotations(self) -> Annotations:
        """The annotations."""
        return self.given if isinstance(self.given, Annotations) else read_annotations(self.given)

    def report(self, source: SourceSeries) -> Report:
        """The report, read onto the slide."""
        return read_report(self.given.to_bytes() if isinstance(self.given, Report) else self.given, source=source)


def sop_class_of(path: str) -> str:
    """SOP Class UID of a file.

    Raises
    ------
    FileError
        If it is no DICOM file.
    """

    try:
        head = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except OSError as error:
        raise FileError(f"{os.path.basename(path)}: cannot be opened: {error.strerror or error}") from error
    except Exception as error:
        raise FileError(f"{os.path.basename(path)}: is no DICOM file ({type(error).__name__})") from error
    return str(head.get("SOPClassUID") or "")


# ---------------------------------------------------------------------- classes
def annotation_class(classes: ReportClasses | None, group: AnnotationGroup, number: int) -> int | None:
    """Class of an annotation group: by its type, else by its label; without classes, its number in its file."""
    if classes is None:
        return number
    if classes.function is not None:
        given = classes.function(group)
        return classes.absent(f"the function gave None for annotation group {number}") if given is None else int(given)
    for answer in (group.type, group.label):
        found = classes.number(answer)
        if found is not None:
            return found
    return classes.absent(f"annotation group {number} is of type {group.type}, which is none of the classes")


# ---------------------------------------------------------------------- coordinates
def level0_affine(source: SourceSeries, uid: str | None = None) -> tuple[FloatArray, FloatArray]:
    """From x and y in pixels of an image of a slide to ``(row, column)`` of level 0, as a matrix and a shift.

    Raises
    ------
    Elsewhere
        If the image is no level of the slide.
    """
    if uid is None or uid in source.sop_instance_uids:
        return _IDENTITY, np.zeros(2)
    down = source.downsamples_of(uid)
    if down is not None:
        return np.asarray(_IDENTITY * np.array(down)[:, None]), np.zeros(2)
    raise Elsewhere("coordinates count pixels of an image that is no level of the slide")


def _slide_matrix(source: SourceSeries) -> tuple[FloatArray, FloatArray]:
    """From slide millimetres, x and y, to ``(row, column)`` of level 0."""
    if not source.levels:
        raise GeometryError("the slide does not state its pixel spacing, so millimetres have no place on it")
    grid: Grid = source.levels[0].grid
    inverse = np.linalg.inv(grid.affine)
    z = grid.affine[2, 3]
    # the distance from the plane of the level plays no part
    return np.asarray(inverse[1:3, :2]), np.asarray(inverse[1:3, 2] * z + inverse[1:3, 3] + 0.5)


def items_of_files(
    files: Sequence[SlideFile], source: SourceSeries, classes: ReportClasses | None, point_size: float | None = None
) -> SlideItems:
    """All items of a slide, with their classes.

    Parameters
    ----------
    files : sequence of SlideFile
    source : SourceSeries
        The slide.
    classes : ReportClasses, optional
        Without them annotation groups have their numbers, and regions of reports are 1.
    point_size : float, optional
        Millimetres that points and lines are wide.
    """
    sets: list[ItemSet] = []
    for file in files:
        if file.is_report:
            sets += _report_sets(file.report(source), source, classes)
        else:
            sets += _annotation_sets(file.annotations(), source, classes)
    pixels = None
    if point_size is not None:
        if not source.levels:
            raise GeometryError("the slide does not state its pixel spacing, so point_size= in mm has no meaning on it")
        pixels = point_size / float(np.mean(source.levels[0].grid.spacing[1:]))
    return SlideItems(sets, pixels)


def _annotation_sets(ann: Annotations, source: SourceSeries, classes: ReportClasses | None) -> list[ItemSet]:
    if ann.coordinate_type == "2D":
        if ann.pixel_origin != "VOLUME":
            raise GeometryError(
                f"annotations count pixels from the corner of a {ann.pixel_origin.lower()}, not of the slide; "
                "only Pixel Origin Interpretation VOLUME says where they lie"
            )
        matrix, shift = level0_affine(source, next(iter(ann.referenced_images), None))
    else:
        matrix, shift = _slide_matrix(source)
    sets = []
    for number, group in enumerate(ann.groups, start=1):
        value = annotation_class(classes, group, number)
        if value is not None:
            full = np.column_stack([matrix, np.zeros(2)]) if group.columns == 3 else matrix
            sets.append(ItemSet.of_group(group, value, full, shift))
    return sets


# ---------------------------------------------------------------------- reports
def _report_sets(report: Report, source: SourceSeries, classes: ReportClasses | None) -> list[ItemSet]:
    parts: list[tuple[str, FloatArray, int, int]] = []
    elsewhere = 0
    for number, group in enumerate(report.groups):
        regions = [group.region] if group.region is not None else group.regions
        try:
            found = [_outline(piece, source) for region in regions for piece in _pieces(region)]
        except Elsewhere:  # a report may be about several slides
            elsewhere += 1
            continue
        _check_origin(group)
        if not found:
            continue
        value = 1 if classes is None else classes.label(group)
        if value is not None:
            parts += [(graphic, points, value, number) for graphic, points in found]
    if not any(group.regions for group in report.groups) and (report.groups or report.evaluations):
        raise EncodingError(
            "a report outlines nothing on the slide; what it says of the slide as a whole is for EvaluationLabels"
        )
    if elsewhere and elsewhere == sum(bool(group.regions) for group in report.groups):
        raise Elsewhere(f"a report outlines {elsewhere} findings, none of which lies on the slide")
    # sets of one graphic in the order of the report, so that what is later lies above
    runs = [list(run) for _, run in itertools.groupby(parts, key=lambda part: part[0])]
    return [_set_of(run) for run in runs]


def _set_of(run: Sequence[tuple[str, FloatArray, int, int]]) -> ItemSet:
    lengths = np.array([len(points) for _, points, _, _ in run])
    return ItemSet(
        run[0][0],
        np.concatenate([points for _, points, _, _ in run]),
        np.cumsum(lengths) - lengths,
        np.array([value for _, _, value, _ in run], dtype=np.int64),
        np.eye(2),
        np.zeros(2),
        np.array([number for _, _, _, number in run]) if run[0][0] == "POLYGON" else None,
    )


def _pieces(region: Region) -> Sequence[Shape]:
    if isinstance(region, SegmentReference | FrameReference):
        raise EncodingError("a region is a segment; give its segmentation to SegmentationLabels instead")
    if isinstance(region, Contours):
        return region.pieces
    assert isinstance(region, Shape)
    return (region,)


def _check_origin(group: MeasurementGroup) -> None:
    """Refuse coordinates that count from the corner of a frame."""
    items = [] if group.item is None else group.item.walk()
    if any(isinstance(i.value, Graphic) and i.value.origin == "FRAME" for i in items):
        raise GeometryError("a region counts pixels from the corner of a frame, which does not say where it lies")


def _outline(shape: Shape, source: SourceSeries) -> tuple[str, FloatArray]:
    """Graphic type and points ``(row, column)`` of level 0."""
    if shape.space != "index":
        raise Elsewhere("a region lies in another frame of reference than the slide")
    points = shape.points_3d[:, 1:] if shape.dimensions == 3 else shape.points
    if isinstance(shape, Box):
        graphic, points = "POLYGON", np.asarray(shape.corners[:4, -2:])
    elif isinstance(shape, Circle):
        graphic, points = "ELLIPSE", shape.center + np.array([[-1, 0], [1, 0], [0, -1], [0, 1]]) * shape.radius
    elif isinstance(shape, Ellipse):
        graphic = "ELLIPSE"
    elif isinstance(shape, Polygon):
        graphic = "POLYGON"
    elif isinstance(shape, Point | MultiPoint):
        graphic = "POINT"
    elif isinstance(shape, Polyline):
        graphic = "POLYLINE"
    else:
        raise GeometryError(f"a {shape.kind} has no outline on a slide")
    if shape.image is not None:
        matrix, shift = level0_affine(source, shape.image.sop_instance_uid)
        points = points[:, ::-1] @ matrix.T + shift
    return graphic, np.asarray(points)
