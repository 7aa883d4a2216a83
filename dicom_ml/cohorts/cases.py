"""Which series a cohort has, in an order that is the same everywhere."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicom_ml.encoding import sop_classes as sop
from dicom_ml.errors import FileError, SeriesError
from dicom_ml.reading.index import Index, SeriesRow, open_index, scan

__all__ = ["Case", "find_cases", "shard"]

#: What a model looks at where nothing else is said.
_MODALITIES = ("CT", "MR", "PT", "SM")
#: Secondary captures and parametric maps keep the modality of the images that they were made of.
_DERIVED = (sop.SECONDARY_CAPTURE, sop.PARAMETRIC_MAP)
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Case:
    """One image series, or one slide.

    Attributes
    ----------
    study_instance_uid, series_instance_uid : str
        Empty where the file could not be read so far.
    modality : str
    image : tuple of str
        Files; or one folder or zip.
    name : str
        Of its results: ``STUDY/SERIES``, by their UIDs. It tells of no patient.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    image: tuple[str, ...]
    name: str

    @property
    def source(self) -> Any:
        """What :func:`dicom_ml.read_volume` and :func:`dicom_ml.open_slide` take."""
        return self.image[0] if len(self.image) == 1 else list(self.image)

    def stamp(self) -> str:
        """A digest of the names and sizes of its files: another one means that the case is to be predicted anew."""
        digest = hashlib.sha256()
        for path in sorted(self.image):
            try:
                size = os.stat(path).st_size if not os.path.isdir(path) else -2
            except OSError:
                size = -1
            digest.update(f"{os.path.basename(path)}\0{size}\n".encode())
        return digest.hexdigest()[:32]


def find_cases(cohort: Any, modalities: Sequence[str] | None = None) -> list[Case]:
    """The series of a cohort.

    Parameters
    ----------
    cohort : path, Index, or sequence of path or SeriesRow
        An index file of :func:`dicom_ml.scan`; a folder, which is scanned; a text file that names a series (a folder, a
        zip or a file) on each line; or the series themselves.
    modalities : sequence of str, optional
        By default CT, MR, PT and SM, of which a cohort may hold volumes or slides but not both.

    Returns
    -------
    list of Case
        Ordered by study and series, so that every machine counts them alike. Secondary captures and parametric maps are
        left out. A listed path without any image is a case, too: its prediction fails, and says why.

    Raises
    ------
    FileError
        If the file is neither an index nor a list, or does not exist.
    SeriesError
        If there is no such series, or there are volumes and slides and nothing says which.
    """
    wanted = tuple(modalities or _MODALITIES)
    found = sorted(_cases(cohort, wanted), key=lambda case: (case.name, case.image))
    if not found:
        raise SeriesError(f"the cohort holds no series of modality {', '.join(wanted)}")
    kinds = {case.modality == "SM" for case in found if case.modality}
    if modalities is None and len(kinds) == 2:
        raise SeriesError("the cohort holds slides and volumes, and a model takes one of them: say which modality")
    return _named_apart(found)


def shard(cases: Sequence[Case], rank: int, count: int) -> list[Case]:
    """The cases of one of several jobs: each case is in exactly one.

    Raises
    ------
    SeriesError
        If there is no such job.
    """
    if not 0 <= rank < count:
        raise SeriesError(f"a shard is 0/N, 1/N, ... or N-1/N, found {rank}/{count}")
    return list(cases[rank::count])


def _cases(cohort: Any, wanted: tuple[str, ...]) -> Iterator[Case]:
    if isinstance(cohort, Index):
        yield from _of_index(cohort, wanted)
    elif isinstance(cohort, SeriesRow):
        yield _of_row(cohort)
    elif isinstance(cohort, (str, os.PathLike)):
        yield from _of_path(Path(cohort), wanted)
    elif isinstance(cohort, Iterable):
        for one in cohort:
            yield _of_row(one) if isinstance(one, SeriesRow) else one if isinstance(one, Case) else _unread(str(one))
    else:
        raise SeriesError(f"a cohort is an index, a folder or a list of series, found {type(cohort).__name__}")


def _of_path(path: Path, wanted: tuple[str, ...]) -> Iterator[Case]:
    if path.is_dir():
        with scan(path) as index:
            yield from _of_index(index, wanted)
        return
    if not path.is_file():
        raise FileError(f"{path} does not exist: a cohort is an index file, a folder, or a list of series")
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format 3"):
        with open_index(path) as index:
            yield from _of_index(index, wanted)
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is neither an index of 'dicom-ml scan' nor a list of series, a line each") from error
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            yield from _listed(path.parent / text, wanted)


def _listed(path: Path, wanted: tuple[str, ...]) -> Iterator[Case]:
    """A folder's series, or a file as it is."""
    found: list[Case] = []
    if path.is_dir():
        with scan(path, workers=1) as index:
            found = list(_of_index(index, wanted))
    yield from found or [_unread(str(path))]


def _of_index(index: Index, wanted: tuple[str, ...]) -> Iterator[Case]:
    for row in index.series(modality=wanted):
        if not any(row.sop_class_uid == kind or row.sop_class_uid.startswith(f"{kind}.") for kind in _DERIVED):
            yield _of_row(row)


def _of_row(row: SeriesRow) -> Case:
    name = f"{_safe(row.study_instance_uid)}/{_safe(row.series_instance_uid)}"
    return Case(row.study_instance_uid, row.series_instance_uid, row.modality, row.files, name)


def _unread(path: str) -> Case:
    return Case("", "", "", (path,), f"listed/{_digest(path)}")


def _safe(uid: str) -> str:
    """A UID as the name of a folder; what is none, and may be anything, by its digest."""
    return uid if _UID.fullmatch(uid) and uid.strip(".") else _digest(uid)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _named_apart(cases: list[Case]) -> list[Case]:
    """Two patients or kinds of images under one Series Instance UID get folders of their own."""
    names = [case.name for case in cases]
    return [
        replace(case, name=f"{case.name}-{_digest(repr(case.image))[:8]}") if names.count(case.name) > 1 else case
        for case in cases
    ] if len(set(names)) < len(names) else cases  # fmt: skip
