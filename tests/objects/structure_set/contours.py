"""Structure sets for tests: contours given in indices of a grid, written by pydicom."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_ml.encoding.sop_classes import RT_STRUCTURE_SET
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.geometry import Grid


def ring(middle, radius, count=40, wobble=0.0, seed=0):
    """Rows and columns of a closed line about a middle."""
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, count)) if wobble else np.arange(count) * 2 * np.pi / count
    reach = radius * (1 + wobble * rng.uniform(-1, 1, count))
    return np.asarray(middle) + reach[:, None] * np.stack([np.sin(turn), np.cos(turn)], axis=1)


def on_slice(grid: Grid, d: float, points) -> np.ndarray:
    """LPS mm of rows and columns, corners at pixel edges, on slice ``d``."""
    points = np.asarray(points, float)
    return grid.to_lps(np.column_stack([np.full(len(points), float(d)), points - 0.5]))


def structure_set(regions, *, frame="", name="a", digits=None, **attributes) -> Dataset:
    """``regions``: name, or (name, number), to contours: mm points, or (type, mm points)."""
    frame = frame or derived_uid(name, "frame")
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RT_STRUCTURE_SET
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("rtstruct", name)
    ds.Modality, ds.StructureSetLabel = "RTSTRUCT", "Plan"
    ds.PatientID, ds.PatientName = "P1", "Doe^P1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid(name, "study"), derived_uid("rtstruct series", name)
    reference = Dataset()
    reference.FrameOfReferenceUID = frame
    ds.ReferencedFrameOfReferenceSequence = [reference]
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for place, (key, contours) in enumerate(regions.items(), start=1):
        label, number = key if isinstance(key, tuple) else (key, place)
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, label, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = frame
        ds.StructureSetROISequence.append(roi)
        drawn = Dataset()
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [10 * place, 20, 30]
        drawn.ContourSequence = [_contour(c, digits) for c in contours]
        ds.ROIContourSequence.append(drawn)
        seen = Dataset()
        seen.ObservationNumber, seen.ReferencedROINumber, seen.RTROIInterpretedType = place, number, "ORGAN"
        seen.ROIInterpreter = ""
        ds.RTROIObservationsSequence.append(seen)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _contour(given, digits) -> Dataset:
    kind, points = given if isinstance(given, tuple) else ("CLOSED_PLANAR", given)
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
    item.ContourData = [_text(v, digits) for v in np.asarray(points).ravel()]
    return item


def _text(value: float, digits: int | None) -> str:
    return f"{value:.{digits}f}" if digits is not None else f"{value:.11g}"[:16]
