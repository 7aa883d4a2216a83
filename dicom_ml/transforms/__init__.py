"""MONAI transforms: DICOM series and their labels in; segmentations, parametric maps, reports and annotations out.

Arrays are ``(C, W, H, D)`` with a RAS affine, as MONAI has them. Every image carries, as one string in its meta, the
handle of its source series; savers find the source by it.
"""

from __future__ import annotations

from importlib.util import find_spec

from dicom_ml.errors import MissingPackageError

if find_spec("monai") is None or find_spec("torch") is None:
    raise MissingPackageError("dicom_ml.transforms needs MONAI and torch: pip install 'dicom-ml[monai]'")

from dicom_ml.transforms.annotations import (
    LoadAnnotations,
    LoadAnnotationsD,
    LoadAnnotationsd,
    LoadAnnotationsDict,
)
from dicom_ml.transforms.image import DicomReader, LoadDicom, LoadDicomD, LoadDicomd, LoadDicomDict
from dicom_ml.transforms.parametric_map import (
    SaveParametricMap,
    SaveParametricMapD,
    SaveParametricMapd,
    SaveParametricMapDict,
)
from dicom_ml.transforms.report import (
    Consensus,
    LoadReport,
    LoadReportD,
    LoadReportd,
    LoadReportDict,
    WorldBoxToImage,
    WorldBoxToImageD,
    WorldBoxToImaged,
    WorldBoxToImageDict,
)
from dicom_ml.transforms.save_annotations import (
    SaveAnnotations,
    SaveAnnotationsD,
    SaveAnnotationsd,
    SaveAnnotationsDict,
)
from dicom_ml.transforms.save_report import SaveReport, SaveReportD, SaveReportd, SaveReportDict
from dicom_ml.transforms.segmentation import (
    LoadSegmentation,
    LoadSegmentationD,
    LoadSegmentationd,
    LoadSegmentationDict,
    SaveSegmentation,
    SaveSegmentationD,
    SaveSegmentationd,
    SaveSegmentationDict,
)
from dicom_ml.transforms.writer import DicomSegmentationWriter, register_segmentation_writer, series_name_formatter

__all__ = [
    "Consensus",
    "DicomReader",
    "DicomSegmentationWriter",
    "LoadAnnotations",
    "LoadAnnotationsD",
    "LoadAnnotationsDict",
    "LoadAnnotationsd",
    "LoadDicom",
    "LoadDicomD",
    "LoadDicomDict",
    "LoadDicomd",
    "LoadReport",
    "LoadReportD",
    "LoadReportDict",
    "LoadReportd",
    "LoadSegmentation",
    "LoadSegmentationD",
    "LoadSegmentationDict",
    "LoadSegmentationd",
    "SaveAnnotations",
    "SaveAnnotationsD",
    "SaveAnnotationsDict",
    "SaveAnnotationsd",
    "SaveParametricMap",
    "SaveParametricMapD",
    "SaveParametricMapDict",
    "SaveParametricMapd",
    "SaveReport",
    "SaveReportD",
    "SaveReportDict",
    "SaveReportd",
    "SaveSegmentation",
    "SaveSegmentationD",
    "SaveSegmentationDict",
    "SaveSegmentationd",
    "WorldBoxToImage",
    "WorldBoxToImageD",
    "WorldBoxToImageDict",
    "WorldBoxToImaged",
    "register_segmentation_writer",
    "series_name_formatter",
]
