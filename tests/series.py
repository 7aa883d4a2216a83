"""Small CT series for tests: rotated, anisotropic, of values that name their voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_ml.encoding.uids import derived_uid
from dicom_ml.geometry import Grid, affine_from_plane

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """A rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


def rotated_grid(shape=(12, 20, 16), spacing=(2.5, 0.8, 0.7), degrees=(11, -7, 23), origin=(-31.5, 12.25, -80)) -> Grid:
    """A grid whose axes run along none of the patient's."""
    turn = rotation(degrees)
    orientation = np.concatenate([turn[:, 0], turn[:, 1]])
    return Grid(shape, affine_from_plane(origin, orientation, spacing[1:], spacing[0]))


def write_series(
    folder: Path, grid: Grid | None = None, *, name: str = "a", patient: str = "P1", study: str = ""
) -> Grid:
    """Write a CT series of one file a slice into ``folder``, in an order that says nothing of position."""
    grid = rotated_grid() if grid is None else grid
    folder.mkdir(parents=True, exist_ok=True)
    depth, rows, columns = grid.shape
    seed = int.from_bytes(name.encode(), "little") % 2**32
    values = np.random.default_rng(seed).integers(0, 2000, grid.shape).astype(np.int16)
    places = np.random.default_rng(seed + 1).permutation(depth)
    for d in range(depth):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CT_IMAGE
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("test", name, d)
        ds.StudyInstanceUID = derived_uid("test study", study or name)
        ds.SeriesInstanceUID = derived_uid("test series", name)
        ds.FrameOfReferenceUID = derived_uid("test frame", name)
        ds.Modality = "CT"
        ds.PatientID, ds.PatientName = patient, f"Doe^{patient}"
        ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240102", "101010", "1", "A1"
        ds.ReferringPhysicianName = ""
        ds.SeriesNumber, ds.InstanceNumber = 1, int(places[d]) + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [f"{v:.9g}" for v in grid.position(d)]
        ds.ImageOrientationPatient = [f"{v:.9g}" for v in grid.orientation]
        ds.PixelSpacing = [f"{v:.9g}" for v in grid.spacing[1:]]
        ds.SliceThickness = f"{grid.spacing[0]:.9g}"
        ds.Rows, ds.Columns = rows, columns
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        ds.PixelData = values[d].tobytes()
        ds.save_as(folder / f"{places[d]:03d}.dcm", enforce_file_format=True)
    return grid


def blobs(grid: Grid, count: int = 2, seed: int = 0) -> np.ndarray:
    """A label map of smooth bodies, not symmetric about any axis, that leave some slices empty."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    labels = np.zeros(grid.shape, np.uint8)
    for label in range(1, count + 1):
        middle = (0.3 + 0.4 * rng.random(3)) * grid.shape
        radius = (0.15 + 0.1 * rng.random(3)) * grid.shape
        labels[(((index - middle) / radius) ** 2).sum(-1) <= 1] = label
    return labels
