"""From candidate files to the headers of the one series that is meant."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence

from dicom_ml.encoding.elements import Layouts
from dicom_ml.encoding.thread_pool import parallel_for
from dicom_ml.errors import DicomMLWarning, FileError, SeriesError
from dicom_ml.reading.files import Candidate
from dicom_ml.reading.headers import Header, NotDicom, read_header, sop_class_name

__all__ = ["choose_series", "read_headers"]

# Headers are parsed by Python code, which threads do not speed up; waiting for slow storage they do.
_PROBE = 16
_SLOW_FILE = 2e-3
_WAITING_THREADS = 8


def read_headers(candidates: Sequence[Candidate], series_uid: str | None, threads: int | None) -> list[Header]:
    """Headers of all files that are DICOM, in the candidates' order.

    Files that are not DICOM are left out with one warning, or an error where nothing else is there.

    Raises
    ------
    FileError
        If no file is DICOM, or one is but its header cannot be read and no ``series_uid`` says that it does not
        matter.
    """
    found: list[Header | Exception | None] = [None] * len(candidates)
    layouts = Layouts()

    def read(number: int) -> None:
        try:
            found[number] = read_header(candidates[number], layouts)
        except (NotDicom, FileError) as error:
            found[number] = error

    started = time.perf_counter()
    probe = min(_PROBE, len(candidates))
    for number in range(probe):
        read(number)
    slow = probe == _PROBE and (time.perf_counter() - started) / probe > _SLOW_FILE
    several = 1 if not slow else _WAITING_THREADS if threads is None else threads
    parallel_for(read, range(probe, len(candidates)), several)

    headers = [item for item in found if isinstance(item, Header)]
    strangers = [c.name for c, item in zip(candidates, found, strict=True) if isinstance(item, NotDicom)]
    broken = [item for item in found if isinstance(item, FileError)]
    if broken and (series_uid is None or not headers):
        raise broken[0]
    if broken:
        _warn(f"{len(broken)} files cannot be read and were skipped; the first: {broken[0]}")
    if not headers:
        if len(candidates) == 1:
            raise FileError(f"{candidates[0].name} is not a DICOM file")
        raise FileError(
            f"none of {len(candidates)} files is DICOM (the first: {strangers[0]})"
            if strangers
            else "there is no file to read: the folder, list or archive is empty"
        )
    if strangers:
        _warn(f"{len(strangers)} files are not DICOM and were skipped; the first: {strangers[0]}")
    return headers


def choose_series(headers: Sequence[Header], series_uid: str | None) -> list[Header]:
    """Headers of the images of the one series there is, or of the one asked for.

    Objects that are no images of a volume (segmentations, reports, colour captures) are left out with a warning.

    Raises
    ------
    FileError
        If a file is an image of the series but lacks its pixels.
    SeriesError
        If there are images of several series and none is named, if the one named is not there, or if nothing is
        an image.
    """
    refusals = [header.refusal() for header in headers]
    usable = [header for header, reason in zip(headers, refusals, strict=True) if reason is None]
    refused = [(header, reason) for header, reason in zip(headers, refusals, strict=True) if reason is not None]
    if series_uid is not None:
        if not any(header.series == series_uid for header in headers):
            raise SeriesError(f"series {series_uid!r} is not among the files; found: {_listing(headers)}")
        usable = [header for header in usable if header.series == series_uid]
        refused = [(header, reason) for header, reason in refused if header.series == series_uid]
    if not usable:
        header, reason = refused[0]
        more = f", like {len(refused) - 1} other files" if len(refused) > 1 else ""
        raise SeriesError(f"{header.name} {reason}{more}: there is no image to make a volume of")
    if len({header.series for header in usable}) > 1:
        raise SeriesError(
            f"the files hold {len({h.series for h in usable})} series; choose one with series_uid=: {_listing(usable)}"
        )
    classes = {(header.series, header.sop_class) for header in usable}
    for header, reason in refused:
        if header.pixels is None and (header.series, header.sop_class) in classes:
            raise FileError(f"{header.name} {reason}, unlike the other images of its series: it is truncated")
    if refused:
        header, reason = refused[0]
        _warn(f"{len(refused)} DICOM files that are no images were skipped; the first: {header.name} {reason}")
    modalities = {header.modality for header in usable}
    if len(modalities) > 1:
        raise SeriesError(f"the files of one series name several modalities: {', '.join(sorted(modalities))}")
    return usable


def _listing(headers: Sequence[Header], most: int = 12) -> str:
    """Series as an error lists them; without descriptions, which may hold patient data."""
    counts: Counter[str] = Counter(header.series for header in headers)
    first = {header.series: header for header in reversed(headers)}
    parts = []
    for uid, count in list(counts.items())[:most]:
        kind = first[uid].modality or sop_class_name(first[uid].sop_class) or "no modality"
        parts.append(f"{uid or '(no SeriesInstanceUID: series_uid=' + repr('') + ')'} ({kind}, {count} files)")
    if len(counts) > most:
        parts.append(f"and {len(counts) - most} more")
    return ", ".join(parts)


def _warn(text: str) -> None:
    warnings.warn(text, DicomMLWarning, stacklevel=4)
