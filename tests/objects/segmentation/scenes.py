"""Sources, segments and masks that the tests of segmentations share."""

from __future__ import annotations

import numpy as np

import dicom_ml as dml
from dicom_ml.encoding.uids import derived_uid
from dicom_ml.geometry import Grid, affine_from_plane
from dicom_ml.source import SourceSeries

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
NET = dml.Algorithm("OrganNet", "1.2")


def oblique(shape=(9, 40, 64), spacing=(2.5, 0.7, 0.8), seed=0) -> Grid:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    orientation = np.concatenate([turn[:, 0], turn[:, 1]])
    return Grid(shape, affine_from_plane([-100.5, -90.25, 30], orientation, spacing[1:], spacing[0]))


def axial(shape=(9, 40, 64), spacing=(2.5, 0.7, 0.8)) -> Grid:
    return Grid(shape, affine_from_plane([-100.5, -90.25, 30], [1, 0, 0, 0, 1, 0], spacing[1:], spacing[0]))


def source_on(grid: Grid, *, multiframe: bool = False, name: str = "a", **changes) -> SourceSeries:
    depth = grid.shape[0]
    instances = tuple(derived_uid(name, 0 if multiframe else d) for d in range(depth))
    values = {
        "modality": "CT",
        "study_instance_uid": derived_uid(name, "study"),
        "series_instance_uid": derived_uid(name, "series"),
        "frame_of_reference_uid": derived_uid(name, "frame"),
        "sop_class_uids": (ENHANCED_CT if multiframe else CT,) * depth,
        "sop_instance_uids": instances,
        "frame_numbers": tuple(range(1, depth + 1)) if multiframe else None,
        "grid": grid,
        "attributes": {
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "Test^Segmentation"}]},
            "PatientID": {"vr": "LO", "Value": ["T1"]},
            "PatientSex": {"vr": "CS", "Value": ["O"]},
            "StudyDate": {"vr": "DA", "Value": ["20240102"]},
            "StudyTime": {"vr": "TM", "Value": ["101010"]},
            "StudyID": {"vr": "SH", "Value": ["1"]},
            "BodyPartExamined": {"vr": "CS", "Value": ["CHEST"]},
        },
    }
    return SourceSeries(**{**values, **changes})


def segments(count: int, **changes) -> list[dml.Segment]:
    kinds = ["SCT:10200004", "SCT:39607008", "SCT:64033007", "SCT:78961009"]
    return [
        dml.Segment(f"Part {i + 1}", type=kinds[i % 4], category="SCT:123037004", algorithm=NET, **changes)
        for i in range(count)
    ]


def label_map(shape, count=3, seed=0, dtype=np.uint8, first=1) -> np.ndarray:
    """Blocks that touch edges and corners, on some slices only, and leave the first and last slice empty."""
    rng = np.random.default_rng(seed)
    out = np.zeros(shape, dtype=dtype)
    depth, height, width = shape
    for label in range(first, first + count):
        d0 = int(rng.integers(1, max(2, depth - 3)))
        h0, w0 = int(rng.integers(0, height - 3)), int(rng.integers(0, width - 3))
        block = out[d0 : min(depth - 1, d0 + 4), h0 : h0 + height // 2, w0 : w0 + width // 2]
        block[rng.random(block.shape) < 0.7] = label
    return out


def channels(shape, count=3, seed=0) -> np.ndarray:
    """Overlapping channels."""
    return np.stack([label_map(shape, 1, seed + 10 * i).astype(bool) for i in range(count)])
