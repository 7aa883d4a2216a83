"""A copy of a series that lacks the identifiers without which nothing can refer to it.

A segmentation must name the SOP Instance UID of every image it was made from (PS3.3 C.7.6.16.2.6, C.12.4). Some
published series were stripped of them. Inventing them for the original would give references to images that do not
exist, so the images are copied, the copies get identifiers, and the segmentation refers to the copies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from dicom_ml.encoding.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from dicom_ml.encoding.untrusted import dcmread
from dicom_ml.encoding.writer import save_dataset
from dicom_ml.errors import FileError, SeriesError

__all__ = ["repair_series"]

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "AccessionNumber", "ReferringPhysicianName")  # fmt: skip


def repair_series(files: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> list[Path]:
    """Copy the files of one series and give the copies what identifiers they lack.

    Parameters
    ----------
    files : sequence of path
        All files of one CT or MR series of single-frame images.
    folder : path
        Of the copies; made when missing.

    Returns
    -------
    list of Path
        The copies. New UIDs follow from the files' content: repairing twice gives the same.

    Raises
    ------
    SeriesError
        The files are of several series, or not CT or MR.
    """
    if not files:
        raise SeriesError("there are no files to repair")
    datasets = [_read(Path(f)) for f in sorted(files, key=os.fspath)]
    digests = [_digest(ds) for ds in datasets]
    whole = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    found = {str(ds.get("SeriesInstanceUID") or "") for ds in datasets}
    if len(found) > 1:
        raise SeriesError(f"{len(found)} series lie together; repair one series at a time")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for number, (ds, digest) in enumerate(zip(datasets, digests, strict=True), start=1):
        modality = str(ds.get("Modality") or "")
        if not ds.get("SOPClassUID"):
            if modality not in _CLASSES:
                raise SeriesError(f"only CT and MR can be repaired, found modality {modality or 'missing'}")
            ds.SOPClassUID = _CLASSES[modality]
        fresh = {
            "StudyInstanceUID": derived_uid("repaired study", whole),
            "SeriesInstanceUID": derived_uid("repaired series", whole),
            "FrameOfReferenceUID": derived_uid("repaired frame of reference", whole),
            "SOPInstanceUID": derived_uid("repaired instance", whole, digest),
        }
        for keyword, uid in fresh.items():
            if not ds.get(keyword):
                setattr(ds, keyword, uid)
        for keyword in _TYPE_2:
            if keyword not in ds:
                setattr(ds, keyword, "")
        syntax = ds.file_meta.get("TransferSyntaxUID")
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
        ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
        path = folder / f"image_{number:04d}.dcm"
        save_dataset(path, ds)
        out.append(path)
    return out


def _read(path: Path) -> Dataset:
    try:
        ds = dcmread(path, force=True)
    except (OSError, ValueError) as error:
        raise FileError(f"{path.name} cannot be read: {error}") from None
    if "Rows" not in ds or "PixelData" not in ds:
        raise FileError(f"{path.name} holds no image")
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if not ds.file_meta.get("TransferSyntaxUID"):
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if ds.original_encoding[0] else ExplicitVRLittleEndian
    return ds


def _digest(ds: Dataset) -> str:
    """Of the pixels and where they lie: two slices may hold the same pixels."""
    position = repr(ds.get("ImagePositionPatient")) + repr(ds.get("InstanceNumber"))
    return hashlib.sha256(bytes(ds.PixelData) + position.encode()).hexdigest()
