"""A folder of files, pseudonymised into another."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom

from dicom_ml.encoding.folders import files_below
from dicom_ml.encoding.untrusted import dcmread, reason_of
from dicom_ml.encoding.writer import save_bytes
from dicom_ml.errors import DicomMLError, FileError
from dicom_ml.pseudonyms.cleaning import pseudonymise
from dicom_ml.pseudonyms.mapping import Pseudonyms

__all__ = ["Pseudonymised", "pseudonymise_folder"]


@dataclass(frozen=True)
class Pseudonymised:
    """What became of a folder.

    Attributes
    ----------
    files : tuple of Path
        Written, or there from before.
    left_out : tuple of str
        Why a file is not among them: the numbers of the files in their order, never their names, which may say who
        it is.
    """

    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def pseudonymise_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pseudonyms: Pseudonyms,
    *,
    progress: Callable[[int], object] | None = None,
) -> Pseudonymised:
    """Pseudonymise all DICOM files under a folder, images and the objects made from them alike.

    New files are named by their new SOP Instance UIDs, in a folder for each new study and series. A file that cannot
    be cleaned is left out and reported, and the rest goes on; a run that was broken off goes on where it was.

    Parameters
    ----------
    source : path
        A folder, walked with its subfolders, or a file.
    target : path
    pseudonyms : Pseudonyms
    progress : callable, optional
        Called with 1 after each file.

    Raises
    ------
    FileError
        If there is nothing to read, or the target lies within the source.
    """
    root, goal = Path(source), Path(target)
    if not root.exists():
        raise FileError(f"{root} does not exist")
    if root.is_dir() and root.resolve() in [goal.resolve(), *goal.resolve().parents]:
        raise FileError(f"{goal} lies within {root}, whose files would be mixed with their own pseudonyms")
    written: list[Path] = []
    left_out: list[str] = []
    for number, path in enumerate(map(Path, files_below(root)), start=1):
        try:
            found = _one(path, goal, pseudonyms)
            if found is not None:
                written.append(found)
        except (DicomMLError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, DicomMLError):
                raise
            left_out.append(f"file {number}: {error}")
        if progress is not None:
            progress(1)
    if not written:
        raise FileError(left_out[0] if left_out else f"{root} holds no DICOM file")
    return Pseudonymised(tuple(written), tuple(left_out))


def _one(path: Path, goal: Path, pseudonyms: Pseudonyms) -> Path | None:
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(content))
            if "SOPInstanceUID" not in dataset:
                return None  # a DICOMDIR
    except Exception as error:
        raise FileError(f"it cannot be read ({reason_of(error)})") from error
    cleaned = pseudonymise(dataset, pseudonyms)
    new = goal / str(cleaned.get("StudyInstanceUID") or "study") / str(cleaned.get("SeriesInstanceUID") or "series")
    new = new / f"{cleaned.SOPInstanceUID}.dcm"
    if new.exists():
        return new
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmwrite(buffer, cleaned, enforce_file_format=True)
    except Exception as error:
        raise FileError(f"it cannot be written ({reason_of(error)})") from error
    save_bytes(new, buffer.getbuffer())
    return new
