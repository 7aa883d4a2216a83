"""Made-up outlines of nuclei on the slide, and what is right of annotations of them."""

from __future__ import annotations

import numpy as np

from benchmarks.registry import Case, Size, WrongResult
from benchmarks.slide_phantom import side

ANNOTATIONS = "1.2.840.10008.5.1.4.1.1.91.1"
CORNERS = 20  # of each outline
NUCLEUS = ("84640000", "SCT", "Nucleus")
ANATOMY = ("91723000", "SCT", "Anatomical structure")
AREA = ("42798000", "SCT", "Area")
SQUARE = ("um2", "UCUM", "square micrometer")
_FULL_COUNT = 1_000_000


def make_outlines(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of 20 corners, a million at full size: points (N, 2), x and y in pixels, and areas; both float32."""
    rng = np.random.default_rng(99)
    count = max(500, round(_FULL_COUNT * (size.rows / 512) ** 2))
    middles = rng.uniform(20, side(size) - 20, (count, 1, 2))
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = rng.uniform(4, 12, (count, 1, 1))
    points = np.round(middles + radii * ring, 2).astype(np.float32).reshape(-1, 2)
    return points, (np.pi * radii.ravel() ** 2 * 0.25).astype(np.float32)


# ---- what is right


def check_arrays(case: Case, result: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Points, index of the first point of each outline, and areas."""
    points, offsets, areas = result
    expected = case.array("outlines", "points.npy", mapped=True)
    if points.shape != expected.shape or not np.array_equal(points, expected):
        raise WrongResult(f"points of shape {points.shape} are not those of the outlines")
    if not np.array_equal(offsets, np.arange(0, len(expected), CORNERS)):
        raise WrongResult("the outlines begin elsewhere")
    if not np.array_equal(areas, case.array("outlines", "areas.npy", mapped=True)):
        raise WrongResult("the areas are others")


def check_file(case: Case, _: object) -> None:
    """A written file, as pydicom reads it."""
    from pydicom import dcmread

    if not case.output.is_file():
        raise WrongResult("no file was written")
    ds = dcmread(case.output)
    (group,) = ds.AnnotationGroupSequence
    if ds.AnnotationCoordinateType != "2D" or group.GraphicType != "POLYGON":
        raise WrongResult(f"{group.GraphicType} in {ds.AnnotationCoordinateType}")
    if str(group.AnnotationPropertyTypeCodeSequence[0].CodeValue) != NUCLEUS[0]:
        raise WrongResult("the outlines are no nuclei")
    if "PointCoordinatesData" in group:
        points = np.frombuffer(group.PointCoordinatesData, "<f4")
    else:
        points = np.frombuffer(group.DoublePointCoordinatesData, "<f8")
    starts = np.frombuffer(group.LongPrimitivePointIndexList, "<u4").astype(np.int64)
    if int(group.NumberOfAnnotations) != len(starts) or ((starts - 1) % 2).any():
        raise WrongResult(f"{group.NumberOfAnnotations} annotations, {len(starts)} indices")
    (measured,) = group.MeasurementsSequence
    values = np.frombuffer(measured.MeasurementValuesSequence[0].FloatingPointValues, "<f4")
    check_arrays(case, (points.reshape(-1, 2), (starts - 1) // 2, values))
