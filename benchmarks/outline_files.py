"""The annotations that the rows read, written with pydicom alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.dicom_files import base, code, item, uid
from benchmarks.outlines import ANATOMY, ANNOTATIONS, AREA, CORNERS, NUCLEUS, SQUARE
from benchmarks.registry import Size
from benchmarks.slide_files import VL_WHOLE_SLIDE


def _coded(triple: tuple[str, str, str]) -> Any:
    return code(triple[0], triple[2], triple[1])


def write_annotations(path: Path, points: np.ndarray, areas: np.ndarray, size: Size) -> dict[str, Any]:
    """Bulk annotations of the slide; returns where coordinates, indices and values lie in the file."""
    ds = base(ANNOTATIONS, uid("annotations", size), uid("annotations series", size), size, ExplicitVRLittleEndian)
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "FrameOfReferenceUID",
                    "PositionReferenceIndicator", "AcquisitionDate", "AcquisitionTime"):  # fmt: skip
        delattr(ds, keyword)
    ds.Modality, ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "ANN", "NUCLEI", "", ""
    ds.AnnotationCoordinateType, ds.PixelOriginInterpretation = "2D", "VOLUME"
    ds.ReferencedImageSequence = [
        item(ReferencedSOPClassUID=VL_WHOLE_SLIDE, ReferencedSOPInstanceUID=uid("slide", size))
    ]
    starts = np.arange(len(areas), dtype="<u4") * (CORNERS * 2) + 1
    measured = item(
        ConceptNameCodeSequence=[_coded(AREA)],
        MeasurementUnitsCodeSequence=[_coded(SQUARE)],
        MeasurementValuesSequence=[item(FloatingPointValues=areas.tobytes())],
    )
    ds.AnnotationGroupSequence = [
        item(
            AnnotationGroupNumber=1,
            AnnotationGroupUID=uid("annotation group", size),
            AnnotationGroupLabel="Nuclei",
            AnnotationGroupGenerationType="MANUAL",
            AnnotationPropertyCategoryCodeSequence=[_coded(ANATOMY)],
            AnnotationPropertyTypeCodeSequence=[_coded(NUCLEUS)],
            AnnotationAppliesToAllOpticalPaths="YES",
            NumberOfAnnotations=len(areas),
            GraphicType="POLYGON",
            PointCoordinatesData=points.tobytes(),
            LongPrimitivePointIndexList=starts.tobytes(),
            MeasurementsSequence=[measured],
        )
    ]
    ds.save_as(path, enforce_file_format=True)
    whole = np.memmap(path, np.uint8, "r")
    return {name: _find(whole, a) for name, a in (("points", points), ("starts", starts), ("values", areas))}


def _find(whole: np.ndarray, array: np.ndarray) -> int:
    """Where an array begins in the bytes of a file."""
    return bytes(whole).index(array[:64].tobytes())
